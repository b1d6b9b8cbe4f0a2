"""Reads that grow too old: `Config.reader_age_max_s`, whatever they do, and who is named for keeping the WAL."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import onewriter
from onewriter import (
    Config,
    Database,
    ForkedDatabase,
    ReadTimeout,
    ReadTransaction,
    StatementTimeout,
    TransactionEnded,
    helpers,
    presence,
)
from onewriter.blocks import Block
from tests.support.children import forked
from tests.support.databases import PATIENT, Pause, names, open_items, with_function
from tests.support.steps import LIMIT_S, Call, Steps, wait_until
from tests.support.stranger import Stranger
from tests.support.strikes import Strike, StrikeError, Striker

ENDLESS = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
ROWS = "SELECT name FROM item ORDER BY id"
TOO_OLD = r"open for longer than Config\.reader_age_max_s \(.* s\) and kept the WAL from starting over"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database with three rows, whose reads grow old when a test says so."""
    with _open(tmp_path, Config()) as opened:
        yield opened


@pytest.fixture
def soon(tmp_path: Path) -> Iterator[Database]:
    """A database with three rows, whose reads grow old soon."""
    with _open(tmp_path, Config(reader_age_max_s=0.05)) as opened:
        yield opened


def _open(folder: Path, config: Config) -> Database:
    opened = open_items(folder, config)
    opened.execute_many("INSERT INTO item (name) VALUES (?)", [("a",), ("b",), ("c",)])
    opened.execute("CREATE TABLE chunk (id INTEGER PRIMARY KEY, body BLOB)")
    opened.execute("INSERT INTO chunk (body) VALUES (zeroblob(100))")
    return opened


def _blocks(db: Database) -> list[Block]:
    return [loan[3] for loan in db._readers.loans() if loan[3] is not None]


def _make_old(db: Database) -> None:
    """Have all blocks of this moment be too old."""
    for block in _blocks(db):
        block.ends_at = 0.0
    db._readers.at_block(0.0)


def _grow_old(db: Database) -> None:
    """Return once all blocks of this moment have been ended for their age."""
    blocks = _blocks(db)
    assert blocks
    _make_old(db)
    wait_until(lambda: all(block.over for block in blocks), "the end of the block")


def _starts_over(path: Path) -> bool:
    """Whether another process finds that nobody keeps the WAL from starting over."""
    with Stranger(path) as other:
        ((busy, _pages, _done),) = other.run("PRAGMA wal_checkpoint(RESTART)")
        return busy == 0


# --- a statement that runs


def _in_stream(db: Database) -> None:
    with db.stream(ENDLESS) as rows:
        next(rows)


def _in_block(db: Database) -> None:
    with db.read_transaction() as tx:
        tx.query_one(ENDLESS)


READS: dict[str, Callable[[Database], object]] = {
    "query": lambda db: db.query(ENDLESS),
    "query_one": lambda db: db.query_one(ENDLESS),
    "query_value": lambda db: db.query_value(ENDLESS, into=int),
    "with a deadline": lambda db: db.query(ENDLESS, timeout_s=LIMIT_S),
    "read": lambda db: db.read(lambda tx: tx.query(ENDLESS)),
    "block": _in_block,
    "stream": _in_stream,
}


@pytest.mark.parametrize("name", READS)
def test_a_statement_that_runs_when_the_read_is_too_old_is_stopped(soon: Database, name: str) -> None:
    """By any road, again and again; the reader is as good as before."""
    for _ in range(2):
        with pytest.raises(StatementTimeout, match=TOO_OLD) as caught:
            READS[name](soon)
        assert (caught.value.ran, caught.value.code) == ("rolled_back", "SQLITE_INTERRUPT")
        assert caught.value.sql == ENDLESS
        assert names(soon) == ["a", "b", "c"]
    assert soon.stats().readers_lent == 0
    assert _starts_over(soon.path)


@pytest.mark.parametrize("name", READS)
def test_the_limit_of_a_statement_is_told_apart(tmp_path: Path, name: str) -> None:
    """Whichever comes first is named."""
    config = Config(statement_timeout_s=0.05, reader_age_max_s=0.05 if name == "query" else 60.0)
    with _open(tmp_path, config) as db, pytest.raises(StatementTimeout) as caught:
        READS[name](db)
    assert "reader_age_max_s" not in str(caught.value)


def test_a_block_that_goes_on_after_its_statement_was_stopped(soon: Database) -> None:
    """Its snapshot is gone before long, though it swallows the error and never asks again."""
    with soon.read_transaction() as tx:
        (block,) = _blocks(soon)
        with suppress(StatementTimeout):
            tx.query(ENDLESS)
        wait_until(lambda: bool(block.over), "the end of the block")
        assert _starts_over(soon.path)
        with pytest.raises(StatementTimeout, match=TOO_OLD):
            tx.query(ROWS)


# --- a block that idles

NEXT: dict[str, Callable[[ReadTransaction], object]] = {
    "query": lambda tx: tx.query(ROWS),
    "query into": lambda tx: tx.query(ROWS, into=str),
    "query_one": lambda tx: tx.query_one(ROWS),
    "query_value": lambda tx: tx.query_value("SELECT 1", into=int),
    "stream": lambda tx: tx.stream(ROWS).__enter__(),
    "open_blob": lambda tx: tx.open_blob("chunk", "body", 1),
}


@pytest.mark.parametrize("name", NEXT)
def test_a_block_that_idles_is_ended(db: Database, name: str) -> None:
    """The WAL may start over at once; the next call says why, again and again; leaving the block says nothing more."""
    with db.read_transaction() as tx:
        assert tx.query(ROWS, into=str) == ["a", "b", "c"]
        db.execute("INSERT INTO item (name) VALUES ('d')")
        assert not _starts_over(db.path)
        _grow_old(db)
        assert _starts_over(db.path)
        for _ in range(2):
            with pytest.raises(StatementTimeout, match=TOO_OLD) as caught:
                NEXT[name](tx)
            assert caught.value.ran == "rolled_back"
        assert db.stats().readers_lent == 1  # up to the end of the block
    with pytest.raises(TransactionEnded, match="is over"):
        tx.query(ROWS)
    assert (db.stats().readers_lent, db.stats().readers_idle) == (0, 1)
    assert names(db) == ["a", "b", "c", "d"]


def test_a_block_that_asks_nothing_more_ends_well(db: Database) -> None:
    """It has read what it has read: a snapshot has no commit."""

    def work(tx: ReadTransaction) -> list[str]:
        found = tx.query(ROWS, into=str)
        _grow_old(db)
        return found

    assert db.read(work) == ["a", "b", "c"]
    with db.read_transaction():
        _grow_old(db)
    with db.stream(ROWS, into=str) as rows:
        assert next(rows) == "a"
        _grow_old(db)
    with (
        db.read_transaction() as tx,
        tx.stream(ROWS, into=str) as rows,
        tx.open_blob("chunk", "body", 1) as blob,
    ):
        assert (next(rows), blob.read(3)) == ("a", b"\0\0\0")
        _grow_old(db)
    assert (db.stats().readers_lent, db.stats().readers_idle) == (0, 1)


def test_what_is_open_in_a_block_ends_with_it(db: Database) -> None:
    """The next row of a stream, the next piece of a value."""
    with db.read_transaction() as tx, tx.stream(ROWS, into=str) as rows:
        blob = tx.open_blob("chunk", "body", 1)
        assert (next(rows), blob.read(3)) == ("a", b"\0\0\0")
        db.execute("INSERT INTO item (name) VALUES ('d')")
        _grow_old(db)
        assert _starts_over(db.path)
        for call in (lambda: next(rows), lambda: blob.read(3)):
            with pytest.raises(StatementTimeout, match=TOO_OLD):
                call()
        blob.close()
    with pytest.raises(StatementTimeout, match=TOO_OLD):
        next(rows)
    with pytest.raises(TransactionEnded):
        tx.query(ROWS)


def test_a_stream_that_idles_is_ended(db: Database) -> None:
    """As a block is."""
    with db.stream(ROWS, into=str) as rows:
        assert next(rows) == "a"
        db.execute("INSERT INTO item (name) VALUES ('d')")
        assert not _starts_over(db.path)
        _grow_old(db)
        assert _starts_over(db.path)
        with pytest.raises(StatementTimeout, match=TOO_OLD):
            list(rows)
    with pytest.raises(StatementTimeout, match=TOO_OLD):
        next(rows)


def test_an_error_of_the_block_is_raised_as_it_is(db: Database) -> None:
    """Its end for age changes nothing about that."""
    with pytest.raises(LookupError), db.read_transaction():
        _grow_old(db)
        raise LookupError
    assert db.stats().readers_lent == 0


def test_the_clock_ends_it(soon: Database, caplog: pytest.LogCaptureFixture) -> None:
    """By `Config.reader_age_max_s` alone; the log names who it was and what it read."""
    with soon.read_transaction() as tx:
        tx.query(ROWS)
        wait_until(lambda: bool(caplog.records), "the log")
        with pytest.raises(StatementTimeout, match=re.escape("(0.05 s)")):
            tx.query(ROWS)
    assert f"open for too long and is ended: MainThread: {ROWS}" in caplog.text
    assert len(caplog.records) == 1


def test_a_thread_that_never_pauses_is_ended_too(soon: Database) -> None:
    """Between two short statements, or two rows: it cannot keep the watch from coming in."""

    def read_on(tx: ReadTransaction) -> None:
        while True:
            tx.query_one(ROWS)

    with pytest.raises(StatementTimeout, match=TOO_OLD):
        soon.read(read_on)
    endless = ENDLESS.replace("count(*)", "i")
    with (
        pytest.raises(StatementTimeout, match=TOO_OLD),
        soon.stream(onewriter.SQL(endless), into=int) as rows,
    ):
        for _ in rows:
            pass
    assert soon.stats().readers_lent == 0


def test_a_block_inside_a_function_of_sql_is_ended_after_it(tmp_path: Path) -> None:
    """The watch does not wait for it, and ends the others meanwhile."""
    pause = Pause()
    with _open(tmp_path, Config(on_connect=pause.on_connect)) as db:

        def reads() -> int:
            with db.read_transaction() as tx:
                value = tx.query_value("SELECT pause()", into=int)  # it is complete, and so is told
                with pytest.raises(StatementTimeout, match=TOO_OLD):
                    tx.query(ROWS)
                return value

        call = Call(reads)
        pause.steps.wait_for("inside")
        with db.read_transaction() as tx:
            (mine,) = (each for each in _blocks(db) if each.doing == "a read transaction")
            _make_old(db)
            wait_until(lambda: bool(mine.over), "the end of the other block")
            with pytest.raises(StatementTimeout):
                tx.query(ROWS)
            pause.steps.mark("go")
            assert call.result() == 1


def test_a_call_inside_a_call_leaves_the_gate_to_the_outer_one(tmp_path: Path) -> None:
    """A function of SQL that streams from the very transaction, and whose stream fails; in a write turn too."""
    outer: list[ReadTransaction] = []

    def inner(*_: object) -> int:
        with outer[-1].stream("SELECT 1", into=int) as rows:
            assert next(rows) == 1
        with outer[-1].stream("SELECT nothing"):
            raise AssertionError

    with _open(tmp_path, Config(on_connect=with_function("inner", inner))) as db:
        with db.read_transaction() as tx:
            outer.append(tx)
            with pytest.raises(onewriter.ProgrammingError, match="nothing"):
                tx.query("SELECT inner()")
            assert tx.query("SELECT 1", into=int) == [1]
            _grow_old(db)
        assert db.stats().readers_lent == 0
        with db.transaction() as writing:
            outer.append(writing)
            with pytest.raises(onewriter.ProgrammingError, match="nothing"):
                writing.query("SELECT inner()")
            writing.execute("INSERT INTO item (name) VALUES ('d')")
        assert names(db) == ["a", "b", "c", "d"]


def test_an_abandoned_block_of_a_dead_thread_keeps_nothing(tmp_path: Path) -> None:
    """Something still refers to it, so nobody leaves it: its snapshot is ended, and its reader taken back."""
    with _open(tmp_path, Config(readers_max=1, read_timeout_s=LIMIT_S)) as db:
        kept = ExitStack()
        tx = Call(lambda: kept.enter_context(db.read_transaction())).result()
        db.execute("INSERT INTO item (name) VALUES ('d')")
        assert not _starts_over(db.path)
        _grow_old(db)
        assert _starts_over(db.path)
        assert names(db) == ["a", "b", "c", "d"]
        with pytest.raises(onewriter.MisuseError):
            tx.query(ROWS)
        kept.close()
        assert names(db) == ["a", "b", "c", "d"]


# --- what is exempt


def test_what_reads_the_whole_file_may_take_its_time(tmp_path: Path) -> None:
    """Snapshots, checks, migrations and vacuum, where no read may keep a snapshot at all."""
    with _open(tmp_path, Config(reader_age_max_s=0.0)) as db:
        db.execute_many("INSERT INTO item (name) VALUES (?)", [(f"n{n:0100}",) for n in range(5_000)])
        with pytest.raises(StatementTimeout):
            db.query("SELECT count(*) FROM item AS a JOIN item AS b ON a.name < b.name || ''")
        assert db.check() == []
        db.snapshot(tmp_path / "copy.db")
        db.vacuum()
        backfill = onewriter.Migration(2, "backfill", "UPDATE item SET size = length(name)")
        db.migrate([backfill])
    with open_items(tmp_path) as db:
        assert db.query_value("SELECT sum(size > 100) FROM item", into=int) == 5_000


# --- who looks


def _threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("onewriter-")]


@pytest.mark.parametrize("read_only", [False, True])
def test_one_thread_looks_from_the_first_block_on(tmp_path: Path, read_only: bool) -> None:
    """Queries start none; `close` ends it; a database that cannot write has one too."""
    _open(tmp_path, PATIENT).close()
    config = Config(reader_age_max_s=0.05)
    with onewriter.open(tmp_path / "items.db", config=config, read_only=read_only) as db:
        db.query(ROWS)
        db.schema_version()
        assert _threads() == []
        for _ in range(3):
            with db.read_transaction() as tx:
                (block,) = _blocks(db)
                wait_until(lambda block=block: bool(block.over), "the end of the block")  # type: ignore[misc]
                with pytest.raises(StatementTimeout, match=TOO_OLD):
                    tx.query(ROWS)
            assert _threads() == ["onewriter-watch-items.db"]
    assert _threads() == []


def test_a_block_is_not_refused_where_no_thread_is_left(
    soon: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the end of the program: it reads, and only a statement that runs is stopped."""

    def refuses(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(helpers, "_thread", SimpleNamespace(start_new_thread=refuses))
    with soon.read_transaction() as tx:
        assert tx.query(ROWS, into=str) == ["a", "b", "c"]
        with pytest.raises(StatementTimeout, match=TOO_OLD):
            tx.query(ENDLESS)


def test_blocks_that_come_and_go_wake_nobody(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch sleeps until the first of them would be too old."""
    watch = db._core.watch
    with db.read_transaction():
        pass
    wait_until(lambda: watch._sleeps_until < float("inf"), "the sleep of the watch")
    looks: list[float] = []
    monkeypatch.setattr(watch._helper, "nudge", lambda: looks.append(time.monotonic()))
    for _ in range(100):
        with db.read_transaction() as tx:
            tx.query(ROWS)
    assert looks == []


def test_close_waits_for_a_block_and_the_watch_goes_on(tmp_path: Path) -> None:
    """A block that outlives `close` is ended by its age all the same; who leaves it last closes the rest."""
    db = _open(tmp_path, Config())
    steps = Steps()

    def holds() -> None:
        with db.read_transaction() as tx:
            tx.query(ROWS)
            steps.mark("holds")
            steps.wait_for("go")
            with pytest.raises(StatementTimeout, match=TOO_OLD):
                tx.query(ROWS)

    call = Call(holds)
    steps.wait_for("holds")
    db.close(timeout_s=0.01)
    assert presence.is_open(db.path)
    _grow_old(db)
    assert _starts_over(db.path)
    steps.mark("go")
    call.result()
    wait_until(lambda: not _threads(), "the end of all threads")
    assert not presence.is_open(db.path)
    with open_items(tmp_path) as again:
        assert names(again) == ["a", "b", "c"]


def test_closing_in_time_leaves_no_thread(tmp_path: Path) -> None:
    """The block is left while `close` waits for it, after its age or before."""
    for old in (False, True):
        db = open_items(tmp_path)
        steps = Steps()

        def holds(db: Database = db, steps: Steps = steps) -> None:
            with db.read_transaction():
                steps.mark("holds")
                steps.wait_for("go")

        call = Call(holds)
        steps.wait_for("holds")
        closing = Call(partial(db.close, LIMIT_S))
        wait_until(lambda db=db: db._readers.watched, "the close")  # type: ignore[misc]
        if old:
            _grow_old(db)
        steps.mark("go")
        closing.result()
        assert _threads() == []
        assert not presence.is_open(db.path)
        call.result()


@contextmanager
def _inside_gate(block: Block) -> Generator[None]:
    """Have another thread be inside *block*'s gate."""
    steps = Steps()

    def holds() -> None:
        with block.gate:
            steps.mark("inside")
            steps.wait_for("go")

    call = Call(holds)
    steps.wait_for("inside")
    yield
    steps.mark("go")
    call.result()


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "as it is ended"])
def test_a_child_that_is_forked_with_a_block_open(db: Database, inside: bool) -> None:
    """It is told whose the block is, can leave it, and never waits for a thread that it does not have."""

    def child() -> object:
        told: list[str] = []
        for call in (lambda: tx.query(ROWS), lambda: next(rows), lambda: blob.read(3)):
            try:
                call()
            except ForkedDatabase as error:
                told.append(type(error).__name__)
        blob.close()
        stack.close()
        return told

    with ExitStack() as stack:
        tx = stack.enter_context(db.read_transaction())
        rows = stack.enter_context(tx.stream(ROWS, into=str))
        blob = tx.open_blob("chunk", "body", 1)
        assert next(rows) == "a"
        with _inside_gate(_blocks(db)[0]) if inside else ExitStack():
            assert forked(child) == ["ForkedDatabase"] * 3
        assert (next(rows), blob.read(3)) == ("b", b"\0\0\0")
        _grow_old(db)
        with pytest.raises(StatementTimeout, match=TOO_OLD):
            next(rows)
    assert names(db) == ["a", "b", "c"]


# --- interrupts


def _old_block(db: Database) -> None:
    with db.read_transaction() as tx, tx.stream(ROWS) as rows:
        next(rows)
        for block in _blocks(db):
            block.is_due = True  # what the watch says that finds a thread in the middle of a call
        with suppress(StatementTimeout):
            next(rows)


def _ended_block(db: Database) -> None:
    with db.read_transaction() as tx:
        tx.query(ROWS)
        for block in _blocks(db):
            block.ends_at = 0.0
            Call(block.expire).result()
        with suppress(StatementTimeout):
            tx.query(ROWS)


def _busy_block(db: Database) -> None:
    """One that an interrupt may leave at any place, while the watch comes in at any."""
    with db.read_transaction() as tx:
        _make_old(db)
        with suppress(StatementTimeout):
            for _ in range(3):
                tx.query(ROWS)


@pytest.mark.parametrize("error", [Strike, StrikeError])
@pytest.mark.parametrize("call", [_old_block, _ended_block, _busy_block])
def test_an_old_read_may_be_interrupted_anywhere(
    tmp_path: Path, call: Callable[[Database], None], error: type[BaseException]
) -> None:
    """The reader comes back clean, and nothing keeps the WAL."""
    with _open(tmp_path, Config(readers_max=1, read_timeout_s=LIMIT_S)) as db:
        number, place = 0, "none"
        while place:
            number += 1
            striker = Striker(number, error)
            raised = striker.run(partial(call, db))
            assert raised is None or isinstance(raised, error), (striker.place, repr(raised))
            del raised
            place = striker.place
            assert db.stats().readers_lent == 0, place
            assert Call(partial(names, db)).result() == ["a", "b", "c"], place
            assert db.stats().readers_idle == 1, place
        assert number > 100
        assert _starts_over(db.path)


def test_an_interrupted_call_leaves_the_gate_open(db: Database) -> None:
    """Whoever catches the interrupt and idles on is ended like all others."""

    def stream(tx: ReadTransaction) -> None:
        with tx.stream(ROWS) as rows:
            next(rows)

    def read_blob(tx: ReadTransaction) -> None:
        with tx.open_blob("chunk", "body", 1) as blob:
            blob.read(3)

    calls: tuple[Callable[[ReadTransaction], object], ...] = (lambda tx: tx.query(ROWS), stream, read_blob)
    for call in calls:
        number, place = 0, "none"
        while place:
            number += 1
            with db.read_transaction() as tx:
                striker = Striker(number)
                raised = striker.run(partial(call, tx))
                assert raised is None or isinstance(raised, Strike), (striker.place, repr(raised))
                del raised
                place = striker.place
                _grow_old(db)
                with pytest.raises(StatementTimeout, match=TOO_OLD):
                    tx.query(ROWS)
            assert db.stats().readers_lent == 0, place
        assert number > 50
    assert _starts_over(db.path)


# --- who is named


def test_the_oldest_read_is_named_with_its_sql(tmp_path: Path) -> None:
    """A query's, a stream's; of a block the statement that it ran last, or what it was opened for."""
    pause = Pause()
    with _open(tmp_path, Config(on_connect=pause.on_connect)) as db:
        pool = db._readers
        assert (pool.oldest(), db.stats().oldest_reader, db.stats().oldest_reader_s) == (None, None, 0.0)
        before = time.monotonic()
        call = Call(lambda: db.query("SELECT\n  pause()"), "worker-3")
        pause.steps.wait_for("inside")
        with db.read_transaction():
            assert db.stats().oldest_reader == "worker-3: SELECT pause()"
            found = pool.oldest()
            assert found is not None
            assert before <= found[1] <= time.monotonic()
            pause.steps.mark("go")
            call.result()
            assert db.stats().oldest_reader == "MainThread: a read transaction"
        with db.read_transaction() as tx:
            for sql, ask in (
                ("SELECT 1", lambda: tx.query("SELECT 1")),
                ("SELECT 2", lambda: tx.query_one("SELECT 2")),
                ("SELECT 3", lambda: tx.query("SELECT 3", into=int)),
                ("SELECT 4", lambda: tx.stream("SELECT 4").__enter__()),
                ("open_blob('chunk', 'body')", lambda: tx.open_blob("chunk", "body", 1)),
            ):
                ask()
                assert db.stats().oldest_reader == f"MainThread: {sql}"
            assert 0 < db.stats().oldest_reader_s < LIMIT_S
        assert (
            db.read(lambda tx: (tx.query("SELECT 5"), db.stats().oldest_reader))[1] == "MainThread: SELECT 5"
        )
        with db.stream("SELECT 6"):
            _is_named(db, "MainThread: SELECT 6")
        with db.read_transaction() as tx:
            tx.query(onewriter.SQL(f"SELECT '{'x' * 200}'"))
            _is_named(db, f"MainThread: SELECT '{'x' * 72}...")
        assert pool.oldest() is None


def _is_named(db: Database, text: str) -> None:
    assert db.stats().oldest_reader == text


def test_a_read_that_was_ended_is_named_no_more(db: Database) -> None:
    """It keeps nothing; the next oldest is."""
    with db.read_transaction() as old:
        old.query("SELECT 'old'")
        _grow_old(db)
        assert db._readers.oldest() is None
        with db.read_transaction() as young:
            young.query("SELECT 'young'")
            _is_named(db, "MainThread: SELECT 'young'")
        assert db.stats().oldest_reader is None
        assert db.stats().readers_lent == 1


def test_who_waits_in_vain_is_told_what_is_read(tmp_path: Path) -> None:
    """Of each reader."""
    with _open(tmp_path, Config(readers_max=1)) as db, db.read_transaction() as tx:
        tx.query("SELECT 'mine'")
        error = Call(lambda: db.query("SELECT 1", timeout_s=0.01)).error()
    assert isinstance(error, ReadTimeout)
    assert "all 1 are held: MainThread: SELECT 'mine', for 0." in str(error)
