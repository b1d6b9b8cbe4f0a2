"""Misuse is an error at once, never a deadlock: judged by the task that awaits."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import onewriter
from onewriter import (
    DatabaseClosed,
    MisuseError,
    NestedRead,
    NestedWrite,
    ProgrammingError,
    TransactionEnded,
    WrongThread,
    aio,
)
from tests.aio.loops import COUNT, INSERT, insert, names, on_loop, open_items, pending
from tests.support.steps import Call

WRITES: dict[str, Callable[[aio.Database], Awaitable[object]]] = {
    "execute": lambda db: db.execute(INSERT, ("nested",)),
    "execute_many": lambda db: db.execute_many(INSERT, [("nested",)]),
    "write": lambda db: db.write(insert("nested")),
    "transaction": lambda db: db.transaction().__aenter__(),
    "migrate": lambda db: db.migrate([]),
    "vacuum": lambda db: db.vacuum(),
    "checkpoint": lambda db: db.checkpoint(),
    "close": lambda db: db.close(),
}
READS: dict[str, Callable[[aio.Database], Awaitable[object]]] = {
    "query": lambda db: db.query(COUNT),
    "read": lambda db: db.read(lambda tx: tx.query(COUNT)),
    "read_transaction": lambda db: db.read_transaction().__aenter__(),
    "stream": lambda db: db.stream(COUNT).__aenter__(),
    "snapshot": lambda db: db.snapshot("never.db"),
    "check": lambda db: db.check(),
}


async def _gathered(call: Awaitable[object]) -> object:
    return await asyncio.gather(call, asyncio.sleep(0))


async def _in_group(call: Any) -> None:  # noqa: ANN401 - a coroutine of whatever type
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(call)
    except* NestedWrite as errors:
        raise errors.exceptions[0] from None


WAITING: dict[str, Callable[[Any], Awaitable[object]]] = {
    "itself": lambda call: call,
    "wait_for": lambda call: asyncio.wait_for(call, 5.0),
    "task": asyncio.create_task,
    "gather": _gathered,
    "shield": asyncio.shield,
    "group": _in_group,
    "both": lambda call: asyncio.wait_for(asyncio.gather(asyncio.wait_for(call, 4.0)), 5.0),
}


async def _later(call: Callable[[], Awaitable[object]]) -> object:
    """Call when those who wait have begun to."""
    await asyncio.sleep(0.001)
    return await call()


@pytest.mark.parametrize("name", WRITES)
@on_loop
async def test_a_write_inside_a_transaction_is_refused(tmp_path: Path, name: str) -> None:
    """By the task that has it open; the transaction goes on."""
    async with await open_items(tmp_path) as db:
        async with db.transaction() as tx:
            with pytest.raises(NestedWrite):
                await WRITES[name](db)
            await tx.execute(INSERT, ("one",))
        assert await names(db) == ["one"]


@pytest.mark.parametrize("name", READS)
@on_loop
async def test_a_read_inside_a_transaction_is_refused(tmp_path: Path, name: str) -> None:
    """It would see the last commit, not what the transaction did."""
    async with await open_items(tmp_path) as db, db.transaction() as tx:
        with pytest.raises(NestedRead, match="tx"):
            await READS[name](db)
        with pytest.raises(NestedRead, match="tx"):
            await asyncio.wait_for(_later(lambda: READS[name](db)), 5.0)
        assert await tx.query(COUNT) == [(0,)]


@pytest.mark.parametrize("name", WAITING)
@on_loop
async def test_a_task_that_is_waited_for_is_inside_too(tmp_path: Path, name: str) -> None:
    """Whichever way its parent waits for it."""
    async with await open_items(tmp_path) as db:
        async with db.transaction() as tx:
            with pytest.raises(NestedWrite):
                await WAITING[name](_later(lambda: db.execute(INSERT, ("nested",))))
            await tx.execute(INSERT, ("one",))
        assert await names(db) == ["one"]


@on_loop
async def test_another_task_is_another_caller(tmp_path: Path) -> None:
    """One that was begun inside, and is not waited for there, waits for its turn."""
    async with await open_items(tmp_path) as db:
        async with db.transaction() as tx:
            other = asyncio.create_task(db.execute(INSERT, ("other",)))
            await pending(db, 1)
            await tx.execute(INSERT, ("one",))
        await other
        assert await names(db) == ["one", "other"]


@on_loop
async def test_any_task_may_use_a_transaction(tmp_path: Path) -> None:
    """One call at a time, in the order in which they came."""
    async with await open_items(tmp_path) as db:
        async with db.transaction() as tx:
            await asyncio.gather(*(tx.execute(INSERT, (str(number),)) for number in range(20)))
        assert await names(db) == [str(number) for number in range(20)]


@on_loop
async def test_a_thread_that_writes_may_not_wait_for_a_task(tmp_path: Path) -> None:
    """A loop that is run inside of a write of its thread would wait for that."""
    async with await open_items(tmp_path) as db:

        def nested(_tx: onewriter.Transaction) -> None:
            asyncio.run(_awaited(db.execute(INSERT, ("nested",))))

        def nested_read(_tx: onewriter.Transaction) -> None:
            asyncio.run(_awaited(db.query(COUNT)))

        with pytest.raises(NestedWrite):
            await db.write(nested)
        with pytest.raises(NestedRead):
            await db.write(nested_read)
        with pytest.raises(NestedWrite):
            await asyncio.to_thread(db.sync.write, nested)


async def _awaited(call: Awaitable[object]) -> object:
    return await call


@on_loop
async def test_a_task_that_holds_all_readers_is_told(tmp_path: Path) -> None:
    """Nobody else could end its wait."""
    async with await open_items(tmp_path) as db:
        async with db.read_transaction(), db.stream(COUNT):
            for name, read in READS.items():
                if name in ("query", "read", "read_transaction", "stream"):
                    with pytest.raises(NestedRead, match="readers_max"):
                        await read(db)
        async with db.read_transaction():
            assert await db.query(COUNT) == [(0,)]


@on_loop
async def test_functions_that_are_none(tmp_path: Path) -> None:
    """A coroutine function does nothing when it is called: it is refused with the reason, callbacks too."""

    async def coroutine(_tx: object) -> None:
        await asyncio.sleep(0)

    async def callback() -> None:
        await asyncio.sleep(0)

    def gives_back(tx: object) -> object:
        return coroutine(tx)

    async with await open_items(tmp_path) as db:
        for call in (db.write, db.read):
            with pytest.raises(MisuseError, match="coroutine"):
                await call(coroutine)  # type: ignore[unused-coroutine] # it is refused
            with pytest.raises(MisuseError, match="coroutine"):
                await call(gives_back)
            with pytest.raises(ProgrammingError, match="function"):
                await call(None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        async with db.transaction() as tx:
            with pytest.raises(MisuseError, match="start a task"):
                await tx.after_commit(callback)
        with pytest.raises(MisuseError, match="start a task"):
            await db.write(lambda tx: tx.after_commit(callback))


@on_loop
async def test_after_the_end(tmp_path: Path) -> None:
    """Of a block, of a stream, of the database."""
    async with await open_items(tmp_path) as db:
        block = db.transaction()
        async with block as tx:
            async with tx.stream(COUNT) as inner:
                pass
            with pytest.raises(TransactionEnded):
                await anext(inner)
        with pytest.raises(TransactionEnded, match="is over"):
            await tx.execute(INSERT, ("late",))
        with pytest.raises(MisuseError, match="entered once"):
            await block.__aenter__()
        async with db.read_transaction() as read:
            pass
        with pytest.raises(TransactionEnded):
            await read.query(COUNT)
        async with db.stream(COUNT) as rows:
            pass
        with pytest.raises(TransactionEnded, match="the stream is over"):
            await anext(rows)
    for call in {**WRITES, **READS}.values():
        if call is not WRITES["close"]:
            with pytest.raises(DatabaseClosed):
                await call(db)
    await db.close()


@on_loop
async def test_a_transaction_belongs_to_its_loop(tmp_path: Path) -> None:
    """Another loop's task may not use it."""
    async with await open_items(tmp_path) as db, db.transaction() as tx:
        other = Call(lambda: asyncio.run(_awaited(tx.execute(INSERT, ("other",)))))
        assert isinstance(await asyncio.to_thread(other.error), WrongThread)


@on_loop
async def test_it_is_not_sent_anywhere(tmp_path: Path) -> None:
    """To another process, say."""
    async with await open_items(tmp_path) as db:
        with pytest.raises(MisuseError, match="open the file there"):
            pickle.dumps(db)
