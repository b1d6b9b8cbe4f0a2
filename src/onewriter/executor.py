"""The SQL of callers on one connection: checked, timed, run to its end, and its errors ours.

N3  SQLite may end a transaction behind our back: ``INSERT OR ROLLBACK``, ``RAISE(ROLLBACK)``, an interrupted write,
    often a full disk or an I/O error
    (https://sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction). So autocommit is asked after
    every statement that failed; `killer` is what did it. Where an interrupt (Ctrl-C, a signal handler that raises)
    came before that question, it is asked before anything else is done.
N4  A half-read cursor would make the commit fail and pin the WAL: rows are fetched whole, and a cursor whose reading
    was broken off is closed and replaced. What is meant to stay open between two calls (a stream, a blob) is kept in
    ``opened`` and closed with its transaction.
N7  The names of a statement's columns are kept by its text, and asked for anew where SQLite has compiled anything
    since: a changed schema may have changed them. The guard tells of that, since it is asked at each compilation.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import apsw

from . import clock, converters, statements
from .config import Config, Durability
from .errors import (
    CannotOpen,
    CorruptDatabase,
    DiskError,
    Error,
    ForbiddenStatement,
    ForkedDatabase,
    MisuseError,
    NotADatabase,
    OperationalError,
    TransactionEnded,
)
from .guard import WOULD_WRITE, own
from .handle import Handle
from .opened import Closing, OpenBlob, OpenCursor, names_of
from .parameters import Params, check_named, checked_row, count_mismatch, misfit, native, parameters, settled
from .results import Result
from .rows import Plain, Row, row_class
from .samples import Tally
from .translate import broken_foreign_key, is_known, translate

T = TypeVar("T")
_DEFERRED_FKS: Final = apsw.SQLITE_DBSTATUS_DEFERRED_FKS
_new_result = tuple.__new__  # as `Result` does by a function in Python
_UNDEFER: Final = own("PRAGMA defer_foreign_keys = OFF")
_BREAKING: Final = frozenset({OperationalError, DiskError, CorruptDatabase, NotADatabase, CannotOpen})
_SEE_SCHEMA: Final = own(
    "SELECT 1 FROM sqlite_schema LIMIT 0"
)  # opening a blob alone would not see that it changed
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
        self._statement_timeout_s = config.statement_timeout_s
        self._read_timeout_s = config.read_timeout_s
        self._reader_age_max_s = config.reader_age_max_s
        self._left_s = clock.NEVER  # of the request's time inside SQLite
        self._begun = False  # a transaction is open, as far as we know
        self.unended = False  # a statement was begun, and its end not looked at (N3)
        self.killed_by: BaseException | None = None  # what made SQLite end the transaction (N3)
        self._nested = 0  # savepoints that the request has set
        self._checked: set[str] = set()  # texts that hold one statement
        self._shapes: dict[str, type[Row]] = {}  # of those of them that have returned rows (N7)
        self.opened: set[Closing] = set()  # what stays open between two calls
        self.is_broken = False  # it is not to be used again, where another can take its place

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
        sound = self._apsw.status(_DEFERRED_FKS)[0] == 0
        if self._guard.deferred:
            # It survives a ROLLBACK TO, and takes the broken keys that it had put off with it.
            self._own(_UNDEFER)
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
        params = self._check(sql, params)
        if self.unended:
            self.check_alive()
        started = time.monotonic()
        self.stop_at = started + self._left_s
        self.unended = True
        try:
            cursor = self._cursor.execute(sql, params)
            first: Plain | None = cursor.fetchone()
            rows: list[Row] = [] if first is None else self._rest(sql, cursor, first)
            self.unended = False
            return rows
        except BaseException as error:  # noqa: BLE001 - told apart there
            self._fail(error, sql, params)
        finally:
            self._left_s -= time.monotonic() - started
            self.stop_at = clock.NEVER  # the library's own statements have no limit

    def first(self, sql: str, params: Params) -> Row | None:
        """Run one statement as far as its first row, and return that."""
        params = self._check(sql, params)
        return self.step(lambda: self._first(sql, params), sql, params)

    def named_rows(self, sql: str, params: Params) -> tuple[list[Plain], tuple[str, ...]]:
        """Run one statement to its end; return its rows and, where there are any, the names of its columns."""
        params = self._check(sql, params)
        return self.step(lambda: self._named_rows(sql, params), sql, params)

    def step(self, work: Callable[[], T], sql: str, params: Params = ()) -> T:
        """Do *work* inside SQLite, for the statement *sql*, in the time that the request has left."""
        if self.inherited:
            self.check_own()
        if self.unended:
            self.check_alive()
        started = time.monotonic()
        self.stop_at = started + self._left_s
        self.unended = True
        try:
            value = work()
            self.unended = False
            return value
        except BaseException as error:  # noqa: BLE001 - told apart there
            self._fail(error, sql, params)
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

    def statement(self, sql: str, params: Params, now: float) -> Result:
        """Run a request that is one statement, which begins *now*; whoever calls sets ``stop_at`` back.

        As `start_request`, `execute` and `end_request` do, written out, but for what only a function can leave behind.
        """
        database = self._apsw
        database.set_last_insert_rowid(0)
        self._guard.trusted = False
        if sql not in self._checked or converters.wary or not isinstance(params, tuple):
            params = self._check(sql, params)
        before = database.total_changes()
        self.stop_at = now + self._statement_timeout_s
        self.unended = True
        try:
            cursor = self._cursor.execute(sql, params)
            first: Plain | None = cursor.fetchone()
            rows: list[Row] = [] if first is None else self._rest(sql, cursor, first)
            self.unended = False
        except BaseException as error:  # noqa: BLE001 - told apart there
            self._fail(error, sql, params)
        changes = database.changes() if database.total_changes() != before else 0
        if (database.status(_DEFERRED_FKS)[0] or self._guard.deferred) and not self.end_request():
            raise broken_foreign_key()
        return _new_result(Result, (rows, changes, database.last_insert_rowid()))

    def execute_many(self, sql: str, many: Iterable[Params]) -> Result:
        """Run one statement once for each of *many*; rows that it returns are collected in their order."""
        self._check(sql, ())
        changes = 0
        wanted = len(parameters(sql).texts)
        before = self._apsw.total_changes()

        def counted() -> Iterator[Params]:
            nonlocal changes, before
            for params in many:
                kind = type(params)
                if kind is not tuple or len(params) != wanted:  # the call is spared where all is well
                    params = checked_row(sql, params, wanted)  # noqa: PLW2901 - what it is from now on
                yield native(params) if converters.wary else params  # APSW comes back once this one has run
                after = self._apsw.total_changes()
                if after != before:
                    changes += self._apsw.changes()
                    before = after

        rows = self.step(lambda: self._many(sql, counted()), sql)
        return Result(rows, changes, self._apsw.last_insert_rowid())

    def open_cursor(self, sql: str, params: Params) -> OpenCursor:
        """Begin one statement whose rows are fetched one by one; `close_opened` closes it, if nothing else has."""
        params = self._check(sql, params)
        cursor = self._apsw.cursor()
        opened = OpenCursor(self, cursor, sql)
        self.opened.add(opened)
        self.step(lambda: opened.begin(params), sql, params)
        return opened

    def open_blob(self, table: str, column: str, rowid: int, *, writable: bool) -> OpenBlob:
        """Open one value for reading, or writing, piece by piece; `close_opened` closes it, if nothing else has.

        https://sqlite.org/c3ref/blob_open.html
        """
        if writable and self._guard.read_only:
            msg = f"open_blob of {table}.{column}: {WOULD_WRITE}"
            raise ForbiddenStatement(msg)
        opened = OpenBlob(self, what := f"open_blob({table!r}, {column!r})", writable=writable)
        self.opened.add(opened)

        def begin() -> None:
            self._own(_SEE_SCHEMA)
            opened.begin(self._apsw.blob_open("main", table, column, rowid, writable))

        self.step(begin, what)
        return opened

    def close_opened(self) -> None:
        """Close what stayed open between two calls (N4); in a forked child it is the parent's, and stays."""
        for opened in list(self.opened):
            opened.close()

    def forget(self, opened: Closing) -> None:
        """Note that *opened* has been closed."""
        self.opened.discard(opened)

    # --- rows of the one cursor, which has begun a statement

    def _rows(self, sql: str, params: Params) -> list[Row]:
        cursor = self._cursor.execute(sql, params)
        first: Plain | None = cursor.fetchone()
        return [] if first is None else self._rest(sql, cursor, first)

    def _rest(self, sql: str, cursor: apsw.Cursor, first: Plain) -> list[Row]:
        """Return *first* and all rows after it."""
        shape = self._shapes.get(sql)
        if shape is None or self._guard.asked:
            shape = self._describe(sql, cursor)
        rest: list[Plain] = cursor.fetchall()
        return [shape(first), *map(shape, rest)]

    def _first(self, sql: str, params: Params) -> Row | None:
        cursor = self._cursor.execute(sql, params)
        first: Plain | None = cursor.fetchone()
        if first is None:
            return None
        shape = self._shapes.get(sql)
        if shape is None or self._guard.asked:
            shape = self._describe(sql, cursor)
        if cursor.fetchone() is not None:
            self._renew_cursor()  # N4: the rest is not read
        return shape(first)

    def _named_rows(self, sql: str, params: Params) -> tuple[list[Plain], tuple[str, ...]]:
        cursor = self._cursor.execute(sql, params)
        first: Plain | None = cursor.fetchone()
        if first is None:
            return [], ()
        names = names_of(cursor)
        rest: list[Plain] = cursor.fetchall()
        return [first, *rest], names

    def _many(self, sql: str, many: Iterable[Params]) -> list[Row]:
        cursor = self._cursor.executemany(sql, many)
        first: Plain | None = cursor.fetchone()
        return [] if first is None else self._rest(sql, cursor, first)

    def _describe(self, sql: str, cursor: apsw.Cursor) -> type[Row]:
        """Return the class of the rows that the cursor has before it (N7)."""
        if self._guard.asked:
            self._shapes.clear()  # any of their texts may be what was compiled
            self._guard.asked = False
        shape = row_class(names_of(cursor))
        if len(sql) <= _CHECKED_LENGTH_MAX:
            self._shapes[sql] = shape
        return shape

    # --- inside

    def _check(self, sql: str, params: Params) -> Params:
        """Refuse what is no statement, or no parameters of it; return what is to be bound."""
        if type(sql) is str and sql in self._checked and isinstance(params, tuple) and not converters.wary:
            return params
        params = settled(params)
        statements.check_text(sql)
        if sql not in self._checked:
            statements.check_one(sql)
            if len(self._checked) >= _CHECKED_MAX:
                self._checked.clear()
                self._shapes.clear()
            if len(sql) <= _CHECKED_LENGTH_MAX:
                self._checked.add(sql)
        if isinstance(params, Mapping):
            check_named(sql, params)
        return native(params)

    def _look_after(self) -> None:
        """Find out what became of the transaction when a statement's end was broken off by an interrupt (N3)."""
        self._renew_cursor()
        if self._begun and self.killed_by is None and self._apsw.get_autocommit():
            msg = "SQLite rolled the whole transaction back while an interrupt struck"
            self.killed_by = TransactionEnded(msg, ran="rolled_back")
        self.unended = False

    def _fail(self, error: BaseException, sql: str, params: Params) -> NoReturn:
        self._renew_cursor()
        ours = self._ours(error, sql, params)
        if self._begun and self.killed_by is None and self._apsw.get_autocommit():
            self.killed_by = ours
        self.unended = False
        try:
            if ours is error:
                raise error
            raise ours from error
        finally:
            del ours, error  # no cycle through the traceback: it would keep the caller's frames alive

    def _ours(self, error: BaseException, sql: object, params: Params) -> BaseException:
        refused, self._guard.refused = self._guard.refused, ""
        if not isinstance(sql, str):
            return statements.no_text(sql)
        if isinstance(error, Error) or not is_known(error):
            return error
        if not refused and self._guard.read_only and isinstance(error, apsw.ReadOnlyError):
            refused = WOULD_WRITE
        if not refused and isinstance(error, apsw.SQLError) and "cannot VACUUM" in str(error):
            refused = "VACUUM is not for callers: db.vacuum() does it, and db.snapshot() makes a compact copy"
        if refused:
            return ForbiddenStatement(f"{refused} (in: {sql})", ran="rolled_back", sql=sql)
        if isinstance(error, apsw.BindingsError):
            return count_mismatch(sql, tuple(params))
        if isinstance(error, apsw.LockedError) and self.opened:
            msg = (
                f"{error}: this transaction still reads a stream or a blob; leave its block first (in: {sql})"
            )
            return MisuseError(msg, ran="rolled_back", sql=sql, code="SQLITE_LOCKED")
        ours = translate(error, sql, where="" if isinstance(error, apsw.Error) else misfit(params))
        self.is_broken = self.is_broken or type(ours) in _BREAKING
        return ours
