"""The reading half of a database."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import LiteralString, TypeVar, overload

from typing_extensions import TypeForm

from . import clock, queries
from .config import Config
from .connection import Connection
from .errors import DatabaseClosed, ForkedDatabase, NestedRead, ReadTimeout
from .presence import Presence
from .readers import Readers
from .requests import check_finished, check_function
from .transaction import ReadTransaction
from .values import SQL, Params, Row, Value

T = TypeVar("T")


class Reading:
    """What is asked of one file through its pool of readers; the base of `Database`.

    Attributes:
        path: the absolute path of the file, links resolved.
        config: its limits.
    """

    def __init__(self, path: Path, config: Config, presence: Presence, readers: Readers) -> None:
        """Read through *readers*."""
        self.path = path
        self.config = config
        self._presence = presence
        self._readers = readers
        self._closed = False
        self._forked = False

    @overload
    def query(
        self, sql: LiteralString | SQL, params: Params = ..., *, timeout_s: float | None = ...
    ) -> list[Row]: ...
    @overload
    def query(
        self,
        sql: LiteralString | SQL,
        params: Params = ...,
        *,
        into: TypeForm[T],
        timeout_s: float | None = ...,
    ) -> list[T]: ...
    def query(
        self,
        sql: LiteralString | SQL,
        params: Params = (),
        *,
        into: TypeForm[T] | None = None,
        timeout_s: float | None = None,
    ) -> list[Row] | list[T]:
        """Return the rows of one statement; with *into*, the values of its one column.

        Waits for a reader, never for a writer. Sees every write that was acknowledged before the call.

        Raises:
            ReadTimeout: no reader came free in time; nothing ran.
            RowMismatch: a row does not fit *into*.
            ForbiddenStatement: the statement would write.
            NestedRead: this thread is writing (ask its transaction), or holds every reader itself.
        """
        with self._lend(timeout_s) as connection:
            return queries.all_rows(connection, sql, params, into)

    @overload
    def query_one(
        self, sql: LiteralString | SQL, params: Params = ..., *, timeout_s: float | None = ...
    ) -> Row | None: ...
    @overload
    def query_one(
        self,
        sql: LiteralString | SQL,
        params: Params = ...,
        *,
        into: TypeForm[T],
        timeout_s: float | None = ...,
    ) -> T | None: ...
    def query_one(
        self,
        sql: LiteralString | SQL,
        params: Params = (),
        *,
        into: TypeForm[T] | None = None,
        timeout_s: float | None = None,
    ) -> Row | T | None:
        """Return the first row, or None where there is none; raises as `query`."""
        with self._lend(timeout_s) as connection:
            return queries.first_row(connection, sql, params, into)

    @overload
    def query_value(
        self, sql: LiteralString | SQL, params: Params = ..., *, timeout_s: float | None = ...
    ) -> Value: ...
    @overload
    def query_value(
        self,
        sql: LiteralString | SQL,
        params: Params = ...,
        *,
        into: TypeForm[T],
        timeout_s: float | None = ...,
    ) -> T: ...
    def query_value(
        self,
        sql: LiteralString | SQL,
        params: Params = (),
        *,
        into: TypeForm[T] | None = None,
        timeout_s: float | None = None,
    ) -> Value | T:
        """Return the one value of the first row; raises as `query`.

        Raises:
            RowMismatch: there is no row (unless *into* takes None), or more than one column, or another type.
        """
        with self._lend(timeout_s) as connection:
            return queries.one_value(connection, sql, params, into)

    def read(self, work: Callable[[ReadTransaction], T], *, timeout_s: float | None = None) -> T:
        """Run *work* on one snapshot of the database and return its result; raises as `query`."""
        check_function(work)
        with self.read_transaction(timeout_s=timeout_s) as transaction:
            value = work(transaction)
        check_finished(value)
        return value

    @contextlib.contextmanager
    def read_transaction(self, *, timeout_s: float | None = None) -> Generator[ReadTransaction]:
        """Open a snapshot of the database for the length of a ``with`` block; raises as `query`.

        The snapshot is fixed at the beginning of the block. While it is open the WAL cannot start over: keep it short.
        """
        deadline = clock.deadline(timeout_s, self.config.read_timeout_s)
        with self._lend_until(deadline) as connection:
            if not connection.begin_read(deadline):
                msg = f"{self.path}: another connection kept the file locked past the deadline"
                raise ReadTimeout(msg, held_by="stranger")
            transaction = ReadTransaction(connection)
            try:
                yield transaction
            finally:
                transaction.end()

    # --- inside

    def _lend(self, timeout_s: float | None) -> contextlib.AbstractContextManager[Connection]:
        return self._lend_until(clock.deadline(timeout_s, self.config.read_timeout_s))

    def _lend_until(self, deadline: float) -> contextlib.AbstractContextManager[Connection]:
        self._check_not_writing()
        return self._readers.lend(deadline)

    def _check_not_writing(self) -> None:
        self._check_usable()
        if self._presence.is_writing():
            msg = "this thread is writing to the same file: ask its transaction (tx.query), which sees what it wrote"
            raise NestedRead(msg)

    def _check_own(self) -> None:
        if self._forked:
            msg = f"{self.path} was opened by the parent process; open it again in each child"
            raise ForkedDatabase(msg)

    def _check_usable(self) -> None:
        self._check_own()
        if self._closed:
            msg = f"{self.path} is closed"
            raise DatabaseClosed(msg)
