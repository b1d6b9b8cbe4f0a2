"""What a run measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.loads.base import Load
from bench.rounds import in_turn
from bench.team import Entry

START_S = 0.8  # of an entry at a load: its processes, its file, its end
TURN_S = 0.25  # beside its seconds: threads, connections, the counting, and who waits for a lock at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run.

    Attributes:
        loads: what is done.
        entries: who does it.
        rounds: how often each has his turn at each load.
        seconds: of a turn.
        folder: where the files go; the caller makes it and removes it.
    """

    loads: tuple[Load, ...]
    entries: tuple[Entry, ...]
    rounds: int
    seconds: float
    folder: Path

    def turns(self) -> Iterator[tuple[Load, int, Entry]]:
        """Yield each turn of the run: all rounds of a load one after the other, in each another entry first."""
        for load in self.loads:
            able = [entry for entry in self.entries if entry.can(load)]
            for number in range(self.rounds if able else 0):
                for entry in in_turn(able, number):
                    yield load, number, entry

    def takes_s(self) -> float:
        """Return about how long it takes."""
        turns = list(self.turns())
        starts = len({(load, entry) for load, _, entry in turns})
        return len(turns) * (self.seconds + TURN_S) + starts * START_S
