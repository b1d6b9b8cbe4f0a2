"""The public names, awaited: each does what its namesake does, on the same file, line and readers."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

import onewriter
from onewriter import (
    Config,
    IntegrityError,
    Migration,
    MisuseError,
    ProgrammingError,
    Result,
    RowMismatch,
    aio,
)
from onewriter.aio.reports import Reports
from tests.aio.loops import COUNT, INSERT, insert, names, on_loop, open_items
from tests.support.databases import SCHEMA


@dataclass
class Item:
    """A row."""

    id: int
    name: str


class Pair(NamedTuple):
    """A row."""

    id: int
    name: str


@on_loop
async def test_writes(tmp_path: Path) -> None:
    """A statement, many, a function, and what they return."""
    async with await open_items(tmp_path) as db:
        assert await db.execute(INSERT, ("one",)) == Result([], 1, 1)
        assert await db.execute("INSERT INTO item (name) VALUES (:name) RETURNING id", {"name": "two"}) == (
            [(2,)],
            1,
            2,
        )
        assert (await db.execute_many(INSERT, ((name,) for name in ("three", "four")))).changes == 2
        assert await db.write(insert("five")) == "five"
        assert await db.write(insert("six"), alone=True) == "six"
        assert await names(db) == ["one", "two", "three", "four", "five", "six"]


@on_loop
async def test_reads(tmp_path: Path) -> None:
    """Rows, classes, one value, functions, snapshots, streams."""
    async with await open_items(tmp_path) as db:
        await db.execute_many(INSERT, [("one",), ("two",)])
        select = "SELECT id, name FROM item ORDER BY id"
        assert [row["name"] for row in await db.query(select)] == ["one", "two"]
        assert await db.query(select, into=Item) == [Item(1, "one"), Item(2, "two")]
        assert await db.query_one(select, into=Pair) == Pair(1, "one")
        assert await db.query_one("SELECT name FROM item LIMIT 0") is None
        assert await db.query_one("SELECT name FROM item WHERE id = :id", {"id": 2}) == ("two",)
        assert await db.query_value(COUNT, into=int) == 2
        assert await db.query_value(COUNT) == 2
        assert await db.query_value("SELECT NULL", into=int | None) is None
        assert await db.read(lambda tx: tx.query_value(COUNT, into=int)) == 2
        async with db.read_transaction() as tx:
            assert await tx.query_value(COUNT) == 2
            await db.execute(INSERT, ("three",))
            assert await tx.query_value(COUNT, into=int) == 2
            assert await tx.query_one(select, into=Item) == Item(1, "one")
            assert await tx.query_one(select) == (1, "one")
            assert await tx.query(select, into=Pair) == [Pair(1, "one"), Pair(2, "two")]
        async with db.stream(select, into=Item) as items:
            assert [item.name async for item in items] == ["one", "two", "three"]
        async with db.stream("SELECT name FROM item WHERE id > ?", (1,)) as rows:
            assert [row["name"] async for row in rows] == ["two", "three"]


@on_loop
async def test_errors_are_those_of_the_library(tmp_path: Path) -> None:
    """What is wrong with a call is told as by its namesake, with the statement, and the others go on."""
    async with await open_items(tmp_path) as db:
        await db.execute(INSERT, ("one",))
        with pytest.raises(IntegrityError) as caught:
            await db.execute(INSERT, ("one",))
        assert (caught.value.kind, caught.value.ran, caught.value.sql) == ("unique", "rolled_back", INSERT)
        with pytest.raises(ProgrammingError, match="no such table"):
            await db.query("SELECT * FROM nowhere")
        with pytest.raises(RowMismatch):
            await db.query("SELECT id FROM item", into=Item)
        with pytest.raises(ProgrammingError, match="timeout_s"):
            await db.execute(INSERT, ("two",), timeout_s=-1)
        with pytest.raises(ProgrammingError, match="timeout_s"):
            await db.query(COUNT, timeout_s=-1)
        with pytest.raises(ProgrammingError):
            await db.execute(INSERT, "two")
        with pytest.raises(LookupError):
            await db.write(_fails)
        with pytest.raises(LookupError):
            await db.read(_not_there)
        assert await names(db) == ["one"]


def _not_there(_tx: object) -> None:
    raise LookupError


def _fails(tx: onewriter.Transaction) -> None:
    tx.execute(INSERT, ("undone",))
    raise LookupError


@on_loop
async def test_those_who_share_a_commit_do_not_share_failures(tmp_path: Path) -> None:
    """A hundred tasks, every tenth of which fails."""
    async with await open_items(tmp_path) as db:
        wanted = [f"{number // 10}" if number % 10 == 0 else f"{number}-" for number in range(100)]
        await db.execute_many(INSERT, [(str(number),) for number in range(10)])
        ended = await asyncio.gather(
            *(db.execute(INSERT, (name,)) for name in wanted), return_exceptions=True
        )
        assert [isinstance(each, IntegrityError) for each in ended] == [
            number % 10 == 0 for number in range(100)
        ]
        assert len(await names(db)) == 100


@on_loop
async def test_functions_run_in_the_tasks_context(tmp_path: Path) -> None:
    """In a copy of it, on a thread of the library's."""
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who")
    who.set("the task")
    here = threading.get_ident()
    seen: list[object] = []

    def look(tx: onewriter.Transaction) -> None:
        seen.append((who.get(), threading.get_ident() == here))
        who.set("the function")
        tx.after_commit(lambda: seen.append((who.get(), threading.get_ident() == here)))

    async with await open_items(tmp_path) as db:
        await db.write(look)
        assert await db.read(lambda _tx: (who.get(), threading.get_ident() == here)) == ("the task", False)
    assert seen == [("the task", False), ("the function", True)]
    assert who.get() == "the task"


@on_loop
async def test_callbacks_come_before_the_outcome(tmp_path: Path) -> None:
    """In order, on the loop, once it is committed; one that raises changes nothing; those of a failure are dropped."""
    said: list[str] = []

    def work(tx: onewriter.Transaction) -> None:
        tx.execute(INSERT, ("one",))
        tx.after_commit(lambda: said.append("first"))
        tx.after_commit(lambda: _not_there(None))
        tx.after_commit(lambda: said.append("second"))

    def fails(tx: onewriter.Transaction) -> None:
        tx.after_commit(lambda: said.append("never"))
        raise LookupError

    async with await open_items(tmp_path) as db:
        await db.write(work)
        said.append("outcome")
        with pytest.raises(LookupError):
            await db.write(fails)
        async with db.transaction() as tx:
            await tx.after_commit(lambda: said.append("block"))
            with pytest.raises(LookupError):
                async with tx.savepoint():
                    await tx.after_commit(lambda: said.append("never"))
                    raise LookupError
        said.append("left")
    assert said == ["first", "second", "outcome", "block", "left"]


@on_loop
async def test_the_file(tmp_path: Path) -> None:
    """Migrations, snapshots, checks, statistics."""
    more = (*SCHEMA, Migration(2, "more", "CREATE TABLE more (a)"))
    async with await open_items(tmp_path) as db:
        assert db.path == tmp_path / "items.db"
        assert db.config.readers_max == 2
        assert await db.schema_version() == 1
        assert [each.version for each in (await db.migration_status(more)).pending] == [2]
        await db.migrate(more)
        assert await db.schema_version() == 2
        await db.execute(INSERT, ("one",))
        pages: list[tuple[int, int]] = []
        here = threading.get_ident()

        def progress(done: int, total: int) -> None:
            assert threading.get_ident() == here
            pages.append((done, total))

        dest = await db.snapshot(tmp_path / "copies" / "one.db", progress=progress)
        assert dest == tmp_path / "copies" / "one.db"
        with pytest.raises(onewriter.SnapshotError):
            await db.snapshot(dest)
        await db.snapshot(dest, overwrite=True)
        assert await db.check() == []
        assert await db.checkpoint() is True
        await db.vacuum()
        assert (await db.stats()).writes > 0
        await asyncio.sleep(0)
        assert pages[-1][0] == pages[-1][1]
    restored = await aio.restore(dest, tmp_path / "restored.db")
    async with await aio.open(restored, read_only=True) as again:
        assert await names(again) == ["one"]
        with pytest.raises(onewriter.ReadOnlyDatabase):
            await again.execute(INSERT, ("two",))


@on_loop
async def test_opening_fails_as_for_threads(tmp_path: Path) -> None:
    """The error names the path; nothing is left open."""
    with pytest.raises(onewriter.CannotOpen, match="read_only"):
        await aio.open(tmp_path / "none.db", read_only=True)
    (tmp_path / "text.db").write_text("not a database, though it is long enough to be looked at" * 20)
    with pytest.raises(onewriter.NotADatabase):
        await aio.open(tmp_path / "text.db")
    with pytest.raises(onewriter.MigrationError):
        await aio.open(tmp_path / "a.db", migrations=[Migration(1, "wrong", "bogus")])


@on_loop
async def test_threads_and_tasks_share_a_database(tmp_path: Path) -> None:
    """`sync` is the database itself, and an open one can be given to tasks."""
    with onewriter.open(tmp_path / "items.db", config=Config(), migrations=SCHEMA) as threads:
        db = aio.Database(threads)
        assert db.sync is threads
        await db.execute(INSERT, ("task",))
        await asyncio.to_thread(threads.execute, INSERT, ("thread",))
        assert await names(db) == ["task", "thread"]
        assert repr(db) == f"<onewriter.aio.Database {tmp_path / 'items.db'} open>"
        await db.close()
        assert (threads.closed, db.closed) == (True, True)


@on_loop
async def test_its_threads_end_with_the_database(tmp_path: Path) -> None:
    """Also where a thread closes that, and what stands for it is kept."""
    with onewriter.open(tmp_path / "items.db", migrations=SCHEMA) as threads:
        db = aio.Database(threads)
        assert await names(db) == []
        assert "onewriter-read-items.db-1" in (each.name for each in threading.enumerate())
        await asyncio.to_thread(threads.close)
        assert [each.name for each in threading.enumerate() if "items.db" in each.name] == []


@on_loop
async def test_what_progress_raises_is_raised_by_the_snapshot(tmp_path: Path) -> None:
    """It ends the work at the next report; where it was the last, the file is there."""

    def fails(_done: int, _total: int) -> None:
        raise LookupError("mine")

    async def later(_done: int, _total: int) -> None: ...

    report = Reports(fails)
    report(1, 3)
    await asyncio.sleep(0)
    for done in (2, 3):
        with pytest.raises(LookupError, match="mine"):
            report(done, 3)
    async with await open_items(tmp_path) as db:
        with pytest.raises(LookupError, match="mine"):
            await db.snapshot(tmp_path / "s.db", progress=fails)
        with pytest.raises(MisuseError, match="progress takes a plain function"):
            await db.snapshot(tmp_path / "t.db", progress=later)
