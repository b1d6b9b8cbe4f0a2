"""The one object that stands for one file, for tasks of asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import LiteralString, NoReturn, Self, TypeVar, cast

from onewriter import clock
from onewriter import database as sync
from onewriter import migration as migrating
from onewriter import transaction as sync_transaction
from onewriter.config import Config
from onewriter.errors import MisuseError
from onewriter.functions import check_function
from onewriter.migration import Migration, MigrationStatus
from onewriter.parameters import Params
from onewriter.results import Result
from onewriter.stats import Stats
from onewriter.values import SQL

from .blocks import WriteBlock
from .desk import Desk
from .mailbox import outcome
from .observation import Observation
from .reading import Reading
from .reports import Reports
from .transaction import Transaction
from .writes import AskedFunction, AskedStatements

T = TypeVar("T")


class Database(Reading):
    """One database file, for tasks of asyncio: the names of `onewriter.Database`, awaited. `open` makes one.

    Tasks of several loops, each in its thread, may use it at once, and threads may use `sync`, the database that it
    stands for: all wait in one line. No call blocks the loop. Every call that waits has a deadline (*timeout_s*; where
    it is None the one of `Config`), and a time-out means that nothing ran.

    A call whose task is cancelled is not begun if it has not begun yet. A write that has begun ends by itself, and is
    committed or not; a read is broken off.
    """

    def __init__(self, database: sync.Database) -> None:
        """Stand for *database*, which is open; `close` closes it."""
        super().__init__(database, Desk(database))

    @property
    def sync(self) -> sync.Database:
        """The database itself, for threads; a call of it on the loop's thread would keep the loop waiting."""
        return self._sync

    @property
    def path(self) -> Path:
        """The absolute path of the file, links resolved."""
        return self._sync.path

    @property
    def config(self) -> Config:
        """Its limits."""
        return self._sync.config

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._sync.closed

    # --- writing

    async def execute(
        self, sql: LiteralString | SQL, params: Params = (), *, timeout_s: float | None = None
    ) -> Result:
        """Run one statement as a request of its own and return once it is committed.

        Waits for room in the line, its turn, and the commit that it shares with others.

        Raises:
            WriteTimeout: the turn did not come in time; nothing ran.
            IntegrityError, ProgrammingError, DataError, OperationalError: it failed, and changed nothing.
            OutcomeUnknown: the commit's sync failed.
            NestedWrite: this task has a write transaction open; use that.
        """
        asked = self._desk.statement(sql, params, timeout_s)
        try:  # as `outcome` does, which would be one coroutine more in the road of every write
            result: Result = await asked.answer
            return result
        except (asyncio.CancelledError, GeneratorExit):
            asked.drop()
            raise

    async def execute_many(
        self, sql: LiteralString | SQL, rows: Iterable[Params], *, timeout_s: float | None = None
    ) -> Result:
        """Run one statement for each of *rows*, which are copied first; all or none of them, in one request.

        Raises as `execute`.
        """
        asked = self._desk.write(AskedStatements(sql, rows), timeout_s)
        return cast("Result", await outcome(asked))

    async def write(
        self,
        work: Callable[[sync_transaction.Transaction], T],
        *,
        timeout_s: float | None = None,
        alone: bool = False,
    ) -> T:
        """Run *work*, a plain function, in a write transaction, and return its result once it is committed.

        It runs on the background thread, in a copy of the task's context, and is given a `onewriter.Transaction`. What
        it raises undoes what it did, and is raised here. It may be run a second time, as by `onewriter.Database.write`,
        unless it is to be *alone*. Callbacks of its ``after_commit`` are called on the event loop.

        Raises as `execute`.
        """
        check_function(work)
        asked = self._desk.write(AskedFunction(work), timeout_s, alone=alone)
        return cast("T", await outcome(asked))

    def transaction(
        self, *, timeout_s: float | None = None, hold_s: float | None = None
    ) -> AbstractAsyncContextManager[Transaction]:
        """Open a write transaction for the length of an ``async with`` block, with a commit of its own.

        It is committed at the end of the block and rolled back where the block raises or its task is cancelled.
        Everybody else's writes wait meanwhile, whatever the block awaits: `write` is the better way where the work is a
        plain function. Held for longer than *hold_s* seconds (``Config.hold_s`` where it is None) it is rolled back,
        and its next call is a `TransactionEnded`.

        Raises:
            WriteTimeout: the turn did not come within *timeout_s* seconds; nothing ran.
            NestedWrite: this task has a write transaction open; use that, and its ``savepoint()``.
        """
        return WriteBlock(self._desk, timeout_s, hold_s)

    # --- changes

    def observe(
        self, tables: str | Iterable[str] | None = None, *, timeout_s: float | None = None
    ) -> Observation:
        """Iterate over what changes in *tables*, by ``async for``: see `onewriter.Database.observe`.

        ``async with db.observe(...) as changes`` begins at once, when it has waited for the write turn up to
        *timeout_s* seconds; without it the first ``async for`` does. What comes while the task does something else is
        joined. The iteration ends when the database is closed, and all was told that was committed before.

        Raises, where it begins, as `onewriter.Database.observe`.
        """
        return Observation(self._desk, tables, timeout_s)

    # --- the file

    async def migrate(self, migrations: Iterable[Migration]) -> None:
        """Apply what is pending of *migrations*, on a thread of its own; see `onewriter.Database.migrate`."""
        listed = migrating.check(migrations)
        await self._apart("migrate", lambda: self._sync.migrate(listed), writes=True)

    async def schema_version(self) -> int:
        """Return the highest version that was applied, 0 where none was."""
        job = self._desk.read(lambda _left_s: self._sync.schema_version(), None, "the schema's version")
        return cast("int", await outcome(job))

    async def migration_status(self, migrations: Iterable[Migration]) -> MigrationStatus:
        """Return what is applied, pending, unknown to the code, and changed since it was applied."""
        listed = migrating.check(migrations)
        job = self._desk.read(
            lambda _left_s: self._sync.migration_status(listed), None, "the state of the migrations"
        )
        return cast("MigrationStatus", await outcome(job))

    async def vacuum(self, *, timeout_s: float | None = None) -> None:
        """Build the file anew without its free pages, on a thread of its own; see `onewriter.Database.vacuum`."""
        await self._apart("vacuum", lambda: self._sync.vacuum(timeout_s=timeout_s), writes=True)

    async def checkpoint(self, *, timeout_s: float | None = None) -> bool:
        """Empty the WAL, on a thread of its own; see `onewriter.Database.checkpoint`."""
        return await self._apart(
            "checkpoint", lambda: self._sync.checkpoint(timeout_s=timeout_s), writes=True
        )

    async def snapshot(
        self,
        dest: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> Path:
        """Write the database as it is now to the file *dest*, on a thread of its own, and return its path.

        *progress* is a plain function, called on the event loop with the pages done and the pages in all. What it
        raises is raised here, and ends the snapshot if that goes on still. See `onewriter.Database.snapshot`.
        Cancelled, it goes on by itself.
        """
        report = None if progress is None else Reports(progress)
        path = await self._apart(
            "snapshot", lambda: self._sync.snapshot(dest, overwrite=overwrite, progress=report)
        )
        if report is not None:
            report.check()
        return path

    async def check(self) -> list[str]:
        """Return what SQLite finds wrong with the file, empty where it is sound; on a thread of its own."""
        return await self._apart("check", self._sync.check)

    async def stats(self) -> Stats:
        """Return the counts of this moment; waits for nothing."""
        return self._sync.stats()

    async def close(self, timeout_s: float | None = None) -> None:
        """Refuse new calls, let the writes that wait be done, and close the file. A second call does nothing.

        Waits up to *timeout_s* seconds (``Config.write_timeout_s`` where it is None) for what is running, blocks of
        tasks included; then what still waits is refused with `DatabaseClosed`.

        Raises:
            NestedWrite, NestedRead: called from inside a write or a read of this database, which it would wait for.
        """
        if self._desk.is_forked:
            return  # the handles, and the loop, are the parent's
        self._desk.check_outside()
        deadline = clock.deadline(timeout_s, self.config.write_timeout_s)

        def work() -> None:
            self._sync.close(max(0.0, deadline - clock.now()))

        await outcome(self._desk.apart("close", work))

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def __del__(self) -> None:
        desk = getattr(self, "_desk", None)
        if desk is not None:
            desk.forget()

    def __repr__(self) -> str:
        """Say which file, and whether it is open."""
        return f"<onewriter.aio.Database {self.path} {'closed' if self.closed else 'open'}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or sent to another process."""
        msg = f"{self!r} cannot be copied or sent to another process: open the file there"
        raise MisuseError(msg)

    # --- inside

    async def _apart(self, name: str, work: Callable[[], T], *, writes: bool = False) -> T:
        self._desk.check_usable(writes=writes)
        return cast("T", await outcome(self._desk.apart(name, work)))
