"""Ways of working with onewriter in which one process of several comes to harm. Processes find them here by name."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import onewriter
from onewriter.stress.raw import Connection
from onewriter.stress.store import Statements
from onewriter.stress.ways import Durability, OneWriter, Session

T = TypeVar("T")


class _Harmed(OneWriter):
    """The first thread of all processes that comes to its second write is harmed there, once."""

    def __init__(self, path: Path, durability: Durability) -> None:
        super().__init__(path, durability)
        self.path = path

    @contextmanager
    def session(self) -> Generator[Session]:
        with super().session() as session:
            yield _Second(session, self)

    def harm(self, session: Session, work: Callable[[Statements], T]) -> T:
        """Do the write, and harm this process."""
        raise AssertionError

    def is_first(self) -> bool:
        """Whether nobody has asked before, in any process."""
        return _claim(self.path)


class _Second:
    def __init__(self, session: Session, way: _Harmed) -> None:
        self._session = session
        self._way = way
        self._writes = 0

    def write(self, work: Callable[[Statements], T]) -> T:
        self._writes += 1
        if self._writes == 2 and self._way.is_first():
            return self._way.harm(self._session, work)
        return self._session.write(work)


class Killed(_Harmed):
    """Killed in the middle of a transaction, holding SQLite's write lock."""

    def harm(self, session: Session, work: Callable[[Statements], T]) -> T:
        def die(tx: Statements) -> T:
            outcome = work(tx)
            _strike(signal.SIGKILL)
            return outcome

        return session.write(die)


class Stopped(_Harmed):
    """Stopped before a write, and never continued."""

    def harm(self, session: Session, work: Callable[[Statements], T]) -> T:
        _strike(signal.SIGSTOP)
        return session.write(work)


class Busy(_Harmed):
    """Kept from writing by a stranger for longer than it is willing to wait."""

    def harm(self, session: Session, work: Callable[[Statements], T]) -> T:
        stranger = Connection(self.path, create=False, busy_timeout_ms=20_000)
        stranger.execute("BEGIN IMMEDIATE")
        try:
            with onewriter.open(self.path, config=onewriter.Config(write_timeout_s=0.05)) as db:
                return db.write(work)
        finally:
            stranger.close()


class Loses(OneWriter):
    """Each process, at its end, takes back one upload that was acknowledged, where that has been made."""

    def close(self) -> None:
        self._db.execute("UPDATE upload SET digest = NULL WHERE name = 'empty'")
        super().close()


class NotOpened(OneWriter):
    """The file is made, and then no process can open it."""

    def __init__(self, path: Path, durability: Durability) -> None:
        if path.exists():
            raise ZeroDivisionError("not opened")
        super().__init__(path, durability)


class Late(OneWriter):
    """One process is stopped before it has opened the file."""

    def __init__(self, path: Path, durability: Durability) -> None:
        if path.exists() and _claim(path):
            _strike(signal.SIGSTOP)
        super().__init__(path, durability)


def _strike(number: signal.Signals) -> None:
    # This thread, which is struck before it goes on; a signal to the process may strike another one first.
    signal.pthread_kill(threading.get_ident(), number)


def _claim(path: Path) -> bool:
    try:
        os.close(os.open(path.with_name("claimed"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
