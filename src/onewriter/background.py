"""What was submitted: one thread that runs it, and one that calls back.

G1  Submitted functions run on one thread, in the order of their coming and in the same line as all others, each in a
    copy of the context in which it was submitted. That thread takes the role for all of them: `line`, seats.
G2  Each future has exactly one outcome: a result or an error once it is committed, a time-out or a refusal where
    nothing ran, a cancellation. `_tell` is given each ticket by whoever took it from the seat's ``told``; a second
    time does nothing.
G3  No code of a user's runs with the role, but for the functions themselves: callbacks run on a second thread, and may
    take their time, write, and wait. Those of ``after_commit`` run before the outcome is told. But where that thread
    itself waits for a future, in a callback, outcomes are told first: it would wait for itself.
G4  Whatever a callback raises, the next one is called.
G5  The second thread ends after the first. What comes when it has ended is called by a thread of its own.
G6  A ticket with a box has no future here: the box is given it, and rung once for all that were told together.

Both threads are started at the first need. Neither has a lock but the line's.
"""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from . import clock
from .connection import Connection
from .futures import WriteFuture
from .helpers import Helper, apart
from .presence import Presence
from .requests import Function, Request
from .tickets import Seat, Ticket
from .transaction import Transaction
from .writer import Writer

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Submitted(Function):
    """A function that was submitted, with the future of its outcome."""

    __slots__ = ("_context", "future")

    def __init__(self, work: Callable[[Transaction], object], future: WriteFuture[Any]) -> None:
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


class Background:
    """The threads of one database's submitted requests."""

    def __init__(self, writer: Writer) -> None:
        """Serve what is submitted to *writer*."""
        self._writer = writer
        self._seat: Seat[Request] = Seat()
        self._calls: deque[Callable[[], object]] = deque()  # of the second thread
        # Committed, and not told before their callbacks have run. Who adds looks at _waits after it, and who sets that
        # looks here after it; who takes one out tells it.
        self._untold: dict[Ticket[Request], Submitted] = {}
        self._waits = False  # the second thread waits for a future, in a callback
        name = writer.path.name
        self._runner = Helper(f"onewriter-submit-{name}", self._run, self._seat.wake, self._leave)
        self._caller = Helper(f"onewriter-callbacks-{name}", self._call_back)
        writer.tell_seat = self._tell_all

    def submit(self, work: Callable[[Transaction], T], timeout_s: float, *, alone: bool) -> WriteFuture[T]:
        """Put *work* in line and return the future of its outcome; never waits.

        Raises:
            QueueFull, DatabaseClosed: nothing ran, and nothing will.
        """
        future: WriteFuture[T] = WriteFuture(self)
        ticket: Ticket[Request] = Ticket(Submitted(work, future), timeout_s, portable=False, alone=alone)
        future.ticket = ticket
        self.put(ticket)
        return future

    def put(self, ticket: Ticket[Request]) -> None:
        """Put *ticket* in line; never waits. Where it has a box, that is given it with its outcome (G6).

        Raises:
            QueueFull, DatabaseClosed: nothing ran, and nothing will.
        """
        ticket.seat = seat = self._seat
        ticket.wake = seat.wake
        if not self._runner.runs:
            self._runner.start()  # again, perhaps: the system may have had no thread left for it before
        self._writer.submit(ticket)

    def end(self, deadline: float) -> bool:
        """End both threads when all is told, up to *deadline*; the line is closed, and refuses what waits."""
        ended = self._runner.end(deadline)
        self._tell_all()  # where a function that does not return keeps the thread, this one tells the rest
        return ended and self._caller.end(deadline)  # else the first thread ends the second: `_leave`

    def disown(self) -> list[object]:
        """In a forked child: end the futures that are not done; return what must be kept (see `forks`)."""
        writer = self._writer
        tickets = [*writer.line.tickets(), *writer.batch.members, *self._seat.told, *self._untold]
        for ticket in tickets:
            if isinstance(ticket.work, Submitted):
                ticket.work.future.disown()
        return [self._seat]

    # --- for futures, on any thread

    @property
    def presence(self) -> Presence:
        """Who writes to the file."""
        return self._writer.presence

    def withdraw(self, ticket: Ticket[Request]) -> None:
        """Take *ticket* out of the line if it has not started."""
        self._writer.withdraw(ticket)

    def later(self, call: Callable[[], object]) -> None:
        """Have *call* called on the second thread, or one of its own when that has ended (G5)."""
        self._calls.append(call)
        if self._caller.has_ended():
            apart("callbacks", self._call_back)
        else:
            self._caller.start()
            self._caller.nudge()

    def about_to_wait(self) -> None:
        """Have outcomes told first from now on, if it is this thread that is going to wait."""
        if self._caller.is_here():
            self._waits = True
            if self._untold:
                # Not here: who waits for several has their locks, and has not yet said that he waits.
                apart("outcomes", self._tell_untold)

    # --- on the running thread

    def _run(self) -> float:
        """Serve until the role is another's, and return when the next request in line may have waited too long."""
        while self._writer.seated(self._seat):
            self._tell_all()
        self._tell_all()
        if self._seat.earliest <= clock.now():
            for ticket in self._writer.line.expire(self._seat):
                ticket.error = self._writer.late(ticket)
                self._seat.told.append(ticket)
            self._tell_all()
        return self._seat.earliest

    def _tell_all(self) -> None:
        told, boxes = self._seat.told, self._seat.boxes
        with suppress(IndexError):  # another thread may take the last one
            while told:
                ticket = told.popleft()
                if ticket.box is None:
                    self._tell(ticket)
                else:
                    ticket.box.put(ticket)
                    boxes[ticket.box] = None
        with suppress(KeyError):  # as above
            while boxes:
                boxes.popitem()[0].ring()  # G6

    def _tell(self, ticket: Ticket[Request]) -> None:
        work = ticket.work
        assert isinstance(work, Submitted), "not of this seat"
        if ticket.error is None and work.callbacks is not None and not work.future.done():
            self._untold[ticket] = work
            self.later(partial(self._finish, ticket, work))
            if self._waits:
                self._tell_untold()
        else:
            self._outcome(ticket, work)

    def _outcome(self, ticket: Ticket[Request], work: Submitted, *, may_wait: bool = False) -> None:
        calls_back = work.future.settle(ticket.value, ticket.error, may_wait=may_wait)
        if calls_back is None:  # not here, where the role may be
            apart("outcomes", partial(self._outcome, ticket, work, may_wait=True))
            return
        ticket.error = None  # no cycle through the traceback
        if calls_back:
            self.later(work.future.call_back)

    def _leave(self) -> None:
        """End the second thread: the first, whose last words these are, has ended."""
        self._caller.stop()

    # --- on the calling-back thread

    def _finish(self, ticket: Ticket[Request], work: Submitted) -> None:
        try:
            work.committed(self._writer.path)
        finally:
            if self._untold.pop(ticket, None) is not None:
                self._outcome(ticket, work, may_wait=True)
            work.future.call_back()

    def _tell_untold(self) -> None:
        with suppress(KeyError):  # another thread may take the last one
            while self._untold:
                ticket, work = self._untold.popitem()
                self._outcome(ticket, work)

    def _call_back(self) -> float:
        with suppress(IndexError):  # another thread may take the last one
            while self._calls:
                call = self._calls.popleft()
                self._waits = False
                try:
                    call()
                except BaseException:  # noqa: BLE001 - G4
                    _log.exception(
                        "%s: a callback ended with an exception that ends threads", self._writer.path
                    )
        return clock.NEVER
