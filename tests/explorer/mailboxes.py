"""Cases of one loop's mailbox: threads put letters into it and ring, and the loop does what it was called for.

The loop's timers never come: what they would make good, a ring that was lost, is a fault here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import SimpleNamespace
from typing import cast

import pytest

from onewriter.aio import mailbox
from onewriter.aio.mailbox import Letter, Mailbox
from tests.explorer.fakes import FakeQueue
from tests.explorer.library import faked
from tests.explorer.search import at_random, explore, follow
from tests.explorer.watched import Watched, WatchedDeque
from tests.explorer.world import NAMES, World, enter


@dataclass(frozen=True)
class MailboxCase:
    """What is run.

    Attributes:
        letters: how many each thread puts in before it rings.
        times: how often it does so.
        at_once: how many may arrive in one turn of the loop.
    """

    letters: tuple[int, ...]
    times: int = 1
    at_once: int = 100

    def __str__(self) -> str:
        """Name it, for the report."""
        more = [f"{self.at_once} at once"] if self.at_once < 100 else []
        return " ".join(["+".join(map(str, self.letters)), f"{self.times} times", *more])


class _Loop:
    """What a mailbox asks of a loop."""

    def __init__(self) -> None:
        self.calls: FakeQueue[Callable[[], object]] = FakeQueue()
        self.call_soon = self.call_soon_threadsafe = self.calls.put

    def is_closed(self) -> bool:
        """Return False."""
        return False

    def is_running(self) -> bool:
        """Return True."""
        return True

    def create_future(self) -> object:
        """Return what nobody looks at."""
        return None

    def call_later(self, _in_s: float, _call: object) -> object:
        """Return a timer that never comes."""
        return SimpleNamespace(cancel=bool)


class _Letter(Letter):
    """One that counts how often it has arrived."""

    arrived = 0

    def arrive(self) -> None:
        """Count."""
        self.arrived += 1


class MailboxRun:
    """One run of a case."""

    def __init__(self, case: MailboxCase) -> None:
        """Make the threads, each at its beginning."""
        world = self.world = World()
        enter(world)
        self._loop = _Loop()
        self._box = Mailbox(cast("asyncio.AbstractEventLoop", self._loop))
        self._letters: list[_Letter] = []
        for number, count in enumerate(case.letters):
            mine = [[_Letter() for _ in range(count)] for _ in range(case.times)]
            self._letters += chain.from_iterable(mine)
            world.spawn(NAMES[number], partial(self._put, mine))
        for letter in self._letters:
            self._box.expect(letter)
        world.spawn("loop", self._serve)

    def judge(self) -> list[str]:
        """Return what is wrong at the end."""
        return [f"arrived {each.arrived} times" for each in self._letters if each.arrived != 1]

    def _put(self, groups: list[list[_Letter]]) -> None:
        for group in groups:
            for letter in group:
                self._box.put(letter)
            self._box.ring()

    def _serve(self) -> None:
        while not all(each.arrived for each in self._letters):
            self._loop.calls.get()()


@contextmanager
def faked_mailbox(at_once: int) -> Generator[pytest.MonkeyPatch]:
    """Have a mailbox run on logical threads for a block."""
    with faked() as patch:
        patch.setattr(mailbox, "deque", WatchedDeque)
        patch.setattr(mailbox, "AT_ONCE_MAX", at_once)
        patch.setattr(mailbox, "mark_of_this_thread", lambda: object)
        patch.setattr(mailbox, "is_mark_of_this_thread", bool)
        rung = Watched(default=False, is_point=True)
        rung.name("_rung")
        patch.setattr(Mailbox, "_rung", rung, raising=False)
        yield patch


def search(case: MailboxCase) -> int:
    """Run *case* in every order that matters; return how many that are."""
    with faked_mailbox(case.at_once):
        return explore(case, lambda: MailboxRun(case))


def draw(case: MailboxCase, seed: int, runs: int) -> None:
    """Run *case* in *runs* orders drawn from *seed*."""
    with faked_mailbox(case.at_once):
        at_random(case, lambda: MailboxRun(case), seed, runs)


def replay(case: MailboxCase, schedule: str) -> None:
    """Run *case* by *schedule*, as a report names it."""
    with faked_mailbox(case.at_once):
        follow(case, lambda: MailboxRun(case), schedule)
