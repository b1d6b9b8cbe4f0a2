"""What was submitted: one thread that runs it, and one that calls back.

G1  Submitted functions run on one thread, in the order of their coming and in the same line as all others, each in a
    copy of the context in which it was submitted. That thread takes the role for all of them: `line`, seats.
G2  Each future has exactly one outcome: a result or an error once it is committed, a time-out or a refusal where
    nothing ran, a cancellation. `_tell` is given each ticket once, by whoever took it from the seat's ``told``.
G3  No code of a user's runs with the role, but for the functions themselves: outcomes are set by the running thread
    where nobody is to be called back, and otherwise by a second thread, which calls back. So a callback may take its
    time, and may write.

Both threads are started at the first need. Neither has a lock but the line's.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

from . import clock
from .connection import Connection
from .errors import WriteTimeout
from .futures import WriteFuture
from .helpers import Helper
from .requests import Function, Request
from .tickets import Seat, Ticket
from .transaction import Transaction
from .writer import Writer

T = TypeVar("T")


class Submitted(Function):
    """A function that was submitted, with the future of its outcome."""

    __slots__ = ("_context", "future")

    def __init__(self, work: Callable[[Transaction], object], future: WriteFuture[object]) -> None:
        """Take *work*, and the context of the calling thread."""
        super().__init__(work)
        self.future = future
        self._context = contextvars.copy_context()

    def begin(self) -> bool:
        """Return whether it is to be run: it may have been cancelled before its first run."""
        return self.future.begin()

    def run(self, connection: Connection) -> object:
        """Return what the function returned, in its context."""
        return self._context.run(super().run, connection)

    @property
    def has_callbacks(self) -> bool:
        """Whether a user's code is to be called with the outcome."""
        return self.callbacks is not None or self.future.has_callbacks


class Background:
    """The threads of one database's submitted requests."""

    def __init__(self, writer: Writer) -> None:
        """Serve what is submitted to *writer*."""
        self._writer = writer
        self._seat: Seat[Request] = Seat()
        self._done: deque[Ticket[Request]] = deque()  # to be told by the second thread
        self._calls: deque[Callable[[], object]] = deque()  # to be called by it
        name = writer.path.name
        self._runner = Helper(f"onewriter-submit-{name}", self._run, self._seat.wake)
        self._caller = Helper(f"onewriter-callbacks-{name}", self._call_back)
        writer.tell_seat = self._tell_all

    def submit(self, work: Callable[[Transaction], T], timeout_s: float, *, alone: bool) -> WriteFuture[T]:
        """Put *work* in line and return the future of its outcome; never waits.

        Raises:
            QueueFull, DatabaseClosed: nothing ran, and nothing will.
        """
        line = self._writer.line
        future: WriteFuture[object] = WriteFuture(
            self._writer.presence, lambda: self._writer.withdraw(ticket), self._later
        )
        ticket: Ticket[Request] = Ticket(Submitted(work, future), timeout_s, portable=False, alone=alone)
        ticket.line, ticket.seat, ticket.wake = line, self._seat, self._seat.wake
        self._runner.start()
        self._writer.submit(ticket)
        return cast("WriteFuture[T]", future)

    def is_here(self) -> bool:
        """Whether the calling thread is the one that calls back."""
        return self._caller.is_here()

    def end(self, deadline: float) -> bool:
        """End both threads when all is told, up to *deadline*; the line is closed, and refuses what waits."""
        ended = self._runner.end(deadline)
        self._tell_all()  # where a function that does not return keeps the thread, this one tells the rest
        return self._caller.end(deadline) and ended

    def disown(self) -> list[object]:
        """In a forked child: end the futures that are not done; return what must be kept (see `forks`)."""
        writer = self._writer
        tickets = [*writer.line.tickets(), *writer.batch.members, *self._seat.told, *self._done]
        for ticket in tickets:
            if isinstance(ticket.work, Submitted):
                ticket.work.future.disown()
        return [self._seat]

    # --- on the running thread

    def _run(self) -> float:
        """Serve until the role is another's, and return when the next request in line may have waited too long."""
        while self._writer.seated(self._seat):
            self._tell_all()
        self._tell_all()
        if self._seat.earliest <= clock.now():
            for ticket in self._writer.line.expire(self._seat):
                waited_s = clock.now() - ticket.entered_at
                msg = f"{self._writer.path}: the submitted write's turn did not come in {waited_s:.3g} s; nothing ran"
                ticket.error = WriteTimeout(msg, held_by="line")
                self._tell(ticket)
        return self._seat.earliest

    def _tell_all(self) -> None:
        told = self._seat.told
        with suppress(IndexError):  # another thread may take the last one
            while told:
                self._tell(told.popleft())

    def _tell(self, ticket: Ticket[Request]) -> None:
        work = ticket.work
        assert isinstance(work, Submitted), "not of this seat"
        if work.has_callbacks or _settle(ticket, work.future):
            self._done.append(ticket)
            self._caller.start()
            self._caller.nudge()

    def _later(self, call: Callable[[], object]) -> None:
        self._calls.append(call)
        self._caller.start()
        self._caller.nudge()

    # --- on the calling-back thread

    def _call_back(self) -> float:
        while self._done:
            ticket = self._done.popleft()
            work = ticket.work
            assert isinstance(work, Submitted), "not of this seat"
            if ticket.error is None and not work.future.done():
                work.committed(self._writer.path)
            _settle(ticket, work.future)
            work.future.call_back()
        while self._calls:
            self._calls.popleft()()
        return clock.NEVER


def _settle(ticket: Ticket[Request], future: WriteFuture[object]) -> bool:
    error, ticket.error = ticket.error, None  # no cycle through the traceback
    return future.settle(ticket.value, error)
