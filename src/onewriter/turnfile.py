"""The side file of the turn among processes: numbers that all who may write have mapped, and its locks.

The file is ``<database>-turn``. Its first bytes are locked as SQLite locks its own files (POSIX record locks), so that
where SQLite works, this does. `contenders` has what the locks and the numbers mean.

I1  A process has one descriptor of a side file, for all its databases of that name: in POSIX, closing any would drop
    the locks that it has by the others. It is closed with the last.
I2  The kernel frees the locks of a process that ends, however it ends; a forked child has none of them.
I3  The page is written whole when the file is made: no later write to it finds the disk full.
I4  The file is never deleted: who waits would wait at a file that has lost its name.

An interrupt may strike any step; closing does no harm a second time.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import stat
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from . import files, futexes
from .links import in_folder

if TYPE_CHECKING:
    import fcntl
else:
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None

T = TypeVar("T")
# The system's `struct flock`: what asks who has a lock.
_FLOCK: Final = {"linux": "hhqqi4x", "darwin": "qqihh"}.get(sys.platform if sys.maxsize > 2**32 else "", "")
HAS_LOCKS: Final = _FLOCK != "" and sys.modules.get("fcntl") is not None
_SIZE: Final = 8192
_KIND_AT: Final = 1  # the word that tells what kind of file it is
_KIND: Final = struct.pack("Q", int.from_bytes(b"1wturn02", "big"))
_NEW: Final = bytes(8 * _KIND_AT) + _KIND + bytes(_SIZE - 8 * _KIND_AT - len(_KIND))
_FORMAT_BYTE: Final = 1  # locked by who makes the page
_TRIES, _PAUSE_S = 1_000, 0.001
_BUSY: Final = (errno.EAGAIN, errno.EACCES)


class Unusable(Exception):
    """There can be no turn, for the reason given."""


class Page:
    """The side file, as this process has it open.

    Attributes:
        words: its numbers, of 64 bits each.
        bells: the same in 32 bits each: what a process can wait at.
        mapping: the same as bytes.
        key: the file's device and inode.
        is_closing: it is closed, or about to be.
    """

    is_closing = False

    def __init__(self, side: Path, mode: int) -> None:
        """Open the file *side*, made with *mode* where it is missing.

        Raises:
            Unusable, OSError, CannotOpen, ReadOnlyDatabase: it cannot be.
        """
        if not HAS_LOCKS:
            raise Unusable("this platform has no locks that tell who has them")
        files.create(side, mode)
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        # C from the descriptor to the object that owns it, so that no interrupt comes between.
        self._file = in_folder(
            side,
            lambda name, folder: next(
                map(io.FileIO, map(partial(os.open, dir_fd=folder), (name,), (flags,)), ("r+",))
            ),
        )
        try:
            state = os.fstat(self._file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise Unusable("it is not a regular file")
            if state.st_nlink > 1:
                raise Unusable("it has another name too (a hard link), and may be somebody else's")
            if not files.is_trusted(state, side.with_name(side.name.removesuffix(files.TURN)), mode):
                raise Unusable("it belongs to another user, who may cut it, and so end the process")
            if stat.S_IMODE(state.st_mode) & ~mode & 0o777:  # left by a database that was removed
                os.fchmod(self._file.fileno(), stat.S_IMODE(state.st_mode) & mode)
            self.key = (state.st_dev, state.st_ino)
            self._format()
            # It has a descriptor of its own, closed with it.
            self.mapping = mmap.mmap(self._file.fileno(), _SIZE)
        except BaseException:
            self._file.close()
            raise
        self.words = memoryview(self.mapping).cast("Q")
        self.bells = memoryview(self.mapping).cast("I")
        self._address = 0  # where it is mapped, once that was asked for

    def lock(self, byte: int) -> bool:
        """Lock *byte*; False where another process has."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def unlock(self, byte: int) -> None:
        """Give up the lock of *byte*, if this process has it."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def locker(self, byte: int, count: int = 1) -> int | None:
        """Return which other process has one of *count* bytes from *byte* locked; 0: one that cannot be seen."""
        return locker(self._file, byte, count)

    def numbers(self, first: int, count: int) -> list[int]:
        """Return *count* words from *first* on; unlike a slice of the words, it is in nobody's way who closes."""
        return memoryview(self.mapping[8 * first : 8 * (first + count)]).cast("Q").tolist()

    def ring(self, bell: int) -> None:
        """Wake who waits at the number *bell*."""
        self.bells[bell] = (self.bells[bell] + 1) & 0xFFFFFFFF
        futexes.wake(self._address_of(bell))

    def wait(self, bell: int, seen: int, timeout_s: float) -> None:
        """Wait for a ring at the number *bell*, which was *seen* to be that, for *timeout_s* seconds at most."""
        futexes.wait(self._address_of(bell), seen, timeout_s)

    def _address_of(self, bell: int) -> int:
        self._address = self._address or futexes.address_of(self.mapping)
        return self._address + 4 * bell

    def close(self) -> None:
        """Close what there is; all locks of this process go with it. A second time does nothing."""
        self.is_closing = True
        self.words.release()
        self.bells.release()
        self.mapping.close()
        self._file.close()

    def _format(self) -> None:
        """Write the page where there is none yet (I3), or only a part: the disk was full, or it was cut."""
        descriptor = self._file.fileno()
        for _ in range(_TRIES):
            has = os.pread(descriptor, _SIZE + 1, 0)
            is_ours = has[8 * _KIND_AT : 8 * _KIND_AT + len(_KIND)] == _KIND
            if is_ours and len(has) == _SIZE:
                return
            if any(has) and not (is_ours and len(has) < _SIZE):
                break
            if not self.lock(_FORMAT_BYTE):
                time.sleep(_PAUSE_S)  # another is at it
                continue
            try:
                if os.pread(descriptor, _SIZE + 1, 0) == has:
                    os.pwrite(descriptor, _NEW, 0)
                    os.fsync(descriptor)  # some file systems find room only then
            finally:
                self.unlock(_FORMAT_BYTE)
        raise Unusable("it holds something else")


def locker(file: io.FileIO, byte: int, count: int = 1) -> int | None:
    """Return which other process has one of *count* bytes from *byte* of *file* locked; 0: one that cannot be seen."""
    if sys.platform == "darwin":
        asked = struct.pack(_FLOCK, byte, count, 0, fcntl.F_WRLCK, os.SEEK_SET)
        _, _, pid, kind, _ = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    else:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, count, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else max(0, pid)


def looked_at(side: Path, look: Callable[[io.FileIO, bytes], T]) -> T | None:
    """Return what *look* makes of the file *side* and its page, for who takes no part; None where it is no page.

    It is opened to be read alone, and read, not mapped: what is cut meanwhile ends no process. It may be called only
    while this process has the file not open otherwise: closing it drops the process's locks (I1).
    """
    if not HAS_LOCKS:
        return None
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = in_folder(
        side,
        lambda name, folder: next(
            map(io.FileIO, map(partial(os.open, dir_fd=folder), (name,), (flags,)), ("r",))
        ),
    )
    try:
        page = os.pread(file.fileno(), _SIZE + 1, 0)
        return look(file, page) if len(page) == _SIZE and page[8 * _KIND_AT :].startswith(_KIND) else None
    finally:
        file.close()
