"""Streams: rows one by one, from one snapshot, in bounded memory, over with their block."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

import onewriter
from onewriter import (
    Config,
    Database,
    MisuseError,
    NestedRead,
    ReadTimeout,
    RowMismatch,
    StatementTimeout,
    TransactionEnded,
    WrongThread,
)
from tests.support.databases import Held, open_items
from tests.support.steps import Call

NUMBERS = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i FROM n"
ENDLESS = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@dataclass(frozen=True)
class Item:
    """A row of the table."""

    id: int
    name: str


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database with two readers and three rows."""
    with open_items(tmp_path, Config(readers_max=2)) as opened:
        opened.execute_many("INSERT INTO item (name) VALUES (?)", [("a",), ("b",), ("c",)])
        yield opened


def test_rows_come_one_by_one_in_their_order(db: Database) -> None:
    """As rows, or as what `into` says."""
    with db.stream("SELECT id, name FROM item ORDER BY id") as rows:
        first = next(rows)
        assert (first["id"], first["name"]) == (1, "a")
        assert list(rows) == [(2, "b"), (3, "c")]
        assert next(rows, None) is None
    with db.stream("SELECT id, name FROM item ORDER BY id", into=Item) as items:
        assert list(items) == [Item(1, "a"), Item(2, "b"), Item(3, "c")]
    with db.stream("SELECT name FROM item WHERE id > ? ORDER BY id", (1,), into=str) as names:
        assert list(names) == ["b", "c"]
    with db.stream("SELECT name FROM item WHERE id = 0", into=Item) as none:
        assert list(none) == []


def test_a_stream_sees_one_snapshot(db: Database) -> None:
    """What is committed while it is read is not in it."""
    with db.stream("SELECT name FROM item ORDER BY id", into=str) as names:
        assert next(names) == "a"
        Call(lambda: db.execute("INSERT INTO item (name) VALUES ('d')")).result()
        Call(lambda: db.execute("DELETE FROM item WHERE name = 'b'")).result()
        assert list(names) == ["b", "c"]
    assert db.query("SELECT name FROM item ORDER BY id", into=str) == ["a", "c", "d"]


def test_the_thread_that_streams_may_write(db: Database) -> None:
    """Readers never wait for the writer, nor it for them; not even on one thread."""
    with db.stream("SELECT id FROM item ORDER BY id", into=int) as ids:
        for number in ids:
            db.execute("UPDATE item SET size = ? WHERE id = ?", (number, number))
    assert db.query("SELECT size FROM item ORDER BY id", into=int) == [1, 2, 3]


@pytest.mark.parametrize(
    "how", ["left early", "raises", "read to the end", "a row does not fit", "never read"]
)
def test_whatever_ends_the_block_the_reader_comes_back_clean(db: Database, how: str) -> None:
    """No transaction is left open, so that the WAL can start over: judged by what SQLite says itself."""

    def stream() -> None:
        with db.stream("SELECT id FROM item", into=int if how != "a row does not fit" else str) as rows:
            if how == "never read":
                return
            for _ in rows:
                if how == "left early":
                    break
                if how == "raises":
                    raise LookupError

    if how == "raises":
        with pytest.raises(LookupError):
            stream()
    elif how == "a row does not fit":
        with pytest.raises(RowMismatch, match="'id'"):
            stream()
    else:
        stream()
    _check_clean(db)


def test_an_abandoned_stream_gives_its_reader_back(db: Database) -> None:
    """Entered by hand and forgotten: the collector sees to it."""
    stack = ExitStack()
    rows = stack.enter_context(db.stream("SELECT id FROM item"))
    next(rows)
    stack.pop_all()
    del rows, stack
    gc.collect()
    _check_clean(db)


def test_a_stream_of_a_thread_that_ended_is_taken_back(tmp_path: Path) -> None:
    """Though its block was never left, and something still refers to it."""
    with open_items(tmp_path, Config(readers_max=1, read_timeout_s=10.0)) as db:
        db.execute("INSERT INTO item (name) VALUES ('a')")
        kept = ExitStack()
        rows = Call(lambda: kept.enter_context(db.stream("SELECT id FROM item"))).result()
        assert db.stats().readers_lent == 1
        assert db.query("SELECT name FROM item", into=str) == ["a"]
        with pytest.raises(WrongThread):
            next(rows)
        kept.close()  # too late, and harmless
        _check_clean(db)


def test_a_stream_is_over_with_its_block(db: Database) -> None:
    """Its next row is refused rather than taken for the end."""
    with db.stream("SELECT id FROM item") as rows:
        next(rows)
    for _ in range(2):
        with pytest.raises(TransactionEnded, match="stream is over"):
            next(rows)


def test_a_stream_belongs_to_its_thread(db: Database) -> None:
    """Another one is refused, and harms nothing."""
    with db.stream("SELECT id FROM item", into=int) as rows:
        assert isinstance(Call(lambda: next(rows)).error(), WrongThread)
        assert list(rows) == [1, 2, 3]


def test_the_wait_for_a_reader_names_who_streams(db: Database) -> None:
    """With the statement, and for how long."""
    with db.stream("SELECT id FROM item"), db.stream("SELECT name FROM item"):
        error = Call(lambda: db.query("SELECT 1", timeout_s=0.02)).error()
        assert isinstance(error, ReadTimeout)
        assert "MainThread: SELECT id FROM item, for 0." in str(error)
        with pytest.raises(NestedRead):
            db.stream("SELECT 1").__enter__()
    _check_clean(db)


def test_a_row_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    """The limit is for the work inside SQLite; the loop around it may take its time."""
    config = Config(statement_timeout_s=0.1)
    with open_items(tmp_path, config) as db:
        with pytest.raises(StatementTimeout), db.stream(ENDLESS) as rows:
            next(rows)
        with db.stream(NUMBERS, into=int) as numbers:
            assert next(numbers) == 1
            threading.Event().wait(0.15)  # longer than the limit, outside SQLite
            assert sum(numbers) == 500_499
        _check_clean(db)


# --- inside a transaction


def test_a_stream_of_a_transaction_sees_what_it_wrote(db: Database) -> None:
    """And several may be open at once, with statements between them."""

    def work(tx: onewriter.Transaction) -> list[tuple[int, int]]:
        tx.execute("INSERT INTO item (name) VALUES ('d')")
        pairs: list[tuple[int, int]] = []
        with tx.stream("SELECT id FROM item ORDER BY id", into=int) as outer:
            for left in outer:
                with tx.stream("SELECT id FROM item WHERE id > ? ORDER BY id", (left,), into=int) as inner:
                    pairs += [(left, right) for right in inner]
                tx.execute("UPDATE item SET size = size + 1 WHERE id = ?", (left,))
        return pairs

    assert len(db.write(work)) == 6
    assert db.query("SELECT size FROM item", into=int) == [1, 1, 1, 1]
    with db.transaction() as tx, tx.stream("SELECT name FROM item ORDER BY id", into=str) as names:
        assert list(names) == ["a", "b", "c", "d"]


def test_a_stream_that_is_left_open_does_not_harm_the_commit(db: Database) -> None:
    """Nor does one that writes: the request succeeds, its rows are over."""
    kept = ExitStack()

    def work(tx: onewriter.Transaction) -> list[Iterator[object]]:
        reading = kept.enter_context(tx.stream("SELECT id FROM item"))
        writing = kept.enter_context(tx.stream("INSERT INTO item (name) VALUES ('d'), ('e') RETURNING id"))
        assert (next(reading), next(writing)) == ((1,), (4,))
        return [reading, writing]

    for rows in db.write(work):
        with pytest.raises(TransactionEnded):
            next(rows)
    kept.close()
    assert db.query_value("SELECT count(*) FROM item", into=int) == 5
    _check_clean(db)


def test_the_neighbours_of_a_stream_left_open_are_not_concerned(tmp_path: Path) -> None:
    """In the same commit."""
    with open_items(tmp_path) as db:
        kept = ExitStack()
        held = Held(db)
        leaving = Call(
            lambda: db.write(lambda tx: next(kept.enter_context(tx.stream("SELECT name FROM item"))))
        )
        held.wait_for(1)
        neighbour = Call(lambda: db.execute("INSERT INTO item (name) VALUES ('n')"))
        held.wait_for(2)
        before = db.stats().commits
        held.let_go()
        assert leaving.result() == ("held",)
        neighbour.result()
        assert db.stats().commits == before + 1
        kept.close()


def test_who_locks_himself_out_is_told_what_to_close(db: Database) -> None:
    """A table that a stream still reads cannot be dropped."""

    def work(tx: onewriter.Transaction) -> None:
        tx.execute("DELETE FROM part")
        with tx.stream("SELECT id FROM item") as rows:
            next(rows)
            tx.execute("DROP TABLE part")

    with pytest.raises(MisuseError, match="stream"):
        db.write(work)
    assert db.query_value("SELECT count(*) FROM part", into=int) == 0


def test_a_stream_ends_with_its_turn(db: Database) -> None:
    """A transaction that was held too long is rolled back under it."""
    with pytest.raises(TransactionEnded, match="hold_s"), db.transaction(hold_s=0.02) as tx:
        with tx.stream("SELECT id FROM item") as rows:
            next(rows)
            Call(lambda: db.execute("INSERT INTO item (name) VALUES ('next')")).result()
            next(rows)
    assert db.query("SELECT count(*) FROM item", into=int) == [4]
    _check_clean(db)


def test_a_stream_within_a_savepoint_that_is_undone(db: Database) -> None:
    """It goes on, or says that it cannot; it is never silently short."""
    with db.transaction() as tx:
        tx.execute("INSERT INTO item (name) VALUES ('d')")
        with tx.stream("SELECT name FROM item ORDER BY id", into=str) as names:
            assert next(names) == "a"
            with pytest.raises(LookupError), tx.savepoint():
                tx.execute("UPDATE item SET size = 7")
                raise LookupError
            assert list(names) == ["b", "c", "d"]


# --- memory


def test_a_million_rows_take_no_memory(tmp_path: Path) -> None:
    """The process grows by less than 20 MB, in a process of its own."""
    program = f"""
import onewriter, resource, sys
with onewriter.open({str(tmp_path / "many.db")!r}) as db:
    db.execute("CREATE TABLE many (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    db.execute(
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000) "
        "INSERT INTO many SELECT i, printf('%0100d', i) FROM n"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = 0
    with db.stream("SELECT id, body FROM many") as rows:
        for id, body in rows:
            total += id
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(total, (after - before) * (1 if sys.platform == "darwin" else 1024))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120
    )
    total, grown = map(int, done.stdout.split())
    assert total == 1_000_000 * 1_000_001 // 2
    assert grown < 20_000_000
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0


def _check_clean(db: Database) -> None:
    """All readers are back, and none has anything open."""
    assert db.stats().readers_lent == 0
    opened = [reader.connection for reader in db._readers._readers if reader.connection is not None]
    assert opened
    for connection in opened:
        assert connection.is_idle()
        assert not connection.opened
    with db.unsafe_connection() as connection_of_apsw:  # would be busy if anything read an older state
        pages, moved = connection_of_apsw.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        assert pages == moved
