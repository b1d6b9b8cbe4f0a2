"""The model of the disk: what it may hold after a loss of power, by small examples."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from .disk import SECTOR, Cut, Disk, Event, Named, Sync, SyncNames, Way, Write, newest, oldest

FOLDER = Path("/folder")
FILE = FOLDER / "file"
MADE: list[Event] = [Named(((FILE, 1),)), SyncNames(FOLDER, 1)]
OLDEST = Way("oldest", oldest, oldest, oldest, oldest)
NEWEST = Way("newest", newest, newest, newest, newest)


def _left(events: list[Event], way: Way) -> bytes | None:
    disk = Disk()
    disk.play(events)
    return disk.after(way).get(FILE)


def _all_left(events: list[Event]) -> set[bytes | None]:
    """Return what a thousand draws leave."""
    disk, drawn = Disk(), Random(0)
    disk.play(events)
    way = Way("drawn", drawn.choice, drawn.choice, drawn.choice, drawn.choice)
    return {disk.after(way).get(FILE) for _ in range(1_000)}


def _sector(letter: str) -> bytes:
    return letter.encode() * SECTOR


def test_what_was_not_synced_may_be_there_or_not() -> None:
    """Each sector for itself, and the length for itself."""
    events = [*MADE, Write(1, 0, _sector("a") + _sector("b"))]
    nothing = bytes(SECTOR)
    assert _all_left(events) == {
        b"",
        nothing * 2,
        _sector("a") + nothing,
        nothing + _sector("b"),
        _sector("a") + _sector("b"),
    }


def test_what_was_synced_is_there() -> None:
    """And what was written over it since, or not."""
    events = [*MADE, Write(1, 0, _sector("a")), Sync(1, 3)]
    assert _all_left(events) == {_sector("a")}
    assert _all_left([*events, Write(1, 0, b"b" * SECTOR)]) == {_sector("a"), _sector("b")}


def test_what_is_written_while_it_is_synced_is_not_in_it() -> None:
    """The sync began before."""
    assert _left([*MADE, Write(1, 0, b"a"), Write(1, 0, b"b"), Sync(1, 3)], OLDEST) == b"a"


def test_a_sync_that_ends_after_a_later_one_changes_nothing() -> None:
    """It began before that one."""
    written: list[Event] = [*MADE, Write(1, 0, b"a"), Write(1, 0, b"b"), Sync(1, 4), Sync(1, 3), Sync(1, 1)]
    assert _all_left(written) == {b"b"}


def test_a_sync_that_failed_makes_nothing_durable() -> None:
    """Nor does a later one what that was to make so, unless it is written again."""
    failed: list[Event] = [*MADE, Write(1, 0, b"a"), Sync(1, 3), Write(1, 0, b"b"), Sync(1, 5, failed=True)]
    assert _all_left([*failed, Sync(1, 6)]) == {b"a", b"b"}
    assert _all_left([*failed, Write(1, 0, b"c"), Sync(1, 7)]) == {b"c"}
    of_a_database = [*failed[:-1], Sync(1, 5, failed=True, loses=False)]
    assert _all_left(of_a_database) == {b"a", b"b"}
    assert _all_left([*of_a_database, Sync(1, 6)]) == {b"b"}


@pytest.mark.parametrize("way", [OLDEST, NEWEST])
def test_a_name_needs_a_sync_of_its_folder(way: Way) -> None:
    """That of the file is not enough."""
    there: list[Event] = [Named(((FILE, 1),)), Write(1, 0, b"a"), Sync(1, 2)]
    assert _left(there, way) == (None if way is OLDEST else b"a")
    assert _left([*there, SyncNames(FOLDER, 3)], way) == b"a"
    other = Named(((FILE, 2),))
    assert _left([*there, SyncNames(FOLDER, 3), other], way) == (b"a" if way is OLDEST else b"")


def test_a_file_is_cut_at_once_or_not_at_all() -> None:
    """What comes after it is not there without it."""
    long = [*MADE, Write(1, 0, _sector("a") * 2), Sync(1, 3)]
    assert _all_left([*long, Cut(1, 0)]) == {_sector("a") * 2, b""}
    assert _all_left([*long, Cut(1, 0), Write(1, 0, b"b")]) == {_sector("a") * 2, b"", b"b", b"\0"}
    assert _all_left([*long, Cut(1, 0), Write(1, 0, b"b"), Sync(1, 6)]) == {b"b"}
