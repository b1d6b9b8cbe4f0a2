"""Cases of who observes: commits are told by the pump and the caller, who hand them over without a lock.

Nothing but news wakes the pump: what a look from time to time would make good, a nudge that was lost, is a fault here.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from onewriter import Changes, Config, clock, observer, observers
from onewriter.locks import closed_lock, wake_up
from onewriter.nets import INSERT, Net
from onewriter.observers import Observers
from onewriter.presence import Presence
from onewriter.reader import ReadingConnection
from tests.explorer.library import faked
from tests.explorer.search import at_random, explore, follow
from tests.explorer.watched import Watched, WatchedDeque
from tests.explorer.world import World, enter

FOREVER_S = 1e6


@dataclass(frozen=True)
class ObservingCase:
    """What is run: so many *commits*; whoever makes them *ends* it all afterwards, or waits until all is told."""

    commits: int
    ends: bool = False

    def __str__(self) -> str:
        """Name it, for the report."""
        return f"{self.commits} commits{', then the end' if self.ends else ''}"


class _Looker:
    """A connection that sees nothing."""

    busy_until = 0.0

    def begin_request(self, _deadline: float) -> None:
        """Do nothing."""

    def run_unguarded(self, _sql: str) -> list[tuple[int]]:
        """Return the same version each time, and no table."""
        return [(1,)] if "data_version" in _sql else []

    def close(self) -> None:
        """Do nothing."""


class ObservingRun:
    """One run of a case."""

    def __init__(self, case: ObservingCase) -> None:
        """Make the threads, each at its beginning."""
        world = self.world = World()
        enter(world)
        self.case = case
        self.told: list[int] = []
        self.has_ended = True
        self._all_told = closed_lock()
        self.observers = made = Observers(
            Path("a.db"),
            Config(observe_poll_s=clock.LONGEST_S),
            Presence((0, 0)),
            None,
            lambda _deadline: cast("ReadingConnection", _Looker()),
        )
        observing = made.calling(None, self._hear)
        observing.pump = made
        made._joined[observing] = None
        made._open_looker()
        made._pump.start()
        made._caller.start()
        world.spawn("commits", self._commit)

    def judge(self) -> list[str]:
        """Return what is wrong at the end."""
        wanted = list(range(1, self.case.commits + 1))
        faults = [] if self.told == wanted else [f"told {self.told} of {wanted}"]
        return faults + ([] if self.has_ended else ["it has not ended"])

    def _commit(self) -> None:
        for rowid in range(1, self.case.commits + 1):
            net = Net(9)
            net.rows("t").note(rowid, INSERT, 9)
            self.observers._tell(net)
        if self.case.ends:
            self.observers.stop_looking(FOREVER_S)
            self.has_ended = self.observers.end(FOREVER_S)
        else:
            self._all_told.acquire()

    def _hear(self, changes: Changes) -> None:
        self.told += changes.tables[0].inserted
        if len(self.told) == self.case.commits:
            wake_up(self._all_told)


@contextmanager
def faked_observing() -> Generator[pytest.MonkeyPatch]:
    """Have observers served on logical threads for a block."""
    with faked() as patch:
        for module in (observer, observers):
            patch.setattr(module, "deque", WatchedDeque)
        patch.setattr(
            observers, "_sleep", float
        )  # what others do meanwhile, they may do between any two steps
        for name, default in (("_is_closing", False), ("is_quiet", True)):
            watched = Watched(default=default, is_point=True)
            watched.name(name)
            patch.setattr(Observers, name, watched, raising=False)
        yield patch


def search(case: ObservingCase) -> int:
    """Run *case* in every order that matters; return how many that are."""
    with faked_observing():
        return explore(case, lambda: ObservingRun(case))


def draw(case: ObservingCase, seed: int, runs: int) -> None:
    """Run *case* in *runs* orders drawn from *seed*."""
    with faked_observing():
        at_random(case, lambda: ObservingRun(case), seed, runs)


def replay(case: ObservingCase, schedule: str) -> None:
    """Run *case* by *schedule*, as a report names it."""
    with faked_observing():
        follow(case, lambda: ObservingRun(case), schedule)
