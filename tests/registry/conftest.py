"""A server for each place of blobs, which the tests of a run share; each test has repositories of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.registry.serving import Served, new_name

PLACES = ("disk", "database")


@pytest.fixture(scope="session", params=PLACES)
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A registry of one process; at its end it must end well, and its log must be free of tracebacks."""
    served = Served(tmp_path_factory.mktemp("registry"), "--blobs", request.param)
    served.start()
    try:
        yield served
        served.end()
    finally:
        served.kill()
    assert served.tracebacks() == 0, served.log.read_text()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    """Where blobs go, for a test that starts servers of its own."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts servers at the test's own folder; those that still run at its end are killed."""
    begun: list[Served] = []

    def start(*options: object, folder: Path = tmp_path) -> Served:
        served = Served(folder, *options)
        begun.append(served)
        served.start()
        return served

    yield start
    for each in begun:
        each.kill()


@pytest.fixture
def name() -> str:
    """A repository of the test's own."""
    return new_name()
