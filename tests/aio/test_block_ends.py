"""Blocks of a task that last too long, are forgotten, or lose their loop: how they end, and what is free then."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

import onewriter
from onewriter import (
    Config,
    StatementTimeout,
    TransactionEnded,
    aio,
)
from tests.aio.loops import COUNT, INSERT, NUMBERS, insert, names, on_loop, open_items, until
from tests.support.databases import Held
from tests.support.steps import wait_until

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@on_loop
async def test_a_transaction_is_held_for_so_long(tmp_path: Path) -> None:
    """Between two calls, and inside a statement; then it is rolled back, and the turn is free."""
    async with await open_items(tmp_path) as db:
        with pytest.raises(TransactionEnded, match="hold_s"):
            async with db.transaction(hold_s=0.02) as tx:
                await tx.execute(INSERT, ("undone",))
                await _others_write(db)
                with pytest.raises(TransactionEnded, match="hold_s") as caught:
                    await tx.execute(INSERT, ("late",))
                assert caught.value.ran == "rolled_back"
        with pytest.raises(TransactionEnded, match="hold_s"):
            async with db.transaction(hold_s=0.02) as tx:
                await tx.query(ENDLESS)
        with pytest.raises(LookupError):  # what leaves without a commit is told nothing of it
            async with db.transaction(hold_s=0.02) as tx:
                await _others_write(db)
                raise LookupError
        assert await names(db) == []


async def _others_write(db: aio.Database) -> None:
    """Wait until another task can write."""
    await asyncio.create_task(_write(db))


async def _write(db: aio.Database) -> None:
    await asyncio.sleep(0.001)
    await asyncio.to_thread(db.sync.execute, "UPDATE item SET size = 0 WHERE 0")


@on_loop
async def test_a_long_turn_is_logged_with_the_tasks_stack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: the task's name, and where it is."""
    async with await open_items(tmp_path, Config(holder_warn_s=0.02)) as db:

        async def dawdles() -> None:
            async with db.transaction() as tx:
                await until(lambda: bool(caplog.records), "the warning")
                await tx.query(COUNT)

        with caplog.at_level(logging.WARNING, "onewriter"):
            await asyncio.create_task(dawdles(), name="the dawdler")
            await asyncio.sleep(0.05)
    assert len(caplog.records) == 1
    assert "the dawdler has held the write turn" in caplog.text
    assert "dawdles" in caplog.text


@on_loop
async def test_a_read_that_grows_old_is_ended(tmp_path: Path) -> None:
    """The block's next call says why; its reader comes back."""
    async with await open_items(tmp_path, Config(reader_age_max_s=0.05)) as db:
        async with db.read_transaction() as tx:
            await tx.query(COUNT)
            await asyncio.sleep(0.2)
            with pytest.raises(StatementTimeout, match="reader_age_max_s"):
                await tx.query(COUNT)
        assert (await db.stats()).readers_lent == 0


@on_loop
async def test_a_forgotten_block_ends_with_its_object(tmp_path: Path) -> None:
    """Entered by hand and dropped: the turn and the readers are free again."""
    async with await open_items(tmp_path) as db:
        tx = await db.transaction().__aenter__()
        await tx.execute(INSERT, ("undone",))
        del tx
        gc.collect()
        read = await db.read_transaction().__aenter__()
        rows = await db.stream(NUMBERS, (10,)).__aenter__()
        assert await anext(rows) == (1,)
        del read, rows
        gc.collect()
        await until(lambda: db.sync.stats().readers_lent == 0, "the readers back")
        await db.execute(INSERT, ("one",))
        assert await names(db) == ["one"]


async def _in_a_savepoint(db: aio.Database, inside: asyncio.Event) -> None:
    async with db.transaction() as tx, tx.savepoint():
        await tx.execute(INSERT, ("undone",))
        inside.set()
        await asyncio.Future[None]()


async def _in_a_stream(db: aio.Database, inside: asyncio.Event) -> None:
    async with db.transaction() as tx, tx.stream(NUMBERS, (100_000,)) as rows:
        async for _ in rows:
            inside.set()
            await asyncio.Future[None]()


async def _in_a_blob(db: aio.Database, inside: asyncio.Event) -> None:
    async with db.transaction() as tx, await tx.open_blob("item", "name", 1):
        inside.set()
        await asyncio.Future[None]()


Inside = Callable[[aio.Database, asyncio.Event], Coroutine[Any, Any, None]]


@on_loop
async def test_a_coroutine_that_is_closed_while_it_waits_never_runs(tmp_path: Path) -> None:
    """By hand, in the middle of entering a block, or of a write: the turn and the reader are free, nothing is done."""
    async with await open_items(tmp_path, Config(hold_s=60.0, readers_max=1)) as db:
        blocks: list[Callable[[], Coroutine[Any, Any, object]]] = [
            lambda: db.transaction().__aenter__(),
            lambda: db.read_transaction().__aenter__(),
            lambda: db.stream(COUNT).__aenter__(),
            lambda: db.execute(INSERT, ("undone",)),
            lambda: db.write(insert("undone")),
        ]
        held = await asyncio.to_thread(Held, db.sync)  # so that no write is begun
        for block in blocks:
            coroutine = block()
            coroutine.send(None)
            coroutine.close()
        opened = blocks[0]()
        opened.send(None)
        held.let_go()
        letters = db._desk.box()._letters
        wait_until(lambda: bool(letters), "it has the turn")  # of which this loop has not heard
        opened.close()
        await db.execute(INSERT, ("one",), timeout_s=5.0)
        assert await db.query("SELECT name FROM item", into=str, timeout_s=5.0) == ["held", "one"]


def test_what_a_finalizer_raises_does_not_keep_a_destroyed_task(tmp_path: Path) -> None:
    """Its loop is closed: it asks for more as it is destroyed, and the error of that comes to the end of its block."""

    async def block(db: aio.Database, opened: asyncio.Event) -> None:
        async with db.transaction() as tx:
            opened.set()
            try:
                await asyncio.sleep(60)
            finally:
                await tx.execute("INSERT INTO t VALUES (1)")

    async def main(db: aio.Database) -> asyncio.Task[None]:
        opened = asyncio.Event()
        task = asyncio.create_task(block(db, opened))
        await opened.wait()
        return task

    with onewriter.open(tmp_path / "a.db", config=Config(hold_s=60.0)) as threads:
        threads.execute("CREATE TABLE t (a)")
        loop = asyncio.new_event_loop()
        task = loop.run_until_complete(main(aio.Database(threads)))
        loop.close()
        setattr(task, "_log_destroy_pending", False)  # noqa: B010 - that of the C class, which no stub has
        with pytest.raises(RuntimeError, match="no running event loop"):
            task.get_coro().close()
        assert threads.execute("INSERT INTO t VALUES (2)", timeout_s=5.0).changes == 1
        assert threads.query("SELECT a FROM t", into=int) == [2]


@pytest.mark.parametrize("kind", [_in_a_savepoint, _in_a_stream, _in_a_blob])
@on_loop
async def test_a_task_that_is_destroyed_inside_an_inner_block(tmp_path: Path, kind: Inside) -> None:
    """That waits for nothing then, and nothing is heard of it but its end; also a second time."""
    async with await open_items(tmp_path) as db:
        await db.execute(INSERT, ("one",))
        for _ in range(2):
            inside = asyncio.Event()
            task = asyncio.create_task(kind(db, inside))
            setattr(task, "_log_destroy_pending", False)  # noqa: B010 - that of the C class, which no stub has
            await inside.wait()
            kept: weakref.ref[object] = weakref.ref(task)
            del task
            # The thread that told it of its last call may have that call in hand for a moment.
            await until(lambda kept=kept: gc.collect() >= 0 and kept() is None, "it is destroyed")  # type: ignore[misc]
            await db.execute("UPDATE item SET size = 0", timeout_s=5.0)
            gc.collect()
            assert await names(db) == ["one"]


@on_loop
async def test_a_generator_that_is_closed_inside_a_block_waits_for_its_end(tmp_path: Path) -> None:
    """What was open is rolled back, and the turn is free, when `aclose` returns."""
    async with await open_items(tmp_path) as db:

        async def rows() -> AsyncGenerator[object]:
            async with db.transaction() as tx:
                await tx.execute(INSERT, ("undone",))
                async with tx.stream("SELECT name FROM item") as found:
                    async for row in found:
                        yield row

        for number in range(20):
            generator = rows()
            await anext(generator)
            await generator.aclose()
            await db.execute(INSERT, (f"{number}",), timeout_s=0.0)
        assert await names(db) == [f"{number}" for number in range(20)]


def test_a_loop_that_ends_in_the_middle_of_a_block(tmp_path: Path) -> None:
    """Its task is cancelled by `asyncio.run`, or destroyed with a loop that somebody closed: the turn is free."""
    with onewriter.open(tmp_path / "a.db") as threads:
        threads.execute("CREATE TABLE t (a)")
        db = aio.Database(threads)

        async def block(opened: asyncio.Event) -> None:
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO t VALUES (1)")
                opened.set()
                await asyncio.sleep(60)

        async def main() -> asyncio.Task[None]:
            opened = asyncio.Event()
            task = asyncio.create_task(block(opened))
            await opened.wait()
            return task

        asyncio.run(main())
        assert threads.execute("INSERT INTO t VALUES (2)", timeout_s=5.0).changes == 1
        loop = asyncio.new_event_loop()
        task = loop.run_until_complete(main())
        loop.close()
        task.get_coro().close()  # as the collector would
        assert threads.execute("INSERT INTO t VALUES (3)", timeout_s=5.0).changes == 1
        assert threads.query("SELECT a FROM t", into=int) == [2, 3]
        wait_until(lambda: not threads._presence.tasks, "nobody is said to have a transaction")
        del task
        loop = asyncio.new_event_loop()
        loop.run_until_complete(db.close())
        loop.close()


@on_loop
async def test_a_turn_that_was_over_before_its_block_began(tmp_path: Path) -> None:
    """The loop was kept for longer than ``hold_s``: the block hears of it, and its task is outside of it then."""
    async with await open_items(tmp_path) as db:
        block = db.transaction(hold_s=0.01)
        entering = asyncio.ensure_future(block.__aenter__())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251 - what a service should not do
        tx = await entering
        with pytest.raises(TransactionEnded, match="hold_s"):
            await tx.execute(INSERT, ("late",))
        with pytest.raises(TransactionEnded, match="hold_s"):
            await block.__aexit__(None, None, None)
        await db.execute(INSERT, ("one",))
        assert await names(db) == ["one"]


@on_loop
async def test_a_block_does_not_keep_its_task(tmp_path: Path) -> None:
    """A task that nobody refers to any more is destroyed, and its block ends with it."""
    async with await open_items(tmp_path) as db:
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, _context: None
        )  # of a task that was destroyed

        async def forgotten(
            block: Callable[[], AbstractAsyncContextManager[object]],
            future: list[asyncio.Future[None]],
            inside: list[None],
        ) -> None:
            async with block() as given:
                if isinstance(given, aio.Transaction):
                    await given.execute(INSERT, ("undone",))
                inside.append(None)
                await future.pop()

        blocks: list[Callable[[], AbstractAsyncContextManager[object]]] = [
            db.transaction,
            db.read_transaction,
            lambda: db.stream(COUNT),
        ]
        for block in blocks:
            inside: list[None] = []
            left: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future()]
            alive = weakref.ref(asyncio.create_task(forgotten(block, left, inside)))
            await until(lambda inside=inside: bool(inside), "the block")  # type: ignore[misc]
            await asyncio.sleep(0.01)
            gc.collect()
            await until(lambda alive=alive: alive() is None, "the task destroyed")  # type: ignore[misc]
        await db.execute(INSERT, ("one",), timeout_s=5.0)
        await until(lambda: db.sync.stats().readers_lent == 0, "the readers back")
        assert await names(db) == ["one"]


def test_a_closed_loop_keeps_neither_the_turn_nor_a_reader(tmp_path: Path) -> None:
    """Somebody closes it while tasks wait inside blocks, and for blocks: what nobody can leave is ended.

    task                                       another task                      the loop
    has a transaction, and a statement runs    waits for its turn, for a reader
                                                                                 is closed
    """

    async def in_the_middle(db: aio.Database, block: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        async with block() as tx:
            await tx.query_one(f"{NUMBERS} LIMIT 1 OFFSET 99999", (100_000,))
            await asyncio.sleep(60)

    config = Config(readers_max=1, hold_s=60.0)
    with onewriter.open(tmp_path / "a.db", config=config, durability="normal") as threads:
        db = aio.Database(threads)

        async def main(tasks: list[asyncio.Task[None]]) -> None:
            blocks = (db.transaction, db.read_transaction, db.transaction, db.read_transaction)
            tasks.extend(asyncio.create_task(in_the_middle(db, block)) for block in blocks)
            await until(lambda: len(threads._presence.tasks) == len(db._desk._reading) == 1, "two are inside")

        loop, kept = asyncio.new_event_loop(), list[asyncio.Task[None]]()
        loop.run_until_complete(main(kept))
        loop.close()
        assert threads.execute("CREATE TABLE t (a)", timeout_s=5.0)
        assert threads.query("SELECT 1", timeout_s=5.0) == [(1,)]
        asyncio.run(db.close(5.0))
        assert threads.stats().readers_lent == 0
        for task in kept:
            setattr(task, "_log_destroy_pending", False)  # noqa: B010 - that of the C class, which no stub has
            task.get_coro().close()
