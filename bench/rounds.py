"""How every bench measures: short rounds, in which every way has its turn, and ratios within a round."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import apsw

T = TypeVar("T")
Call = Callable[[], object]
# What makes the calls of one way, one for each thread, right before they are made.
Ways = Mapping[str, Callable[[], Sequence[Call]]]


class Round(NamedTuple):
    """What one way did in one round: calls a second, of all threads together, and the longest that one took."""

    per_s: float
    worst_s: float


class Figure(NamedTuple):
    """What one way did over all rounds: medians, of the rate also as a ratio to another way's in the same round."""

    per_s: float
    ratio: float
    worst_s: float


class Rated(Protocol):
    """What one way did in one round, as far as its rate goes."""

    @property
    def per_s(self) -> float:
        """So many calls a second."""
        ...


def repeat(call: Call, seconds: float, took_s: list[float]) -> None:
    """Make *call* again and again for *seconds*, and add to *took_s* how long each took."""
    now = time.perf_counter()
    stop = now + seconds
    while now < stop:
        call()
        after = time.perf_counter()
        took_s.append(after - now)
        now = after


def in_turn(ways: Collection[T], number: int) -> list[T]:
    """Return *ways* in their order in the round of this *number*: another one first each time."""
    shift = number % len(ways)
    return [*ways][shift:] + [*ways][:shift]


def ratio(seen: Sequence[Rated], other: Sequence[Rated]) -> float:
    """Return the rate of the rounds *seen* by the *other* way's in the same rounds: the median."""
    return statistics.median(mine.per_s / theirs.per_s for mine, theirs in zip(seen, other, strict=True))


def write(results: Sequence[Mapping[str, object]], path: Path | None) -> int:
    """Write *results* as JSON where a file was named, and return the exit status."""
    if path is not None:
        path.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


def run_round(calls: Sequence[Call], seconds: float) -> Round:
    """Have a thread for each of *calls* make that call again and again for *seconds*."""
    threads = len(calls)
    start = threading.Barrier(threads + 1)
    took_s: list[list[float]] = [[] for _ in calls]

    def work(number: int) -> None:
        start.wait()
        repeat(calls[number], seconds, took_s[number])

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    elapsed_s = time.perf_counter() - began
    return Round(sum(map(len, took_s)) / elapsed_s, max(max(each, default=0.0) for each in took_s))


def compare(
    begin: Callable[[], AbstractContextManager[Ways]], rounds: int, seconds: float
) -> dict[str, Figure]:
    """Return what each of the ways does that *begin* makes anew for each round; ratios are to the first of them.

    In each round every way has its turn for *seconds*, another one first.
    """
    taken: dict[str, list[Round]] = {}
    for number in range(rounds):
        with begin() as ways:
            for way in in_turn(ways, number):
                taken.setdefault(way, []).append(run_round(ways[way](), seconds))
    first = next(iter(taken.values()))
    return {way: figure(seen, first) for way, seen in taken.items()}


def always(ways: Ways) -> Callable[[], AbstractContextManager[Ways]]:
    """Return what begins each round with the same *ways*."""
    return lambda: nullcontext(ways)


def figure(seen: list[Round], other: list[Round]) -> Figure:
    """Return what the rounds *seen* say, beside the *other* way's in the same rounds."""
    return Figure(
        per_s=statistics.median(each.per_s for each in seen),
        ratio=ratio(seen, other),
        worst_s=statistics.median(each.worst_s for each in seen),
    )


def machine() -> str:
    """Say what it was measured on."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}"


def arguments(description: str, *, rounds: int, seconds: float) -> argparse.ArgumentParser:
    """Return a parser for what every bench can be told, with these defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="of each way in each round")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser


def numbers(text: str) -> list[int]:
    """Return what an option such as "1,16,64" names."""
    return [int(each) for each in text.split(",")]


class Report:
    """Figures, as they come: printed, and written to a file in the end where one was named."""

    def __init__(self, chosen: argparse.Namespace, more: str = "") -> None:
        """Print what it is measured on, and how."""
        self._path: Path | None = chosen.json
        self._results: list[dict[str, object]] = []
        print(f"{machine()}{more}, {chosen.rounds} rounds of {chosen.seconds} s")

    def show(self, what: str, figures: Mapping[str, Figure]) -> None:
        """Print *figures* of *what*."""
        for way, seen in figures.items():
            print(
                f"{what:11s} {way:40s} {seen.per_s:12,.1f} calls/s  x{seen.ratio:8.2f}  "
                f"worst {seen.worst_s * 1000:8.2f} ms"
            )
            self._results.append({"what": what, "way": way, **seen._asdict()})

    def end(self) -> int:
        """Write the file, and return the exit status."""
        return write(self._results, self._path)
