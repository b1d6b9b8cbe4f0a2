"""Migrations: the list, each step whole or absent, the table, and files of the package that this one grew out of."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import onewriter
from onewriter import (
    SQL,
    Config,
    Database,
    Error,
    ForbiddenStatement,
    IntegrityError,
    Migration,
    MigrationError,
    NestedWrite,
    ProgrammingError,
    Transaction,
    TransactionEnded,
    WriteTimeout,
)
from tests.support.children import child, together
from tests.support.stranger import Stranger

TABLE = (
    "CREATE TABLE schema_migrations"
    "(version INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT '', applied_at TEXT NOT NULL DEFAULT '')"
)
ONE = Migration(1, "one", "CREATE TABLE one (a)")
TWO = Migration(2, "two", "CREATE TABLE two (a)")
THREE = Migration(3, "three", "CREATE TABLE three (a)")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    with onewriter.open(tmp_path / "a.db") as opened:
        yield opened


def tables(db: Database) -> set[str]:
    """Return the names of all tables but those that keep the migrations."""
    names = db.query(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'", into=str
    )
    return set(names) - {"schema_migrations", "onewriter_migrations"}


def fails(db: Database, *migrations: Migration) -> MigrationError:
    """Return the error with which *migrations* end."""
    with pytest.raises(MigrationError) as caught:
        db.migrate(migrations)
    return caught.value


# --- the list


@pytest.mark.parametrize(
    "migrations, message",
    [
        ([ONE, ONE], "the version occurs twice"),
        ([TWO, ONE], "it comes after version 2; the list must ascend"),
        ([Migration(0, "zero", "SELECT 1")], "whole number above 0"),
        ([Migration(-1, "less", "SELECT 1")], "whole number above 0"),
        ([Migration(2**63, "more", "SELECT 1")], "whole number above 0"),
        ([Migration(True, "true", "SELECT 1")], "whole number above 0"),
        ([Migration("1", "text", "SELECT 1")], "whole number above 0"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        ([Migration(1, " ", "SELECT 1")], "name must be a text that is not empty"),
        ([Migration(1, "empty", " -- nothing;\n")], "the script holds no statement"),
        ([Migration(1, "nul", "SELECT 1\0")], "NUL"),
        ([Migration(1, "five", 5)], "must be a script or a function"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        ([ONE, (2, "two", "SELECT 1")], "must be Migration objects, not tuple"),
        ("migrations", r"not a path: Migration\.from_dir\(path\) reads"),
        (Path("migrations"), r"not a path: Migration\.from_dir\(path\) reads"),
        (ONE, "a sequence of Migration objects, not one Migration"),
    ],
)
def test_a_wrong_list_is_refused_before_anything_runs(
    tmp_path: Path, migrations: list[Migration], message: str
) -> None:
    """Not even the file is created, nor a migration before the wrong one applied."""
    with pytest.raises(MigrationError, match=message) as caught:
        onewriter.open(tmp_path / "a.db", migrations=migrations)
    assert caught.value.ran == "no"
    assert not list(tmp_path.iterdir())
    with onewriter.open(tmp_path / "a.db") as db:
        with pytest.raises(MigrationError, match=message):
            db.migrate(migrations)
        assert tables(db) == set()


def test_a_wrong_migration_is_named_by_the_error() -> None:
    """Its version and its name, for the program."""
    with pytest.raises(MigrationError) as caught:
        onewriter.open("unused.db", migrations=[Migration(7, "seven", "")])
    assert (caught.value.version, caught.value.name) == (7, "seven")


def test_a_generator_is_a_list_too(tmp_path: Path) -> None:
    """It is read once."""
    with onewriter.open(tmp_path / "a.db", migrations=(each for each in (ONE, TWO))) as db:
        assert db.schema_version() == 2


# --- applying


def test_each_is_applied_once_and_in_order(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A second time there is nothing to do."""
    assert db.schema_version() == 0
    with caplog.at_level(logging.INFO, "onewriter"):
        db.migrate([ONE, TWO])
        db.migrate([ONE, TWO, THREE])
    assert tables(db) == {"one", "two", "three"}
    assert db.schema_version() == 3
    applied = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert applied == [f"applied migration {each.version} ({each.name})" for each in (ONE, TWO, THREE)]


def test_the_table_is_exactly_that_of_the_older_package(db: Database) -> None:
    """To the letter; the moment is RFC 3339 in UTC to the second."""
    db.migrate([ONE])
    sql = db.query_value("SELECT sql FROM sqlite_schema WHERE name = 'schema_migrations'", into=str)
    assert sql == TABLE
    rows = db.query("SELECT version, name, applied_at FROM schema_migrations")
    assert [row[:2] for row in rows] == [(1, "one")]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(rows[0][2]))


def test_each_has_its_own_transaction(db: Database) -> None:
    """Those before one that fails stay."""
    error = fails(
        db, ONE, Migration(2, "wrong", "CREATE TABLE two (a); INSERT INTO nowhere VALUES (1)"), THREE
    )
    assert (error.version, error.ran) == (2, "rolled_back")
    assert tables(db) == {"one"}
    assert db.schema_version() == 1
    db.migrate([ONE, TWO, THREE])
    assert tables(db) == {"one", "two", "three"}


def test_a_lower_one_that_is_pending_is_applied(db: Database) -> None:
    """Two branches were merged: the version stays the highest."""
    db.migrate([ONE, THREE])
    status = db.migration_status([ONE, TWO, THREE])
    assert (status.pending, db.schema_version()) == ((TWO,), 3)
    db.migrate([ONE, TWO, THREE])
    assert tables(db) == {"one", "two", "three"}
    assert [each.version for each in db.migration_status([]).applied] == [1, 2, 3]


def test_unknown_and_changed_ones_are_told_and_left_alone(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """As warnings in the log, and by `migration_status`."""
    db.migrate([ONE, TWO, THREE])
    changed = Migration(2, "two", "CREATE TABLE other (a)")
    db.migrate([ONE, changed])
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "migration 3 (three) is applied but the code has none",
        "migration 2 (two) was changed since it was applied",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    status = db.migration_status([ONE, changed])
    assert (status.pending, status.changed) == ((), (changed,))
    assert [(each.version, each.name) for each in status.unknown] == [(3, "three")]
    assert "other" not in tables(db)


@pytest.mark.parametrize(
    "script, same",
    [
        ("CREATE TABLE one (a);SELECT 1;", True),
        ("-- made in March\nCREATE TABLE one (a);\n\n/* then */ SELECT 1;\n-- end", True),
        ("CREATE TABLE one (a); SELECT 1 ;", False),
        ("CREATE TABLE one ( a);SELECT 1;", False),
        ("CREATE TABLE one (a);select 1;", False),
        ("SELECT 1;CREATE TABLE one (a);", False),
    ],
)
def test_only_blank_space_and_comments_between_statements_change_nothing(
    db: Database, script: str, same: bool
) -> None:
    """Every other letter counts."""
    db.migrate([Migration(1, "one", "CREATE TABLE one (a);SELECT 1;")])
    assert (db.migration_status([Migration(1, "one", script)]).changed == ()) is same


def test_a_function_has_no_checksum(db: Database) -> None:
    """Its text cannot be compared, so it never counts as changed."""
    db.migrate([Migration(1, "one", _insert)])
    assert db.migration_status([Migration(1, "one", _fill)]).changed == ()


def _insert(tx: Transaction) -> None:
    tx.script("CREATE TABLE one (a INTEGER PRIMARY KEY); INSERT INTO one VALUES (1)")


def _fill(tx: Transaction) -> None:
    tx.execute_many("INSERT INTO one VALUES (?)", [(number,) for number in range(10, 20)])


# --- scripts


def test_a_script_with_semicolons_everywhere(db: Database) -> None:
    """Triggers, strings, names and comments have theirs."""
    script = """
        -- first; the tables
        CREATE TABLE one (a TEXT DEFAULT 'x;y', "b;c" TEXT); /* then; the trigger */
        CREATE TRIGGER count AFTER INSERT ON one BEGIN
            UPDATE one SET a = CASE WHEN new.a IS NULL THEN 'none;' ELSE new.a END WHERE rowid = new.rowid;
            INSERT INTO log VALUES ('it''s; there');
        END;
        CREATE TABLE log (text TEXT); INSERT INTO one VALUES (NULL, 'b')"""
    db.migrate([Migration(1, "all", script)])
    assert db.query("SELECT * FROM one") == [("none;", "b")]
    assert db.query("SELECT * FROM log") == [("it's; there",)]


@pytest.mark.parametrize(
    "wrong, cause",
    [
        ("CREATE TABLE TABLE;", ProgrammingError),
        ("INSERT INTO t VALUES ('one');", IntegrityError),
        ("BEGIN;", ForbiddenStatement),
        ("COMMIT;", ForbiddenStatement),
        ("SAVEPOINT mine;", ForbiddenStatement),
        ("ATTACH 'b.db' AS b;", ForbiddenStatement),
        ("PRAGMA journal_mode = DELETE;", ForbiddenStatement),
        ("PRAGMA foreign_keys = OFF;", ForbiddenStatement),
        ("INSERT OR ROLLBACK INTO t VALUES ('one');", IntegrityError),
    ],
)
def test_a_statement_that_fails_is_named(db: Database, wrong: str, cause: type[Error]) -> None:
    """By its text and its line; the whole migration is gone, and the database goes on."""
    script = f"CREATE TABLE t (a TEXT UNIQUE);\nINSERT INTO t VALUES ('one');\n\n  {wrong}\nSELECT 1"
    error = fails(db, Migration(4, "wrong", script))
    assert (error.version, error.name, error.statement, error.line) == (4, "wrong", wrong, 4)
    assert (error.ran, error.sql) == ("rolled_back", wrong)
    assert isinstance(error.__cause__, cause)
    assert str(error).startswith("migration 4 (wrong) failed at line 4: ")
    assert tables(db) == set()
    db.migrate([ONE])
    assert db.schema_version() == 1


@pytest.mark.parametrize(
    "wrong, advice",
    [
        ("BEGIN", "a transaction is open already"),
        ("PRAGMA journal_mode = DELETE", "see Config for its settings"),
        ("ATTACH 'b' AS b", "onewriter.open()"),
    ],
)
def test_a_forbidden_statement_comes_with_advice(db: Database, wrong: str, advice: str) -> None:
    """The message says what to do instead."""
    assert advice in str(fails(db, Migration(1, "wrong", wrong)))


def test_a_deferred_foreign_key_fails_at_the_commit(db: Database) -> None:
    """The migration is named, though no statement of it failed."""
    script = """
        CREATE TABLE one (a INTEGER PRIMARY KEY);
        CREATE TABLE two (a REFERENCES one (a) DEFERRABLE INITIALLY DEFERRED); INSERT INTO two VALUES (5)"""
    error = fails(db, Migration(1, "broken", script))
    assert "could not be committed: FOREIGN KEY constraint failed" in str(error)
    assert (error.version, error.ran, error.statement) == (1, "rolled_back", None)
    assert tables(db) == set()
    db.migrate([ONE])


# --- functions


def test_a_function_runs_on_the_callers_thread_with_a_transaction(db: Database) -> None:
    """What it did is committed with its row; the transaction ends with it."""
    kept: list[Transaction] = []

    def work(tx: Transaction) -> None:
        kept.append(tx)
        assert tx.execute("SELECT 1").last_insert_rowid == 0  # of the row of the migration before: not ours
        _insert(tx)

    db.migrate([Migration(1, "zero", "SELECT 1"), Migration(2, "work", work)])
    assert db.query("SELECT a FROM one") == [(1,)]
    with pytest.raises(TransactionEnded):
        kept[0].query("SELECT 1")


def _raise(tx: Transaction) -> None:
    _insert(tx)
    raise ZeroDivisionError


def _break(tx: Transaction) -> None:
    _insert(tx)
    tx.execute("INSERT INTO one VALUES (1)")


def _swallow(tx: Transaction) -> None:
    _insert(tx)
    with pytest.raises(IntegrityError):
        tx.execute("INSERT OR ROLLBACK INTO one VALUES (1)")


@pytest.mark.parametrize(
    "work, cause, statement",
    [
        (_raise, ZeroDivisionError, None),
        (_break, IntegrityError, "INSERT INTO one VALUES (1)"),
        (_swallow, IntegrityError, "INSERT OR ROLLBACK INTO one VALUES (1)"),
    ],
)
def test_a_function_that_fails_leaves_nothing(
    db: Database, work: Callable[[Transaction], object], cause: type[Exception], statement: str | None
) -> None:
    """Its own error, or SQLite's, also one that it swallowed, is the cause."""
    error = fails(db, Migration(1, "work", work))
    assert isinstance(error.__cause__, cause)
    assert (error.version, error.statement, error.line, error.ran) == (1, statement, None, "rolled_back")
    assert str(error).startswith("migration 1 (work) failed: ")
    assert not str(error).endswith(": ")
    assert (tables(db), db.schema_version()) == (set(), 0)
    db.migrate([ONE])


def test_an_interrupt_is_not_wrapped(db: Database) -> None:
    """Ctrl-C leaves as itself; the migration is absent."""

    def work(tx: Transaction) -> None:
        _insert(tx)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.migrate([Migration(1, "work", work)])
    assert tables(db) == set()


def test_a_migration_inside_a_write_is_refused(db: Database) -> None:
    """It would wait for itself."""
    with db.transaction(), pytest.raises(NestedWrite):
        db.migrate([ONE])


# --- rebuilding a table

PARENTS = Migration(
    1,
    "parents",
    """
    CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
    CREATE TABLE child (
        parent INTEGER NOT NULL REFERENCES parent (id) ON DELETE CASCADE, name REFERENCES parent (name)
    );
    INSERT INTO parent VALUES (1, 'one'), (2, 'two');
    INSERT INTO child VALUES (1, 'one'), (2, NULL);
    """,
)
REBUILD = """
    CREATE TABLE new_parent (id INTEGER PRIMARY KEY, name TEXT {unique}, size INTEGER NOT NULL DEFAULT 0);
    INSERT INTO new_parent (id, name) SELECT id, name FROM parent {where};
    DROP TABLE parent;
    ALTER TABLE new_parent RENAME TO parent;
"""


def foreign_keys_are_on(db: Database) -> bool:
    """Return whether a broken reference is refused."""
    with pytest.raises(IntegrityError):
        db.execute("INSERT INTO child VALUES (99, NULL)")
    return db.write(lambda tx: tx.query_value("PRAGMA foreign_keys")) == 1


def test_a_referenced_table_can_be_rebuilt(db: Database) -> None:
    """SQLite's twelve steps: with foreign keys on, dropping the old table would delete the children."""
    script = REBUILD.format(unique="UNIQUE", where="")
    db.migrate([PARENTS, Migration(2, "size", script, rebuild=True)])
    assert db.query("SELECT * FROM child") == [(1, "one"), (2, None)]
    assert db.query("SELECT * FROM parent") == [(1, "one", 0), (2, "two", 0)]
    assert foreign_keys_are_on(db)


@pytest.mark.parametrize(
    "unique, where, message",
    [
        ("UNIQUE", "WHERE id = 1", "leaves broken foreign keys: child row 2 -> parent"),
        ("", "", "leaves foreign keys that cannot be checked: .*mismatch"),
    ],
)
def test_a_rebuild_that_breaks_references_is_rolled_back(
    db: Database, unique: str, where: str, message: str
) -> None:
    """They are found before the commit, and foreign keys are on again after it."""
    db.migrate([PARENTS])
    script = REBUILD.format(unique=unique, where=where)
    error = fails(db, Migration(2, "size", script, rebuild=True))
    assert re.search(message, str(error))
    assert (error.version, error.ran) == (2, "rolled_back")
    assert db.query("SELECT * FROM parent") == [(1, "one"), (2, "two")]
    assert foreign_keys_are_on(db)


def test_a_rebuild_that_fails_leaves_foreign_keys_on(db: Database) -> None:
    """Whatever it failed of."""
    db.migrate([PARENTS])
    for work in ("bogus", _raise):
        fails(db, Migration(2, "wrong", work, rebuild=True))
        assert foreign_keys_are_on(db)


# --- other packages' files


def test_a_file_of_the_older_package_is_taken_over(tmp_path: Path) -> None:
    """It opens, migrates on, and the older package goes on with it: the same table, to the letter.

    the older package               onewriter
    makes the file, version 1 and 2
                                    opens it, applies 3
    reads all three, inserts 4
                                    knows 4
    """
    path = tmp_path / "a.db"
    with Stranger(path) as other:
        other.run("PRAGMA journal_mode = WAL")
        other.run(TABLE)
        other.run("CREATE TABLE one (a)")
        other.run("CREATE TABLE two (a)")
        for version, name in ((1, "one"), (2, "two")):
            other.run("INSERT INTO schema_migrations VALUES (?, ?, '2026-03-25T23:28:46Z')", version, name)
        with onewriter.open(path, migrations=[ONE, TWO, THREE]) as db:
            assert tables(db) == {"one", "two", "three"}
            assert db.migration_status([ONE, TWO, THREE]).changed == ()
            assert db.migration_status([]).applied[0].applied_at == "2026-03-25T23:28:46Z"
            rows = other.run("SELECT version, name FROM schema_migrations ORDER BY version")
            assert rows == [[1, "one"], [2, "two"], [3, "three"]]
            sql = "SELECT sql FROM sqlite_schema WHERE name = 'schema_migrations'"
            assert other.run(sql) == [[TABLE]]
            other.run("CREATE TABLE four (a)")
            other.run("INSERT INTO schema_migrations VALUES (4, 'four', '2026-03-26T00:00:00Z')")
            db.migrate([ONE, TWO, THREE, Migration(4, "four", "CREATE TABLE four (a)")])
            assert db.schema_version() == 4
    with Stranger(path) as other:
        assert other.run("SELECT count(*) FROM schema_migrations") == [[4]]
        assert other.run("PRAGMA integrity_check") == [["ok"]]


def test_a_table_of_the_same_name_and_another_shape_is_refused(db: Database) -> None:
    """Many packages call theirs so; the message says what is wrong."""
    db.execute("CREATE TABLE schema_migrations (version VARCHAR NOT NULL, dirty)")
    assert "that is not of this package: no such column: name" in str(fails(db, ONE))
    with pytest.raises(MigrationError):
        db.migration_status([ONE])
    assert tables(db) == set()


def test_a_script_that_spoils_the_table_is_rolled_back(db: Database) -> None:
    """The row cannot be written: the migration has not happened."""
    script = "CREATE TABLE one (a); CREATE TABLE schema_migrations (version)"
    error = fails(db, Migration(1, "spoils", script))
    assert "could not be recorded" in str(error)
    assert (error.version, tables(db)) == (1, set())


# --- others


_MIGRATE = """
import sys
import onewriter
from onewriter import Migration
def fill(tx):
    tx.execute("INSERT INTO log VALUES ('filled')")
migrations = [
    Migration(1, "log", "CREATE TABLE log (text)"),
    Migration(2, "fill", fill),
    *(Migration(n, f"step {n}", f"INSERT INTO log VALUES ({n}); CREATE TABLE t{n} (a)") for n in range(3, 12)),
]
print("ready", flush=True)
sys.stdin.readline()
with onewriter.open(sys.argv[1], migrations=migrations, durability="normal") as db:
    print(db.schema_version(), db.query_value("SELECT count(*) FROM log"), db.stats().busy_retries >= 0)
"""


def test_many_processes_apply_each_once(tmp_path: Path) -> None:
    """They start at the same moment, on a file that is not there yet; none is told of a lock."""
    for attempt in range(2):
        path = tmp_path / str(attempt) / "a.db"
        assert together(_MIGRATE, 6, path) == ["11 10 True\n"] * 6
        with onewriter.open(path) as db:
            assert db.query("SELECT text, count(*) FROM log GROUP BY text HAVING count(*) > 1") == []
            assert db.check() == []


_STOP_INSIDE = """
import sys
import onewriter
def work(tx):
    tx.script("CREATE TABLE two (a); INSERT INTO two VALUES (1)")
    tx.execute("INSERT INTO one VALUES (zeroblob(20000000))")  # past the cache: some of it is in the WAL
    print("inside", flush=True)
    sys.stdin.readline()
one = onewriter.Migration(1, "one", "CREATE TABLE one (a)")
onewriter.open(sys.argv[1], migrations=[one, onewriter.Migration(2, "two", work)])
"""


def test_a_process_killed_in_a_migration_leaves_it_absent(tmp_path: Path) -> None:
    """The next starter applies it, whole; one that waited meanwhile had its deadline."""
    path = tmp_path / "a.db"
    with child(_STOP_INSIDE, path) as other:
        other.wait_for("inside")
        with pytest.raises(WriteTimeout) as caught:
            onewriter.open(path, migrations=[ONE, TWO], config=Config(migrate_timeout_s=0.1))
        assert caught.value.ran == "no"
        other.kill()
    with onewriter.open(path) as db:
        assert (tables(db), db.schema_version()) == ({"one"}, 1)
        db.migrate([ONE, TWO])
        assert (tables(db), db.schema_version(), db.check()) == ({"one", "two"}, 2, [])


def test_a_stranger_that_keeps_the_lock_is_told(db: Database) -> None:
    """Past migrate_timeout_s, whatever write_timeout_s is; nothing ran."""
    with onewriter.open(db.path, config=Config(migrate_timeout_s=0.05)) as hasty, Stranger(db.path) as other:
        other.run("BEGIN IMMEDIATE")
        with pytest.raises(WriteTimeout, match="migration 1") as caught:
            hasty.migrate([ONE])
        assert (caught.value.held_by, caught.value.ran) == ("stranger", "no")
        other.run("ROLLBACK")
        hasty.migrate([ONE])
    assert tables(db) == {"one"}


def test_a_migration_is_outside_the_limit_of_time(tmp_path: Path) -> None:
    """statement_timeout_s is for requests."""
    long = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000) SELECT count(*) FROM n"
    config = Config(statement_timeout_s=0.001)
    with onewriter.open(tmp_path / "a.db", config=config, migrations=[Migration(1, "long", long)]) as db:
        assert db.schema_version() == 1
        with pytest.raises(onewriter.StatementTimeout):
            db.execute(SQL(long))
