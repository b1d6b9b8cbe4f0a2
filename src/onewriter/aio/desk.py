"""What the tasks of all loops ask of one database: checked, and handed to the background thread or the crew.

D1  Nothing here waits. What is refused is refused at once, and nothing of it will run.
D2  Each loop has its mailbox, made at its first call; those of lost loops are dropped.
D3  A task that has a write transaction open, or that such a task waits for, may not ask for what would wait for it.
"""

from __future__ import annotations

import asyncio
import weakref
from _thread import get_ident
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeVar

from onewriter import clock
from onewriter.config import Config
from onewriter.database import Database
from onewriter.errors import NestedRead, NestedWrite
from onewriter.observer import Observer
from onewriter.parameters import Params
from onewriter.readers import Readers
from onewriter.trails import ASKED_AT
from onewriter.transaction import Transaction

from .crew import Crew, Job, begin_apart
from .held import Held, HeldWrite, OpenRead
from .inside import inside
from .mailbox import Asker, Letter, Mailbox
from .nesting import waits_for, waits_with_time_limit
from .sessions import Session
from .writes import AskedStatement, AskedWrite, Wanted

S = TypeVar("S")


class Desk:
    """Where tasks ask."""

    def __init__(self, database: Database) -> None:
        """Serve tasks of *database*."""
        self._inside = inside(database)
        self._background = self._inside.background
        self._presence = self._inside.presence
        self._for_writing = self._inside.for_writing
        self._config: Config = database.config
        self._path = database.path
        self._is_followed = self._config.telemetry is not None or self._config.slow_request_s is not None
        self._readers: Readers = self._inside.readers
        self._boxes: dict[asyncio.AbstractEventLoop, Mailbox] = {}
        self._reading: dict[Asker, None] = {}  # whose reads are open, each under a key of its own
        self.crew = Crew(f"read-{database.path.name}", self._config.readers_max)
        self._inside.has_staff(self.crew)
        self._inside.has_staff(self)

    # --- writing

    def write(self, work: Wanted, timeout_s: float | None, *, alone: bool = False) -> AskedWrite:
        """Put *work* in line, for the calling task; raises as `Database.write`, but for time-outs."""
        writer = self._for_writing()
        timeout_s = clock.duration(timeout_s, self._config.write_timeout_s)
        box = self.box()
        asked = AskedWrite(work, timeout_s, writer, box, alone=alone)
        task = asked.task = work.task = asyncio.current_task(box.loop)
        self._put(asked, box, task)
        return asked

    def statement(self, sql: str, params: Params, timeout_s: float | None) -> AskedStatement:
        """Put one statement in line, as `write` does what may be anything; written out, as the road of most writes."""
        writer = self._for_writing()
        if timeout_s is None:
            timeout_s = self._config.write_timeout_s
        else:
            clock.check_duration(timeout_s)
        box = self._boxes.get(asyncio.get_running_loop()) or self.box()
        asked = AskedStatement(sql, params, timeout_s, writer, box)
        asked.task = task = asyncio.current_task(box.loop)
        self._put(asked, box, task)
        return asked

    def hold(self, timeout_s: float | None, hold_s: float | None) -> tuple[Session[Transaction], HeldWrite]:
        """Make a transaction that is to be held open, and its letter, for `ask`; raises as `write`."""
        config = self._config
        writer = self._for_writing()
        timeout_s = clock.duration(timeout_s, config.write_timeout_s)
        hold_s = clock.duration(hold_s, config.hold_s)
        box = self.box()
        session: Session[Transaction] = Session(box, "the transaction", self._inside.check_own, breaks=False)
        work = Held(session, hold_s, config.holder_warn_s, self._path)
        asked = work.asked = HeldWrite(session, work, timeout_s, writer, box)
        task = asyncio.current_task(box.loop)
        asked.asker = _weakly(task)  # an open transaction does not keep its task
        _note(session, self._presence.tasks, asked.asker)
        return session, asked

    def ask(self, asked: AskedWrite | Job) -> None:
        """Put what was made in line, for the calling task; raises as what made it. Whoever calls drops it then."""
        box = self.box()
        if isinstance(asked, Job):
            self._do(asked, box)
        else:
            self._put(asked, box, asyncio.current_task(box.loop))

    def _put(self, asked: AskedWrite, box: Mailbox, task: asyncio.Task[Any] | None) -> None:
        presence = self._presence
        if presence.tasks or (presence.writing and get_ident() in presence.writing):
            self._check_outside_writes(task)
        assert self._background is not None, "a database for writing has it"
        box.expect(asked, asked.entered_at)
        try:
            self._background.put(asked)
        except BaseException:
            asked.drop()  # an interrupt may have come when it was in line
            raise

    def _check_outside_writes(self, task: asyncio.Task[Any] | None) -> None:
        if self._is_inside_a_write(task):
            msg = (
                "this task, or one that waits for it, has a write transaction of the same file open, and would wait "
                "for itself: use that transaction (tx), or write after its block"
            )
            raise NestedWrite(msg)

    def _is_inside_a_write(self, task: asyncio.Task[Any] | None) -> bool:
        presence = self._presence
        if presence.writing and presence.is_writing():
            return True
        if not presence.tasks or task is None:
            return False
        loop = task.get_loop()
        return any(
            each is task or (each.get_loop() is loop and waits_for(each, task)) for each in self._holders()
        )

    def _holders(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that have a write transaction of the file open."""
        found = [each() for each in self._presence.tasks.copy()]
        return [each for each in found if each is not None]

    # --- reading

    def read(
        self,
        work: Callable[[float], object],
        timeout_s: float | None,
        sql: str,
        context: Context | None = None,
    ) -> Job:
        """Have *work* done by the crew, for the calling task; raises as `Database.query`, but for time-outs.

        It is given the seconds that are left to wait for a reader; *sql* is what errors call it.
        """
        box, task, until = self._for_reading(timeout_s)
        job = Job(work, until, box, lambda since: self._late(since, sql), self._followed(context))
        job.task = task
        self._do(job, box)
        return job

    def keep(
        self,
        open_: Callable[[float], AbstractContextManager[S]],
        timeout_s: float | None,
        what: str,
        sql: str,
    ) -> tuple[Session[S], OpenRead]:
        """Make what *open_* opens, to be kept open by one of the crew, and its letter, for `ask`; raises as `read`."""
        box, task, until = self._for_reading(timeout_s)
        session: Session[S] = Session(box, what, self._inside.check_own, breaks=True)
        job = OpenRead(session, open_, until, box, lambda since: self._late(since, sql), self._followed(None))
        job.asker = _weakly(task)
        _note(session, self._reading, job.asker)
        return session, job

    def _followed(self, context: Context | None) -> Context | None:
        """Return the context for a read: where somebody follows it, the task's own, which says since when it waits."""
        if not self._is_followed:
            return context
        context = copy_context() if context is None else context
        context.run(ASKED_AT.set, clock.now())
        return context

    def _late(self, since: float, sql: str) -> BaseException | None:
        return self._readers.late(since, sql) if self.crew.is_busy else None

    def _for_reading(self, timeout_s: float | None) -> tuple[Mailbox, asyncio.Task[Any] | None, float]:
        self._inside.for_reading()
        until = clock.deadline(timeout_s, self._config.read_timeout_s)
        box = self.box()
        task = asyncio.current_task(box.loop)
        self._check_may_read(task)
        if task is not None and self._count(task) >= self._config.readers_max:
            msg = (
                f"this task holds all {self._config.readers_max} readers itself and would wait for itself: read "
                "through the transaction it has, or raise Config(readers_max=...)"
            )
            raise NestedRead(msg)
        return box, task, until

    def _check_may_read(self, task: asyncio.Task[Any] | None) -> None:
        if not self._presence.tasks or task is None:
            return
        if any(each is task or waits_with_time_limit(each, task) for each in self._holders()):
            msg = (
                "this task has a write transaction of the same file open: ask that (await tx.query), which sees what "
                "it wrote"
            )
            raise NestedRead(msg)

    def _do(self, job: Job, box: Mailbox) -> None:
        box.expect(job)
        try:
            self.crew.do(job)
        except BaseException:
            job.drop()
            raise

    def _count(self, task: asyncio.Task[Any]) -> int:
        """Return how many reads *task* has open."""
        return sum(each() is task for each in self._reading.copy())

    # --- the file, and its end

    def check_may_observe(self) -> None:
        """Refuse to begin to observe; raises as `write`, or as `read` where nothing can be written."""
        self.check_usable(writes=self._background is not None)

    def observe(
        self, tables: str | Iterable[str] | None, notify: Callable[[], object], timeout_s: float | None
    ) -> Observer:
        """Return who observes *tables*, and calls *notify* at news; waits for the turn, on a thread."""
        return self._inside.observe_by(tables, notify, timeout_s)

    def check_usable(self, *, writes: bool) -> None:
        """Refuse what is to work on the whole file; raises as `write` or `read`."""
        if writes:
            self._for_writing()
            self._check_outside_writes(asyncio.current_task())
        else:
            self._inside.for_reading()
            self._check_may_read(asyncio.current_task())

    @property
    def is_forked(self) -> bool:
        """Whether this is a forked child, and the database its parent's."""
        return self._inside.is_forked()

    def check_outside(self) -> None:
        """Refuse to close where the calling task would wait for itself; raises as `Database.close`."""
        task = asyncio.current_task()
        if self._is_inside_a_write(task):
            msg = f"{self._path}: close() inside a write would wait for itself; leave the write first"
            raise NestedWrite(msg)
        if task is not None and self._count(task):
            msg = f"{self._path}: close() inside a read would wait for itself; leave the read first"
            raise NestedRead(msg)

    def stop(self) -> None:
        """Have done, for lost loops, what is to be done all the same; the database has ended, and all is told."""
        self._drop_lost()

    def join(self, deadline: float) -> bool:  # noqa: ARG002 - as the crew
        """Wait for nothing: the crew ends for itself."""
        return True

    def forget(self) -> None:
        """End the crew, without waiting; for a finalizer."""
        self.crew.stop()

    def apart(self, name: str, work: Callable[[], object]) -> Letter:
        """Have *work*, which may take long, done by a thread of its own."""
        box = self.box()
        return begin_apart(Job(lambda _left_s: work(), clock.NEVER, box), name, box)

    def box(self) -> Mailbox:
        """Return the mailbox of the running loop (D2)."""
        loop = asyncio.get_running_loop()
        box = self._boxes.get(loop)
        if box is None:
            self._drop_lost()
            box = self._boxes[loop] = Mailbox(loop)
        return box

    def _drop_lost(self) -> None:
        """Drop the mailboxes of lost loops, with what has come for them."""
        for box in [each for each in self._boxes.copy().values() if each.is_lost]:
            self._boxes.pop(box.loop, None)
            box.lose()


def _note(session: Session[Any], opened: dict[Asker, None], asker: Asker) -> None:
    """Have *asker* stand in *opened* from the beginning of *session* to its end (D3)."""
    key = partial(asker)  # one of its own, since a task has several at once, and one after another
    session.at_begin, session.at_end = partial(opened.setdefault, key), partial(opened.pop, key, None)


def _weakly(task: asyncio.Task[Any] | None) -> Asker:
    return _nobody if task is None else weakref.ref(task)


def _nobody() -> None:
    """Return what stands for a callback of the loop, which is no task."""
