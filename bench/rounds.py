"""How every bench measures: short rounds, in which every way has its turn, and ratios within a round."""

from __future__ import annotations

import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import apsw

Call = Callable[[], object]


class Round(NamedTuple):
    """What one way did in one round: calls a second, of all threads together, and the longest that one took."""

    per_s: float
    worst_s: float


class Figure(NamedTuple):
    """What one way did over all rounds: medians, of the rate also as a ratio to another way's in the same round."""

    per_s: float
    ratio: float
    worst_s: float


def run_round(calls: Sequence[Call], seconds: float) -> Round:
    """Have a thread for each of *calls* make that call again and again for *seconds*."""
    threads = len(calls)
    start = threading.Barrier(threads + 1)
    counts = [0] * threads
    worst = [0.0] * threads

    def work(number: int) -> None:
        call = calls[number]
        start.wait()
        stop = time.perf_counter() + seconds
        now = time.perf_counter()
        while now < stop:
            call()
            after = time.perf_counter()
            worst[number] = max(worst[number], after - now)
            counts[number] += 1
            now = after

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    return Round(sum(counts) / (time.perf_counter() - began), max(worst))


def figure(seen: list[Round], other: list[Round]) -> Figure:
    """Return what the rounds *seen* say, beside the *other* way's in the same rounds."""
    return Figure(
        per_s=statistics.median(each.per_s for each in seen),
        ratio=statistics.median(mine.per_s / theirs.per_s for mine, theirs in zip(seen, other, strict=True)),
        worst_s=statistics.median(each.worst_s for each in seen),
    )


def machine() -> str:
    """Say what it was measured on."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}"
