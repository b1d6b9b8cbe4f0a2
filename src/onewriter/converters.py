"""Python's types beside SQLite's four: how a value of each is stored, and how it comes back.

========================  =======  ======================================================================
type                      column   what is stored
========================  =======  ======================================================================
``bool``                  INTEGER  0 or 1
``datetime``              TEXT     ``2026-03-25T23:28:46.000000+00:00``: microseconds always, so that the texts
                                   sort as the times do. One with a time zone is stored and comes back in UTC;
                                   one without is stored and comes back without, and is never taken for UTC
``date``                  TEXT     ``2026-03-25``
``Decimal``               TEXT     its digits, exact
``UUID``                  TEXT     ``12345678-1234-5678-1234-567812345678``
``Enum``, of any sort     its      the member's value, as the value's own type is stored; a member that is an int, a
                          value's  float, a text or bytes itself is stored as that
``PurePath``, ``Path``    TEXT     its text
========================  =======  ======================================================================

SQLite's own date functions read what is stored (https://sqlite.org/lang_datefunc.html). A column of another type may
change it: a ``Decimal`` in a NUMERIC column becomes a float, and is refused when it comes back.

C1  `register` adds a type, or replaces what is known of one. The types that SQLite stores as they are cannot be.
C2  A value's type is looked up by itself, then along its bases: a ``PosixPath`` is a ``Path``, and a ``datetime``,
    which has its own, is no ``date``. An enumeration is looked up among its bases that are enumerations.
C3  On the way out a base does not do, since its converter makes another type: but for the enumerations and paths.
C4  The registry is never changed, but replaced by another under the lock; a look-up takes no lock. Each has a number
    of its own, by which others know that what they have derived from it is old.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from types import NoneType
from typing import Any, Final, NamedTuple, TypeVar, cast, overload
from uuid import UUID

from .errors import DataError, ProgrammingError
from .translate import is_from_outside
from .values import Value

T = TypeVar("T")
S = TypeVar("S", bound=Value)

NATIVE: Final = frozenset({NoneType, int, float, str, bytes})
STORED: Final = (int, float, str, bytes)
_NEVER: Final = (*NATIVE, object, bytearray, memoryview)
_SEVERAL: Final = frozenset({list, tuple, set, frozenset})  # of which SQLite has no type
_REMEMBERED_MAX: Final = 1_000


class Converter(NamedTuple):
    """How the values of *kind* become what SQLite stores and come back.

    Attributes:
        kind: the type.
        to_sql: makes a value storable.
        from_sql: makes one of what the column holds, which is of one of the types *stored*.
        stored: those types.
        derive: makes the converter of a subclass, where one can be made (C3).
    """

    kind: type
    to_sql: Callable[[Any], object]
    from_sql: Callable[[Any], object]
    stored: tuple[type, ...]
    derive: Callable[[type], Converter | None] | None = None


class _Registry:
    """One state of what is known; *number* counts them (C4)."""

    def __init__(self, known: dict[type, Converter], number: int) -> None:
        self.known: Final = known
        self.number: Final = number
        # What was found along the bases. Threads may both find and both remember the same.
        self._inward: dict[type, Converter | None] = {}

    def inward(self, kind: type) -> Converter | None:
        """Return what stores values of *kind* (C2)."""
        try:
            return self._inward[kind]
        except KeyError:
            found = self.known.get(kind) or self._of_bases(kind) or _of_native(kind)
            if len(self._inward) >= _REMEMBERED_MAX:
                self._inward.clear()
            self._inward[kind] = found
            return found

    def outward(self, kind: type) -> Converter | None:
        """Return what makes values of *kind*, and of no other type (C3)."""
        found = self.known.get(kind) or self._of_bases(kind)
        if found is not None and found.derive is not None:
            return found.derive(kind)
        return found if found is not None and found.kind is kind else None

    def _of_bases(self, kind: type) -> Converter | None:
        bases = kind.__mro__
        if issubclass(kind, Enum):
            bases = tuple(base for base in bases if issubclass(base, Enum))
        return next((self.known[base] for base in bases if base in self.known), None)


def _of_native(kind: type) -> Converter | None:
    return next((_PLAIN[base] for base in kind.__mro__ if base in _PLAIN), None)


# --- the library's own


def _datetime_to_sql(value: datetime) -> str:
    try:
        if value.utcoffset() is None:
            return value.isoformat(timespec="microseconds")
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    except (TypeError, ValueError) as error:
        if is_from_outside(error):
            raise
        raise ProgrammingError(f"the time zone of a datetime is no good one: {error}") from error
    except OverflowError as error:
        raise DataError("a datetime is before the year 1 or after the year 9999 in UTC") from error


def _datetime_from_sql(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo is None or value.tzinfo is UTC else value.astimezone(UTC)


def _bool_from_sql(value: int) -> bool:
    if value not in (0, 1):
        raise ValueError
    return value == 1


def _member_to_sql(member: Enum) -> Value:
    native = _of_native(type(member))  # APSW takes those as they are
    return to_sql(member.value) if native is None else cast("Value", native.to_sql(member))


def _of_enumeration(kind: type) -> Converter | None:
    """Return the converter of an enumeration; None where it has no members that a column could hold."""
    enumeration = cast("type[Enum]", kind)
    members: dict[Value, Enum] = {}
    for member in enumeration.__members__.values():
        try:
            known = members.setdefault(_member_to_sql(member), member)
        except ProgrammingError as error:
            raise ProgrammingError(f"{kind.__qualname__}.{member.name}: {error}") from error
        if known is not member:
            raise ProgrammingError(
                f"{kind.__qualname__}.{known.name} and .{member.name} are stored alike: they could not be told apart"
            )
    stored = {type(value) for value in members} - {NoneType}
    if not stored:
        return None

    def from_sql(value: Value) -> Enum:
        member = members.get(value)
        return enumeration(value) if member is None else member  # flags together, or found by _missing_

    return Converter(kind, _member_to_sql, from_sql, tuple(each for each in STORED if each in stored))


def _of_path(kind: type) -> Converter:
    return Converter(kind, str, kind, (str,))


_PLAIN: Final[dict[type, Converter]] = {
    kind: Converter(kind, plain, kind, (kind,))
    for kind, plain in (
        (int, int.__int__),
        (float, float.__float__),
        (str, str.__str__),
        (bytes, bytes.__bytes__),
        (bytearray, bytes),
        (memoryview, bytes),
    )
}
_OWN: Final = (
    Converter(bool, int, _bool_from_sql, (int,)),
    Converter(datetime, _datetime_to_sql, _datetime_from_sql, (str,)),
    Converter(date, date.isoformat, date.fromisoformat, (str,)),
    Converter(Decimal, str, Decimal, (str,)),
    Converter(UUID, str, UUID, (str,)),
    Converter(Enum, _member_to_sql, Enum, STORED, _of_enumeration),
    Converter(PurePath, str, PurePath, (str,), _of_path),
    Converter(Path, str, Path, (str,), _of_path),
)
# Whether a type has a converter that is not the library's. APSW asks for values that it cannot bind, but it may be one
# of an int's subclass, or of a buffer, which it binds as they are: then every parameter is looked at before.
wary = False
_lock: Final = threading.Lock()
_registry = _Registry({converter.kind: converter for converter in _OWN}, 0)  # replaced under _lock


# --- what is asked


@overload
def register(
    kind: type[T], *, to_sql: Callable[[T], Value], from_sql: Callable[[S], T], stored: type[S]
) -> None: ...
@overload
def register(
    kind: type[T],
    *,
    to_sql: Callable[[T], Value],
    from_sql: Callable[[Value], T],
    stored: tuple[type[int | float | str | bytes], ...],
) -> None: ...
def register(
    kind: type[T],
    *,
    to_sql: Callable[[T], Value],
    from_sql: Callable[[Any], T],
    stored: type | tuple[type, ...],
) -> None:
    """Have values of *kind* taken as parameters and made by ``into``; a type that is known already is replaced.

    Holds for the whole process, from now on. Values of subclasses are stored by it too, unless these have a
    converter of their own; but ``into`` takes *kind* alone.

    Args:
        kind: the type, a class.
        to_sql: makes a value an int, a float, a str, bytes or None.
        from_sql: makes a value of what the column holds; never called for NULL, which ``into=kind | None`` allows. A
            ValueError, TypeError, LookupError or ArithmeticError of it becomes a `RowMismatch`.
        stored: the type of what the column holds, or several; anything else is a `RowMismatch`. A whole number is
            made a float where float is named and int is not.

    Raises:
        ProgrammingError: *kind* is a type that SQLite stores as it is, or an argument is no such thing.
    """
    global _registry, wary  # noqa: PLW0603 - one reference, replaced as a whole: readers need no lock (C4)
    converter = Converter(kind, to_sql, from_sql, stored if isinstance(stored, tuple) else (stored,))
    _check(converter)
    with _lock:
        wary = True
        _registry = _Registry({**_registry.known, kind: converter}, _registry.number + 1)


def to_sql(value: object) -> Value:
    """Return *value* as SQLite can store it: itself where it is native, otherwise what its type's converter makes.

    Raises:
        ProgrammingError: its type has no converter, or one that returned what cannot be stored.
        DataError: a datetime that no year of UTC has.
    """
    kind = type(value)
    if kind in NATIVE:
        return cast("Value", value)
    converter = _registry.inward(kind)
    if converter is None:
        way_out = f"register its type once with onewriter.converters.register({kind.__name__}, ...)"
        if kind in _SEVERAL:
            way_out = "give it as JSON, and take it apart in SQL: IN (SELECT value FROM json_each(?))"
        raise ProgrammingError(
            f"a value of type {kind.__qualname__} cannot be stored: make it an int, float, str or bytes, or {way_out}"
        )
    stored = converter.to_sql(value)
    if type(stored) in NATIVE:
        return cast("Value", stored)
    plain = _of_native(type(stored))
    if plain is None:
        raise ProgrammingError(
            f"the converter of {converter.kind.__qualname__} returned a value of type {type(stored).__qualname__}: "
            "its to_sql must return an int, float, str, bytes or None"
        )
    return cast("Value", plain.to_sql(stored))


def converter_of(kind: type) -> Converter | None:
    """Return the converter that makes values of *kind*, or None where there is none.

    Raises:
        ProgrammingError: *kind* is an enumeration with members that cannot be stored, or are stored alike.
    """
    return _registry.outward(kind)


def generation() -> int:
    """Return a number that another one replaces at each `register`."""
    return _registry.number


def _check(converter: Converter) -> None:
    kind = converter.kind
    if not isinstance(kind, type):  # pyright: ignore[reportUnnecessaryIsInstance] - not everybody has a checker
        raise ProgrammingError(f"kind must be a class, not {type(kind).__name__}")
    if kind in _NEVER:
        raise ProgrammingError(f"{kind.__name__} is stored as it is: a converter of it would never be asked")
    for name, function in (("to_sql", converter.to_sql), ("from_sql", converter.from_sql)):
        if not callable(function):
            raise ProgrammingError(f"{name} of {kind.__qualname__} must be a function of one value")
    if not converter.stored or any(each not in STORED for each in converter.stored):
        raise ProgrammingError(
            f"stored of {kind.__qualname__} must be int, float, str or bytes, or a tuple of some of them"
        )
