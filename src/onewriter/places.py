"""Who waits in the write line, in which order, and how one of them gets out before his turn. It knows no SQLite.

What holds of it, the promises L2 to L7, stands in `line`; the states of a ticket in `tickets`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Final, Generic, TypeVar

from . import clock
from .tickets import Seat, State, Ticket, tell

W = TypeVar("W")
LATE_MAX: Final = 128  # are taken out at a time

# Looking a member up in its class is slow in Python 3.11, and these are looked up several times a write.
_OUTSIDE, _WAITS, _DONE, _LEFT = State.OUTSIDE, State.WAITS, State.DONE, State.LEFT


class Places(Generic[W]):
    """The places in the line, and those outside it, who wait for one."""

    def __init__(self, pending_max: int) -> None:
        """Begin with nobody in line; at most *pending_max* may wait."""
        self._pending_max = pending_max
        # Re-entrant for one use only: `let_go` can release what an interrupt has left held, and nothing else.
        self._lock = threading.RLock()
        # Guarded by _lock, which is never held while work is done, a wait is waited or an outcome is used. Anybody may
        # look at the holder and at the lengths for a moment's truth.
        self._waiting: OrderedDict[Ticket[W], None] = OrderedDict()
        self._outside: OrderedDict[Ticket[W], None] = OrderedDict()
        self.holder: Ticket[W] | None = None

    def __len__(self) -> int:
        """Return how many wait in line."""
        return len(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits at this moment."""
        return not self._waiting

    def leave(self, ticket: Ticket[W]) -> bool:
        """Take *ticket* out of the line if it can be (L4); return whether nothing of it has run or will run."""
        with self._lock:
            if self._may_leave(ticket):
                self._take_out(ticket)
            return ticket.state is _LEFT

    def put_back(self, tickets: Iterable[Ticket[W]], deadline: float, *, alone: bool = True) -> None:
        """Put *tickets* before all others, in their order, each *alone* from now on; for the holder of the role only.

        They cannot leave any more; *deadline* is for what they may have to wait for with the role. One whose thread is
        gone is done with.
        """
        with self._lock:
            for ticket in reversed(list(tickets)):
                if ticket.given_up:
                    ticket.state = _DONE
                    continue
                ticket.deadline = deadline
                ticket.alone = ticket.alone or alone
                ticket.started = True
                self._waiting[ticket] = None
                self._waiting.move_to_end(ticket, last=False)
                ticket.state = _WAITS

    def refuse(self, error: Callable[[], BaseException]) -> None:
        """Give every ticket that waits and was never started an *error* of its own as its outcome."""
        left: list[Ticket[W]] | None = None
        while left is None or left:  # some at a time, so that others come to the lock in between
            with self._lock:
                left = list(islice(filter(self._may_leave, chain(self._waiting, self._outside)), LATE_MAX))
                for ticket in left:
                    ticket.error = error()
                    self._take_out(ticket, _DONE)

    def expire(self, seat: Seat[W]) -> list[Ticket[W]]:
        """Take out and return late tickets of *seat*; note when to ask again: at once where there are many of them."""
        late, earliest, now = list[Ticket[W]](), clock.NEVER, clock.now()
        with self._lock:
            for ticket in chain(self._waiting, self._outside):
                if ticket.seat is not seat or not self._may_leave(ticket):
                    continue
                if ticket.deadline > now:
                    earliest = min(earliest, ticket.deadline)
                elif len(late) < LATE_MAX:
                    late.append(ticket)
                else:
                    earliest = now
                    break
            for ticket in late:
                self._take_out(ticket)
            seat.earliest = earliest
            return late

    def tickets(self) -> list[Ticket[W]]:
        """Return those that wait, in order, and the holder; without the lock, for a forked child."""
        waiting = [*self._waiting, *self._outside]
        return waiting if self.holder is None or self.holder in waiting else [self.holder, *waiting]

    # --- inside, under the lock

    def _may_leave(self, ticket: Ticket[W]) -> bool:
        waits = ticket.state is _WAITS or ticket.state is _OUTSIDE
        return waits and not ticket.started and self.holder is not ticket

    def _take_out(self, ticket: Ticket[W], state: State = _LEFT) -> None:
        if state is _DONE and ticket.seat is not None:
            ticket.seat.told.append(ticket)
        tell(ticket, state)
        self._waiting.pop(ticket, None)
        self._outside.pop(ticket, None)

    def _is_in_line(self, head: Ticket[W]) -> bool:
        """Make good what an interrupt of who brought *head* in or took it out has left; return whether it waits."""
        if head.state is _OUTSIDE:
            return True
        del self._waiting[head]
        if self._outside:
            self._let_in()
        return False

    def _let_in(self) -> None:
        """Let those outside in, as far as there is room; in both for a moment, so that an interrupt loses none."""
        while self._outside and len(self._waiting) < self._pending_max:
            ticket = next(iter(self._outside))
            if ticket.state is _OUTSIDE:
                self._waiting[ticket] = None
                ticket.state = _WAITS
            del self._outside[ticket]
