"""What a read returns where no ``into`` is given: tuples that know the names of their columns.

V1  A row is a tuple of its values: it compares, hashes, sorts, unpacks and iterates as one.
V2  The names belong to the shape, a class made once for each list of names, so that a row costs no more than a tuple.
V3  The cache of shapes is bounded: a program that makes shapes without end keeps the last ones alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from keyword import iskeyword
from typing import ClassVar, Final, SupportsIndex, TypeAlias, cast, overload

from .errors import ProgrammingError
from .values import Value

Plain: TypeAlias = tuple[Value, ...]  # a row as APSW gives it

_SHAPES_MAX: Final = 1_000
_Get: TypeAlias = Callable[[Plain, SupportsIndex | slice], Value | Plain]
_get = cast("_Get", tuple.__getitem__)  # pyright: ignore[reportUnknownMemberType] - of tuples of anything


class Row(tuple[Value, ...]):
    """One row: a tuple of its values, which can also be asked for by the names of their columns.

    ``row[0]``, ``row[-1]`` and ``row["size"]`` are values, ``row[:2]`` is a plain tuple, ``dict(row)`` is a
    dictionary. ``in``, ``len`` and iteration are those of the values. Columns are no attributes: a name can be any
    text, also that of a method.
    """

    __slots__ = ()
    # Of the shape (V2). A row that was not made by `row_class` has no names.
    _names: ClassVar[tuple[str, ...]] = ()
    _places: ClassVar[dict[str, int]] = {}

    @overload
    def __getitem__(self, key: SupportsIndex | str, /) -> Value: ...
    @overload
    def __getitem__(self, key: slice, /) -> tuple[Value, ...]: ...
    def __getitem__(self, key: SupportsIndex | slice | str, /) -> Value | tuple[Value, ...]:
        """Return the value at a position or of a column, or the values of a slice.

        Raises:
            KeyError: no column has the name.
            ProgrammingError: several have it.
        """
        if isinstance(key, str):
            place = self._places.get(key)
            if place is None:
                raise self._no_column(key)
            key = place
        return _get(self, key)

    def keys(self) -> tuple[str, ...]:
        """Return the names of the columns in their order."""
        return self._names

    def __repr__(self) -> str:
        """Show names and values as a call, or as a dictionary where a name could not stand in a call."""
        names = self._names
        if len(names) != len(self):
            return f"Row({tuple(self)!r})"
        pairs = list(zip(names, self, strict=True))
        if len(set(names)) == len(names) and all(map(_is_plain, names)):
            return f"Row({', '.join(f'{name}={value!r}' for name, value in pairs)})"
        return f"Row({{{', '.join(f'{name!r}: {value!r}' for name, value in pairs)}}})"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle names and values: the shape is made again where they are read."""
        return make_row, (self._names, tuple(self))

    def _no_column(self, name: str) -> Exception:
        if name in self._names:
            return ProgrammingError(
                f"{self._names.count(name)} columns of the row are named {name!r}: ask for one by its position, "
                "or give each a name of its own (SELECT ... AS ...)"
            )
        return KeyError(f"the row has no column {name!r}, but {', '.join(map(repr, self._names))}")


def _is_plain(name: str) -> bool:
    return name.isidentifier() and not iskeyword(name)


# A class is called from C, as by `map(shape, rows)`: with 5 columns that took 0.12 us a row on Python 3.11, against
# 0.15 for `map(tuple.__new__, repeat(shape), rows)`, 0.19 for a `functools.partial` of `tuple.__new__`, and 0.13 for
# a comprehension. So there is no `__new__` here.
@lru_cache(maxsize=_SHAPES_MAX)
def row_class(names: tuple[str, ...]) -> type[Row]:
    """Return the shape of the rows whose columns have *names*: call it with a tuple of as many values.

    For many rows: ``list(map(row_class(names), rows))``.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        places[name] = -1 if name in places else place
    own = {
        "__slots__": (),
        "__module__": Row.__module__,
        "__doc__": Row.__doc__,
        "_names": names,
        "_places": {name: place for name, place in places.items() if place >= 0},
    }
    return type(Row.__name__, (Row,), own)


def make_row(names: tuple[str, ...], values: tuple[Value, ...]) -> Row:
    """Return a row of *values* in columns named *names*."""
    return row_class(names)(values)
