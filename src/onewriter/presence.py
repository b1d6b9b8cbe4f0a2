"""Which threads of this process are writing to a file, whichever `Database` they came through.

A write inside a write would wait for itself, also where the same file was opened twice; so what is asked here belongs
to the file, not to the object.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from . import errands, files
from .errors import CannotOpen, NestedWrite
from .locks import holding
from .shared import may_see_frames

if TYPE_CHECKING:
    from asyncio import Task  # loaded by who uses it: half of the time that `import onewriter` takes

_log = logging.getLogger(__name__)
_frames = sys._current_frames  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - it is documented


class Pending(Protocol):
    """A request of a thread."""

    @property
    def is_over(self) -> bool:
        """Whether the thread waits for nothing more of it, and has nothing of it to do."""
        ...


class _Engaged:
    is_over = False


_ENGAGED = _Engaged()


class Presence:
    """The threads that write to one file.

    Attributes:
        writing: by identifier the threads that write or wait for their turn, with the request that they do so for. Each
            thread adds and removes only itself, and asks only about itself; a dictionary's own operations are atomic,
            so no lock is needed. An interrupt may leave an entry behind, and so may a thread that died, whose
            identifier comes again: what counts is whether the request is over.
        key: what tells the file from others, wherever it is moved.
        tasks: tasks of asyncio that have a write transaction of the file open, each as what returns it while it lives.
    """

    __slots__ = ("_users", "_warned", "key", "tasks", "writing")

    def __init__(self, key: tuple[int, int]) -> None:
        """Begin with none; *key* is the file's, as `key_of` tells it."""
        self.key = key
        self._warned: Pending | None = None  # of whom was complained last
        # Open databases; guarded by the module's _lock.
        self._users: set[weakref.ref[object]] = set()
        self.writing: dict[int, Pending] = {}
        self.tasks: dict[Callable[[], Task[object] | None], None] = {}

    @contextmanager
    def engaged(self) -> Generator[None]:
        """Have the calling thread, one of the library's own, refused whatever it asks of the file for a block.

        A user's code may come to run on it: the handler of a log, a finalizer.
        """
        me = threading.get_ident()
        self.writing[me] = _ENGAGED
        try:
            yield
        finally:
            self.writing.pop(me, None)

    def is_writing(self) -> bool:
        """Whether the calling thread is writing."""
        request = self.writing.get(threading.get_ident())
        return request is not None and not request.is_over

    def warn_of(self, request: Pending, path: Path, how_long: str) -> None:
        """Log, once a request, that it keeps the file's write turn, and where its thread is."""
        if self._warned is request:
            return
        self._warned = request
        ident = next((ident for ident, each in self.writing.copy().items() if each is request), None)
        thread = (each.name for each in threading.enumerate() if each.ident == ident)
        name = (ident is not None and errands.who_has(ident)) or next(thread, "a thread that ended")
        frame = _frames().get(ident) if ident is not None and may_see_frames() else None
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        _log.warning("%s: %s has held the write turn %s\n%s", path, name, how_long, stack)

    def retain(self, user: object) -> None:
        """Note that *user* has the file open; `of` has the lock."""
        self._users.add(weakref.ref(user))

    def has_users(self) -> bool:
        """Whether anybody has the file open. Who was forgotten without a word, struck while it opened, has not."""
        return any(user() is not None for user in self._users.copy())

    def release(self, user: object) -> None:
        """Note that *user* has closed the file; a second time does nothing."""
        holding(_lock, self._release, user)

    def _release(self, user: object) -> None:
        self._users.discard(weakref.ref(user))
        if not self.has_users() and _of_files.get(self.key) is self:
            del _of_files[self.key]


_lock = threading.RLock()  # re-entrant for `let_go` alone
_of_files: dict[tuple[int, int], Presence] = {}  # guarded by _lock


def of(path: Path, user: object) -> Presence:
    """Return the one presence of the file at *path*, which must exist; *user* is to release it."""
    try:
        state = path.stat()
    except OSError as error:
        raise files.cannot(path, error) from error
    return holding(_lock, _of, (state.st_dev, state.st_ino), user)


def _of(key: tuple[int, int], user: object) -> Presence:
    presence = _of_files.get(key)
    if presence is None or not presence.has_users():
        presence = _of_files[key] = Presence(key)
    presence.retain(user)
    return presence


def is_open(path: Path) -> bool:
    """Whether a database of this process has the file at *path* open."""
    found = _found(key_of(path))
    return found is not None and found.has_users()


def is_writing(path: Path) -> bool:
    """Whether the calling thread is writing to the file at *path*, through whichever database."""
    found = _found(key_of(path))
    return found is not None and found.is_writing()


def _found(key: tuple[int, int] | None) -> Presence | None:
    return None if key is None else holding(_lock, _of_files.get, key)


def key_of(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at *path* from others, None where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def check_still(path: Path, file: tuple[int, int] | None) -> None:
    """Refuse *path* where it names another file by now than *file*, which `key_of` told when it was opened.

    A connection that is opened then would read, check or copy a file that nobody asked for; and beside a WAL that has
    stayed behind it would write into it what belongs to the first
    (https://sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use).

    Raises:
        CannotOpen: it does, or it names none, and the file is known to have been moved. Else SQLite says so.
    """
    now = key_of(path)
    if now == file or file is None:
        return
    place = files.place_of(file)
    if now is None and place is None:
        return
    if now is None:
        what = f"there is no such file any more; the one that was opened is {place} now"
    else:
        fate = "was moved or replaced" if place is None else f"is {place} now"
        what = f"it names another file than the one that was opened, which {fate}"
    msg = (
        f"cannot open {path}: {what}; close the database and open it again{'' if place is None else ' there'}"
    )
    raise CannotOpen(msg)


def forget_all() -> None:
    """In a forked child: what was open is the parent's."""
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.RLock()
    _of_files.clear()


def nested() -> NestedWrite:
    """Return the error for a write inside a write."""
    return NestedWrite(
        "this thread is writing to the same file already: use the transaction it was given (tx)"
    )
