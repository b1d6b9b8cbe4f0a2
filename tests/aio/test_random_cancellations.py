"""Cancellations at random moments, judged by an oracle: nothing acknowledged is lost, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import uvloop

import onewriter
from onewriter import Config, aio
from tests.aio.loops import COUNT, INSERT, is_sound, names, on_loop, open_items

CANCELLATIONS = 10_000


class Oracle:
    """What became of each key, and whether the file agrees."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self.acknowledged: set[str] = set()
        self.parts: dict[str, int] = {}  # by key, how many rows it has if it has any
        self.cancelled = 0

    def judge(self, there: list[str]) -> None:
        """Compare with the names in the file, each ``key/part``."""
        found: dict[str, int] = {}
        for name in there:
            key = name.partition("/")[0]
            found[key] = found.get(key, 0) + 1
        assert self.acknowledged <= found.keys(), "an acknowledged write is lost"
        for key, number in found.items():
            assert number == self.parts[key], f"{key} is half-done: {number} of {self.parts[key]}"


async def _many(db: aio.Database, rows: list[tuple[str]]) -> None:
    await db.execute_many(INSERT, rows)


async def _function(db: aio.Database, rows: list[tuple[str]]) -> None:
    def work(tx: onewriter.Transaction) -> None:
        for row in rows:
            tx.execute(INSERT, row)

    await db.write(work)


async def _block(db: aio.Database, rows: list[tuple[str]]) -> None:
    async with db.transaction() as tx:
        for row in rows:
            await tx.execute(INSERT, row)


async def _savepoint(db: aio.Database, rows: list[tuple[str]]) -> None:
    async with db.transaction() as tx, tx.savepoint():
        for row in rows:
            await tx.execute(INSERT, row)
        async with tx.stream("SELECT name FROM item LIMIT 3") as stream:
            async for _ in stream:
                pass


async def _hurried(db: aio.Database, rows: list[tuple[str]]) -> None:
    async with asyncio.timeout(random.Random(rows[0][0]).random() * 0.003):
        await db.execute_many(INSERT, rows)


WRITES = (_many, _function, _block, _savepoint, _hurried)


async def _one(db: aio.Database, key: str, kind: int, oracle: Oracle) -> None:
    if kind >= 15:
        await _some_read(db, kind)
        return
    rows = [(f"{key}/{part}",) for part in range(1 + kind % 3)]
    oracle.parts[key] = len(rows)
    await WRITES[kind // 3](db, rows)
    oracle.acknowledged.add(key)


async def _some_read(db: aio.Database, kind: int) -> None:
    if kind == 15:
        await db.query(COUNT)
    elif kind == 16:
        async with db.read_transaction() as tx:
            await tx.query(COUNT)
            await tx.query(COUNT)
    elif kind == 17:
        async with db.stream("SELECT name FROM item LIMIT 500") as rows:
            async for _ in rows:
                pass
    else:
        await db.read(lambda tx: tx.query(COUNT))


@on_loop
async def test_ten_thousand_random_cancellations(tmp_path: Path, seed: int) -> None:
    """The database is open, its line empty, its readers back, and the file is what the oracle knows."""
    await _storm(tmp_path, seed, CANCELLATIONS)


def test_random_cancellations_on_uvloop(tmp_path: Path, seed: int) -> None:
    """A loop that is not of Python's own: its futures and handles are other ones."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_storm(tmp_path, seed, CANCELLATIONS // 4))


async def _storm(folder: Path, seed: int, cancellations: int) -> None:
    dice = random.Random(seed)
    oracle = Oracle()
    config = Config(readers_max=3, pending_max=8)
    async with await open_items(folder, config) as db:
        number = 0
        while oracle.cancelled < cancellations:
            tasks: list[asyncio.Task[None]] = []
            for _ in range(24):
                number += 1
                tasks.append(asyncio.create_task(_one(db, str(number), dice.randrange(19), oracle)))
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0 if dice.random() < 0.7 else dice.random() * 0.002)
            for task in dice.sample(tasks, 20):
                if not task.done():
                    task.cancel()
                if dice.random() < 0.3:
                    await asyncio.sleep(0)
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            oracle.cancelled += sum(isinstance(each, asyncio.CancelledError) for each in ended)
            wrong = [
                each for each in ended if isinstance(each, Exception) and not isinstance(each, TimeoutError)
            ]
            assert wrong == [], wrong[:1]
        await is_sound(db)
        oracle.judge(await names(db))
        assert await db.check() == []
