"""How long calls took: an HDR histogram (https://hdrhistogram.org) in microseconds, three digits exact.

``hdrhistogram`` has no types; this module is the only one that touches it.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

_LEAST_US = 1
_LONGEST_US = 3_600_000_000  # an hour: a longer wait is recorded as this
_DIGITS = 3
_POINTS_PER_NINE = 20


class _Histogram(Protocol):
    total_count: int

    def record_value(self, value: int) -> bool: ...
    def add(self, other: _Histogram) -> None: ...
    def encode(self) -> bytes: ...
    def decode_and_add(self, encoded: bytes) -> None: ...
    def get_value_at_percentile(self, percentile: float) -> int: ...
    def get_percentile_to_value_dict(self, percentile_list: list[float]) -> dict[float, int]: ...


def _empty() -> _Histogram:
    histogram = importlib.import_module("hdrh.histogram").HdrHistogram(_LEAST_US, _LONGEST_US, _DIGITS)
    return cast("_Histogram", histogram)


class Waits:
    """The lengths of many calls. One thread records into it; merge the threads' own when they have ended."""

    def __init__(self) -> None:
        """Start with none."""
        self._histogram = _empty()
        self._worst_us = 0  # the histogram's own is rounded up when histograms are merged

    def record(self, wait_s: float) -> None:
        """Count one call that took *wait_s* seconds."""
        wait_us = min(max(round(wait_s * 1e6), _LEAST_US), _LONGEST_US)
        self._histogram.record_value(wait_us)
        self._worst_us = max(self._worst_us, wait_us)

    def __getstate__(self) -> tuple[bytes, int]:
        return self._histogram.encode(), self._worst_us  # on its way from another process

    def __setstate__(self, state: tuple[bytes, int]) -> None:
        encoded, self._worst_us = state
        self._histogram = _empty()
        self._histogram.decode_and_add(encoded)

    def merge(self, other: Waits) -> None:
        """Count all calls of *other* too."""
        self._histogram.add(other._histogram)
        self._worst_us = max(self._worst_us, other._worst_us)

    @property
    def count(self) -> int:
        """How many calls were counted."""
        return self._histogram.total_count

    @property
    def worst_s(self) -> float:
        """The longest call in seconds, to the microsecond; 0 where there was none."""
        return self._worst_us / 1e6

    def at(self, percentile: float) -> float:
        """Return the seconds within which *percentile* per cent of the calls ended; 0 where there was none."""
        if not self.count:
            return 0.0
        return min(self._histogram.get_value_at_percentile(percentile) / 1e6, self.worst_s)

    def curve(self) -> list[tuple[float, float]]:
        """Return (one call in how many, seconds) from 1 to the count: 10 is the 90th percentile, 100 the 99th."""
        if not self.count:
            return []
        shares: list[float] = []
        one_in = 1.0
        while one_in < self.count:
            shares.append(one_in)
            one_in = 10 ** (len(shares) / _POINTS_PER_NINE)
        asked = {one_in: 100 * (1 - 1 / one_in) for one_in in shares}
        values = self._histogram.get_percentile_to_value_dict(list(asked.values()))
        points = [
            (one_in, min(values[percentile] / 1e6, self.worst_s)) for one_in, percentile in asked.items()
        ]
        return [*points, (float(self.count), self.worst_s)]
