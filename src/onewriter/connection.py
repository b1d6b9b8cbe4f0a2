"""One SQLite connection: its transactions, and the SQL of callers.

N1  A connection is used by one thread at a time; the write line or the reader pool sees to it.
N2  Every transaction is begun and ended here, by texts that no caller's SQL can have (see `guard`).
N3  SQLite may end a transaction behind our back: ``INSERT OR ROLLBACK``, ``RAISE(ROLLBACK)``, an interrupted write,
    often a full disk or an I/O error (https://sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction).
    So autocommit is asked after every statement that failed; `killed_by` is what did it.
N4  A half-read cursor would make the commit fail and pin the WAL: rows are fetched whole, and a cursor whose reading
    was broken off is closed and replaced.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn, cast

import apsw

from . import clock, statements
from .config import Config, Durability
from .errors import Error, ForbiddenStatement, ForkedDatabase, OperationalError, ProgrammingError
from .guard import SAVEPOINT, WOULD_WRITE, own
from .handle import BUSY, FIX_SNAPSHOT, STEPS, Handle
from .translate import is_known, translate
from .values import Params, Result, Row, check_params

_BEGIN_WRITE: Final = own("BEGIN IMMEDIATE")
_BEGIN_READ: Final = own("BEGIN")
_COMMIT: Final = own("COMMIT")
_ROLLBACK: Final = own("ROLLBACK")
_UNDEFER: Final = own("PRAGMA defer_foreign_keys = OFF")
CHECKPOINT_PAGES: Final = 1_000  # SQLite's own limit: https://sqlite.org/wal.html#automatic_checkpoint
_CHECKED_MAX: Final = 1_000
_CHECKED_LENGTH_MAX: Final = 10_000


class Connection(Handle):
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
        self._statement_timeout_s = config.statement_timeout_s
        self._left_s = clock.NEVER  # of the request's time inside SQLite
        self._begun = False
        self._nested = 0  # savepoints that the request has set
        self.killed_by: BaseException | None = None  # what made SQLite end the transaction (N3)
        self._checked: set[str] = set()  # texts that hold one statement
        self.wal_pages = 0  # in the WAL after the last commit
        if not read_only:
            self._apsw.set_wal_hook(
                self._note_wal
            )  # in place of SQLite's own, which checkpoints inside the COMMIT

    # --- transactions

    def begin_write(self, deadline: float) -> bool:
        """Begin a write transaction; False where another connection kept the lock past *deadline*."""
        self.busy_until = deadline
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
        try:
            self._own(_BEGIN_READ)
            self._own(FIX_SNAPSHOT)
        except BUSY:
            self.rollback()
            return False
        except apsw.Error as error:
            self.rollback()
            raise translate(error, None, ran="no") from error
        self._begun = True
        return True

    def commit(self) -> None:
        """Commit; the error of a commit that failed says ``rolled_back``, which the caller may have to correct."""
        try:
            self._guard.trusted = True
            self._cursor.execute(_COMMIT)
        except apsw.Error as error:
            raise translate(error, None) from error
        finally:
            self._guard.trusted = False
        self._begun = False

    def checkpoint(self) -> None:
        """Move what the WAL holds into the database, as far as readers allow without waiting."""
        try:
            self._apsw.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_PASSIVE)
        except BUSY:  # another process is at it
            self.busy_retries += 1
        except apsw.Error as error:
            raise translate(error, None) from error

    def _note_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK

    def rollback(self) -> None:
        """Roll back what is open, if anything is; safe after any failure."""
        self._begun = False
        self._renew_cursor()
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

    def save(self, name: str = SAVEPOINT) -> None:
        """Set the savepoint *name*."""
        self._savepoint(f"SAVEPOINT {name}")

    def save_within(self) -> str:
        """Set a savepoint inside a request, and return its name, which no other of the request has."""
        self._nested += 1
        name = f"{SAVEPOINT}_{self._nested}"
        self.save(name)
        return name

    def release(self, name: str = SAVEPOINT) -> None:
        """Keep what was done since the savepoint *name*; those inside it end with it."""
        self._savepoint(f"RELEASE {name}")

    def go_back(self, name: str = SAVEPOINT) -> None:
        """Undo what was done since the savepoint *name*, and end it; those inside it end with it."""
        self._savepoint(f"ROLLBACK TO {name}")
        self._savepoint(f"RELEASE {name}")

    def _savepoint(self, sql: str) -> None:
        try:
            self._cursor.execute(sql)
        except apsw.Error as error:
            raise translate(error, None) from error

    def check_alive(self) -> None:
        """Raise what ended the transaction under its user, if anything did: what that returned then means nothing."""
        if self.killed_by is not None:
            raise self.killed_by
        self.check_own()

    def check_own(self) -> None:
        """Refuse, in a forked child, what is the parent's."""
        if self.inherited:
            msg = "the transaction is the parent process's; open the database again in the child"
            raise ForkedDatabase(msg)

    def is_idle(self) -> bool:
        """Whether no transaction is open and no cursor half-read, which only the transaction's state tells.

        https://sqlite.org/c3ref/txn_state.html
        """
        return self._apsw.get_autocommit() and self._apsw.txn_state() == apsw.SQLITE_TXN_NONE

    # --- requests

    def start_request(self) -> None:
        """Forget what the request before left: its last rowid, its time inside SQLite."""
        self._apsw.set_last_insert_rowid(0)
        self._left_s = self._statement_timeout_s
        self._nested = 0

    def unlimited(self) -> None:
        """Take the limit of time from what follows, up to the next `start_request`."""
        self._left_s = self.stop_at = clock.NEVER

    def end_request(self) -> bool:
        """End a request; False where it left a deferred foreign key broken, which the COMMIT would fail for.

        https://sqlite.org/c3ref/c_dbstatus_options.html#sqlitedbstatusdeferredfks
        """
        sound = self._apsw.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0] == 0
        if self._guard.deferred:
            self._own(
                _UNDEFER
            )  # it survives a ROLLBACK TO, and takes the broken keys that it had put off with it
        return sound

    # --- SQL of callers

    def rows(self, sql: str, params: Params) -> list[Row]:
        """Run one statement to its end and return its rows."""
        if type(sql) is not str or sql not in self._checked or type(params) is not tuple:
            self._check(sql, params)
        started = time.monotonic()
        self.stop_at = started + self._left_s
        try:
            return cast("list[Row]", self._cursor.execute(sql, cast("apsw.Bindings", params)).fetchall())
        except BaseException as error:  # noqa: BLE001 - told apart there
            self._fail(error, sql)
        finally:
            self._left_s -= time.monotonic() - started
            self.stop_at = clock.NEVER  # the library's own statements have no limit

    def named_rows(self, sql: str, params: Params) -> tuple[list[Row], Sequence[str]]:
        """Run one statement to its end; return its rows and, where there are any, the names of its columns."""
        if type(sql) is not str or sql not in self._checked or type(params) is not tuple:
            self._check(sql, params)
        started = time.monotonic()
        self.stop_at = started + self._left_s
        try:
            cursor = self._cursor.execute(sql, cast("apsw.Bindings", params))
            first = cursor.fetchone()
            if first is None:
                return [], ()
            names = [column[0] for column in cursor.get_description()]
            return [cast("Row", first), *cast("list[Row]", cursor.fetchall())], names
        except BaseException as error:  # noqa: BLE001 - told apart there
            self._fail(error, sql)
        finally:
            self._left_s -= time.monotonic() - started
            self.stop_at = clock.NEVER  # the library's own statements have no limit

    def execute(self, sql: str, params: Params) -> Result:
        """Run one statement to its end and say what it did."""
        before = self._apsw.total_changes()
        rows = self.rows(sql, params)
        # SQLite leaves the count of an earlier statement standing where this one changes nothing.
        changes = self._apsw.changes() if self._apsw.total_changes() != before else 0
        return Result(rows, changes, self._apsw.last_insert_rowid())

    def execute_many(self, sql: str, many: Iterable[Params]) -> Result:
        """Run one statement once for each of *many*; rows that it returns are collected in their order."""
        self._check(sql, ())
        changes = 0
        before = self._apsw.total_changes()

        def counted() -> Iterator[Params]:
            nonlocal changes, before
            for params in many:
                check_params(params)
                yield params  # APSW comes back for the next once this one has run
                after = self._apsw.total_changes()
                if after != before:
                    changes += self._apsw.changes()
                    before = after

        started = time.monotonic()
        self.stop_at = started + self._left_s
        try:
            feed = cast("Iterator[apsw.Bindings]", counted())
            rows = cast("list[Row]", self._cursor.executemany(sql, feed).fetchall())
        except BaseException as error:  # noqa: BLE001 - told apart there
            self._fail(error, sql)
        finally:
            self._left_s -= time.monotonic() - started
            self.stop_at = clock.NEVER  # the library's own statements have no limit
        return Result(rows, changes, self._apsw.last_insert_rowid())

    def run_unguarded(self, sql: str, params: Params = ()) -> list[Row]:
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

    def set_progress(self, report: Callable[[], bool] | None) -> None:
        """Have *report* called some hundred times a second while a statement runs."""
        self._apsw.set_progress_handler(report, STEPS, id="report")

    # --- inside

    def _check(self, sql: str, params: Params) -> None:
        check_params(params)
        _check_type(sql)
        if sql not in self._checked:
            _check_text(sql)
            if len(sql) > _CHECKED_LENGTH_MAX:
                return
            if len(self._checked) >= _CHECKED_MAX:
                self._checked.clear()
            self._checked.add(sql)

    def _fail(self, error: BaseException, sql: str) -> NoReturn:
        self._renew_cursor()
        ours = self._ours(error, sql)
        if self._begun and self._apsw.get_autocommit():
            self.killed_by = ours
        if ours is error:
            raise error
        raise ours from error

    def _ours(self, error: BaseException, sql: str) -> BaseException:
        refused, self._guard.refused = self._guard.refused, ""
        if isinstance(error, Error) or not is_known(error):
            return error
        if not refused and self._guard.read_only and isinstance(error, apsw.ReadOnlyError):
            refused = WOULD_WRITE
        if refused:
            return ForbiddenStatement(f"{refused} (in: {sql})", ran="rolled_back", sql=sql)
        return translate(error, sql)


def _check_type(sql: object) -> None:
    if not isinstance(sql, str):
        msg = f"sql must be a str, not {type(sql).__name__}"
        raise ProgrammingError(msg)


def _check_text(sql: str) -> None:
    found = statements.count(sql)
    if found != 1:
        what = "no statement" if found == 0 else f"{found} statements"
        msg = f"one statement a call: this text holds {what} (tx.script() runs several)"
        raise ProgrammingError(msg, sql=sql)
