"""Cases of the threads that read for tasks: what the loops' threads ask of them, with how many of them.

job     one is asked for, and its outcome awaited
left    the same, and a second thread withdraws it at any moment
gone    one is asked for and withdrawn at once
stop    have all end, and wait for that
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import cast

import pytest

from onewriter import errands
from onewriter.aio import crew as crews
from onewriter.aio.crew import Crew, Job
from onewriter.aio.mailbox import Mailbox
from onewriter.locks import closed_lock, wake_up
from tests.explorer.fakes import FakeQueue
from tests.explorer.library import faked, start_new_thread, threading_of
from tests.explorer.search import at_random, explore, follow
from tests.explorer.watched import Watched, WatchedList
from tests.explorer.world import NAMES, World, enter

FOREVER_S = 1e6


@dataclass(frozen=True)
class CrewCase:
    """What is run: the *kinds* of the threads, and how many threads may read for them."""

    kinds: tuple[str, ...]
    size: int = 1

    def __str__(self) -> str:
        """Name it, for the report."""
        return " ".join(["+".join(self.kinds), *([f"{self.size} threads"] if self.size > 1 else [])])


class _Box:
    """Where one outcome comes, or the news that nobody will come to it."""

    def __init__(self) -> None:
        self.told = 0
        self.news = closed_lock()

    def put(self, _job: object) -> None:
        """Take the outcome."""
        self.told += 1

    def ring(self) -> None:
        """Wake who waits."""
        wake_up(self.news)


class CrewRun:
    """One run of a case."""

    def __init__(self, case: CrewCase) -> None:
        """Make the threads, each at its beginning."""
        world = self.world = World()
        enter(world)
        self.case = case
        self.crew = crew = Crew("read-test", case.size)
        with crew._lock:
            pass  # the first hold of a lock is none of a case's steps
        crew._vacant, crew._numbers = WatchedList(crew._vacant), WatchedList(crew._numbers)
        crew._idle, crew._gone = WatchedList(crew._idle), WatchedList(crew._gone)
        self.boxes: list[_Box] = []
        self.withdrawn: list[_Box] = []
        self.begun: list[_Box] = []
        self.has_ended: list[bool] = []
        for number, kind in enumerate(case.kinds):
            world.spawn(NAMES[number], partial(self._ask, kind))

    def judge(self) -> list[str]:
        """Return what is wrong at the end."""
        return list(self._faults())

    # --- in the threads

    def _ask(self, kind: str) -> None:
        if kind == "stop":
            self.crew.stop()
            self.has_ended.append(self.crew.join(FOREVER_S))
            return
        box = _Box()
        self.boxes.append(box)
        job = Job(lambda _left_s: self.begun.append(box), FOREVER_S, cast("Mailbox", box))
        self.crew.do(job)
        if kind == "left":
            self.world.spawn("leaves", lambda: self._withdraw(job, box))
        if kind == "gone":
            self._withdraw(job, box)
        box.news.acquire()

    def _withdraw(self, job: Job, box: _Box) -> None:
        if self.crew.withdraw(job):
            self.withdrawn.append(box)
            box.ring()

    # --- at the end

    def _faults(self) -> Iterator[str]:
        for box in self.boxes:
            ran, left = self.begun.count(box), box in self.withdrawn
            if ran + left != 1 or box.told != ran:
                yield f"a job was done {ran} times, told {box.told} times, and was {'' if left else 'not '}withdrawn"
        if self.crew._jobs:
            yield "a job is left"
        if self.has_ended and (not all(self.has_ended) or len(self.crew._gone) != self.case.size):
            yield "it was stopped, and has not ended"


@contextmanager
def faked_crew() -> Generator[pytest.MonkeyPatch]:
    """Have a crew run on logical threads for a block."""
    with faked() as patch:
        for module in (crews, errands):
            patch.setattr(module, "threading", threading_of(module))
        patch.setattr(crews, "_thread", SimpleNamespace(start_new_thread=start_new_thread))
        patch.setattr(crews, "SimpleQueue", FakeQueue)
        for name in ("_is_stopped", "_is_alone"):
            watched = Watched(default=False, is_point=True)
            watched.name(name)
            patch.setattr(Crew, name, watched, raising=False)
        yield patch


def search(case: CrewCase) -> int:
    """Run *case* in every order that matters; return how many that are."""
    with faked_crew():
        return explore(case, lambda: CrewRun(case))


def draw(case: CrewCase, seed: int, runs: int) -> None:
    """Run *case* in *runs* orders drawn from *seed*."""
    with faked_crew():
        at_random(case, lambda: CrewRun(case), seed, runs)


def replay(case: CrewCase, schedule: str) -> None:
    """Run *case* by *schedule*, as a report names it."""
    with faked_crew():
        follow(case, lambda: CrewRun(case), schedule)
