"""Processes of tasks on one file, of which one after the other is killed: what they were told is there, whole, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import onewriter
from tests.support.children import Child
from tests.support.databases import SCHEMA
from tests.support.steps import wait_until

TASKS, PROCESSES, EACH = 10, 3, 60

_WRITER = """
import asyncio, os, random, sys
from onewriter import aio

path, log, seed = sys.argv[1:]
rnd = random.Random(seed)
told = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
INSERT = "INSERT INTO item (name) VALUES (?)"

async def execute(db, name):
    await db.execute_many(INSERT, [(name + " one",), (name + " two",)])

async def write(db, name):
    def both(tx):
        tx.execute(INSERT, (name + " one",))
        tx.execute(INSERT, (name + " two",))
    await db.write(both)

async def transaction(db, name):
    async with db.transaction() as tx:
        await tx.execute(INSERT, (name + " one",))
        async with tx.savepoint():
            await tx.execute(INSERT, (name + " two",))

async def read(db, name):
    async with db.stream("SELECT name FROM item LIMIT 50") as rows:
        async for _ in rows:
            pass

async def work(db, task):
    number = 0
    while True:
        name, number = f"{seed}-{task}-{number}", number + 1
        kind = rnd.choice((execute, write, transaction, read))
        await kind(db, name)
        if kind is not read:
            os.write(told, f"{name}\\n".encode())

async def main():
    async with await aio.open(path) as db:
        await asyncio.gather(*(work(db, task) for task in range(TASKS)))

asyncio.run(main())
""".replace("TASKS", str(TASKS))


def _told(log: Path) -> list[str]:
    """Return what was acknowledged, but for a line that a kill has cut."""
    return log.read_text(encoding="ascii").split("\n")[:-1] if log.exists() else []


def _goes_on(log: Path) -> None:
    """Wait until its process was told of so many more."""
    before = len(_told(log))
    wait_until(lambda: len(_told(log)) >= before + EACH, f"{log} grows")


@pytest.mark.parametrize("seed", range(3))
def test_what_was_acknowledged_is_there_whole_and_once(tmp_path: Path, seed: int) -> None:
    """The others go on at once, whatever the killed one was in the middle of."""
    path = tmp_path / "items.db"
    onewriter.open(path, migrations=SCHEMA).close()
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
        found = Counter(db.query("SELECT name FROM item", into=str))
    assert set(found.values()) == {1}
    assert {name.removesuffix(" one") for name in found if name.endswith(" one")} == {
        name.removesuffix(" two") for name in found if name.endswith(" two")
    }
    for log in logs:
        told = _told(log)
        assert len(told) >= EACH
        assert all(f"{name} one" in found for name in told)
