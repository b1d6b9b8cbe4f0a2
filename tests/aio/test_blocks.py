"""Transactions, snapshots and streams that a task keeps open: what they do, how long they last, how they end."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import time
import weakref
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

import onewriter
from onewriter import (
    Config,
    DataError,
    IntegrityError,
    ReadTimeout,
    RowMismatch,
    StatementTimeout,
    TransactionEnded,
    WriteTimeout,
    aio,
)
from onewriter.aio.rows import GROUP_MAX
from tests.aio.loops import COUNT, INSERT, names, on_loop, open_items, pending, until
from tests.support.databases import Held, with_function
from tests.support.steps import Call, wait_until

NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


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
