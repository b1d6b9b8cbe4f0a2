"""Which descriptors of this process lead to a database file, and whether they are SQLite's.

D1  In POSIX, closing *any* descriptor of a file drops all locks that the process holds on it. Only SQLite itself knows
    better, and only about what it opened itself: one library keeps one account a file. Another copy of it (the standard
    library's `sqlite3`) has an account of its own, and a plain ``open()`` none
    (https://sqlite.org/howtocorrupt.html#_multiple_copies_of_sqlite_linked_into_the_same_application). So no database
    is opened while this process has its file open by other means, as far as the system tells.
D2  What is the library's own is known: an account is made before SQLite opens a file and settled after it has closed
    it. There is no lock, which an interrupt could leave held: a set's own operations cannot be divided.
D3  APSW has the same SQLite: its connections, a user's too, are safe beside ours. One that is open accounts for any
    number of descriptors, since SQLite keeps those of closed connections for as long as another has a lock.
D4  A refusal is certain; what passes is not. A connection may be opening or closing this moment, so what counts is a
    descriptor that stays through several looks, with nothing to account for it before or after each.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from . import files, forks
from .errors import MisuseError

_LOOKS: Final = 5
_LOOK_S: Final = 0.01  # between two of them


class Account:
    """SQLite has a file open, or is about to; until `settle`."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        """Be made before the file at *path* is opened."""
        self.path = path
        _accounts.add(self)

    def settle(self) -> None:
        """Say that the file has been closed; a second time does nothing."""
        _accounts.discard(self)


_accounts: set[Account] = set()  # see D2
forks.register_users(_accounts)


@contextmanager
def accounted(path: Path) -> Generator[None]:
    """Account for a connection that lives no longer than the block."""
    account = Account(path)
    try:
        yield
    finally:
        account.settle()


def check_alone(path: Path) -> None:
    """Refuse the file at *path* where this process has it open by other means than this SQLite (D1).

    Nothing is refused where the system does not list the descriptors of a process (Linux does).

    Raises:
        MisuseError: it says which descriptor, and what to do.
    """
    seen = _unaccounted(path)
    for _ in range(_LOOKS - 1):
        if not seen:
            return
        time.sleep(_LOOK_S)
        seen &= _unaccounted(path)
    if seen:
        shown = " and ".join(map(str, sorted(seen)))
        msg = (
            f"cannot open {path}: this process has the file open already, by descriptor {shown}, which is not "
            "onewriter's (the standard library's sqlite3, or a plain open()?). Whoever closes it drops every lock that "
            "this process has on the file, and writes are lost (https://sqlite.org/howtocorrupt.html). Close it first; "
            "or do what it is for by db.unsafe_connection() or db.snapshot(), or in another process"
        )
        raise MisuseError(msg)


def _unaccounted(path: Path) -> set[int]:
    """Return the descriptors of the file at *path* where nothing accounts for them, as far as can be told (D2, D3)."""
    before = _accounts.copy()
    found = files.descriptors_of(path)
    if not found or any(files.is_same(each.path, path) for each in before | _accounts):
        return set()
    return set() if any(_may_have(each, path) for each in apsw.connections()) else found


def _may_have(connection: apsw.Connection, path: Path) -> bool:
    """Whether an APSW connection has the file at *path* open, or is too busy to be asked."""
    try:
        names = [connection.db_filename(schema) for schema in connection.db_names()]
    except apsw.ConnectionClosedError:
        return False
    except apsw.Error:  # in the middle of a call of another thread
        return True
    return any(files.is_same(Path(name), path) for name in names if name)
