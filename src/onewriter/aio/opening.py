"""Opening a database for tasks, and restoring one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from onewriter import clock, snapshots
from onewriter import database as sync
from onewriter import migration as migrating
from onewriter import opening as sync_opening
from onewriter.config import Config, Durability
from onewriter.helpers import apart
from onewriter.migration import Migration

from .crew import Job, begin_apart
from .database import Database
from .mailbox import Mailbox, outcome


class _Opening(Job):
    """Opens a database; where nobody waits for it any more, it is closed again."""

    def arrive(self) -> None:
        opened = self.value if self.answer.done() else None
        super().arrive()
        self._close(opened)

    def drop(self) -> None:
        super().drop()
        answer = self.answer
        # The task may be cancelled after it has arrived, and before it could take it.
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            self._close(self.value)

    def be_lost(self) -> None:
        self._close(self.value)

    def _close(self, opened: object) -> None:
        if isinstance(opened, sync.Database):
            apart("close", opened.close)


async def open(
    path: str | os.PathLike[str],
    *,
    config: Config | None = None,
    durability: Durability = "full",
    migrations: Iterable[Migration] = (),
    read_only: bool = False,
) -> Database:
    """Open the database at *path*, on a thread of its own; see `onewriter.open` for what it takes, does and raises.

    Cancelled, it goes on by itself, and closes again what it has opened.
    """
    listed = migrating.check(migrations)

    def work(_left_s: float) -> sync.Database:
        return sync_opening.open(
            path, config=config, durability=durability, migrations=listed, read_only=read_only
        )

    box = Mailbox(asyncio.get_running_loop())
    opened = await outcome(begin_apart(_Opening(work, clock.NEVER, box), "open", box))
    return Database(cast("sync.Database", opened))


async def restore(snapshot: str | os.PathLike[str], dest: str | os.PathLike[str]) -> Path:
    """Make a database of *snapshot* at *dest*, on a thread of its own; see `onewriter.restore`."""
    box = Mailbox(asyncio.get_running_loop())
    job = Job(lambda _left_s: snapshots.restore(snapshot, dest), clock.NEVER, box)
    return cast("Path", await outcome(begin_apart(job, "restore", box)))
