"""The write line: who is next. It knows no SQLite.

One *role* moves down one *line* of tickets. Whoever holds the role works; the others wait.

L1  At most one ticket holds the role.
L2  Tickets are served in the order in which they entered.
L3  A ticket has exactly one outcome, and its owner is woken for it.
L4  While a ticket waits and was never started, its owner may leave: then nothing of it has run or will run.
    Once it was taken or given the role it cannot leave; it waits for its outcome.
L5  The role is free only while nobody waits.

States of a ticket, and who makes each transition (all under ``_lock``):

    NEW ──enter──> LEADS            the role was free: the entering thread takes it
    NEW ──enter──> WAITS            somebody holds it
    WAITS ──advance──> TAKEN        the holder will do its work (``portable`` ones only)
    WAITS ──advance──> LEADS        the holder gives the role to the ticket's own thread, and has it no more
    WAITS ──_settle──> LEFT          its deadline has passed, or its thread was interrupted (L4)
    LEADS ──joined──> TAKEN         the holder's own work is done but not committed; whoever holds the role finishes it
    TAKEN ──give──> LEADS           the holder will not do its work after all, and has the role no more
    TAKEN, LEADS ──put_back──> WAITS  the holder could not finish it: first in line again, now ``alone``, ``started``
    TAKEN, LEADS ──finish──> DONE   the holder tells its outcome
    WAITS ──refuse──> DONE          the line is closing and will not wait for it

Waking: each of LEADS by `advance` and DONE is announced by one release of the ticket's ``wake``, under the lock that
guards the state. So a waiter whose wait timed out or was interrupted asks the state under the lock, and never the
wait's return value; what it then leaves in ``wake`` it takes out, so that a release never finds it released. Plain
locks are used, not conditions: an interrupt can leave a condition locked.

An interrupt (Ctrl-C, a signal handler that raises) of a thread that waits ends its wait if the ticket can leave. If
not, it is kept in the ticket, to be raised once the outcome is there.
"""

from __future__ import annotations

import enum
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

from . import clock

W = TypeVar("W")


class State(enum.Enum):
    """Where a ticket is; see the module for the transitions."""

    NEW = "new"
    WAITS = "waits"
    TAKEN = "taken"
    LEADS = "leads"
    DONE = "done"
    LEFT = "left"


class Step(enum.Enum):
    """What a holder is to do next, where it is not a ticket to work on."""

    COMMIT = "commit"  # nobody may join what is open: end it, and ask again
    HANDED = "handed"  # the role is another's now, or free
    END = "end"  # the line is closed and empty: the role is the holder's for good


class Closed(Exception):
    """The line takes no more tickets."""


class TimedOut(Exception):
    """The ticket's deadline passed while it waited; it has left."""


class Ticket(Generic[W]):
    """One request's place in the line.

    Attributes:
        work: what is to be done; the line does not look at it.
        deadline: until when it may wait for its turn.
        entered_at: when it was made.
        portable: another thread than its own may do it.
        alone: nobody may share what it opens.
        started: it has run before, so that it can leave no more.
        error: what it is to raise, once it is DONE.
        value: what it is to return, once it is DONE.
        interrupt: what interrupted its thread while it could not leave.
    """

    __slots__ = (
        "alone",
        "deadline",
        "entered_at",
        "error",
        "interrupt",
        "portable",
        "started",
        "state",
        "value",
        "wake",
        "work",
    )

    def __init__(self, work: W, *, deadline: float, portable: bool, alone: bool) -> None:
        """Describe the request; `Line.enter` gives it its place."""
        self.work = work
        self.deadline = deadline
        self.entered_at = clock.now()
        self.portable = portable
        self.alone = alone
        self.started = False
        self.state = State.NEW  # written under the line's lock
        self.value: object = None  # value and error: written by the holder of the role before DONE
        self.error: BaseException | None = None
        self.interrupt: BaseException | None = None  # its own thread's
        self.wake = threading.Lock()
        self.wake.acquire()


class Line(Generic[W]):
    """First come, first served."""

    def __init__(self) -> None:
        """Begin with nobody in line and the role free."""
        self._lock = threading.Lock()
        # Guarded by _lock, which is never held while work is done, a wait is waited or an outcome is used.
        self._waiting: OrderedDict[Ticket[W], None] = OrderedDict()
        self._held = False
        self._closed = False

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def enter(self, ticket: Ticket[W]) -> bool:
        """Take a place; True means that the role is the caller's now.

        Raises:
            Closed: `close` was called before.
        """
        with self._lock:
            if self._closed:
                raise Closed
            if self._held:
                ticket.state = State.WAITS
                self._waiting[ticket] = None
                return False
            self._held = True
            ticket.state = State.LEADS
            return True

    def wait(self, ticket: Ticket[W]) -> bool:
        """Wait until the role is the caller's (True) or the ticket has its outcome (False).

        Raises:
            TimedOut: its deadline passed first; nothing of it has run or will run (L4).
        """
        deadline = clock.NEVER if ticket.started or ticket.state is State.TAKEN else ticket.deadline
        while True:
            try:
                woken = ticket.wake.acquire(timeout=clock.wait_s(deadline))
                state = ticket.state if woken else self._settle(ticket)
            except BaseException as error:
                state = self._settle(ticket)
                if state is State.LEFT:
                    raise
                ticket.interrupt = ticket.interrupt or error
            if state is State.LEADS:
                return True
            if state is State.DONE:
                return False
            if state is State.LEFT:
                raise TimedOut
            deadline = clock.NEVER  # it was started: its outcome will come

    def _settle(self, ticket: Ticket[W]) -> State:
        """After a wait that was not woken: leave if that can be, and return the true state."""
        with self._lock:
            if ticket.state is State.WAITS and not ticket.started:
                ticket.state = State.LEFT
                del self._waiting[ticket]
            ticket.wake.acquire(blocking=False)
            return ticket.state

    def advance(self, *, is_open: bool, may_serve: bool) -> Ticket[W] | Step:
        """Tell the holder what is next; for the holder of the role only.

        *is_open* says that something is open which the next may join, unless it wants to be alone; *may_serve* that
        the holder may do the work of other threads.
        """
        with self._lock:
            head = next(iter(self._waiting), None)
            if head is None:
                if is_open:
                    return Step.COMMIT
                if self._closed:
                    return Step.END
                self._held = False  # L5
                return Step.HANDED
            if is_open and head.alone:
                return Step.COMMIT
            del self._waiting[head]  # L2: always the first
            if head.portable and may_serve:
                head.state = State.TAKEN
                return head
            head.state = State.LEADS  # L1: from here on the role is its thread's
            head.wake.release()
            return Step.HANDED

    def give(self, ticket: Ticket[W]) -> None:
        """Give the role to the thread of *ticket*, which was taken; for the holder of the role only (L1)."""
        with self._lock:
            ticket.state = State.LEADS
            ticket.wake.release()

    def joined(self, ticket: Ticket[W]) -> None:
        """Note that the work of *ticket* is done, but for the end of what it shares; for the holder of the role only.

        No lock is needed: whoever holds the role is the only one to change the state of a ticket that leads or is
        taken, and its own thread looks at it only after this, or woken by another change.
        """
        ticket.state = State.TAKEN

    def finish(self, tickets: Iterable[Ticket[W]]) -> None:
        """Tell each of *tickets* its outcome, in order; for the holder of the role only (L3)."""
        with self._lock:
            for ticket in tickets:
                ticket.state = State.DONE
                ticket.wake.release()

    def put_back(self, tickets: Iterable[Ticket[W]]) -> None:
        """Put *tickets* before all others, in their order, each alone from now on; for the holder of the role only."""
        with self._lock:
            for ticket in reversed(list(tickets)):
                ticket.state = State.WAITS
                ticket.alone = ticket.started = True
                self._waiting[ticket] = None
                self._waiting.move_to_end(ticket, last=False)

    def close(self) -> bool:
        """Let nobody enter any more; True means that the role was free and is the caller's for good.

        Else whoever holds it will be told `Step.END` when nobody waits. A second call changes nothing.
        """
        with self._lock:
            if self._closed:
                return False
            self._closed = True
            free, self._held = not self._held, True
            return free

    def refuse(self, error: BaseException) -> None:
        """Give every ticket that waits and was never started *error* as its outcome."""
        with self._lock:
            refused = [ticket for ticket in self._waiting if not ticket.started]
            for ticket in refused:
                del self._waiting[ticket]
                ticket.error = error
                ticket.state = State.DONE
                ticket.wake.release()
