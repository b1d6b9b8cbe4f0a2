"""A caller's code that comes back into the database from wherever it runs: it ends, and nothing is broken by it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

import onewriter
from onewriter import Error, Transaction
from tests.support.hostile import QUICK, check_works, open_hostile
from tests.support.oracle import MIGRATION, Ledger
from tests.support.own_code import PLACES, connect_with
from tests.support.places import in_memory
from tests.support.reentry import DOORS, Caller

AT_ONCE_S: Final = 2.0  # less than any wait of `QUICK`, and much more than what is done


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a sync costs nothing; what is logged of the callbacks is not shown."""
    logger = logging.getLogger("onewriter")
    before, logger.propagate = logger.propagate, False
    try:
        with in_memory(tmp_path / "disk") as made:
            yield made
    finally:
        logger.propagate = before


@pytest.mark.usefixtures("small_heap")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("place", PLACES)
def test_every_door_is_safe_from_every_place(
    folder: Path, place: str, seed: int, pytestconfig: pytest.Config
) -> None:
    """Each call returns at once, or is refused with an error of the library's; the database works afterwards.

    A run of the suite draws some of the doors for each place; one with ``--soak=20`` takes them all.
    """
    soak_s: float | None = pytestconfig.getoption("--soak")
    drawn = random.Random(f"{seed} {place}").sample(sorted(DOORS), min(len(DOORS), int((soak_s or 0.0) * 2)))
    for name in drawn:
        below = folder / name
        below.mkdir()
        caller = Caller(DOORS[name], below)
        db = open_hostile(below / "a.db", connect_with(caller))
        db.snapshot(below / "source.db")
        caller.db = db
        began = time.monotonic()
        with suppress(Error):
            PLACES[place](caller)
        ended = time.monotonic()
        (told,) = caller.told
        assert ended - began < AT_ONCE_S, (name, told)
        assert told is None or isinstance(told, Error), (name, told)
        caller.at_connect = caller.at_commit = False
        if db.closed:
            db.close()
            db = open_hostile(below / "a.db")
        check_works(db, Ledger())
        assert db.check() == [], name
        db.close()


def test_a_call_that_waits_for_itself_is_seen(folder: Path) -> None:
    """The test of the test: what waits for its own turn on another thread is no call that ends at once."""

    def waits(caller: Caller) -> None:
        with pytest.raises(onewriter.WriteTimeout):
            asyncio.run(asyncio.to_thread(caller.opened.execute, "DELETE FROM t", timeout_s=AT_ONCE_S))

    caller = Caller(waits, folder)
    with open_hostile(folder / "a.db", connect_with(caller)) as db:
        caller.db = db
        began = time.monotonic()
        PLACES["write"](caller)
        assert time.monotonic() - began >= AT_ONCE_S
        assert caller.told == [None]


# --- tasks

AsyncDoor = Callable[[onewriter.aio.Database], Awaitable[object]]


async def _block(db: onewriter.aio.Database) -> None:
    async with db.transaction() as tx:
        await tx.execute("DELETE FROM t")


async def _stream(db: onewriter.aio.Database) -> None:
    async with db.stream("SELECT * FROM t") as rows:
        async for _ in rows:
            pass


async def _read_block(db: onewriter.aio.Database) -> None:
    async with db.read_transaction() as tx:
        await tx.query("SELECT 1")


ASYNC_DOORS: Final[dict[str, AsyncDoor]] = {
    "execute": lambda db: db.execute("DELETE FROM t"),
    "execute_many": lambda db: db.execute_many("DELETE FROM t WHERE a = ?", [(1,), (2,)]),
    "write": lambda db: db.write(lambda tx: tx.execute("DELETE FROM t")),
    "transaction": _block,
    "query": lambda db: db.query("SELECT 1"),
    "read": lambda db: db.read(lambda tx: tx.query("SELECT 1")),
    "stream": _stream,
    "read transaction": _read_block,
    "migrate": lambda db: db.migrate([MIGRATION]),
    "schema_version": lambda db: db.schema_version(),
    "check": lambda db: db.check(),
    "checkpoint": lambda db: db.checkpoint(timeout_s=0.1),
    "vacuum": lambda db: db.vacuum(),
    "close": lambda db: db.close(),
}


@asynccontextmanager
async def _nothing(_db: onewriter.aio.Database) -> AsyncGenerator[None]:
    yield


BLOCKS: Final[dict[str, Callable[[onewriter.aio.Database], Any]]] = {
    "transaction": lambda db: db.transaction(),
    "read transaction": lambda db: db.read_transaction(),
    "stream": lambda db: db.stream("SELECT * FROM t"),
    "nothing": _nothing,
}


async def _within(path: Path, block: str, name: str) -> None:
    db = await onewriter.aio.open(path, config=QUICK, migrations=[MIGRATION])
    await db.execute("CREATE TABLE IF NOT EXISTS t (a)")
    told: list[BaseException] = []
    began = time.monotonic()
    try:
        async with BLOCKS[block](db):
            try:
                await ASYNC_DOORS[name](db)
            except Error as error:
                told.append(error)
    except Error as error:
        told.append(error)
    ended = time.monotonic()
    await db.close()
    assert ended - began < AT_ONCE_S, (block, name, told)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_door_of_tasks_is_safe_inside_every_block(folder: Path, block: str) -> None:
    """As above."""
    for name in ASYNC_DOORS:
        asyncio.run(asyncio.wait_for(_within(folder / f"{name}.db", block, name), 20.0))
        with onewriter.open(folder / f"{name}.db", config=QUICK) as db:
            check_works(db, Ledger())
            assert db.check() == []


def test_functions_of_tasks_may_not_come_back_by_the_loop(folder: Path) -> None:
    """A function given to `write` waits for its own loop: it is told, by the time-out of what it waits for."""

    async def run() -> object:
        async with await onewriter.aio.open(folder / "a.db", config=QUICK) as db:
            loop = asyncio.get_running_loop()

            def work(_tx: Transaction) -> object:
                asked = asyncio.run_coroutine_threadsafe(
                    db.execute("CREATE TABLE u (a)", timeout_s=0.2), loop
                )
                try:
                    return asked.result(10.0)
                except Error as error:
                    return error

            return await db.write(work)

    assert isinstance(asyncio.run(run()), Error)
