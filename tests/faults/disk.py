"""What a disk may hold after a loss of power, at every moment of a recorded run.

D1  A sector holds what it held at some moment since it was made durable, each sector for itself, and so it is with the
    length of a file: what was written and not synced is there, is not, or in parts, in any order.
D2  A folder has the names that it had at some moment since it was synced: a file system keeps a journal of them. That
    a file was synced says nothing of its name.
D3  A sync makes durable what was written before it began. One that fails makes nothing durable, and what the sectors
    held that it was to make so can be lost even where a later one succeeds, unless it is written again: Linux marks its
    pages clean (https://wiki.postgresql.org/wiki/Fsync_Errors). The length is the file's own and stays to be written.
    Not so of a database file (`Sync.loses`): SQLite itself relies on it that the next sync which succeeds has all of
    it, since a checkpoint that a commit overtakes counts what it has moved without a sync, and does not move it again.
D4  A sector is written whole or not at all: SQLite relies on it (https://sqlite.org/psow.html).
D5  A file that is cut short is so at once or not at all, and what is written to it afterwards is not there before: both
    are in the journal of the file system, in their order.

Not in it: a disk that says it has synced and has not, and one that spoils what it was not told to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeAlias, TypeVar

SECTOR: Final = 512
T = TypeVar("T")


@dataclass(frozen=True)
class Write:
    """Bytes were written to the file with this number."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Cut:
    """The file has another length."""

    file: int
    size: int


@dataclass(frozen=True)
class Sync:
    """The file was synced, as it was when *since* events had happened; or could not be, and *loses* what it had."""

    file: int
    since: int
    failed: bool = False
    loses: bool = True


@dataclass(frozen=True)
class Named:
    """These names of one folder lead to these files now, or to none; all at once."""

    changes: tuple[tuple[Path, int | None], ...]


@dataclass(frozen=True)
class SyncNames:
    """The folder was synced, as it was when *since* events had happened."""

    folder: Path
    since: int


@dataclass(frozen=True)
class Note:
    """Something that was said to somebody; no business of the disk's."""

    said: object


Event: TypeAlias = Write | Cut | Sync | Named | SyncNames | Note
# Chooses between what something held at some moments, the newest last.
Choose: TypeAlias = Callable[[Sequence[T]], T]


def oldest(held: Sequence[T]) -> T:
    """Choose what is durable, and no more."""
    return held[0]


def newest(held: Sequence[T]) -> T:
    """Choose what was written last, as if all had been synced."""
    return held[-1]


class History(Generic[T]):
    """What one sector, length or folder has held since it was durable."""

    def __init__(self, at_first: T) -> None:
        """Begin with something durable."""
        self._moments = [-1]
        self.held = [at_first]
        self._doubtful: set[int] = set()  # moments that a sync which failed was to make durable

    def add(self, moment: int, value: T) -> None:
        """Hold *value* from *moment* on."""
        self._moments.append(moment)
        self.held.append(value)

    def sync(self, since: int, *, failed: bool) -> None:
        """Forget what was before *since*, or doubt it (D3)."""
        covered = [place for place, moment in enumerate(self._moments) if moment < since]
        if failed:
            self._doubtful |= {self._moments[place] for place in covered[1:]}
            return
        sure = [place for place in covered if self._moments[place] not in self._doubtful]
        if not sure:
            return  # a sync that began later has ended before
        del self._moments[: sure[-1]], self.held[: sure[-1]]
        self._doubtful &= set(self._moments)


class Era:
    """A file between two moments at which it was cut short."""

    def __init__(self, began: int, length: History[int], sectors: list[History[bytes]]) -> None:
        """Begin with what is left."""
        self.began = began
        self.length = length
        self.sectors = sectors

    def sync(self, since: int, *, failed: bool) -> None:
        """Be made durable."""
        if not failed:
            self.length.sync(since, failed=False)
        for each in self.sectors:
            each.sync(since, failed=failed)


class File:
    """One file: its sectors and its length (D1, D5)."""

    def __init__(self) -> None:
        """Begin empty."""
        self._now = bytearray()
        self._eras = [Era(-1, History(0), [])]

    def write(self, moment: int, offset: int, data: bytes) -> None:
        """Take *data*."""
        end = offset + len(data)
        if end > len(self._now):
            self._now.extend(bytes(end - len(self._now)))
            self._eras[-1].length.add(moment, end)
        self._now[offset:end] = data
        sectors = self._eras[-1].sectors
        for number in range(offset // SECTOR, -(-end // SECTOR)):
            while number >= len(sectors):
                sectors.append(History(bytes(SECTOR)))
            now = bytes(self._now[number * SECTOR : (number + 1) * SECTOR])
            sectors[number].add(moment, now.ljust(SECTOR, b"\0"))

    def cut(self, moment: int, size: int) -> None:
        """Have another length."""
        if size >= len(self._now):
            self._now.extend(bytes(size - len(self._now)))
            self._eras[-1].length.add(moment, size)
            return
        del self._now[size:]
        kept = deepcopy(self._eras[-1].sectors[: -(-size // SECTOR)])
        self._eras.append(Era(moment, History(size), kept))

    def sync(self, since: int, *, failed: bool) -> None:
        """Be made durable."""
        for era in self._eras:
            era.sync(since, failed=failed)
        if not failed:
            over = sum(era.began < since for era in self._eras) - 1
            del self._eras[:over]

    def after(self, way: Way) -> bytes:
        """Return what it may hold after a loss of power."""
        era = way.era(self._eras)
        length = way.length(era.length.held)
        return b"".join(way.sector(each.held) for each in era.sectors)[:length].ljust(length, b"\0")


@dataclass(frozen=True)
class Way:
    """How to choose: for sectors, lengths, files that were cut, and folders."""

    name: str
    sector: Choose[bytes]
    length: Choose[int]
    era: Choose[Era]
    folder: Choose[dict[str, int]]


class Disk:
    """Files and folders, played from events up to some moment."""

    def __init__(self) -> None:
        """Begin with nothing on it."""
        self.moment = 0
        self._files: dict[int, File] = {}
        self._folders: dict[Path, History[dict[str, int]]] = {}

    def play(self, events: Iterable[Event]) -> None:
        """Have *events* happen."""
        for event in events:
            self._happen(event)
            self.moment += 1

    def _happen(self, event: Event) -> None:
        match event:
            case Write(file, offset, data):
                self._file(file).write(self.moment, offset, data)
            case Cut(file, size):
                self._file(file).cut(self.moment, size)
            case Sync(file, since, failed, loses):
                if loses or not failed:
                    self._file(file).sync(since, failed=failed)
            case Named(changes):
                self._name(changes)
            case SyncNames(folder, since):
                self._folder(folder).sync(since, failed=False)
            case Note():
                pass

    def _file(self, number: int) -> File:
        return self._files.setdefault(number, File())

    def _folder(self, folder: Path) -> History[dict[str, int]]:
        return self._folders.setdefault(folder, History({}))

    def _name(self, changes: tuple[tuple[Path, int | None], ...]) -> None:
        folder = self._folder(changes[0][0].parent)
        names = dict(folder.held[-1])
        for path, file in changes:
            assert path.parent == changes[0][0].parent, "one folder at a time"
            if file is None:
                names.pop(path.name, None)
            else:
                names[path.name] = file
        folder.add(self.moment, names)

    def after(self, way: Way) -> dict[Path, bytes]:
        """Return the files that there may be after a loss of power now."""
        found: dict[Path, bytes] = {}
        for folder, history in self._folders.items():
            for name, file in way.folder(history.held).items():
                found[folder / name] = self._file(file).after(way)
        return found
