"""Loads of tasks of asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from bench.contenders import Can
from bench.contenders.base import Session, TaskSession

from .base import LIMIT_S, Call, Hung, Part, Round, Seen, describe
from .writes import INSERT, Small

OpenedForTasks = Callable[[], AbstractAsyncContextManager[TaskSession]]


class Tasks(Small):
    """Each task inserts one row after the other; all are of one loop."""

    needs = Can.TASKS

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        raise AssertionError("tasks have no thread")

    def run(self, serve: Callable[[Round], None]) -> None:
        asyncio.run(self._run(serve))

    async def _run(self, serve: Callable[[Round], None]) -> None:
        loop = asyncio.get_running_loop()
        async with self.about.contender().opened_for_tasks(self.path, self.load.durability) as opened:

            def round_(at: float, seconds: float) -> Seen:
                running = asyncio.run_coroutine_threadsafe(self._round(opened, at, seconds), loop)
                try:
                    return running.result(seconds + 2 * LIMIT_S)
                except TimeoutError:
                    raise Hung("tasks did not come back") from None

            await asyncio.to_thread(serve, round_)

    async def _round(self, opened: OpenedForTasks, at: float, seconds: float) -> Seen:
        self.rounds += 1
        ready, go, done = (
            asyncio.Barrier(self.threads + 1),
            asyncio.Event(),
            asyncio.Barrier(self.threads + 1),
        )
        parts = [Part() for _ in range(self.threads)]

        async def work(part: Part) -> None:
            async with AsyncExitStack() as stack:
                session = None
                try:
                    session = await stack.enter_async_context(opened())
                except Exception as error:  # noqa: BLE001 - L5
                    part.errors[f"not opened: {describe(error)}"] += 1
                await ready.wait()
                await go.wait()
                if session is not None:
                    await self._repeat_in_task(session, seconds, part)
                else:
                    part.began = part.ended = time.monotonic()
                await done.wait()  # L4

        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(work(part))
            await ready.wait()
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            go.set()
            await done.wait()
        return self.seen(parts)

    async def _repeat_in_task(self, session: TaskSession, seconds: float, part: Part) -> None:
        now, execute, took, body = (
            time.monotonic,
            session.execute,
            part.took["write"],
            ("x" * self.load.bytes,),
        )
        part.began = before = now()
        stop = before + seconds
        while before < stop:
            try:
                await execute(INSERT, body)
            except Exception as error:  # noqa: BLE001 - L5
                part.errors[describe(error)] += 1
                before = now()
            else:
                after = now()
                took.append(after - before)
                before = after
        part.ended = before
