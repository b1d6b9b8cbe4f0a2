"""peewee's `SqliteQueueDatabase`: one thread writes, each statement with a commit of its own.

``playhouse`` has no types; this module is the only one that touches it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import LiteralString, Protocol, cast

from onewriter.config import Durability

from .base import BUSY_TIMEOUT_S, Contender, Params, Rows, Session

# As its documentation's example has them.
QUEUE_MAX, RESULTS_TIMEOUT_S = 64, 5.0


class _Cursor(Protocol):
    @property
    def rowcount(self) -> int: ...
    def fetchall(self) -> Rows: ...


class _Database(Protocol):
    def connect(self) -> bool: ...
    def close(self) -> bool: ...
    def stop(self) -> bool: ...
    def execute_sql(self, sql: str, params: Params) -> _Cursor: ...


def _opened(path: Path, durability: Durability) -> _Database:
    database = importlib.import_module("playhouse.sqliteq").SqliteQueueDatabase(
        str(path),
        autostart=True,
        queue_max_size=QUEUE_MAX,
        results_timeout=RESULTS_TIMEOUT_S,
        timeout=BUSY_TIMEOUT_S,
        pragmas={"journal_mode": "wal", "foreign_keys": 1, "synchronous": durability},
    )
    return cast("_Database", database)


class QueueDatabase(Contender):
    """A thread that writes for all, and a connection a thread for reads."""

    @classmethod
    def version(cls) -> str:
        return f"peewee {importlib.metadata.version('peewee')} with SQLite {sqlite3.sqlite_version}"

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, durability: Durability
    ) -> Generator[Callable[[], AbstractContextManager[Session]]]:
        database = _opened(path, durability)

        def execute(sql: LiteralString, params: Params) -> object:
            return database.execute_sql(
                sql, params
            ).rowcount  # the attribute waits, and raises what was raised

        def query(sql: LiteralString, params: Params) -> Rows:
            return database.execute_sql(sql, params).fetchall()

        session = Session(execute=execute, query=query)

        @contextmanager
        def of_a_thread() -> Generator[Session]:
            database.connect()
            try:
                yield session
            finally:
                database.close()

        try:
            yield of_a_thread
        finally:
            database.stop()
