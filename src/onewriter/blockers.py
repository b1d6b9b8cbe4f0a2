"""Who keeps a caller waiting: this process's own line, another process of this library, or a stranger."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final

from . import files
from .contenders import Contender
from .errors import Ran, ReadTimeout, WriteTimeout
from .roll import Holder

# Linux: who has which lock (https://man7.org/linux/man-pages/man5/proc_locks.5.html).
_LOCKS: Final = Path("/proc/locks")
# Bytes of the -shm that SQLite locks (https://sqlite.org/walformat.html#locks): who writes; who reads from the WAL, and
# not from the database alone.
_WAL_WRITE: Final = 120
_WAL_READ: Final = (124, 127)
# All that SQLite locks in the -shm, and in the database (https://sqlite.org/src/file/src/os.h).
_SHM: Final = (120, 128)
_DATABASE: Final = (0x40000000, 0x40000000 + 511)


def locked_out(path: Path, turn: Contender | None, ran: Ran = "no") -> WriteTimeout:
    """Return the error for a write to *path* that had its process's turn to write, but not the file's."""
    holder, pid = None, _locker(path)
    with suppress(ValueError):  # it was closed meanwhile
        if turn is not None:
            holder = turn.holder()
            if (holder is None or holder.waits) and pid is not None and turn.has_process(pid):
                holder = Holder(pid, None, waits=False)  # it began while it was alone
    if holder is not None and not holder.waits:
        if holder.pid == os.getpid():
            msg = f"{path}: another database object of this process has kept the file's write turn{_since(holder)}"
            return WriteTimeout(msg, held_by="line", pid=holder.pid, ran=ran)
        return WriteTimeout(_of_process(path, holder), held_by="process", pid=holder.pid, ran=ran)
    before = "" if holder is None else f"; {_name(holder.pid)} is before this one, and waits for it too"
    msg = (
        f"{path}: another connection, which is not of onewriter, kept the file's write lock past the deadline: "
        f"{_stranger(pid)}{before}"
    )
    return WriteTimeout(msg, held_by="stranger", pid=pid, ran=ran)


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


def _lockers(path: Path, kind: str, first: int, last: int) -> Iterator[int]:
    """Yield the processes with a lock of that *kind* on one of the bytes *first* to *last* of the file at *path*."""
    with suppress(OSError, ValueError):
        state = path.stat()
        file = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
        for line in _LOCKS.read_text(encoding="ascii").splitlines():
            if "->" in line:
                continue  # it waits for the lock of the line before
            _, _, _, its_kind, pid, its_file, begin, end = line.split()
            covers = int(begin) <= last and (end == "EOF" or int(end) >= first)
            if its_kind == kind and its_file == file and covers and int(pid) > 0:
                yield int(pid)
