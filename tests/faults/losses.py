"""Loses power at moments of a recorded life, and judges what is left.

Beside the set workload (`tests.support.oracle`):

P1  With ``full`` nothing acknowledged is lost: units, the migrations once `onewriter.open` has returned. With either
    durability a snapshot and a restored database are not, once their call has returned.
P2  With ``normal`` what is lost is the end: where a unit that one caller wrote is there, so are all before it.
P3  Whatever is there is whole: the file sound, each migration, each snapshot, or absent.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, TypeVar

import onewriter
from onewriter import Config, Database, Error
from tests.support.oracle import Fate, judge, rows

from .disk import Disk, Note, Sync, Way, newest, oldest
from .power import AGAIN, COPY, DATABASE, FILLED, MIGRATIONS, OTHER, Life, Said
from .recorder import recording

T = TypeVar("T")
VERSION: Final = MIGRATIONS[-1].version
_PLAIN: Final = (
    Way("nothing that was not synced", oldest, oldest, oldest, oldest),
    Way("everything", newest, newest, newest, newest),
    Way("names, and nothing else", oldest, oldest, oldest, newest),
    Way("everything but names", newest, newest, newest, oldest),
)


@dataclass(frozen=True)
class Found:
    """What one database file had after a loss of power; *wrong* says why it could not be read, or is not sound."""

    units: tuple[tuple[str, int], ...] = ()
    version: int = 0
    wrong: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """Of the units."""
        return frozenset(name for name, _half in self.units)


def examine(path: Path, vfs: str | None = None) -> Found:
    """Open the database at *path* as a service would after the loss, and look at all of it."""
    try:
        with onewriter.open(path, config=Config(vfs=vfs, write_timeout_s=5.0, migrate_timeout_s=5.0)) as db:
            version = db.schema_version()
            wrong = "; ".join(db.check()) or _half_migrated(db, version)
            return Found(tuple(rows(db)) if version >= 1 else (), version, wrong)
    except Error as error:
        return Found(wrong=f"{type(error).__name__}: {error}")


def _half_migrated(db: Database, version: int) -> str | None:
    tables = set(db.query("SELECT name FROM sqlite_schema WHERE type = 'table'", into=str))
    filled = len(db.query("SELECT 1 FROM filled")) if "filled" in tables else 0
    is_whole = (
        ("unit" in tables) == (version >= 1)
        and ("filled" in tables) == (version >= 2)
        and filled == (FILLED if version >= VERSION else 0)
    )
    return None if is_whole else f"at version {version} it has {sorted(tables)} and {filled} rows"


class Losses:
    """The losses of one life.

    Attributes:
        states: how many states of the disk were judged.
        complaints: what was wrong, with the moment and the way.
    """

    def __init__(self, lived: Life, place: Path, seed: int) -> None:
        """Judge what *lived* has recorded; make files below *place*."""
        self._lived = lived
        self._place = place
        self._drawn = Random(seed)
        self._disk = Disk()
        self._known: dict[bytes, dict[str, Found]] = {}
        self._fates: dict[str, Fate] = {}
        self._said: dict[str, Said] = {}
        self._has_failed = False  # a sync
        self.states = 0
        self.complaints: list[str] = []

    @property
    def different(self) -> int:
        """How many states were different from all before them."""
        return len(self._known)

    def sweep(self, moments: Iterable[int], drawn: int) -> None:
        """Lose power at each of *moments*, which ascend, in the plain ways and in as many *drawn* ones."""
        disk, events = self._disk, self._lived.recorder.events
        for moment in moments:
            new = events[disk.moment : moment]
            disk.play(new)
            self._hear(event.said for event in new if isinstance(event, Note))
            self._has_failed |= any(isinstance(event, Sync) and event.failed for event in new)
            self._lose(disk, drawn, f"at {moment} of {len(events)}")

    def _lose(self, disk: Disk, drawn: int, when: str) -> None:
        for way in (*_PLAIN, *(self._draw() for _ in range(drawn))):
            self.states += 1
            for complaint in self._complaints(self._found(disk.after(way))):
                self.complaints.append(f"{when}, left {way.name}: {complaint}")

    def sweep_again(self, folder: Path, drawn: int) -> None:
        """Open what the last moment of a sweep may have left, below *folder*, and lose power at each moment of that.

        Opening recovers; and the last close moves the WAL.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        left = self._disk.after(self._draw())
        for path, content in left.items():
            (folder / path.name).write_bytes(content)
        with recording(folder, "onewriter-recovers") as recorder:
            recorder.adopt()
            durable = len(recorder.events)
            examine(folder / DATABASE, "onewriter-recovers")
        disk = Disk()
        disk.play(recorder.events[:durable])
        for event in recorder.events[durable:]:
            disk.play((event,))
            self._lose(disk, drawn, f"recovering at {self._disk.moment}")

    def first(self, drawn: int) -> str | None:
        """Sweep over all moments up to the first complaint, and return it."""
        for moment in range(len(self._lived.recorder.events) + 1):
            self.sweep((moment,), drawn)
            if self.complaints:
                return self.complaints[0]
        return None

    def check(self) -> None:
        """Fail where there are complaints."""
        assert not self.complaints, f"{len(self.complaints)} of {self.states}: {self.complaints[0]}"

    def _hear(self, said: Iterable[object]) -> None:
        for each in said:
            match each:
                case Said(name):
                    self._said[name] = each
                case (str(name), Fate() as fate):
                    self._fates[name] = fate
                case _:
                    raise AssertionError(each)

    def _draw(self) -> Way:
        drawn, newer = self._drawn, self._drawn.choice((0.1, 0.5, 0.9))

        def choose(held: Sequence[T]) -> T:
            return held[-1] if drawn.random() < newer else drawn.choice(held)

        return Way("what was drawn", choose, choose, choose, choose)

    def _found(self, state: dict[Path, bytes]) -> dict[str, Found]:
        digest = hashlib.sha256()
        for path, content in sorted(state.items()):
            digest.update(f"{path.name} {len(content)} ".encode())
            digest.update(content)
        if (key := digest.digest()) not in self._known:
            self._known[key] = self._examined(state)
        return self._known[key]

    def _examined(self, state: dict[Path, bytes]) -> dict[str, Found]:
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir()
        for path, content in state.items():
            (self._place / path.name).write_bytes(content)
        if self._drawn.random() < 0.5:  # nothing may rely on it
            (self._place / f"{DATABASE}-shm").write_bytes(self._drawn.randbytes(32_768))
        there = {path.name for path in state}
        return {name: examine(self._place / name) for name in (DATABASE, COPY, OTHER, AGAIN) if name in there}

    # --- what must be true

    def _complaints(self, found: dict[str, Found]) -> Iterator[str]:
        for name, each in found.items():
            # A file that nobody was told is a database may be none, where the disk has taken nothing of it.
            if each.wrong and not (name == DATABASE and name not in self._said and self._has_failed):
                yield f"{name}: {each.wrong}"
        for name, said in self._said.items():
            if name not in found:
                yield f"{name} is lost"
            elif not said.units <= found[name].names:
                yield f"{name} lacks {sorted(said.units - found[name].names)}"
        for name in (COPY, OTHER, AGAIN):
            if name in found and not found[name].wrong:
                yield from self._of_a_copy(name, found[name])
        if DATABASE in found and not found[DATABASE].wrong:
            yield from self._of_the_database(found[DATABASE])

    def _of_a_copy(self, name: str, found: Found) -> Iterator[str]:
        if found.version != VERSION:
            yield f"{name} has only version {found.version}"
        for complaint in judge(self._fates, found.units, survives=False).complaints:
            yield f"{name}: {complaint}"

    def _of_the_database(self, found: Found) -> Iterator[str]:
        survives = self._lived.durability == "full"
        yield from judge(self._fates, found.units, survives=survives).complaints
        if survives and DATABASE in self._said and found.version != VERSION:
            yield f"it was opened, and has only version {found.version}"
        told = [name for name in self._lived.alone if self._fates.get(name) is Fate.ACKNOWLEDGED]
        there = [name in found.names for name in told]
        if there != sorted(there, reverse=True):
            yield f"{told[there.index(False)]!r} is lost, and a later one is there"
