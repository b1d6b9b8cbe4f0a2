"""Transactions, snapshots and streams that a task keeps open: what they do, and what they wait for."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from onewriter import (
    Config,
    DataError,
    IntegrityError,
    ReadTimeout,
    RowMismatch,
    TransactionEnded,
    WriteTimeout,
    aio,
)
from onewriter.aio.rows import GROUP_MAX
from tests.aio.loops import COUNT, INSERT, names, on_loop, open_items, pending, until
from tests.support.databases import Held, with_function
from tests.support.steps import LIMIT_S, Call, wait_until


@on_loop
async def test_a_transaction(tmp_path: Path) -> None:
    """All of its calls, one commit; nobody sees it before."""
    async with await open_items(tmp_path) as db:
        commits = (await db.stats()).commits
        async with db.transaction() as tx:
            assert (await tx.execute(INSERT, ("one",))).last_insert_rowid == 1
            assert (await tx.execute_many(INSERT, [("two",), ("three",)])).changes == 2
            await tx.script(
                "INSERT INTO item (name) VALUES ('four'); INSERT INTO item (name) VALUES ('five')"
            )
            assert await tx.query("SELECT name FROM item WHERE id < ?", (3,), into=str) == ["one", "two"]
            assert await tx.query_one("SELECT name FROM item WHERE id = 4", into=str) == "four"
            assert await tx.query_value(COUNT, into=int) == 5
            async with tx.stream("SELECT id FROM item ORDER BY id", into=int) as ids:
                assert [number async for number in ids] == [1, 2, 3, 4, 5]
            assert await asyncio.create_task(names(db)) == []
        assert (await db.stats()).commits == commits + 1
        assert len(await names(db)) == 5


@on_loop
async def test_a_block_that_raises_is_rolled_back(tmp_path: Path) -> None:
    """And its error leaves it as it is; an error that was caught inside is the block's own business."""
    async with await open_items(tmp_path) as db:
        with pytest.raises(LookupError, match="mine"):
            async with db.transaction() as tx:
                await tx.execute(INSERT, ("undone",))
                raise LookupError("mine")
        async with db.transaction() as tx:
            await tx.execute(INSERT, ("one",))
            with pytest.raises(IntegrityError):
                await tx.execute(INSERT, ("one",))
        with pytest.raises(IntegrityError) as caught:  # SQLite has rolled all of it back
            async with db.transaction() as tx:
                await tx.execute(INSERT, ("undone",))
                with pytest.raises(IntegrityError):
                    await tx.execute("INSERT OR ROLLBACK INTO item (name) VALUES ('one')")
                with pytest.raises(TransactionEnded):
                    await tx.execute(INSERT, ("undone too",))
        assert caught.value.ran == "rolled_back"
        with pytest.raises(IntegrityError):  # found at the commit
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO part (item, later) VALUES (1, 77)")
        assert await names(db) == ["one"]


@on_loop
async def test_savepoints_nest(tmp_path: Path) -> None:
    """What raises takes only its own part back."""
    async with await open_items(tmp_path) as db:
        async with db.transaction() as tx:
            await tx.execute(INSERT, ("one",))
            async with tx.savepoint():
                await tx.execute(INSERT, ("two",))
                with pytest.raises(LookupError):
                    async with tx.savepoint():
                        await tx.execute(INSERT, ("undone",))
                        raise LookupError
                await tx.execute(INSERT, ("three",))
        assert await names(db) == ["one", "two", "three"]


@on_loop
async def test_a_value_as_a_file(tmp_path: Path) -> None:
    """Read and written piece by piece."""
    async with await open_items(tmp_path) as db:
        await db.execute("CREATE TABLE body (bytes BLOB)")
        await db.execute("INSERT INTO body VALUES (zeroblob(10))")
        async with db.transaction() as tx, await tx.open_blob("body", "bytes", 1, writable=True) as blob:
            assert (len(blob), bool(blob)) == (10, True)
            assert await blob.write(b"hello") == 5
            assert await blob.tell() == 5
            assert await blob.seek(-2, io.SEEK_END) == 8
            with pytest.raises(DataError):
                await blob.write(b"too long")
        async with db.read_transaction() as read:
            blob = await read.open_blob("body", "bytes", 1)
            assert await blob.read(5) == b"hello"
            assert await blob.read() == bytes(5)
            assert await blob.read() == b""
            await blob.close()
            with pytest.raises(ValueError, match="closed"):
                await blob.read()


@on_loop
async def test_what_waits_waits_no_longer_than_its_deadline(tmp_path: Path) -> None:
    """For the turn, and for a reader; the message says who has it."""
    async with await open_items(tmp_path) as db:
        free = asyncio.Event()
        held = asyncio.create_task(_hold(db, free))
        await until(lambda: bool(db.sync._presence.tasks), "a transaction")
        writes: list[Coroutine[object, object, object]] = [
            db.execute(INSERT, ("late",), timeout_s=0.01),
            db.write(lambda tx: tx.execute(INSERT, ("late",)), timeout_s=0.01),
            _entered(db.transaction(timeout_s=0.01)),
        ]
        for write in writes:
            with pytest.raises(WriteTimeout) as caught:
                await write
            assert (caught.value.ran, caught.value.held_by) == ("no", "line")
        free.set()
        await held
        reading = asyncio.create_task(_keep_readers(db, free := asyncio.Event()), name="the reading task")
        await until(lambda: db.sync.stats().readers_lent == 2, "two reads")
        reads: list[Coroutine[object, object, object]] = [
            db.query(COUNT, timeout_s=0.01),
            db.read(lambda tx: tx.query(COUNT), timeout_s=0.01),
            _entered(db.read_transaction(timeout_s=0.01)),
            _entered(db.stream(COUNT, timeout_s=0.01)),
        ]
        for read in reads:
            with pytest.raises(ReadTimeout, match=r"the reading task: SELECT count"):
                await read
        free.set()
        await reading
        assert await names(db) == []


@on_loop
async def test_a_block_that_a_thread_comes_to_as_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is told that it was too late, and the reader does not wait for it.

    loop                                  thread
    finds that it has not begun
                                          opens the read
    tells the task that it is too late
    """
    async with await open_items(tmp_path) as db:
        free = threading.Event()
        reads = [asyncio.create_task(db.read(lambda _tx: free.wait(LIMIT_S))) for _ in range(2)]
        await until(lambda: db.sync.stats().readers_lent == 2, "two reads")
        readers = db._desk._readers
        late = readers.late

        def slowly(since: float, sql: str) -> ReadTimeout:
            free.set()
            wait_until(lambda: "a read transaction" in str(db.sync.stats().oldest_reader), "an open read")
            return late(since, sql)

        monkeypatch.setattr(readers, "late", slowly)
        with pytest.raises(ReadTimeout):
            await _entered(db.read_transaction(timeout_s=0.01))
        await asyncio.gather(*reads)
        await until(lambda: db.sync.stats().readers_lent == 0, "no read left")


async def _entered(block: AbstractAsyncContextManager[object]) -> object:
    return await block.__aenter__()


async def _hold(db: aio.Database, free: asyncio.Event) -> None:
    async with db.transaction():
        await free.wait()


async def _keep_readers(db: aio.Database, free: asyncio.Event) -> None:
    async with db.read_transaction() as tx, db.read_transaction() as other:
        await asyncio.gather(tx.query(COUNT), other.query(COUNT))
        await free.wait()


@on_loop
async def test_a_full_line_is_waited_for_outside(tmp_path: Path) -> None:
    """First come, first served; past its deadline a call has not run."""
    async with await open_items(tmp_path, Config(pending_max=2)) as db:
        held = Held(db.sync)
        tasks = [asyncio.create_task(db.execute(INSERT, (str(number),))) for number in range(20)]
        await pending(db, 2)
        with pytest.raises(WriteTimeout):
            await db.execute(INSERT, ("late",), timeout_s=0.01)
        held.let_go()
        await asyncio.gather(*tasks)
        assert await names(db) == ["held", *map(str, range(20))]


@on_loop
async def test_a_stream_is_read_as_it_is_taken(tmp_path: Path) -> None:
    """No more than a group is fetched before it is asked for; an error comes after the rows before it."""
    made: list[int] = []

    def note(number: int) -> int:
        made.append(number)
        return number

    config = Config(on_connect=with_function("made", note))
    async with await open_items(tmp_path, config) as db:
        async with db.stream(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT made(i) FROM n",
            into=int,
        ) as rows:
            for number in range(1, 11):
                assert await anext(rows) == number
            assert len(made) <= 10 + GROUP_MAX + 1  # a group may end early on a busy machine
            taken = [number async for number in rows]
            assert taken == list(range(11, 100_001))
        async with db.stream("SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 'three'", into=int) as mixed:
            assert [await anext(mixed), await anext(mixed)] == [1, 2]
            with pytest.raises(RowMismatch):
                await anext(mixed)
            with pytest.raises(StopAsyncIteration):
                await anext(mixed)


@on_loop
async def test_many_tasks_want_a_turn(tmp_path: Path) -> None:
    """Transactions of tasks, functions of threads and statements, in the order of their coming."""
    async with await open_items(tmp_path) as db:
        held = Held(db.sync)

        async def block(name: str) -> None:
            async with db.transaction() as tx:
                await tx.execute(INSERT, (name,))

        waiting: list[Call[object] | asyncio.Task[object]] = []
        for number in range(9):
            name = f"{number}"
            if number % 3 == 0:
                waiting.append(asyncio.create_task(block(name)))
            elif number % 3 == 1:
                waiting.append(Call(lambda name=name: db.sync.write(lambda tx: tx.execute(INSERT, (name,)))))  # type: ignore[misc]
            else:
                waiting.append(asyncio.create_task(db.execute(INSERT, (name,))))
            await pending(db, number + 1)
        held.let_go()
        for each in waiting:
            await (each if isinstance(each, asyncio.Task) else asyncio.to_thread(each.result))
        assert await names(db) == ["held", *map(str, range(9))]


@dataclass
class Numbered:
    """A row."""

    id: int


def _class_that_raises(stops: type[Exception]) -> type[Numbered]:
    @dataclass
    class Second(Numbered):
        def __post_init__(self) -> None:
            if self.id == 2:
                raise stops

    return Second


@on_loop
async def test_a_class_that_raises_what_ends_loops(tmp_path: Path) -> None:
    """It does not end the stream as if there were no more rows."""
    for stops in (StopIteration, StopAsyncIteration):
        async with await open_items(tmp_path) as db:
            async with db.stream("SELECT 1 AS id UNION ALL SELECT 2", into=_class_that_raises(stops)) as rows:
                assert (await anext(rows)).id == 1
                with pytest.raises(RuntimeError, match=stops.__name__):
                    await anext(rows)


@on_loop
async def test_no_time_to_wait_is_time_enough_where_nobody_is_in_the_way(tmp_path: Path) -> None:
    """`timeout_s=0`: for reads and writes alike."""
    async with await open_items(tmp_path) as db:
        for _ in range(20):
            assert await db.query(COUNT, timeout_s=0) == [(0,)]
            async with db.read_transaction(timeout_s=0) as tx:
                assert await tx.query(COUNT) == [(0,)]
            await db.execute("UPDATE item SET size = 0", timeout_s=0)
