"""What every test shares: a seed that repeats a failure, and a watch on what a test leaves behind.

T1  A test ends with the threads and the open files that it began with. `leaves_behind` marks the exception.
T2  A random test draws from `seed`; the report of a failure names it, and `--seed` repeats it.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import hypothesis
import pytest

SEED_KEY = pytest.StashKey[int]()
LEAVE_S = 5.0

# A shared machine may pause for long: an example is slow for reasons that are not its own.
hypothesis.settings.register_profile("onewriter", deadline=None, print_blob=True)
hypothesis.settings.load_profile("onewriter")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this project's tests."""
    parser.addoption("--switch-interval", type=float, help="of sys.setswitchinterval, in seconds")
    parser.addoption(
        "--soak", type=float, default=4.0, help="how long each soak of several processes lasts, in seconds"
    )
    parser.addoption(
        "--power-loss",
        type=int,
        default=2,
        help="how many states are drawn of each moment that power is lost at",
    )
    parser.addoption("--search-all", action="store_true", help="search the explorer's long cases: minutes")
    parser.addoption(
        "--faults",
        type=int,
        default=3,
        help="how many calls of each kind fail in turn, drawn anew; 0: every one",
    )
    parser.addoption("--followed", action="store_true", help="somebody follows every database (see trails)")
    parser.addoption("--seed", type=int, help="the seed of random tests; another one every run if not given")


def pytest_configure(config: pytest.Config) -> None:
    """Draw the seed of this run, and set the rhythm of its threads."""
    interval: float | None = config.getoption("--switch-interval")
    if interval is not None:
        sys.setswitchinterval(interval)
    if config.getoption("--followed"):
        from tests.support import followed  # noqa: PLC0415 - not where somebody else's tests are run

        followed.always()
    given: int | None = config.getoption("--seed")
    config.stash[SEED_KEY] = random.SystemRandom().randrange(2**32) if given is None else given


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what does not hold for databases that are followed, where all are."""
    mark = item.get_closest_marker("plain")
    if mark is not None and item.config.getoption("--followed"):
        pytest.skip(mark.args[0])


def pytest_report_header(config: pytest.Config) -> str:
    """Name the seed at the top."""
    return f"seed: {config.stash[SEED_KEY]}, switch interval: {sys.getswitchinterval():g} s"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many faults were injected, where any were."""
    told: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        told.update({name: value for name, value in report.user_properties if isinstance(value, int)})
    if told["cases"]:
        terminalreporter.write_line(f"{told['faults']} faults injected in {told['cases']} cases")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run; a failing test's report says how to repeat it."""
    value = request.config.stash[SEED_KEY]
    node: pytest.Item = request.node
    node.add_report_section(
        "setup", "seed", f"repeat with: scripts/test --quick --seed={value} {node.nodeid!r}"
    )
    return value


@pytest.fixture
def small_heap() -> Iterator[None]:
    """Have the collector look at nothing but what the test makes; for one that calls it some hundred times.

    What other tests have loaded (SQLAlchemy, datasette, matplotlib) would cost it three times as long.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that ends with a thread or an open file that it began without (T1)."""
    threads, files = set(threading.enumerate()), _open_files()
    yield
    if request.node.get_closest_marker("leaves_behind"):
        return
    deadline = time.monotonic() + LEAVE_S
    left = [thread for thread in threading.enumerate() if thread not in threads]
    for thread in left:
        with suppress(RuntimeError):  # it is being started this moment
            thread.join(max(0.0, deadline - time.monotonic()))
    left = [thread for thread in left if thread.is_alive()]
    assert not left, f"the test left threads running: {left}"
    if _open_files() - files:
        gc.collect()  # a file that waits for the collector is not leaked by the library
    opened = _open_files() - files
    assert not opened, f"the test left files open: {sorted(target for _, target in opened)}"


def _open_files() -> set[tuple[int, str]]:
    """Return the descriptors open on files by name: not pipes, sockets or devices (Linux; elsewhere none)."""
    found: set[tuple[int, str]] = set()
    with suppress(OSError):
        for descriptor in os.scandir("/proc/self/fd"):
            with suppress(OSError):  # the one that scandir itself had open
                target = os.readlink(descriptor.path)  # noqa: PTH115 - a plain text, for every test
                if target.startswith("/") and not target.startswith(("/dev/", "/proc/")):
                    found.add((int(descriptor.name), target))
    return found
