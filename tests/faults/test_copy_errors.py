"""Snapshots and restored copies on a disk that fails: whole or absent, whichever call fails (D5 of `scenario`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw
import pytest

import onewriter
from onewriter import SnapshotError
from tests.faults.scenario import CONFIG, MIGRATIONS
from tests.support.nth_call import ROADS, NthCall, failing
from tests.support.oracle import WAYS, rows
from tests.support.places import in_memory

UNITS = 100  # on several pages


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One of some units."""
    with in_memory(tmp_path_factory.mktemp("source") / "disk") as folder:
        with onewriter.open(folder / "a.db", migrations=MIGRATIONS) as db:
            for number in range(UNITS):
                WAYS[0](db, f"a unit with a name that takes some room {number}")
            yield db.snapshot(folder / "snapshot")


def _units(path: Path) -> int:
    with onewriter.open(path) as db:
        assert db.check() == []
        return len(rows(db)) // 2


def _restore(snapshot: Path, folder: Path, road: str, fault: NthCall, *, before: int) -> None:
    """Restore *snapshot* under *fault*: the copy is whole, or all is as *before*, when there were so many units."""
    target = folder / "restored"
    if before:
        with onewriter.open(target, migrations=MIGRATIONS) as db:
            for number in range(before):
                WAYS[0](db, f"before {number}")
    told: SnapshotError | None = None
    with failing(road, fault, CONFIG) as config:
        try:
            onewriter.restore(snapshot, target, config)
        except SnapshotError as error:
            told = error
        assert told is None or fault.struck
        fault.lift()
        there = _units(target) if target.exists() else 0
    assert there in _allowed(told, before), f"{there} units, and {told!r}"
    left = {each.name for each in folder.iterdir()} - {"restored", "restored-turn"}
    if before and "restored-journal" in left:
        assert not any((folder / "restored-journal").read_bytes()[:8]), (
            "a journal that SQLite would play back"
        )
        left.remove("restored-journal")
    assert all(map(fault.excuses, left)), left
    for each in folder.iterdir():
        each.unlink()


def _allowed(told: SnapshotError | None, before: int) -> tuple[int, ...]:
    """Return how many units there may be."""
    if told is None:
        return (UNITS,)
    return (before, UNITS) if before and told.ran == "unknown" else (before,)


# What a VFS in Python raises while APSW frees a statement is to be heard by nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("lasts", [False, True])
@pytest.mark.parametrize("road, what", [(road, what) for road, kinds in ROADS.items() for what in kinds])
def test_a_restored_copy_is_whole_or_absent(
    road: str,
    what: str,
    lasts: bool,
    snapshot: Path,
    tmp_path: Path,
    *,
    before: int,
    note: Callable[[Sequence[int]], None],
) -> None:
    """Every call of each kind fails, until none is left; there are no other errors."""
    struck: list[int] = []
    with in_memory(tmp_path / "disk") as folder:
        for nth in itertools.count(1):
            fault = NthCall(what, nth, apsw.SQLITE_IOERR, lasts=lasts)
            try:
                _restore(snapshot, folder, road, fault, before=before)
            except Exception as error:
                raise AssertionError(f"call {nth}: {error!r}") from error
            if not fault.struck:
                break
            struck.append(fault.struck)
    note(struck)


@pytest.mark.parametrize("lasts", [False, True])
def test_a_copy_whose_other_name_stays_is_made_all_the_same(
    lasts: bool, snapshot: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is whole and has its name when the one that it was filled under cannot be taken away: that is logged."""
    with in_memory(tmp_path / "disk") as folder:
        with failing("system", NthCall("os.unlink", 1, lasts=lasts), CONFIG) as config:
            onewriter.restore(snapshot, folder / "restored", config)
        assert _units(folder / "restored") == UNITS
        assert "cannot remove" in caplog.text
