"""Closing: what was accepted is done or refused, nothing is left behind, and the end of the program never hangs."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

import onewriter
from onewriter import Database, DatabaseClosed, NestedRead, NestedWrite, Transaction, presence
from tests.support.children import child
from tests.support.databases import PATIENT, Held, names, open_items
from tests.support.steps import LIMIT_S, Call, Steps, calls, wait_until

INSERT = "INSERT INTO item (name) VALUES (?)"


def _descriptors(path: Path) -> list[str]:
    found: list[str] = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(each)  # noqa: PTH115 - a plain text
        except OSError:
            continue
        if target.startswith(str(path)):
            found.append(target)
    return found


def _threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("onewriter-")]


def _busy(db: Database) -> None:
    """Have every part of *db* at work: readers, both background threads, the watch."""
    future: Future[None] = db.submit(lambda tx: tx.after_commit(lambda: None))
    future.add_done_callback(lambda _future: None)
    future.result(LIMIT_S)
    with db.transaction() as tx:
        tx.execute("INSERT OR IGNORE INTO item (name) VALUES ('a')")
    assert names(db)[:1] == ["a"]


# --- forgotten


def _forget(databases: list[Database]) -> None:
    databases.clear()
    gc.collect()


def test_a_forgotten_database_warns_and_is_closed(tmp_path: Path) -> None:
    """Once nobody refers to it: its descriptors and threads are gone when the collector has done."""
    db = open_items(tmp_path)
    _busy(db)
    assert _descriptors(tmp_path)
    gone = weakref.ref(db)
    open_ones = [db]
    del db
    with pytest.warns(ResourceWarning, match=r"items\.db open> was not closed"):
        _forget(open_ones)
    assert gone() is None
    assert not _descriptors(tmp_path)
    assert not presence.is_open(tmp_path / "items.db")
    wait_until(lambda: not _threads(), "the end of its threads")
    with open_items(tmp_path) as again:
        assert names(again) == ["a"]


def test_what_a_forgotten_database_had_accepted_is_done(tmp_path: Path) -> None:
    """Futures outlive it."""
    db = open_items(tmp_path)
    futures = [db.submit(partial(_insert, name=f"n{number}")) for number in range(50)]
    open_ones = [db]
    del db
    with pytest.warns(ResourceWarning):
        _forget(open_ones)
    assert [future.result(LIMIT_S) for future in futures] == [None] * 50
    with open_items(tmp_path) as again:
        assert len(names(again)) == 50


def test_a_block_keeps_its_database(tmp_path: Path) -> None:
    """A database that only an open block refers to is not forgotten."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with open_items(tmp_path).transaction() as tx:
            gc.collect()
            assert not caught
            tx.execute(INSERT, ("a",))
        gc.collect()
    with open_items(tmp_path) as again:
        assert names(again) == ["a"]


def test_a_closed_database_is_dropped_in_silence(tmp_path: Path) -> None:
    """No warning, for one that was closed; the suite makes an error of any."""
    db = open_items(tmp_path)
    db.close()
    del db
    gc.collect()


# --- close() itself


def test_closing_leaves_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    """When `close` returns, whatever was at work."""
    for _ in range(5):
        db = open_items(tmp_path)
        _busy(db)
        db.close()
        assert not _descriptors(tmp_path)
        assert not _threads()
        assert not presence.is_open(db.path)


def test_closing_from_many_threads_while_others_write(tmp_path: Path, seed: int) -> None:
    """Each write is done or refused; each close returns; an acknowledged write is there, a refused one is not."""
    db = open_items(tmp_path)
    done: list[str] = []
    refused: list[str] = []

    def write(number: int) -> None:
        for count in range(1_000):
            name = f"{seed}-{number}-{count}"
            try:
                if count % 2:
                    db.execute(INSERT, (name,))
                else:
                    db.submit(partial(_insert, name=name)).result(LIMIT_S)
            except DatabaseClosed as error:
                refused.append(f"{name}: {error.ran}")
                return
            done.append(name)

    writers = calls(write, 6)
    wait_until(lambda: len(done) > 50, "some writes")
    closers = calls(lambda _number: db.close(), 3)
    for call in [*writers, *closers]:
        call.result()
    assert [each.rpartition(": ")[2] for each in refused] == ["no"] * 6
    with open_items(tmp_path) as again:
        assert sorted(names(again)) == sorted(done)


def _insert(tx: Transaction, name: str) -> None:
    tx.execute(INSERT, (name,))


def test_closing_inside_a_with_is_harmless(tmp_path: Path) -> None:
    """The block's own close finds it closed."""
    with open_items(tmp_path) as db:
        db.execute(INSERT, ("a",))
        db.close()
        db.close(timeout_s=0)
        with pytest.raises(DatabaseClosed):
            db.execute(INSERT, ("b",))
    assert db.closed


def test_closing_inside_its_own_work_is_refused(tmp_path: Path) -> None:
    """In a write, a submitted write, a read: each would wait for itself. A callback may close."""
    db = open_items(tmp_path)
    with pytest.raises(NestedWrite):
        db.write(lambda _tx: db.close())
    with pytest.raises(NestedWrite):
        db.submit(lambda _tx: db.close()).result(LIMIT_S)
    with pytest.raises(NestedRead):
        db.read(lambda _tx: db.close())
    assert names(db) == []
    steps = Steps()
    future = db.submit(lambda _tx: None)

    def close(_future: Future[None]) -> None:
        db.close()
        steps.mark("closed")

    future.add_done_callback(close)
    steps.wait_for("closed")
    assert db.closed
    wait_until(lambda: not _threads(), "the end of its threads")


def test_a_close_that_ran_out_of_time_is_ended_by_the_next(tmp_path: Path) -> None:
    """The straggler closes the connection on leaving, and the file counts as closed after another call."""
    db = open_items(tmp_path)
    held = Held(db)
    waiting = Call(lambda: db.execute(INSERT, ("never",)))
    held.wait_for(1)
    db.close(timeout_s=0.01)
    assert isinstance(waiting.error(), DatabaseClosed)
    assert presence.is_open(db.path)
    held.let_go()
    held.call.result()
    db.close()
    assert not presence.is_open(db.path)
    assert not _descriptors(tmp_path)


# --- the end of the program

PROGRAM = """
import sys, threading, time
import onewriter
from tests.support.databases import open_items
from pathlib import Path

db = open_items(Path(sys.argv[1]))
INSERT = "INSERT INTO item (name) VALUES (?)"
"""


@pytest.mark.parametrize(
    "ending",
    [
        "pass",
        "raise SystemExit(0)",
        "block = db.transaction(); tx = block.__enter__(); tx.execute(INSERT, ('undone',))",
        "db.query('SELECT 1'); reading = db.read_transaction(); reading.__enter__()",
        "threading.Thread(target=lambda: db.transaction().__enter__(), daemon=True).start(); time.sleep(0.05)",
    ],
    ids=["open", "exit", "inside a turn", "inside a read", "a daemon inside a turn"],
)
def test_the_interpreter_ends_with_a_database_open(tmp_path: Path, ending: str) -> None:
    """What was submitted is done before, and nothing hangs, whatever else is open."""
    program = PROGRAM + (
        "for n in range(200):\n    db.submit(lambda tx, n=n: tx.execute(INSERT, (f'n{n}',)))\n"
        "future = db.submit(lambda tx: None)\n"
        "future.result()\n"
        f"{ending}\n"
    ).replace("\\\n", "\n")
    started = time.monotonic()
    with child(program, tmp_path) as program_:
        program_.end()
    assert time.monotonic() - started < LIMIT_S
    with open_items(tmp_path) as db:
        assert len(names(db)) == 200
        assert db.check() == []


def test_the_interpreter_ends_though_a_submitted_function_does_not(tmp_path: Path) -> None:
    """After some seconds it is given up; what was committed is there."""
    program = PROGRAM + ("db.execute(INSERT, ('kept',))\ndb.submit(lambda tx: time.sleep(3600))\n").replace(
        "\\\n", "\n"
    )
    with child(program, tmp_path) as program_:
        program_.end()
    with open_items(tmp_path) as db:
        assert names(db) == ["kept"]


def test_a_thread_that_ends_by_an_exception_leaves_the_line_free(tmp_path: Path) -> None:
    """Whatever it was in the middle of."""
    program = (
        PROGRAM
        + """
def dies():
    with db.transaction() as tx:
        tx.execute(INSERT, ("undone",))
        raise SystemExit
for _ in range(10):
    thread = threading.Thread(target=dies)
    thread.start()
    thread.join()
db.execute(INSERT, ("kept",))
db.close()
"""
    )
    with child(program, tmp_path) as program_:
        program_.end()
    with open_items(tmp_path) as db:
        assert names(db) == ["kept"]


# --- forks

FORKS = """
import os, pickle, sys
from concurrent.futures import wait
from pathlib import Path
import onewriter
from tests.support.children import forked
from tests.support.databases import Held, names, open_items

with open_items(Path(sys.argv[1])) as db:
    held = Held(db)
    INSERT = "INSERT INTO item (name) VALUES (?)"
    futures = [db.submit(lambda tx, n=n: tx.execute(INSERT, (f"n{n}",))) for n in range(3)]
    held.wait_for(3)

    def in_child():
        errors = [future.exception(1) for future in futures]
        wait(futures, 1)
        try:
            db.submit(lambda tx: None)
        except onewriter.ForkedDatabase as error:
            errors.append(error)
        return [type(error).__name__ for error in errors], [future.cancel() for future in futures]

    print(forked(in_child))
    held.let_go()
    for future in futures:
        future.result(20)
    print(names(db))
"""


def test_pending_futures_of_a_forked_child_end(tmp_path: Path) -> None:
    """With ForkedDatabase, at once; the parent's go on."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", FORKS, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=LIMIT_S * 2,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == str((["ForkedDatabase"] * 4, [False] * 3))
    assert second == "['held', 'n0', 'n1', 'n2']"


def test_opening_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """No half-made object whose finalizer would complain."""
    with pytest.raises(onewriter.MigrationError):
        onewriter.open(
            tmp_path / "a.db", config=PATIENT, migrations=[onewriter.Migration(1, "wrong", "CREATE nothing")]
        )
    gc.collect()
    assert not _descriptors(tmp_path)
    assert not presence.is_open(tmp_path / "a.db")


# --- a thread of the library's own
