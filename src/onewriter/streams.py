"""The rows of one statement, one by one, from one snapshot: memory is bounded by the largest row."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, NoReturn, Self, TypeVar, overload

from typing_extensions import TypeForm

from .errors import RowMismatch, WrongThread
from .mapping import mapper
from .opened import Holding, OpenCursor
from .rows import Plain, Row, row_class

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Rows(Generic[T_co]):
    """An iterator over the rows of a statement, for the thread that made it, up to the end of its block."""

    def __init__(self, source: Holding, opened: OpenCursor, sql: str, make: Callable[[Plain], T_co]) -> None:
        """Read *opened*, and make of each row what is asked for."""
        self._source = source
        self._opened = opened
        self._sql = sql
        self._make = make
        self._thread = threading.get_ident()

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> T_co:
        """Return the next row.

        Raises:
            TransactionEnded: the block, or the transaction that it belongs to, has ended.
            StatementTimeout: it took too long, or its snapshot was kept for longer than ``Config.reader_age_max_s``.
            RowMismatch: the row does not fit.
            WrongThread: it is another thread's.
        """
        if threading.get_ident() != self._thread:
            msg = "a stream belongs to the thread it was made for"
            raise WrongThread(msg)
        row = self._source.run(self._opened.fetch)
        if row is None:
            raise StopIteration
        try:
            return self._make(row)
        except RowMismatch as error:
            error.sql = self._sql
            raise
        except StopIteration as error:  # it would be taken for the end of the rows
            raise RuntimeError("the class that a row was to become raised StopIteration") from error


@overload
def rows(source: Holding, opened: OpenCursor, sql: str, into: None) -> Rows[Row]: ...
@overload
def rows(source: Holding, opened: OpenCursor, sql: str, into: TypeForm[T]) -> Rows[T]: ...
@overload
def rows(source: Holding, opened: OpenCursor, sql: str, into: TypeForm[T] | None) -> Rows[Row] | Rows[T]: ...
def rows(source: Holding, opened: OpenCursor, sql: str, into: TypeForm[T] | None) -> Rows[Row] | Rows[T]:
    """Iterate over what is *opened*; each row becomes an *into*, or a `Row`."""
    if into is None:
        return Rows(source, opened, sql, row_class(opened.names))
    if not opened.names:
        return Rows(source, opened, sql, _no_row)
    try:
        return Rows(source, opened, sql, mapper(into, opened.names).one)
    except RowMismatch as error:
        error.sql = sql
        raise


def _no_row(row: Plain) -> NoReturn:
    raise AssertionError(row)
