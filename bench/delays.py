"""How long the event loop is kept by what its tasks ask of a database.

    python -m bench.delays [--rounds 1] [--seconds 3] [--json FILE]

Measured is how late a timer of the loop comes at the worst, while 100 tasks write, a query takes all the time, a
transaction is held, the line is full, commits are large, a thousand tasks come to the end of their time together, and
the database is closed. It fails past 20 ms; past 40 with the thousand, each of which is resumed with its own error.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.loads.writes import CREATE, INSERT
from bench.rounds import arguments, machine, write
from onewriter import Config, Result, WriteTimeout, aio

ROW = "x" * 20
LIMIT_S = 0.02
LATE = "1,000 are late behind a stranger's lock"
LIMIT_LATE_S = 0.04
BODY = "x" * 4_000_000  # made once: four of them, made by the tasks, would keep the loop by themselves


async def _latest(seconds: float, during: Callable[[], Awaitable[object]]) -> float:
    """Return how late the loop's timers come at the worst while *during* runs, for *seconds* at least."""
    worst_s, ended = 0.0, asyncio.Event()

    async def look() -> None:
        nonlocal worst_s
        while not ended.is_set():
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            worst_s = max(worst_s, time.perf_counter() - due)

    looking = asyncio.create_task(look())
    await asyncio.gather(during(), asyncio.sleep(seconds))
    ended.set()
    await looking
    return worst_s


@contextmanager
def _stranger(path: Path) -> Generator[None]:
    """Another process has the file's write lock for the length of a block."""
    program = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "db.execute('BEGIN IMMEDIATE'); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        assert process.stdin is not None
        process.stdin.close()


async def _repeat(write: Callable[[], Awaitable[object]], tasks: int, seconds: float) -> None:
    """Have so many *tasks* call *write*, each again and again for *seconds*."""
    stop = time.perf_counter() + seconds

    async def repeat() -> None:
        while time.perf_counter() < stop:
            await write()

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(repeat())


COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000000) SELECT count(*) FROM n"


class Load:
    """What goes on beside the loop's timer, for some seconds each time."""

    def __init__(self, db: aio.Database, seconds: float) -> None:
        """Use *db*."""
        self.db = db
        self.seconds = seconds

    async def writes(self, tasks: int = 100) -> None:
        """So many tasks write."""
        await _repeat(lambda: self.db.execute(INSERT, (ROW,)), tasks, self.seconds)

    async def query(self) -> None:
        """A query takes all the time."""
        await self.db.query_value(COUNT)

    async def both(self) -> None:
        """A query takes all the time, while tasks write."""
        await asyncio.gather(self.query(), self.writes())

    async def large(self) -> None:
        """Commits have 4 to 16 MB."""
        await _repeat(lambda: self.db.execute(INSERT, (BODY,)), 4, self.seconds)

    async def held_and_full(self) -> None:
        """A transaction is held, the line is full, and others wait outside."""

        async def held() -> None:
            async with self.db.transaction() as tx:
                await tx.execute(INSERT, (ROW,))
                await asyncio.sleep(self.seconds)

        await asyncio.gather(held(), self.writes(500))

    async def late_together(self) -> None:
        """A thousand tasks wait for a stranger's lock, and come to the end of their time together."""
        waiting = await self._ask(max(0.2, self.seconds / 2))
        await asyncio.wait(waiting)
        assert all(isinstance(each.exception(), WriteTimeout) for each in waiting)

    async def closing(self) -> None:
        """The database is closed while a thousand writes wait."""
        waiting = await self._ask(None)
        await self.db.close()
        await asyncio.wait(waiting)

    async def _ask(self, timeout_s: float | None) -> list[asyncio.Task[Result]]:
        waiting: list[asyncio.Task[Result]] = []
        while len(waiting) < 1000:  # not all in one turn of the loop, which would keep it by itself
            ask = partial(self.db.execute, INSERT, (ROW,), timeout_s=timeout_s)
            waiting += [asyncio.create_task(ask()) for _ in range(50)]
            await asyncio.sleep(0)
        return waiting


async def delays(seconds: float) -> dict[str, float]:
    """Return how late timers come, by what is going on."""
    with tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name:
        load = Load(await aio.open(Path(name) / "a.db", config=Config(pending_max=50)), seconds)
        await load.db.execute(CREATE)
        found = {"nothing": await _latest(seconds, lambda: asyncio.sleep(0))}
        found["100 tasks write"] = await _latest(seconds, load.writes)
        found["a query takes all the time"] = await _latest(seconds, load.query)
        found["both"] = await _latest(seconds, load.both)
        found["a transaction is held, the line is full"] = await _latest(seconds, load.held_and_full)
        found["commits of 4 MB"] = await _latest(seconds, load.large)
        with _stranger(load.db.path):
            found[LATE] = await _latest(seconds, load.late_together)
        found["close, behind 1,000 writes"] = await _latest(seconds, load.closing)
        full = await aio.open(Path(name) / "b.db", config=Config(wal_bytes_max=1 << 30))
        await full.execute(CREATE)
        for _ in range(20):
            await full.execute(INSERT, (BODY,))
        found["close, with up to 80 MB in the WAL"] = await _latest(0.0, full.close)
        return found


def main(given: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    chosen = arguments("How long the event loop is kept.", rounds=1, seconds=3.0).parse_args(given)
    print(f"{machine()}, the worst of {chosen.rounds} x {chosen.seconds:g} s")
    worst_s: dict[str, float] = {}
    for _ in range(chosen.rounds):
        for what, late_s in asyncio.run(delays(chosen.seconds)).items():
            worst_s[what] = max(late_s, worst_s.get(what, 0.0))
    for what, late_s in worst_s.items():
        print(f"{what:45s} the loop was late by {late_s * 1000:6.1f} ms at the worst")
    write([{"what": what, "late_s": late_s} for what, late_s in worst_s.items()], chosen.json)
    return int(any(late_s > (LIMIT_LATE_S if what == LATE else LIMIT_S) for what, late_s in worst_s.items()))


if __name__ == "__main__":
    sys.exit(main())
