"""The three shapes of a read: all rows, the first row, the one value; plain or as a type that the caller names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar, overload

from typing_extensions import TypeForm

from .errors import RowMismatch
from .values import Params, Row, Value, check_into, scalar_of, takes_null

T = TypeVar("T")


class Source(Protocol):
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

    def named_rows(self, sql: str, params: Params, /) -> tuple[list[Row], Sequence[str]]:
        """Run one statement to its end; return its rows and, where there are any, the names of its columns."""
        ...

    def check_own(self) -> None:
        """Refuse, in a forked child, what is the parent's."""
        ...


@overload
def all_rows(source: Source, sql: str, params: Params, into: None) -> list[Row]: ...
@overload
def all_rows(source: Source, sql: str, params: Params, into: TypeForm[T]) -> list[T]: ...
def all_rows(source: Source, sql: str, params: Params, into: TypeForm[T] | None) -> list[Row] | list[T]:
    """Return every row, as *into* where it is given."""
    if into is None:
        return source.rows(sql, params)
    check_into(into)
    rows, names = source.named_rows(sql, params)
    return [scalar_of(row, names, into) for row in rows]


@overload
def first_row(source: Source, sql: str, params: Params, into: None) -> Row | None: ...
@overload
def first_row(source: Source, sql: str, params: Params, into: TypeForm[T]) -> T | None: ...
def first_row(source: Source, sql: str, params: Params, into: TypeForm[T] | None) -> Row | T | None:
    """Return the first row, as *into* where it is given; None where there is no row."""
    if into is None:
        rows = source.rows(sql, params)
        return rows[0] if rows else None
    check_into(into)
    rows, names = source.named_rows(sql, params)
    return scalar_of(rows[0], names, into) if rows else None


@overload
def one_value(source: Source, sql: str, params: Params, into: None) -> Value: ...
@overload
def one_value(source: Source, sql: str, params: Params, into: TypeForm[T]) -> T: ...
def one_value(source: Source, sql: str, params: Params, into: TypeForm[T] | None) -> Value | T:
    """Return the one value of the first row, as *into* where it is given.

    Raises:
        RowMismatch: there is no row (unless *into* takes None), or more than one column, or another type.
    """
    if into is not None:
        check_into(into)
    rows, names = source.named_rows(sql, params)
    if not rows:
        if into is not None and takes_null(into):
            return None
        msg = f"query_value found no row (in: {sql})"
        raise RowMismatch(msg, ran="rolled_back", sql=sql)
    if into is not None:
        return scalar_of(rows[0], names, into)
    if len(rows[0]) != 1:
        msg = f"query_value wants one column, the row has {len(rows[0])}: {', '.join(names)}"
        raise RowMismatch(msg, ran="rolled_back", sql=sql)
    return rows[0][0]
