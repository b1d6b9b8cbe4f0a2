"""From rows to what ``into`` asked for, by a function that is generated for the pair of names and type.

M1  A value is of exactly the type that its field asks for, or the row is refused: nothing is guessed. A whole number
    is taken for a float too, and NULL only where None is.
M2  Every column has its field, and every field that must be filled its column, or the row is refused, once for all
    rows. A name is asked for by one column.
M3  No value is put in a message: those name types.
M4  What is generated is made of numbers and of names of ours alone; what the caller named is handed to it.
M5  What was generated is kept as long as the registry of converters that it was made from, in a bounded cache.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Final, Generic, NamedTuple, TypeVar, cast

from typing_extensions import TypeForm

from .converters import generation
from .errors import RowMismatch
from .kinds import FAULTS, Kind
from .makers import Maker, maker
from .rows import Plain
from .shapes import Shape, shape_of
from .values import Value

T = TypeVar("T")
_SHAPES_MAX: Final = 500
_MAPPERS_MAX: Final = 1_000


class Mapper(NamedTuple, Generic[T]):
    """What makes a type of rows that have certain columns.

    Attributes:
        one: makes one of one row.
        all: makes a list of several rows.
    """

    one: Callable[[Plain], T]
    all: Callable[[Iterable[Plain]], list[T]]


def check_into(into: object) -> None:
    """Refuse a type that no row can become, before anything runs.

    Raises:
        ProgrammingError: *into* is no such type, or one of its fields is none.
    """
    _shape(into)


def takes_null(into: object) -> bool:
    """Return whether *into* is the type of one value and allows None."""
    shape = _shape(into)
    return shape.sort == "value" and (shape.fields[0].kind.nullable or shape.fields[0].kind.takes is None)


def is_scalar(into: object) -> bool:
    """Return whether *into* is the type of one value, rather than of a row with several."""
    return _shape(into).sort == "value"


def mapper(into: TypeForm[T], names: tuple[str, ...]) -> Mapper[T]:
    """Return what makes *into* of rows whose columns have *names*.

    Its functions raise `RowMismatch` for a value that does not fit, and what the caller's own ``__post_init__``
    raises.

    Raises:
        RowMismatch: the names are not those that *into* wants.
        ProgrammingError: see `check_into`.
    """
    try:
        made = _kept_mapper(cast("Hashable", into), names, generation())
    except (TypeError, ValueError):  # of a buffer too
        if _is_hashable(into):
            raise
        made = _mapper(into, names)
    return cast("Mapper[T]", made)


# --- what is kept, by rule M5


@lru_cache(maxsize=_SHAPES_MAX)
def _kept_shape(into: Hashable, _generation: int) -> Shape:
    return shape_of(into)


@lru_cache(maxsize=_MAPPERS_MAX)
def _kept_mapper(into: Hashable, names: tuple[str, ...], _generation: int) -> Mapper[object]:
    return _mapper(into, names)


def _shape(into: object) -> Shape:
    try:
        return _kept_shape(into, generation())
    except (TypeError, ValueError):  # of a buffer too
        if _is_hashable(into):
            raise
        return shape_of(into)  # an Annotated may hold a list


def _is_hashable(into: object) -> bool:
    try:
        hash(into)
    except (TypeError, ValueError):  # of a buffer too
        return False
    return True


# --- names


def _places(shape: Shape, names: tuple[str, ...]) -> list[int | None]:
    """Return the column of each field, None for one that the row does not have (M2)."""
    if shape.sort == "value":
        if len(names) != 1:
            wants = f"into={shape.text} wants one column, the row has {len(names)}"
            raise RowMismatch(f"{wants}: {', '.join(names)}", ran="rolled_back")
        return [0]
    wanted = [field.name for field in shape.fields]
    missing = tuple(field.name for field in shape.fields if field.required and field.name not in names)
    surplus = tuple(dict.fromkeys(name for name in names if name not in wanted))
    if missing or surplus:
        raise _wrong_names(shape, names, missing, surplus)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        told = f"into={shape.text}: the row has {names.count(twice)} columns named {twice!r}"
        raise RowMismatch(f"{told}: leave one, or name it with AS", column=twice, ran="rolled_back")
    return [names.index(name) if name in names else None for name in wanted]


def _wrong_names(
    shape: Shape, names: tuple[str, ...], missing: tuple[str, ...], surplus: tuple[str, ...]
) -> RowMismatch:
    has = f"has surplus columns: {', '.join(surplus)}"
    more = f" (and {has})" if surplus else ""
    what = f"the row lacks {', '.join(missing)}{more}" if missing else f"the row {has}"
    lists = f"wanted: {', '.join(field.name for field in shape.fields)}; in the row: {', '.join(names)}"
    return RowMismatch(
        f"into={shape.text}: {what}; {lists}", missing=missing, surplus=surplus, ran="rolled_back"
    )


# --- values


class _Column(NamedTuple):
    """One column, and what *into* wants of it."""

    name: str
    into: str
    kind: Kind

    def widened(self, value: Value) -> float:
        """Return a whole number as a float, where that is wanted; the value is of no type that is (M1)."""
        if self.kind.widens and type(value) is int:
            return float(value)
        raise self._mismatch(self.kind.expected, "NULL" if value is None else type(value).__name__, "")

    def unfit(self, value: Value) -> RowMismatch:
        """Return the error for a value of the right type which its converter does not take."""
        return self._mismatch(self.kind.text, type(value).__name__, " that is none")

    def _mismatch(self, wanted: str, got: str, more: str) -> RowMismatch:
        return RowMismatch(
            f"column {self.name!r}: into={self.into} expects {wanted}, got {got}{more}",
            column=self.name,
            expected=self.kind.text,
            got=got,
            ran="rolled_back",
        )


def _steps(column: _Column, value: str, bound: dict[str, object]) -> Iterator[str]:
    """Yield the statements that check and convert the variable *value*, and add to *bound* what they name."""
    kind = column.kind
    if kind.takes is None:
        return
    wrong = " and ".join(f"type({value}) is not {value}_{place}" for place in range(len(kind.takes)))
    bound |= {f"{value}_{place}": each for place, each in enumerate(kind.takes)}
    bound[f"{value}_widened"] = column.widened
    if kind.convert is None:
        if kind.nullable:
            wrong = f"{wrong} and {value} is not None"
        yield f"if {wrong}: {value} = {value}_widened({value})"
        return
    bound |= {f"{value}_convert": kind.convert, f"{value}_unfit": column.unfit, "faults": FAULTS}
    deeper = ""
    if kind.nullable:
        yield f"if {value} is not None:"
        deeper = "    "
    yield f"{deeper}if {wrong}: {value} = {value}_widened({value})"
    yield f"{deeper}try: {value} = {value}_convert({value})"
    yield f"{deeper}except faults as error: raise {value}_unfit({value}) from error"


# --- the functions


def _mapper(into: object, names: tuple[str, ...]) -> Mapper[object]:
    shape = _shape(into)
    bound: dict[str, object] = {"type": type}
    steps: list[str] = []
    values: list[str | None] = []
    for number, (field, place) in enumerate(zip(shape.fields, _places(shape, names), strict=True)):
        if place is not None:
            column = _Column(names[place], shape.text, field.kind)
            steps += _steps(column, f"c{place}", bound)
            values.append(f"c{place}")
        elif field.factory is not None:
            bound[f"f{number}"] = field.factory
            values.append(f"f{number}()")
        else:
            bound[f"d{number}"] = field.default
            values.append(None if shape.sort == "typeddict" else f"d{number}")
    return _generated(len(names), steps, maker(shape, values), bound)


def _generated(columns: int, steps: list[str], made: Maker, bound: dict[str, object]) -> Mapper[object]:
    """Return the two functions; the names they use are variables within the loop, which is faster than globals."""
    bound = bound | made.bound
    row = "".join(f"c{place}, " for place in range(columns))
    each = [*steps, *made.lines]
    source = [
        "def one(row):",
        f"    {row}= row",
        *(f"    {line}" for line in each),
        f"    return {made.expression}",
        "def all(rows):",
        f"    {''.join(f'{name}, ' for name in bound)}= bound",
        "    found = []",
        "    add = found.append",
        f"    for {row}in rows:",
        *(f"        {line}" for line in each),
        f"        add({made.expression})",
        "    return found",
    ]
    namespace: dict[str, object] = {**bound, "bound": tuple(bound.values())}
    code = compile("\n".join(source), "<onewriter.mapping>", "exec")
    exec(code, namespace)  # noqa: S102 - as dataclasses and namedtuple do; no text of anybody's is in it (M4)
    for name in ("one", "all"):
        function = cast("FunctionType", namespace[name])
        function.__code__ = _renamed(function.__code__, made.attributes)
    one, every = namespace["one"], namespace["all"]
    return Mapper(
        cast("Callable[[Plain], object]", one), cast("Callable[[Iterable[Plain]], list[object]]", every)
    )


def _renamed(code: CodeType, attributes: dict[str, str]) -> CodeType:
    return code.replace(co_names=tuple(attributes.get(name, name) for name in code.co_names))
