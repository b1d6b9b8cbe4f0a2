"""Bare statements that are done one after another without a look at the line's order, and who may leave meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import onewriter.aio
from onewriter import SQL, Database, Error, Result, StatementTimeout, WriteTimeout
from onewriter.parameters import Params
from tests.support.databases import PATIENT, Pause, names, open_items
from tests.support.steps import LIMIT_S, Call, outcome, wait_until

INSERT = "INSERT INTO item (name) VALUES (?)"


@pytest.fixture
def pause() -> Pause:
    """A function of SQL that stays inside its statement."""
    return Pause()


@pytest.fixture
def db(tmp_path: Path, pause: Pause) -> Iterator[Database]:
    """A database that knows it, and whose batches close only when the line is empty."""
    with open_items(tmp_path, dataclasses.replace(PATIENT, on_connect=pause.on_connect)) as opened:
        yield opened


def _in_line(db: Database, *asks: Callable[[], Result]) -> list[Call[Result]]:
    """Bring *asks* into the line, in this order, behind a transaction that ends then."""
    calls: list[Call[Result]] = []
    with db.transaction():
        for ask in asks:
            calls.append(Call(ask, f"caller {len(calls)}"))
            wait_until(lambda: db.stats().pending == len(calls), "its place in line")
    return calls


def _statements(db: Database, *texts: tuple[str, Params]) -> list[Callable[[], Result]]:
    return [partial(db.execute, SQL(text), params) for text, params in texts]


def test_each_statement_has_its_own_result(db: Database) -> None:
    """Its rows, what it changed, and the rowid of what it inserted: nothing of the one before it."""
    calls = _in_line(
        db,
        *_statements(
            db,
            (INSERT, ("a",)),
            (INSERT, ("b",)),
            ("UPDATE item SET size = 1 WHERE name = ?", ("nobody",)),
            ("UPDATE item SET size = 2", ()),
            ("INSERT INTO item (name) VALUES (:name) RETURNING id, name", {"name": "c"}),
            ("SELECT name, size FROM item ORDER BY id", ()),
            ("DELETE FROM item WHERE name = ?", ["a"]),
        ),
    )
    found = [call.result() for call in calls]
    assert found == [
        ([], 1, 1),
        ([], 1, 2),
        ([], 0, 0),
        ([], 2, 0),
        ([(3, "c")], 1, 3),
        ([("a", 2), ("b", 2), ("c", 0)], 0, 0),
        ([], 1, 0),
    ]
    assert all(type(each) is Result for each in found)
    assert found[4].rows[0]["name"] == "c"
    assert db.stats().commits == 2 + 1  # the migration's and the transaction's, and theirs


def test_who_waits_behind_a_slow_statement_leaves_in_time(db: Database, pause: Pause) -> None:
    """It has not begun: so it is told as soon as its time is over, and nothing of it runs."""
    calls = _in_line(
        db,
        *_statements(
            db, (INSERT, ("first",)), ("INSERT INTO item (name, size) VALUES ('slow', pause())", ())
        ),
        lambda: db.execute(INSERT, ("late",), timeout_s=0.3),
        lambda: db.execute(INSERT, ("last",)),
    )
    pause.steps.wait_for("inside")
    assert isinstance(calls[2].error(), WriteTimeout)
    assert [call.running for call in calls] == [True, True, False, True]
    pause.steps.mark("go")
    assert [outcome(call) for call in calls if call is not calls[2]] == [None, None, None]
    assert names(db) == ["first", "slow", "last"]


def test_a_task_behind_a_slow_statement_leaves(db: Database, pause: Pause) -> None:
    """In time, or cancelled; the rest is done."""

    async def ask() -> list[BaseException | Result]:
        tasks_db = onewriter.aio.Database(db)

        async def insert(name: str, timeout_s: float = LIMIT_S) -> Result:
            return await tasks_db.execute(INSERT, (name,), timeout_s=timeout_s)

        async with tasks_db.transaction():
            slow = tasks_db.execute("INSERT INTO item (name, size) VALUES ('slow', pause())")
            loop = asyncio.get_running_loop()
            asked = [insert("first"), slow, insert("late", 0.3), insert("left"), insert("last")]
            tasks = [loop.create_task(each) for each in asked]
            await asyncio.to_thread(
                wait_until, lambda: db.stats().pending == len(tasks), "their places in line"
            )
        async with asyncio.timeout(LIMIT_S):
            await asyncio.to_thread(pause.steps.wait_for, "inside")
            tasks[3].cancel()
            await asyncio.wait({tasks[2], tasks[3]})
        assert [task.done() for task in tasks] == [False, False, True, True, False]
        pause.steps.mark("go")
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(ask())
    assert [type(each) for each in found] == [Result, Result, WriteTimeout, asyncio.CancelledError, Result]
    assert names(db) == ["first", "slow", "last"]


def test_each_statement_has_its_own_time(tmp_path: Path) -> None:
    """One that runs out of it is told so, and the next has all of its own."""
    endless = "INSERT INTO item (name) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n"
    with open_items(tmp_path, dataclasses.replace(PATIENT, statement_timeout_s=0.5)) as db:
        calls = _in_line(
            db, *_statements(db, (INSERT, ("a",)), (INSERT, ("b",)), (endless, ()), (INSERT, ("c",)))
        )
        found = [outcome(call) for call in calls]
        assert [type(each) for each in found] == [type(None), type(None), StatementTimeout, type(None)]
        assert isinstance(found[2], Error)
        assert names(db) == ["a", "b", "c"]
        assert db.execute("UPDATE item SET size = 1").changes == 3


def test_a_streak_ends_where_the_batch_is_full(tmp_path: Path) -> None:
    """By number: each commit has no more members than it may have."""
    with open_items(tmp_path, dataclasses.replace(PATIENT, batch_max=3)) as db:
        before = db.stats().commits
        calls = _in_line(db, *_statements(db, *((INSERT, (f"item {number}",)) for number in range(8))))
        assert [outcome(call) for call in calls] == [None] * 8
        assert db.stats().commits - before == 1 + 3  # the transaction's; 3, 3 and 2
        assert names(db) == [f"item {number}" for number in range(8)]
