"""Whether a load has become slower, judged by ratios within rounds, against what the same run knows of its noise.

V1  Three take part in each round: the code that is judged, the code that it is compared with, and the first one again.
    What the first and its double differ by is noise, and nothing else.
V2  The spread is that of both rows of ratios, each around its own median (the root of the mean of the squares): 1.4826
    times the median distance, which is the standard deviation where they are normal, and does not mind a round that
    something else disturbed.
V3  The bound is three and a half times what that spread leaves uncertain of a median, and no less than `LEAST`. What
    the double's own median is off is added: a run that cannot tell two equals apart may not tell others apart either.
V4  Where the bound is `UNCLEAR` or more, a load that is not slower by even that cannot be told from one that is: "no
    different" is not said then, but that it cannot be told.
V5  A load is slower where the median of its ratios is below one by more than the bound. Who calls measures it again,
    with more rounds, before he says so (`bench.run`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LEAST: Final = 0.05
UNCLEAR: Final = 0.4
FACTOR: Final = 3.5
OF_MEDIAN: Final = 1.2533  # the standard error of a median, by that of a mean: the root of half of pi


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one load stands beside how it stood.

    Attributes:
        load: its name.
        ratio: the rate by the other's: the median of the rounds'.
        bound: how far below one that may be for noise alone.
    """

    load: str
    ratio: float
    bound: float

    @property
    def is_slower(self) -> bool:
        """Whether it is, beyond the noise (V5)."""
        return self.ratio < 1 - self.bound

    @property
    def is_faster(self) -> bool:
        """Whether it is, beyond the noise."""
        return self.ratio > 1 / (1 - min(self.bound, 0.99))

    @property
    def is_unclear(self) -> bool:
        """Whether the noise is too great to tell (V4)."""
        return self.bound >= UNCLEAR and not self.is_slower and not self.is_faster

    @property
    def word(self) -> str:
        """What it is, in a word or two."""
        if self.is_unclear:
            return "cannot tell"
        return "slower" if self.is_slower else "faster" if self.is_faster else "no different"

    def sentence(self, other: str) -> str:
        """Return it in words; *other* is what it was compared with."""
        beyond = "beyond" if self.is_slower or self.is_faster else "within"
        return (
            f"{self.load}: {self.ratio:.2f} of {other}'s rate, {self.word} "
            f"({beyond} this run's noise of {self.bound:.0%})"
        )


def judge(load: str, ratios: Sequence[float], control: Sequence[float]) -> Verdict:
    """Judge *load* by its *ratios* to how it was, and by those of the *control*, of the same rounds (V1)."""
    ratio, double = statistics.median(ratios), statistics.median(control)
    spread = math.hypot(_spread(ratios), _spread(control)) / math.sqrt(2)
    bound = FACTOR * OF_MEDIAN * spread / math.sqrt(len(ratios)) + abs(1 - double)
    return Verdict(load, ratio, max(LEAST, bound))


def _spread(row: Sequence[float]) -> float:
    middle = statistics.median(row)
    return 1.4826 * statistics.median(abs(each - middle) / middle for each in row)
