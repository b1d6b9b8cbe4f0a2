"""The slow-request log names the request, where its time went, and who kept it waiting."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from onewriter import Config, Database, Transaction, WriteTimeout, clock, slow
from onewriter.slow import SlowLog
from onewriter.trails import Trail
from tests.support.children import child
from tests.support.databases import Held, open_items
from tests.support.steps import LIMIT_S, Call, wait_until
from tests.support.stranger import Stranger

INSERT = "INSERT INTO item (name) VALUES (?)"
SLOW_S = 0.1
CONFIG = Config(slow_request_s=SLOW_S, readers_max=1)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was logged until now."""
    return lambda: [each.getMessage() for each in caplog.records if each.name == "onewriter.slow"]


def keep_busy(tx: Transaction) -> None:
    """Take longer than is fast."""
    tx.execute(INSERT, ("busy",))
    time.sleep(SLOW_S * 1.5)


@pytest.mark.plain("it says which class nobody follows")
def test_what_is_fast_is_not_logged(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """Nor is anything where no limit is set."""
    with open_items(tmp_path, Config(slow_request_s=60)) as db:
        db.execute(INSERT, ("a",))
        db.query("SELECT 1")
    with open_items(tmp_path, Config()) as db:
        assert type(db) is Database
        db.write(keep_busy)
    assert lines() == []


def test_nobody_is_to_blame_who_was_not_there(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """Where a transaction begins slowly, and no other process or connection was waited for."""
    with open_items(tmp_path, Config(slow_request_s=0)) as db:
        db.execute(INSERT, ("a",))
        with db.transaction() as tx:
            tx.execute(INSERT, ("b",))
    assert len(lines()) > 1
    assert not [line for line in lines() if "another" in line]


def test_a_slow_function_is_named(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """With its thread, and how long it ran."""
    with open_items(tmp_path, CONFIG) as db:
        db.write(keep_busy)
    (line,) = lines()
    assert line.startswith(f"{tmp_path / 'items.db'}: write({__name__}.keep_busy) of MainThread took 0.")
    assert ", ran 0.1" in line


def test_who_kept_the_turn_is_named_and_no_parameter(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """By the thread and what it did."""
    with open_items(tmp_path, CONFIG) as db:
        held = Held(db, "holder")
        waiting = Call(partial(db.execute, INSERT, ("very secret",)), "waiter")
        held.wait_for(1)
        time.sleep(SLOW_S * 1.2)
        held.let_go()
        waiting.result()
    (line,) = [each for each in lines() if "of waiter" in each]
    assert f": {INSERT} of waiter took 0." in line
    assert "s of it: holder: write(tests.support.databases.Held." in line
    assert "secret" not in "".join(lines())


def test_a_transaction_that_kept_the_turn_is_named(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """A block has no function: its thread it is."""
    with open_items(tmp_path, CONFIG) as db:
        with db.transaction() as tx:
            tx.execute(INSERT, ("a",))
            waiting = Call(lambda: db.submit(lambda tx: tx.execute(INSERT, ("b",))).result(), "waiter")
            wait_until(lambda: db.stats().pending == 1, "in line")
            time.sleep(SLOW_S * 1.2)
        waiting.result()
    (line,) = [each for each in lines() if "<lambda>" in each]
    assert "s of it: MainThread: transaction)" in line


class Storing(logging.Handler):
    """A handler that keeps what is logged in the very database, with its own lock held meanwhile."""

    def __init__(self, db: Database) -> None:
        """Store in *db*."""
        super().__init__()
        self.db, self.stored = db, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Store one line."""
        self.db.execute(INSERT, (f"{self.stored} {record.getMessage()}",), timeout_s=LIMIT_S)
        self.stored += 1


def test_a_handler_that_stores_what_is_logged_holds_nobody_up(tmp_path: Path) -> None:
    """Whoever waits for its lock does not have the turn for which it waits, whoever told the outcome."""
    log = logging.getLogger("onewriter.slow")
    with open_items(tmp_path, Config(slow_request_s=0.0)) as db:
        handler = Storing(db)
        log.addHandler(handler)
        try:
            futures = [db.submit(partial(_insert, name=f"submitted {n}")) for n in range(8)]
            calls = [Call(partial(db.write, partial(_insert, name=f"write {n}"))) for n in range(8)]
            for call in calls:
                call.result()
            for future in futures:
                future.result(LIMIT_S)
            wait_until(lambda: handler.stored >= 1, "stored")
        finally:
            log.removeHandler(handler)


def _insert(tx: Transaction, name: str) -> None:
    tx.execute(INSERT, (name,))


OTHER = """
import onewriter, sys
with onewriter.open(sys.argv[1]) as db, db.transaction() as tx:
    tx.execute("INSERT INTO item (name) VALUES ('other')")
    print("holds", flush=True)
    sys.stdin.readline()
"""


def test_another_process_that_kept_the_turn_is_named(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """By its number."""
    with open_items(tmp_path, CONFIG) as db, child(OTHER, db.path) as other:
        other.wait_for("holds")
        waiting = Call(partial(db.execute, INSERT, ("a",)), "waiter")
        wait_until(lambda: waiting.running, "begun")
        time.sleep(SLOW_S * 2)
        other.go_on()
        waiting.result()
        (line,) = lines()
        assert "another process that uses onewriter, process" in line
        assert f"process {other.process.pid} " in line
        other.end()


@pytest.mark.parametrize("late", [False, True])
def test_a_stranger_that_kept_the_lock_is_named(
    tmp_path: Path, lines: Callable[[], list[str]], *, late: bool
) -> None:
    """By its number; the same where the wait was in vain, as the error says."""
    with open_items(tmp_path, CONFIG) as db, Stranger(db.path) as other:
        other.run("BEGIN IMMEDIATE")
        waiting = Call(partial(db.execute, INSERT, ("a",), timeout_s=SLOW_S * 2 if late else 20), "waiter")
        time.sleep(SLOW_S * 2)
        if late:
            assert isinstance(waiting.error(), WriteTimeout)
        other.run("COMMIT")
        if not late:
            waiting.result()
        (line,) = lines()
        assert f"process {other.pid} " in line
        assert ("and raised WriteTimeout (" in line) is late


def test_who_had_the_readers_is_named(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """The one that has had one for longest, with what it reads."""
    with open_items(tmp_path, CONFIG) as db:
        with db.read_transaction() as tx:
            tx.query("SELECT 41 + 1")
            waiting = Call(partial(db.query, "SELECT 2"), "waiter")
            time.sleep(SLOW_S * 1.5)
        waiting.result()
    (line,) = [each for each in lines() if "of waiter" in each]
    assert "SELECT 2 of waiter took 0." in line
    assert "for a reader (all were held; for longest by MainThread: " in line


def test_one_limit_is_for_all_calls_of_a_database(
    tmp_path: Path, lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of threads that wait themselves, and of what was submitted."""
    with open_items(tmp_path, Config(slow_request_s=0.0)) as db:
        now = clock.now()
        monkeypatch.setattr(clock, "now", lambda: now)
        for number in range(slow.AT_ONCE):
            db.execute(INSERT, (f"{number}",))
        db.submit(partial(_insert, name="submitted")).result(LIMIT_S)
        monkeypatch.undo()
    assert not [each for each in lines() if "_insert" in each]


def test_a_flood_is_cut_and_counted(
    tmp_path: Path, lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many lines a second, and then how many there would have been."""
    at = [100.0]
    monkeypatch.setattr(clock, "now", lambda: at[0])
    log = SlowLog(tmp_path / "a.db", 0.0)

    def end() -> None:
        trail = Trail(tmp_path / "a.db", "INSERT", "t", reads=False)
        trail.ended_at = at[0]
        log.ended(trail)

    for _ in range(slow.AT_ONCE + 30):
        end()
    assert len(lines()) == slow.AT_ONCE
    at[0] = 101.5
    end()
    assert len(lines()) == slow.AT_ONCE + 1
    assert lines()[-1].endswith("(30 more slow requests were not logged)")
