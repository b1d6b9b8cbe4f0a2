"""The one object that stands for one file."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, LiteralString, NoReturn, Self, TypeVar

from . import clock, exits, forks, presence, snapshots
from . import migrations as migrating
from .config import Config, Durability
from .connection import Connection
from .core import Core
from .errors import CorruptDatabase, MisuseError, NestedWrite, NotADatabase, ReadOnlyDatabase
from .functions import check_function
from .interactive import HeldTransaction, UnsafeConnection
from .migration import Migration, MigrationStatus
from .observing import Observing
from .parameters import Params
from .reader import ReadingConnection
from .readers import Readers
from .requests import Function, ManyStatements, Request, Statement
from .results import Result
from .samples import Tally
from .stats import Stats, gather
from .transaction import Transaction
from .turns import Turn
from .values import SQL
from .writer import Writer

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")
C = TypeVar("C", bound=Connection)


class Database(Observing):
    """One database file: a line of writers that share commits, and a pool of readers. `open` makes one.

    Its methods may be called by any number of threads. Every call that waits has a deadline (*timeout_s*; where it is
    None the one of `Config`), and a time-out means that nothing ran. Use it as a context manager, or `close` it; one
    that is forgotten is closed by the garbage collector, with a `ResourceWarning`, or when the interpreter ends.

    Attributes:
        path: the absolute path of the file, links resolved.
        config: its limits.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        durability: Durability,
        connection: Connection | None,
        heard: Tally,
    ) -> None:
        """Made by `open`; all its connections count in *heard* how often SQLite said busy to them."""
        self._heard = heard
        file = presence.key_of(path)
        connect = partial(
            _connect,
            ReadingConnection,
            path,
            file,
            config,
            durability=durability,
            heard=heard,
            read_only=True,
        )
        readers = Readers(connect, config.readers_max, path)
        super().__init__(path, config, presence.of(path, readers), readers)
        self._connect = partial(_connect, Connection, path, file, config, durability=durability, heard=heard)
        connect_writer = partial(self._connect, read_only=False)
        self._core = Core(
            path, self._presence, readers, connection, config, connect=connect_writer, connect_reader=connect
        )
        self._observers = self._core.observers
        self._live = self._core.writer  # None once it must not be used: what a call asks first
        forks.register(self)
        exits.register(self._core)

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
        result: Result = self._perform(Statement(sql, params), timeout_s, portable=True)
        return result

    def execute_many(
        self, sql: LiteralString | SQL, rows: Iterable[Params], *, timeout_s: float | None = None
    ) -> Result:
        """Run one statement for each of *rows*, which are copied first; all or none of them, in one request.

        Raises as `execute`.
        """
        result: Result = self._perform(ManyStatements(sql, rows), timeout_s, portable=True)
        return result

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
        value: T = self._perform(Function(work), timeout_s, portable=False, alone=alone)
        return value

    def submit(
        self, work: Callable[[Transaction], T], *, timeout_s: float | None = None, alone: bool = False
    ) -> Future[T]:
        """Have *work* run in a write transaction by the background thread; return the future of its outcome at once.

        It waits in the same line as all other writes, for *timeout_s* at most, and runs in a copy of the calling
        context; it may be run a second time, as by `write`. ``cancel()`` of the future works until it starts. Done
        callbacks run on a thread of their own, and may write.

        Raises:
            QueueFull: ``Config.pending_max`` requests wait already; nothing ran.
            NestedWrite: this thread is writing: use the transaction's ``after_commit``.
        """
        check_function(work)
        self._for_writing()
        timeout_s = clock.duration(timeout_s, self.config.write_timeout_s)
        if self._presence.is_writing():
            msg = "submit inside a write would outlive it, whatever becomes of it: use tx.after_commit()"
            raise NestedWrite(msg)
        background = self._core.background
        assert background is not None, "a database for writing has it"
        return background.submit(work, timeout_s, alone=alone)

    def transaction(
        self, *, timeout_s: float | None = None, hold_s: float | None = None
    ) -> AbstractContextManager[Transaction]:
        """Open a write transaction for the length of a ``with`` block, with a commit of its own.

        It is committed at the end of the block and rolled back where the block raises. Everybody else's writes wait
        meanwhile: `write` is the better way where the work is a function. Held for longer than *hold_s* seconds
        (``Config.hold_s`` where it is None) it is rolled back, and its next call is a `TransactionEnded`.

        Raises:
            WriteTimeout: the turn did not come within *timeout_s* seconds; nothing ran.
            NestedWrite: this thread is writing already; use its transaction and its ``savepoint()``.
        """
        writer = self._for_writing()
        timeout_s = clock.duration(timeout_s, self.config.write_timeout_s)
        hold_s = clock.duration(hold_s, self.config.hold_s)
        return HeldTransaction(writer, timeout_s, hold_s, self._core.watch, self)

    def unsafe_connection(self, *, timeout_s: float | None = None) -> AbstractContextManager[apsw.Connection]:
        """Give the calling thread the write turn, and an APSW connection that nothing guards, for a ``with`` block.

        No transaction is open. The connection is a new one, prepared like all others and by ``Config.on_connect``, and
        is closed at the end of the block, which rolls back what it has open. Everybody else's writes wait meanwhile.

        Raises as `transaction`.
        """
        writer = self._for_writing()
        timeout_s = clock.duration(timeout_s, self.config.write_timeout_s)
        connect = partial(self._connect, read_only=False)
        return UnsafeConnection(writer, timeout_s, connect, self._core.watch, self)

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
        with self._lend("the schema's version") as connection:
            return migrating.schema_version(connection)

    def migration_status(self, migrations: Iterable[Migration]) -> MigrationStatus:
        """Return what is applied, pending, unknown to the code, and changed since it was applied."""
        with self._lend("the state of the migrations") as connection:
            return migrating.status(connection, migrations)

    def vacuum(self, *, timeout_s: float | None = None) -> None:
        """Build the file anew without its free pages (https://sqlite.org/lang_vacuum.html).

        Waits for the write turn up to *timeout_s* seconds; all other writes wait for as long as it takes, which
        ``Config.statement_timeout_s`` does not limit. Readers go on.

        Raises:
            WriteTimeout: the turn did not come in time, or another connection kept the file locked; nothing was done.
            DiskFull: there is no room for a second copy; the file is as it was.
        """
        writer = self._for_writing()
        timeout_s = clock.duration(timeout_s, self.config.write_timeout_s)
        deadline = clock.now() + timeout_s
        with Turn(writer, timeout_s) as connection:
            # The wait comes before, so that who is late meanwhile knows whether it is for the lock or for this.
            if not connection.take_turn(deadline) or not connection.begin_write(deadline):
                raise writer.locked()
            connection.rollback()
            if not connection.vacuum(deadline):
                raise writer.locked()
            writer.batch.note_growth()

    def checkpoint(self, *, timeout_s: float | None = None) -> bool:
        """Move all that the WAL holds into the database, and cut it to nothing; return whether that was done.

        Nobody needs to call it: it is done by the way (``Config.checkpoint``). It waits up to *timeout_s* seconds for
        the write turn, and for readers of older snapshots to leave; False where some did not. Others wait for it no
        longer than ``Config.checkpoint_pause_s`` at a time.

        Raises:
            WriteTimeout: the turn did not come in time.
            NestedWrite: this thread is writing.
            DiskFull, DiskError: the database had to grow, and could not; the WAL still has all, and nothing is lost.
        """
        self._for_writing()
        return self._core.empty_wal(clock.duration(timeout_s, self.config.write_timeout_s))

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
        try:
            # On a read-only connection SQLite drops CHECK constraints, and would not check them.
            with self._connection_of_its_own(read_only=self._core.writer is None) as connection:
                return snapshots.problems(connection)
        except (
            CorruptDatabase,
            NotADatabase,
        ) as error:  # so damaged that no connection can be opened any more
            return [str(error)]

    def stats(self) -> Stats:
        """Return the counts of this moment."""
        self._check_own()
        return gather(self._core.writer, self._readers, self._heard, self.path, self._presence.key)

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
        self._core.check_outside()
        self._live, self._closed = None, True
        self._core.close(deadline)

    def __del__(self) -> None:
        core = getattr(self, "_core", None)  # opening may have failed
        if core is None or (core.is_closed and not core.is_closing) or self._forked:
            return
        try:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)
        finally:  # a filter may make an error of it
            core.close_forgotten()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; where the block raised, without a word of what of its own an interrupt has left open."""
        try:
            self.close()
        except MisuseError:
            if error is None:
                raise
            # What the block raised is to be heard. Its traceback may keep a block inside, whose end an interrupt has
            # struck: that is closed when it is forgotten, and nobody waits for it meanwhile.
            self._live, self._closed = None, True
            self._core.close(clock.now())

    def __repr__(self) -> str:
        """Say which file, and whether it is open."""
        state = "closed" if self._closed else "open"
        return f"<onewriter.Database {self.path} {state}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or sent to another process."""
        msg = f"{self!r} cannot be copied or sent to another process: open the file there"
        raise MisuseError(msg)

    # --- inside

    def _perform(
        self, request: Request, timeout_s: float | None, *, portable: bool, alone: bool = False
    ) -> Any:  # noqa: ANN401 - what the request returns; a `cast` would be one call more in each write
        writer = self._live or self._for_writing()
        if timeout_s is None:
            timeout_s = self.config.write_timeout_s
        else:
            clock.check_duration(timeout_s)
        return writer.perform(request, timeout_s, portable=portable, alone=alone)

    def _for_writing(self) -> Writer:
        live = self._live  # once: `close` may come (`shared`, U4)
        if live is not None:
            return live
        self._check_usable()
        if self._core.writer is None:
            msg = f"{self.path} was opened with read_only=True"
            raise ReadOnlyDatabase(msg)
        return self._core.writer

    def _connection_of_its_own(self, *, read_only: bool) -> contextlib.closing[Connection]:
        self._check_not_writing()
        deadline = clock.now() + self.config.read_timeout_s
        connection = self._connect(deadline, read_only=read_only)
        connection.unlimited()
        return contextlib.closing(connection)

    def disown(self) -> list[object]:
        """In a forked child: refuse all use, and return what must be kept and never closed there."""
        self._forked = True
        self._live = None
        self._readers.disown()
        return self._core.disown()


def _connect(
    kind: type[C],
    path: Path,
    file: tuple[int, int] | None,
    config: Config,
    deadline: float,
    *,
    durability: Durability,
    heard: Tally,
    read_only: bool,
) -> C:
    presence.check_still(path, file)
    return kind(
        path, config=config, durability=durability, read_only=read_only, deadline=deadline, heard=heard
    )
