"""What is told of each request to who follows a database: once, in order, and to nobody's harm."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import onewriter
from onewriter import (
    Config,
    Database,
    DatabaseClosed,
    IntegrityError,
    NestedWrite,
    ProgrammingError,
    ReadTimeout,
    Transaction,
    WriteTimeout,
)
from onewriter.trails import Listener, Watched
from tests.support.databases import PATIENT, Held, in_line, names, open_items
from tests.support.followed import Broken, Follower
from tests.support.steps import Call, Steps, wait_until

INSERT = "INSERT INTO item (name) VALUES (?)"


def followed(folder: Path, follower: Listener, config: Config = PATIENT) -> Database:
    """Open items for *follower* to hear of."""
    return open_items(folder, replace(config, telemetry=follower))


def insert(tx: Transaction, name: str = "one") -> str:
    """Insert an item and return its name."""
    tx.execute(INSERT, (name,))
    return name


def test_each_call_is_told_with_what_it_was(tmp_path: Path) -> None:
    """Its name, its text without the parameters, its function, its rows; whether it read."""
    follower = Follower()
    with followed(tmp_path, follower) as db:
        assert isinstance(db, Database)
        assert repr(db).startswith("<onewriter.Database ")
        assert [each.path for each in follower.databases] == [db.path]
        assert follower.over.pop().name == "migrate"
        follower.began.clear()
        db.execute(INSERT, ("a",))
        db.execute_many(INSERT, [("b",), ("c",)])
        db.write(insert)
        db.write(partial(insert, name="two"))
        db.submit(partial(insert, name="three")).result()
        with db.transaction() as tx:
            insert(tx, "four")
        db.query("SELECT name FROM item WHERE id = ?", (1,))
        db.read(lambda tx: tx.query("SELECT 1"))
        with db.stream("  with n AS (SELECT 1) SELECT * FROM n") as rows:
            list(rows)
        db.snapshot(tmp_path / "copy.db")
        db.check()
        db.checkpoint()
        db.vacuum()
        with db.unsafe_connection():
            pass
    told = [
        (each.name, each.text, each.function, each.rows, each.has_params, each.reads)
        for each in follower.over
    ]
    module = __name__
    assert told == [
        ("INSERT", INSERT, None, None, True, False),
        ("INSERT", INSERT, None, 2, True, False),
        ("write", None, f"{module}.insert", None, False, False),
        ("write", None, f"{module}.insert", None, False, False),
        ("write", None, f"{module}.insert", None, False, False),
        ("transaction", None, None, None, False, False),
        ("SELECT", "SELECT name FROM item WHERE id = ?", None, None, True, True),
        ("read", None, None, None, False, True),
        ("WITH", "  with n AS (SELECT 1) SELECT * FROM n", None, None, False, True),
        ("snapshot", None, None, None, False, True),
        ("check", None, None, None, False, True),
        ("checkpoint", None, None, None, False, False),
        ("vacuum", None, None, None, False, False),
        ("unsafe_connection", None, None, None, False, False),
    ]  # fmt: skip
    committed = [each.commit is not None for each in follower.over]
    assert committed == [True] * 6 + [False] * 8
    assert {each.who for each in follower.over} == {"MainThread"}
    follower.check()


def test_requests_that_share_a_commit_are_told_so(tmp_path: Path) -> None:
    """One commit, told once, before any of them has ended."""
    follower = Follower()
    with followed(tmp_path, follower) as db:
        asks: list[Callable[[], object]] = [partial(db.execute, INSERT, (name,)) for name in "abc"]
        for call in in_line(db, *asks):
            call.result()
    commit, trails = follower.commits[-1]
    assert commit.size == 3
    assert [each.who for each in trails] == ["caller 0", "caller 1", "caller 2"]
    assert all(each.commit is commit and each.runs == 1 for each in trails)
    follower.check()


def test_one_that_fails_among_others_is_told_with_its_error(tmp_path: Path) -> None:
    """What ran again with it says how often."""
    follower = Follower()
    with followed(tmp_path, follower) as db:
        db.execute(INSERT, ("taken",))
        asks: list[Callable[[], object]] = [
            partial(db.execute, INSERT, (name,)) for name in ("a", "taken", "b")
        ]
        first, guilty, last = in_line(db, *asks)
        assert isinstance(guilty.error(), IntegrityError)
        first.result()
        last.result()
        assert names(db) == ["taken", "a", "b"]
    told = {
        each.who: (follower.errors[each], each.runs) for each in follower.over if each.who != "MainThread"
    }
    assert told == {"caller 0": (None, 2), "caller 1": (IntegrityError, 2), "caller 2": (None, 1)}
    follower.check()


def test_what_never_began_is_told_as_that(tmp_path: Path) -> None:
    """A write, a submitted one and a read that are late, one that is cancelled, and one that the close refuses."""
    follower = Follower()
    db = followed(tmp_path, follower, replace(PATIENT, readers_max=1))
    held = Held(db)
    with pytest.raises(WriteTimeout):
        db.execute(INSERT, ("late",), timeout_s=0)
    with pytest.raises(WriteTimeout):
        db.submit(insert, timeout_s=0).result()
    cancelled = db.submit(insert)
    assert cancelled.cancel()
    refused = db.submit(insert)
    with db.read_transaction():
        Call(lambda: db.query_value("SELECT 2", timeout_s=0), "reader").error()
    db.close(timeout_s=0)
    assert isinstance(refused.exception(), DatabaseClosed)
    held.let_go()
    held.call.result()
    wait_until(lambda: len(follower.over) == len(follower.began), "all have ended")
    never = [
        follower.errors[each] for each in follower.over if each.began_at is None and each.name != "migrate"
    ]
    assert never == [WriteTimeout, WriteTimeout, None, ReadTimeout, DatabaseClosed]
    follower.check()


def test_whoever_has_an_outcome_finds_it_told(tmp_path: Path) -> None:
    """Also where another thread tells it."""
    follower = Follower()
    with followed(tmp_path, follower) as db:
        for number in range(50):
            db.submit(partial(insert, name=f"submitted {number}")).result()
            assert follower.over[-1].name == "write"
            db.execute(INSERT, (f"executed {number}",))
            assert follower.over[-1].name == "INSERT"
    follower.check()


def test_one_who_raises_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and every request has its outcome."""
    with followed(tmp_path, Broken()) as db:
        db.execute(INSERT, ("a",))
        db.write(insert)
        db.submit(partial(insert, name="b")).result()
        with db.transaction() as tx:
            insert(tx, "c")
        assert names(db) == ["a", "one", "b", "c"]
        wait_until(lambda: "the commit stands" in caplog.text, "logged by another thread")
    assert caplog.text.count("broken follower") > 10


@pytest.mark.parametrize("submitted", [False, True])
def test_what_he_raises_is_not_logged_with_the_role(tmp_path: Path, submitted: bool) -> None:
    """A log's handler that writes to the database has its lock while it waits: the role would wait for that."""
    logger, steps = logging.getLogger("onewriter.tests"), Steps()

    class Writes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == logger.name:  # the others want the handler's lock, and no more
                steps.mark("has the lock")
                db.execute(INSERT, (record.getMessage(),))

    with followed(tmp_path, Broken()) as db:
        handler = Writes()
        logging.getLogger("onewriter").addHandler(handler)
        try:
            held = Held(db)
            other = Call(lambda: db.submit(insert).result()) if submitted else Call(lambda: db.write(insert))
            held.wait_for(1)
            logs = Call(lambda: logger.warning("logged"))
            steps.wait_for("has the lock")
            held.wait_for(2)
            held.let_go()
            for call in (held.call, other, logs):
                call.result()
        finally:
            logging.getLogger("onewriter").removeHandler(handler)
        assert sorted(names(db)) == ["held", "logged", "one"]


def test_one_who_writes_where_a_commit_is_told_is_refused(tmp_path: Path) -> None:
    """He would wait for the very thread that tells him."""
    follower, refused = Follower(), list[Exception]()
    with followed(tmp_path, follower) as db:

        def write() -> None:
            with pytest.raises(NestedWrite) as caught:
                db.execute(INSERT, ("from inside",), timeout_s=1)
            refused.append(caught.value)

        follower.at_commit = write
        db.execute(INSERT, ("a",))
        db.write(insert)
        db.submit(partial(insert, name="b")).result()
        with db.transaction() as tx:
            insert(tx, "c")
        follower.at_commit = int
        assert names(db) == ["a", "one", "b", "c"]
    assert len(refused) == 4


def test_what_a_function_asks_of_another_database_is_no_part_of_it(tmp_path: Path) -> None:
    """Each has its own trail, and the other's commit is not the function's."""
    mine, other = Follower(), Follower()
    with followed(tmp_path / "mine", mine) as db, followed(tmp_path / "other", other) as second:

        def work(tx: Transaction) -> None:
            insert(tx)
            second.execute(INSERT, ("there",))
            assert db.path != second.path

        db.write(work)
        with db.transaction() as tx:
            insert(tx, "two")
            second.checkpoint()
    assert mine.only("write").commit is mine.commits[-2][0]
    assert other.only("INSERT").commit is other.commits[-1][0]
    assert other.only("checkpoint").commit is None
    mine.check()
    other.check()


class Worker:
    """Asks for whatever there is, drawn, with time-outs that are too short now and then."""

    def __init__(self, db: Database, name: int, seed: int) -> None:
        """Ask *db*."""
        self.db, self.name, self.draw = db, name, random.Random(seed + name)
        self.label = ""

    def work(self) -> None:
        """Ask sixty times."""
        asks = (self._execute, self._write, self._submit, self._hold, self._query, self._read, self._fail)
        for number in range(60):
            self.label = f"{self.draw.randrange(40)}" if number % 2 else f"{self.name} {number}"
            with suppress(onewriter.Error):
                self.draw.choice(asks)()

    def _timeout_s(self) -> float:
        return self.draw.choice((0.0, 0.001, 5.0))

    def _execute(self) -> None:
        self.db.execute(INSERT, (self.label,), timeout_s=self._timeout_s())

    def _write(self) -> None:
        self.db.write(partial(insert, name=self.label), timeout_s=self._timeout_s())

    def _submit(self) -> None:
        future = self.db.submit(partial(insert, name=self.label), timeout_s=self._timeout_s())
        if self.draw.random() < 0.5:
            future.cancel()

    def _hold(self) -> None:
        with self.db.transaction(timeout_s=self._timeout_s()) as tx:
            insert(tx, self.label)

    def _query(self) -> None:
        self.db.query("SELECT name FROM item WHERE name = ?", (self.label,), timeout_s=self._timeout_s())

    def _read(self) -> None:
        with self.db.read_transaction(timeout_s=self._timeout_s()) as read:
            read.query_value("SELECT count(*) FROM item")

    def _fail(self) -> None:
        self.db.execute("INSERT OR ROLLBACK INTO item (name) VALUES (?)", ("0",))


def test_every_trail_ends_once_whatever_happens(tmp_path: Path, seed: int) -> None:
    """Threads that write, read, fail, come late, cancel and submit, all at once."""
    follower = Follower()
    db = followed(tmp_path, follower, Config(pending_max=20, readers_max=2))
    calls = [Call(Worker(db, name, seed).work, f"worker {name}") for name in range(8)]
    for call in calls:
        call.result()
    db.close()
    follower.check()
    assert len(follower.over) == 8 * 60 + 1
    failed = [each for each in follower.errors.values() if each is not None]
    assert 0 < len(failed) < len(follower.over)


def test_a_forgotten_database_is_forgotten_by_what_follows_it(tmp_path: Path) -> None:
    """A follower that keeps it weakly, as it must, does not keep it open."""
    steps = Steps()

    class Weak(Follower):
        def opened(self, database: Watched) -> None:
            steps.mark("opened")

    with pytest.warns(ResourceWarning, match="was not closed"):
        followed(tmp_path, Weak())
    assert steps.is_marked("opened")


@pytest.mark.parametrize(
    "name, value", [("telemetry", 3), ("telemetry", "on"), ("slow_request_s", -1), ("slow_request_s", "1")]
)
def test_wrong_values_are_refused_by_name(name: str, value: Any) -> None:  # noqa: ANN401
    """As all of `Config` are."""
    with pytest.raises(ProgrammingError, match=rf"Config\.{name} must be"):
        replace(Config(), **{name: value})
