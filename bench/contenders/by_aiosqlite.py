"""aiosqlite: one connection for all tasks, or several that aiosqlitepool lends.

``aiosqlitepool`` has no types; this module is the only one that touches it.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import LiteralString, Protocol, cast

import aiosqlite

from onewriter.config import Durability

from .base import BUSY_TIMEOUT_S, PRAGMAS, Contender, Params, Rows, TaskSession

# As aiosqlitepool's documentation has them "for write-heavy workloads", and its pragmas for fast connections.
POOL_SIZE, ACQUISITION_TIMEOUT_S = 5, 60
MORE_PRAGMAS = "PRAGMA cache_size = 10000; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 268435456; "


async def _connected(path: Path, durability: Durability, more: str = "") -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, timeout=BUSY_TIMEOUT_S)
    try:
        await connection.executescript(more + PRAGMAS + durability)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _execute(connection: aiosqlite.Connection, sql: str, params: Params) -> None:
    try:
        await connection.execute(sql, params)
        await connection.commit()
    except BaseException:
        await connection.rollback()
        raise


async def _query(connection: aiosqlite.Connection, sql: str, params: Params) -> Rows:
    return cast("Rows", await connection.execute_fetchall(sql, params))


class OneConnection(Contender):
    """All tasks share a connection, and with it a transaction, which only one of them may have open."""

    @classmethod
    def version(cls) -> str:
        return f"aiosqlite {importlib.metadata.version('aiosqlite')} with SQLite {sqlite3.sqlite_version}"

    @classmethod
    @asynccontextmanager
    async def opened_for_tasks(
        cls, path: Path, durability: Durability
    ) -> AsyncGenerator[Callable[[], AbstractAsyncContextManager[TaskSession]]]:
        connection, lock = await _connected(path, durability), asyncio.Lock()

        async def execute(sql: LiteralString, params: Params) -> None:
            async with lock:
                await _execute(connection, sql, params)

        async def query(sql: LiteralString, params: Params) -> Rows:
            async with lock:
                return await _query(connection, sql, params)

        try:
            yield lambda: nullcontext(TaskSession(execute=execute, query=query))
        finally:
            await connection.close()


class _Pool(Protocol):
    def connection(self) -> AbstractAsyncContextManager[aiosqlite.Connection]: ...
    async def close(self) -> None: ...


class Pool(Contender):
    """A task borrows a connection for each transaction."""

    @classmethod
    def version(cls) -> str:
        return f"aiosqlitepool {importlib.metadata.version('aiosqlitepool')} on {OneConnection.version()}"

    @classmethod
    @asynccontextmanager
    async def opened_for_tasks(
        cls, path: Path, durability: Durability
    ) -> AsyncGenerator[Callable[[], AbstractAsyncContextManager[TaskSession]]]:
        made = importlib.import_module("aiosqlitepool").SQLiteConnectionPool(
            lambda: _connected(path, durability, MORE_PRAGMAS),
            pool_size=POOL_SIZE,
            acquisition_timeout=ACQUISITION_TIMEOUT_S,
        )
        pool = cast("_Pool", made)

        async def execute(sql: LiteralString, params: Params) -> None:
            async with pool.connection() as connection:
                await connection.execute(sql, params)
                await connection.commit()  # where it is not come to, the pool rolls back

        async def query(sql: LiteralString, params: Params) -> Rows:
            async with pool.connection() as connection:
                return await _query(connection, sql, params)

        try:
            yield lambda: nullcontext(TaskSession(execute=execute, query=query))
        finally:
            await pool.close()
