"""Four ways to let many threads write into one SQLite file.

All are on APSW, with the same settings (WAL, foreign keys, synchronous, page cache, no statement retried), so that
only the way of working differs. Each is used alike: one session per uploading thread, one `write` per transaction.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal, LiteralString, Protocol, TypeAlias, TypeVar

import onewriter
from onewriter import open as open_database  # here, so that nothing is loaded while files are uploaded

from .raw import Connection
from .store import SCHEMA, Statements

Durability: TypeAlias = Literal["full", "normal"]
T = TypeVar("T")

BUSY_TIMEOUT_MS = 5_000


class Session(Protocol):
    """One uploading thread's access to the database."""

    def write(self, work: Callable[[Statements], T]) -> T:
        """Run *work* in one transaction and return its result once that is committed; roll back if it raises."""
        ...


class Way(ABC):
    """A database file with the schema in it, opened for one way of working.

    Attributes:
        key: the short name, as the command line takes it and as the database file is called.
        title: the name to show.
        summary: how it works, in a sentence for someone who has never heard of it.
        among_processes: what the same is where several processes open the file, in a sentence that follows.
    """

    key: str
    title: str
    summary: str
    among_processes: str

    @abstractmethod
    def __init__(self, path: Path, durability: Durability) -> None:
        """Open the file at *path*; where it is not there yet, make it, with the schema."""

    @abstractmethod
    def session(self) -> AbstractContextManager[Session]:
        """Give the calling thread its access, until the block ends."""

    @abstractmethod
    def commits(self) -> int:
        """Return how many transactions of the sessions that have ended were committed."""

    @abstractmethod
    def close(self) -> None:
        """Close the file; all sessions have ended."""


class OneWriter(Way):
    """`Database.write`."""

    key = "onewriter"
    title = "onewriter"
    summary = (
        "All threads share one onewriter database: writes run one after another, first come, first served, and those "
        "that wait at the same time share a commit."
    )
    among_processes = (
        "Each process opens the file with onewriter and has such a line; the lines take turns at the file."
    )

    def __init__(self, path: Path, durability: Durability) -> None:
        self._db = open_database(
            path, durability=durability, migrations=(onewriter.Migration(1, "schema", SCHEMA),)
        )
        self._commits_before = self._db.stats().commits

    @contextmanager
    def session(self) -> Generator[Session]:
        """Give the database that all threads share."""
        yield self._db

    def commits(self) -> int:
        """Return what the library counted, without the schema's."""
        return self._db.stats().commits - self._commits_before

    def close(self) -> None:
        """Close the database."""
        self._db.close()


class OneLockedConnection(Way):
    """One connection that the threads take in turns, as the package that onewriter grew out of does."""

    key = "locked"
    title = "one locked connection"
    summary = (
        "All threads share one connection and take turns behind a lock. Each write has a commit of its own."
    )
    among_processes = (
        "Each process has one such connection and such a lock, of which the others know nothing: between processes "
        f"only SQLite's own waiting is left, up to {BUSY_TIMEOUT_MS // 1000} seconds and in no order."
    )

    def __init__(self, path: Path, durability: Durability) -> None:
        self._session = _ConnectionSession(_open(path, durability), "BEGIN IMMEDIATE", threading.Lock())

    @contextmanager
    def session(self) -> Generator[Session]:
        """Give the connection that all threads share."""
        yield self._session

    def commits(self) -> int:
        """Return the commits of all threads."""
        return self._session.commits

    def close(self) -> None:
        """Close the connection."""
        self._session.connection.close()


class _ConnectionAThread(Way):
    begin: LiteralString

    def __init__(self, path: Path, durability: Durability) -> None:
        self._path = path
        self._durability: Durability = durability
        # Open to the end: so no session is the last to close, which needs the file for itself and may be busy.
        self._keeper = _open(path, durability)
        self._lock = threading.Lock()
        self._commits = 0  # guarded by _lock

    @contextmanager
    def session(self) -> Generator[Session]:
        """Give a connection of its own."""
        session = _ConnectionSession(_connect(self._path, self._durability), self.begin)
        try:
            yield session
        finally:
            session.connection.close()
            with self._lock:
                self._commits += session.commits

    def commits(self) -> int:
        """Return the commits of the threads whose blocks have ended."""
        with self._lock:
            return self._commits

    def close(self) -> None:
        """Close the last connection."""
        self._keeper.close()


class Deferred(_ConnectionAThread):
    """A connection a thread, with SQLite's default kind of transaction."""

    key = "deferred"
    title = "connection a thread, deferred"
    summary = (
        "Each thread has its own connection and begins with a plain BEGIN, SQLite's default. A write that reads first "
        "must turn its reading transaction into a writing one, which SQLite refuses while or after another writes."
    )
    among_processes = "It makes no difference to it that the threads are those of several processes."
    begin = "BEGIN"


class Immediate(_ConnectionAThread):
    """A connection a thread, each asking for the write lock at the beginning."""

    key = "immediate"
    title = "connection a thread, immediate"
    summary = (
        "Each thread has its own connection and begins with BEGIN IMMEDIATE, which asks for the write lock at once. "
        f"SQLite lets them wait up to {BUSY_TIMEOUT_MS // 1000} seconds, in no order: it looks again now and then."
    )
    among_processes = "It makes no difference to it that the threads are those of several processes."
    begin = "BEGIN IMMEDIATE"


WAYS: tuple[type[Way], ...] = (OneWriter, OneLockedConnection, Deferred, Immediate)


class _ConnectionSession:
    """Transactions on one connection; *lock* is held for each where threads share it."""

    def __init__(
        self, connection: Connection, begin: LiteralString, lock: threading.Lock | None = None
    ) -> None:
        self.connection = connection
        self.commits = 0  # changed by the thread that has the connection
        self._begin: LiteralString = begin
        self._lock = lock

    def write(self, work: Callable[[Statements], T]) -> T:
        if self._lock is None:
            return self._transact(work)
        with self._lock:
            return self._transact(work)

    def _transact(self, work: Callable[[Statements], T]) -> T:
        self.connection.execute(self._begin)
        try:
            outcome = work(self.connection)
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self.commits += 1
        return outcome


def _open(path: Path, durability: Durability) -> Connection:
    connection = _connect(path, durability)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(SCHEMA)
    return connection


def _connect(path: Path, durability: Durability) -> Connection:
    connection = Connection(path, busy_timeout_ms=BUSY_TIMEOUT_MS)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL" if durability == "full" else "PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -8192")  # in KiB; what onewriter gives each of its connections
    return connection
