"""Loops that nobody runs any more: closed with tasks inside, or left by a thread that ended. Others go on at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

import onewriter
from onewriter import Config, aio
from onewriter.aio.mailbox import Mailbox
from tests.aio.loops import NUMBERS, on_loop, open_items
from tests.support.steps import LIMIT_S, Call, wait_until

Block = Callable[[aio.Database], AbstractAsyncContextManager[Any]]
BLOCKS: dict[str, Block] = {
    "write": lambda db: db.transaction(),
    "read": lambda db: db.read_transaction(),
    "stream": lambda db: db.stream(NUMBERS, (100_000,)),
}


@pytest.fixture
def threads(tmp_path: Path) -> Iterator[onewriter.Database]:
    """A database whose turn and whose one reader may be kept for long."""
    config = Config(readers_max=1, hold_s=60.0)
    with onewriter.open(tmp_path / "a.db", config=config, durability="normal") as opened:
        yield opened


async def _enter(db: aio.Database, block: Block) -> asyncio.Task[None]:
    """Return a task that is inside a block, and stays there."""
    inside = asyncio.Event()

    async def stay() -> None:
        async with block(db):
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stay())
    await inside.wait()
    setattr(task, "_log_destroy_pending", False)  # noqa: B010 - that of the C class, which no stub has
    return task


def _is_free(threads: onewriter.Database) -> None:
    assert threads.execute("CREATE TABLE t (a)", timeout_s=LIMIT_S)
    assert threads.query("SELECT 1", timeout_s=LIMIT_S) == [(1,)]
    wait_until(lambda: not threads._presence.tasks, "nobody is said to have a transaction")


@pytest.mark.parametrize("name", BLOCKS)
def test_a_closed_loop_whose_task_is_kept(threads: onewriter.Database, name: str) -> None:
    """It was idle inside its block, so that nothing comes for it."""
    db, loop = aio.Database(threads), asyncio.new_event_loop()
    task = loop.run_until_complete(_enter(db, BLOCKS[name]))
    loop.close()
    _is_free(threads)
    asyncio.run(db.close(5.0))
    task.get_coro().close()


@pytest.mark.parametrize("name", BLOCKS)
def test_a_loop_whose_thread_has_ended(threads: onewriter.Database, name: str) -> None:
    """Nobody has closed it, and it is kept: only its thread tells that nobody runs it."""
    db, kept = aio.Database(threads), list[Any]()

    def run() -> None:
        loop = asyncio.new_event_loop()
        kept.extend((loop, loop.run_until_complete(_enter(db, BLOCKS[name]))))

    Call(run).result()
    _is_free(threads)
    asyncio.run(db.close(5.0))
    loop, task = kept
    task.get_coro().close()
    loop.close()


@on_loop
async def test_a_loop_that_another_thread_goes_on_with_is_not_lost(tmp_path: Path) -> None:
    """The first thread has ended; the one that runs it now is noted at its first call."""
    async with await open_items(tmp_path) as here:
        db, loop = aio.Database(here.sync), asyncio.new_event_loop()
        Call(lambda: loop.run_until_complete(db.query("SELECT 1"))).result()
        box: Mailbox = db._desk._boxes[loop]
        await asyncio.to_thread(wait_until, lambda: box.is_lost, "it has no thread")
        goes_on, ends = threading.Event(), threading.Event()

        def run() -> None:
            task = loop.run_until_complete(_enter(db, BLOCKS["write"]))
            goes_on.set()
            assert ends.wait(LIMIT_S)
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))

        call = Call(run)
        await asyncio.to_thread(goes_on.wait, LIMIT_S)
        assert not box.is_lost
        ends.set()
        await asyncio.to_thread(call.result)
        loop.close()
        assert box.is_lost
