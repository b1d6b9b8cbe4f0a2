"""Readers: one snapshot each, bounded, first come first served, given back clean."""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import _thread
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

import onewriter
from onewriter import (
    SQL,
    Config,
    Database,
    DatabaseClosed,
    ForbiddenStatement,
    NestedRead,
    Params,
    ReadTimeout,
    readers,
)
from onewriter.loans import Loan
from tests.support.databases import Held, Pause, names, open_items, with_function
from tests.support.sick_vfs import SickVFS, fail
from tests.support.steps import LIMIT_S, Call, Steps, calls, wait_until


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database with two readers at most."""
    with open_items(tmp_path, Config(readers_max=2)) as opened:
        yield opened


class Reading:
    """A read transaction that is held until it is let go."""

    def __init__(self, db: Database, name: str = "reading") -> None:
        """Return once it has its snapshot."""
        self.db = db
        self.steps = Steps()
        self.call = Call(self._read, name)
        self.steps.wait_for("reading")

    def _read(self) -> tuple[list[str], list[str]]:
        with self.db.read_transaction() as tx:
            self.steps.mark("reading")
            self.steps.wait_for("go")
            first = tx.query("SELECT name FROM item ORDER BY id", into=str)
            return first, tx.query("SELECT name FROM item ORDER BY id", into=str)

    def let_go(self) -> tuple[list[str], list[str]]:
        """Let it read, and return what it saw twice."""
        self.steps.mark("go")
        return self.call.result()


def _wait_for_waiters(db: Database, number: int) -> None:
    wait_until(lambda: len(db._readers._waiting) == number, f"{number} in the queue")


def test_a_snapshot_is_fixed_when_it_begins(db: Database) -> None:
    """Not at its first query: what is committed in between is not seen."""
    db.execute("INSERT INTO item (name) VALUES ('before')")
    reading = Reading(db)
    db.execute("INSERT INTO item (name) VALUES ('after')")
    assert reading.let_go() == (["before"], ["before"])
    assert names(db) == ["before", "after"]


def test_a_read_sees_every_write_acknowledged_before_it(db: Database) -> None:
    """Also another thread's, as soon as that has heard of it."""

    def write_then_read(name: str) -> bool:
        for index in range(50):
            db.execute("INSERT INTO item (name) VALUES (?)", (f"{name}{index}",))
            if db.query_value("SELECT count(*) FROM item WHERE name = ?", (f"{name}{index}",), into=int) != 1:
                return False
        return True

    assert all(call.result() for call in calls(lambda n: write_then_read(f"t{n}-"), 8))


def test_readers_do_not_wait_for_a_writer(db: Database) -> None:
    """They see what is committed while a transaction is open."""
    db.execute("INSERT INTO item (name) VALUES ('a')")
    held = Held(db)
    assert names(db) == ["a"]
    held.let_go()
    held.call.result()


def test_an_invariant_holds_in_every_snapshot(tmp_path: Path) -> None:
    """Four writers move units between ten rows; six readers see the same sum 10,000 times, each row by a query."""
    rows, checks_max = 10, 10_000
    with open_items(tmp_path, Config()) as db:
        db.execute_many("INSERT INTO item (name, size) VALUES (?, 100)", [(f"r{n}",) for n in range(rows)])
        enough = threading.Event()
        checks = iter(range(checks_max))  # shared: to take the next one cannot be divided

        def move(seed: int) -> int:
            drawn = random.Random(seed)
            moved = 0
            while not enough.is_set():
                source, target, units = drawn.randint(1, rows), drawn.randint(1, rows), drawn.randint(0, 3)

                def work(tx: onewriter.Transaction, s: int = source, t: int = target, u: int = units) -> int:
                    changes = tx.execute(
                        "UPDATE item SET size = size - ? WHERE id = ? AND size >= ?", (u, s, u)
                    ).changes
                    tx.execute("UPDATE item SET size = size + ? WHERE id = ?", (u * changes, t))
                    return changes

                moved += db.write(work)
            return moved

        def sizes(tx: onewriter.ReadTransaction) -> list[int]:
            return [
                tx.query_value("SELECT size FROM item WHERE id = ?", (n,), into=int)
                for n in range(1, rows + 1)
            ]

        def check() -> set[int]:
            try:
                return {sum(db.read(sizes)) for _ in checks}
            finally:
                enough.set()

        movers = calls(move, 4)
        readers_ = [Call(check) for _ in range(6)]
        assert set().union(*(call.result() for call in readers_)) == {100 * rows}
        assert next(checks, None) is None
        assert all(mover.result() > 0 for mover in movers)


def test_the_pool_is_bounded_and_tells_who_holds_it(db: Database) -> None:
    """A read that finds no reader in time says so, by name; nothing ran."""
    readings = [Reading(db, "first"), Reading(db, "second")]
    with pytest.raises(
        ReadTimeout,
        match=r"all 2 are held: first: a read transaction, for .* s; second: a read transaction, for .* s$",
    ) as caught:
        db.query("SELECT 1", timeout_s=0.05)
    assert caught.value.ran == "no"
    stats = db.stats()
    assert (stats.readers_lent, stats.readers_idle, stats.oldest_reader) == (
        2,
        0,
        "first: a read transaction",
    )
    assert stats.oldest_reader_s > 0
    for reading in readings:
        reading.let_go()
    assert db.stats().readers_lent == 0


def test_readers_go_to_those_who_asked_first(db: Database) -> None:
    """A reader that comes back is handed to the longest waiter."""
    readings = [Reading(db), Reading(db)]
    order: list[int] = []
    waiting: list[Call[None]] = []

    def wait(number: int) -> None:
        with db.read_transaction():
            order.append(number)

    for number in range(4):
        waiting.append(Call(partial(wait, number)))
        _wait_for_waiters(db, number + 1)
    readings[0].let_go()
    for call in waiting:
        call.result()
    assert order == [0, 1, 2, 3]
    readings[1].let_go()


def test_a_waiter_that_left_gets_no_reader(db: Database) -> None:
    """Its place in the queue is gone, and the reader goes back to the pool."""
    readings = [Reading(db), Reading(db)]
    assert isinstance(Call(lambda: db.query("SELECT 1", timeout_s=0.02)).error(), ReadTimeout)
    for reading in readings:
        reading.let_go()
    assert db.stats().readers_idle == 2
    assert db.query_value("SELECT 1", into=int) == 1


def test_a_read_inside_a_read_is_a_newer_snapshot(db: Database) -> None:
    """It takes another reader."""
    with db.read_transaction() as tx:
        Call(lambda: db.execute("INSERT INTO item (name) VALUES ('new')")).result()
        assert tx.query("SELECT name FROM item") == []
        assert names(db) == ["new"]


def test_a_thread_that_holds_every_reader_is_told_at_once(db: Database) -> None:
    """It would wait for itself."""
    with db.read_transaction(), db.read_transaction(), pytest.raises(NestedRead, match="readers_max"):
        db.query("SELECT 1")
    assert names(db) == []


def test_a_reader_comes_back_clean_after_an_error(db: Database) -> None:
    """No transaction is left open on it, whatever ended the block."""
    for _ in range(4):
        with pytest.raises(LookupError), db.read_transaction() as tx:
            tx.query("SELECT * FROM item")
            raise LookupError
        with pytest.raises(onewriter.ProgrammingError), db.read_transaction() as tx:
            tx.query("SELECT nothing")
    assert db.stats().readers_lent == 0
    db.execute("INSERT INTO item (name) VALUES ('a')")
    assert names(db) == ["a"]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO item (name) VALUES ('x')",
        "INSERT INTO item (name) VALUES ('x') RETURNING id",
        "DELETE FROM item",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "DROP TABLE item",
        "PRAGMA user_version = 3",
        "REINDEX",
        "ANALYZE",
        "BEGIN",
        "ATTACH ':memory:' AS other",
    ],
)
def test_a_reader_changes_nothing(db: Database, sql: str) -> None:
    """Whatever would write is refused, again and again, and says where it belongs."""
    for _ in range(2):
        with pytest.raises(ForbiddenStatement):
            db.query(SQL(sql))
        with pytest.raises(ForbiddenStatement), db.read_transaction() as tx:
            tx.query(SQL(sql))
    assert names(db) == []
    assert db.check() == []


def test_a_schema_change_is_seen_by_open_readers(db: Database) -> None:
    """Statements prepared before it are prepared again."""
    assert db.query("SELECT * FROM item") == []
    db.execute("ALTER TABLE item ADD COLUMN extra TEXT DEFAULT 'e'")
    db.execute("INSERT INTO item (name) VALUES ('a')")
    assert db.query("SELECT * FROM item") == [(1, "a", 0, "e")]


def test_closing_waits_for_readers_and_refuses_new_ones(tmp_path: Path) -> None:
    """A reader that is out when the time is up is closed when it comes back."""
    db = open_items(tmp_path, Config(readers_max=1))
    reading = Reading(db)
    waiter = Call(lambda: db.query("SELECT 1"))
    _wait_for_waiters(db, 1)
    db.close(timeout_s=0.02)
    assert isinstance(waiter.error(), DatabaseClosed)
    assert reading.let_go() == ([], [])
    db.close()


def test_check_finds_a_broken_check_constraint(tmp_path: Path) -> None:
    """SQLite itself drops these on a read-only connection."""
    with open_items(tmp_path) as db:
        assert db.check() == []
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA ignore_check_constraints = ON'); "
        "c.execute(\"INSERT INTO item (name, size) VALUES ('bad', -1)\"); c.commit()"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "items.db")], check=True, timeout=30)
    with open_items(tmp_path) as db:
        assert db.check() == ["CHECK constraint failed in item"]


# --- races


class Yielding(dict[Any, Any]):
    """The holders of a pool whose other readers all come back in one moment: after the last was asked for in vain."""

    def __init__(self, held: dict[Any, Any], readers: int) -> None:
        """Begin with what is *held*."""
        super().__init__(held)
        self.asked = 0
        self.readers = readers

    def setdefault(self, key: Any, default: Any = None, /) -> Any:  # noqa: ANN401 - as a dictionary's
        """Answer as a dictionary does, and then let all go."""
        found = super().setdefault(key, default)
        self.asked += 1
        if self.asked == self.readers:
            self.clear()
        return found


def test_readers_that_come_back_while_one_is_looked_for(db: Database) -> None:
    """Nobody holds one any more: that is no thread that holds them all."""
    pool = db._readers
    other: Loan = (0, 0.0, "another thread's", None)
    pool.holders = Yielding(dict.fromkeys(pool._readers, other), len(pool._readers))
    assert db.query("SELECT 1") == [(1,)]  # found by the look that a waiter takes from time to time
    assert pool.holders == {}


def test_a_thread_that_reads_on_keeps_its_reader_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for longer: the waiter is served while the other goes on reading."""
    monkeypatch.setattr(readers, "STAY_S", 0.05)
    with open_items(tmp_path, Config(readers_max=1)) as db:
        stop = threading.Event()

        def read_on() -> int:
            count = 0
            while not stop.is_set():
                db.query_one("SELECT 1")
                count += 1
            return count

        busy = [Call(read_on) for _ in range(3)]
        for _ in range(10):
            assert db.query_one("SELECT 1", timeout_s=10.0) == (1,)
        stop.set()
        assert all(call.result() > 0 for call in busy)
        assert db.stats().readers_lent == 0


def test_a_reader_left_at_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread does not come back within its time, and nobody tells who waits."""
    monkeypatch.setattr(readers, "STAY_S", 60.0)
    monkeypatch.setattr(readers, "_LOOK_S_MAX", 0.001)
    with open_items(tmp_path, Config(readers_max=1)) as db:
        pool = db._readers
        me = threading.get_ident()
        reading = Reading(db)

        def come_back() -> list[onewriter.Row]:
            pool._left[threading.get_ident()] = time.monotonic()  # as one who read a moment ago
            return db.query("SELECT 1")

        first = Call(come_back)
        _wait_for_waiters(db, 1)
        reading.let_go()
        assert first.result() == [(1,)]
        (reader,) = pool._readers
        assert reader.stay_until > time.monotonic() + 30  # it is kept for who has gone
        assert db.query("SELECT 2", timeout_s=5.0) == [(2,)]
        assert pool.homes == {me: reader}


def test_close_waits_for_a_query_and_closes_after_it(tmp_path: Path) -> None:
    """It comes back by the short way, and finds the pool closed."""
    pause = Pause()
    db = open_items(tmp_path, Config(readers_max=1, on_connect=pause.on_connect))
    db.query("SELECT 1")
    reading = Call(lambda: db.query("SELECT pause()"))
    pause.steps.wait_for("inside")
    closing = Call(lambda: db.close(timeout_s=LIMIT_S))
    wait_until(lambda: db._readers.watched, "the close")
    with pytest.raises(DatabaseClosed):
        db.query("SELECT 1")
    pause.steps.mark("go")
    assert reading.result() == [(1,)]
    closing.result()
    assert db._readers.is_empty


# --- readers that break


def test_a_reader_that_broke_is_replaced(tmp_path: Path) -> None:
    """A disk that fails once: the statement fails, and the next one has a new connection."""
    vfs = SickVFS("sick-readers")
    config = Config(readers_max=1, vfs=vfs.name, cache_bytes=64 * 1024)
    with open_items(tmp_path, config) as db:
        db.execute_many("INSERT INTO item (name) VALUES (?)", [(f"{n:0200}",) for n in range(2_000)])
        reads: tuple[Callable[[], object], ...] = (lambda: _read_all(db), lambda: db.read(_read_all))
        for read in reads:
            db.query("SELECT 1")
            (reader,) = db._readers._readers
            before = reader.connection
            vfs.rule = fail("read", "wal", apsw.IOError)
            with pytest.raises(onewriter.DiskError):
                read()
            vfs.rule = None
            assert db.stats().readers_lent == 0
            assert db.query_value("SELECT count(*) FROM item", into=int) == 2_000
            assert reader.connection is not before


def test_a_connection_that_was_closed_under_its_reader_is_replaced(tmp_path: Path) -> None:
    """Somebody kept it from on_connect."""
    kept: list[apsw.Connection] = []
    with open_items(tmp_path, Config(readers_max=1, on_connect=kept.append)) as db:
        db.query("SELECT 1")
        kept[-1].close()
        with pytest.raises(onewriter.Error):
            db.query("SELECT 1")
        assert db.query("SELECT 2") == [(2,)]


def _read_all(tx: onewriter.ReadTransaction | Database) -> object:
    return tx.query("SELECT sum(length(name)) FROM item")


# --- locks that others hold


@pytest.mark.parametrize("error", [apsw.BusyError, apsw.ProtocolError])
def test_a_lock_of_others_is_waited_for_up_to_the_deadline(db: Database, error: type[apsw.Error]) -> None:
    """SQLite itself does not always wait, as when many processes begin to read at once."""
    db.query("SELECT 1")
    connection = db._readers._readers[0].connection
    assert connection is not None
    tries: list[str] = []

    def fetch(sql: str, _params: Params, /) -> str:
        tries.append(sql)
        if len(tries) < 3:
            raise error
        return "read"

    connection.begin_request(time.monotonic() + LIMIT_S)
    assert connection._at_once(fetch, "SELECT 1", ()) == "read"
    assert len(tries) == 3
    tries.clear()
    connection.begin_request(time.monotonic())
    with pytest.raises(ReadTimeout, match="another connection") as caught:
        connection._at_once(fetch, "SELECT 1", ())
    assert (len(tries), caught.value.held_by, caught.value.ran) == (1, "stranger", "no")


def test_a_disk_that_fails_as_the_last_connection_closes_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost by it, so nothing is raised; what was acknowledged is found again."""
    vfs = SickVFS("sick-close")
    db = open_items(tmp_path, Config(vfs=vfs.name))
    db.execute("INSERT INTO item (name) VALUES ('a')")
    vfs.rule = fail("read", "wal", apsw.IOError)
    db.close()
    vfs.rule = None
    assert "closing a connection failed" in caplog.text
    with open_items(tmp_path) as again:
        assert names(again) == ["a"]


# --- names of columns


def test_names_follow_the_schema_whatever_was_asked_in_between(tmp_path: Path) -> None:
    """Columns that change their names place for place, and a statement that was compiled anew without a row."""
    with open_items(tmp_path, Config(readers_max=1)) as db:
        db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, debit INT, credit INT)")
        db.execute("INSERT INTO account VALUES (1, 100, 7)")
        one = "SELECT * FROM account WHERE id = ?"

        def swap(tx: onewriter.Transaction) -> None:
            tx.execute("ALTER TABLE account RENAME COLUMN debit TO other")
            tx.execute("ALTER TABLE account RENAME COLUMN credit TO debit")
            tx.execute("ALTER TABLE account RENAME COLUMN other TO credit")

        between: tuple[Callable[[], object], ...] = (
            lambda: db.query_one(one, (99,)),
            lambda: db.query(one, (99,)),
            lambda: db.query_one("SELECT count(*) FROM account", into=int),
            lambda: db.read(lambda tx: tx.query(one, (99,))),
            lambda: list(_streamed(db, one)),
            lambda: None,
        )
        debit = 100
        for each in between:
            db.query_one(one, (1,))
            db.query(one, (1,))
            db.write(swap)
            debit = 107 - debit
            each()
            db.query("SELECT 1")
            row = db.query_one(one, (1,))
            assert row is not None
            assert row["debit"] == db.query(one, (1,))[0]["debit"] == debit


def _streamed(db: Database, sql: str) -> list[object]:
    with db.stream(SQL(sql), (1,)) as rows:
        return list(rows)


# --- threads that Python did not start


def test_a_thread_that_threading_did_not_start_dies_in_its_block(tmp_path: Path) -> None:
    """Its reader is taken back all the same."""
    with open_items(tmp_path, Config(readers_max=1, read_timeout_s=LIMIT_S)) as db:
        kept: list[object] = []
        entered = threading.Event()

        def enter() -> None:
            block = db.read_transaction()
            block.__enter__()
            kept.append(block)
            entered.set()

        _thread.start_new_thread(enter, ())
        assert entered.wait(LIMIT_S)
        assert db.query("SELECT 1") == [(1,)]


def test_an_error_of_a_function_of_sql_is_the_callers_own(tmp_path: Path) -> None:
    """A KeyError too: it is no missing parameter."""

    def fails(*_: object) -> int:
        raise KeyError("k")

    with open_items(tmp_path, Config(readers_max=1, on_connect=with_function("fails", fails))) as db:
        with pytest.raises(KeyError, match="k"):
            db.query("SELECT fails()")
        with pytest.raises(KeyError, match="k"):
            db.execute("SELECT fails()")
        assert db.query("SELECT 1") == [(1,)]


def test_a_reader_that_two_interrupts_left_is_taken_back_by_its_thread(tmp_path: Path) -> None:
    """Its next query finds that it is in no other; one inside an SQL function is, and takes nothing away."""
    opened: list[Database] = []

    def back(*_: object) -> int:
        opened[0].query("SELECT 1")
        return len(opened[0]._readers._lent())

    with open_items(tmp_path, Config(readers_max=2, on_connect=with_function("back", back))) as db:
        opened.append(db)
        db.query("SELECT 1")
        for reader in db._readers._readers:
            db._readers.holders[reader] = (threading.get_ident(), time.monotonic(), "left", None)
        assert db.query("SELECT 1") == [(1,)]
        assert db._readers.holders == {}
        assert db.query_value("SELECT back()", into=int) == 1
        assert db._readers.holders == {}
