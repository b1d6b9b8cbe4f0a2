"""The writing connection while somebody observes: it notes which rows it changes, and tells so after each commit.

V1  Off means free: a connection is of this class only while somebody observes. `record` and `forget` make it so and
    undo that, for who has the role; nothing else of the library asks whether it is. Statements are compiled anew then
    (`guard`, A3): those that were compiled without the hook would clear a table without a word.
V2  SQLite's preupdate hook tells of each row, those of triggers, foreign keys and conflicts as well
    (https://sqlite.org/c3ref/preupdate_blobwrite.html). The update hook misses rows that a conflict deletes, the
    deletion of all rows, and tables WITHOUT ROWID (https://sqlite.org/c3ref/update_hook.html).
V3  What is undone is not told: the nets (`nets`) follow the savepoints and statements of the connection. A statement
    that has failed, in a function that goes on, was undone if SQLite says so: see `_is_undone`. Where that cannot be
    known, its rows are told.
V4  What was committed is told once, in the order of the commits, by who has the role, before he can give it on. Where
    an interrupt struck between the two, `committed` is true still, and whoever ends or begins the next transaction
    tells it (`_settle`). Told twice for that reason, it is the same net, which whoever hears of it takes once.
V5  As a transaction begins, which fixes what it sees, the pragma ``data_version`` tells whether anybody else has
    committed since: commits of this connection do not change it (https://sqlite.org/pragma.html#pragma_data_version).
V6  VACUUM tells of no row, and may give those of a table without an INTEGER PRIMARY KEY other rowids
    (https://sqlite.org/lang_vacuum.html): such tables are told as changed. It is *owed* from before it begins, and told
    when the turn ends, by `_settle`: so wherever an interrupt strikes.
V7  Nothing that goes wrong here harms a write. What could not be noted is told as `unsure`.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar, cast

import apsw

from .connection import Connection
from .errors import Error, IntegrityError, OperationalError
from .guard import SAVEPOINT, own
from .nets import DELETE, INSERT, UPDATE, Net, Nets
from .parameters import Params
from .rows import Row

T = TypeVar("T")
_KINDS: Final = {apsw.SQLITE_INSERT: INSERT, apsw.SQLITE_UPDATE: UPDATE, apsw.SQLITE_DELETE: DELETE}
_DATA_VERSION: Final = own("PRAGMA data_version")
_SCHEMA_VERSION: Final = own("PRAGMA schema_version")
_MAY_FAIL: Final = own(
    "SELECT 1 FROM sqlite_schema WHERE sql LIKE '%fail%' UNION ALL "
    "SELECT 1 FROM sqlite_temp_schema WHERE sql LIKE '%fail%' LIMIT 1"
)
# A rowid that is a column has no index for its primary key (https://sqlite.org/pragma.html#pragma_index_list).
_RENUMBERED: Final = own(
    "SELECT name FROM pragma_table_list AS t WHERE schema = 'main' AND type = 'table' AND NOT wr AND NOT ("
    "EXISTS (SELECT 1 FROM pragma_table_info(t.name) WHERE pk) AND "
    "NOT EXISTS (SELECT 1 FROM pragma_index_list(t.name) WHERE origin = 'pk'))"
)


class Record:
    """What a connection that records has beside the rest.

    Attributes:
        tell: is given each net; waits for nothing.
        rows_max: how many rows of a table a net holds.
        nets: of the transaction that is open.
        data_version: of the file, at the last look (V5).
        schema_version: as the transaction began.
        owed: what a VACUUM may have done (V6).
        doubtful: what a COMMIT was to commit that has failed; its fate is found out.
        has_begun: the hook is set.
    """

    def __init__(self, tell: Callable[[Net], object], rows_max: int) -> None:
        """Tell what was done by *tell*."""
        self.tell = tell
        self.rows_max = rows_max
        self.nets = Nets(rows_max)
        self.data_version: object = None
        self.schema_version: object = None
        self.owed: Net | None = None
        self.doubtful: Net | None = None
        self.has_begun = False

    def note(self, update: apsw.PreUpdate) -> None:
        """Note one row (V2); SQLite calls it before the row is changed."""
        net = self.nets.top
        try:
            if update.database_name == "main":
                self._note(net, update)
        except Exception:  # noqa: BLE001 - a name that is no text, say: it must not harm the statement (V7)
            net.unsure = True

    @staticmethod
    def _note(net: Net, update: apsw.PreUpdate) -> None:
        table = update.table_name
        if table.startswith("sqlite_"):
            return  # what ANALYZE keeps for the planner
        rows, rows_max = net.rows(table), net.rows_max
        # A write to a blob is told as a deletion (https://sqlite.org/c3ref/preupdate_blobwrite.html).
        kind = _KINDS[update.opcode] if update.blob_write < 0 else UPDATE
        rowid, rowid_new = update.rowid, update.rowid_new
        if rowid == rowid_new:
            if rowid:
                rows.note(rowid, kind, rows_max)
            else:
                rows.unlisted |= kind  # that of all rows of a table WITHOUT ROWID
            return
        for each, its_kind in ((rowid, DELETE), (rowid_new, INSERT)):
            if each:
                rows.note(each, its_kind, rows_max)
            else:
                rows.unlisted |= its_kind


class RecordingConnection(Connection):
    """A writing connection that is observed; `record` makes one of a `Connection`."""

    record: Record

    def start(self, deadline: float) -> None:
        """Note what is done from now on, unless that has begun: an interrupt may have struck here before.

        Raises as `record`.
        """
        if self.record.has_begun:
            return
        self._apsw.preupdate_hook(self.record.note, id=SAVEPOINT)
        self._compile_anew()
        self.busy_until = deadline
        self.record.data_version = self.run_unguarded("PRAGMA data_version")[0][0]
        self.record.has_begun = True

    def stop(self) -> None:
        """Note nothing more."""
        self._apsw.preupdate_hook(None, id=SAVEPOINT)
        self._compile_anew()

    def _compile_anew(self) -> None:
        """Have every statement compiled again before it runs (V1)."""
        self._apsw.authorizer = self._guard

    # --- transactions

    def begin_write(self, deadline: float) -> bool:
        """Begin as any connection, and look whether others have committed (V5)."""
        self._settle()
        if not super().begin_write(deadline):
            return False
        self.look()
        return True

    def look(self) -> None:
        """Tell if anybody else has committed since the last look; for who has the role.

        Outside of a transaction too. Where that cannot be seen, it is told that it may be so.
        """
        record = self.record
        try:
            version = self._own(_DATA_VERSION)[0][0]
            record.schema_version = self._own(_SCHEMA_VERSION)[0][0]
        except apsw.Error:
            record.tell(Net(record.rows_max, unsure=True))
            return
        if version != record.data_version:
            record.tell(Net(record.rows_max, elsewhere=True))
            record.data_version = version  # not before: an interrupt may have struck

    def commit(self) -> None:
        """Commit as any connection, and tell what was done (V4)."""
        record = self.record
        try:
            if self._own(_SCHEMA_VERSION)[0][0] != record.schema_version:
                record.nets.top.schema = True
        except apsw.Error:
            record.nets.top.unsure = True
        try:
            super().commit()
        except BaseException:
            if self.committed:
                self._settle()
            else:
                record.doubtful = record.nets.whole()
            raise
        self._settle()

    def _settle(self) -> None:
        """Tell what was committed and not told yet, and forget what was not committed."""
        record = self.record
        if record.owed is not None:
            record.tell(record.owed)
            record.owed = None
        if self.committed:
            net = record.nets.whole()
            if not net.is_empty:
                record.tell(net)
        record.nets.clear()

    def recover(self) -> None:
        """Make good what an interrupt has left half-done; tell what was committed before it (V4)."""
        self._settle()
        super().recover()

    def rollback(self) -> None:
        """Roll back what is open, and forget it."""
        self._settle()
        super().rollback()

    def supersede(self, deadline: float) -> None:
        """Take the place of a failed commit; where that fails, tell what may have been committed."""
        record = self.record
        doubtful, record.doubtful = record.doubtful, None
        try:
            super().supersede(deadline)
        except BaseException:
            if doubtful is not None:
                doubtful.unsure = True
                record.tell(doubtful)
            raise

    def vacuum(self, deadline: float) -> bool:
        """Build the file anew; which tables may have other rowids then is told as the turn ends (V6)."""
        record = self.record
        owed = Net(record.rows_max)
        try:
            for (table,) in self._own(_RENUMBERED):
                if not str(table).startswith("sqlite_"):
                    owed.rows(str(table)).unlisted = INSERT | UPDATE | DELETE
        except (apsw.Error, UnicodeDecodeError):
            owed.unsure = True
        record.owed = owed if owed.tables or owed.unsure else None
        return super().vacuum(deadline)

    # --- savepoints

    def save(self) -> None:
        """Set the savepoint of a request."""
        super().save()
        self.record.nets.begin(SAVEPOINT)

    def save_within(self) -> str:
        """Set a savepoint inside a request."""
        name = super().save_within()
        self.record.nets.begin(name)
        return name

    def release(self, name: str = SAVEPOINT) -> None:
        """Keep what was done since the savepoint *name*."""
        super().release(name)
        nets = self.record.nets
        nets.keep(nets.level_of(name))

    def go_back(self, name: str = SAVEPOINT) -> None:
        """Undo what was done since the savepoint *name*."""
        super().go_back(name)
        nets = self.record.nets
        nets.undo(nets.level_of(name))

    # --- statements of functions; where one of a request without a savepoint fails, all is rolled back

    def rows(self, sql: str, params: Params) -> list[Row]:
        """Run one statement to its end and return its rows."""
        return self._noted(lambda: super(RecordingConnection, self).rows(sql, params), sql)

    def step(self, work: Callable[[], T], sql: str, params: Params = ()) -> T:
        """Do *work* inside SQLite, for the statement *sql*."""
        return self._noted(lambda: super(RecordingConnection, self).step(work, sql, params), sql)

    def _noted(self, work: Callable[[], T], sql: str) -> T:
        nets, changes = self.record.nets, self._apsw.total_changes()
        level = nets.begin()
        try:
            value = work()
        except BaseException as error:
            if not isinstance(error, Error) and threading.get_ident() == self._main:
                # An interrupt may have struck `note` itself, which undoes nothing.
                nets.top.unsure = nets.top.unsure or self._apsw.total_changes() != changes
            if self._is_undone(error, sql, level):
                nets.undo(level)
            raise
        nets.keep(level)
        return value

    def _is_undone(self, error: BaseException, sql: str, level: int) -> bool:
        """Whether all is undone that was noted from *level* on, by a statement that failed with *error* (V3).

        A constraint undoes its statement (https://sqlite.org/lang_conflict.html), unless the statement, a table or a
        trigger says FAIL, and but for the types of a STRICT table, which SQLite's compiler does not foresee.
        """
        if self.killed_by is not None or all(net.is_empty for net in self.record.nets.above(level)):
            return True  # with the whole transaction; or nothing was done
        if not isinstance(error, IntegrityError) or error.kind == "datatype" or self._apsw.changes():
            return False
        try:
            return "fail" not in sql.lower() and not self._own(_MAY_FAIL)
        except apsw.Error:
            return False


def record(connection: Connection, tell: Callable[[Net], object], rows_max: int, deadline: float) -> None:
    """Have *connection* record what it does, and tell it by *tell*; again does no harm. For who has the role (V1).

    Raises:
        OperationalError: the installed SQLite has no preupdate hook.
        WriteTimeout: others kept the file locked past *deadline*.
        Error: the file cannot be looked at.
    """
    if not hasattr(apsw.Connection, "preupdate_hook"):
        msg = (
            "the installed apsw was built without SQLite's preupdate hook (SQLITE_ENABLE_PREUPDATE_HOOK), which tells "
            "of changes; the wheels of PyPI have it: pip install --force-reinstall --only-binary apsw apsw"
        )
        raise OperationalError(msg)
    if not isinstance(connection, RecordingConnection):
        vars(connection)["record"] = Record(tell, rows_max)  # before the class, which needs it
        connection.__class__ = RecordingConnection
    cast("RecordingConnection", connection).start(deadline)


def forget(connection: Connection) -> None:
    """Have *connection* be as it was; for who has the role."""
    if isinstance(connection, RecordingConnection):
        connection.stop()
        object.__setattr__(connection, "__class__", Connection)  # type checkers know the other one
