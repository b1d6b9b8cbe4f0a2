"""onewriter: statements, and functions on their callers' own threads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from pathlib import Path
from typing import LiteralString

import onewriter
from onewriter.config import Durability

from .base import Contender, Params, Session, TaskSession


class OneWriter(Contender):
    """The library as its README has it."""

    @classmethod
    def version(cls) -> str:
        return f"onewriter {onewriter.__version__}"

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, durability: Durability
    ) -> Generator[Callable[[], AbstractContextManager[Session]]]:
        with onewriter.open(path, durability=durability) as db:
            session = cls._session(db)
            yield lambda: nullcontext(session)

    @classmethod
    def _session(cls, db: onewriter.Database) -> Session:
        def query_into(sql: LiteralString, into: type[object]) -> Sequence[object]:
            return db.query(sql, into=into)

        return Session(
            execute=db.execute,
            write=db.write,
            query=db.query,
            query_into=query_into,
            submit=db.submit,
            many=db.execute_many,
        )

    @classmethod
    @asynccontextmanager
    async def opened_for_tasks(
        cls, path: Path, durability: Durability
    ) -> AsyncGenerator[Callable[[], AbstractAsyncContextManager[TaskSession]]]:
        async with await onewriter.aio.open(path, durability=durability) as db:
            session = cls._task_session(db)
            yield lambda: nullcontext(session)

    @classmethod
    def _task_session(cls, db: onewriter.aio.Database) -> TaskSession:
        return TaskSession(execute=db.execute, query=db.query)


class OneWriterFunctions(OneWriter):
    """The same, where each small write is a function."""

    @classmethod
    def _session(cls, db: onewriter.Database) -> Session:
        def execute(sql: LiteralString, params: Params) -> object:
            return db.write(lambda tx: tx.execute(sql, params))

        return Session(execute=execute, query=db.query)

    @classmethod
    def _task_session(cls, db: onewriter.aio.Database) -> TaskSession:
        def execute(sql: LiteralString, params: Params) -> Awaitable[object]:
            return db.write(lambda tx: tx.execute(sql, params))

        return TaskSession(execute=execute, query=db.query)
