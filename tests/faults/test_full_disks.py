"""A disk with a few KiB left, at each step of what a service does, and then with room again."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from onewriter import CannotOpen, DiskError, DiskFull
from tests.faults.scenario import CONFIG, Scenario
from tests.support.places import small_disk
from tests.support.steps import Call

KIB: Final = 1024
PAGE: Final = 4 * KIB  # what such a disk is given out in
ENOUGH: Final = 1536 * KIB  # with so much left nothing fails


class Ballast:
    """A file that leaves so much of *disk*; as a `Fault`."""

    lasts = True

    def __init__(self, disk: Path, left: int) -> None:
        """Fill *disk* up to *left* bytes."""
        self._file = disk / "ballast"
        self._looks = 0
        self.lift()
        state = os.statvfs(disk)
        with self._file.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - left)

    @property
    def struck(self) -> int:
        """More at each look, as long as it is there: who finds the disk full cannot be seen."""
        self._looks += self._file.exists()
        return self._looks

    def fits(self, error: BaseException) -> bool:
        """A full disk, or what has no other word for it: a file that cannot be made, or be made longer."""
        return isinstance(error, (DiskFull, DiskError, CannotOpen))

    def excuses(self, name: str) -> bool:
        """Nothing is left."""
        return False

    def lift(self) -> None:
        """Make room."""
        self._file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small one of its own."""
    with small_disk(tmp_path_factory.mktemp("full") / "disk", "4m") as place:
        yield place


def _run(disk: Path, crashes: Path, left: int) -> list[str]:
    """Run the scenario with so many bytes left; return what failed."""
    scenario = Scenario(disk / f"{left}", Ballast(disk, left), CONFIG, crashes=crashes / f"{left}")
    try:
        Call(scenario.run, "the scenario").result()
    except Exception as error:
        raise AssertionError(f"{left // KIB} KiB left: {error}") from error
    for each in scenario.folder.iterdir():
        each.unlink()
    return [name for name, _error in scenario.failures]


def test_a_disk_gets_full(
    disk: Path,
    tmp_path: Path,
    seed: int,
    faults: int | None,
    note: Callable[[Sequence[int]], None],
) -> None:
    """Nothing acknowledged is lost, wherever it was full, and all goes on when there is room."""
    places = range(0, ENOUGH, PAGE)
    wanted = 6 * faults if faults else len(places)
    failed = [_run(disk, tmp_path, left) for left in random.Random(seed).sample(places, wanted)]
    assert any(failed)
    note([len(each) for each in failed])


def test_a_disk_with_room(disk: Path, tmp_path: Path) -> None:
    """Is none of these: what is tried above reaches from a disk without room to one with enough."""
    assert _run(disk, tmp_path, 0)[0] == "open"
    assert not _run(disk, tmp_path, ENOUGH)
