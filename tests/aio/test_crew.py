"""The threads that read for tasks: each job is done or was withdrawn, whoever asks, leaves and ends them at once."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Iterator
from functools import partial
from queue import SimpleQueue

import pytest

from onewriter import clock, forks
from onewriter.aio.crew import Crew, Job
from onewriter.aio.mailbox import Mailbox
from tests.support.steps import LIMIT_S, Call, Steps
from tests.support.strikes import Striker

BYTECODES_MAX = 2_000


@pytest.fixture
def box() -> Iterator[Mailbox]:
    """The box of a loop that does not run."""
    loop = asyncio.new_event_loop()
    yield Mailbox(loop)
    loop.close()


class Asked(Job):
    """One that says when it was done."""

    def __init__(self, box: Mailbox) -> None:
        """Come back by *box*."""
        self.done = threading.Event()
        super().__init__(lambda _left_s: self.done.set(), clock.NEVER, box)


def test_who_withdraws_leaves_a_ring_for_the_next(box: Mailbox) -> None:
    """Two loops: the thread has heard of the one's job, which is withdrawn, and the other's comes before its ring is.

    thread                    the one loop               the other
    hears of the first
                              takes the first out
    finds nothing
                                                         adds the second
                              takes a ring
    does the second
    """
    steps = Steps()

    class Rings(SimpleQueue[None]):
        def get(self, block: bool = True, timeout: float | None = None) -> None:
            if not steps.is_marked("heard"):
                super().get(block, timeout)
                steps.mark("heard")
                steps.wait_for("taken out")
                return
            steps.mark("found nothing")
            steps.wait_for("withdrawn")
            super().get(block, timeout)

        def get_nowait(self) -> None:
            steps.mark("taken out")
            steps.wait_for("found nothing")
            crew.do(second)
            super().get_nowait()

    crew, first, second = Crew("read-test", 1), Asked(box), Asked(box)
    crew._rings = Rings()
    crew.do(first)
    steps.wait_for("heard")
    assert crew.withdraw(first)
    steps.mark("withdrawn")
    assert second.done.wait(LIMIT_S)
    assert not first.done.is_set()
    crew.stop()
    assert crew.join(clock.now() + LIMIT_S)


def test_the_system_has_one_thread_left(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is to start the one that has a name, and finds that it cannot: it does the work itself."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("onewriter.aio.crew.apart", refuse)
    crew, job = Crew("read-test", 1), Asked(box)
    crew.do(job)
    assert job.done.wait(LIMIT_S)
    crew.stop()
    assert crew.join(clock.now() + LIMIT_S)


def test_no_interrupt_loses_a_thread_or_its_place(box: Mailbox) -> None:
    """At each bytecode of asking, and of stopping: the next job is done, and all threads end."""
    places: list[str] = []
    for at in range(1, BYTECODES_MAX):
        crew, first, second = Crew("read-test", 2), Asked(box), Asked(box)
        asking = Striker(at)
        if asking.run(partial(crew.do, first)) is not None:
            crew.withdraw(first)  # as whoever asks for it does
        stopping = Striker(at)
        crew.do(second)
        assert second.done.wait(LIMIT_S), asking.place
        if stopping.run(crew.stop) is not None:
            crew.stop()  # as a second close does
        assert crew.join(clock.now() + LIMIT_S), (asking.place, stopping.place)
        places += filter(None, (asking.place, stopping.place))
        if not asking.place and not stopping.place:
            break
    else:
        pytest.fail("it goes on for ever")
    assert any("_close_vacant" in each for each in places)
    assert any("hire_at_need" in each for each in places)


@pytest.mark.parametrize("seed", range(20))
def test_many_ask_and_leave_at_once(box: Mailbox, seed: int) -> None:
    """From several threads, while the crew is stopped somewhere in the middle: each is done once or was withdrawn."""
    rnd = random.Random(seed)
    crew = Crew("read-test", rnd.choice((1, 2, 4)))
    stops = threading.Barrier(4)

    def ask(seed: float) -> list[tuple[Asked, bool]]:
        rnd = random.Random(seed)
        asked: list[tuple[Asked, bool]] = []
        for number in range(60):
            if number == 40:
                stops.wait(LIMIT_S)
            job = Asked(box)
            crew.do(job)
            asked.append((job, rnd.random() < 0.6 and crew.withdraw(job)))
        return asked

    def stop() -> list[tuple[Asked, bool]]:
        stops.wait(LIMIT_S)
        crew.stop()
        return []

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        calls = [Call(partial(ask, each)) for each in (rnd.random() for _ in range(3))]
        calls.append(Call(stop))
        asked = [each for call in calls for each in call.result()]
        for job, was_withdrawn in asked:
            assert was_withdrawn or job.done.wait(LIMIT_S)
        assert crew.join(clock.now() + LIMIT_S)
        assert not any(job.done.is_set() for job, was_withdrawn in asked if was_withdrawn)
    finally:
        sys.setswitchinterval(interval)


def test_a_forked_child_waits_for_no_thread_of_its_parent(box: Mailbox) -> None:
    """A thread that the child does not have may have been at the jobs."""
    steps, crew, job = Steps(), Crew("read-test", 1), Asked(box)
    crew._jobs[job] = None

    def keep() -> None:
        with crew._lock:
            steps.mark("at the jobs")
            steps.wait_for("forked")

    call = Call(keep)
    steps.wait_for("at the jobs")
    try:
        assert crew in forks._open
        crew.disown()
        assert crew.withdraw(job)
    finally:
        steps.mark("forked")
        call.result()
    crew.stop()
    assert crew.join(clock.now() + LIMIT_S)
