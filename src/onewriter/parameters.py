"""What is bound to a statement: the parameters that its text has, and the values that a caller gives.

B1  A statement's parameters are found in its text by SQLite's own rules (https://sqlite.org/lang_expr.html#varparam):
    ``?``, ``?5``, ``:name``, ``@name`` and ``$name``, outside strings, quoted names and comments.
B2  A sequence gives the values by place, named parameters too. A mapping gives them by name, without the prefix, all of
    them and nothing else: a name too many is as likely a slip as one too few.
B3  Every value is made native before SQLite has it. No message holds one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import islice
from pathlib import PurePath
from typing import Final, NamedTuple, TypeAlias, TypeVar, cast
from uuid import UUID

from .converters import NATIVE, to_sql
from .errors import ProgrammingError
from .statements import QUOTED
from .translate import is_from_outside
from .values import Value, check_params, plain

Param: TypeAlias = Value | bytearray | memoryview | bool | datetime | date | Decimal | UUID | Enum | PurePath
"""One value of a statement's parameters; types of one's own go through `converters.to_sql`."""

Params: TypeAlias = Sequence[Param] | Mapping[str, Param]
"""The parameters of one statement: a sequence for ``?``, a mapping for ``:name``. A bare ``str`` is refused."""


T = TypeVar("T")
_TEXTS_MAX: Final = 1_000
_KEPT_LENGTH_MAX: Final = 10_000
_NUMBER_MAX: Final = 32_766  # https://sqlite.org/limits.html#max_variable_number
_COPIED_MAX: Final = _NUMBER_MAX + 1  # one too many is enough to be refused
_SHOWN_MAX: Final = 20
_PLAIN: Final = (tuple, list, dict)
BINDABLE: Final = NATIVE | {bytearray, memoryview}
# SQLite's letters are the ASCII ones and all that is not ASCII; a byte order mark alone is blank space. Here are the
# characters that are none: the range of those that are takes `re` ten milliseconds to compile.
_NO_LETTER: Final = r"\x00-#%-/:-@\[-^`{-\x7f"
_WORD: Final = rf"\ufeff|[^${_NO_LETTER}][^{_NO_LETTER}]*"
# "::" and one "(...)" may be part of a name, which is for Tcl's variables.
# What is no name, since its bracket or its beginning is missing, is taken whole too, or it would be looked at once for
# each of its letters; SQLite refuses the statement.
_NAMED: Final = rf"[:@$#](?:::)*[^{_NO_LETTER}](?:[^{_NO_LETTER}]|::)*(?:\([^\s)]*\)?)?"
_TOKEN: Final = re.compile(rf"{QUOTED}|{_WORD}|(?P<parameter>\?[0-9]*|{_NAMED})|[:@$#]:*", re.DOTALL)


class Parameters(NamedTuple):
    """The parameters of a statement, in the order in which a sequence gives their values.

    Attributes:
        texts: each as the statement writes it, such as ``:size`` or ``?5``; None for a ``?``, and for a number that
            the statement leaves out.
        names: the names by which a mapping gives the values.
        nameless: the place, from 1, of the first that a mapping cannot give; 0 where there is none.
    """

    texts: tuple[str | None, ...]
    names: frozenset[str]
    nameless: int


def parameters(sql: str) -> Parameters:
    """Return the parameters of the statement *sql* (B1)."""
    return _kept(sql) if len(sql) <= _KEPT_LENGTH_MAX else _found(sql)


def check_named(sql: str, params: Mapping[str, object]) -> None:
    """Refuse a mapping that does not have the names of *sql*, and any mapping where a parameter has none (B2).

    Raises:
        ProgrammingError: it names what is missing, and what the mapping has that the statement does not ask for.
    """
    found = parameters(sql)
    if found.nameless:
        text = found.texts[found.nameless - 1]
        raise ProgrammingError(
            f"params is a mapping, but parameter {found.nameless} of the statement has no name"
            f"{'' if text is None else f' ({text} is a number)'}: "
            "give a sequence of values, or write :name in place of each ?",
            sql=sql,
        )
    missing = [text for text in found.texts if text is not None and text[1:] not in params]
    surplus = [key for key in params if key not in found.names]
    if not missing and not surplus:
        return
    lacks = f"params has no value for {_listed(missing)}" if missing else "params has all values"
    more = f", and has {_listed(surplus)}, which the statement does not ask for" if surplus else ""
    prefixed = any(str(key)[:1] in {":", "@", "$"} for key in surplus)
    advice = "; its keys are names without : or @ or $" if prefixed else ""
    raise ProgrammingError(f"{lacks}{more}{advice}", sql=sql)


def checked_row(sql: str, params: Params, wanted: int) -> Params:
    """Return one of many rows of values for *sql*, which has *wanted* parameters; refuse it where it does not fit."""
    params = settled(params)
    if isinstance(params, Mapping):
        check_named(sql, params)
    elif len(params) != wanted:
        raise count_mismatch(sql, params)
    return params


def count_mismatch(sql: str, params: Sequence[object]) -> ProgrammingError:
    """Return the error for a sequence with more or fewer values than *sql* has parameters."""
    found = parameters(sql)
    named = [text for text in found.texts if text is not None]
    which = f" ({_listed(named)})" if named else ""
    wants = f"{len(found.texts) or 'no'} parameter{'' if len(found.texts) == 1 else 's'}{which}"
    given = f"{len(params) or 'no'} value{'' if len(params) == 1 else 's'}"
    return ProgrammingError(f"the statement has {wants}, and params has {given}", sql=sql)


def misfit(params: Params) -> str:
    """Return which of *params* cannot be bound though its type can: "parameter 2: ", or an empty text."""
    pairs = params.items() if isinstance(params, Mapping) else enumerate(params, 1)
    for where, value in pairs:
        try:
            if isinstance(value, int):
                value.to_bytes(8, "big", signed=True)
            elif isinstance(value, str):
                value.encode()
            elif value is not None and not isinstance(value, float):
                memoryview(cast("bytes", value)).cast("B")
        except (OverflowError, UnicodeError, ValueError, TypeError):
            return f"parameter {where if isinstance(where, int) else f':{where}'}: "
    return ""


def each_of(given: Iterable[T], name: str) -> Iterator[T]:
    """Yield what *given*, a caller's argument *name*, holds; without asking how much that is.

    Raises:
        ProgrammingError: it holds nothing, or cannot be read.
    """
    if isinstance(given, memoryview):
        raise ProgrammingError(f"{name} must be an iterable, not a memoryview")
    try:
        yield from given
    except (TypeError, ValueError) as error:
        if is_from_outside(error):
            raise
        raise ProgrammingError(f"{name}, a {type(given).__name__}, cannot be read: {error}") from error


def native(params: Params) -> Params:
    """Return *params* with every value as SQLite can have it; the same object where all are that already.

    Raises:
        ProgrammingError: *params* is neither a sequence nor a mapping, or a value's type has no converter.
    """
    kind = type(params)
    if kind is tuple or kind is list:
        if BINDABLE.issuperset(map(type, params)):
            return params
    elif kind is dict:
        if BINDABLE.issuperset(map(type, cast("dict[str, Param]", params).values())):
            return params
    else:
        check_params(params)
    if isinstance(params, Mapping):
        return {key: native_value(value, f":{key}") for key, value in params.items()}
    return tuple([native_value(value, place) for place, value in enumerate(params, 1)])


def settled(params: Params) -> Params:
    """Return *params* as they are where their class is one of Python's own, otherwise `copied`."""
    return params if type(params) in _PLAIN else copied(params)


def copied(params: Params) -> Params:
    """Return *params* as a tuple or a dict; a caller's own class is asked here, and once.

    Raises:
        ProgrammingError: *params* is neither a sequence nor a mapping, or it is no good one.
    """
    check_params(params)
    try:
        if isinstance(params, Mapping):
            return {plain(key): value for key, value in islice(params.items(), _COPIED_MAX)}
        return tuple(islice(params, _COPIED_MAX))
    except (TypeError, ValueError, OverflowError) as error:
        if is_from_outside(error):
            raise
        raise ProgrammingError(f"params, a {type(params).__name__}, cannot be read: {error}") from error


def native_value(value: object, where: str | int) -> Param:
    """Return *value*, which is parameter *where*, as SQLite can have it; raises as `native`."""
    if type(value) in BINDABLE:
        return cast("Param", value)
    try:
        return to_sql(value)
    except ProgrammingError as error:
        if type(error) is not ProgrammingError:
            raise  # a converter's own, which has asked the database
        if _is_buffer(value):
            return cast("Param", value)
        raise ProgrammingError(f"parameter {where}: {error}") from error


def _is_buffer(value: object) -> bool:
    """Whether *value* is bytes of another kind, which APSW takes as they are."""
    try:
        return memoryview(cast("bytes", value)).c_contiguous
    except TypeError:
        return False


@lru_cache(maxsize=_TEXTS_MAX)
def _kept(sql: str) -> Parameters:
    return _found(sql)


def _found(sql: str) -> Parameters:
    texts: list[str | None] = []
    known: set[str] = set()
    for token in _TOKEN.finditer(sql):
        text: str | None = token["parameter"]
        if text is None or text in known:
            continue
        if text == "?":
            texts.append(None)
        elif text[0] != "?":
            known.add(text)
            texts.append(text)
        else:
            _number(texts, text)
    names = frozenset(text[1:] for text in texts if text is not None)
    nameless = texts.index(None) + 1 if None in texts else 0
    return Parameters(tuple(texts), names, nameless)


def _number(texts: list[str | None], text: str) -> None:
    """Put ``?5`` in its place: numbers that were left out before have no name."""
    digits = text[1:].lstrip("0")
    number = int(digits) if 0 < len(digits) <= len(str(_NUMBER_MAX)) else 0
    if not 1 <= number <= _NUMBER_MAX:
        return  # SQLite refuses the statement
    texts += [None] * (number - len(texts))
    if texts[number - 1] is None:
        texts[number - 1] = text


def _listed(names: Sequence[object]) -> str:
    shown = ", ".join(str(name) for name in names[:_SHOWN_MAX])
    return shown if len(names) <= _SHOWN_MAX else f"{shown} and {len(names) - _SHOWN_MAX} more"
