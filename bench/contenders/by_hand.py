"""SQLite by hand: a connection behind a lock, or one for each thread; by APSW, and by the standard library."""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import sqlite3
import threading
from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import ClassVar, LiteralString, Protocol, cast

import apsw

from onewriter.config import Durability

from .base import BUSY_TIMEOUT_S, PRAGMAS, Contender, Params, Rows, Session, Work


class Cursor(Protocol):
    """What both libraries' cursors are."""

    def execute(self, sql: str, params: Params = ..., /) -> object: ...
    def executemany(self, sql: str, rows: Sequence[Params], /) -> object: ...
    def fetchall(self) -> Rows: ...


def by_apsw(path: Path, durability: Durability) -> tuple[Cursor, Callable[[], None]]:
    """Connect by APSW, and return a cursor and what closes it."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(int(BUSY_TIMEOUT_S * 1000))
    connection.execute(PRAGMAS + durability).fetchall()
    return cast("Cursor", connection.cursor()), connection.close


def by_sqlite3(path: Path, durability: Durability) -> tuple[Cursor, Callable[[], None]]:
    """Connect by the standard library, and return a cursor and what closes it."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.executescript(PRAGMAS + durability)
    return cast("Cursor", connection.cursor()), connection.close


class StatementsOn:
    """The statements of a transaction that is open on *cursor*."""

    def __init__(self, cursor: Cursor) -> None:
        self.execute = cursor.execute
        self._cursor = cursor

    def query(self, sql: LiteralString, params: Params = (), /) -> Rows:
        self._cursor.execute(sql, params)
        return self._cursor.fetchall()


def session_on(
    cursor: Cursor,
    begin: LiteralString,
    lock: AbstractContextManager[object, None],
    *,
    autocommit: bool = False,
) -> Session:
    """Return what a thread does with *cursor*, in transactions that *begin* opens, behind *lock*.

    With *autocommit*, a statement alone has no transaction but its own.
    """
    run, statements = cursor.execute, StatementsOn(cursor)

    def write(work: Work) -> object:
        with lock:
            run(begin)
            try:
                value = work(statements)
                run("COMMIT")
            except BaseException:
                roll_back(cursor)
                raise
            return value

    def execute(sql: LiteralString, params: Params) -> None:
        with lock:
            run(begin)
            try:
                run(sql, params)
                run("COMMIT")
            except BaseException:
                roll_back(cursor)
                raise

    def execute_alone(sql: LiteralString, params: Params) -> None:
        with lock:
            run(sql, params)

    def query(sql: LiteralString, params: Params) -> Rows:
        with lock:
            return statements.query(sql, params)

    def many(sql: LiteralString, rows: Sequence[Params]) -> object:
        return write(lambda _: cursor.executemany(sql, rows))

    return Session(execute=execute_alone if autocommit else execute, write=write, query=query, many=many)


def roll_back(cursor: Cursor) -> None:
    """End a transaction that failed, unless SQLite has done that itself."""
    with suppress(apsw.SQLError, sqlite3.OperationalError):
        cursor.execute("ROLLBACK")


class ByApsw(Contender):
    """One whose library is APSW."""

    @classmethod
    def version(cls) -> str:
        return f"apsw {apsw.apsw_version()}"


class OneLockedConnection(ByApsw):
    """All threads share one connection, behind a lock."""

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, durability: Durability
    ) -> Generator[Callable[[], AbstractContextManager[Session]]]:
        cursor, close = by_apsw(path, durability)
        session = session_on(cursor, "BEGIN IMMEDIATE", cls._lock(), autocommit=True)
        try:
            yield lambda: nullcontext(session)
        finally:
            close()

    @classmethod
    def _lock(cls) -> AbstractContextManager[object, None]:
        return threading.Lock()


class RawApsw(OneLockedConnection):
    """One thread alone, with no lock at all."""

    @classmethod
    def _lock(cls) -> AbstractContextManager[object, None]:
        return nullcontext()


class _ConnectionAThread(Contender):
    begin: ClassVar[LiteralString]

    @staticmethod
    @abstractmethod
    def connect(path: Path, durability: Durability, /) -> tuple[Cursor, Callable[[], None]]:
        """Connect, and return a cursor and what closes it."""

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, durability: Durability
    ) -> Generator[Callable[[], AbstractContextManager[Session]]]:
        # So that no thread's is the last to close, which may be busy.
        _, close = cls.connect(path, durability)

        @contextmanager
        def of_a_thread() -> Generator[Session]:
            cursor, close = cls.connect(path, durability)
            try:
                yield session_on(cursor, cls.begin, nullcontext())
            finally:
                close()

        try:
            yield of_a_thread
        finally:
            close()


class ApswDeferred(_ConnectionAThread, ByApsw):
    """APSW, with SQLite's default kind of transaction."""

    begin = "BEGIN"
    connect = staticmethod(by_apsw)


class ApswImmediate(ApswDeferred):
    """APSW, asking for the write lock at once."""

    begin = "BEGIN IMMEDIATE"


class StandardDeferred(_ConnectionAThread):
    """The standard library, with SQLite's default kind of transaction."""

    begin = "BEGIN"
    connect = staticmethod(by_sqlite3)

    @classmethod
    def version(cls) -> str:
        return f"sqlite3 with SQLite {sqlite3.sqlite_version}"


class StandardImmediate(StandardDeferred):
    """The standard library, asking for the write lock at once."""

    begin = "BEGIN IMMEDIATE"
