"""One SQLite connection: its transactions, and what a request needs around its statements.

N1  A connection is used by one thread at a time; the write line or the reader pool sees to it.
N2  Every transaction is begun and ended here, by texts that no caller's SQL can have (see `guard`).
N3, N4: see `executor`. What is done to the whole file: see `upkeep`.
N5  Whether a transaction was committed is told by `committed`, which is set by the very call that commits: no Python
    code runs between the two, and so no interrupt (Ctrl-C, a signal handler that raises) comes between them. Where a
    user's hook or VFS runs inside that call and raises when all is done, the data's version tells, which has changed.
    It changes too where a commit has failed and the cache with it; then SQLite has told of a rollback.
N6  An interrupt may leave any method here at any of its steps; `recover` then makes the connection good for the next.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import apsw

from . import clock
from .config import Config, Durability
from .errors import MisuseError, OperationalError
from .guard import SAVEPOINT, own
from .handle import FIX_SNAPSHOT, LOCKED, STEPS
from .opened import Closing
from .roll import NEWCOMER
from .samples import Tally
from .translate import translate
from .upkeep import Upkeep

_BEGIN_WRITE: Final = own("BEGIN IMMEDIATE")
_BEGIN_READ: Final = own("BEGIN")
_COMMIT: Final = own("COMMIT")
_ROLLBACK: Final = own("ROLLBACK")
_COMMITS: Final = (_COMMIT,)  # for `map`, see N5
_SAVE, _RELEASE = f"SAVEPOINT {SAVEPOINT}", f"RELEASE {SAVEPOINT}"
T = TypeVar("T")


class Connection(Upkeep):
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
        heard: Tally | None = None,
    ) -> None:
        """Open the file; the options and what it raises are `Handle`'s."""
        super().__init__(
            path,
            config=config,
            durability=durability,
            read_only=read_only,
            deadline=deadline,
            immutable=immutable,
            heard=heard,
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
        self._rolled_back: deque[None] = deque(maxlen=1)  # not empty: something was, since then
        self._foreign_keys = True
        if not read_only:
            self._apsw.wal_autocheckpoint(0)  # it would run inside the COMMIT
            if self._has_guests:
                note = partial(
                    self._rolled_back.append, None
                )  # C to its end, so that no interrupt comes between
                self._apsw.set_rollback_hook(note, id=SAVEPOINT)

    # --- transactions

    def begin_write(self, deadline: float) -> bool:
        """Begin a write transaction; False where another process or connection was in the way past *deadline*."""
        self._commits.clear()
        turn = self.turn
        # `ready`, but for a process that is alone: asked at each write, so without a call.
        if (
            turn is not None
            and (turn.held or turn.words[NEWCOMER] != turn.alone)
            and not turn.ready(deadline)
        ):
            return False
        self.busy_until = deadline
        try:
            self._guard.trusted = True
            self._cursor.execute(_BEGIN_WRITE)
        except apsw.Error as error:
            if not self._begin_again(error):
                return False
        finally:
            self._guard.trusted = False
            if self.waits_for_lock and self.turn is not None:
                self.turn.note_lock(waits=False)
        self.waits_for_lock = False  # not before: see `Handle`
        self._begun = True
        self.killed_by = None
        return True

    def _begin_again(self, error: apsw.Error) -> bool:
        """Begin a write that was refused with *error*; False where the deadline has passed (`handle`, H2)."""
        self.waits_for_lock = True
        while isinstance(error, LOCKED):
            if not self.wait_again():
                return False
            try:
                self._cursor.execute(_BEGIN_WRITE)
            except apsw.Error as again:
                error = again
            else:
                return True
        self.waits_for_lock = False
        raise translate(error, None, ran="no") from error

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
                self._rolled_back.clear()
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
        if not self._has_guests or self._rolled_back or not self._apsw.get_autocommit():
            return
        if self._apsw.data_version() != self._version:
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
        if self.turn is not None:
            self.turn.give()
        self.unended = False
        self.stop_at = self.hold_until = clock.NEVER
        try:
            self._apsw.set_progress_handler(None)  # who asked may have left; what he left is put in order
            self._apsw.set_busy_handler(self._keep_waiting)
        except apsw.ConnectionClosedError as error:
            raise translate(error, None) from error
        try:
            self.rollback()
        finally:
            with suppress(apsw.ConnectionClosedError):
                self._apsw.set_progress_handler(self._overdue, STEPS)
        if not self._foreign_keys:
            self.set_foreign_keys(on=True)
        self._guard.trusted = False
        self.end_request()

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

    def save(self) -> None:
        """Set the savepoint of a request."""
        self._savepoint(_SAVE)

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
        self._savepoint(f"SAVEPOINT {name}")
        return name

    def release(self, name: str = SAVEPOINT) -> None:
        """Keep what was done since the savepoint *name*; those inside it end with it."""
        if self.opened:
            self._close_writing()
        self._savepoint(_RELEASE if name is SAVEPOINT else f"RELEASE {name}")

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

    def set_foreign_keys(self, *, on: bool) -> None:
        """Have foreign keys enforced or not; does nothing inside a transaction. `recover` has them enforced again."""
        self._foreign_keys = False
        self.run_unguarded(f"PRAGMA foreign_keys = {'ON' if on else 'OFF'}")
        self._foreign_keys = on

    def unguarded(self, busy_s: float) -> apsw.Connection:
        """Return APSW's connection, which asks nobody what it may do, and waits up to *busy_s* for others' locks."""
        self._apsw.set_progress_handler(None)
        self._apsw.authorizer = None
        self._apsw.set_busy_timeout(int(busy_s * 1000))
        return self._apsw

    def set_progress(self, report: Callable[[], bool] | None) -> None:
        """Have *report* called some hundred times a second while a statement runs."""
        self._apsw.set_progress_handler(report, STEPS, id="report")
