"""What it costs a task to wait: for a future of asyncio, and for an event of anyio.

python -m bench.events
"""

from __future__ import annotations

import asyncio
import statistics
import time

import anyio


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


if __name__ == "__main__":
    for what, took_s in asyncio.run(_waits()).items():
        print(f"{what:25s} {took_s * 1e6:6.2f} us")
