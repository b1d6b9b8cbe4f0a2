"""What one column may become: a type as the caller wrote it, and what that asks of the column's value."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, Literal, NamedTuple, NewType, Union, cast, get_args, get_origin

import typing_extensions

from . import converters
from .errors import ProgrammingError
from .values import Value

ALLOWED: Final = (
    "int, float, str, bytes, bool, datetime, date, Decimal, UUID, an Enum, a Path, a type that "
    "onewriter.converters.register was given, a Literal, a union of the first four, or any of these with None"
)
# What a conversion raises where a value is none of its type.
FAULTS: Final = (ValueError, TypeError, LookupError, ArithmeticError)
# Both, since typing_extensions has one of its own up to Python 3.13.
_ALIASES: Final = tuple(
    {typing_extensions.TypeAliasType, getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType)}
)


class Kind(NamedTuple):
    """What a column must hold, and what becomes of it.

    Attributes:
        text: the type, for messages.
        takes: the types of value it takes, exactly these; None where any value will do, NULL too.
        nullable: NULL is taken, and is None.
        widens: a whole number is taken too, and made a float.
        convert: makes of the value what is wanted, or None where the value is that. It may raise `FAULTS`.
    """

    text: str
    takes: tuple[type, ...] | None
    nullable: bool = False
    widens: bool = False
    convert: Callable[[Value], object] | None = None

    @property
    def expected(self) -> str:
        """What a column must hold, for messages."""
        if self.convert is None or self.takes is None:
            return self.text
        return f"{self.text} (stored as {' or '.join(kind.__name__ for kind in self.takes)})"


def shown(hint: object) -> str:
    """Return a type as a message names it; of a value that is none, only what it is a value of."""
    if hint is None or hint is types.NoneType:
        return "None"
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint.__name__
    if get_origin(hint) is not None or isinstance(hint, (NewType, typing.TypeVar, *_ALIASES)):
        return _text(hint).replace("typing.", "")
    is_typing = type(hint).__module__ in {"typing", "typing_extensions"}
    return _text(hint) if is_typing else f"a value of type {type(hint).__name__}"


def _text(hint: object) -> str:
    try:
        return str(hint)
    except RecursionError:  # it is too deep
        return f"a {type(hint).__name__}"


def bare(hint: object) -> object:
    """Return what *hint* stands for: Annotated, NewType and aliases say nothing to a column."""
    if get_origin(hint) is Annotated:
        return bare(get_args(hint)[0])
    if isinstance(hint, NewType):
        return bare(hint.__supertype__)
    if isinstance(hint, _ALIASES):
        return bare(cast("typing_extensions.TypeAliasType", hint).__value__)
    return types.NoneType if hint is None else hint


def kind_of(hint: object) -> Kind | None:
    """Return what *hint* asks of a column, or None where no column can become it.

    Raises:
        ProgrammingError: an enumeration, or a Literal, has members that cannot be stored, or are stored alike.
    """
    hint = bare(hint)
    if hint is Any or hint is object:
        return Kind("object", None)
    if get_origin(hint) in (Union, types.UnionType):
        return _of_union([bare(part) for part in get_args(hint)])
    if get_origin(hint) is Literal:
        return _of_literal(get_args(hint))
    return _of_class(hint) if isinstance(hint, type) and get_origin(hint) is None else None


def _of_class(hint: type) -> Kind | None:
    if hint in converters.STORED:
        return Kind(hint.__name__, (hint,), widens=hint is float)
    converter = converters.converter_of(hint)
    if converter is None:
        return None
    widens = float in converter.stored and int not in converter.stored
    return Kind(hint.__name__, converter.stored, widens=widens, convert=converter.from_sql)


def _of_union(parts: list[object]) -> Kind | None:
    nullable = types.NoneType in parts
    parts = [part for part in parts if part is not types.NoneType]
    if any(get_origin(part) is Literal for part in parts):
        if not all(get_origin(part) is Literal for part in parts):
            return None
        return _with_null(
            _of_literal(member for part in parts for member in get_args(part)), nullable=nullable
        )
    kinds = [kind_of(part) for part in parts]  # a part may be an alias of a union
    if len(kinds) == 1:
        return _with_null(kinds[0], nullable=nullable)
    natives = [kind for kind in kinds if kind is not None and kind.convert is None]
    if not natives or len(natives) != len(kinds):
        return None
    return _with_null(_joined(natives), nullable=nullable)


def _joined(kinds: list[Kind]) -> Kind | None:
    if any(kind.takes is None for kind in kinds):
        return Kind("object", None)
    takes = tuple(each for each in converters.STORED if any(each in (kind.takes or ()) for kind in kinds))
    text = " | ".join(each.__name__ for each in takes)
    return _with_null(
        Kind(text, takes, widens=float in takes and int not in takes),
        nullable=any(kind.nullable for kind in kinds),
    )


def _with_null(kind: Kind | None, *, nullable: bool) -> Kind | None:
    if kind is None or not nullable or kind.nullable or kind.takes is None:
        return kind
    return kind._replace(text=f"{kind.text} | None", nullable=True)


def _of_literal(members: Iterable[object]) -> Kind | None:
    values: dict[Value, object] = {}
    nullable = False
    for member in members:
        if member is None:
            nullable = True
            continue
        stored = converters.to_sql(member)
        known = values.setdefault(stored, member)
        if type(known) is not type(member) or known != member:
            raise ProgrammingError(f"a Literal's {known!r} and {member!r} are stored alike")
    takes = tuple(each for each in converters.STORED if any(type(value) is each for value in values))
    text = f"Literal[{', '.join(map(repr, values.values()))}]"
    return _with_null(Kind(text, takes, convert=values.__getitem__), nullable=nullable) if values else None
