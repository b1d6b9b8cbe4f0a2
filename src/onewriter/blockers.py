"""Who keeps a caller waiting: this process's own line, another process of this library, or a stranger."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from . import clock, files
from .contenders import Contender
from .errors import HeldBy, Ran, ReadTimeout, WriteTimeout
from .roll import Holder

_SAME_S: Final = 0.01  # for so long what was found is taken to be so still
# Linux: who has which lock (https://man7.org/linux/man-pages/man5/proc_locks.5.html).
_LOCKS: Final = Path("/proc/locks")
# Bytes of the -shm that SQLite locks (https://sqlite.org/walformat.html#locks): who writes; who reads from the WAL, and
# not from the database alone.
_WAL_WRITE: Final = 120
_WAL_READ: Final = (124, 127)
# All that SQLite locks in the -shm, and in the database (https://sqlite.org/src/file/src/os.h).
_SHM: Final = (120, 128)
_DATABASE: Final = (0x40000000, 0x40000000 + 511)


class Blame:
    """Who keeps the writes to one file waiting, which have their process's turn, but not the file's.

    It is looked up once for all who ask within a moment: thousands may come to the end of their time together, on an
    event loop, and a look asks the system three times.
    """

    def __init__(self, path: Path, turn: Contender | None) -> None:
        """Look for who keeps those of *turn* from the file at *path*."""
        self._path = path
        self._turn = turn
        self._found: tuple[float, str, HeldBy, int | None] = (-_SAME_S, "", "stranger", None)

    def error(self, ran: Ran = "no") -> WriteTimeout:
        """Return the error for a write that was kept."""
        at, message, held_by, pid = self._found
        if clock.now() - at >= _SAME_S:
            message, held_by, pid = self._look()
            self._found = clock.now(), message, held_by, pid
        return WriteTimeout(message, held_by=held_by, pid=pid, ran=ran)

    def who(self) -> str:
        """Return, in words, who it is at this moment."""
        return self._look()[0].removeprefix(f"{self._path}: ")

    def _look(self) -> tuple[str, HeldBy, int | None]:
        path, turn = self._path, self._turn
        holder, pid = None, _locker(path)
        with suppress(ValueError):  # it was closed meanwhile
            if turn is not None:
                holder = turn.holder()
                if (holder is None or holder.waits) and pid is not None and turn.has_process(pid):
                    holder = Holder(pid, None, waits=False)  # it began while it was alone
        if holder is not None and not holder.waits:
            if holder.pid == os.getpid():
                msg = f"{path}: another database object of this process has kept the file's write turn{_since(holder)}"
                return msg, "line", holder.pid
            return _of_process(path, holder), "process", holder.pid
        before = "" if holder is None else f"; {_name(holder.pid)} is before this one, and waits for it too"
        msg = (
            f"{path}: another connection, which is not of onewriter, kept the file's write lock past the deadline: "
            f"{_stranger(pid)}{before}"
        )
        return msg, "stranger", pid


def shut_out(path: Path, kind: type[ReadTimeout | WriteTimeout], what: str) -> ReadTimeout | WriteTimeout:
    """Return the error for *what* failed because another connection kept the whole file at *path* locked.

    It need not be a stranger's: whoever opens a file after a crash, or is the last to close it, has it so for a moment.
    """
    beside = _lockers(files.beside(path, "-shm"), "WRITE", *_SHM)
    pid = next(chain(beside, _lockers(path, "WRITE", *_DATABASE)), None)
    who = _stranger(pid) if pid else "an sqlite3 shell, or a process that was opening or closing it?"
    msg = f"{what}{path}: another connection kept the whole file locked past the deadline: {who}"
    return kind(msg, held_by="stranger", pid=pid)


def _of_process(path: Path, holder: Holder) -> str:
    who = "" if holder.pid is None else f", {_name(holder.pid)},"
    return f"{path}: another process that uses onewriter{who} has kept the file's write turn{_since(holder)}"


def _since(holder: Holder) -> str:
    return "" if holder.for_s is None else f" for {holder.for_s:.3g} s"


def _stranger(pid: int | None) -> str:
    if pid is None:
        return "an sqlite3 shell or another program with an open transaction?"
    if pid == os.getpid():
        return "one of this very process"
    return _name(pid)


def _name(pid: int | None) -> str:
    """Return how a person finds the process."""
    if pid is None:
        return "a process that cannot be seen from here (in another container?)"
    with suppress(OSError):
        return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text(errors='replace').strip()})"
    return f"process {pid}"


def readers_of(path: Path) -> list[str]:
    """Return the names of other processes that read what the WAL of *path* holds, where the system tells."""
    pids = {pid for pid in _lockers(files.beside(path, "-shm"), "READ", *_WAL_READ) if pid != os.getpid()}
    return [_name(pid) for pid in sorted(pids)]


def _locker(path: Path) -> int | None:
    """Return which process has SQLite's write lock on the database at *path*, where the system tells."""
    return next(_lockers(files.beside(path, "-shm"), "WRITE", _WAL_WRITE, _WAL_WRITE), None)


@dataclass(frozen=True, slots=True)
class Locks:
    """Which processes have SQLite's locks on a database, where the system tells; in the order of their numbers.

    Attributes:
        writing: who has its write lock, or has the whole file locked.
        reading: who reads what the WAL holds, which so cannot start over.
        using: who has it open in WAL mode, or reads it this moment in another.
    """

    writing: int | None
    reading: tuple[int, ...]
    using: tuple[int, ...]


def locks_of(path: Path) -> Locks:
    """Return who has which of SQLite's locks on the database at *path* at this moment; it takes none."""
    shm = files.beside(path, "-shm")
    writing = chain(_lockers(shm, "WRITE", _WAL_WRITE, _WAL_WRITE), _lockers(path, "WRITE", *_DATABASE))
    return Locks(
        next(writing, None),
        tuple(sorted(set(_lockers(shm, "READ", *_WAL_READ)))),
        tuple(sorted({*_lockers(shm, "READ", *_SHM), *_lockers(path, "READ", *_DATABASE)})),
    )


def _lockers(path: Path, kind: str, first: int, last: int) -> Iterator[int]:
    """Yield the processes with a lock of that *kind* on one of the bytes *first* to *last* of the file at *path*."""
    with suppress(OSError, ValueError):
        state = path.stat()
        file = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
        for line in _LOCKS.read_text(encoding="utf-8").splitlines():
            if "->" in line:
                continue  # it waits for the lock of the line before
            _, _, _, its_kind, pid, its_file, begin, end = line.split()
            covers = int(begin) <= last and (end == "EOF" or int(end) >= first)
            if its_kind == kind and its_file == file and covers and int(pid) > 0:
                yield int(pid)
