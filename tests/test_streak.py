"""Bare statements that are done one after another without a look at the line's order, and who may leave meanwhile."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import gc
import inspect
import sys
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest

import onewriter.aio
from onewriter import (
    SQL,
    Database,
    Error,
    ProgrammingError,
    Result,
    StatementTimeout,
    Transaction,
    WriteTimeout,
)
from onewriter.parameters import Params
from tests.support.databases import PATIENT, Held, Pause, in_line, names, open_items
from tests.support.steps import LIMIT_S, Call, Steps, outcome, wait_until

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


def _statements(db: Database, *texts: tuple[str, Params]) -> list[Callable[[], Result]]:
    return [partial(db.execute, SQL(text), params) for text, params in texts]


def test_each_statement_has_its_own_result(db: Database) -> None:
    """Its rows, what it changed, and the rowid of what it inserted: nothing of the one before it."""
    calls = in_line(
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
    calls = in_line(
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
        calls = in_line(
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
        calls = in_line(db, *_statements(db, *((INSERT, (f"item {number}",)) for number in range(8))))
        assert [outcome(call) for call in calls] == [None] * 8
        assert db.stats().commits - before == 1 + 3  # the transaction's; 3, 3 and 2
        assert names(db) == [f"item {number}" for number in range(8)]


@pytest.mark.parametrize("sql", [[1], {"sql": "SELECT 1"}, None, b"SELECT 1"], ids=repr)
def test_what_is_no_text_is_refused_before_anybody_waits(db: Database, sql: object) -> None:
    """Nobody else's thread comes to it; the others are done."""
    wrong = cast("SQL", sql)
    calls = _in_line_or_refused(db, wrong)
    found = [outcome(call) for call in calls]
    assert [type(each) for each in found] == [
        type(None),
        type(None),
        ProgrammingError,
        ProgrammingError,
        type(None),
    ]
    assert "sql must be a str, not " in str(found[2])
    assert names(db) == ["a", "b", "c"]

    async def ask() -> list[BaseException | Result]:
        tasks_db = onewriter.aio.Database(db)
        asked = (tasks_db.execute(INSERT, ("d",)), tasks_db.execute(wrong), tasks_db.execute(INSERT, ("e",)))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    assert [type(each) for each in asyncio.run(ask())] == [Result, ProgrammingError, Result]


def _in_line_or_refused(db: Database, wrong: SQL) -> list[Call[Result]]:
    with db.transaction():
        first = [Call(partial(db.execute, INSERT, (name,)), name) for name in "a"]
        wait_until(lambda: db.stats().pending == 1, "the first in line")
        first.append(Call(partial(db.execute, INSERT, ("b",)), "b"))
        wait_until(lambda: db.stats().pending == 2, "the second in line")
        refused = [
            Call(partial(db.execute, wrong), "one"),
            Call(partial(db.execute_many, wrong, [()]), "many"),
        ]
        last = Call(partial(db.execute, INSERT, ("c",)), "c")
        wait_until(lambda: db.stats().pending == 3, "the last in line")
    return [*first, *refused, last]


def test_an_error_keeps_nobody_elses_task(tmp_path: Path) -> None:
    """Its traceback has the frames of who ran it, and those do not have the streak that it was in."""
    endless = SQL("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n")

    with open_items(tmp_path, dataclasses.replace(PATIENT, statement_timeout_s=0.3)) as db:
        others: list[weakref.ref[object]] = []

        async def ask() -> BaseException:
            tasks_db = onewriter.aio.Database(db)

            async def insert(name: str) -> None:
                await tasks_db.execute(INSERT, (name,))

            async with tasks_db.transaction():
                loop = asyncio.get_running_loop()
                asked = [insert("a"), insert("b"), tasks_db.execute(endless), insert("c")]
                tasks = [loop.create_task(each) for each in asked]
                others.extend(weakref.ref(task) for task in tasks if task is not tasks[2])
                await asyncio.to_thread(wait_until, lambda: db.stats().pending == len(tasks), "their places")
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(found[2], StatementTimeout)
            return found[2]

        error = asyncio.run(ask())
        gc.collect()
        assert [each() for each in others if each() is not None] == []
        assert isinstance(error, StatementTimeout)
        assert names(db) == ["a", "b", "c"]


@pytest.mark.parametrize("how", ["number", "alone"])
def test_who_is_done_is_told_before_the_next_one_runs(tmp_path: Path, how: str) -> None:
    """Where a batch ended because it was full, or had one member only, its futures hear of it at once."""
    steps = Steps()

    def waits(_tx: Transaction) -> None:
        steps.mark("runs")
        steps.wait_for("go")

    with open_items(tmp_path, dataclasses.replace(PATIENT, batch_max=3)) as db:
        held = Held(db)
        futures = [db.submit(_inserts(f"item {number}"), alone=how == "alone") for number in range(2)]
        last = db.submit(waits, alone=True)
        held.let_go()
        steps.wait_for("runs")
        try:
            assert concurrent.futures.wait(futures, LIMIT_S).not_done == set()
            assert not last.done()
        finally:
            steps.mark("go")
        last.result(LIMIT_S)


def _inserts(name: str) -> Callable[[Transaction], object]:
    return lambda tx: tx.execute(INSERT, (name,))


@pytest.mark.plain("a call that is followed takes more of the stack before it has its place")
def test_whoever_serves_at_the_end_of_his_stack_fails_nobody_else(tmp_path: Path) -> None:
    """What another's stack was too short for, its own thread does."""
    with open_items(tmp_path) as db:
        for left in range(8, 40):
            db.execute("DELETE FROM item")
            new = SQL(f"{INSERT} -- {left}")  # to look at a new text takes more of the stack
            deep = partial(_deep, sys.getrecursionlimit() - left, partial(db.execute, INSERT, ("deep",)))
            found = [
                outcome(call)
                for call in in_line(db, deep, *(partial(db.execute, new, (name,)) for name in "abc"))
            ]
            assert found[1:] == [None, None, None], left
            assert found[0] is None or isinstance(found[0], RecursionError)
            assert names(db) == [*(["deep"] if found[0] is None else []), "a", "b", "c"]


def _deep(frames: int, call: Callable[[], Result]) -> Result:
    here = len(inspect.stack(0))
    return _down(frames - here, call)


def _down(frames: int, call: Callable[[], Result]) -> Result:
    return call() if frames <= 0 else _down(frames - 1, call)
