"""Cancelled calls: what has not begun never runs, what has begun ends by itself, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import onewriter
from onewriter import Config, Migration, aio, presence
from onewriter.aio import opening
from tests.aio.loops import COUNT, INSERT, insert, is_sound, names, on_loop, open_items, pending, until
from tests.support.databases import SCHEMA, Held, Pause
from tests.support.steps import LIMIT_S, Steps

LONG = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT count(*) FROM n"
)


async def _cancelled(task: asyncio.Task[object]) -> None:
    """Cancel *task* and see that it ends at once."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, LIMIT_S)


@on_loop
async def test_a_write_that_waits_never_runs(tmp_path: Path) -> None:
    """Its place in line is free at once, whichever kind it is."""
    async with await open_items(tmp_path) as db:
        held = Held(db.sync)

        async def block() -> None:
            async with db.transaction() as tx:
                await tx.execute(INSERT, ("block",))

        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(db.execute(INSERT, ("statement",))),
            asyncio.create_task(db.execute_many(INSERT, [("many",)])),
            asyncio.create_task(db.write(insert("function"))),
            asyncio.create_task(block()),
        ]
        await pending(db, 4)
        for task in tasks:
            await _cancelled(task)
        assert (await db.stats()).pending == 0
        held.let_go()
        held.call.result()
        await is_sound(db)
        assert await names(db) == ["held"]


@on_loop
async def test_a_write_that_waits_for_room_never_runs(tmp_path: Path) -> None:
    """It is outside of a full line, and leaves it."""
    async with await open_items(tmp_path, Config(pending_max=1)) as db:
        held = Held(db.sync)
        inside = asyncio.create_task(db.execute(INSERT, ("inside",)))
        await pending(db, 1)
        outside: asyncio.Task[object] = asyncio.create_task(db.execute(INSERT, ("outside",)))
        await asyncio.sleep(0)
        await _cancelled(outside)
        held.let_go()
        await inside
        assert await names(db) == ["held", "inside"]


@on_loop
async def test_a_function_that_has_begun_ends_by_itself(tmp_path: Path) -> None:
    """Its task hears of the cancellation at once; its commit stands, and its callbacks are called on the loop.

    task                     background
                             is inside the function
    is cancelled, has ended
                             returns, commits
    """
    pause = Pause()
    called: list[str] = []
    config = Config(on_connect=pause.on_connect)
    async with await open_items(tmp_path, config) as db:

        def work(tx: onewriter.Transaction) -> None:
            tx.execute(INSERT, ("begun",))
            tx.after_commit(lambda: called.append("called"))
            tx.query("SELECT pause()")

        task: asyncio.Task[object] = asyncio.create_task(db.write(work))
        await asyncio.to_thread(pause.steps.wait_for, "inside")
        await _cancelled(task)
        pause.steps.mark("go")
        await until(lambda: called == ["called"], "the callback")
        assert await names(db) == ["begun"]
        await is_sound(db)


@on_loop
async def test_a_transaction_is_rolled_back_wherever_it_is(tmp_path: Path) -> None:
    """Between two calls, in a statement that takes long, in a savepoint: the turn is free at once."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

    async def between(tx: aio.Transaction) -> None:
        await asyncio.sleep(LIMIT_S)

    async def inside(tx: aio.Transaction) -> None:
        await tx.query(endless)

    async def within(tx: aio.Transaction) -> None:
        async with tx.savepoint():
            await tx.execute(INSERT, ("savepoint",))
            await tx.query(endless)

    async def streaming(tx: aio.Transaction) -> None:
        async with tx.stream(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
        ) as rows:
            async for _ in rows:
                pass

    async with await open_items(tmp_path) as db:
        for where in (between, inside, within, streaming):
            opened = asyncio.Event()

            async def block(
                where: Callable[[aio.Transaction], Awaitable[None]], opened: asyncio.Event
            ) -> None:
                async with db.transaction() as tx:
                    await tx.execute(INSERT, (where.__name__,))
                    opened.set()
                    await where(tx)

            task: asyncio.Task[object] = asyncio.create_task(block(where, opened))
            await opened.wait()
            await asyncio.sleep(0.01)
            await _cancelled(task)
            await is_sound(db)
        assert await names(db) == []


@on_loop
async def test_a_call_that_is_given_up_leaves_its_transaction_open(tmp_path: Path) -> None:
    """A time-out around one call, caught inside the block: what follows waits for what runs, and all is committed."""
    pause = Pause()
    async with await open_items(tmp_path, Config(on_connect=pause.on_connect)) as db:
        async with db.transaction() as tx:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await tx.execute("INSERT INTO item (name, size) VALUES ('slow', pause())")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await tx.execute(INSERT, ("never begun",))
            pause.steps.mark("go")
            await tx.execute(INSERT, ("after",))
        assert await names(db) == ["slow", "after"]


@on_loop
async def test_a_part_that_is_given_up_as_it_is_entered_is_left(tmp_path: Path) -> None:
    """A savepoint, a stream: the transaction goes on as if they had not been there, however many there are."""
    async with await open_items(tmp_path) as db:
        async with db.transaction() as tx:
            for number in range(50):
                entering = asyncio.create_task(_enters(tx, number))
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                entering.cancel()
                await asyncio.wait([entering])
            assert await tx.query_value(COUNT) == 0
            assert tx._session._parts == set()
            await tx.execute(INSERT, ("one",))
        assert await names(db) == ["one"]


async def _enters(tx: aio.Transaction, number: int) -> None:
    if number % 2:
        async with tx.savepoint():
            await tx.execute(INSERT, (f"undone {number}",))
            await asyncio.sleep(60)
    else:
        async with tx.stream("SELECT 1 UNION ALL SELECT 2") as rows:
            await anext(rows)
            await asyncio.sleep(60)


@on_loop
async def test_a_read_is_broken_off_and_its_reader_clean(tmp_path: Path) -> None:
    """A query, a read function, a read transaction, a stream."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    async with await open_items(tmp_path) as db:

        async def block() -> None:
            async with db.read_transaction() as tx:
                await tx.query(endless)

        async def stream() -> None:
            async with db.stream(endless) as rows:
                async for _ in rows:
                    pass

        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: db.query(endless),
            lambda: db.read(lambda tx: tx.query(endless)),
            block,
            stream,
        ]
        for call in calls:
            task: asyncio.Task[object] = asyncio.create_task(_awaited(call))
            await until(lambda: db.sync.stats().readers_lent == 1, "it reads")
            await asyncio.sleep(0.01)
            await _cancelled(task)
            await is_sound(db)


async def _awaited(call: Callable[[], Awaitable[object]]) -> object:
    return await call()


@on_loop
async def test_what_a_read_that_was_broken_off_has_open_is_put_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its reader stays open: the rollback is not broken off with it, wherever SQLite asks."""
    monkeypatch.setattr("onewriter.connection.STEPS", 1)
    monkeypatch.setattr("onewriter.handle.STEPS", 1)
    pause = Pause()
    async with await open_items(tmp_path, Config(readers_max=1, on_connect=pause.on_connect)) as db:
        task: asyncio.Task[object] = asyncio.create_task(db.read(lambda tx: tx.query("SELECT pause()")))
        await until(lambda: pause.steps.is_marked("inside"), "it reads")
        await _cancelled(task)
        pause.steps.mark("go")
        await is_sound(db)
    assert caplog.records == []


@on_loop
async def test_a_read_that_waits_is_never_begun(tmp_path: Path) -> None:
    """Both readers are kept; what waits behind is cancelled, and comes to nothing."""
    began: list[str] = []
    async with await open_items(tmp_path) as db:
        async with db.read_transaction() as one, db.read_transaction() as two:

            async def other() -> None:
                await db.read(lambda _tx: began.append("began"))

            task: asyncio.Task[object] = asyncio.create_task(other())
            await asyncio.sleep(0.01)
            await _cancelled(task)
            assert (await one.query(COUNT), await two.query(COUNT)) == ([(0,)], [(0,)])
        await is_sound(db)
        assert began == []


@on_loop
async def test_what_was_given_up_is_kept_nowhere(tmp_path: Path) -> None:
    """Neither its parameters nor its place among what the loop expects, nor among what the readers' threads do."""
    async with await open_items(tmp_path) as db:
        held = Held(db.sync)
        free = asyncio.Event()
        reading = [asyncio.create_task(_keep_reading(db, free)) for _ in range(2)]
        await until(lambda: db.sync.stats().readers_lent == 2, "all readers lent")
        box = db._desk.box()
        expected = len(box._open)
        tasks: list[asyncio.Task[object]] = []
        for number in range(50):
            tasks.append(asyncio.create_task(db.execute(INSERT, (f"never {number}",))))
            tasks.append(asyncio.create_task(db.query(COUNT)))
        await pending(db, 50)
        assert len(box._open) == expected + 100
        for task in tasks:
            task.cancel()
        with pytest.raises(onewriter.ReadTimeout):
            await db.query(COUNT, timeout_s=0.0)
        await asyncio.wait(tasks)
        assert len(box._open) == expected
        assert len(db._desk.crew._jobs) == 0
        free.set()
        held.let_go()
        await asyncio.gather(*reading)
        held.call.result()
        await is_sound(db)


async def _keep_reading(db: aio.Database, free: asyncio.Event) -> None:
    async with db.read_transaction():
        await free.wait()


@on_loop
async def test_a_block_that_is_cancelled_as_it_ends_is_outside_at_once(tmp_path: Path) -> None:
    """Cancelled again while it waits for its end: what its task does then is not taken for nested, nor is its close."""
    async with await open_items(tmp_path) as db:

        async def block() -> None:
            try:
                async with db.transaction() as tx:
                    await tx.execute(INSERT, ("one",))
                    asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]
            except asyncio.CancelledError:
                await db.execute(INSERT, ("two",))
                await db.close()

        await asyncio.create_task(block())
        assert db.closed
    with onewriter.open(db.path) as again:
        assert again.query("SELECT name FROM item WHERE name = 'two'") == [("two",)]


@on_loop
async def test_a_stream_loses_no_row_to_a_timeout(tmp_path: Path) -> None:
    """A row that was not waited for long enough comes with the next call."""
    pause = Pause()
    async with await open_items(tmp_path, Config(on_connect=pause.on_connect)) as db:
        async with db.stream("SELECT 2 UNION ALL SELECT 2 + pause()", into=int) as rows:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(rows)
            pause.steps.mark("go")
            assert [row async for row in rows] == [2, 3]


@on_loop
async def test_work_on_the_whole_file_goes_on_by_itself(tmp_path: Path) -> None:
    """A cancelled snapshot is written, a cancelled migration applied, each to its end."""
    steps = Steps()

    def migration(tx: onewriter.Transaction) -> None:
        steps.mark("begun")
        steps.wait_for("cancelled")
        tx.query_value(LONG)  # enough that SQLite asks whether to go on
        tx.execute("CREATE TABLE applied (a)")

    migrations = [*SCHEMA, Migration(SCHEMA[-1].version + 1, "more", migration)]
    async with await open_items(tmp_path) as db:
        migrating = asyncio.create_task(db.migrate(migrations))
        await until(lambda: steps.is_marked("begun"), "the migration")
        await _cancelled(migrating)
        steps.mark("cancelled")
        await until(lambda: db.sync.schema_version() == migrations[-1].version, "it is applied")
        await db.execute_many(INSERT, [(f"{number:0>1000}",) for number in range(5_000)])
        begun = asyncio.Event()
        copy = tmp_path / "copy.db"
        copying = asyncio.create_task(db.snapshot(copy, progress=lambda _done, _all: begun.set()))
        await begun.wait()
        await _cancelled(copying)
        await until(copy.exists, "the snapshot")
        with onewriter.open(copy, read_only=True) as copied:
            assert copied.query_value("SELECT count(*) FROM item") == 5_000


@on_loop
async def test_opening_that_is_given_up_when_it_has_come_closes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is open, its task was told, and is cancelled before it runs again: the collector has nothing to warn of."""
    path = tmp_path / "a.db"
    task: asyncio.Task[object] = asyncio.create_task(aio.open(path))
    arrive = opening._Opening.arrive

    def arrive_and_cancel(self: opening._Opening) -> None:
        arrive(self)
        task.cancel()

    monkeypatch.setattr(opening._Opening, "arrive", arrive_and_cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not presence.is_open(path), "it is closed again")


@on_loop
async def test_opening_that_is_given_up_closes_again(tmp_path: Path) -> None:
    """It is cancelled in the middle of a migration, which ends by itself; then nothing is left open.

    task                     a thread
                             migrates
    is cancelled, has ended
                             is open, is closed
    """
    steps = Steps()

    def work(tx: onewriter.Transaction) -> None:
        tx.execute("CREATE TABLE t (a)")
        steps.mark("migrates")
        steps.wait_for("go")

    path = tmp_path / "a.db"
    task: asyncio.Task[object] = asyncio.create_task(aio.open(path, migrations=[Migration(1, "slow", work)]))
    await asyncio.to_thread(steps.wait_for, "migrates")
    await _cancelled(task)
    assert presence.is_open(path)
    steps.mark("go")
    await until(lambda: not presence.is_open(path), "it is closed again")
    async with await aio.open(path) as db:
        assert await db.schema_version() == 1
