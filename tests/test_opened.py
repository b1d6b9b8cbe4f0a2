"""What stays open between two calls, under attack: forks, the garbage collector, savepoints, code that calls back."""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

import onewriter
from onewriter import Blob, Config, Database, ForkedDatabase, MisuseError, Transaction
from tests.support.children import forked
from tests.support.databases import Pause, with_function
from tests.support.steps import Call

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

SIZE = 1_000_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database with a large value, and a cache that does not hold it."""
    with onewriter.open(
        tmp_path / "opened.db", config=Config(cache_bytes=64 * 1024, readers_max=1)
    ) as opened:
        opened.execute("CREATE TABLE chunk (id INTEGER PRIMARY KEY, body BLOB)")
        opened.execute("INSERT INTO chunk VALUES (1, zeroblob(?))", (SIZE,))
        yield opened


# --- forks


def test_a_forked_child_writes_nothing_through_a_blob(db: Database) -> None:
    """It would put its frames in the place of its parent's."""
    with db.transaction() as tx:
        blob = tx.open_blob("chunk", "body", 1, writable=True)
        blob.write(b"P" * (SIZE // 2))

        def write() -> None:
            blob.seek(0)
            blob.write(b"C" * SIZE)

        with pytest.raises(ForkedDatabase):
            forked(write)
        with pytest.raises(ForkedDatabase):
            forked(lambda: blob.seek(0) or blob.read(1))
        forked(blob.close)
        blob.write(b"P" * (SIZE // 2))
    assert db.query_value("SELECT body FROM chunk", into=bytes) == b"P" * SIZE
    assert db.check() == []


def test_a_forked_child_reads_nothing_through_a_stream(db: Database) -> None:
    """And may leave its parent's block, which harms nobody."""
    with ExitStack() as stack:
        rows = stack.enter_context(db.stream("SELECT id FROM chunk", into=int))
        with pytest.raises(ForkedDatabase):
            forked(lambda: next(rows))
        forked(stack.close)
        assert list(rows) == [1]
    assert db.query("SELECT id FROM chunk", into=int) == [1]


# --- the garbage collector, on another thread


class Upload:
    """Something that a service makes, with a cycle in it."""

    def __init__(self, opened: object) -> None:
        """Refer to itself."""
        self.opened = opened
        self.me = self


def _open_blob(tx: Transaction, _stack: ExitStack) -> Blob:
    blob = tx.open_blob("chunk", "body", 1, writable=True)
    blob.write(b"x")
    return blob


def _open_stream(tx: Transaction, _stack: ExitStack) -> AbstractContextManager[Iterator[onewriter.Row]]:
    stream = tx.stream("SELECT id FROM chunk")
    next(stream.__enter__())
    return stream


@pytest.mark.parametrize("opener", [_open_blob, _open_stream])
@pytest.mark.parametrize("block", [False, True], ids=["function", "block"])
def test_the_collector_of_another_thread_harms_nobody(
    tmp_path: Path, opener: Callable[[Transaction, ExitStack], object], block: bool
) -> None:
    """It ends what is open while the connection is at work; nothing stays open, and nobody waits for a lock."""
    pause = Pause()

    def collect() -> None:
        pause.steps.wait_for("inside")
        gc.collect()
        pause.steps.mark("go")

    def work(tx: Transaction) -> None:
        Upload(opener(tx, ExitStack()))
        tx.query("SELECT pause()")

    with onewriter.open(tmp_path / "cycle.db", config=Config(on_connect=pause.on_connect)) as db:
        db.execute("CREATE TABLE chunk (id INTEGER PRIMARY KEY, body BLOB)")
        db.execute("INSERT INTO chunk VALUES (1, 'abc')")
        gc.collect()
        gc.disable()
        try:
            collecting = Call(collect)
            if block:
                with db.transaction() as tx:
                    work(tx)
            else:
                db.write(work)
            collecting.result()
        finally:
            gc.enable()
        db.execute("UPDATE chunk SET id = 2")
        assert db._core.writer is not None
        connection = db._core.writer.connection
        assert connection.is_idle()
        assert not connection.opened


# --- savepoints


def test_a_savepoint_beside_an_open_blob_says_what_to_close(db: Database) -> None:
    """SQLite would say that it is busy."""
    with db.transaction() as tx:
        with tx.open_blob("chunk", "body", 1, writable=True) as blob:
            blob.write(b"ab")
            with pytest.raises(MisuseError, match="close it first"), tx.savepoint():
                pass
            with pytest.raises(MisuseError, match="close it first"):
                tx.execute_many("INSERT INTO chunk (body) VALUES (?)", [("x",)])
            blob.write(b"cd")
        with tx.savepoint():
            tx.execute_many("INSERT INTO chunk (body) VALUES (?)", [("x",)])
    assert db.query("SELECT substr(body, 1, 4) FROM chunk") == [(b"abcd",), ("x",)]


def test_a_savepoint_that_ends_closes_the_blobs_in_it(db: Database) -> None:
    """Kept or undone; the caller's own error is the one that is raised."""
    with db.transaction() as tx:
        with tx.savepoint():
            kept = tx.open_blob("chunk", "body", 1, writable=True)
            kept.write(b"kept")
        with pytest.raises(onewriter.TransactionEnded):
            kept.write(b"x")
        with pytest.raises(LookupError), tx.savepoint():
            tx.open_blob("chunk", "body", 1, writable=True).write(b"lost")
            raise LookupError
    assert db.query_value("SELECT substr(body, 1, 4) FROM chunk", into=bytes) == b"kept"


def test_a_stream_over_what_is_undone_says_so(db: Database) -> None:
    """It is never silently short."""
    db.execute_many("INSERT INTO chunk (body) VALUES (?)", [("x",)] * 3)
    with db.transaction() as tx, tx.stream("SELECT id FROM chunk") as rows:
        next(rows)
        with pytest.raises(LookupError), tx.savepoint():
            tx.execute("CREATE TABLE other (a)")
            raise LookupError
        with pytest.raises(MisuseError, match="undone"):
            next(rows)


# --- code that calls back


def test_a_function_of_sql_may_ask_its_own_transaction(tmp_path: Path) -> None:
    """In the middle of a statement of it, which goes on."""
    current: list[Transaction] = []

    def back(*_: object) -> int:
        return current[0].query_value("SELECT count(*) FROM t", into=int)

    with onewriter.open(tmp_path / "back.db", config=Config(on_connect=with_function("back", back))) as db:
        db.execute("CREATE TABLE t (a)")
        with db.transaction() as tx:
            current.append(tx)
            tx.execute("INSERT INTO t VALUES (1)")
            assert tx.query("SELECT back() AS found") == [(1,)]
            assert tx.query("SELECT back() AS found")[0]["found"] == 1
            tx.execute("INSERT INTO t VALUES (2)")
        assert db.query("SELECT a FROM t", into=int) == [1, 2]


def test_no_process_is_left(db: Database) -> None:
    """The forks of this module have ended."""
    assert db.path.exists()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
