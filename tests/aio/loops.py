"""Running a test on an event loop of its own, with a hard limit, and looking at what the loop does."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextvars import Context
from pathlib import Path
from typing import Any, ParamSpec, TypeVarTuple

import onewriter
from onewriter import Config, aio
from tests.support.databases import SCHEMA
from tests.support.steps import LIMIT_S

P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
INSERT = "INSERT INTO item (name) VALUES (?)"
COUNT = "SELECT count(*) FROM item"
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n"
# Nothing but a full line or its end closes a batch.
PATIENT = Config(batch_s=60.0, lead_s=60.0, readers_max=2)


class LoudError(AssertionError):
    """Something reached the loop's exception handler: an error that nobody awaited."""


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run *test* on a loop of its own, in debug mode, and fail where the loop's exception handler is called."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loud: list[object] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(
                lambda _loop, context: loud.append((context["message"], context.get("exception")))
            )
            async with asyncio.timeout(LIMIT_S * 2):
                await test(*args, **kwargs)

        asyncio.run(main())
        if loud:
            raise LoudError(loud)

    return run


async def open_items(folder: Path, config: Config = PATIENT) -> aio.Database:
    """Open a database with two small tables."""
    return await aio.open(folder / "items.db", config=config, migrations=SCHEMA, durability="normal")


async def names(db: aio.Database) -> list[str]:
    """Return the names of all items in the order in which they were inserted."""
    return await db.query("SELECT name FROM item ORDER BY id", into=str)


async def until(true: Callable[[], bool], what: str) -> None:
    """Let the loop run until a state is there."""
    async with asyncio.timeout(LIMIT_S):
        while not true():  # noqa: ASYNC110 - other threads bring it about
            await asyncio.sleep(0.0005)
    assert true(), what


async def pending(db: aio.Database, number: int) -> None:
    """Wait until so many requests are in line."""
    await until(lambda: db.sync.stats().pending == number, f"{number} in line")


class WakeLoop(asyncio.SelectorEventLoop):
    """A loop that counts how often other threads woke it."""

    wakes = 0

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Count."""
        self.wakes += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


def insert(name: str) -> Callable[[onewriter.Transaction], str]:
    """Return a function that inserts *name* and returns it."""

    def work(tx: onewriter.Transaction) -> str:
        tx.execute(INSERT, (name,))
        return name

    return work


async def is_sound(db: aio.Database) -> None:
    """See that nothing is left in line or lent, and that everybody can write and read at once."""
    await until(lambda: db.sync.stats().pending == 0, "an empty line")
    assert await db.execute("UPDATE item SET size = 0 WHERE 0", timeout_s=5.0)
    async with db.transaction(timeout_s=5.0) as tx:
        await tx.query(COUNT)
    readers = db.config.readers_max
    async with asyncio.TaskGroup() as group:  # as many at once as there are
        for _ in range(readers):
            group.create_task(_read(db))
    await until(lambda: db.sync.stats().readers_lent == 0, "all readers back")


async def _read(db: aio.Database) -> None:
    async with db.read_transaction(timeout_s=5.0) as tx:
        await tx.query(COUNT)
