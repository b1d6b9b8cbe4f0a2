"""Processes of tasks on one file, of which one after the other is killed: what they were told is there, whole, once."""

from __future__ import annotations

from pathlib import Path

import pytest

import onewriter
from tests.support.children import Child
from tests.support.oracle import MIGRATION, Fate, judge, read_ledger, rows
from tests.support.steps import wait_until

TASKS, PROCESSES, EACH = 10, 3, 60

_WRITER = """
import asyncio, random, sys
from pathlib import Path
from onewriter import aio
from tests.support.oracle import INSERT, Ledger, whole

path, log, seed = sys.argv[1:]
rnd = random.Random(seed)
ledger = Ledger(Path(log))

async def execute(db, name):
    await db.execute_many(INSERT, [(name, 1), (name, 2)])

async def write(db, name):
    await db.write(lambda tx: whole(name, tx))

async def transaction(db, name):
    async with db.transaction() as tx:
        await tx.execute(INSERT, (name, 1))
        async with tx.savepoint():
            await tx.execute(INSERT, (name, 2))

async def read(db):
    async with db.stream("SELECT name FROM unit LIMIT 50") as rows:
        async for _ in rows:
            pass

async def work(db, task):
    number = 0
    while True:
        name, number = f"{seed}-{task}-{number}", number + 1
        if rnd.random() < 0.25:
            await read(db)
        else:
            with ledger.unit(name):
                await rnd.choice((execute, write, transaction))(db, name)

async def main():
    async with await aio.open(path) as db:
        await asyncio.gather(*(work(db, task) for task in range(TASKS)))

asyncio.run(main())
""".replace("TASKS", str(TASKS))


def _told(log: Path) -> int:
    """Return how many units were acknowledged."""
    return list(read_ledger(log).values()).count(Fate.ACKNOWLEDGED) if log.exists() else 0


def _goes_on(log: Path) -> None:
    """Wait until its process was told of so many more."""
    before = _told(log)
    wait_until(lambda: _told(log) >= before + EACH, f"{log} grows")


@pytest.mark.parametrize("seed", range(3))
def test_what_was_acknowledged_is_there_whole_and_once(tmp_path: Path, seed: int) -> None:
    """The others go on at once, whatever the killed one was in the middle of."""
    path = tmp_path / "items.db"
    onewriter.open(path, migrations=(MIGRATION,)).close()
    logs = [tmp_path / f"{number}.log" for number in range(PROCESSES)]
    children = [Child(_WRITER, path, log, f"{seed}{place}") for place, log in enumerate(logs)]
    try:
        for place, child in enumerate(children):
            for log in logs[place:]:
                _goes_on(log)
            child.kill()
    finally:
        for child in children:
            child.kill()
    with onewriter.open(path) as db:
        assert db.check() == []
        found = rows(db)
    verdict = judge({name: fate for log in logs for name, fate in read_ledger(log).items()}, found)
    verdict.check()
    assert verdict.acknowledged >= PROCESSES * EACH
    assert verdict.refused == 0
