"""The main thread is interrupted at every bytecode of the library: the line goes on, nobody's word is broken.

For each place: a call of the main thread is struck there, while others wait before and behind it. Afterwards every
other request has its outcome, what was acknowledged is in the file once, the struck request is there whole or not at
all, and the main thread and any other can write at once.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import pytest

import onewriter
from onewriter import Config, Database, IntegrityError, Transaction, presence
from tests.support.databases import PATIENT, SCHEMA, open_items
from tests.support.steps import LIMIT_S, Call, Steps, wait_until
from tests.support.strikes import Strike, StrikeError, Striker

INSERT = "INSERT INTO item (name) VALUES (?)"
BYTECODES_MAX = 20_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database whose batches close only when the line is empty; its commits are not synced, for there are many."""
    with onewriter.open(
        tmp_path / "items.db", config=PATIENT, migrations=SCHEMA, durability="normal"
    ) as opened:
        yield opened


class Others:
    """Requests of other threads: one that holds the role before the main thread comes, some that come behind it."""

    def __init__(self, db: Database, number: int, *, behind: bool = True) -> None:
        """Take the role; those behind come once the main thread is in line."""
        self._db = db
        self._steps = Steps()
        self._names = [f"{kind}-{number}" for kind in ("holder", "statement", "function", "last")]
        self._behind = behind
        self._acknowledged: list[str] = []
        self._holder = Call(lambda: self._write(self._names[0], self._hold), "holder")
        self._steps.wait_for("holds")
        self._queue = Call(self._come, "queue")

    def let_go(self) -> None:
        """Let the holder end, though the main thread has not come."""
        self._steps.mark("go")

    def end(self) -> list[str]:
        """Wait until each has its outcome, and return the names that were acknowledged."""
        self.let_go()
        self._queue.result()
        self._holder.result()
        return self._acknowledged

    def _come(self) -> None:
        wait_until(
            lambda: self._db.stats().pending == 1 or self._steps.is_marked("go"), "the main thread in line"
        )
        calls: list[Call[None]] = []
        if self._behind:
            _, statement, function, last = self._names
            calls = [
                Call(lambda: self._execute(statement), statement),
                Call(lambda: self._write(function, lambda _tx: None), function),
                Call(lambda: self._execute(last), last),
            ]
            wait_until(
                lambda: self._db.stats().pending >= len(calls) or self._steps.is_marked("go"),
                "the others in line",
            )
        self._steps.mark("go")
        for call in calls:
            call.result()

    def _hold(self, _tx: Transaction) -> None:
        self._steps.mark("holds")
        self._steps.wait_for("go")

    def _write(self, name: str, then: Callable[[Transaction], None]) -> None:
        def work(tx: Transaction) -> None:
            tx.execute(INSERT, (name,))
            then(tx)

        self._db.write(work)
        self._acknowledged.append(name)

    def _execute(self, name: str) -> None:
        self._db.execute(INSERT, (name,))
        self._acknowledged.append(name)


def _names(db: Database) -> list[str]:
    return db.query("SELECT name FROM item ORDER BY name", into=str)


def _check(db: Database, acknowledged: list[str], mine: list[str], place: str) -> None:
    """Judge the file, and that everybody can write; then empty it."""
    Call(lambda: db.execute(INSERT, ("after, another thread",))).result()
    db.execute(INSERT, ("after, the main thread",))
    there = set(_names(db))
    expected = {*acknowledged, "after, another thread", "after, the main thread"}
    assert expected <= there, place
    assert there - expected <= set(mine), place
    parts = set(mine) & there
    assert parts in (set(), set(mine)), f"half-done: {place}"
    assert db.stats().pending == 0, place
    assert not db._presence.is_writing(), place
    db.execute("DELETE FROM item")


def _strike_everywhere(
    db: Database,
    call: Callable[[], object],
    mine: list[str],
    *,
    others: bool,
    error: type[BaseException] = Strike,
    own: tuple[type[BaseException], ...] = (),
    places: range = range(1, BYTECODES_MAX),
) -> int:
    """Strike *call* at each of *places* in turn until it ends unstruck; return how many bytecodes there are."""
    for number in places:
        company = Others(db, number) if others else None
        striker = Striker(number, error)
        raised = striker.run(call)
        assert raised is None or isinstance(raised, (error, *own)), (striker.place, repr(raised))
        del raised  # and with it the frames: a block that was struck as it was entered ends with its object
        acknowledged = company.end() if company else []
        if company:
            assert len(acknowledged) == 4, striker.place
        if not striker.place:
            _check(db, acknowledged, mine, "not struck")
            return number
        _check(db, acknowledged, mine, striker.place)
    raise AssertionError("the call never ended")


def _mine(tx: Transaction) -> None:
    tx.execute(INSERT, ("mine",))
    with tx.savepoint():
        tx.execute(INSERT, ("mine too",))
    tx.after_commit(lambda: None)


def _fails(tx: Transaction) -> None:
    tx.execute(INSERT, ("undone",))
    raise LookupError


def _loses(tx: Transaction) -> None:
    tx.execute(INSERT, ("undone",))
    tx.execute("INSERT OR ROLLBACK INTO item (name) VALUES ('undone')")


def _block(db: Database) -> None:
    with db.transaction() as tx:
        _mine(tx)


CALLS: dict[str, tuple[Callable[[Database], object], list[str], tuple[type[BaseException], ...]]] = {
    "execute": (lambda db: db.execute(INSERT, ("mine",)), ["mine"], ()),
    "execute_many": (lambda db: db.execute_many(INSERT, [("a",), ("b",)]), ["a", "b"], ()),
    "write": (lambda db: db.write(_mine), ["mine", "mine too"], ()),
    "alone": (lambda db: db.write(_mine, alone=True), ["mine", "mine too"], ()),
    "raises": (lambda db: db.write(_fails), [], (LookupError,)),
    "loses": (lambda db: db.write(_loses), [], (IntegrityError,)),
    "block": (_block, ["mine", "mine too"], ()),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_lone_write_may_be_interrupted_anywhere(db: Database, name: str) -> None:
    """Each kind of call at each bytecode, with nobody else in line."""
    call, mine, own = CALLS[name]
    assert _strike_everywhere(db, lambda: call(db), mine, others=False, own=own) > 100
    assert db.check() == []


@pytest.mark.parametrize("name", ["execute", "execute_many", "write", "block"])
def test_a_write_in_line_may_be_interrupted_anywhere(db: Database, name: str, seed: int) -> None:
    """Each kind of call with others before it and behind it in the same commit: every third bytecode, as below."""
    call, mine, own = CALLS[name]
    places = range(1 + seed % 3, BYTECODES_MAX, 3)
    assert _strike_everywhere(db, lambda: call(db), mine, others=True, own=own, places=places) > 100
    assert db.check() == []


@pytest.mark.parametrize("name", ["alone", "raises", "loses"])
def test_a_failing_write_in_line_may_be_interrupted(db: Database, name: str, seed: int) -> None:
    """Calls that share most of their road with those above: every fifth bytecode, others each run."""
    call, mine, own = CALLS[name]
    places = range(1 + seed % 5, BYTECODES_MAX, 5)
    assert _strike_everywhere(db, lambda: call(db), mine, others=True, own=own, places=places) > 100


@pytest.mark.parametrize("name", ["write", "block"])
def test_a_signal_handler_may_raise_an_ordinary_exception(db: Database, name: str, seed: int) -> None:
    """It is neither taken for SQLite's error nor for the function's: what was committed is not run again."""
    call, mine, own = CALLS[name]
    places = range(1 + seed % 5, BYTECODES_MAX, 5)
    assert (
        _strike_everywhere(db, lambda: call(db), mine, others=True, own=own, error=StrikeError, places=places)
        > 100
    )


def test_submitting_and_waiting_may_be_interrupted_anywhere(db: Database) -> None:
    """The request is there whole or not at all, and the background thread serves the next."""

    def call() -> None:
        db.submit(_mine).result(LIMIT_S)

    assert _strike_everywhere(db, call, ["mine", "mine too"], others=False) > 100
    assert db.submit(lambda _tx: 1).result(LIMIT_S) == 1


def test_cancelling_may_be_interrupted_anywhere(db: Database) -> None:
    """Whatever became of the cancellation, the others have their outcome and the line goes on."""
    futures: list[Future[None]] = []

    def call() -> None:
        future = db.submit(_mine)
        futures.append(future)
        future.add_done_callback(lambda _future: None)
        future.cancel()

    assert _strike_everywhere(db, call, ["mine", "mine too"], others=True) > 100
    assert all(future.done() for future in futures)


def test_closing_may_be_interrupted_anywhere(tmp_path: Path, seed: int) -> None:
    """A second call closes what the first left open: nothing stays behind, and nothing hangs. Every third bytecode."""
    number = seed % 3
    while number < BYTECODES_MAX:
        number += 3
        db = open_items(tmp_path)
        db.submit(lambda _tx: None).result(LIMIT_S)
        striker = Striker(number)
        raised = striker.run(db.close)
        assert raised is None or isinstance(raised, Strike), (striker.place, repr(raised))
        db.close(LIMIT_S)
        assert not presence.is_open(db.path), striker.place
        if not striker.place:
            break
    assert number > 100


def test_the_write_that_has_to_close_may_be_interrupted_anywhere(tmp_path: Path, seed: int) -> None:
    """Another thread closes meanwhile, and leaves the end of it to whoever writes; every third bytecode, as above.

    the main thread             another
    writes
                                closes: waits for it
    is struck
                                has closed
    """
    number = seed % 3
    while number < BYTECODES_MAX:
        number += 3
        db = open_items(tmp_path)
        company = _Closer(db)
        striker = Striker(number)
        raised = striker.run(company.write)
        assert raised is None or isinstance(raised, Strike), (striker.place, repr(raised))
        del raised
        company.end()
        assert not presence.is_open(db.path), striker.place
        if not striker.place:
            break
    assert number > 100


class _Closer:
    """A write in whose middle another thread begins to close."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._closing: list[Call[None]] = []

    def write(self) -> None:
        """Write, and have the line closed behind it."""
        self._db.write(self._work)

    def end(self) -> None:
        """Wait until all is closed."""
        for call in self._closing:
            call.result()
        self._db.close(LIMIT_S)

    def _work(self, tx: Transaction) -> None:
        tx.execute("UPDATE item SET name = name")
        writer = self._db._core.writer
        assert writer is not None
        self._closing.append(Call(lambda: self._db.close(LIMIT_S)))
        wait_until(lambda: writer.line._closed, "the line closed")


def test_a_storm_of_real_signals(tmp_path: Path, seed: int) -> None:
    """Several a call, wherever they come: the main thread and four others write on, and the oracle finds all right."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.storm", str(tmp_path), str(seed)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=LIMIT_S * 3,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sound, struck "), done.stdout


def _read_stream(db: Database) -> None:
    with db.stream("SELECT 1 UNION ALL SELECT 2") as rows:
        next(rows)


def _read_wrong(db: Database) -> None:
    with suppress(onewriter.ProgrammingError):
        db.query("SELECT nothing")


def _read_block(db: Database) -> None:
    with db.read_transaction() as tx:
        tx.query("SELECT 1")


@pytest.mark.parametrize("waits", [False, True], ids=["free", "waiting"])
def test_a_read_may_be_interrupted_anywhere(tmp_path: Path, waits: bool, seed: int) -> None:
    """The reader comes back clean, or its place is free: no read after it waits, and the WAL is not pinned."""
    config = Config(readers_max=1, read_timeout_s=LIMIT_S)
    with onewriter.open(tmp_path / "items.db", config=config, migrations=SCHEMA, durability="normal") as db:
        calls: tuple[Callable[[], object], ...] = (
            lambda: db.query("SELECT 1"),
            lambda: db.query_one("SELECT 1"),
            lambda: _read_block(db),
            lambda: db.read(lambda tx: tx),
            lambda: _read_stream(db),
            lambda: _read_wrong(db),
        )
        for call in calls:
            step = 3 if waits else 1  # another third each run, where each costs a thread
            number, place = seed % step, "none"
            while place:
                number += step
                other = Reader(db) if waits else None
                striker = Striker(number)
                raised = striker.run(call)
                assert raised is None or isinstance(raised, Strike), (striker.place, repr(raised))
                del raised
                place = striker.place
                if other:
                    other.end()
                assert db.stats().readers_lent == 0, place
                assert db.query("SELECT count(*) FROM item") == [(0,)], place
                assert db.stats().readers_idle == 1, place
            assert number > 100


class Reader:
    """A read of another thread that has the only reader until the main thread waits for it, or has gone."""

    def __init__(self, db: Database) -> None:
        """Take the reader."""
        self._db = db
        self._steps = Steps()
        self._call = Call(lambda: db.read(self._hold), "reader")
        self._steps.wait_for("holds")

    def end(self) -> None:
        """Have it given back."""
        self._steps.mark("go")
        self._call.result()

    def _hold(self, _tx: onewriter.ReadTransaction) -> None:
        self._steps.mark("holds")
        wait_until(
            lambda: bool(self._db._readers._waiting) or self._steps.is_marked("go"),
            "the main thread, or its end",
        )
