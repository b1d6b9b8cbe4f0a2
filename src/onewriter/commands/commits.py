"""How many commits a database file has had, as SQLite counts them in its own files.

C1  In WAL mode each commit adds one to a number in the header of the ``-shm`` (https://sqlite.org/walformat.html), in
    every other one to a number in that of the file (https://sqlite.org/fileformat2.html#file_change_counter).
C2  Both are read as plain files. Closing one drops all locks that this process has on it: so it is done only where
    this process has no connection to the database, and takes none meanwhile. The command's has one thread, and none
    outlives a call of `onewriter.status`.
"""

from __future__ import annotations

import os
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct("=8xIB35x")  # of the -shm, twice: the number, and whether it is made
_TRIES: Final = 10
_CHANGES: Final = struct.Struct(">24xI")


@dataclass(frozen=True, slots=True)
class Count:
    """The number at one moment, and what tells that it goes on from an earlier one: which file has it."""

    file: tuple[int, int]
    commits: int

    def since(self, before: Count | None) -> int | None:
        """Return how many there were since *before*; None where that cannot be told."""
        if before is None or before.file != self.file or self.commits < before.commits:
            return None  # the file was made anew, or its number after a crash
        return self.commits - before.commits


def count(path: Path) -> Count | None:
    """Return the number of the database at *path*; None where there is none to be had this moment (C2)."""
    with suppress(OSError, struct.error):
        return _of_wal(path.with_name(f"{path.name}-shm")) or _of_file(path)
    return None


def _of_wal(shm: Path) -> Count | None:
    if not shm.exists():
        return None
    descriptor = os.open(shm, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        state = os.fstat(descriptor)
        for _ in range(_TRIES if stat.S_ISREG(state.st_mode) else 0):
            page = os.pread(descriptor, 2 * _HEADER.size, 0)
            if page[: _HEADER.size] == page[_HEADER.size :]:  # else it is being written
                commits, is_made = _HEADER.unpack_from(page)
                return Count((state.st_dev, state.st_ino), commits) if is_made else None
    finally:
        os.close(descriptor)
    return None


def _of_file(path: Path) -> Count | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            return None
        (changes,) = _CHANGES.unpack(os.pread(descriptor, _CHANGES.size, 0))
        return Count((state.st_dev, state.st_ino), changes)
    finally:
        os.close(descriptor)
