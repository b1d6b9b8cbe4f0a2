"""Watching changes: what is told is what was committed, once, and whoever listens keeps no writer waiting."""

from __future__ import annotations

import contextvars
import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import FrozenInstanceError, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import apsw
import pytest

import onewriter
from onewriter import (
    SQL,
    Changes,
    Config,
    Database,
    DatabaseClosed,
    DiskError,
    IntegrityError,
    Migration,
    MisuseError,
    NestedWrite,
    OperationalError,
    OutcomeUnknown,
    ProgrammingError,
    ReadTimeout,
    TableChanges,
    Transaction,
    WriteTimeout,
    clock,
    presence,
)
from onewriter.changes import Gathered
from onewriter.connection import Connection
from onewriter.nets import DELETE, INSERT, UPDATE, Net, Rows
from onewriter.observer import Observer
from onewriter.recording import RecordingConnection
from tests.support.databases import PATIENT, Held, open_items
from tests.support.hearing import Hearing, inserted, open_observed, replay, short
from tests.support.sick_files import CODES, sick_files
from tests.support.steps import LIMIT_S, Call, Steps, wait_until
from tests.support.strikes import Striker

BYTECODES_MAX = 2_000
TABLES = """
CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, b CHECK (b < 100));
CREATE TABLE child (id INTEGER PRIMARY KEY, t REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE w (k PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE strict_one (id INTEGER PRIMARY KEY, n INT) STRICT;
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB);
CREATE TABLE audit (id INTEGER PRIMARY KEY, what);
CREATE TABLE audited (id INTEGER PRIMARY KEY, a UNIQUE);
CREATE TRIGGER added AFTER INSERT ON audited BEGIN INSERT INTO audit (what) VALUES (new.id); END;
CREATE VIEW seen AS SELECT * FROM t;
CREATE VIRTUAL TABLE search USING fts5(words);
INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);
INSERT INTO child VALUES (10, 1), (11, 1), (12, 2);
INSERT INTO w VALUES ('k', 1), ('l', 2);
INSERT INTO counted (data) VALUES (zeroblob(8));
INSERT INTO strict_one VALUES (1, 1), (2, 2);
"""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database with tables of all kinds."""
    with open_observed(tmp_path, TABLES) as opened:
        yield opened


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Database]:
    """The same, where nobody looks from time to time, and nothing is told because of that."""
    with open_observed(tmp_path, TABLES, Config(observe_poll_s=1e6)) as opened:
        yield opened


@pytest.fixture
def hearing(db: Database) -> Hearing:
    """Who hears of all its changes."""
    return Hearing(db)


# --- what one statement does


@pytest.mark.parametrize(
    "sql, told",
    [
        ("INSERT INTO t VALUES (4, 'd', 4), (5, 'e', 5)", ["t +4 +5"]),
        ("INSERT INTO t (a) VALUES ('d') RETURNING id", ["t +4"]),
        ("UPDATE t SET b = 9 WHERE id < 3", ["t ~1 ~2"]),
        ("UPDATE t SET b = b", ["t ~1 ~2 ~3"]),
        ("UPDATE t SET id = 7 WHERE id = 3", ["t +7 -3"]),
        ("UPDATE t SET id = 7 WHERE id = 2", ["child ~12", "t +7 -2"]),
        ("UPDATE OR REPLACE t SET id = 3 WHERE id = 2", ["child ~12", "t ~3 -2"]),
        ("UPDATE OR REPLACE t SET a = 'c' WHERE id = 2", ["t ~2 -3"]),
        ("DELETE FROM t WHERE id = 3", ["t -3"]),
        ("DELETE FROM t", ["child -10 -11 -12", "t -1 -2 -3"]),
        ("DELETE FROM child", ["child -10 -11 -12"]),
        ("INSERT OR REPLACE INTO t VALUES (3, 'x', 0)", ["t ~3"]),
        ("INSERT OR REPLACE INTO t VALUES (8, 'c', 0)", ["t +8 -3"]),
        ("INSERT OR IGNORE INTO t VALUES (3, 'x', 0)", []),
        ("INSERT INTO t VALUES (3, 'x', 0) ON CONFLICT DO NOTHING", []),
        ("INSERT INTO t VALUES (3, 'x', 0) ON CONFLICT DO UPDATE SET b = 5", ["t ~3"]),
        ("INSERT INTO audited VALUES (1, 1), (2, 2)", ["audit +1 +2", "audited +1 +2"]),
        ("INSERT INTO counted (data) VALUES (x'00')", ["counted +2"]),
        ("INSERT INTO t VALUES (-5, 'negative', 0)", ["t +-5"]),
        ("INSERT INTO w VALUES ('m', 1)", ["w * insert"]),
        ("UPDATE w SET v = 2 WHERE k = 'k'", ["w * update"]),
        ("UPDATE w SET k = 'x' WHERE k = 'k'", ["w * update"]),
        ("INSERT OR REPLACE INTO w VALUES ('k', 3)", ["w * delete insert"]),
        ("DELETE FROM w", ["w * delete"]),
        ("INSERT INTO t VALUES (0, 'zero', 0)", ["t * insert"]),
        ("INSERT INTO strict_one SELECT id + 10, b FROM t", ["strict_one +11 +12 +13"]),
        ("SELECT * FROM t", []),
        ("DELETE FROM t WHERE 0", []),
        ("PRAGMA user_version = 7", []),
        ("CREATE TABLE fresh (x)", ["schema"]),
        ("CREATE TABLE fresh AS SELECT * FROM t", ["schema"]),
        ("CREATE INDEX by_b ON t (b)", ["schema"]),
        ("ALTER TABLE t ADD COLUMN c DEFAULT 1", ["schema"]),
        ("ALTER TABLE t RENAME TO u", ["schema"]),
        ("ALTER TABLE strict_one DROP COLUMN n", ["schema"]),
        ("DROP TABLE child", ["schema"]),
        ("DROP TABLE t", ["child -10 -11 -12", "t -1 -2 -3", "schema"]),
        ("REINDEX", []),
    ],
)
def test_what_a_statement_does_is_told(db: Database, hearing: Hearing, sql: str, told: list[str]) -> None:
    """Each row that was changed, those of triggers, foreign keys and conflicts too, and nothing else."""
    db.execute(SQL(sql))
    assert short(hearing.rest()) == told
    db.write(lambda tx: tx.execute("SELECT 1"))
    assert hearing.rest() == []


def test_a_virtual_table_is_told_by_its_own_name(db: Database, hearing: Hearing) -> None:
    """Its parts are nobody's business; which rows it was is not told."""
    db.execute("INSERT INTO search VALUES ('some words')")
    (changes,) = hearing.rest()
    assert changes.names == {"search"}
    assert changes.complete
    found = changes.table("SEARCH")
    assert found is not None
    assert found.more
    assert (found.inserted, found.updated, found.deleted) == ((), (), ())


@pytest.mark.parametrize("missed", ["lost", "locked"])
def test_a_virtual_table_that_came_unseen(db: Database, monkeypatch: pytest.MonkeyPatch, missed: str) -> None:
    """Where its coming is lost among too much news, or the look at the schema fails, it is looked again."""
    hearing = Hearing(db)
    if missed == "lost":
        monkeypatch.setattr("onewriter.observers.NEWS_MAX", 0)
        db.execute("CREATE VIRTUAL TABLE late USING fts5 (x)")
        monkeypatch.undo()
    else:
        hearing.rest()
        looker, fails = db._observers._looker, [True]
        assert looker is not None
        real = looker.run_unguarded

        def run(sql: str) -> object:
            if "table_list" in sql and fails and fails.pop():
                raise ReadTimeout("locked", held_by="stranger")
            return real(sql)

        monkeypatch.setattr(looker, "run_unguarded", run)
        db.execute("CREATE VIRTUAL TABLE late USING fts5 (x)")
        wait_until(lambda: not fails, "a look that failed")
    hearing.rest()
    db.execute("INSERT INTO late VALUES ('a')")
    assert {name for each in hearing.rest() for name in each.names} == {"late"}


def test_a_virtual_table_that_comes_later(db: Database, hearing: Hearing) -> None:
    """Its parts are known from the commit on that makes it."""
    db.execute("CREATE VIRTUAL TABLE late USING fts5(words)")
    db.execute("INSERT INTO late VALUES ('x')")
    told = hearing.rest()
    assert {name for each in told for name in each.names} == {"late"}
    assert any(each.schema for each in told)


def test_statistics_of_the_planner_are_not_told(db: Database, hearing: Hearing) -> None:
    """ANALYZE writes to tables of SQLite's own."""
    db.execute("ANALYZE")
    hearing.rest()
    db.execute("ANALYZE")
    assert hearing.rest() == []


def test_vacuum_changes_nothing(db: Database, hearing: Hearing) -> None:
    """It counts the schema's version up; no table with an INTEGER PRIMARY KEY changes by it."""
    db.vacuum()
    assert all(each.complete and "t" not in each.names for each in hearing.rest())
    db.execute("UPDATE t SET b = 0 WHERE id = 1")
    assert short(hearing.rest()) == ["t ~1"]


def test_vacuum_may_number_rows_anew(tmp_path: Path) -> None:
    """Those of a table without an INTEGER PRIMARY KEY: whoever goes by their rowids is told."""
    script = """
    CREATE TABLE heap (a); CREATE TABLE keyed (a TEXT PRIMARY KEY); CREATE TABLE "odd ""one" (a);
    CREATE TABLE numbered (id INTEGER PRIMARY KEY, a UNIQUE);
    CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT);
    CREATE TABLE w (k INTEGER PRIMARY KEY) WITHOUT ROWID; CREATE VIRTUAL TABLE words USING fts5 (x);
    """
    with open_observed(tmp_path, script) as db:
        db.execute("INSERT INTO heap VALUES ('a'), ('b')")
        db.execute("DELETE FROM heap WHERE a = 'a'")
        hearing = Hearing(db)
        assert db.query_value("SELECT rowid FROM heap", into=int) == 2
        db.vacuum()
        assert db.query_value("SELECT rowid FROM heap", into=int) == 1
        told = hearing.rest()
        known = {"heap", "keyed", 'odd "one'}
        assert {each.name for changes in told for each in changes.tables} & {
            *known,
            "w",
            "words",
            "numbered",
            "counted",
        } == known
        assert all(each.more and not each.inserted for changes in told for each in changes.tables)
        assert all(changes.complete for changes in told)


def test_a_vacuum_that_is_interrupted_is_told(tmp_path: Path) -> None:
    """It may have been done: what was struck is what comes after it."""
    with open_observed(tmp_path, "CREATE TABLE heap (a)") as db:
        hearing = Hearing(db)
        striker, number = Striker(1), 1
        while number < BYTECODES_MAX:
            number += 3
            striker = Striker(number, within=("Upkeep.vacuum", "RecordingConnection.vacuum"))
            before = db.query_value("PRAGMA schema_version", into=int)
            striker.run(db.vacuum)
            told = hearing.rest()
            if db.query_value("PRAGMA schema_version", into=int) != before:
                assert "heap" in {name for changes in told for name in changes.names}, striker.place
            if not striker.place:
                break
        assert not striker.place
        assert number > 50


def test_execute_many_is_told(db: Database, hearing: Hearing) -> None:
    """As one commit."""
    db.execute_many("INSERT INTO t (id, a) VALUES (?, ?)", [(20, "x"), (21, "y"), (22, "z")])
    (changes,) = hearing.rest()
    assert short([changes]) == ["t +20 +21 +22"]
    assert changes.commits == 1


def test_a_blob_that_is_written_to_is_an_update(db: Database, hearing: Hearing) -> None:
    """SQLite tells of a deletion."""

    def work(tx: Transaction) -> None:
        with tx.open_blob("counted", "data", 1, writable=True) as blob:
            blob.write(b"1234")

    db.write(work)
    assert short(hearing.rest()) == ["counted ~1"]


def test_a_statement_that_was_compiled_before_is_compiled_anew(db: Database) -> None:
    """It would delete all rows at once, and tell of none (https://sqlite.org/lang_delete.html#truncateopt)."""
    sql = "DELETE FROM audit"  # a table that has no triggers, and no foreign keys
    db.execute(sql)
    db.execute("INSERT INTO audit VALUES (1, 1), (2, 2)")
    hearing = Hearing(db)
    db.execute(sql)
    assert short(hearing.rest()) == ["audit -1 -2"]


def test_a_transaction_is_told_by_what_it_comes_to(db: Database, hearing: Hearing) -> None:
    """A row that came and went is no news; one that was written twice is told once."""

    def work(tx: Transaction) -> None:
        tx.script(
            "INSERT INTO t VALUES (50, 'new', 0); UPDATE t SET b = 1 WHERE id = 50;"
            "INSERT INTO t VALUES (51, 'gone', 0); DELETE FROM t WHERE id = 51;"
            "UPDATE t SET b = 5 WHERE id = 1; UPDATE t SET b = 6 WHERE id = 1;"
            "DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (3, 'back', 0);"
        )

    db.write(work)
    assert short(hearing.rest()) == ["t +50 ~1 ~3"]


def test_migrations_are_told(db: Database, hearing: Hearing) -> None:
    """Those that build a table anew, too."""
    rebuild = """
        CREATE TABLE fresh (id INTEGER PRIMARY KEY, n);
        INSERT INTO fresh SELECT id, n FROM strict_one;
        DROP TABLE strict_one;
        ALTER TABLE fresh RENAME TO strict_one;
    """
    db.migrate([Migration(2, "rebuild", rebuild, rebuild=True)])
    told = hearing.rest()
    assert any(each.schema for each in told)
    assert {name for each in told for name in each.names} >= {"fresh", "schema_migrations"}
    db.execute("UPDATE strict_one SET n = 'text' WHERE id = 1")
    assert short(hearing.rest()) == ["strict_one ~1"]


def test_a_migration_that_fails_is_not_told(db: Database, hearing: Hearing) -> None:
    """It left nothing."""
    with pytest.raises(onewriter.MigrationError):
        db.migrate([Migration(2, "fails", "INSERT INTO t (id) VALUES (77); INSERT INTO nothing VALUES (1)")])
    assert hearing.rest() == []


def test_a_transaction_block_and_a_submitted_function_are_told(db: Database, hearing: Hearing) -> None:
    """Each by its own commit; a block that raises by none."""
    with db.transaction() as tx:
        tx.execute("INSERT INTO t (id) VALUES (60)")
    db.submit(lambda tx: tx.execute("INSERT INTO t (id) VALUES (61)")).result(LIMIT_S)
    with suppress(LookupError), db.transaction() as tx:
        tx.execute("INSERT INTO t (id) VALUES (62)")
        raise LookupError
    assert inserted(hearing.rest(), "t") == [60, 61]


# --- what was undone


def _undone(tx: Transaction) -> None:
    with suppress(LookupError), tx.savepoint():
        tx.execute("INSERT INTO t (id) VALUES (30)")
        raise LookupError
    tx.execute("INSERT INTO t (id) VALUES (31)")


def _undone_inside(tx: Transaction) -> None:
    with tx.savepoint():
        tx.execute("INSERT INTO t (id) VALUES (30)")
        with suppress(LookupError), tx.savepoint():
            tx.execute("DELETE FROM t WHERE id = 30")
            tx.execute("INSERT INTO t (id) VALUES (31)")
            raise LookupError
        with tx.savepoint():
            tx.execute("INSERT INTO t (id) VALUES (32)")


def _undone_outside(tx: Transaction) -> None:
    with suppress(LookupError), tx.savepoint():
        with tx.savepoint():
            tx.execute("INSERT INTO t (id) VALUES (30)")
        raise LookupError


def _many_fail(tx: Transaction) -> None:
    with suppress(IntegrityError):
        tx.execute_many("INSERT INTO t (id) VALUES (?)", [(30,), (31,), (1,)])


def _failing(sql: str) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        with suppress(onewriter.Error):
            tx.execute(SQL(sql))

    return work


@pytest.mark.parametrize(
    "work, told",
    [
        (_undone, ["t +31"]),
        (_undone_inside, ["t +30 +32"]),
        (_undone_outside, []),
        (_many_fail, []),
        (_failing("INSERT INTO t (id) VALUES (30), (31), (1)"), []),
        (_failing("INSERT INTO t (id, a) VALUES (30, 'x'), (31, 'a')"), []),
        (_failing("UPDATE t SET b = b + 97"), []),
        (_failing("INSERT INTO child SELECT 60, 1 UNION ALL SELECT 61, 12345"), []),
        (_failing("INSERT INTO audited VALUES (1, 1), (2, 1)"), []),
        (_failing("INSERT OR FAIL INTO t (id) VALUES (30), (31), (1), (32)"), ["t +30 +31"]),
        (_failing("UPDATE OR FAIL t SET a = 'c' WHERE id > 1"), []),
        (_failing("UPDATE strict_one SET n = CASE id WHEN 1 THEN 5 ELSE 'x' END"), ["strict_one ~1"]),
        (_failing("INSERT INTO t (id) VALUES (30), ('x')"), ["t +30"]),  # undone, and told: see the guide
    ],
)
def test_what_was_undone_is_not_told(
    db: Database, hearing: Hearing, work: Callable[[Transaction], None], told: list[str]
) -> None:
    """By a savepoint, or since the statement failed; what a failed statement has left is."""
    db.write(work)
    assert short(hearing.rest()) == told


def test_what_raise_fail_leaves_is_told(db: Database) -> None:
    """A trigger that says FAIL keeps what was done; one that says ABORT does not, and is told where FAIL is near."""
    db.execute(
        "CREATE TRIGGER no_more AFTER INSERT ON t WHEN new.id >= 40 BEGIN SELECT RAISE(FAIL, 'no more'); END"
    )
    hearing = Hearing(db)
    db.write(_failing("INSERT INTO t (id) VALUES (38), (39), (40), (41)"))
    assert db.query("SELECT id FROM t WHERE id > 30", into=int) == [38, 39, 40]
    assert short(hearing.rest()) == ["t +38 +39 +40"]


def test_a_function_that_raises_is_not_told(db: Database, hearing: Hearing) -> None:
    """Alone, or behind others of the same commit."""

    def fails(tx: Transaction) -> None:
        tx.execute("INSERT INTO t (id) VALUES (70)")
        raise LookupError

    with suppress(LookupError):
        db.write(fails)
    assert hearing.rest() == []


def test_who_shares_a_commit_with_a_failure_is_told_once(tmp_path: Path) -> None:
    """Whether the failure is undone alone, or ends the transaction, so that the others run again."""
    with open_observed(tmp_path, TABLES, PATIENT) as db:
        hearing = Hearing(db)

        def fails(tx: Transaction) -> None:
            tx.execute("INSERT INTO t (id) VALUES (70)")
            raise LookupError

        def ends(tx: Transaction) -> None:
            tx.execute("INSERT INTO t (id) VALUES (71)")
            tx.execute("INSERT OR ROLLBACK INTO t (id) VALUES (1)")

        held = Held(db)
        calls: list[Call[Any]] = []
        for work in (
            lambda: db.execute("INSERT INTO t (id) VALUES (80)"),
            lambda: db.write(fails),
            lambda: db.execute("INSERT INTO t (id) VALUES (81)"),
            lambda: db.write(ends),
            lambda: db.execute("INSERT INTO t (id) VALUES (1)"),
            lambda: db.execute("INSERT INTO t (id) VALUES (82)"),
        ):
            calls.append(Call(work))
            held.wait_for(len(calls))
        held.let_go()
        assert isinstance(calls[1].error(), LookupError)
        assert isinstance(calls[3].error(), IntegrityError)
        assert isinstance(calls[4].error(), IntegrityError)
        for number in (0, 2, 5):
            calls[number].result()
        told = hearing.rest()
        assert sorted(inserted(told, "t")) == [80, 81, 82]
        assert all(each.complete for each in told)
        assert db.stats().reruns > 0


def test_bare_statements_that_fail_are_told_once(tmp_path: Path) -> None:
    """A streak is rolled back and run again with savepoints when one of it fails."""
    with open_observed(tmp_path, TABLES, PATIENT) as db:
        hearing = Hearing(db)
        calls: list[Call[Any]] = []
        with db.transaction():
            for rowid in (90, 91, 1, 92):
                calls.append(Call(partial(db.execute, "INSERT INTO t (id) VALUES (?)", (rowid,))))
                wait_until(lambda: db.stats().pending == len(calls), "its place in line")
        assert isinstance(calls[2].error(), IntegrityError)
        for number in (0, 1, 3):
            calls[number].result()
        assert short(hearing.rest()) == ["t +90 +91 +92"]


def test_a_commit_whose_fate_is_unknown_is_unsure(tmp_path: Path) -> None:
    """Its rows are told all the same: they may be there after a restart."""
    sick: list[str] = []

    def rule(what: str, kind: str) -> int:
        return CODES[what] if kind != "other" and what in sick else apsw.SQLITE_OK

    with sick_files(rule), onewriter.open(tmp_path / "a.db") as db:
        db.write(
            lambda tx: tx.script(
                "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE mark (id INTEGER PRIMARY KEY)"
            )
        )
        hearing = Hearing(db)
        sick.append("sync")
        with pytest.raises(OutcomeUnknown):
            db.execute("INSERT INTO t VALUES (5)")
        sick.clear()
        (changes,) = hearing.rest()
        assert short([changes]) == ["t +5", "unsure"]
        assert not changes.complete


# --- limits


def test_no_more_rows_are_listed_than_the_limit(tmp_path: Path) -> None:
    """Of what is more it is said that there is, and what was done."""
    with open_observed(tmp_path, TABLES, Config(observe_rowids_max=2)) as db:
        hearing = Hearing(db)
        db.execute("UPDATE t SET b = 9")
        (changes,) = hearing.rest()
        found = changes.table("t")
        assert found == TableChanges(name="t", updated=(1, 2), more=True, kinds=frozenset({"update"}))
        db.execute("UPDATE t SET b = 8 WHERE id < 3")
        assert short(hearing.rest()) == ["t ~1 ~2"]


def test_no_row_is_listed_once_some_are_not(tmp_path: Path) -> None:
    """One that was inserted when the list was full, and is deleted when there is room again, was never there."""

    def come_and_go(tx: Transaction) -> None:
        tx.execute("INSERT INTO t (id) VALUES (101), (102), (103)")
        with tx.savepoint():
            tx.execute("DELETE FROM t WHERE id = 101")
            tx.execute("DELETE FROM t WHERE id = 103")

    with open_observed(tmp_path, TABLES, Config(observe_rowids_max=2)) as db:
        hearing = Hearing(db)
        db.write(come_and_go)
        assert short(hearing.rest()) == ["t +102 * delete insert"]
        db.execute("UPDATE t SET b = 9 WHERE id = 102")
        assert short(hearing.rest()) == ["t ~102"]
    gathered = Gathered(1)
    for rows in ({1: INSERT}, {2: INSERT}, {2: DELETE}, {1: UPDATE}):
        later = Rows()
        later.kinds.update(rows)
        gathered.add("t", later)
    assert short([gathered.take()]) == ["t +1 * delete insert"]


def test_a_huge_transaction_stays_small(tmp_path: Path) -> None:
    """However many rows it changes."""
    with open_observed(tmp_path, TABLES, Config(observe_rowids_max=10)) as db:
        hearing = Hearing(db)
        seen: list[int] = []

        def work(tx: Transaction) -> None:
            tx.execute(
                "WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
                "INSERT INTO t (id) SELECT i FROM n"
            )
            record = vars(db._core.writer.connection)["record"] if db._core.writer else None
            assert record is not None
            seen.append(len(record.nets.top.tables["t"].kinds))

        db.write(work)
        assert seen == [10]
        (changes,) = hearing.rest()
        found = changes.table("t")
        assert found is not None
        assert len(found.inserted) == 10
        assert found.more


def test_more_commits_than_are_kept_are_unsure(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the pump does not come to them, the writers go on, and nothing grows."""
    monkeypatch.setattr("onewriter.observers.NEWS_MAX", 6)
    steps, hearing = Steps(), Hearing(db)
    observers = db._observers

    class Stuck(Observer):
        """An observer that holds the pump up."""

        def add(self, net: object, owners: object) -> None:
            steps.mark("stuck")
            steps.wait_for("go")

    stuck = Stuck(None, 10, int)
    observers.add(stuck, clock.now() + LIMIT_S)
    db.execute("INSERT INTO t (id) VALUES (100)")
    steps.wait_for("stuck")
    for rowid in range(101, 120):
        db.execute("INSERT INTO t (id) VALUES (?)", (rowid,))
    assert len(observers._news) == 3
    stuck.closed = True
    steps.mark("go")
    wait_until(lambda: any(each.unsure for each in hearing.so_far()), "unsure")
    told = hearing.rest()
    assert inserted(told, "t") == [100, 101, 102, 103]
    assert [each.unsure for each in told].count(True) >= 1


# --- who is told, and how


def test_only_the_tables_that_were_named_are_told(db: Database) -> None:
    """One, or several, in whatever case."""
    one: list[Changes] = []
    several: list[Changes] = []
    db.observe("T", one.append)
    db.observe(["Child", "w"], several.append)
    hearing = Hearing(db)
    db.execute("DELETE FROM t WHERE id = 1")
    db.execute("DELETE FROM w")
    db.execute("INSERT INTO audit (what) VALUES (1)")
    hearing.rest()
    wait_until(lambda: sum(each.commits for each in several) == 2, "both told")
    assert short(one) == ["t -1"]
    assert short(several) == ["child -10 -11", "w * delete"]


def test_who_observes_later_is_told_of_what_comes_later(db: Database, hearing: Hearing) -> None:
    """Of nothing that was committed before; who was there first is told of all."""
    db.execute("INSERT INTO t (id) VALUES (30)")
    late: list[Changes] = []
    db.observe(None, late.append)
    db.execute("INSERT INTO t (id) VALUES (31)")
    assert inserted(hearing.rest(), "t") == [30, 31]
    wait_until(lambda: sum(each.commits for each in late) == 2, "told")
    assert sorted(short(late)) == ["mark +1", "t +31"]


def test_a_callback_sees_what_it_is_told_of(db: Database) -> None:
    """It may read, and write, and is told of that too."""
    seen: list[object] = []

    def callback(changes: Changes) -> None:
        found = changes.table("t")
        assert found is not None
        for rowid in found.inserted:
            seen.append(db.query_one("SELECT id FROM t WHERE id = ?", (rowid,)))
            if rowid < 103:
                db.execute("INSERT INTO t (id) VALUES (?)", (rowid + 1,))

    db.observe("t", callback)
    db.execute("INSERT INTO t (id) VALUES (100)")
    wait_until(lambda: len(seen) == 4, "all told")
    assert seen == [(100,), (101,), (102,), (103,)]


def test_a_slow_callback_keeps_no_writer_waiting(quiet: Database) -> None:
    """What comes meanwhile is joined: a row that came and went in two commits is told as deleted.

    callback            writer
    is told of 30
                        31, 32 and 33 come, 32 goes, 1 is written, 3 goes and comes again
    is told of the rest
    """
    db, steps, told = quiet, Steps(), list[Changes]()

    def callback(changes: Changes) -> None:
        told.append(changes)
        if len(told) == 1:
            steps.mark("called")
            steps.wait_for("go")

    db.observe("t", callback)
    db.execute("INSERT INTO t (id) VALUES (30)")
    steps.wait_for("called")
    for sql in (
        "INSERT INTO t (id) VALUES (31)",
        "INSERT INTO t (id) VALUES (32)",
        "UPDATE t SET b = 5 WHERE id IN (1, 31)",
        "DELETE FROM t WHERE id IN (3, 32)",
        "INSERT INTO t (id) VALUES (3)",
        "INSERT INTO t (id) VALUES (33)",
    ):
        db.execute(SQL(sql))
    steps.mark("go")
    wait_until(lambda: sum(each.commits for each in told) == 7, "all told")
    assert short(told[:1]) == ["t +30"]
    assert len(told) <= 3  # one piece waits, and what comes after that is joined
    assert replay(told, "t", {1, 2, 3}) == {1, 2, 3, 30, 31, 33}
    assert any(1 in each.tables[0].updated for each in told)


def test_tables_that_come_and_go_are_bounded(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A work table for each job, say, while a callback is at work: rows of all are limited, and tables."""
    monkeypatch.setattr("onewriter.changes.FULL_MAX", 0.025)
    monkeypatch.setattr("onewriter.changes.TABLES_MAX", 6)
    steps, told = Steps(), list[Changes]()

    def slow(changes: Changes) -> None:
        told.append(changes)
        steps.mark("called")
        steps.wait_for("go")

    def job(tx: Transaction, number: int) -> None:
        tx.execute(SQL(f"CREATE TABLE job{number} (id INTEGER PRIMARY KEY)"))
        tx.execute(SQL(f"INSERT INTO job{number} SELECT id FROM t UNION SELECT id + 10 FROM t"))
        tx.execute(SQL(f"DROP TABLE job{number}"))

    with db.observe(None, slow) as observation:
        db.execute("UPDATE t SET b = 0 WHERE id = 1")
        steps.wait_for("called")
        waiting, slot = observation._observer._gathered, observation._observer._slot
        db.execute("UPDATE t SET b = 0 WHERE id = 1")
        wait_until(lambda: bool(slot), "one piece waits")
        for number in range(10):
            db.write(partial(job, number=number))
        wait_until(lambda: waiting._commits == 10, "all gathered")
        assert len(waiting._tables) <= 6
        assert sum(len(rows.kinds) for rows in waiting._tables.values()) <= 25
        steps.mark("go")
        wait_until(lambda: sum(changes.commits for changes in told) == 12, "all told")
    assert any(changes.unsure for changes in told)
    assert any(table.more for changes in told for table in changes.tables)
    assert not waiting._tables
    assert waiting._listed == 0


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    """However long a callback takes."""
    with open_observed(tmp_path, TABLES, Config(observe_rowids_max=5)) as db:
        steps, told = Steps(), list[Changes]()

        def callback(changes: Changes) -> None:
            told.append(changes)
            steps.mark("called")
            steps.wait_for("go")

        db.observe("t", callback)
        for rowid in range(100, 400):
            db.execute("INSERT INTO t (id) VALUES (?)", (rowid,))
        steps.mark("go")
        wait_until(lambda: sum(each.commits for each in told) == 300, "all told")
        assert len(told) <= 303
        assert all(len(table.inserted) <= 5 for each in told for table in each.tables)
        assert told[-1].tables[0].more or len(told) > 250


@pytest.mark.parametrize(
    "kinds, once, several",
    [
        ("iu", "+", "+"),
        ("id", "", "-"),
        ("du", "~", "~"),
        ("di", "~", "~"),
        ("uu", "~", "~"),
        ("ud", "-", "-"),
        ("idi", "+", "~"),
        ("did", "-", "-"),
        ("idid", "", "-"),
        ("dii", "~", "~"),
    ],
)
def test_what_several_changes_of_a_row_come_to(kinds: str, once: str, several: str) -> None:
    """Of one transaction, which nobody has looked into, and of as many commits, between which somebody may have."""
    codes = {"i": INSERT, "u": UPDATE, "d": DELETE}
    nets = [Net(9) for _ in kinds]
    whole = Net(9)
    for net, kind in zip(nets, kinds, strict=True):
        net.rows("t").note(5, codes[kind], 9)
        whole.add(net)
    for told, wanted in (([whole], once), (nets, several)):
        observer = Observer(None, 9, int)
        for each in told:
            observer.add(each, {})
        observer.offer()
        changes = observer.take()
        assert short([changes] if changes else []) == ([f"t {wanted}5"] if wanted else [])


def test_a_commit_that_is_given_twice_is_told_once(db: Database, hearing: Hearing) -> None:
    """An interrupt may have struck between the giving and the note that it was given."""
    net = Net(9)
    net.rows("t").note(5, UPDATE, 9)
    for _ in range(2):
        db._observers._tell(net)
    assert sum(each.commits for each in hearing.rest()) == 1


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_is_logged_and_called_again(
    db: Database, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """It harms neither the writer, nor another callback, nor itself."""
    told: list[Changes] = []

    def callback(changes: Changes) -> None:
        told.append(changes)
        raise error("mine")

    db.observe("t", callback)
    hearing = Hearing(db)
    for rowid in (30, 31):
        db.execute("INSERT INTO t (id) VALUES (?)", (rowid,))
        assert short(hearing.rest()) == [f"t +{rowid}"]
    wait_until(lambda: len(told) == 2, "told twice")
    wait_until(lambda: len(caplog.records) == 2, "logged twice")
    assert {record.name for record in caplog.records} == {"onewriter.observers"}
    assert "a callback of observe raised" in caplog.text


def test_a_callback_runs_on_one_thread_of_its_own_in_the_context_of_the_call(db: Database) -> None:
    """Neither the writer's, nor inside its transaction."""
    name = contextvars.ContextVar("name", default="none")
    seen: list[tuple[str, str, bool]] = []

    def callback(_changes: Changes) -> None:
        seen.append((threading.current_thread().name, name.get(), db._presence.is_writing()))

    name.set("mine")
    db.observe("t", callback)
    name.set("other")
    for rowid in (30, 31):
        Call(partial(db.execute, "INSERT INTO t (id) VALUES (?)", (rowid,))).result()
        wait_until(partial(_has, seen, rowid - 29), "told")
    assert seen == [("onewriter-observers-items.db", "mine", False)] * 2


def test_changes_are_values(db: Database, hearing: Hearing) -> None:
    """They cannot be changed, and equal what has the same in it."""
    db.execute("DELETE FROM t WHERE id = 3")
    (changes,) = hearing.rest()
    with pytest.raises(FrozenInstanceError):
        setattr(changes, "elsewhere", True)  # noqa: B010 - type checkers refuse it, too
    assert changes == replace(changes)
    assert hash(changes) == hash(replace(changes))
    assert changes.table("nothing") is None


# --- the end of an observation


def test_a_closed_observation_hears_nothing_more(db: Database, hearing: Hearing) -> None:
    """By `close`, or at the end of its block."""
    told: list[Changes] = []
    with db.observe("t", told.append) as observation:
        was_open = not observation.closed
        db.execute("INSERT INTO t (id) VALUES (30)")
        wait_until(lambda: len(told) == 1, "told")
    assert was_open
    assert observation.closed
    observation.close()
    db.execute("INSERT INTO t (id) VALUES (31)")
    assert inserted(hearing.rest(), "t") == [30, 31]
    assert short(told) == ["t +30"]


def test_a_callback_may_close_its_own_observation(db: Database, hearing: Hearing) -> None:
    """It is not called again, though more waits for it."""
    told: list[Changes] = []
    steps = Steps()

    def callback(changes: Changes) -> None:
        told.append(changes)
        steps.wait_for("more")
        observation.close()

    observation = db.observe("t", callback)
    for rowid in range(30, 35):
        db.execute("INSERT INTO t (id) VALUES (?)", (rowid,))
    steps.mark("more")
    hearing.rest()
    assert len(told) == 1


def test_a_callback_may_close_the_database(tmp_path: Path) -> None:
    """Nothing waits for itself."""
    db = open_observed(tmp_path, TABLES)
    errors: list[object] = []

    def callback(_changes: Changes) -> None:
        try:
            db.close(LIMIT_S)
        except BaseException as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    db.observe("t", callback)
    db.execute("INSERT INTO t (id) VALUES (30)")
    wait_until(lambda: db._core.is_closed and not db._core.is_closing, "closed")
    assert errors == []
    db.close()


def test_a_callback_may_observe(db: Database) -> None:
    """And has the other one called for what comes then."""
    told: list[str] = []

    def first(_changes: Changes) -> None:
        if not told:
            told.append("first")
            db.observe("t", lambda _changes: told.append("second"))
            db.execute("UPDATE t SET b = 1 WHERE id = 1")

    db.observe("t", first)
    db.execute("UPDATE t SET b = 2 WHERE id = 1")
    wait_until(lambda: "second" in told, "both")


def test_what_was_committed_is_told_before_the_close_returns(tmp_path: Path) -> None:
    """All of it, though the callback is slow; what it asks of the database then is refused."""
    told: list[Changes] = []
    refused: list[DatabaseClosed] = []
    db = open_observed(tmp_path, TABLES)

    def callback(changes: Changes) -> None:
        wait_until(db._observers._pump.has_ended, "the pump's end")
        told.append(changes)
        try:
            db.query("SELECT 1")
        except DatabaseClosed as error:
            refused.append(error)
            raise

    observation = db.observe("t", callback)
    for rowid in range(30, 40):
        db.execute("INSERT INTO t (id) VALUES (?)", (rowid,))
    db.close()
    assert inserted(told, "t") == list(range(30, 40))
    assert len(refused) == len(told)
    assert observation.closed
    observation.close()


def test_a_callback_that_does_not_return_does_not_hold_the_close_up(tmp_path: Path) -> None:
    """It ends at its deadline."""
    steps = Steps()
    db = open_observed(tmp_path, TABLES)

    def callback(_changes: Changes) -> None:
        steps.mark("called")
        steps.wait_for("go")

    db.observe("t", callback)
    db.execute("INSERT INTO t (id) VALUES (30)")
    steps.wait_for("called")
    db.close(timeout_s=0.05)
    assert not presence.is_open(db.path)
    steps.mark("go")


def test_a_forgotten_observation_goes_on(db: Database) -> None:
    """A callback is enough."""
    told: list[Changes] = []
    db.observe("t", told.append)
    gc.collect()
    db.execute("INSERT INTO t (id) VALUES (30)")
    wait_until(lambda: len(told) == 1, "told")


def test_a_forgotten_database_is_closed_for_all_that(tmp_path: Path) -> None:
    """The threads that serve its observers do not keep it."""
    told: list[Changes] = []
    db = open_observed(tmp_path, TABLES)
    db.observe("t", told.append)
    path = db.path
    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031 - the collector warns
        del db
        gc.collect()
    assert not presence.is_open(path)


def test_off_means_free(db: Database) -> None:
    """What a write does, to the bytecode, is what it did before anybody observed; statements are compiled anew."""
    writer = db._core.writer
    assert writer is not None
    before = _bytecodes(db)
    hearing = Hearing(db)
    assert isinstance(writer.connection, RecordingConnection)
    assert _bytecodes(db) > before
    hearing.observation.close()
    wait_until(lambda: not isinstance(writer.connection, RecordingConnection), "as it was")
    wait_until(lambda: db._observers.is_quiet, "its connection closed")
    assert type(writer.connection) is Connection
    assert _bytecodes(db) == before
    db.execute("INSERT INTO audit VALUES (1, 1), (2, 2)")
    db.execute("DELETE FROM audit WHERE id = 2")
    again = Hearing(db)
    db.execute("DELETE FROM audit")
    assert short(again.rest()) == ["audit -1"]


def _bytecodes(db: Database) -> int:
    """Return how many bytecodes of the library a statement and a function come to, at the least of some times."""
    counts: list[int] = []
    for _ in range(4):
        striker = Striker(sys.maxsize)
        striker.run(lambda: db.execute("UPDATE t SET b = 1 WHERE id = 1"))
        striker.run(lambda: db.write(lambda tx: tx.execute("UPDATE t SET b = 2 WHERE id = 1")))
        counts.append(sys.maxsize - striker._left)
    return min(counts)


def test_observing_begins_and_ends_beside_writers(db: Database, seed: int) -> None:
    """Observers come and go, the last of them too, and each is told of what is committed while it is there."""
    stop = threading.Event()

    def write() -> None:
        rowid = 1_000
        while not stop.is_set():
            rowid += 1
            db.execute("INSERT INTO audit (id) VALUES (?)", (rowid,))

    writer = Call(write)
    try:
        for number in range(30):
            told: list[Changes] = []
            with db.observe("audit", told.append), db.observe("t", told.append):
                db.execute("UPDATE t SET b = ? WHERE id = 1", (number,))
                wait_until(partial(_has_told, told, "t ~1"), "told")
            rows = inserted(told, "audit")
            assert rows == list(range(rows[0], rows[0] + len(rows))) if rows else True
            assert not any(each.elsewhere for each in told)
    finally:
        stop.set()
        writer.result()


# --- mistakes


@pytest.mark.parametrize(
    "tables, message",
    [
        ("nothing", r"there is no table 'nothing' to observe; there are: audit, audited, child, counted, "),
        (["t", "x y"], r"there is no table 'x y' to observe"),
        ("seen", "'seen' is a view: observe the tables that it reads"),
        ("search_data", "'search_data' is a part of a virtual table: observe that"),
        ("sqlite_schema", "there is no table 'sqlite_schema'"),
        ([], "tables names none: give None to observe all"),
        (7, "tables must be a name, several names, or None for all, not 7"),
        (b"t", "tables must be a name, several names, or None for all, not b't'"),
        ([7], "tables must be names, not 7"),
    ],
)
def test_tables_that_are_not_there_are_refused(
    db: Database,
    tables: Any,  # noqa: ANN401 - what is wrong
    message: str,
) -> None:
    """With those that are."""
    with pytest.raises(ProgrammingError, match=message):
        db.observe(tables, print)


def test_what_cannot_be_a_callback_is_refused(db: Database) -> None:
    """A coroutine function would never be run."""

    async def task(_changes: Changes) -> None:
        pass

    with pytest.raises(MisuseError, match="async for"):
        db.observe("t", task)
    with pytest.raises(ProgrammingError, match="observe takes a function of what has changed, not int"):
        db.observe("t", cast("Callable[[Changes], object]", 7))


def test_observing_inside_a_write_is_refused(db: Database) -> None:
    """It would wait for itself; after the write it is fine."""
    with pytest.raises(NestedWrite):
        db.write(lambda _tx: db.observe("t", print))
    with db.transaction(), pytest.raises(NestedWrite):
        db.observe(None, print)
    db.observe("t", print).close()


def test_observing_waits_for_its_turn(db: Database) -> None:
    """Up to the deadline; nothing of it is left."""
    with db.transaction():
        error = Call(lambda: db.observe("t", print, timeout_s=0.01)).error()
    assert isinstance(error, WriteTimeout)
    writer = db._core.writer
    assert writer is not None
    assert not isinstance(writer.connection, RecordingConnection)


def test_observing_on_a_sick_disk(tmp_path: Path) -> None:
    """An error of the library's says so."""
    failing: list[int] = []

    def rule(kind: str, _name: str) -> int:
        return CODES[kind] if failing and kind == "shm-lock" else apsw.SQLITE_OK

    with sick_files(rule), open_observed(tmp_path, TABLES) as db:
        failing.append(1)
        with pytest.raises(DiskError):
            db.observe(None, lambda _changes: None)
        failing.clear()
        hearing = Hearing(db)
        db.execute("INSERT INTO t (id) VALUES (5)")
        assert short(hearing.rest()) == ["t +5"]


def test_observing_a_closed_database_is_refused(tmp_path: Path) -> None:
    """As any call."""
    db = open_items(tmp_path)
    db.close()
    with pytest.raises(DatabaseClosed):
        db.observe("item", print)


def test_an_sqlite_without_the_hook_is_refused(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it."""
    monkeypatch.setattr("onewriter.recording.apsw", SimpleNamespace(Connection=object))
    with pytest.raises(OperationalError, match="pip install"):
        db.observe("t", print)
    monkeypatch.undo()
    db.execute("UPDATE t SET b = 1")


def test_what_on_connect_raises_is_raised(tmp_path: Path) -> None:
    """By the call that needs one more connection; nothing is left of it."""
    sick = False

    def on_connect(_connection: apsw.Connection) -> None:
        if sick:
            raise LookupError("mine")

    with open_observed(tmp_path, TABLES, Config(on_connect=on_connect)) as db:
        db.query("SELECT 1")
        sick = True
        with pytest.raises(LookupError, match="mine"):
            db.observe("t", print)
        sick = False
        hearing = Hearing(db)
        db.execute("UPDATE t SET b = 1 WHERE id = 1")
        assert short(hearing.rest()) == ["t ~1"]


def test_observing_beside_a_close(tmp_path: Path) -> None:
    """It is refused, or ends with the database, whose writer closes the file last either way."""
    for number in range(40):
        db = onewriter.open(tmp_path / f"{number}.db", durability="normal")
        db.execute("CREATE TABLE t (x)")
        begun = threading.Barrier(2)

        def observe(db: Database = db, begun: threading.Barrier = begun) -> None:
            begun.wait(LIMIT_S)
            with suppress(DatabaseClosed):
                while True:
                    db.observe(None, print)

        call = Call(observe)
        begun.wait(LIMIT_S)
        db.close()
        call.result()
    assert {each.suffix for each in tmp_path.iterdir()} == {".db", ".db-turn"}


def test_no_rowids_at_all(tmp_path: Path) -> None:
    """A limit of none tells the tables and the kinds."""
    with open_observed(tmp_path, TABLES, Config(observe_rowids_max=0)) as db:
        told: list[Changes] = []
        db.observe("t", told.append)
        db.execute("UPDATE t SET b = 1 WHERE id = 1")
        wait_until(partial(bool, told), "told")
        assert short(told) == ["t * update"]


def test_a_hook_of_on_connect_is_called_as_well(tmp_path: Path) -> None:
    """Neither takes the place of the other."""
    seen: list[str] = []

    def on_connect(connection: apsw.Connection) -> None:
        connection.preupdate_hook(lambda update: seen.append(update.table_name))

    with open_observed(tmp_path, TABLES, Config(on_connect=on_connect)) as db:
        hearing = Hearing(db)
        db.execute("UPDATE t SET b = 1 WHERE id = 1")
        assert short(hearing.rest()) == ["t ~1"]
        assert "t" in seen


def test_a_strange_name_is_told_as_it_is(db: Database) -> None:
    """Whatever it has in it."""
    for name in ("two words", 'a"b', "ÄÖ", "select"):
        quoted = '"' + name.replace('"', '""') + '"'
        db.execute(SQL(f"CREATE TABLE {quoted} (x)"))
        told: list[Changes] = []
        with db.observe(name, told.append):
            db.execute(SQL(f"INSERT INTO {quoted} VALUES (1)"))
            wait_until(partial(bool, told), "told")
        assert told[0].names == {name}


def test_a_database_that_is_followed_is_observed_as_well(tmp_path: Path) -> None:
    """Whose writer and batch are of classes of their own."""
    with open_observed(tmp_path, TABLES, Config(slow_request_s=60.0)) as db:
        hearing = Hearing(db)
        db.execute("INSERT INTO t (id) VALUES (30)")
        db.write(lambda tx: tx.execute("INSERT INTO t (id) VALUES (31)"))
        with db.transaction() as tx:
            tx.execute("INSERT INTO t (id) VALUES (32)")
        assert inserted(hearing.rest(), "t") == [30, 31, 32]


def test_nothing_is_logged_where_all_is_well(
    db: Database, hearing: Hearing, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at any level."""
    caplog.set_level(logging.DEBUG, "onewriter")
    db.execute("INSERT INTO t (id) VALUES (30)")
    hearing.rest()
    hearing.observation.close()
    assert caplog.records == []


def _has_told(told: list[Changes], one: str) -> bool:
    return any(one in each for each in short(told))


def _has(seen: list[Any], number: int) -> bool:
    return len(seen) == number
