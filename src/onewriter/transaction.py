"""What a caller's function is given: a view of one transaction that ends with it.

X1  A transaction is used by the thread it was made for, and not after its end.
X2  Once SQLite has ended it behind our back (connection, N3), every further call is refused: it would otherwise
    commit by itself.
X3  Nothing of APSW is handed out.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import LiteralString, TypeVar, overload

from typing_extensions import TypeForm

from . import queries, statements
from .connection import Connection
from .errors import TransactionEnded, WrongThread
from .values import SQL, Params, Result, Row, Value

T = TypeVar("T")


class ReadTransaction:
    """One snapshot of the database: all its reads see the same state."""

    __slots__ = ("_connection", "_ended", "_thread")

    def __init__(self, connection: Connection) -> None:
        """Made by the library, for the calling thread."""
        self._connection = connection
        self._thread = threading.get_ident()
        self._ended = False

    @overload
    def query(self, sql: LiteralString | SQL, params: Params = ...) -> list[Row]: ...
    @overload
    def query(self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T]) -> list[T]: ...
    def query(
        self, sql: LiteralString | SQL, params: Params = (), *, into: TypeForm[T] | None = None
    ) -> list[Row] | list[T]:
        """Return the rows of one statement; with *into*, the values of its one column.

        Raises:
            RowMismatch: a row does not fit *into*.
            TransactionEnded, WrongThread: see the module.
        """
        return queries.all_rows(self._use(), sql, params, into)

    @overload
    def query_one(self, sql: LiteralString | SQL, params: Params = ...) -> Row | None: ...
    @overload
    def query_one(self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T]) -> T | None: ...
    def query_one(
        self, sql: LiteralString | SQL, params: Params = (), *, into: TypeForm[T] | None = None
    ) -> Row | T | None:
        """Return the first row, or None where there is none; further rows are dropped."""
        return queries.first_row(self._use(), sql, params, into)

    @overload
    def query_value(self, sql: LiteralString | SQL, params: Params = ...) -> Value: ...
    @overload
    def query_value(self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T]) -> T: ...
    def query_value(
        self, sql: LiteralString | SQL, params: Params = (), *, into: TypeForm[T] | None = None
    ) -> Value | T:
        """Return the one value of the first row.

        Raises:
            RowMismatch: there is no row (unless *into* takes None), or more than one column, or another type.
        """
        return queries.one_value(self._use(), sql, params, into)

    def end(self) -> None:
        """Refuse all further use. The library calls this when the function or the block has ended."""
        self._ended = True

    def _use(self) -> Connection:
        """Return the connection for one call (X1)."""
        if self._ended:
            msg = "the transaction is over; it cannot be used after its function or block has ended"
            raise TransactionEnded(msg)
        if self._connection.inherited:
            self._connection.check_own()
        if threading.get_ident() != self._thread:
            msg = "a transaction belongs to the thread it was made for; give each thread a read or a write of its own"
            raise WrongThread(msg)
        return self._connection


class Transaction(ReadTransaction):
    """One write transaction. What it does is committed, whole, after its function or block has ended."""

    __slots__ = ()

    def execute(self, sql: LiteralString | SQL, params: Params = ()) -> Result:
        """Run one statement; see `Result` for what it returns."""
        return self._use().execute(sql, params)

    def execute_many(self, sql: LiteralString | SQL, rows: Iterable[Params]) -> Result:
        """Run one statement once for each of *rows*; where one fails, none of them is done."""
        connection = self._use()
        copied = list(rows)  # they may ask this transaction, whose cursor is then in use
        with self.savepoint():
            return connection.execute_many(sql, copied)

    def script(self, script: LiteralString | SQL) -> None:
        """Run every statement of *script* in order; their rows are dropped.

        Raises:
            Error: a statement failed; its ``sql`` is that statement. Those before it stay done: roll back by letting
                the error leave the function, or by a savepoint around this call.
        """
        for text, _line in statements.split(script):
            self._use().rows(text, ())

    @contextmanager
    def savepoint(self) -> Generator[None]:
        """Make a block of its own inside the transaction: where it raises, only its part is undone. They nest."""
        name = self._use().save_within()
        try:
            yield
        except BaseException:
            if self._connection.killed_by is None and not self._ended:
                self._use().go_back(name)
            raise
        else:
            self._use().release(name)

    def _use(self) -> Connection:
        connection = super()._use()
        killer = connection.killed_by
        if killer is not None:
            msg = f"SQLite rolled the whole transaction back, so nothing more can be done in it: {killer}"
            raise TransactionEnded(msg, ran="rolled_back") from killer
        return connection
