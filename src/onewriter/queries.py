"""The three shapes of a read: all rows, the first row, the one value; plain or as a type that the caller names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar, overload

from typing_extensions import TypeForm

from .errors import RowMismatch
from .mapping import check_into, mapper, takes_null
from .opened import Holding, OpenBlob, OpenCursor
from .parameters import Params
from .rows import Plain, Row
from .values import Value

T = TypeVar("T")


class Source(Holding, Protocol):
    """What SQL is run through: a connection, or a turn of one that may end."""

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child, and it is the parent's."""
        ...

    @property
    def killed_by(self) -> BaseException | None:
        """What ended the transaction under its user, if anything is known to."""
        ...

    def rows(self, sql: str, params: Params, /) -> list[Row]:
        """Run one statement to its end and return its rows."""
        ...

    def first(self, sql: str, params: Params, /) -> Row | None:
        """Run one statement as far as its first row, and return that."""
        ...

    def named_rows(self, sql: str, params: Params, /) -> tuple[list[Plain], tuple[str, ...]]:
        """Run one statement to its end; return its rows and, where there are any, the names of its columns."""
        ...

    def open_cursor(self, sql: str, params: Params, /) -> OpenCursor:
        """Begin one statement whose rows are fetched one by one."""
        ...

    def open_blob(self, table: str, column: str, rowid: int, /, *, writable: bool) -> OpenBlob:
        """Open one value for reading, or writing, piece by piece."""
        ...

    @property
    def opened(self) -> object:
        """What stayed open between two calls; false where nothing did."""
        ...

    def close_opened(self) -> None:
        """Close what stayed open between two calls."""
        ...

    def check_own(self) -> None:
        """Refuse, in a forked child, what is the parent's."""
        ...


@overload
def all_rows(source: Source, sql: str, params: Params, into: None) -> list[Row]: ...
@overload
def all_rows(source: Source, sql: str, params: Params, into: TypeForm[T]) -> list[T]: ...
@overload
def all_rows(source: Source, sql: str, params: Params, into: TypeForm[T] | None) -> list[Row] | list[T]: ...
def all_rows(source: Source, sql: str, params: Params, into: TypeForm[T] | None) -> list[Row] | list[T]:
    """Return every row, as *into* where it is given."""
    if into is None:
        return source.rows(sql, params)
    check_into(into)
    rows, names = source.named_rows(sql, params)
    return _made(rows, names, into, sql) if rows else []


@overload
def first_row(source: Source, sql: str, params: Params, into: None) -> Row | None: ...
@overload
def first_row(source: Source, sql: str, params: Params, into: TypeForm[T]) -> T | None: ...
@overload
def first_row(source: Source, sql: str, params: Params, into: TypeForm[T] | None) -> Row | T | None: ...
def first_row(source: Source, sql: str, params: Params, into: TypeForm[T] | None) -> Row | T | None:
    """Return the first row, as *into* where it is given; None where there is no row."""
    if into is None:
        return source.first(sql, params)
    check_into(into)
    row = source.first(sql, params)
    return None if row is None else _made([row], row.keys(), into, sql)[0]


@overload
def one_value(source: Source, sql: str, params: Params, into: None) -> Value: ...
@overload
def one_value(source: Source, sql: str, params: Params, into: TypeForm[T]) -> T: ...
@overload
def one_value(source: Source, sql: str, params: Params, into: TypeForm[T] | None) -> Value | T: ...
def one_value(source: Source, sql: str, params: Params, into: TypeForm[T] | None) -> Value | T:
    """Return the one value of the first row, as *into* where it is given.

    Raises:
        RowMismatch: there is no row (unless *into* takes None), or more than one column, or another type.
    """
    if into is not None:
        check_into(into)
    row = source.first(sql, params)
    if row is None:
        if into is not None and takes_null(into):
            return None
        msg = f"query_value found no row (in: {sql})"
        raise RowMismatch(msg, ran="rolled_back", sql=sql)
    if len(row) != 1:
        msg = f"query_value wants one column, the row has {len(row)}: {', '.join(row.keys())}"
        raise RowMismatch(msg, ran="rolled_back", sql=sql)
    return row[0] if into is None else _made([row], row.keys(), into, sql)[0]


def _made(rows: Sequence[Plain], names: tuple[str, ...], into: TypeForm[T], sql: str) -> list[T]:
    try:
        return mapper(into, names).all(rows)
    except RowMismatch as error:
        error.sql = sql
        raise
