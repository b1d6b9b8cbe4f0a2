"""The errors: each raised by the real thing, with its data, and never with a parameter's value in its message."""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
import inspect
import pickle
from collections import UserDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import onewriter
from onewriter import SQL, Config, Database, Error, IntegrityError, OutcomeUnknown, errors
from tests.support.children import forked
from tests.support.places import small_disk
from tests.support.sick_vfs import SickVFS, fail
from tests.support.steps import Call
from tests.support.stranger import Stranger

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

SECRET = "the-parameter-that-nobody-may-see"
SCHEMA = """
    CREATE TABLE t (
        a TEXT NOT NULL UNIQUE CHECK (a <> 'wrong'), b INTEGER REFERENCES t (c), c INTEGER PRIMARY KEY
    ) STRICT;
    CREATE TABLE later (a REFERENCES t (c) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE key (a TEXT PRIMARY KEY);
    CREATE TABLE plain (a INTEGER PRIMARY KEY);
    CREATE TRIGGER never BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'never delete'); END;
    INSERT INTO t VALUES ('one', NULL, 1);
"""
LONG = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database with a table that has every kind of constraint."""
    with open_at(tmp_path / "a.db") as opened:
        yield opened


def open_at(path: Path, config: Config | None = None) -> Database:
    """Open a database with the schema of this module."""
    return onewriter.open(path, config=config, migrations=[onewriter.Migration(1, "schema", SCHEMA)])


def raised(call: Callable[[], object], kind: type[Error]) -> Error:
    """Return the error of exactly *kind* that *call* raises; it survives a pickle, and says nothing of `SECRET`."""
    with pytest.raises(kind) as caught:
        call()
    error = caught.value
    assert type(error) is kind
    assert SECRET not in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.__dict__) == (kind, str(error), error.__dict__)
    return error


# --- SQL


@pytest.mark.parametrize(
    "sql, params, message",
    [
        ("SELEC 1", (), 'near "SELEC": syntax error'),
        ("SELECT * FROM nowhere", (), "no such table: nowhere"),
        ("SELECT absent FROM t", (), "no such column: absent"),
        ("", (), "no statement"),
        ("-- nothing", (), "no statement"),
        ("SELECT 1; SELECT 2", (), "2 statements"),
        ("SELECT 1\0", (), "NUL"),
        ("SELECT ?, ?", (SECRET,), "the statement has 2 parameters, and params has 1 value"),
        ("SELECT :a", {"b": SECRET}, "params has no value for :a"),
        ("SELECT :a", UserDict({"b": SECRET}), "params has no value for :a"),
        ("SELECT ?", SECRET, "params must be a sequence or a mapping, not str"),
        ("SELECT ?", SECRET.encode(), "params must be a sequence or a mapping, not bytes"),
        ("SELECT ?", 7, "params must be a sequence or a mapping, not int: write (value,) for a single one"),
        ("SELECT ?", {SECRET}, "params must be a sequence or a mapping, not set"),
        ("SELECT ?", ({SECRET},), "parameter 1: a value of type set"),
        (5, (), "sql must be a str, not int"),
    ],
)
def test_programming_error(db: Database, sql: object, params: object, message: str) -> None:
    """SQL that is wrong, and parameters that do not fit, reading and writing."""
    wrong: Any = (sql, params)
    for call in (db.execute, db.query):
        error = raised(lambda call=call: call(*wrong), onewriter.ProgrammingError)  # type: ignore[misc]
        assert message in str(error)
    assert db.query_value("SELECT count(*) FROM t") == 1


def test_sqlites_errors_carry_its_codes(db: Database) -> None:
    """The statement, both codes by name, and APSW's error as the cause."""
    error = raised(lambda: db.execute("SELECT * FROM nowhere"), onewriter.ProgrammingError)
    assert (error.sql, error.code, error.extended_code) == (
        "SELECT * FROM nowhere",
        "SQLITE_ERROR",
        "SQLITE_ERROR",
    )
    assert isinstance(error.__cause__, apsw.SQLError)
    assert error.ran == "rolled_back"


def test_a_long_statement_is_cut_short_in_the_message(db: Database) -> None:
    """The whole of it is in `.sql`."""
    sql = "SELECT * FROM nowhere" + " " * 50 + ", nowhere" * 200
    error = raised(lambda: db.query(SQL(sql)), onewriter.ProgrammingError)
    assert error.sql == sql
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    "sql, params, message, code",
    [
        ("SELECT ?", (2**63,), "does not fit in 64 bits", None),
        ("SELECT ?", (SECRET + "\ud800",), "not valid Unicode", None),
        ("SELECT '\ud800'", (), "not valid Unicode", None),
        ("SELECT CAST(x'ff' AS TEXT)", (), "not UTF-8", None),
        ("SELECT zeroblob(2000000000)", (), "too big", "SQLITE_TOOBIG"),
    ],
)
def test_data_error(
    db: Database, sql: str, params: tuple[str | int, ...], message: str, code: str | None
) -> None:
    """A value that SQLite cannot hold, going in or coming out."""
    for call in (db.execute, db.query):
        error = raised(lambda call=call: call(SQL(sql), params), onewriter.DataError)  # type: ignore[misc]
        assert message in str(error)
        assert (error.sql, error.code) == (sql, code)


@pytest.mark.parametrize(
    "sql, kind, extended",
    [
        ("INSERT INTO t VALUES ('one', NULL, 2)", "unique", "UNIQUE"),
        ("INSERT INTO t VALUES ('two', NULL, 1)", "primary_key", "PRIMARYKEY"),
        ("INSERT INTO key VALUES (?1), (?1)", "primary_key", "PRIMARYKEY"),
        ("INSERT INTO t VALUES ('two', 5, 2)", "foreign_key", "FOREIGNKEY"),
        ("INSERT INTO later VALUES (5)", "foreign_key", "FOREIGNKEY"),
        ("INSERT INTO t VALUES (NULL, NULL, 2)", "not_null", "NOTNULL"),
        ("INSERT INTO t VALUES ('wrong', NULL, 2)", "check", "CHECK"),
        ("INSERT INTO t VALUES ('two', ?1, 2)", "datatype", "DATATYPE"),
        ("INSERT INTO plain VALUES (?1)", "datatype", None),
        ("DELETE FROM t", "trigger", "TRIGGER"),
        ("INSERT INTO key (rowid, a) VALUES (1, 'x'), (1, 'y')", "rowid", "ROWID"),
    ],
)
def test_integrity_error(db: Database, sql: str, kind: str, extended: str | None) -> None:
    """Each kind of constraint, with its name; the message has columns, not values."""
    params = (SECRET,) if "?" in sql else ()
    error = raised(lambda: db.execute(SQL(sql), params), IntegrityError)
    assert isinstance(error, IntegrityError)
    assert error.kind == kind
    assert error.ran == "rolled_back"
    expected = ("SQLITE_CONSTRAINT", f"SQLITE_CONSTRAINT_{extended}")
    assert (error.code, error.extended_code) == (
        expected if extended else ("SQLITE_MISMATCH", "SQLITE_MISMATCH")
    )
    assert db.query("SELECT * FROM t") == [("one", None, 1)]


def test_row_mismatch(db: Database) -> None:
    """No row, NULL, another type, too many columns."""
    for sql, message in (
        ("SELECT a FROM t WHERE c = 9", "found no row"),
        ("SELECT b FROM t", "column 'b': into=int expects int, got NULL"),
        ("SELECT a FROM t", "column 'a': into=int expects int, got str"),
        ("SELECT c, c FROM t", "wants one column, the row has 2: c, c"),
    ):
        error = raised(lambda sql=sql: db.query_value(SQL(sql), into=int), onewriter.RowMismatch)  # type: ignore[misc]
        assert message in str(error)


@pytest.mark.parametrize(
    "sql, advice",
    [
        ("BEGIN", "db.transaction()"),
        ("COMMIT", "to commit"),
        ("END", "to commit"),
        ("ROLLBACK", "raise an exception"),
        ("SAVEPOINT a", "tx.savepoint()"),
        ("RELEASE a", "tx.savepoint()"),
        ("ROLLBACK TO a", "tx.savepoint()"),
        ("ATTACH ':memory:' AS b", "onewriter.open()"),
        ("DETACH b", "one Database is one file"),
        ("PRAGMA synchronous = OFF", "see Config"),
        ("PRAGMA JOURNAL_MODE(delete)", "see Config"),
        ("PRAGMA main.locking_mode = EXCLUSIVE", "see Config"),
        ("PRAGMA wal_checkpoint", "see Config"),
        ("SELECT load_extension('x')", "Config(on_connect=...)"),
    ],
)
def test_forbidden_statement(db: Database, sql: str, advice: str) -> None:
    """For readers and writers alike; the message says what to do instead."""
    for call in (db.execute, db.query):
        error = raised(lambda call=call: call(SQL(sql)), onewriter.ForbiddenStatement)  # type: ignore[misc]
        assert advice in str(error)
        assert error.sql == sql
    assert db.execute("INSERT INTO key VALUES ('still')").changes == 1


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO key VALUES ('a')",
        "CREATE TABLE u (a)",
        "CREATE TEMP TABLE u (a)",
        "PRAGMA user_version = 5",
    ],
)
def test_a_write_where_only_reads_are(db: Database, sql: str) -> None:
    """A reader changes nothing, not even a TEMP table."""
    raised(lambda: db.query(SQL(sql)), onewriter.ForbiddenStatement)
    raised(lambda: db.read(lambda tx: tx.query(SQL(sql))), onewriter.ForbiddenStatement)


# --- misuse


def test_misuse(db: Database) -> None:
    """Each at once, and nothing ran."""
    with db.transaction() as tx:
        for nested in (lambda: db.execute("DELETE FROM key"), lambda: db.write(lambda _: None), db.close):
            assert raised(nested, onewriter.NestedWrite).ran == "no"
        assert raised(lambda: db.query("SELECT 1"), onewriter.NestedRead).ran == "no"
        assert Call(lambda: raised(lambda: tx.query("SELECT 1"), onewriter.WrongThread)).result().ran == "no"
    assert raised(lambda: tx.query("SELECT 1"), onewriter.TransactionEnded).ran == "no"
    assert raised(lambda: forked(lambda: db.query("SELECT 1")), onewriter.ForkedDatabase).ran == "no"
    db.close()
    assert raised(lambda: db.query("SELECT 1"), onewriter.DatabaseClosed).ran == "no"
    assert raised(lambda: db.execute("SELECT 1"), onewriter.DatabaseClosed).ran == "no"


def test_a_transaction_that_sqlite_ended(db: Database) -> None:
    """What comes after it is refused, with the culprit as the cause."""

    def work(tx: onewriter.Transaction) -> None:
        with contextlib.suppress(IntegrityError):
            tx.execute("INSERT OR ROLLBACK INTO t VALUES ('one', NULL, 2)")
        error = raised(lambda: tx.execute("INSERT INTO key VALUES ('a')"), onewriter.TransactionEnded)
        assert isinstance(error.__cause__, IntegrityError)

    raised(lambda: db.write(work), IntegrityError)
    assert db.query("SELECT * FROM key") == []


# --- waits


def test_write_timeout(db: Database) -> None:
    """Behind the line of this process, and behind a stranger's lock; a `TimeoutError` too."""
    with db.transaction():
        error = Call(
            lambda: raised(lambda: db.execute("SELECT 1", timeout_s=0.02), onewriter.WriteTimeout)
        ).result()
        assert (getattr(error, "held_by", None), error.ran) == ("line", "no")
        assert isinstance(error, TimeoutError)
    with Stranger(db.path) as other:
        other.run("BEGIN IMMEDIATE")
        error = raised(lambda: db.execute("SELECT 1", timeout_s=0.02), onewriter.WriteTimeout)
        assert (getattr(error, "held_by", None), error.ran) == ("stranger", "no")


def test_read_timeout(tmp_path: Path) -> None:
    """All readers are lent."""
    with open_at(tmp_path / "a.db", Config(readers_max=1)) as db, db.read_transaction():
        error = Call(
            lambda: raised(lambda: db.query("SELECT 1", timeout_s=0.02), onewriter.ReadTimeout)
        ).result()
        assert (getattr(error, "held_by", None), error.ran) == ("line", "no")
        assert isinstance(error, TimeoutError)


def test_statement_timeout(tmp_path: Path) -> None:
    """Work inside SQLite past its limit is interrupted and rolled back."""
    with open_at(tmp_path / "a.db", Config(statement_timeout_s=0.02)) as db:
        for call in (lambda: db.execute(LONG), lambda: db.query(LONG)):
            error = raised(call, onewriter.StatementTimeout)
            assert (error.ran, error.code, error.sql) == ("rolled_back", "SQLITE_INTERRUPT", LONG)
        db.execute("INSERT INTO key VALUES ('after')")


# --- disks


def test_disk_full(tmp_path: Path) -> None:
    """What was written is rolled back; what is small has room still."""
    with small_disk(tmp_path / "disk", "512k") as disk, open_at(disk / "a.db") as db:
        error = raised(
            lambda: db.execute("INSERT INTO key VALUES (?)", (SECRET * 20_000,)), onewriter.DiskFull
        )
        assert (error.ran, error.code) == ("rolled_back", "SQLITE_FULL")
        db.execute("INSERT INTO key VALUES ('small')")
        assert db.query("SELECT a FROM key") == [("small",)]


def test_disk_full_by_a_limit_on_pages(tmp_path: Path) -> None:
    """SQLite's own limit is the same to a caller."""

    def limit(connection: apsw.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 30")

    with open_at(tmp_path / "a.db", Config(on_connect=limit)) as db:
        error = raised(
            lambda: db.execute("INSERT INTO key VALUES (?)", (SECRET * 20_000,)), onewriter.DiskFull
        )
        assert (error.ran, error.extended_code) == ("rolled_back", "SQLITE_FULL")
        db.execute("INSERT INTO key VALUES ('small')")


def test_disk_error_while_reading_and_writing(tmp_path: Path) -> None:
    """A read that fails, and a write that fails before its commit: nothing of it is there, and the next is done."""
    vfs = SickVFS("sick-disk")
    path = tmp_path / "a.db"
    open_at(path).close()
    with onewriter.open(path, config=Config(vfs=vfs.name, cache_bytes=64 * 1024)) as db:
        vfs.rule = fail("read", "db", apsw.IOError)
        error = raised(lambda: db.query("SELECT * FROM t"), onewriter.DiskError)
        assert error.code == "SQLITE_IOERR"
        vfs.rule = fail("write", "wal", apsw.IOError)
        error = raised(lambda: db.execute("INSERT INTO key VALUES (zeroblob(1000000))"), onewriter.DiskError)
        assert (error.ran, error.code) == ("rolled_back", "SQLITE_IOERR")
        vfs.rule = None
        db.execute("INSERT INTO key VALUES ('after')")
        assert db.query("SELECT a FROM key") == [("after",)]


@pytest.mark.parametrize("way", ["execute", "transaction"])
def test_outcome_unknown(tmp_path: Path, way: str) -> None:
    """The commit's sync fails, and so does all that comes after it: only a later look can tell."""
    vfs = SickVFS(f"sick-sync-{way}")
    path = tmp_path / "a.db"
    with open_at(path, Config(vfs=vfs.name)) as db:
        db.execute("INSERT INTO key VALUES ('before')")

        def write() -> None:
            if way == "execute":
                db.execute("INSERT INTO key VALUES (?)", (SECRET,))
            with db.transaction() as tx:
                tx.execute("INSERT INTO key VALUES (?)", (SECRET,))

        vfs.rule = fail("sync", "wal", apsw.IOError)
        error = raised(write, OutcomeUnknown)
        assert error.ran == "unknown"
        assert isinstance(error.__cause__, onewriter.DiskError)
        vfs.rule = None
        db.execute("INSERT INTO key VALUES ('after')")
        assert {"before", "after"} <= set(db.query("SELECT a FROM key", into=str))
        assert db.check() == []


def test_a_disk_that_fails_again_and_again_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And once more when it has failed anew, after a commit that it took."""
    vfs = SickVFS("sick-flood")

    def logged() -> int:
        return sum("the fate of a failed commit" in each.getMessage() for each in caplog.records)

    with open_at(tmp_path / "a.db", Config(vfs=vfs.name)) as db:
        for count in (1, 2):
            vfs.rule = fail("sync", "wal", apsw.IOError)
            for _ in range(5):
                raised(lambda: db.execute("INSERT INTO key VALUES (?)", (SECRET,)), OutcomeUnknown)
            assert logged() == count
            vfs.rule = None
            db.execute("INSERT INTO key VALUES (?)", (f"after {count}",))


def test_a_sync_that_fails_once_is_a_plain_failure(tmp_path: Path) -> None:
    """A later commit has taken the failed one's place: its fate is known."""
    vfs = SickVFS("sick-once")
    with open_at(tmp_path / "a.db", Config(vfs=vfs.name)) as db:
        db.execute("INSERT INTO key VALUES ('before')")
        failures = iter([True])

        def rule(what: str, kind: str) -> None:
            if (what, kind) == ("sync", "wal") and next(failures, False):
                raise apsw.IOError

        vfs.rule = rule
        error = raised(lambda: db.execute("INSERT INTO key VALUES (?)", (SECRET,)), onewriter.DiskError)
        assert error.ran == "rolled_back"
        vfs.rule = None
        assert db.query("SELECT a FROM key") == [("before",)]


def test_corrupt_database(tmp_path: Path) -> None:
    """A page of garbage is found by whoever comes to it, and listed by `check`."""
    path = tmp_path / "a.db"
    with open_at(path) as db:
        db.execute_many("INSERT INTO key VALUES (?)", [(f"{number:0500}",) for number in range(200)])
    content = bytearray(path.read_bytes())
    middle = len(content) // 4096 // 2 * 4096
    content[middle : middle + 8 * 4096] = b"\xaa" * 8 * 4096
    path.write_bytes(bytes(content))
    with onewriter.open(path) as db:
        for call in (
            lambda: db.query("SELECT sum(length(a)) FROM key NOT INDEXED"),
            lambda: db.execute("UPDATE key SET a = a || 'x'"),
        ):
            assert raised(call, onewriter.CorruptDatabase).code == "SQLITE_CORRUPT"
        assert db.check() != []


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    """A folder, what is no database, a database that is only to be read, a snapshot and a migration of nothing."""
    (tmp_path / "garbage").write_bytes(b"x" * 5000)
    make = open_at(tmp_path / "a.db")
    make.close()
    assert raised(lambda: onewriter.open(tmp_path), onewriter.CannotOpen).ran == "no"
    assert (
        raised(lambda: onewriter.open(tmp_path / "garbage"), onewriter.NotADatabase).code == "SQLITE_NOTADB"
    )
    with onewriter.open(tmp_path / "a.db", read_only=True) as db:
        assert raised(lambda: db.execute("DELETE FROM key"), onewriter.ReadOnlyDatabase).ran == "no"
    raised(lambda: onewriter.restore(tmp_path / "none", tmp_path / "b.db"), onewriter.SnapshotError)
    wrong = [onewriter.Migration(1, "wrong", "SELEC")]
    error = raised(lambda: onewriter.open(tmp_path / "c.db", migrations=wrong), onewriter.MigrationError)
    assert isinstance(error.__cause__, onewriter.ProgrammingError)


def test_a_file_that_vanished_under_a_reader(tmp_path: Path) -> None:
    """A new reader cannot open it; the message says that there is no such file."""
    with open_at(tmp_path / "a.db") as db:
        (tmp_path / "a.db").rename(tmp_path / "b.db")
        assert "there is no such file" in str(raised(lambda: db.query("SELECT 1"), onewriter.CannotOpen))
        (tmp_path / "b.db").rename(tmp_path / "a.db")


# --- what is not ours


def test_the_callers_own_errors_leave_as_they_are(tmp_path: Path) -> None:
    """Of a function of a transaction, of an SQL function, of rows that are made on the way."""
    mine = ValueError("mine")

    def fails(*_: object) -> None:
        raise mine

    def rows() -> Iterator[tuple[int]]:
        yield (1,)
        raise mine

    def connect(connection: apsw.Connection) -> None:
        connection.create_scalar_function("fails", fails)

    with open_at(tmp_path / "a.db", Config(on_connect=connect)) as db:
        for call in (
            lambda: db.write(fails),
            lambda: db.read(fails),
            lambda: db.execute("SELECT fails(1)"),
            lambda: db.query("SELECT fails(1)"),
            lambda: db.execute_many("INSERT INTO plain VALUES (?)", rows()),
            lambda: db.write(lambda tx: tx.execute_many("INSERT INTO plain VALUES (?)", rows())),
        ):
            with pytest.raises(ValueError, match=r"^mine$") as caught:
                call()
            assert caught.value is mine
        assert db.query("SELECT * FROM plain") == []


def test_names_follow_pep_249() -> None:
    """One root; a time-out is also Python's own; every class survives a pickle with its data."""
    classes = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, Error)]
    assert len(classes) > 20
    for kind in classes:
        error = kind("message", ran="no")
        error.sql = "SELECT 1"
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), copy.ran, copy.sql) == (kind, "message", "no", "SELECT 1")
    assert issubclass(errors.WriteTimeout, TimeoutError)
    assert issubclass(errors.NestedWrite, errors.ProgrammingError)
