"""What there is to say of each contender, without an import of its library: the memory of a worker is measured."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Final, cast

from .base import AT_ONCE, BUSY_TIMEOUT_S, Can, Contender


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """A contender's facts.

    Attributes:
        key: its name on the command line and in saved results.
        title: its name for people.
        how: how it is used, in a sentence.
        can: what it may be asked for.
        library: what a program imports that uses it.
        place: its class, as ``module:class`` in `bench.contenders`.
        limit: it is no way to serve threads, but what the machine could do at best: one thread is asked.
    """

    key: str
    title: str
    how: str
    can: frozenset[Can]
    library: str
    place: str
    limit: bool = False

    def contender(self) -> type[Contender]:
        """Import it, and with it its library."""
        module, name = self.place.split(":")
        return cast("type[Contender]", getattr(importlib.import_module(f"{__package__}.{module}"), name))


_BY_HAND: Final = frozenset({Can.EXECUTE, Can.WRITE, Can.QUERY, Can.MANY})
_A_THREAD: Final = _BY_HAND | {Can.PROCESSES}
_TASKS: Final = frozenset({Can.TASKS})

_ALL: Final = (
    About(
        key="onewriter",
        title="onewriter",
        how="one Database for all; small writes by execute",
        can=frozenset(Can),
        library="onewriter",
        place="library:OneWriter",
    ),
    About(
        key="onewriter-write",
        title="onewriter, write(function)",
        how="one Database for all; each small write is a function, run on its caller's thread",
        can=frozenset({Can.EXECUTE, Can.TASKS}),
        library="onewriter",
        place="library:OneWriterFunctions",
    ),
    About(
        key="locked",
        title="one locked connection",
        how="APSW, one connection behind a threading.Lock; autocommit for a statement alone, else BEGIN IMMEDIATE",
        can=_BY_HAND,
        library="apsw",
        place="by_hand:OneLockedConnection",
    ),
    About(
        key="apsw-deferred",
        title="APSW, a connection a thread, deferred",
        how=f"a connection for each thread, BEGIN, a busy time-out of {BUSY_TIMEOUT_S:g} s",
        can=_A_THREAD,
        library="apsw",
        place="by_hand:ApswDeferred",
    ),
    About(
        key="apsw-immediate",
        title="APSW, a connection a thread, immediate",
        how=f"a connection for each thread, BEGIN IMMEDIATE, a busy time-out of {BUSY_TIMEOUT_S:g} s",
        can=_A_THREAD,
        library="apsw",
        place="by_hand:ApswImmediate",
    ),
    About(
        key="sqlite3-deferred",
        title="sqlite3, a connection a thread, deferred",
        how=f"isolation_level=None and BEGIN, a connection for each thread, timeout={BUSY_TIMEOUT_S:g}",
        can=_A_THREAD,
        library="sqlite3",
        place="by_hand:StandardDeferred",
    ),
    About(
        key="sqlite3-immediate",
        title="sqlite3, a connection a thread, immediate",
        how=f"isolation_level=None and BEGIN IMMEDIATE, a connection for each thread, timeout={BUSY_TIMEOUT_S:g}",
        can=_A_THREAD,
        library="sqlite3",
        place="by_hand:StandardImmediate",
    ),
    About(
        key="peewee",
        title="peewee, SqliteQueueDatabase",
        how="one SqliteQueueDatabase, whose thread writes each statement with a commit of its own, and whose callers "
        "wait for it; a connection a thread for reads; queue_max_size=64 and results_timeout=5.0, as in its "
        "documentation",
        can=frozenset({Can.EXECUTE, Can.QUERY}),
        library="playhouse.sqliteq",
        place="by_peewee:QueueDatabase",
    ),
    About(
        key="sqlalchemy",
        title="SQLAlchemy, a pool",
        how="one Engine on sqlite3 with its default QueuePool (5 connections, 10 more, 30 s), Core and text(); its "
        "documentation's events emit BEGIN, and BEGIN IMMEDIATE where something is written",
        can=frozenset({Can.EXECUTE, Can.WRITE, Can.QUERY, Can.PROCESSES}),
        library="sqlalchemy",
        place="by_sqlalchemy:Pool",
    ),
    About(
        key="datasette",
        title="datasette, a writing thread",
        how="one Database of a Datasette: execute_write, which has its thread run the statement and a commit",
        can=_TASKS,
        library="datasette.app",
        place="by_datasette:WriteThread",
    ),
    About(
        key="aiosqlite",
        title="aiosqlite",
        how="one connection for all tasks, with an asyncio.Lock around execute and commit: tasks that share a "
        "connection share its transaction",
        can=_TASKS,
        library="aiosqlite",
        place="by_aiosqlite:OneConnection",
    ),
    About(
        key="aiosqlitepool",
        title="aiosqlitepool",
        how="aiosqlite's connections in a pool, as its documentation has it for many writes: pool_size=5, "
        "acquisition_timeout=60, and its pragmas",
        can=_TASKS,
        library="aiosqlite, aiosqlitepool",
        place="by_aiosqlite:Pool",
    ),
    About(
        key="apsw-aio",
        title="APSW, asyncio",
        how="one connection of Connection.as_async for all tasks, each statement in autocommit",
        can=_TASKS,
        library="apsw.aio",
        place="by_apsw_aio:OneConnection",
    ),
    About(
        key="raw",
        title="raw APSW, one thread",
        how="APSW, one connection of one thread, with no lock; autocommit for a statement alone",
        can=_BY_HAND,
        library="apsw",
        place="by_hand:RawApsw",
        limit=True,
    ),
    About(
        key="ceiling",
        title=f"{AT_ONCE} writes a commit, one thread",
        how=f"APSW, one connection of one thread, BEGIN IMMEDIATE, a commit for {AT_ONCE} writes",
        can=frozenset({Can.EXECUTE, Can.WRITE}),
        library="apsw",
        place="limits:Ceiling",
        limit=True,
    ),
    About(
        key="ceiling-savepoints",
        title=f"{AT_ONCE} writes a commit, a savepoint each",
        how="as ceiling, each write between SAVEPOINT and RELEASE",
        can=frozenset({Can.EXECUTE, Can.WRITE}),
        library="apsw",
        place="limits:CeilingWithSavepoints",
        limit=True,
    ),
    About(
        key="synced",
        title="a file, synced after each write",
        how="os.write of the bytes, and os.fdatasync where a commit would sync, one thread",
        can=frozenset({Can.EXECUTE}),
        library="os",
        place="limits:Synced",
        limit=True,
    ),
)

ALL: Final[dict[str, About]] = {each.key: each for each in _ALL}
