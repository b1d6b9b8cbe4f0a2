"""A WAL, or its index, with bits, bytes or sectors that came back wrong.

W1  A damaged WAL holds the commits before the damage and none behind it: its checksums run on from frame to frame
    (https://sqlite.org/fileformat2.html#wal_file_format). That is promised as long as no checkpoint has moved pages
    that lie behind the damage; one that has leaves a database newer than its WAL.
W2  The index (``-shm``) of a database that nobody has open is made anew from the WAL by whoever opens it next.
W3  Of one that is in use, the header is there twice, with a checksum: it is made anew where they differ
    (https://sqlite.org/walformat.html#walidxfmt). What tells where a page is (its hash tables), and how much was moved,
    has no checksum: there SQLite promises nothing, and rows may be others without a word. It is in memory, not on
    the disk. What holds: no crash, no hang, no error that is none of the library's; and where nothing was written or
    moved by it, all is there once everybody has gone.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

import onewriter
from tests.support.children import child
from tests.support.damaged import BASE_UNITS, UNITS, unit
from tests.support.examination import Findings
from tests.support.examiner import Base, damage_from_outside, examiner, harm, make_base, unfitting, untold
from tests.support.flips import HOWS, Flip, draw
from tests.support.oracle import MIGRATION, WAYS, Ledger, judge, rows
from tests.support.walfile import commits_before

FLIPS: Final = 30  # of each sweep
IN_PLACE: Final = HOWS[:-1]  # a file in memory that is cut ends who reads it, by a signal
HEADER: Final = range(96)  # of the index: both copies
TABLES: Final = range(96, 3 * 4096)  # what was moved, who reads, and the first part of where each page is


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A database whose process was killed, with a long WAL, of which nothing was moved."""
    return make_base(tmp_path_factory.mktemp("base"), "filled")


def test_the_base_has_each_unit_in_a_commit_of_its_own(base: Base) -> None:
    """And all are there."""
    wal = base.files["-wal"]
    assert commits_before(wal, len(wal)) == UNITS - BASE_UNITS
    assert base.sound.units == [unit(number) for number in range(UNITS)]


def judge_prefix(base: Base, flip: Flip, found: Findings) -> list[str]:
    """W1: there are the commits before the damage, and the database is sound."""
    left = BASE_UNITS + commits_before(base.files["-wal"], flip.changed(base.files["-wal"])[0])
    complaints = [*found.strange, *found.wrong, *found.problems, *map(str, found.errors.items())]
    if found.units != [unit(number) for number in range(left)]:
        complaints.append(f"W1: {left} units before the damage, but {found.units}")
    return complaints


def test_a_damaged_wal_ends_there(base: Base, tmp_path: Path, seed: int) -> None:
    """Exactly the commits before the damage are there, and all goes on from them."""
    drawn, complaints = random.Random(seed), list[str]()
    wal = base.files["-wal"]
    with examiner(tmp_path) as examining:
        for number in range(FLIPS):
            flip = draw(drawn, wal, drawn.choice(HOWS), range(len(wal)))
            found = examining.examine(base.files | {"-wal": flip.apply(wal)})
            complaints += [f"{number}, {flip}: {each}" for each in judge_prefix(base, flip, found)]
    assert not complaints, "\n".join(complaints)


def test_the_judge_sees_a_unit_too_many_or_too_few(base: Base) -> None:
    """The test of the test: of a damage behind the third commit three are to be there."""
    wal = base.files["-wal"]
    at = next(at for at in range(len(wal)) if commits_before(wal, at) == 3)
    flip = Flip("byte", at + 5, bytes([wal[at + 5] ^ 1]))
    for left, complains in ((2, True), (3, False), (4, True)):
        found = replace(base.sound, units=[unit(number) for number in range(BASE_UNITS + left)])
        assert bool(judge_prefix(base, flip, found)) is complains


def test_a_damaged_database_below_a_wal(base: Base, tmp_path: Path, seed: int) -> None:
    """What the WAL has a newer page of harms nothing; the rest is said, or is content."""
    drawn, complaints = random.Random(seed), list[str]()
    with examiner(tmp_path) as examining:
        for number in range(FLIPS // 2):
            flip = draw(drawn, base.files[""], drawn.choice(HOWS), range(len(base.files[""])))
            found = examining.examine(base.files | {"": flip.apply(base.files[""])})
            complaints += [f"{number}, {flip}: {each}" for each in [*unfitting(found), *untold(found)]]
    assert not complaints, "\n".join(complaints)


def test_a_damaged_index_that_nobody_has_open(base: Base, tmp_path: Path, seed: int) -> None:
    """W2: nothing is lost, whatever it holds."""
    drawn, complaints = random.Random(seed), list[str]()
    shm = base.files["-shm"]
    with examiner(tmp_path) as examining:
        for number in range(FLIPS // 4):
            flip = draw(drawn, shm, drawn.choice(HOWS), (*HEADER, *TABLES))
            found = examining.examine(base.files | {"-shm": flip.apply(shm)})
            complaints += [f"{number}, {flip}: {each}" for each in harm(found, base.sound)]
    assert not complaints, "\n".join(complaints)


# --- while it is open


def test_the_header_of_an_index_in_use(base: Base, tmp_path: Path, seed: int) -> None:
    """W3: it is made anew, and nobody hears of it."""
    drawn, complaints = random.Random(seed), list[str]()
    shm = base.files["-shm"]
    with examiner(tmp_path) as examining:
        for number in range(FLIPS // 2):
            flip = draw(drawn, shm, drawn.choice(("bit", "byte")), HEADER)
            found = examining.examine_live(base.files, "-shm", flip)
            complaints += [f"{number}, {flip}: {each}" for each in harm(found, base.sound)]
    assert not complaints, "\n".join(complaints)


_WRITES = """
import sys
import onewriter
from tests.support.oracle import WAYS
with onewriter.open(sys.argv[1], durability="normal") as db:
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin):
        WAYS[number % len(WAYS)](db, f"other {number}")
        print("written", flush=True)
"""


def test_the_header_of_an_index_that_two_processes_write_by(tmp_path: Path, seed: int) -> None:
    """W3: it is damaged before each write of either; none is lost."""
    drawn = random.Random(seed)
    path, shm = tmp_path / "a.db", tmp_path / "a.db-shm"
    onewriter.open(path, migrations=[MIGRATION]).close()
    ledger = Ledger()

    def damage() -> None:
        damage_from_outside(shm, draw(drawn, shm.read_bytes(), drawn.choice(("bit", "byte")), HEADER))

    with child(_WRITES, path) as other:
        other.wait_for("ready")
        for number in range(2 * len(WAYS)):
            damage()
            with ledger.unit(f"mine {number}"), onewriter.open(path, durability="normal") as db:
                WAYS[number % len(WAYS)](db, f"mine {number}")
            damage()
            with ledger.unit(f"other {number}"):
                other.go_on()
                other.wait_for("written")
        damage()
        with onewriter.open(path) as db:
            judge(ledger.fates, rows(db)).check()
            assert db.check() == []


def test_the_tables_of_an_index_in_use(base: Base, tmp_path: Path, seed: int) -> None:
    """W3: rows may be others, and what is then written may damage the file; but nothing crashes or hangs."""
    drawn, complaints = random.Random(seed), list[str]()
    shm = base.files["-shm"]
    with examiner(tmp_path) as examining:
        for number in range(FLIPS // 2):
            flip = draw(drawn, shm, drawn.choice(IN_PLACE), TABLES)
            found = examining.examine_live(base.files, "-shm", flip)
            complaints += [f"{number}, {flip}: {each}" for each in unfitting(found)]
    assert not complaints, "\n".join(complaints)


def test_an_index_that_was_only_read_by(base: Base, tmp_path: Path, seed: int) -> None:
    """W3: all is there once the last has gone and somebody opens it again."""
    drawn, complaints = random.Random(seed), list[str]()
    shm = base.files["-shm"]
    with examiner(tmp_path) as examining:
        for number in range(FLIPS // 4):
            flip = draw(drawn, shm, drawn.choice(IN_PLACE), (*HEADER, *TABLES))
            found = examining.examine_live(base.files, "-shm", flip, "reading")
            complaints += [f"{number}, {flip}: {each}" for each in harm(found, base.sound)]
    assert not complaints, "\n".join(complaints)
