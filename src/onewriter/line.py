"""The write line: who is next. It knows no SQLite.

One *role* moves down one *line* of tickets. Whoever holds the role works; the others wait.

L1  At most one ticket holds the role: the one in ``holder``.
L2  Tickets are served in the order in which they entered.
L3  A ticket has exactly one outcome, and its owner is woken for it.
L4  While a ticket waits and was never started, its owner may leave: then nothing of it has run or will run.
    Once it was taken or given the role it cannot leave; it waits for its outcome.
L5  The role is free only while nobody waits.
L6  At most ``pending_max`` tickets wait in line. Who has a thread to wait with, or is ``patient``, waits outside for
    room, first come first served too; all others are turned away.
L7  An interrupt (Ctrl-C, a signal handler that raises) may end any of these methods after any of its steps, and
    leave the lock held. `rescue`, on another thread, then finds a line that is whole, or makes it so.

The states of a ticket, and which method makes each transition, stand in `tickets`; how who waits is kept, in `places`.

The one step by which the role changes hands is the store into ``holder`` (L7): whoever waits and finds its ticket there
leads, whatever the ticket's state. A ticket in line whose state is none of WAITS and OUTSIDE is on its way out. So each
method may be broken off between two steps: what is missing can be done again, or is done by whoever comes upon it.

Waking: each of LEADS by `advance`, and DONE, is announced by one release of the ticket's ``wake``, where it has one,
under the lock; for many tickets of one seat by one for all. It may be announced twice (L7); so a waiter that was
woken asks the state, and never the wait's return value. Plain locks are used, not conditions: an interrupt can leave
a condition locked.

A thread that holds the role acts under its own ticket, which stays in ``holder`` when its work is TAKEN or DONE, up
to the hand-over; `put_back` may put it in line meanwhile.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from . import clock
from .locks import closed_lock, is_mine, let_go, wake_up
from .places import Places
from .tickets import Seat, State, Ticket, tell

W = TypeVar("W")


class Step(enum.Enum):
    """What a holder is to do next, where it is not a ticket to work on."""

    COMMIT = "commit"  # nobody may join what is open: end it, and ask again
    HANDED = "handed"  # the role is another's now, or free
    END = "end"  # the line is closed and empty: the role is the holder's for good


# Looking a member up in its class is slow in Python 3.11, and these are looked up several times a write.
_NEW, _OUTSIDE, _WAITS, _TAKEN, _LEADS, _DONE, _LEFT = State
_COMMIT, _HANDED, _END = Step


class Closed(Exception):
    """The line takes no more tickets."""


class Full(Exception):
    """The line has no room, and the ticket is one that does not wait for it."""


class TimedOut(Exception):
    """The ticket's deadline passed while it waited; it has left."""


class Line(Places[W]):
    """First come, first served."""

    def __init__(self, pending_max: int, on_free: Callable[[], object] = int) -> None:
        """Begin with nobody in line and the role free; at most *pending_max* may wait.

        *on_free* is called by the holder before `advance` makes the role free, perhaps twice (L7); it takes no lock.
        """
        super().__init__(pending_max)
        self._on_free = on_free
        self._closed = False  # guarded by the lock of the places, as they are
        self.ended = False  # the holder has it for good

    def take(self, ticket: Ticket[W]) -> bool:
        """Give *ticket* the role if it is free."""
        with self._lock:
            if self.holder is not None or self._closed:
                return False
            self.holder = ticket
            return True

    def release(self) -> bool:
        """Give up the role where nobody waits and nothing is to be ended; for the holder of the role only (L5)."""
        with self._lock:
            if self._waiting or self._outside or self._closed:
                return False
            self.holder = None
            return True

    def enter(self, ticket: Ticket[W]) -> bool:
        """Take a place; True means that the role is the ticket's now, and its seat, if it has one, is woken.

        Raises:
            Closed: `close` was called before.
            Full: there is no room, and the ticket is one of a seat that does not wait outside (L6).
        """
        with self._lock:
            if self._closed:
                raise Closed
            if self.holder is None:
                self.holder = ticket
                tell(ticket, _LEADS)
                return True
            has_room, seat = len(self._waiting) < self._pending_max and not self._outside, ticket.seat
            if seat is None:
                ticket.wake = closed_lock()
            elif not has_room and not ticket.patient:
                raise Full
            elif ticket.deadline < seat.earliest:
                seat.earliest = ticket.deadline
                wake_up(seat.wake)
            if has_room:
                self._waiting[ticket] = None
                ticket.state = _WAITS
            else:
                self._outside[ticket] = None
                ticket.state = _OUTSIDE
            return False

    def wait(self, ticket: Ticket[W], patience_s: float = threading.TIMEOUT_MAX) -> State:
        """Wait until the role is the caller's (LEADS) or the ticket has its outcome (DONE).

        Returns another state once *patience_s* seconds have passed without news; then it may be called again. The first
        interrupt of a thread whose ticket is TAKEN is kept in the ticket; any other ends the wait.

        Raises:
            TimedOut: its deadline passed first; nothing of it has run or will run (L4).
        """
        wake = ticket.wake or self._make_wake(ticket)
        while True:
            timeout = patience_s
            if ticket.state is not _TAKEN and not ticket.started:
                timeout = min(timeout, max(0.0, ticket.deadline - clock.now()))
            try:
                woken = wake.acquire(timeout=timeout)
            except BaseException as error:
                if ticket.state is not _TAKEN or ticket.interrupt is not None:
                    raise
                ticket.interrupt = error
                continue
            state = ticket.state
            if state is _LEADS or state is _DONE:
                return state
            state = self._look(ticket)
            if state is _LEADS or state is _DONE:
                return state
            if state is _LEFT:
                raise TimedOut
            if not woken and timeout == patience_s:
                return state

    def advance(self, *, is_open: bool, serves_until: float) -> Ticket[W] | Step:
        """Tell the holder what is next; for the holder of the role only.

        *is_open* says that something is open which the next may join, unless it wants to be alone; *serves_until*
        up to which moment the holder may do the work of other threads.
        """
        with self._lock:
            if self._outside:
                self._let_in()
            waiting, holder = self._waiting, self.holder
            while waiting:
                head = next(iter(waiting))  # L2: always the first
                if head.state is not _WAITS and not self._is_in_line(head):
                    continue
                if is_open and head.alone:
                    return _COMMIT
                if (
                    holder is not None and holder.seat is head.seat
                    if head.seat is not None
                    else head.portable and clock.now() < serves_until
                ):
                    head.state = _TAKEN
                    del waiting[head]
                    return head
                self.holder = head  # L1: from here on the role is its thread's
                del waiting[head]
                tell(head, _LEADS)
                return _HANDED
            if is_open:
                return _COMMIT
            if self._closed:
                self.ended = True
                return _END
            self._on_free()
            self.holder = None  # L5
            return _HANDED

    def streak(self, serves_until: float, most: int) -> Iterator[Ticket[W]]:
        """Take those at the head of the line, each when it is asked for; for the holder of the role only.

        They are what `advance` would take: whoever holds the role is the only one to put anybody before them (L2). Up
        to the moment that one is asked for it waits, and may leave (L4). Ends after *most* of them, before one that
        wants to be alone or whose work is its own thread's, and where one has left; what is next `advance` tells.
        """
        with self._lock:
            ahead = list(islice(self._waiting, most))
            return self._each(ahead, self.holder.seat if self.holder is not None else None, serves_until)

    def _each(self, ahead: list[Ticket[W]], seat: Seat[W] | None, serves_until: float) -> Iterator[Ticket[W]]:
        lock, waiting, now = self._lock, self._waiting, clock.now
        for ticket in ahead:
            if ticket.alone:
                return
            if ticket.seat is None:
                if not ticket.portable or now() >= serves_until:
                    return
            elif ticket.seat is not seat:
                return
            with lock:
                if ticket.state is not _WAITS:
                    return
                ticket.state = _TAKEN
                del waiting[ticket]
            yield ticket

    def give(self, ticket: Ticket[W]) -> bool:
        """Give the role to the thread of *ticket*, which was taken; for the holder of the role only (L1).

        False means that the thread is gone and the giver keeps both.
        """
        with self._lock:
            if ticket.given_up:
                return False
            self.holder = ticket
            tell(ticket, _LEADS)
            return True

    def lead(self, seat: Seat[W]) -> Ticket[W] | None:
        """Return the ticket of *seat* that has the role, if one has; for the seat's thread, when it does not act."""
        with self._lock:
            holder = self.holder
            if holder is None or holder.seat is not seat or self.ended:
                return None
            return self._leads(holder)

    def joined(self, ticket: Ticket[W]) -> None:
        """Note that the work of *ticket* is done, but for the end of what it shares; for the holder of the role only.

        No lock is needed: whoever holds the role is the only one to change the state of a ticket that leads or is
        taken, and its own thread looks at it only after this, or woken by another change.
        """
        ticket.state = _TAKEN

    def finish(self, tickets: Iterable[Ticket[W]]) -> None:
        """Tell each of *tickets* its outcome, in order; for the holder of the role only (L3)."""
        with self._lock:
            last: Seat[W] | None = None
            for ticket in tickets:
                seat = ticket.seat
                if seat is None:
                    tell(ticket, _DONE)  # a second time too: an interrupt may have struck before it (L7)
                    continue
                if ticket.state is not _DONE:
                    box = ticket.box
                    if box is None:
                        seat.told.append(ticket)
                    else:
                        box.put(ticket)
                        seat.boxes[box] = None
                    ticket.state = _DONE
                if seat is not last and last is not None:
                    wake_up(last.wake)
                last = seat
            if last is not None:
                wake_up(last.wake)

    def close(self, ticket: Ticket[W]) -> bool:
        """Let nobody enter any more; True: the role was free, and is the ticket's for good; else its holder ends it."""
        with self._lock:
            self._closed = True
            if self.holder is None:
                self.ended, self.holder = True, ticket
            return self.holder is ticket

    # --- after an interrupt (L7)

    def is_mine(self) -> bool:
        """Whether the calling thread is inside one of these methods: then this is a signal handler, or a finalizer."""
        return is_mine(self._lock)

    def let_go(self) -> None:
        """Make good what an interrupt of the calling thread has left: the lock, and news that was not given."""
        let_go(self._lock)
        holder = self.holder
        if holder is not None and holder.wake is not None:
            wake_up(holder.wake)

    def rescue(self, ticket: Ticket[W]) -> bool:
        """Bring the line in order after the thread of *ticket* was interrupted, and take the ticket out of it.

        Returns whether the role is the ticket's: then whoever calls acts as its holder from now on. Otherwise nobody
        waits for the ticket any more.
        """
        with self._lock:
            if self.holder is ticket:
                if self.ended:
                    return False
                self._waiting.pop(ticket, None)  # it may have put itself back
                return True
            if ticket.state not in (_TAKEN, _DONE):  # TAKEN: another has done, or does, its work
                self._take_out(ticket)
            return False

    # --- inside, under the lock

    def _make_wake(self, ticket: Ticket[W]) -> threading.Lock:
        """Give a ticket that did not wait when it entered what it can wait for; released if it need not."""
        with self._lock:
            wake = ticket.wake = closed_lock()
            if self.holder is ticket or ticket.state is _DONE:
                wake_up(wake)
            return wake

    def _look(self, ticket: Ticket[W]) -> State:
        """After a wait that was not woken: leave if the deadline has passed and that can be; return the true state."""
        with self._lock:
            if self.holder is ticket:
                return self._leads(ticket).state
            if clock.now() >= ticket.deadline and self._may_leave(ticket):
                self._take_out(ticket)
            return ticket.state

    def _leads(self, ticket: Ticket[W]) -> Ticket[W]:
        ticket.state = _LEADS
        self._waiting.pop(ticket, None)
        self._outside.pop(ticket, None)
        return ticket
