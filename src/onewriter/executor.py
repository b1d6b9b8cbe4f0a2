"""The SQL of callers on one connection: checked, timed, run to its end, and its errors ours.

N3  SQLite may end a transaction behind our back: ``INSERT OR ROLLBACK``, ``RAISE(ROLLBACK)``, an interrupted write,
    often a full disk or an I/O error
    (https://sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction). So autocommit is asked after
    every statement that failed; `killer` is what did it. Where an interrupt (Ctrl-C, a signal handler that raises)
    came before that question, it is asked before anything else is done.
N4  A half-read cursor would make the commit fail and pin the WAL: rows are fetched whole, and a cursor whose reading
    was broken off is closed and replaced.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn

import apsw

from . import clock, statements
from .config import Config, Durability
from .errors import Error, ForbiddenStatement, ForkedDatabase, ProgrammingError, TransactionEnded
from .guard import WOULD_WRITE, own
from .handle import Handle
from .translate import is_known, translate
from .values import Params, Result, Row, check_params

_UNDEFER: Final = own("PRAGMA defer_foreign_keys = OFF")
_CHECKED_MAX: Final = 1_000
_CHECKED_LENGTH_MAX: Final = 10_000


class Executor(Handle):
    """A handle with what a request needs to run its statements."""

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
        self._begun = False  # a transaction is open, as far as we know
        self.unended = False  # a statement was begun, and its end not looked at (N3)
        self.killed_by: BaseException | None = None  # what made SQLite end the transaction (N3)
        self._nested = 0  # savepoints that the request has set
        self._checked: set[str] = set()  # texts that hold one statement

    # --- requests

    def start_request(self) -> None:
        """Forget what the request before left: its last rowid, its time inside SQLite."""
        self._apsw.set_last_insert_rowid(0)
        self._left_s = self._statement_timeout_s
        self._nested = 0
        self._guard.trusted = False  # an interrupt in the request before may have left it

    def unlimited(self) -> None:
        """Take the limit of time from what follows, up to the next `start_request`."""
        self._left_s = self.stop_at = clock.NEVER

    def end_request(self) -> bool:
        """End a request; False where it left a deferred foreign key broken, which the COMMIT would fail for.

        https://sqlite.org/c3ref/c_dbstatus_options.html#sqlitedbstatusdeferredfks
        """
        self.stop_at = clock.NEVER  # an interrupt may have left it
        sound = self._apsw.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0] == 0
        if self._guard.deferred:
            self._own(
                _UNDEFER
            )  # it survives a ROLLBACK TO, and takes the broken keys that it had put off with it
        return sound

    def killer(self) -> BaseException | None:
        """Return what made SQLite end the transaction under its user, if anything did (N3)."""
        if self.unended:
            self._look_after()
        return self.killed_by

    def check_alive(self) -> None:
        """Raise what ended the transaction under its user, if anything did: what that returned then means nothing."""
        if self.unended:
            self._look_after()
        if self.killed_by is not None:
            raise self.killed_by
        if self.inherited:
            self.check_own()

    def check_own(self) -> None:
        """Refuse, in a forked child, what is the parent's."""
        if self.inherited:
            msg = "the transaction is the parent process's; open the database again in the child"
            raise ForkedDatabase(msg)

    # --- SQL of callers

    def rows(self, sql: str, params: Params) -> list[Row]:
        """Run one statement to its end and return its rows."""
        if type(sql) is not str or sql not in self._checked or type(params) is not tuple:
            self._check(sql, params)
        if self.unended:
            self.check_alive()
        started = time.monotonic()
        self.stop_at = started + self._left_s
        self.unended = True
        try:
            rows: list[Row] = self._cursor.execute(sql, params).fetchall()
            self.unended = False
            return rows
        except BaseException as error:  # noqa: BLE001 - told apart there
            self._fail(error, sql)
        finally:
            self._left_s -= time.monotonic() - started
            self.stop_at = clock.NEVER  # the library's own statements have no limit

    def named_rows(self, sql: str, params: Params) -> tuple[list[Row], Sequence[str]]:
        """Run one statement to its end; return its rows and, where there are any, the names of its columns."""
        if type(sql) is not str or sql not in self._checked or type(params) is not tuple:
            self._check(sql, params)
        started = self._start()
        try:
            cursor = self._cursor.execute(sql, params)
            first: Row | None = cursor.fetchone()
            if first is None:
                self.unended = False
                return [], ()
            names: list[str] = [column[0] for column in cursor.get_description()]
            rows: list[Row] = [first, *cursor.fetchall()]
            self.unended = False
            return rows, names
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

        started = self._start()
        try:
            rows: list[Row] = self._cursor.executemany(sql, counted()).fetchall()
            self.unended = False
        except BaseException as error:  # noqa: BLE001 - told apart there
            self._fail(error, sql)
        finally:
            self._left_s -= time.monotonic() - started
            self.stop_at = clock.NEVER  # the library's own statements have no limit
        return Result(rows, changes, self._apsw.last_insert_rowid())

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

    def _start(self) -> float:
        """Begin a statement, and return the moment."""
        if self.unended:
            self.check_alive()
        started = time.monotonic()
        self.stop_at = started + self._left_s
        self.unended = True
        return started

    def _look_after(self) -> None:
        """Find out what became of the transaction when a statement's end was broken off by an interrupt (N3)."""
        self._renew_cursor()
        if self._begun and self.killed_by is None and self._apsw.get_autocommit():
            msg = "SQLite rolled the whole transaction back while an interrupt struck"
            self.killed_by = TransactionEnded(msg, ran="rolled_back")
        self.unended = False

    def _fail(self, error: BaseException, sql: str) -> NoReturn:
        self._renew_cursor()
        ours = self._ours(error, sql)
        if self._begun and self.killed_by is None and self._apsw.get_autocommit():
            self.killed_by = ours
        self.unended = False
        try:
            if ours is error:
                raise error
            raise ours from error
        finally:
            del ours, error  # no cycle through the traceback: it would keep the caller's frames alive

    def _ours(self, error: BaseException, sql: str) -> BaseException:
        refused, self._guard.refused = self._guard.refused, ""
        if isinstance(error, Error) or not is_known(error):
            return error
        if not refused and self._guard.read_only and isinstance(error, apsw.ReadOnlyError):
            refused = WOULD_WRITE
        if not refused and isinstance(error, apsw.SQLError) and "cannot VACUUM" in str(error):
            refused = "VACUUM is not for callers: db.vacuum() does it, and db.snapshot() makes a compact copy"
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
