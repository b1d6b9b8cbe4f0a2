"""Watching what others change: other processes, other connections of this one, and what they never are, one's own."""

# APSW's stub leaves the type of a bound buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import onewriter
from onewriter import Changes, Config, Database, ForkedDatabase, Observation, Transaction
from tests.support.children import Child, child, forked
from tests.support.hearing import Hearing, open_observed, short
from tests.support.steps import Call, calls, wait_until
from tests.support.stranger import Stranger

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
QUICK = Config(observe_poll_s=0.002)
NEVER = Config(observe_poll_s=1e6)  # nobody looks, but who begins a write
INSERT = "INSERT INTO item (name) VALUES (?)"

WRITER = """
import sys, onewriter
with onewriter.open(sys.argv[1]) as db:
    print("ready", flush=True)
    for number, line in enumerate(sys.stdin):
        db.execute("INSERT INTO item (name) VALUES (?)", (f"child {number}",))
        print(f"done {number}", flush=True)
"""
KEEPER = """
import sys, onewriter
with onewriter.open(sys.argv[1]) as db, db.transaction() as tx:
    tx.execute("INSERT INTO item (name) VALUES ('half')")
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database that looks often."""
    with open_observed(tmp_path, config=QUICK) as opened:
        yield opened


def _is_elsewhere(told: list[Changes]) -> bool:
    return any(each.elsewhere for each in told)


def _insert(tx: Transaction, name: str) -> None:
    tx.execute(INSERT, (name,))


def _commit(other: Child, number: int) -> None:
    other.go_on()
    other.wait_for(f"done {number}")


def test_what_another_process_commits_is_told_while_all_is_quiet(db: Database) -> None:
    """Not what it was: that another has committed; each time, and it is there then."""
    with child(WRITER, db.path) as other:
        other.wait_for("ready")
        hearing = Hearing(db)
        for number in range(3):
            _commit(other, number)
            wait_until(lambda: _is_elsewhere(hearing.so_far()), "elsewhere")
            assert db.query_value("SELECT count(*) FROM item", into=int) == number + 1
            assert set(short(hearing.rest())) == {"elsewhere"}


def test_whoever_observes_is_told_whatever_he_observes(db: Database) -> None:
    """Nobody knows which table it was."""
    told: list[Changes] = []
    with child(WRITER, db.path) as other:
        other.wait_for("ready")
        db.observe("part", told.append)
        _commit(other, 0)
        wait_until(partial(_is_elsewhere, told), "elsewhere")
    assert not told[0].complete
    assert told[0].tables == ()
    assert told[0].commits == 0


def test_who_begins_a_write_sees_others_commits_at_once(tmp_path: Path) -> None:
    """Without a look from time to time; what another has committed before is told before, or with it."""
    with open_observed(tmp_path, config=NEVER) as db, child(WRITER, db.path) as other:
        other.wait_for("ready")
        hearing = Hearing(db)
        for number in range(20):
            _commit(other, number)
            db.execute(INSERT, (f"own {number}",))
            assert short(hearing.rest()) in (
                ["elsewhere", f"item +{2 * number + 2}"],
                [f"item +{2 * number + 2}", "elsewhere"],  # joined
            )
            db.execute("UPDATE item SET size = 1 WHERE name = ?", (f"own {number}",))
            assert short(hearing.rest()) == [f"item ~{2 * number + 2}"]


def test_ones_own_commits_are_never_elsewhere(db: Database) -> None:
    """However often it is looked, and by whatever they were made; checkpoints and the vacuum are none either."""
    hearing = Hearing(db)

    def write(number: int) -> None:
        for turn in range(60):
            name = f"{number} {turn}"
            if turn % 3 == 0:
                db.execute(INSERT, (name,))
            elif turn % 3 == 1:
                db.write(partial(_insert, name=name))
            else:
                with db.transaction() as tx:
                    tx.execute(INSERT, (name,))
            if turn == 30:
                db.checkpoint()
                db.vacuum()

    running: list[Call[None]] = calls(write, 4)
    for call in running:
        call.result()
    looks = db._observers._looks_at
    wait_until(lambda: db._observers._looks_at > looks + 0.02, "some looks more")
    told = hearing.rest()
    assert all(each.complete for each in told)
    rows = [rowid for each in told if (item := each.table("item")) for rowid in item.inserted]
    assert sorted(rows) == list(range(1, 241))


def test_each_of_two_processes_is_told_of_the_other(db: Database) -> None:
    """Both write and both observe: of one's own writes every row, of the other's that they were."""
    observer = """
import sys, onewriter, threading
own, elsewhere, all_told = set(), threading.Event(), threading.Event()
def callback(changes):
    if changes.elsewhere:
        elsewhere.set()
    for table in changes.tables:
        own.update(table.inserted)
    if len(own) == 50:
        all_told.set()
with onewriter.open(sys.argv[1], config=onewriter.Config(observe_poll_s=0.002)) as db:
    db.observe("item", callback)
    print("ready", flush=True)
    sys.stdin.readline()
    mine = {db.execute("INSERT INTO item (name) VALUES (?)", (f"child {n}",)).last_insert_rowid for n in range(50)}
    assert all_told.wait(20) and elsewhere.wait(20)
    assert own == mine, own ^ mine
    print("told", flush=True)
    sys.stdin.readline()
"""
    with child(observer, db.path) as other:
        other.wait_for("ready")
        hearing = Hearing(db)
        other.go_on()
        mine = {db.execute(INSERT, (f"own {number}",)).last_insert_rowid for number in range(50)}
        other.wait_for("told")
        wait_until(lambda: _is_elsewhere(hearing.so_far()), "elsewhere")
        told = hearing.rest()
        other.go_on()
        other.end()
    rows = {rowid for each in told if (item := each.table("item")) for rowid in item.inserted}
    assert rows == mine


def test_a_process_that_is_killed_is_no_news(db: Database) -> None:
    """What it had not committed is not there; and observing goes on."""
    with child(KEEPER, db.path) as other:
        other.wait_for("ready")
        hearing = Hearing(db)
        other.kill()
    rowid = db.execute(INSERT, ("own",)).last_insert_rowid
    assert [each for each in short(hearing.rest()) if each != "elsewhere"] == [f"item +{rowid}"]


def test_a_stranger_is_told_of_too(db: Database) -> None:
    """Whatever program it is that writes to the file."""
    hearing = Hearing(db)
    with Stranger(db.path) as stranger:
        stranger.run("INSERT INTO item (name) VALUES ('stranger')")
        wait_until(lambda: _is_elsewhere(hearing.so_far()), "elsewhere")


def test_a_database_that_only_reads_is_told_of_others(db: Database) -> None:
    """It has no writes of its own."""
    told: list[Changes] = []
    with onewriter.open(db.path, read_only=True, config=QUICK) as reading:
        observation = reading.observe("item", told.append)
        db.execute(INSERT, ("a",))
        wait_until(partial(_is_elsewhere, told), "elsewhere")
        with child(WRITER, db.path) as other:
            other.wait_for("ready")
            told.clear()
            _commit(other, 0)
            wait_until(partial(_is_elsewhere, told), "elsewhere again")
        observation.close()
        wait_until(lambda: reading._observers.is_quiet, "its connection closed")


def test_another_database_of_the_same_file_is_elsewhere(db: Database) -> None:
    """Each knows its own writes alone."""
    hearing = Hearing(db)
    with onewriter.open(db.path, config=QUICK) as second:
        other = Hearing(second)
        db.execute(INSERT, ("first",))
        wait_until(lambda: _is_elsewhere(other.so_far()), "elsewhere")
        assert [each for each in short(hearing.rest()) if each != "elsewhere"] == ["item +1"]


def test_an_unsafe_connection_is_elsewhere(db: Database) -> None:
    """Nobody sees what it does; told when it has given the turn back."""
    hearing = Hearing(db)
    with db.unsafe_connection() as connection:
        connection.execute("INSERT INTO item (name) VALUES ('unsafe')")
    wait_until(lambda: _is_elsewhere(hearing.so_far()), "elsewhere")


def test_the_file_is_closed_as_without_observers(db: Database, tmp_path: Path) -> None:
    """The writer's close is the last one, which moves the WAL into the file and takes it away."""
    db.observe(None, print)
    db.execute(INSERT, ("a",))
    db.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["items.db", "items.db-turn"]


def test_a_forked_child_has_none_of_it(db: Database) -> None:
    """It is told nothing, and may neither observe nor end what its parent observes."""
    told: list[Changes] = []
    observation: Observation = db.observe("item", told.append)

    def use() -> object:
        observation.close()
        try:
            db.observe("item", print)
        except ForkedDatabase as error:
            db.close()
            return told or str(error)
        return "not refused"

    refused = forked(use)
    assert isinstance(refused, str)
    assert "opened by the parent process" in refused
    db.execute(INSERT, ("parent",))
    wait_until(partial(bool, told), "told")
    assert not observation.closed


def test_a_locked_file_is_looked_at_again(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A look that fails is no end of it: it is logged once, and the next one sees what there is."""
    hearing = Hearing(db)
    observers = db._observers
    looker = observers._looker
    assert looker is not None
    refused: list[int] = []

    def refuse(*_: object) -> object:
        refused.append(1)
        raise onewriter.ReadTimeout("locked", held_by="stranger")

    vars(looker)["run_unguarded"] = refuse
    wait_until(lambda: len(refused) > 3, "looks that fail")
    with child(WRITER, db.path) as other:
        other.wait_for("ready")
        _commit(other, 0)
        assert not _is_elsewhere(hearing.so_far())
        del vars(looker)["run_unguarded"]
        wait_until(lambda: _is_elsewhere(hearing.so_far()), "elsewhere")
    assert len(caplog.records) == 1
    assert "could not look what others have changed: locked" in caplog.text
