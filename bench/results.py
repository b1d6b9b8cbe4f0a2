"""What a run has measured, as it is saved and read again: pytest-benchmark's JSON, with a part ``run`` of ours."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench.loads.base import Json, Seen
from onewriter.stress.waits import Waits


@dataclass(slots=True, kw_only=True)
class Standing:
    """One entry at one load.

    Attributes:
        load, entry: their names.
        version: of its library.
        rounds: what was seen, by the number of the round.
    """

    load: str
    entry: str
    version: str
    rounds: dict[int, Seen] = field(default_factory=dict[int, Seen])

    @property
    def rates(self) -> dict[int, float]:
        """Return what was done a second, of all kinds together, by the number of the round."""
        return {number: seen.done.total() / seen.seconds for number, seen in self.rounds.items()}

    @property
    def did_nothing(self) -> bool:
        """Whether nothing was done, so that nothing can be a ratio to it."""
        return not any(seen.done.total() for seen in self.rounds.values())

    @property
    def per_s(self) -> float:
        """The rate: the median of the rounds'."""
        return statistics.median(self.rates.values())

    @property
    def errors(self) -> Counter[str]:
        """Calls that failed, by the error, of all rounds."""
        return sum((seen.errors for seen in self.rounds.values()), Counter[str]())

    @property
    def calls(self) -> int:
        """How many calls there were, of all rounds; one call may have done several things."""
        return self.errors.total() + sum(waits.count for waits in self.waits().values())

    @property
    def rss_bytes(self) -> int:
        """The most memory that its processes had."""
        return max(seen.rss_bytes for seen in self.rounds.values())

    def waits(self) -> dict[str, Waits]:
        """Return how long calls took, by their kind, of all rounds."""
        every: dict[str, Waits] = {}
        for seen in self.rounds.values():
            for kind, waits in seen.waits.items():
                every.setdefault(kind, Waits()).merge(waits)
        return every

    def ratio(self, other: Standing) -> float | None:
        """Return its rate by the *other*'s in the same round: the median; None where the other did nothing in any."""
        ratios = self.ratios(other)
        return statistics.median(ratios) if ratios else None

    def ratios(self, other: Standing) -> list[float]:
        """Return its rate by the *other*'s in the same round, of each round that both have."""
        mine, theirs = self.rates, other.rates
        return [mine[number] / theirs[number] for number in mine if theirs.get(number)]


@dataclass(frozen=True)
class Results:
    """All that a run has measured.

    Attributes:
        about: the machine, the commit, and how it was run.
        standings: each entry at each load, in the order of the run.
    """

    about: Json
    standings: list[Standing]

    @cached_property
    def loads(self) -> list[str]:
        """The names of the loads, in order."""
        return list(dict.fromkeys(each.load for each in self.standings))

    @cached_property
    def entries(self) -> list[str]:
        """The names of those who took part."""
        return list(dict.fromkeys(each.entry for each in self.standings))

    def is_limit(self, entry: str) -> bool:
        """Whether *entry* is no way to serve threads, but what the machine could do at best."""
        known = self.about["contenders"]
        return entry in known and bool(known[entry]["limit"])

    def at(self, load: str) -> dict[str, Standing]:
        """Return who did *load*, by the entries' names."""
        return {each.entry: each for each in self.standings if each.load == load}

    def versions(self) -> dict[str, str]:
        """Return the libraries' versions, by the entries' names."""
        return {each.entry: each.version for each in self.standings}


def read(path: Path) -> Results:
    """Return what was saved at *path*.

    Raises:
        ValueError: it is not of a run of the suite.
    """
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        about = saved["run"]
        if not {"commit", "changed"} <= set(about):
            raise ValueError("it does not say of what commit it is")
        return Results(about, list(_standings(saved["benchmarks"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} has no results of scripts/bench: {error!r}") from error


def append(path: Path, more: Path) -> None:
    """Add the rounds that were saved at *more* to those at *path*, as later ones."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    standings = {(each.load, each.entry): each for each in read(path).standings}
    for benchmark in json.loads(more.read_text(encoding="utf-8"))["benchmarks"]:
        info = benchmark["extra_info"]
        info["round"] += max(standings[info["load"], info["entry"]].rounds) + 1
        saved["benchmarks"].append(benchmark)
    path.write_text(json.dumps(saved, indent=1), encoding="utf-8")


def _standings(benchmarks: list[Json]) -> Iterator[Standing]:
    every: dict[tuple[str, str], Standing] = {}
    for benchmark in benchmarks:
        info = benchmark["extra_info"]
        load, entry = info["load"], info["entry"]
        standing = every.setdefault((load, entry), Standing(load=load, entry=entry, version=info["version"]))
        standing.rounds[info["round"]] = Seen.from_json(info["seen"])
    yield from every.values()
