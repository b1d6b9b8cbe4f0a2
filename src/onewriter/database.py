"""The one object that stands for one file."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import LiteralString, Self, TypeVar, cast, overload

from typing_extensions import TypeForm

from . import clock, forks, presence, queries, snapshots
from . import migrations as migrating
from .config import Config, Durability
from .connection import Connection
from .errors import (
    DatabaseClosed,
    ForkedDatabase,
    NestedRead,
    NestedWrite,
    ReadOnlyDatabase,
    ReadTimeout,
)
from .migrations import Migration, MigrationStatus
from .readers import Readers
from .requests import Function, ManyStatements, Request, Statement, check_function
from .stats import Stats, gather
from .transaction import ReadTransaction, Transaction
from .values import SQL, Params, Result, Row, Value
from .writer import Writer

T = TypeVar("T")


class Database:
    """One database file: a line of writers that share commits, and a pool of readers. `open` makes one.

    Its methods may be called by any number of threads. Every call that waits has a deadline (*timeout_s*; where it is
    None the one of `Config`), and a time-out means that nothing ran. Use it as a context manager, or `close` it.

    Attributes:
        path: the absolute path of the file, links resolved.
        config: its limits.
    """

    def __init__(
        self, path: Path, config: Config, durability: Durability, connection: Connection | None
    ) -> None:
        """Made by `open`."""
        self.path = path
        self.config = config
        self._durability: Durability = durability
        self._presence = presence.of(path)
        self._writer = None if connection is None else Writer(connection, config, path, self._presence)
        self._readers = Readers(self._connect, config.readers_max, path)
        self._closing = threading.Lock()
        self._present = True  # in the file's presence; guarded by _closing
        self._closed = False
        self._forked = False
        self._live = self._writer  # None once it must not be used: what a call asks first
        forks.register(self)

    # --- writing

    def execute(
        self, sql: LiteralString | SQL, params: Params = (), *, timeout_s: float | None = None
    ) -> Result:
        """Run one statement as a request of its own and return once it is committed.

        Waits for its turn, and for the commit that it shares with others.

        Raises:
            WriteTimeout: the turn did not come in time; nothing ran.
            IntegrityError, ProgrammingError, DataError, OperationalError: it failed, and changed nothing.
            OutcomeUnknown: the commit's sync failed.
            NestedWrite: this thread is writing already; use its transaction.
        """
        return cast("Result", self._perform(Statement(sql, params), timeout_s, portable=True))

    def execute_many(
        self, sql: LiteralString | SQL, rows: Iterable[Params], *, timeout_s: float | None = None
    ) -> Result:
        """Run one statement for each of *rows*, which are copied first; all or none of them, in one request.

        Raises as `execute`.
        """
        return cast("Result", self._perform(ManyStatements(sql, rows), timeout_s, portable=True))

    def write(
        self, work: Callable[[Transaction], T], *, timeout_s: float | None = None, alone: bool = False
    ) -> T:
        """Run *work* in a write transaction, on this thread, and return its result once it is committed.

        Waits for its turn, in the order of the calls. What *work* raises undoes what it did, and is raised here.

        *work* shares its commit with other requests, which never see each other's failures. Where that commit is
        lost, *work* runs a second time: so it should change nothing but the transaction. With *alone* it has a commit
        of its own, and never runs twice. *work* must not wait for a write of another thread: they may share a commit.

        Raises:
            WriteTimeout: the turn did not come within *timeout_s* seconds; nothing ran.
            NestedWrite: this thread is writing already; use its transaction.
            OutcomeUnknown: the commit's sync failed.
        """
        check_function(work)
        return cast("T", self._perform(Function(work), timeout_s, portable=False, alone=alone))

    @contextlib.contextmanager
    def transaction(self, *, timeout_s: float | None = None) -> Generator[Transaction]:
        """Open a write transaction for the length of a ``with`` block, with a commit of its own.

        It is committed at the end of the block and rolled back where the block raises. Everybody else's writes wait
        meanwhile: `write` is the better way where the work is a function.

        Raises:
            WriteTimeout: the turn did not come within *timeout_s* seconds; nothing ran.
            NestedWrite: this thread is writing already; use its transaction and its ``savepoint()``.
        """
        writer = self._for_writing()
        with writer.transaction(clock.duration(timeout_s, self.config.write_timeout_s)) as transaction:
            yield transaction

    # --- reading

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
            return work(transaction)

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

    # --- the file

    def migrate(self, migrations: Iterable[Migration]) -> None:
        """Apply what is pending of *migrations*, each in a transaction of its own, in order.

        Waits up to ``Config.migrate_timeout_s`` for another process that does the same.

        Raises:
            MigrationError: the list is wrong, or one failed; that one left nothing, those before it stay.
        """
        migrating.apply(self._for_writing(), self.path, migrations, self.config.migrate_timeout_s)

    def schema_version(self) -> int:
        """Return the highest version that was applied, 0 where none was."""
        with self._lend(None) as connection:
            return migrating.schema_version(connection)

    def migration_status(self, migrations: Iterable[Migration]) -> MigrationStatus:
        """Return what is applied, pending, unknown to the code, and changed since it was applied."""
        with self._lend(None) as connection:
            return migrating.status(connection, migrations)

    def snapshot(
        self,
        dest: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> Path:
        """Write the database as it is now to the file *dest*, and return its path. Writers and readers go on.

        The file is complete or absent, was checked, and has mode 0600; it is an SQLite database, not in WAL mode.

        Args:
            dest: a new file; folders that are missing are created with mode 0700.
            overwrite: replace *dest* where it exists.
            progress: called with the pages done and the pages in all, some hundred times a second at most.

        Raises:
            SnapshotError: *dest* is as it was.
        """
        with self._connection_of_its_own(read_only=True) as connection:
            return snapshots.make(connection, dest, self.config, overwrite=overwrite, progress=progress)

    def check(self) -> list[str]:
        """Return what SQLite finds wrong with the file, empty where it is sound. Reads all of it; writers go on."""
        # On a read-only connection SQLite drops CHECK constraints, and would not check them.
        with self._connection_of_its_own(read_only=self._writer is None) as connection:
            return snapshots.problems(connection)

    def stats(self) -> Stats:
        """Return the counts of this moment."""
        self._check_own()
        return gather(self._writer, self._readers, self.path)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self, timeout_s: float | None = None) -> None:
        """Refuse new calls, let the writes that wait be done, and close the file. A second call does nothing.

        Waits up to *timeout_s* seconds (``Config.write_timeout_s`` where it is None) for what is running; then what
        still waits is refused with `DatabaseClosed`, and whoever is at work closes its connection on leaving.

        Raises:
            NestedWrite, NestedRead: called from inside a write or a read of this database.
        """
        if self._forked:
            return  # the handles are the parent's
        deadline = clock.deadline(timeout_s, self.config.write_timeout_s)
        if self._writer is not None and self._writer.is_held_here():
            msg = f"{self.path}: close() inside a write would wait for itself; leave the write first"
            raise NestedWrite(msg)
        if self._readers.is_held_here():
            msg = f"{self.path}: close() inside a read would wait for itself; leave the read first"
            raise NestedRead(msg)
        self._live, self._closed = None, True
        ended = self._readers.close(deadline)
        if self._writer is not None:
            ended = self._writer.close(deadline) and ended  # last, so that its close ends the WAL
        with self._closing:
            release, self._present = ended and self._present, self._present and not ended
        if release:  # while anybody is at work, what it does counts as a write of this file
            self._presence.release()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """Say which file, and whether it is open."""
        state = "closed" if self._closed else "open"
        return f"<onewriter.Database {self.path} {state}>"

    # --- inside

    def _perform(
        self, request: Request, timeout_s: float | None, *, portable: bool, alone: bool = False
    ) -> object:
        writer = self._live or self._for_writing()
        if timeout_s is None:
            timeout_s = self.config.write_timeout_s
        else:
            clock.check_duration(timeout_s)
        return writer.perform(request, timeout_s, portable=portable, alone=alone)

    def _for_writing(self) -> Writer:
        self._check_usable()
        if self._writer is None:
            msg = f"{self.path} was opened with read_only=True"
            raise ReadOnlyDatabase(msg)
        return self._writer

    def _lend(self, timeout_s: float | None) -> contextlib.AbstractContextManager[Connection]:
        return self._lend_until(clock.deadline(timeout_s, self.config.read_timeout_s))

    def _lend_until(self, deadline: float) -> contextlib.AbstractContextManager[Connection]:
        self._check_not_writing()
        return self._readers.lend(deadline)

    def _connection_of_its_own(self, *, read_only: bool) -> contextlib.closing[Connection]:
        self._check_not_writing()
        connection = self._connect(clock.now() + self.config.read_timeout_s, read_only=read_only)
        connection.unlimited()
        return contextlib.closing(connection)

    def _connect(self, deadline: float, *, read_only: bool = True) -> Connection:
        return Connection(
            self.path, config=self.config, durability=self._durability, read_only=read_only, deadline=deadline
        )

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

    def disown(self) -> list[object]:
        """In a forked child: refuse all use, and return what must be kept and never closed there."""
        self._forked = True
        self._live = None
        return [self._writer, self._readers]
