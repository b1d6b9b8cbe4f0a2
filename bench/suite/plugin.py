"""What pytest is told of a run: each turn is a benchmark of its own, so that the contenders can take turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.loads.base import Json
from bench.suite.plan import Plan
from bench.suite.stage import Stage


class Suite:
    """The plugin of one run.

    Attributes:
        failures: what went wrong, by the turn's name.
        was_interrupted: Ctrl-C came.
    """

    def __init__(self, plan: Plan, stage: Stage, about: Json, done: Callable[[str], object]) -> None:
        """Run *plan* on *stage*; *about* is saved with the results, *done* told the names of turns that have ended."""
        self.failures: dict[str, str] = {}
        self.was_interrupted = False
        self._plan = plan
        self._stage = stage
        self._about = about
        self._done = done

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a benchmark of each turn."""
        turns = list(self._plan.turns())
        names = [f"{load.name} {entry.name} {number}" for load, number, entry in turns]
        metafunc.parametrize(("load", "number", "entry"), turns, ids=names)

    @pytest.fixture(scope="session")
    def stage(self) -> Stage:
        """Who is at work."""
        return self._stage

    def pytest_keyboard_interrupt(self) -> None:
        """Take note of it: what pytest-benchmark makes of a benchmark that was broken off is an error of its own."""
        self.was_interrupted = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what went wrong, and tell that a turn has ended."""
        name = report.nodeid.partition("[")[2].rstrip("]")
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failures[name] = report.longreprtext if crash is None else str(crash.message)
        if report.when == "call":
            self._done(name)

    def pytest_benchmark_update_json(
        self, config: pytest.Config, benchmarks: object, output_json: dict[str, Any]
    ) -> None:
        """Save what the results are of."""
        output_json["run"] = self._about
