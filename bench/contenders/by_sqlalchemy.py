"""SQLAlchemy's pool of connections of the standard library's, by its Core."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import LiteralString

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, TextClause, create_engine, event, text

from onewriter.config import Durability

from .base import BUSY_TIMEOUT_S, PRAGMAS, Contender, Params, Rows, Session, Work

BEGIN = "begin"  # an execution option of ours, by which a connection says how its transactions begin


@lru_cache
def _named(sql: str) -> tuple[TextClause, tuple[str, ...]]:
    """Return *sql* as `text()` has it, whose parameters have names, and those names."""
    first, *others = sql.split("?")
    names = tuple(f"p{number}" for number in range(len(others)))
    return text(first + "".join(f":{name}{rest}" for name, rest in zip(names, others, strict=True))), names


class _On:
    """The statements of a transaction that is open on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, sql: LiteralString, params: Params = (), /) -> object:
        statement, names = _named(sql)
        return self._connection.execute(statement, dict(zip(names, params, strict=True)))

    def query(self, sql: LiteralString, params: Params = (), /) -> Rows:
        statement, names = _named(sql)
        return self._connection.execute(statement, dict(zip(names, params, strict=True))).all()


def _engine(path: Path, durability: Durability) -> Engine:
    """Return an engine whose transactions are SQLAlchemy's to begin.

    Its documentation has these events, for the driver begins none before it comes to a statement that writes:
    https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes
    """
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    def connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.executescript(PRAGMAS + durability)

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, "BEGIN"))

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", begin)
    return engine


class Pool(Contender):
    """A pool that lends a connection for each transaction."""

    @classmethod
    def version(cls) -> str:
        return f"sqlalchemy {sqlalchemy.__version__} with SQLite {sqlite3.sqlite_version}"

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, durability: Durability
    ) -> Generator[Callable[[], AbstractContextManager[Session]]]:
        engine = _engine(path, durability)
        writing = engine.execution_options(**{BEGIN: "BEGIN IMMEDIATE"})

        def execute(sql: LiteralString, params: Params) -> object:
            with writing.begin() as connection:
                return _On(connection).execute(sql, params)

        def write(work: Work) -> object:
            with writing.begin() as connection:
                return work(_On(connection))

        def query(sql: LiteralString, params: Params) -> Rows:
            with engine.connect() as connection:
                return _On(connection).query(sql, params)

        session = Session(execute=execute, write=write, query=query)
        try:
            yield lambda: nullcontext(session)
        finally:
            engine.dispose()
