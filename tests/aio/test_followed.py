"""What is told of tasks' requests to who follows a database: whose they are, since when they wait, how they ended."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from onewriter import Config, ReadTransaction, Transaction, WriteTimeout, aio
from onewriter.telemetry import Telemetry
from onewriter.trails import Listener
from tests.aio.loops import INSERT, PATIENT, on_loop, open_items, until
from tests.support.followed import Follower
from tests.support.steps import Steps

REQUEST: ContextVar[str] = ContextVar("request", default="none")


async def followed(folder: Path, follower: Listener, config: Config = PATIENT) -> aio.Database:
    """Open items for *follower* to hear of."""
    return await open_items(folder, replace(config, telemetry=follower))


@on_loop
async def test_each_call_of_a_task_is_told_with_its_name(tmp_path: Path) -> None:
    """Writes that the background thread does, reads of the crew, blocks."""
    follower = Follower()

    async def ask(db: aio.Database) -> None:
        await db.execute(INSERT, ("a",))
        await db.execute_many(INSERT, [("b",), ("c",)])
        await db.write(lambda tx: tx.execute(INSERT, ("d",)))
        async with db.transaction() as tx:
            await tx.execute(INSERT, ("e",))
        await db.query("SELECT 1")
        await db.read(lambda tx: tx.query("SELECT 2"))
        async with db.read_transaction() as read:
            await read.query("SELECT 3")
        async with db.stream("SELECT 4") as rows:
            assert [row async for row in rows] == [(4,)]

    async with await followed(tmp_path, follower) as db:
        follower.over.clear()
        follower.began.clear()
        await asyncio.create_task(ask(db), name="asker")
    told = [(each.name, each.rows, each.reads) for each in follower.over]
    assert told == [
        ("INSERT", None, False),
        ("INSERT", 2, False),
        ("write", None, False),
        ("transaction", None, False),
        ("SELECT", None, True),
        ("read", None, True),
        ("read", None, True),
        ("SELECT", None, True),
    ]
    assert {each.who for each in follower.over} == {"asker"}
    assert [each.commit is not None for each in follower.over] == [True] * 4 + [False] * 4
    follower.check()


@on_loop
async def test_tasks_that_share_a_commit_are_told_so(tmp_path: Path) -> None:
    """Statements of tasks, which are done in a streak where nobody follows them."""
    follower = Follower()
    async with await followed(tmp_path, follower) as db:
        async with db.transaction():
            asked = [asyncio.create_task(db.execute(INSERT, (f"{number}",))) for number in range(50)]
            await until(lambda: db.sync.stats().pending == 50, "in line")
        await asyncio.gather(*asked)
    assert follower.commits[-1][0].size == 50
    follower.check()


@on_loop
async def test_the_wait_for_a_reader_counts_from_the_call(tmp_path: Path) -> None:
    """Though it is a thread of the crew that asks, later; and that thread's own next question counts from there."""
    follower, steps = Follower(), Steps()

    def hold(tx: ReadTransaction) -> None:
        tx.query("SELECT 1")
        steps.wait_for("go")

    async with await followed(tmp_path, follower, replace(PATIENT, readers_max=1)) as db:
        holding = asyncio.create_task(db.read(hold))
        await until(lambda: db.sync.stats().readers_lent == 1, "reads")
        waiting = asyncio.create_task(db.query("SELECT 2"), name="waiter")
        await asyncio.sleep(0.05)
        steps.mark("go")
        await asyncio.gather(holding, waiting)
        await db.query("SELECT 3")
    waited, after = follower.over[-2:]
    assert waited.who == "waiter"
    assert waited.waited_s >= 0.05
    assert after.asked_at > waited.asked_at + 0.05
    follower.check()


@on_loop
async def test_one_that_is_cancelled_or_late_has_ended(tmp_path: Path) -> None:
    """Without an error where it was cancelled, since nobody was told one."""
    follower = Follower()
    async with await followed(tmp_path, follower) as db:
        async with db.transaction():
            cancelled = asyncio.create_task(db.execute(INSERT, ("a",)), name="cancelled")
            late = asyncio.create_task(db.execute(INSERT, ("b",), timeout_s=0.01), name="late")
            await until(lambda: db.sync.stats().pending >= 1, "in line")
            cancelled.cancel()
            with pytest.raises(WriteTimeout):
                await late
            with pytest.raises(asyncio.CancelledError):
                await cancelled
    told = {each.who: (follower.errors[each], each.began_at) for each in follower.over}
    assert told["cancelled"] == (None, None)
    assert told["late"] == (WriteTimeout, None)
    follower.check()


@on_loop
async def test_a_read_sees_the_task_s_context(tmp_path: Path) -> None:
    """Followed or not; what it sets there stays there."""

    def look(tx: ReadTransaction | Transaction) -> str:
        tx.query("SELECT 1")
        seen = REQUEST.get()
        REQUEST.set("changed")
        return seen

    async with await followed(tmp_path, Follower()) as db:
        REQUEST.set("mine")
        assert await db.read(look) == "mine"
        assert await db.write(look) == "mine"
        assert REQUEST.get() == "mine"


@on_loop
async def test_spans_are_children_of_the_task_s(tmp_path: Path) -> None:
    """Each of its own task's, whichever thread does the work; the batch links to all."""
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = tracers.get_tracer("service")

    async def request(db: aio.Database, name: str) -> int:
        with tracer.start_as_current_span(name) as span:
            await db.execute(INSERT, (name,))
            await db.query("SELECT 1")
            async with db.read_transaction() as tx:
                await tx.query("SELECT 1")
            return span.get_span_context().span_id

    async with await followed(tmp_path, Telemetry(tracer_provider=tracers)) as db:
        exporter.clear()
        parents = set(await asyncio.gather(*(request(db, f"request {number}") for number in range(5))))
    spans = exporter.get_finished_spans()
    for name in ("INSERT items.db", "SELECT items.db", "read items.db"):
        assert {each.parent and each.parent.span_id for each in spans if each.name == name} == parents
    batches = [each for each in spans if each.name == "batch items.db"]
    assert sum(len(each.links) for each in batches) == 5
    tracers.shutdown()
