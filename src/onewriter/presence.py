"""Which threads of this process are writing to a file, whichever `Database` they came through.

A write inside a write would wait for itself, also where the same file was opened twice; so what is asked here belongs
to the file, not to the object.
"""

from __future__ import annotations

import threading
from pathlib import Path

from .errors import CannotOpen


class Presence:
    """The threads that write to one file.

    Attributes:
        writing: identifiers of the threads that write or wait for their turn. Each thread adds and removes only
            itself, and asks only about itself; a set's own operations are atomic. So no lock is needed.
    """

    __slots__ = ("_key", "_users", "writing")

    def __init__(self, key: tuple[int, int]) -> None:
        """Begin with none; *key* is the file's."""
        self._key = key
        self._users = 0  # open databases; guarded by the module's _lock
        self.writing: set[int] = set()

    def is_writing(self) -> bool:
        """Whether the calling thread is writing."""
        return threading.get_ident() in self.writing

    def release(self) -> None:
        """Note that one database of the file was closed."""
        with _lock:
            self._users -= 1
            if self._users == 0:
                del _of_files[self._key]

    def retain(self) -> None:
        """Note that one more database has the file open; `of` has the lock."""
        self._users += 1


_lock = threading.Lock()
_of_files: dict[tuple[int, int], Presence] = {}  # guarded by _lock


def of(path: Path) -> Presence:
    """Return the one presence of the file at *path*, which must exist; to be released once."""
    try:
        state = path.stat()
    except OSError as error:
        msg = f"cannot open {path}: {error.strerror}"
        raise CannotOpen(msg) from error
    key = (state.st_dev, state.st_ino)
    with _lock:
        presence = _of_files.setdefault(key, Presence(key))
        presence.retain()
        return presence


def is_open(path: Path) -> bool:
    """Whether a database of this process has the file at *path* open."""
    with _lock:
        return _key(path) in _of_files


def is_writing(path: Path) -> bool:
    """Whether the calling thread is writing to the file at *path*, through whichever database."""
    key = _key(path)
    with _lock:
        found = _of_files.get(key) if key is not None else None
    return found is not None and found.is_writing()


def _key(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def forget_all() -> None:
    """In a forked child: what was open is the parent's."""
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.Lock()
    _of_files.clear()
