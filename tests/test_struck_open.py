"""An interrupt anywhere in `onewriter.open`, or in the close after it: nobody has to pay for it afterwards."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import pytest

import onewriter
from onewriter import Migration, presence
from tests.support.databases import SCHEMA
from tests.support.steps import Call, wait_until
from tests.support.strikes import Strike, Striker

STEP: Final = 31  # every so many bytecodes; others in each run


def _left_in(folder: Path) -> set[str]:
    """Return what this process has open there."""
    found: set[str] = set()
    for each in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names only
        try:
            target = os.readlink(f"/proc/self/fd/{each}")  # noqa: PTH115 - as it is
        except OSError:
            continue
        if target == str(folder) or Path(target).parent == folder:
            found.add(Path(target).name)
    return found


@pytest.mark.usefixtures("small_heap")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("migrations", [(), SCHEMA], ids=["new", "migrated"])
def test_opening_may_be_interrupted_anywhere(
    tmp_path: Path, seed: int, migrations: tuple[Migration, ...]
) -> None:
    """No lock stays held: other threads can open, and this one. When the collector has been, nothing is open."""
    number, place = seed % STEP, "none"
    while place:
        number += STEP
        path = tmp_path / str(number) / "items.db"
        path.parent.mkdir(mode=0o700)
        striker = Striker(number)
        raised = striker.run(partial(_open, path, migrations))
        place = striker.place
        assert raised is None or isinstance(raised, Strike), (place, repr(raised))
        del raised
        Call(partial(_open, path, migrations)).result()
        _open(path, migrations)
        gc.collect()
        wait_until(lambda path=path: not _left_in(path.parent), f"all closed, after {place}")  # type: ignore[misc]
        wait_until(lambda path=path: not presence.is_open(path), f"closed, after {place}")  # type: ignore[misc]
    assert number > 1_000


def _open(path: Path, migrations: tuple[Migration, ...]) -> None:
    onewriter.open(path, migrations=migrations, durability="normal").close()


class LateError(TimeoutError):
    """What a signal handler may raise; to Python one of the system's errors."""


@pytest.mark.usefixtures("small_heap")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_a_signal_handler_raised_is_raised_by_the_opening(tmp_path: Path, seed: int) -> None:
    """Not taken for what the system says of a file: that has a number."""
    number, place = seed % STEP, "none"
    while place:
        number += 3 * STEP
        path = tmp_path / str(number) / "items.db"
        path.parent.mkdir(mode=0o700)
        striker = Striker(number, LateError)
        raised = striker.run(partial(_open, path, ()))
        place = striker.place
        assert raised is None or type(raised) is LateError, (place, repr(raised))
        del raised
        _open(path, ())
        gc.collect()
        wait_until(lambda path=path: not _left_in(path.parent), f"all closed, after {place}")  # type: ignore[misc]
    assert number > 1_000


@pytest.mark.parametrize("asks", [presence.is_open, presence.is_writing])
def test_asking_who_has_a_file_may_be_interrupted_anywhere(
    tmp_path: Path, asks: Callable[[Path], bool]
) -> None:
    """Another thread can ask afterwards."""
    path = tmp_path / "items.db"
    path.touch()
    number, place = 0, "none"
    while place:
        number += 1
        striker = Striker(number)
        striker.run(lambda: asks(path))
        place = striker.place
        assert Call(lambda: presence.is_open(path)).result() is False, place
    assert number > 10
