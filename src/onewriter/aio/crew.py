"""Threads that read for tasks: as many as there are readers, started at need, ended with their database.

R1  A thread does one job at a time, in the order in which they were asked for. A job lasts for one call, or for a
    block: a thread stands for a reader, and whoever waits for the one would wait for the other.
R2  A job that was dropped before a thread came to it is not done, nor kept: whoever waits behind a reader that is held
    for long may ask and leave as often as he likes. One whose deadline passed before that has been told so by its loop.
R3  The threads know of the jobs alone, not of the database: so that can be forgotten while they sleep.
"""

from __future__ import annotations

import _thread
import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import Final

from onewriter import clock, errands, forks
from onewriter.errors import OperationalError
from onewriter.helpers import apart
from onewriter.locks import closed_lock, holding, wake_up

from .mailbox import HAND_OVER_S, Answer, Mailbox


class Job(Answer):
    """One call for a thread.

    Attributes:
        has_begun: a thread is at it; written by that.
        crew: who is to do it, where it waits for one of them.
    """

    has_begun = False
    crew: Crew | None = None

    def __init__(
        self,
        work: Callable[[float], object],
        until: float,
        box: Mailbox,
        late: Callable[[float], BaseException | None] | None = None,
        context: Context | None = None,
    ) -> None:
        """Do *work*, which is given the seconds that are left of its deadline, *until*, in *context*.

        Its outcome comes by *box*. *late* makes the error for a deadline that passed, given when it was asked for; None
        where a thread is about to come to it.
        """
        # Whether a reader is free is for the thread to see.
        self.until, self._reader_until = until + HAND_OVER_S, until
        self._work = work
        self._box = box
        self._late = late
        self._context = context
        self._asked_at = clock.now()

    def drop(self) -> None:
        """Have it broken off, or not begun; what has a thread of its own goes on by itself."""
        self.dropped = True
        self._box.forget(self)
        if self.crew is not None:
            self.broken = True
            self.crew.withdraw(self)

    def give_up(self) -> BaseException | None:
        """Have it not begun, past its deadline."""
        if self.has_begun or self._late is None:
            return None  # what it waits for has the same deadline, or it has none
        error = self._late(self._asked_at)
        if error is None:
            self.until = clock.now() + HAND_OVER_S  # who seems to be about to come to it may come to another
            if self.crew is not None:
                with suppress(OperationalError):  # then it is late the next time
                    self.crew.hire_at_need()  # an interrupt may have kept somebody else from it
            return None
        self.dropped = True
        if self.crew is not None:
            self.crew.withdraw(self)
        return error

    def do(self) -> None:
        """Do it, on the calling thread, and put the outcome into the box."""
        self.has_begun = True
        if self.dropped:
            return
        errands.begin(self)
        try:
            left_s = max(0.0, self._reader_until - clock.now())
            if self._context is None:
                self.value = self._work(left_s)
            else:
                self.value = self._context.run(self._work, left_s)
        except BaseException as error:  # noqa: BLE001 - it is the task's
            self.error = error
        finally:
            errands.end()
            # They know the database, which may be forgotten from now on (R3).
            self._work, self._late = _done, None
        self._box.put(self)
        self._box.ring()


def _done(_left_s: float) -> object:
    raise AssertionError("a job is done once")


_MISSING: Final = object()


def begin_apart(job: Job, name: str, box: Mailbox) -> Job:
    """Have *job* done by a thread of its own, called *name*; its outcome comes by *box*."""
    job.task = asyncio.current_task()
    box.expect(job)
    apart(name, job.do)
    return job


class Crew:
    """The threads of one database.

    Each step is one call into C, so that no interrupt comes in between, and whole among threads too (`shared`): a
    thread is started as its place is taken out of ``_vacant``, and ``_idle`` has one entry for each that waits for a
    ring. So nothing here has a lock, but for ``_jobs``, which has one for as long as a call into C lasts. Whoever adds
    a job, or takes one, looks afterwards whether more rings than threads wait. Each job has been rung for once, and
    who takes one out takes a ring with it: not always its own, so that who withdraws one looks afterwards whether
    there is a ring for each that is left. A ring too many does no harm. Once it was stopped, who hears a ring rings
    again, and each thread ends when it finds no job.
    """

    def __init__(self, name: str, size: int) -> None:
        """Have *size* threads at most, called *name* and a number."""
        self._name = name
        self._size = size
        self._lock = threading.RLock()  # re-entrant for `holding`
        self._jobs: OrderedDict[Job, None] = OrderedDict()  # guarded by _lock; anybody may look at its length
        self._rings: SimpleQueue[None] = SimpleQueue()
        self._is_stopped = False
        self._is_alone = False  # the last thread that was asked for could not be started
        self._vacant: list[tuple[()]] = [()] * size
        self._numbers = list(range(size, 0, -1))  # of threads to come
        self._idle: list[None] = []
        self._gone: list[tuple[()]] = []  # the places of those that ended
        self._news = closed_lock()  # that one has
        forks.register(self)

    def do(self, job: Job) -> None:
        """Have *job* done by the next thread that is free; waits for nothing.

        Raises:
            OperationalError: the system has no thread left, and there is none yet.
        """
        job.crew = self
        holding(self._lock, self._jobs.__setitem__, job, None)
        self._rings.put(None)
        self.hire_at_need()
        if self._is_stopped and self.withdraw(job):  # it may have come too late for any of them
            apart("read", job.do)

    def withdraw(self, job: Job) -> bool:
        """Take *job* out, for any thread; False where one has come to it."""
        if holding(self._lock, self._jobs.pop, job, _MISSING) is _MISSING:
            return False
        with suppress(Empty):  # one has heard, and will find nothing
            self._rings.get_nowait()
        if self._is_stopped or len(self._jobs) > self._rings.qsize():
            self._rings.put(None)  # who has heard found nothing before this came: so it was another's
            with suppress(OperationalError):
                self.hire_at_need()
        return True

    def hire_at_need(self) -> None:
        """Start one more thread if more was asked for than the idle ones will hear of; for any thread.

        Raises:
            OperationalError: the system has no thread left, and there is none yet.
        """
        if self._rings.qsize() > len(self._idle) and self._vacant:
            try:
                # One call takes a place and starts a thread.
                next(map(_thread.start_new_thread, (self._begin,), iter(self._vacant.pop, None)))
                self._is_alone = False
            except IndexError:
                pass  # another was quicker
            except RuntimeError as error:
                self._vacant.append(())
                self._is_alone = True
                if self._is_stopped:
                    self._close_vacant()
                    wake_up(self._news)
                elif len(self._vacant) == self._size:
                    raise OperationalError(f"cannot start a thread that reads: {error}") from error

    @property
    def is_busy(self) -> bool:
        """Whether every thread that there may be is at work; also where the system has no other one left."""
        return not self._idle and (self._is_alone or not self._vacant)

    def stop(self) -> None:
        """Have each thread end when it has done what was asked for before; for any thread, a finalizer's too."""
        self._is_stopped = True
        self._close_vacant()
        self._rings.put(None)

    def join(self, deadline: float) -> bool:
        """Wait for the end of all threads, once it was stopped, up to *deadline*; return whether all have ended.

        Where they have not, what waits for them is done by a thread of its own: the database is closed, and refuses it.
        """
        while len(self._gone) < self._size:
            if not self._news.acquire(timeout=clock.wait_s(deadline)):
                if self._jobs:
                    apart("read", self._do_rest)
                return False
        wake_up(self._news)  # for the next who waits
        return True

    def disown(self) -> list[object]:
        """In a forked child: have a new lock, since a thread of the parent may have had the old one."""
        self._lock = threading.RLock()
        return []

    def _do_rest(self) -> None:
        while (job := self._next()) is not None:
            job.do()
            del job

    def _next(self) -> Job | None:
        """Take out the job that has waited longest."""
        with self._lock:  # no interrupt reaches the threads that come here
            return self._jobs.popitem(last=False)[0] if self._jobs else None

    def _close_vacant(self) -> None:
        with suppress(IndexError):  # the end: there is none left
            self._gone.extend(iter(self._vacant.pop, None))

    def _begin(self) -> None:
        """Serve, on a thread with a name, or on this one where the system has no second one left."""
        try:
            apart(f"{self._name}-{self._numbers.pop()}", self._serve)
        except RuntimeError:
            self._serve()

    def _serve(self) -> None:
        while True:
            self._idle.append(None)
            self._rings.get()
            self._idle.pop()
            if self._is_stopped:
                self._rings.put(None)
            self.hire_at_need()
            job = self._next()
            if job is None:  # it was dropped meanwhile
                if self._is_stopped:
                    break
                continue
            job.do()
            del job  # what it refers to is not kept while this thread sleeps
        self._gone.append(())
        wake_up(self._news)
