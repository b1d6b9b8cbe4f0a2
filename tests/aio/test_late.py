"""Tasks that come to the end of their time together: some in each turn of the loop, and one look for who kept them."""

from __future__ import annotations

import _thread
import asyncio
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from onewriter import Config, ReadTimeout, ReadTransaction, WriteTimeout, aio, clock
from onewriter.aio import mailbox
from onewriter.aio.crew import Job
from onewriter.blockers import Blame
from tests.aio.loops import INSERT, on_loop, open_items, until
from tests.support.steps import LIMIT_S, Steps
from tests.support.stranger import Stranger

TASKS = 1_000
SOON_S = 0.3


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that the system was asked who has the locks."""
    asked: list[None] = []
    look = Blame._look

    def note(self: Blame) -> object:
        asked.append(None)
        return look(self)

    monkeypatch.setattr(Blame, "_look", note)
    return asked


@on_loop
async def test_one_look_for_all_who_are_late(tmp_path: Path, looks: list[None]) -> None:
    """The background thread, which waits for the lock, and a thousand tasks behind it."""
    async with await open_items(tmp_path, Config(pending_max=TASKS)) as db:
        with Stranger(db.path) as other:
            other.run("BEGIN IMMEDIATE")
            late = await asyncio.gather(*(_late(db) for _ in range(TASKS)))
            assert {(error.held_by, error.pid) for error in late} == {("stranger", other.pid)}
        # They are told in turns of the loop, and what was found out is taken for true for 10 ms: so some more than one.
        assert 1 <= len(looks) < TASKS / 10
        assert (await db.stats()).pending == 0
        await db.execute(INSERT, ("one",))


@on_loop
async def test_no_more_than_a_few_hear_of_it_in_one_turn_of_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what else the loop has to do comes between."""
    told: list[int] = []
    together: Callable[[mailbox.Mailbox], None] = mailbox.Mailbox._give_up

    def count(self: mailbox.Mailbox) -> None:
        before = len(self._open)
        together(self)
        told.append(before - len(self._open))

    monkeypatch.setattr(mailbox.Mailbox, "_give_up", count)
    is_open, done = asyncio.Event(), asyncio.Event()

    async def hold(db: aio.Database) -> None:
        async with db.transaction():
            is_open.set()
            await done.wait()

    async with await open_items(tmp_path, Config(pending_max=TASKS)) as db:
        holder = asyncio.create_task(hold(db))
        await is_open.wait()
        late = await asyncio.gather(*(_late(db) for _ in range(TASKS)))
        assert {error.held_by for error in late} == {"line"}
        done.set()
        await holder
        assert max(told, default=0) <= mailbox.AT_ONCE_MAX
        assert (await db.stats()).pending == 0
        await db.execute(INSERT, ("one",))


async def _late(db: aio.Database) -> WriteTimeout:
    with pytest.raises(WriteTimeout) as caught:
        await db.execute(INSERT, ("late",), timeout_s=SOON_S)
    return caught.value


@on_loop
async def test_who_comes_as_the_thread_ends_the_write_before_is_not_late(tmp_path: Path) -> None:
    """`timeout_s=0`: the thread has told the outcome, and has not yet looked for the next."""
    steps = Steps()
    async with await open_items(tmp_path) as db:
        background = db.sync._core.background
        assert background is not None
        tell = background._writer.tell_seat
        assert tell is not None

        def tell_and_wait() -> None:
            tell()
            if not steps.is_marked("told"):
                steps.mark("told")
                steps.wait_for("asked")

        background._writer.tell_seat = tell_and_wait
        await db.execute(INSERT, ("one",))
        asked = asyncio.create_task(db.execute(INSERT, ("two",), timeout_s=0))
        for _ in range(5):  # the loop has looked at its timers
            await asyncio.sleep(0.001)
        assert not asked.done()
        steps.mark("asked")
        await asked


@on_loop
async def test_a_read_is_late_where_the_system_has_no_thread_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that there is keeps a read open; there are readers, and nobody to come to them."""
    start, is_full = _thread.start_new_thread, False

    def start_if_any_is_left(work: Callable[..., object], given: tuple[Any, ...]) -> int:
        if is_full:
            raise RuntimeError("can't start new thread")
        return start(work, given)

    monkeypatch.setattr(_thread, "start_new_thread", start_if_any_is_left)
    async with await open_items(tmp_path, Config(readers_max=2)) as db, db.read_transaction() as tx:
        is_full = True
        async with asyncio.timeout(LIMIT_S):
            with pytest.raises(ReadTimeout):
                await db.query("SELECT 1", timeout_s=0.01)
        is_full = False
        assert await db.query("SELECT 1") == [(1,)]
        assert await tx.query("SELECT 2") == [(2,)]


@on_loop
async def test_a_read_is_late_though_a_thread_seemed_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only thread has heard of one read, and is not yet at it when the other's time is up."""
    steps = Steps()
    give_up = Job.give_up

    def note(self: Job) -> BaseException | None:
        error = give_up(self)
        steps.mark("spared" if error is None else "told")
        return error

    class Rings(SimpleQueue[None]):
        def get(self, block: bool = True, timeout: float | None = None) -> None:
            super().get(block, timeout)
            if not steps.is_marked("heard"):
                steps.mark("heard")
                steps.wait_for("spared")

    def dawdle(_tx: ReadTransaction) -> None:
        steps.wait_for("told")

    monkeypatch.setattr(Job, "give_up", note)
    async with await open_items(tmp_path, Config(readers_max=1)) as db:
        db._desk.crew._rings = Rings()
        first = asyncio.create_task(db.read(dawdle))
        await until(lambda: steps.is_marked("heard"), "the thread has heard")
        with pytest.raises(ReadTimeout):
            await db.query("SELECT 1", timeout_s=0.01)
        await first
        assert steps.is_marked("spared")


@on_loop
async def test_a_task_is_destroyed_while_the_loop_looks_who_is_late() -> None:
    """By the collector, on any thread: its letter is taken out in the middle of the look."""
    box = mailbox.Mailbox(asyncio.get_running_loop())
    first, second = _Destroying(box), mailbox.Letter()
    first.other = second
    box.expect(first)
    box.expect(second)
    box._look()
    assert [*box._open] == [first]
    box.forget(first)


class _Destroying(mailbox.Letter):
    """At whose look another one is dropped."""

    other: mailbox.Letter | None = None

    def __init__(self, box: mailbox.Mailbox) -> None:
        self._box = box

    @property
    def until(self) -> float:  # type: ignore[override]
        """When it has to have begun."""
        if self.other is not None:
            self._box.forget(self.other)
        return clock.NEVER
