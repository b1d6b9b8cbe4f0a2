"""The write line: who is next. It knows no SQLite.

One *role* moves down one *line* of tickets. Whoever holds the role works; the others wait.

L1  At most one ticket holds the role.
L2  Tickets are served in the order in which they entered.
L3  A ticket has exactly one outcome, and its owner is woken for it.
L4  While a ticket waits and was never started, its owner may leave: then nothing of it has run or will run.
    Once it was taken or given the role it cannot leave; it waits for its outcome.
L5  The role is free only while nobody waits.

A lone caller takes the free role and gives it up again without a ticket (`take`, `release`). Everybody else has one.

States of a ticket, and who makes each transition (under ``_lock``, but for `joined`):

    NEW ──enter──> LEADS              the role was free: the entering thread takes it
    NEW ──enter──> WAITS              somebody holds it
    NEW ──joined──> TAKEN             a caller without a ticket has done its work, and others came meanwhile
    WAITS ──advance──> TAKEN          the holder will do its work (``portable`` ones only)
    WAITS ──advance──> LEADS          the holder gives the role to the ticket's own thread, and has it no more
    WAITS ──_settle──> LEFT           its deadline has passed, or its thread was interrupted (L4)
    WAITS ──refuse──> DONE            the line is closing and will not wait for it
    TAKEN ──give──> LEADS             the holder will not do its work after all, and has the role no more
    LEADS ──joined──> TAKEN           the holder's own work is done but not committed; whoever holds the role ends it
    TAKEN, LEADS ──finish──> DONE     the holder tells its outcome
    TAKEN, LEADS ──put_back──> WAITS  the holder could not end it: first in line again, now ``alone``, ``started``

Waking: each of LEADS by `advance` and DONE is announced by one release of the ticket's ``wake``, where it has one,
under the lock that guards the state. So a waiter whose wait timed out or was interrupted asks the state under the
lock, and never the wait's return value; what it then leaves in ``wake`` it takes out, so that a release never finds it
released. Plain locks are used, not conditions: an interrupt can leave a condition locked.

An interrupt (Ctrl-C, a signal handler that raises) of a thread that waits ends its wait if the ticket can leave. If
not, it is kept in the ticket, to be raised once the outcome is there.
"""

from __future__ import annotations

import enum
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
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


# Looking a member up in its class is slow in Python 3.11, and these are looked up several times a write.
_NEW, _WAITS, _TAKEN, _LEADS, _DONE, _LEFT = State
_COMMIT, _HANDED, _END = Step


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

    # Defaults in the class, not in each ticket: a lone write makes one, uses it for little and drops it.
    started = False
    state = _NEW  # written under the line's lock
    value: object = None  # value and error: written by the holder of the role before DONE
    error: BaseException | None = None
    interrupt: BaseException | None = None  # its own thread's
    wake: threading.Lock | None = None  # made under the line's lock when its thread is to wait

    def __init__(self, work: W, timeout_s: float, *, portable: bool, alone: bool) -> None:
        """Describe the request, which may wait for *timeout_s* from now; `Line.enter` gives it its place."""
        self.work = work
        self.entered_at = now = clock.now()
        self.deadline = now + timeout_s
        self.portable = portable
        self.alone = alone


class Line(Generic[W]):
    """First come, first served."""

    def __init__(self) -> None:
        """Begin with nobody in line and the role free."""
        self._lock = threading.Lock()
        # Guarded by _lock, which is never held while work is done, a wait is waited or an outcome is used.
        self._waiting: OrderedDict[Ticket[W], None] = OrderedDict()
        self._held = False
        self._closed = False

    @property
    def is_held(self) -> bool:
        """Whether somebody has the role at this moment."""
        return self._held

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits at this moment."""
        return not self._waiting

    def take(self) -> bool:
        """Take the role if it is free, without a ticket: who takes it so needs a place only if others come."""
        with self._lock:
            if self._held or self._closed:
                return False
            self._held = True
            return True

    def release(self) -> bool:
        """Give up the role where nobody waits and nothing is to be ended; for the holder of the role only (L5)."""
        with self._lock:
            if self._waiting or self._closed:
                return False
            self._held = False
            return True

    def enter(self, ticket: Ticket[W]) -> bool:
        """Take a place; True means that the role is the caller's now.

        Raises:
            Closed: `close` was called before.
        """
        with self._lock:
            if self._closed:
                raise Closed
            if self._held:
                ticket.state = _WAITS
                ticket.wake = _closed_lock()
                self._waiting[ticket] = None
                return False
            self._held = True
            ticket.state = _LEADS
            return True

    def wait(self, ticket: Ticket[W]) -> bool:
        """Wait until the role is the caller's (True) or the ticket has its outcome (False).

        Raises:
            TimedOut: its deadline passed first; nothing of it has run or will run (L4).
        """
        deadline = clock.NEVER if ticket.started or ticket.state is _TAKEN else ticket.deadline
        wake = ticket.wake or self._make_wake(ticket)
        while True:
            try:
                woken = wake.acquire(timeout=clock.wait_s(deadline))
                state = ticket.state if woken else self._settle(ticket, wake)
            except BaseException as error:
                state = self._settle(ticket, wake)
                if state is _LEFT:
                    raise
                ticket.interrupt = ticket.interrupt or error
            if state is _LEADS:
                return True
            if state is _DONE:
                return False
            if state is _LEFT:
                raise TimedOut
            deadline = clock.NEVER  # it was started: its outcome will come

    def _make_wake(self, ticket: Ticket[W]) -> threading.Lock:
        """Give a ticket that did not wait when it entered what it can wait for; released if it need not."""
        with self._lock:
            wake = ticket.wake = _closed_lock()
            if ticket.state is _LEADS or ticket.state is _DONE:
                wake.release()
            return wake

    def _settle(self, ticket: Ticket[W], wake: threading.Lock) -> State:
        """After a wait that was not woken: leave if that can be, and return the true state."""
        with self._lock:
            if ticket.state is _WAITS and not ticket.started:
                ticket.state = _LEFT
                del self._waiting[ticket]
            wake.acquire(blocking=False)
            return ticket.state

    def advance(self, *, is_open: bool, serves_until: float) -> Ticket[W] | Step:
        """Tell the holder what is next; for the holder of the role only.

        *is_open* says that something is open which the next may join, unless it wants to be alone; *serves_until*
        up to which moment the holder may do the work of other threads.
        """
        with self._lock:
            if not self._waiting:
                if is_open:
                    return _COMMIT
                if self._closed:
                    return _END
                self._held = False  # L5
                return _HANDED
            head = next(iter(self._waiting))
            if is_open and head.alone:
                return _COMMIT
            del self._waiting[head]  # L2: always the first
            if head.portable and clock.now() < serves_until:
                head.state = _TAKEN
                return head
            _tell(head, _LEADS)  # L1: from here on the role is its thread's
            return _HANDED

    def give(self, ticket: Ticket[W]) -> None:
        """Give the role to the thread of *ticket*, which was taken; for the holder of the role only (L1)."""
        with self._lock:
            _tell(ticket, _LEADS)

    def joined(self, ticket: Ticket[W]) -> None:
        """Note that the work of *ticket* is done, but for the end of what it shares; for the holder of the role only.

        No lock is needed: whoever holds the role is the only one to change the state of a ticket that leads or is
        taken, and its own thread looks at it only after this, or woken by another change.
        """
        ticket.state = _TAKEN

    def finish(self, tickets: Iterable[Ticket[W]]) -> None:
        """Tell each of *tickets* its outcome, in order; for the holder of the role only (L3)."""
        with self._lock:
            for ticket in tickets:
                _tell(ticket, _DONE)

    def put_back(self, tickets: Iterable[Ticket[W]], deadline: float) -> None:
        """Put *tickets* before all others, in their order, each alone from now on; for the holder of the role only.

        They cannot leave any more; *deadline* is for what they may have to wait for with the role.
        """
        with self._lock:
            for ticket in reversed(list(tickets)):
                ticket.state = _WAITS
                ticket.deadline = deadline
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

    def refuse(self, error: Callable[[], BaseException]) -> None:
        """Give every ticket that waits and was never started an *error* of its own as its outcome."""
        with self._lock:
            refused = [ticket for ticket in self._waiting if not ticket.started]
            for ticket in refused:
                del self._waiting[ticket]
                ticket.error = error()
                _tell(ticket, _DONE)


def _closed_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _tell(ticket: Ticket[W], state: State) -> None:
    """Change the state, under the line's lock, and wake the ticket's thread if it waits."""
    ticket.state = state
    if ticket.wake is not None:
        ticket.wake.release()
