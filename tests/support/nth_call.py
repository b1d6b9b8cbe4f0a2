"""The n-th call of one kind fails, once or from then on; by whichever road the disk is made to fail."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Final

import apsw

from onewriter import CannotOpen, Config, DiskError, DiskFull, ProgrammingError, SnapshotError
from tests.support.sick_files import CODES, sick_files
from tests.support.sick_system import NAMES, sick_system
from tests.support.sick_vfs import SickVFS

# What a VFS in Python is not asked for.
_SHARED_MEMORY: Final = ("shm-map", "shm-lock")
ROADS: Final = {
    "files": tuple(CODES),
    "vfs": tuple(what for what in CODES if what not in _SHARED_MEMORY),
    "system": NAMES,
}


class NthCall:
    """A `Fault`, and the rule of it.

    Attributes:
        asked: how many calls of each kind there were, until it was lifted.
        struck: how many have failed.
        lasts: whether all calls of its kind fail after that one.
    """

    def __init__(
        self, what: str = "", nth: int = 0, code: int = apsw.SQLITE_IOERR, *, lasts: bool = False
    ) -> None:
        """Have the *nth* of *what*, counted from 1, fail with *code*; 0: none."""
        self.asked: Counter[str] = Counter()
        self.struck = 0
        self.lasts = lasts
        self._what = what
        self._nth = nth
        self._code = code
        self._is_over = False
        self._lock = threading.Lock()  # SQLite calls on several threads

    def __call__(self, what: str, kind: str) -> int:
        """Return the result code of one call: that it may be made, or how it fails."""
        with self._lock:
            if self._is_over:
                return apsw.SQLITE_OK
            self.asked[what] += 1
            behind = self.asked[what] - self._nth
            if what != self._what or not self._nth or behind < 0 or (behind > 0 and not self.lasts):
                return apsw.SQLITE_OK
            self.struck += 1
            return self._code

    def fits(self, error: BaseException) -> bool:
        """As its code says; a file that cannot be looked at, or created, may be told as one that cannot be opened."""
        if self._code == apsw.SQLITE_FULL:
            return isinstance(error, DiskFull)
        if isinstance(error, SnapshotError):  # SQLite's check lists what it cannot read; a close only logs
            return ("is not sound" if self._what == "read" else "did not take all of it") in str(error)
        if self._what == "size" and isinstance(error, ProgrammingError):
            return "output file already exists" in str(error)  # so says VACUUM INTO
        return isinstance(error, (DiskError, CannotOpen, OSError))

    def excuses(self, name: str) -> bool:
        """What cannot be removed is left."""
        return self._what == "os.unlink" and name.endswith(".part")

    def lift(self) -> None:
        """Have all succeed from now on."""
        with self._lock:
            self._is_over = True


def codes(road: str, what: str) -> Iterator[int]:
    """Yield the codes with which *what* may fail."""
    yield CODES.get(what, apsw.SQLITE_IOERR)
    if what == "write":
        yield apsw.SQLITE_FULL


@cache
def _vfs() -> SickVFS:
    return SickVFS("sick-nth-call")


def _raises(rule: NthCall) -> Callable[[str, str], None]:
    def ask(what: str, kind: str) -> None:
        code = rule(what, kind)
        if code:
            raise apsw.exception_for(code)

    return ask


@contextmanager
def failing(road: str, rule: NthCall, config: Config) -> Generator[Config]:
    """Have *rule* asked by one of `ROADS` for a block, by databases of the config that it is given."""
    if road == "vfs":
        _vfs().rule = _raises(rule)
        try:
            yield replace(config, vfs=_vfs().name)
        finally:
            _vfs().rule = None
        return
    with sick_files(rule) if road == "files" else sick_system(rule):
        yield config
