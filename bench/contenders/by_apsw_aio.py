"""APSW's own asyncio: a connection whose calls run in a thread of its own."""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from pathlib import Path
from typing import LiteralString

import apsw

from onewriter.config import Durability

from .base import BUSY_TIMEOUT_S, PRAGMAS, Params, Rows, TaskSession
from .by_hand import ByApsw


class OneConnection(ByApsw):
    """All tasks share a connection; no transaction of a task is longer than a statement, so that they need no lock."""

    @classmethod
    @asynccontextmanager
    async def opened_for_tasks(
        cls, path: Path, durability: Durability
    ) -> AsyncGenerator[Callable[[], AbstractAsyncContextManager[TaskSession]]]:
        async with aclosing(await apsw.Connection.as_async(str(path))) as connection:
            await connection.set_busy_timeout(int(BUSY_TIMEOUT_S * 1000))
            prepared = await connection.execute(PRAGMAS + durability)
            await prepared.fetchall()  # else it stops at the first row

            async def query(sql: LiteralString, params: Params) -> Rows:
                return await (await connection.execute(sql, params)).fetchall()

            yield lambda: nullcontext(TaskSession(execute=connection.execute, query=query))
