"""Small statistics: the last durations of a kind and what they say; how often something happened."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_KEPT: Final = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How long something took, in seconds.

    Attributes:
        p50: the median of the last 1,024.
        p99: 99 of 100 of the last 1,024 took no longer.
        max: the longest since the database was opened.
    """

    p50: float
    p99: float
    max: float


class Samples:
    """Durations in seconds. Whoever adds, and whoever asks, holds what guards it; it has no lock of its own."""

    __slots__ = ("_last", "_longest", "count_none")

    def __init__(self) -> None:
        """Begin with none."""
        self._last: deque[float] = deque(maxlen=_KEPT)
        self.count_none = self._last.append  # of 0.0: what took no time, at the price of one call into C
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count_none(seconds)
        if seconds > self._longest:  # noqa: PLR1730 - `max` is a call more for each write
            self._longest = seconds

    def add_all(self, many: list[float]) -> None:
        """Count each of *many*."""
        if many:
            self._last.extend(many)
            self._longest = max(self._longest, *many)

    def spread(self) -> Spread:
        """Return what they say; zeros where there are none."""
        ordered = self._ordered()
        if not ordered:
            return Spread(p50=0.0, p99=0.0, max=0.0)
        last = len(ordered) - 1
        return Spread(
            p50=ordered[last // 2], p99=ordered[min(last, len(ordered) * 99 // 100)], max=self._longest
        )

    def _ordered(self) -> list[float]:
        while True:
            with suppress(RuntimeError):  # another thread has counted none in between (`shared`, U3)
                return sorted(self._last.copy())


class Tally:
    """How often something happened, whichever thread it was that saw it.

    It has no lock, which an interrupt could leave held: each thread writes only what it counted itself.
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        """Begin with none."""
        self._counts: dict[int, int] = {}  # by the thread's identifier

    def add(self) -> None:
        """Count one more."""
        me = threading.get_ident()
        self._counts[me] = self._counts.get(me, 0) + 1

    @property
    def count(self) -> int:
        """So often."""
        return sum(self._counts.copy().values())
