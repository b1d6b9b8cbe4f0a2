"""Small writes of many tasks of asyncio, beside aiosqlite.

    python -m bench.tasks [--tasks 100,1000] [--durability full] [--rounds 7] [--seconds 1] [--json FILE]
    python -m bench.tasks --events

Each task inserts one row of 20 bytes after the other. aiosqlite is used as its documentation has it, one connection,
``execute`` and ``commit``; behind an `asyncio.Lock`, since tasks that share a connection share its transaction, and one
would commit what another has half done. *unlocked* leaves that lock out: most of its commits then have nothing to do.

``--events`` measures what it costs a task to wait for a future of asyncio, and for an event of anyio.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiosqlite
import anyio

import onewriter
from bench.rounds import Figure, Report, Round, arguments, figure, in_turn, numbers
from onewriter.config import Durability

ROW = "x" * 20
CREATE = "CREATE TABLE small (id INTEGER PRIMARY KEY, body TEXT NOT NULL)"
INSERT = "INSERT INTO small (body) VALUES (?)"
LOCKED, UNLOCKED, OURS, FUNCTIONS = "aiosqlite", "aiosqlite, unlocked", "onewriter execute", "onewriter write"
Write = Callable[[], Awaitable[object]]


@asynccontextmanager
async def _aiosqlite(path: Path, durability: Durability, *, locked: bool) -> AsyncGenerator[Write]:
    async with aiosqlite.connect(path) as db:
        await db.execute("PRAGMA journal_mode = WAL")
        await db.execute(f"PRAGMA synchronous = {durability}")
        await db.execute(CREATE)
        await db.commit()
        lock = asyncio.Lock()

        async def write() -> None:
            await db.execute(INSERT, (ROW,))
            await db.commit()

        async def write_locked() -> None:
            async with lock:
                await write()

        yield write_locked if locked else write


@asynccontextmanager
async def _onewriter(path: Path, durability: Durability, *, by_function: bool) -> AsyncGenerator[Write]:
    async with await onewriter.aio.open(path, durability=durability) as db:
        await db.execute(CREATE)

        def insert(tx: onewriter.Transaction) -> None:
            tx.execute(INSERT, (ROW,))

        yield (lambda: db.write(insert)) if by_function else (lambda: db.execute(INSERT, (ROW,)))


async def run_tasks(write: Write, tasks: int, seconds: float) -> Round:
    """Have so many *tasks* call *write*, each again and again for *seconds*."""
    stop = time.perf_counter() + seconds
    done, worst_s = 0, 0.0

    async def repeat() -> None:
        nonlocal done, worst_s
        now = time.perf_counter()
        while now < stop:
            await write()
            after = time.perf_counter()
            done += 1
            worst_s = max(worst_s, after - now)
            now = after

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(repeat())
    return Round(done / (time.perf_counter() - began), worst_s)


async def compare(tasks: int, durability: Durability, rounds: int, seconds: float) -> dict[str, Figure]:
    """Return what each way does with so many *tasks*; ratios are to aiosqlite."""
    seen: dict[str, list[Round]] = {each: [] for each in (LOCKED, UNLOCKED, OURS, FUNCTIONS)}
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name:
            folder = Path(name)
            async with AsyncExitStack() as stack:
                enter = stack.enter_async_context
                ways = {
                    LOCKED: await enter(_aiosqlite(folder / "locked.db", durability, locked=True)),
                    UNLOCKED: await enter(_aiosqlite(folder / "unlocked.db", durability, locked=False)),
                    OURS: await enter(_onewriter(folder / "execute.db", durability, by_function=False)),
                    FUNCTIONS: await enter(_onewriter(folder / "write.db", durability, by_function=True)),
                }
                for way in in_turn(ways, number):
                    seen[way].append(await run_tasks(ways[way], tasks, seconds))
    return {way: figure(rounds_, seen[LOCKED]) for way, rounds_ in seen.items()}


async def _waits(tasks: int = 100, each: int = 300, rounds: int = 5) -> dict[str, float]:
    """Return the seconds that one wait costs, by what is waited for: medians."""
    loop = asyncio.get_running_loop()

    async def for_future() -> None:
        for _ in range(each):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

    async def for_event() -> None:
        for _ in range(each):
            event = anyio.Event()
            loop.call_soon(event.set)
            await event.wait()

    took: dict[str, list[float]] = {"a future of asyncio": [], "an event of anyio": []}
    for _ in range(rounds):
        for what, wait in zip(took, (for_future, for_event), strict=True):
            began = time.perf_counter()
            await asyncio.gather(*(wait() for _ in range(tasks)))
            took[what].append((time.perf_counter() - began) / (tasks * each))
    return {what: statistics.median(seen) for what, seen in took.items()}


def main(given: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = arguments("Small writes of many tasks.", rounds=7, seconds=1.0)
    parser.add_argument("--tasks", type=numbers, default=[100, 1000], help="numbers of tasks")
    parser.add_argument("--durability", default="full", choices=("full", "normal"))
    parser.add_argument("--events", action="store_true", help="what it costs to wait; no comparison then")
    chosen = parser.parse_args(given)
    report = Report(chosen, f", durability {chosen.durability}, aiosqlite {aiosqlite.__version__}")
    if chosen.events:
        for what, took_s in asyncio.run(_waits()).items():
            print(f"{what:25s} {took_s * 1e6:6.2f} us")
        return 0
    for tasks in chosen.tasks:
        report.show(
            f"{tasks} tasks", asyncio.run(compare(tasks, chosen.durability, chosen.rounds, chosen.seconds))
        )
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
