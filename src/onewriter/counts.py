"""What was written since a database was opened, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .samples import Samples, Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written until one moment; durations in seconds."""

    writes: int
    commits: int
    reruns: int
    write_wait_s: Spread
    commit_s: Spread


_NO_TIME = Spread(p50=0.0, p99=0.0, max=0.0)
NOTHING_WRITTEN: Final = Written(writes=0, commits=0, reruns=0, write_wait_s=_NO_TIME, commit_s=_NO_TIME)


class Counts:
    """What the holder of the write role counts; anybody may read it.

    Attributes:
        writes: requests that were told their outcome.
        commits: transactions that were committed.
        reruns: requests that had to run again.
        waits: how long each waited for its turn.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.writes = self.commits = self.reruns = 0
        self.waits = Samples()
        self._commit_times = Samples()

    def committed(self, writes: int, took_s: float) -> None:
        """Count a commit of *writes* requests."""
        self.writes += writes
        self.commits += 1
        self._commit_times.add(took_s)

    def now(self) -> Written:
        """Return the numbers of this moment."""
        return Written(
            writes=self.writes,
            commits=self.commits,
            reruns=self.reruns,
            write_wait_s=self.waits.spread(),
            commit_s=self._commit_times.spread(),
        )
