"""Lives in which a sync fails, once or from some moment on, and the losses of power after it.

A commit whose sync failed is told as `OutcomeUnknown`, and counts as either; whatever was acknowledged before and after
is there. What a sync that failed was to make durable may be lost for good (`disk`, D3).
"""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

from .losses import Losses
from .power import life

MOMENTS: Final = 5  # drawn, of all after the failure
DRAWN: Final = 2


class SickSyncs:
    """Counts what failed.

    Attributes:
        failed: how many syncs.
        states: how many states of the disk were judged.
        unknown: how many units were told to be unknown.
    """

    def __init__(self, place: Path, seed: int) -> None:
        """Make files below *place*; draw everything from *seed*."""
        self._place = place
        self._seed = seed
        self.failed = self.states = self.unknown = 0

    def one(self, number: int, *, on: bool) -> bool:
        """Fail the sync with this *number*, or each from there *on*; False where there was none, and all is tried."""
        numbers, failed_at = count(), list[int]()

        def fails(_path: Path) -> bool:
            this = next(numbers)
            if this == number or (on and this > number):
                failed_at.append(len(lived.recorder.events))
                return True
            return False

        folder = self._place / "life"
        shutil.rmtree(folder, ignore_errors=True)
        with life(folder, "full") as lived:
            lived.recorder.fails = fails
            lived.live()
        if not failed_at:
            return False
        self.failed += len(failed_at)
        self.unknown += sum(fate.name == "UNKNOWN" for fate in lived.ledger.fates.values())
        losses = Losses(lived, self._place / "left", self._seed + number)
        last = len(lived.recorder.events)
        drawn = Random(self._seed + number).sample(
            range(failed_at[0], last), min(MOMENTS, last - failed_at[0])
        )
        losses.sweep(sorted({*drawn, last}), DRAWN)
        losses.check()
        self.states += losses.states
        return True
