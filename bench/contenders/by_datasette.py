"""datasette's own class for a file: a thread that writes for all tasks, and threads that read.

``datasette`` has no types; this module is the only one that touches it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sqlite3
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import LiteralString, Protocol, cast

from onewriter.config import Durability

from .base import PRAGMAS, Contender, Params, Rows, TaskSession


class _Results(Protocol):
    rows: Rows


class _Database(Protocol):
    async def execute_write_fn(self, fn: Callable[[sqlite3.Connection], object]) -> object: ...
    async def execute_write(self, sql: str, params: Params) -> object: ...
    async def execute(self, sql: str, params: Params) -> _Results: ...
    def close(self) -> None: ...


class _Datasette(Protocol):
    executor: Executor

    def get_database(self) -> _Database: ...


class WriteThread(Contender):
    """Tasks ask the thread to run a statement and a commit, one after the other."""

    @classmethod
    def version(cls) -> str:
        return f"datasette {importlib.metadata.version('datasette')} with SQLite {sqlite3.sqlite_version}"

    @classmethod
    @asynccontextmanager
    async def opened_for_tasks(
        cls, path: Path, durability: Durability
    ) -> AsyncGenerator[Callable[[], AbstractAsyncContextManager[TaskSession]]]:
        datasette = cast("_Datasette", importlib.import_module("datasette.app").Datasette(files=[str(path)]))
        database = datasette.get_database()
        await database.execute_write_fn(lambda connection: connection.executescript(PRAGMAS + durability))

        async def query(sql: LiteralString, params: Params) -> Rows:
            return (await database.execute(sql, params)).rows

        try:
            yield lambda: nullcontext(TaskSession(execute=database.execute_write, query=query))
        finally:
            database.close()  # its writing thread has no end but the program's
            datasette.executor.shutdown()
