"""What goes into SQLite and what comes out: SQL texts, parameters, rows, results, scalars."""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias, TypeVar, Union, cast, get_args, get_origin

from typing_extensions import TypeForm

from .errors import ProgrammingError, RowMismatch

Value: TypeAlias = None | int | float | str | bytes
Params: TypeAlias = Sequence[Value] | Mapping[str, Value]
Row: TypeAlias = tuple[Value, ...]
T = TypeVar("T")


class SQL(str):
    """A computed SQL text, marked as meant.

    Every call takes a ``LiteralString`` or this: so a type checker finds text that was put together from input.
    Whoever writes ``SQL(text)`` vouches for *text*.
    """

    __slots__ = ()


class Result(NamedTuple):
    """What a statement did.

    Attributes:
        rows: the rows it returned (a ``RETURNING`` clause, or a SELECT).
        changes: rows that it inserted, changed or deleted itself, not its triggers
            (https://sqlite.org/c3ref/changes.html); 0 where there were none.
        last_insert_rowid: the rowid of the last row that it inserted, or 0.
    """

    rows: list[Row]
    changes: int
    last_insert_rowid: int


def check_params(params: object) -> None:
    """Refuse what SQLite would take apart wrongly: a bare string binds its letters one by one."""
    kind = type(params)
    if kind is tuple or kind is dict or kind is list:
        return
    if isinstance(params, (str, bytes, bytearray, memoryview)):
        msg = f"params must be a sequence or a mapping, not {kind.__name__}: write (value,) for a single one"
        raise ProgrammingError(msg)
    if not isinstance(params, (Sequence, Mapping)):
        msg = f"params must be a sequence or a mapping, not {kind.__name__}"
        raise ProgrammingError(msg)


def freeze(params: Params) -> Params:
    """Return *params* as plain data, which another thread may read: a caller's own class is asked here and now."""
    kind = type(params)
    if kind is tuple:
        return params
    check_params(params)
    return (
        {plain(key): value for key, value in params.items()} if isinstance(params, Mapping) else tuple(params)
    )


def plain(text: T) -> T:
    """Return a text as a string of Python's own class: another's code would run on the thread that uses it."""
    return text if type(text) is str or not isinstance(text, str) else cast("T", str.__str__(text))


class _Scalar(NamedTuple):
    kind: type[int | float | str | bytes]
    nullable: bool


_KINDS: tuple[type[int | float | str | bytes], ...] = (int, float, str, bytes)


@lru_cache(maxsize=256)
def _scalar(into: Hashable) -> _Scalar:
    for kind in _KINDS:
        if into is kind:
            return _Scalar(kind, nullable=False)
    if get_origin(into) in (Union, types.UnionType):
        rest = [part for part in get_args(into) if part is not types.NoneType]
        if len(rest) == 1 and len(get_args(into)) == 2:  # noqa: PLR2004 - X and None
            return _scalar(rest[0])._replace(nullable=True)
    raise _no_type(into)


def _spec(into: object) -> _Scalar:
    if not isinstance(into, Hashable):
        raise _no_type(into)
    return _scalar(into)


def _no_type(into: object) -> ProgrammingError:
    return ProgrammingError(f"into must be int, float, str, bytes, or one of them with None, not {into!r}")


def check_into(into: object) -> None:
    """Refuse a type that no value of a row can become, before anything runs."""
    _spec(into)


def takes_null(into: object) -> bool:
    """Return whether *into* allows None."""
    return _spec(into).nullable


def scalar_of(row: Row, names: Sequence[str], into: TypeForm[T]) -> T:
    """Return the one value of *row* as *into*; a whole number is taken for a float too.

    Raises:
        RowMismatch: *row* has more than one column, or its value is of another type, or NULL.
    """
    kind, nullable = _spec(into)
    if len(row) != 1:
        msg = f"into={_shown(into)} wants one column, the row has {len(row)}: {', '.join(names)}"
        raise RowMismatch(msg)
    value = row[0]
    if type(value) is kind or (value is None and nullable):
        return cast("T", value)
    if kind is float and type(value) is int:
        return cast("T", float(value))
    got = "NULL" if value is None else type(value).__name__
    msg = f"column {names[0]!r}: into={_shown(into)} does not take {got}"
    raise RowMismatch(msg)


def _shown(into: object) -> str:
    return into.__name__ if isinstance(into, type) else str(into)
