"""One turn of one contender at one load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from bench.loads.base import Load, Seen
from bench.suite.stage import Stage
from bench.team import Entry


class Benchmark(Protocol):
    """What of pytest-benchmark's fixture is used here, which has no types."""

    group: str | None
    extra_info: dict[str, Any]

    def pedantic(
        self, target: Callable[[Load, Entry], Seen], args: tuple[Load, Entry], rounds: int, iterations: int
    ) -> Seen: ...


def test_turn(benchmark: Benchmark, stage: Stage, load: Load, number: int, entry: Entry) -> None:
    """The errors of others are counted, and shown; the library has none."""
    seen = benchmark.pedantic(stage.turn, args=(load, entry), rounds=1, iterations=1)
    benchmark.group = load.name
    benchmark.extra_info.update(
        load=load.name, round=number, entry=entry.name, version=stage.version(entry), seen=seen.as_json()
    )
    stage.kept.append(dict(benchmark.extra_info))
    assert seen.done or seen.errors, "nothing came back"
    assert not (entry.is_ours and seen.errors), dict(seen.errors)
