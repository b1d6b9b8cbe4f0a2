"""One SQLite connection: its transactions, and the few things that are done to the whole file.

N1  A connection is used by one thread at a time; the write line or the reader pool sees to it.
N2  Every transaction is begun and ended here, by texts that no caller's SQL can have (see `guard`).
N3, N4: see `executor`.
N5  Whether a transaction was committed is told by `committed`, which is set by the very call that commits: no Python
    code runs between the two, and so no interrupt (Ctrl-C, a signal handler that raises) comes between them. Where a
    user's hook or VFS runs inside that call and raises when all is done, the data's version tells.
N6  An interrupt may leave any method here at any of its steps; `recover` then makes the connection good for the next.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import apsw

from . import clock
from .config import Config, Durability
from .errors import MisuseError, OperationalError
from .executor import Executor
from .guard import SAVEPOINT, own
from .handle import BUSY, FIX_SNAPSHOT, LOCKED, STEPS
from .opened import Closing
from .parameters import Params
from .rows import Plain
from .translate import translate

_BEGIN_WRITE: Final = own("BEGIN IMMEDIATE")
_BEGIN_READ: Final = own("BEGIN")
_COMMIT: Final = own("COMMIT")
_ROLLBACK: Final = own("ROLLBACK")
_COMMITS: Final = (_COMMIT,)  # for `map`, see N5
_OPTIMIZE: Final = own("PRAGMA optimize = 0x10002")  # all tables, since it is the readers that are asked
_OPTIMIZE_S: Final = 0.2  # that a close may take longer for it
_VACUUM: Final = own("VACUUM")
T = TypeVar("T")
CHECKPOINT_PAGES: Final = 1_000  # SQLite's own limit: https://sqlite.org/wal.html#automatic_checkpoint


class Connection(Executor):
    """A handle with transactions, and what a request needs around its statements."""

    def __init__(
        self,
        path: Path,
        *,
        config: Config,
        durability: Durability,
        read_only: bool,
        deadline: float,
        immutable: bool = False,
    ) -> None:
        """Open the file; the options and what it raises are `Handle`'s."""
        super().__init__(
            path,
            config=config,
            durability=durability,
            read_only=read_only,
            deadline=deadline,
            immutable=immutable,
        )
        # How many pages this connection has written to the WAL, in the first place: asked at each commit, so without
        # Python code (https://sqlite.org/c3ref/c_dbstatus_options.html#sqlitedbstatuscachewrite).
        self.pages_written = partial(self._apsw.status, apsw.SQLITE_DBSTATUS_CACHE_WRITE)
        self._commits: list[object] = []  # empty until the transaction that was begun last is committed (N5)
        self._main = threading.main_thread().ident
        # Whether a user's code may run inside a COMMIT, beside a commit hook, which can still prevent it.
        self._has_guests = (
            config.on_connect is not None or config.vfs is not None or bool(apsw.connection_hooks)
        )
        self._version = 0  # of the data, before the COMMIT
        self._foreign_keys = True
        if not read_only:
            self._apsw.wal_autocheckpoint(0)  # it would run inside the COMMIT

    # --- transactions

    def begin_write(self, deadline: float) -> bool:
        """Begin a write transaction; False where another connection kept the lock past *deadline*."""
        self.busy_until = deadline
        self._commits.clear()
        try:
            self._guard.trusted = True
            self._cursor.execute(_BEGIN_WRITE)
        except BUSY:
            return False
        except apsw.Error as error:
            raise translate(error, None, ran="no") from error
        finally:
            self._guard.trusted = self.waits_for_lock = False
        self._begun = True
        self.killed_by = None
        return True

    def begin_read(self, deadline: float) -> bool:
        """Begin a read transaction and fix its snapshot; False where locks were in the way past *deadline*."""
        self.busy_until = deadline
        self.killed_by = None
        while True:
            try:
                self._own(_BEGIN_READ)
                self._own(FIX_SNAPSHOT)
                break
            except LOCKED:
                self.rollback()
                if not self.wait_again():
                    return False
            except apsw.Error as error:
                self.rollback()
                raise translate(error, None, ran="no") from error
        self._begun = True
        return True

    def commit(self) -> None:
        """Commit; the error of a commit that failed says ``rolled_back``, which the caller may have to correct."""
        interruptible = threading.get_ident() == self._main
        try:
            self._guard.trusted = True
            if interruptible:
                # SQLite may ask it once more when all is committed, and an interrupt in it would look like a failure.
                self._apsw.set_progress_handler(None)
            if self._has_guests:
                self._version = self._apsw.data_version()
            self._commits.extend(map(self._cursor.execute, _COMMITS))
        except apsw.Error as error:
            self._look_closer()
            raise translate(error, None) from error
        except BaseException:
            self._look_closer()
            raise
        finally:
            self._guard.trusted = False
            if interruptible:
                self._apsw.set_progress_handler(self._overdue, STEPS)
        self._begun = False

    def _look_closer(self) -> None:
        """After a COMMIT that raised: find out whether it was made all the same (N5).

        The version changes with a commit of this connection too, unlike the pragma's (https://sqlite.org/c3ref/
        c_fcntl_begin_atomic_write.html#sqlitefcntldataversion); nobody else can commit while it has the write lock.
        """
        if self._has_guests and self._apsw.get_autocommit() and self._apsw.data_version() != self._version:
            self._commits.append(None)
            self._begun = False

    @property
    def committed(self) -> bool:
        """Whether the write transaction that was begun last has been committed (N5)."""
        return bool(self._commits)

    def recover(self) -> None:
        """Make good what an interrupt has left half-done (N6); what is open is rolled back.

        Raises:
            Error: it could not be rolled back.
        """
        self.waits_for_lock = self.unended = False
        self.stop_at = self.hold_until = clock.NEVER
        try:
            self._apsw.set_progress_handler(self._overdue, STEPS)
            self._apsw.set_busy_handler(self._keep_waiting)
        except apsw.ConnectionClosedError as error:
            raise translate(error, None) from error
        self.rollback()
        if not self._foreign_keys:
            self.set_foreign_keys(on=True)
        self._guard.trusted = False
        self.end_request()

    def checkpoint(self) -> None:
        """Move what the WAL holds into the database, as far as readers allow without waiting.

        Raises:
            Error: it failed, whatever a VFS raised. An interrupt that came after it is raised as it is.
        """
        done: list[object] = []  # as `_commits` tells of a commit (N5)
        try:
            done.extend(map(self._apsw.wal_checkpoint, ("main",), (apsw.SQLITE_CHECKPOINT_PASSIVE,)))
        except BUSY:  # another process is at it
            self.busy_retries += 1
        except apsw.Error as error:
            raise translate(error, None) from error
        except Exception as error:
            if done:
                raise
            msg = f"{self.path}: the checkpoint failed: {error}"
            raise OperationalError(msg) from error

    def rollback(self) -> None:
        """Roll back what is open, if anything is; safe after any failure."""
        self._begun = False
        self._renew_cursor()
        self.close_opened()
        if not self._apsw.get_autocommit():
            try:
                self._own(_ROLLBACK)
            except apsw.Error as error:  # pragma: no cover - SQLite rolls back in memory; kept to be told
                raise translate(error, None) from error

    def set_aside_wal(self) -> bool:
        """Leave WAL mode, which only the file's one connection can; False where another has it open.

        https://sqlite.org/wal.html#persistence_of_wal_mode
        """
        self._own("PRAGMA locking_mode = EXCLUSIVE")  # so that nobody comes in between
        try:
            mode = self._own("PRAGMA journal_mode = DELETE")[0][0]
            self._own("BEGIN EXCLUSIVE")  # takes the lock, and keeps it
            self._own(_COMMIT)
        except BUSY:
            return False
        return mode == "delete"

    def use_wal(self) -> None:
        """Go back to WAL mode and to sharing the file."""
        self._own("PRAGMA locking_mode = NORMAL")
        self._guard.trusted = True
        try:
            self._use_wal()
        finally:
            self._guard.trusted = False

    def supersede(self, deadline: float) -> None:
        """Commit a transaction that changes nothing, so that its frames take the place of a failed one's in the WAL.

        Raises:
            Error: it failed too.
        """
        if not self.begin_write(deadline):
            msg = "another connection kept the write lock"
            raise OperationalError(msg)
        try:
            version = self._own("PRAGMA user_version")[0][0]
            self._own(f"PRAGMA user_version = {version!r}")  # writes the first page, whatever it held
            self._own(_COMMIT)
        except BaseException as error:
            self.rollback()
            if isinstance(error, apsw.Error):
                raise translate(error, None) from error
            raise
        self._begun = False

    def run(self, work: Callable[[], T]) -> T:
        """Do *work*, a step of what is open; nobody can take this connection away meanwhile."""
        return work()

    def shut(self, opened: Closing) -> None:
        """Close what stayed open between two calls."""
        opened.close()

    def save(self, name: str = SAVEPOINT) -> None:
        """Set the savepoint *name*."""
        self._savepoint(f"SAVEPOINT {name}")

    def save_within(self) -> str:
        """Set a savepoint inside a request, and return its name, which no other of the request has.

        Raises:
            MisuseError: a blob is open for writing, which SQLite allows no savepoint beside.
        """
        if any(each.writes for each in self.opened):
            msg = "no savepoint can begin while a blob is open for writing (execute_many sets one too): close it first"
            raise MisuseError(msg)
        self._nested += 1
        name = f"{SAVEPOINT}_{self._nested}"
        self.save(name)
        return name

    def release(self, name: str = SAVEPOINT) -> None:
        """Keep what was done since the savepoint *name*; those inside it end with it."""
        if self.opened:
            self._close_writing()
        self._savepoint(f"RELEASE {name}")

    def go_back(self, name: str = SAVEPOINT) -> None:
        """Undo what was done since the savepoint *name*, and end it; those inside it end with it."""
        if self.opened:
            self._close_writing()
        self._savepoint(f"ROLLBACK TO {name}")
        self._savepoint(f"RELEASE {name}")

    def _close_writing(self) -> None:
        """Close what is open for writing: it was opened since the savepoint that ends."""
        for opened in list(self.opened):
            if opened.writes:
                opened.close()

    def _savepoint(self, sql: str) -> None:
        try:
            self._cursor.execute(sql)
        except apsw.Error as error:
            raise translate(error, None) from error

    def is_idle(self) -> bool:
        """Whether no transaction is open and no cursor half-read, which only the transaction's state tells.

        https://sqlite.org/c3ref/txn_state.html
        """
        try:
            return self._apsw.get_autocommit() and self._apsw.txn_state() == apsw.SQLITE_TXN_NONE
        except apsw.ConnectionClosedError:  # by code that on_connect gave it to
            return False

    def run_unguarded(self, sql: str, params: Params = ()) -> list[Plain]:
        """Run one of the library's own statements, whatever it is; its error is translated like a caller's."""
        try:
            return self._own(own(sql), params)
        except apsw.Error as error:
            raise translate(error, sql) from error

    def backup_from(self, source: Connection) -> None:
        """Replace this database's whole content by *source*'s, in one transaction.

        https://sqlite.org/backup.html
        """
        try:
            with self._apsw.backup("main", source._apsw, "main") as backup:
                while not backup.done:
                    backup.step(-1)
        except apsw.Error as error:
            raise translate(error, None) from error

    def set_foreign_keys(self, *, on: bool) -> None:
        """Have foreign keys enforced or not; does nothing inside a transaction. `recover` has them enforced again."""
        self._foreign_keys = False
        self.run_unguarded(f"PRAGMA foreign_keys = {'ON' if on else 'OFF'}")
        self._foreign_keys = on

    def vacuum(self, deadline: float) -> bool:
        """Build the file anew without its free pages; False where another connection kept it locked past *deadline*.

        https://sqlite.org/lang_vacuum.html
        """
        self.busy_until = deadline
        try:
            self._own(_VACUUM)
        except BUSY:
            return False
        except apsw.Error as error:
            raise translate(error, "VACUUM") from error
        return True

    def optimize(self) -> None:
        """Have SQLite bring its planner's statistics up to date, where it thinks that worth it; nobody is waited for.

        It looks at a bounded part of each index (https://sqlite.org/pragma.html#pragma_optimize).
        """
        self.busy_until = 0.0
        self.stop_at = clock.now() + _OPTIMIZE_S
        # It is an offer: another connection may be in the way, the disk full, the time over.
        with suppress(apsw.Error):
            self._own(_OPTIMIZE)
        self.stop_at = clock.NEVER

    def unguarded(self, busy_s: float) -> apsw.Connection:
        """Return APSW's connection, which asks nobody what it may do, and waits up to *busy_s* for others' locks."""
        self._apsw.set_progress_handler(None)
        self._apsw.authorizer = None
        self._apsw.set_busy_timeout(int(busy_s * 1000))
        return self._apsw

    def set_progress(self, report: Callable[[], bool] | None) -> None:
        """Have *report* called some hundred times a second while a statement runs."""
        self._apsw.set_progress_handler(report, STEPS, id="report")
