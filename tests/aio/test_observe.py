"""Watching changes from tasks: an iterator that waits without a thread, and ends with its database."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path

import pytest

import onewriter
from onewriter import Changes, Config, DatabaseClosed, MisuseError, NestedWrite, ProgrammingError, aio
from onewriter.aio.mailbox import Letter, Mailbox
from onewriter.aio.observation import News
from onewriter.recording import RecordingConnection
from tests.aio.loops import INSERT, insert, on_loop, open_items, until
from tests.support.databases import SCHEMA
from tests.support.hearing import replay, short
from tests.support.steps import LIMIT_S, Call, Steps, wait_until

QUICK = Config(observe_poll_s=0.002)


def _records(db: aio.Database) -> bool:
    """Whether anybody observes."""
    writer = db.sync._core.writer
    assert writer is not None
    return isinstance(writer.connection, RecordingConnection)


async def _next(observation: aio.Observation) -> Changes:
    async with asyncio.timeout(LIMIT_S):
        return await anext(observation)


@on_loop
async def test_changes_are_iterated_over(tmp_path: Path) -> None:
    """Each commit from the beginning of the block on, whoever makes it."""
    async with await open_items(tmp_path) as db:
        await db.execute(INSERT, ("before",))
        async with db.observe("item") as changes:
            await db.execute(INSERT, ("a",))
            assert short([await _next(changes)]) == ["item +2"]
            await asyncio.to_thread(db.sync.execute, INSERT, ("b",))
            assert short([await _next(changes)]) == ["item +3"]
            await db.write(insert("c"))
            assert short([await _next(changes)]) == ["item +4"]
        assert changes.closed
        with pytest.raises(StopAsyncIteration):
            await anext(changes)


@on_loop
async def test_an_iteration_needs_no_block(tmp_path: Path) -> None:
    """It begins with the first wait."""
    async with await open_items(tmp_path) as db:
        heard: list[Changes] = []

        async def listen() -> None:
            async for changes in db.observe():
                heard.append(changes)
                if changes.table("item"):
                    break

        listening = asyncio.create_task(listen())
        await until(lambda: _records(db), "observing")
        while not listening.done():
            await db.execute("INSERT INTO item (size) VALUES (1)")
            await asyncio.sleep(0)
        await listening
        assert heard


@on_loop
async def test_a_slow_task_is_told_of_several_at_once(tmp_path: Path) -> None:
    """What comes while it does something else is joined."""
    async with await open_items(tmp_path) as db, db.observe("item") as changes:
        for number in range(200):
            await db.execute(INSERT, (f"{number}",))
        await db.execute("DELETE FROM item WHERE id = 7")
        told: list[Changes] = []
        while sum(each.commits for each in told) < 201:
            told.append(await _next(changes))
        assert len(told) <= 3
        assert replay(told, "item", set()) == {*range(1, 201)} - {7}


@on_loop
async def test_a_waiting_task_may_be_cancelled(tmp_path: Path) -> None:
    """Nothing is lost by it: the next wait is told."""
    async with await open_items(tmp_path) as db, db.observe("item") as changes:
        for number in range(20):
            waiting = asyncio.ensure_future(anext(changes))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await db.execute(INSERT, (f"{number}",))
            assert short([await _next(changes)]) == [f"item +{number + 1}"]


@on_loop
async def test_news_that_comes_as_the_task_begins_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not slept through.

    task                    pump
    finds nothing
                            has news, and finds nobody who waits
    begins to wait
    """
    async with await open_items(tmp_path, Config(observe_poll_s=1e6)) as db, db.observe("item") as changes:
        observer = changes._held.observer
        assert observer is not None
        expect = Mailbox.expect

        def late(self: Mailbox, letter: Letter, now: float | None = None) -> None:
            expect(self, letter, now)
            if isinstance(letter, News):
                Call(lambda: db.sync.execute(INSERT, ("a",))).result()
                wait_until(lambda: observer.has_news, "news")

        monkeypatch.setattr(Mailbox, "expect", late)
        assert short([await _next(changes)]) == ["item +1"]


@on_loop
async def test_the_wait_may_have_a_limit(tmp_path: Path) -> None:
    """As any wait of asyncio."""
    async with await open_items(tmp_path) as db, db.observe("item") as changes:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(changes)
        await db.execute(INSERT, ("a",))
        assert short([await _next(changes)]) == ["item +1"]


@on_loop
async def test_a_task_that_is_cancelled_while_it_begins_leaves_nothing(tmp_path: Path) -> None:
    """Whichever comes first, the thread that begins or the cancellation.

    task                    another thread
                            has the turn
    begins: waits for it
    is cancelled
                            gives the turn back
    """
    async with await open_items(tmp_path) as db:
        steps = Steps()

        def hold(_tx: onewriter.Transaction) -> None:
            steps.mark("holds")
            steps.wait_for("go")

        held = Call(lambda: db.sync.write(hold))
        await until(lambda: steps.is_marked("holds"), "the turn")
        beginning = asyncio.ensure_future(anext(db.observe("item")))
        await until(lambda: db.sync.stats().pending == 1, "in line")
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        steps.mark("go")
        held.result()
        del beginning
        await until(lambda: not _records(db) and not db.sync._observers._joined, "nobody observes")


@on_loop
async def test_the_iteration_ends_with_the_database(tmp_path: Path) -> None:
    """When all was told that was committed before; a wait that comes after it ends at once."""
    db = await open_items(tmp_path)
    told: list[Changes] = []
    begun = asyncio.Event()

    async def listen() -> None:
        async with db.observe("item") as changes:
            begun.set()
            async for each in changes:
                told.append(each)  # noqa: PERF401 - one by one, as they come
            with pytest.raises(StopAsyncIteration):
                await anext(changes)

    listening = asyncio.create_task(listen())
    await begun.wait()
    for number in range(50):
        await db.execute(INSERT, (f"{number}",))
    await db.close()
    async with asyncio.timeout(LIMIT_S):
        await listening
    assert replay(told, "item", set()) == set(range(1, 51))
    with pytest.raises(DatabaseClosed):
        await anext(db.observe("item"))


@on_loop
async def test_close_ends_the_wait_of_another_task(tmp_path: Path) -> None:
    """Of that observation; another one goes on."""
    async with await open_items(tmp_path) as db, db.observe("item") as other:
        changes = db.observe("item")
        waiting = asyncio.ensure_future(anext(changes))
        await until(lambda: len(db.sync._observers._joined) == 2, "both observe")
        await asyncio.sleep(0.01)
        changes.close()
        with pytest.raises(StopAsyncIteration):
            await waiting
        await db.execute(INSERT, ("a",))
        assert short([await _next(other)]) == ["item +1"]


@on_loop
async def test_a_forgotten_observation_ends(tmp_path: Path) -> None:
    """After a `break` nobody comes back to it."""
    async with await open_items(tmp_path) as db:

        async def once() -> None:
            observed = db.observe("item")
            waiting = asyncio.ensure_future(anext(observed))
            await until(lambda: _records(db), "observing")
            await db.execute("INSERT INTO item (size) VALUES (1)")
            await waiting

        await once()
        gc.collect()
        await until(lambda: not _records(db), "nobody observes")


@on_loop
async def test_others_are_told_of(tmp_path: Path) -> None:
    """Another connection, while nobody writes here."""
    async with await open_items(tmp_path, QUICK) as db, db.observe("item") as changes:
        with onewriter.open(db.path) as other:
            other.execute(INSERT, ("other",))
            assert (await _next(changes)).elsewhere


@on_loop
async def test_a_database_that_only_reads(tmp_path: Path) -> None:
    """It is told of others."""
    async with (
        await open_items(tmp_path) as db,
        await aio.open(db.path, read_only=True, config=QUICK) as reading,
        reading.observe("item") as changes,
    ):
        await db.execute(INSERT, ("a",))
        assert (await _next(changes)).elsewhere


def test_tasks_of_several_loops(tmp_path: Path) -> None:
    """Each loop has its own, and each is told of all."""
    with onewriter.open(tmp_path / "items.db", migrations=SCHEMA, durability="normal") as threads:
        db = aio.Database(threads)
        begun = threading.Barrier(4)

        async def listen() -> list[Changes]:
            told: list[Changes] = []
            async with db.observe("item") as changes:
                await asyncio.to_thread(begun.wait, LIMIT_S)
                while sum(each.commits for each in told) < 30:
                    told.append(await _next(changes))
            return told

        loops = [Call(lambda: asyncio.run(listen())) for _ in range(3)]
        begun.wait(LIMIT_S)
        for number in range(30):
            threads.execute(INSERT, (f"{number}",))
        for each in loops:
            assert replay(each.result(), "item", set()) == set(range(1, 31))
        wait_until(lambda: not threads._observers._joined, "nobody observes")


def test_a_loop_that_is_lost_ends_its_observations(tmp_path: Path) -> None:
    """It was closed with a task inside; the pump finds that when it has news for it."""
    with onewriter.open(tmp_path / "items.db", migrations=SCHEMA, durability="normal") as threads:
        db, loop = aio.Database(threads), asyncio.new_event_loop()
        observed = db.observe("item")

        async def begin() -> asyncio.Task[Changes]:
            await observed.__aenter__()

            async def wait() -> Changes:
                return await anext(observed)

            task = asyncio.create_task(wait())
            await asyncio.sleep(0)
            setattr(task, "_log_destroy_pending", False)  # noqa: B010 - that of the C class, which no stub has
            return task

        task = loop.run_until_complete(begin())
        loop.close()
        threads.execute(INSERT, ("a",))
        wait_until(lambda: not threads._observers._joined, "nobody observes")
        assert observed.closed
        del task


# --- mistakes


@on_loop
async def test_a_second_task_is_refused(tmp_path: Path) -> None:
    """It would take what the first one waits for."""
    async with await open_items(tmp_path) as db:
        changes = db.observe("item")
        first = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        with pytest.raises(MisuseError, match="another task waits for this observation"):
            await anext(changes)
        await until(lambda: _records(db) and bool(db.sync._observers._joined), "observing")
        await asyncio.sleep(0.01)
        with pytest.raises(MisuseError, match="another task waits for this observation"):
            await anext(changes)
        await db.execute(INSERT, ("a",))
        assert short([await first]) == ["item +1"]


@on_loop
async def test_mistakes_are_told_where_it_begins(tmp_path: Path) -> None:
    """As by the database of threads."""
    async with await open_items(tmp_path) as db:
        with pytest.raises(ProgrammingError, match="there is no table 'nothing' to observe"):
            async with db.observe("nothing"):
                pass
        async with db.transaction() as tx:
            await tx.execute(INSERT, ("a",))
            with pytest.raises(NestedWrite):
                await anext(db.observe("item"))
        async with db.observe("item") as changes:
            with pytest.raises(MisuseError, match="entered once"):
                await changes.__aenter__()


def test_another_loop_is_refused(tmp_path: Path) -> None:
    """It would wake the first one's task."""
    with onewriter.open(tmp_path / "items.db", migrations=SCHEMA, durability="normal") as threads:
        db = aio.Database(threads)
        observed = db.observe("item")
        asyncio.run(_enter(observed))

        async def wait() -> None:
            await anext(observed)

        with pytest.raises(MisuseError, match="belongs to the event loop that it began in"):
            asyncio.run(wait())
        observed.close()


async def _enter(observed: aio.Observation) -> None:
    await observed.__aenter__()
