"""A place in the write line, and where it is. It knows no SQLite.

States of a ticket, and who makes each transition (methods of `line.Line` and `places.Places`, under their lock, but for
`joined`):

    NEW ──take, enter──> LEADS         the role was free: it is the ticket's
    NEW ──enter──> WAITS               somebody holds it
    NEW ──enter──> OUTSIDE             and the line is full (L6)
    OUTSIDE ──advance──> WAITS         there is room again
    LEADS ──joined──> TAKEN            the holder's own work is done but not committed; whoever holds the role ends it
    WAITS ──advance, streak──> TAKEN   the holder will do its work: it is portable, or both have one seat
    WAITS ──advance──> LEADS           the holder gives the role to the ticket's own thread, and has it no more
    TAKEN ──give──> LEADS              the holder will not do its work after all, and has the role no more
    WAITS ──_look, lead──> LEADS       the holder gave it the role, and was interrupted before it could say so (L7)
    WAITS, OUTSIDE ──_look──> LEFT     its deadline has passed (L4)
    WAITS, OUTSIDE ──leave──> LEFT     its owner has no more use for it (L4)
    WAITS, OUTSIDE ──rescue──> LEFT    its thread was interrupted; what ran of it before was rolled back
    WAITS, OUTSIDE ──refuse──> DONE    the line is closing and will not wait for it
    TAKEN, LEADS ──finish──> DONE      the holder tells its outcome
    TAKEN, LEADS ──put_back──> WAITS   the holder could not end it: first in line again, now ``alone``, ``started``

A *seat* is a thread that waits for many tickets, which have no thread of their own. Its tickets share its ``wake``;
those that are DONE are put into their ``box``, which the seat is to ring, or on its ``told``, as are all that never
ran.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from . import clock
from .locks import closed_lock
from .trails import Trail

W = TypeVar("W")


class State(enum.Enum):
    """Where a ticket is; see the module for the transitions."""

    NEW = "new"
    OUTSIDE = "outside"
    WAITS = "waits"
    TAKEN = "taken"
    LEADS = "leads"
    DONE = "done"
    LEFT = "left"


# Looking a member up in its class is slow in Python 3.11, and these are looked up several times a write.
_NEW, _DONE, _LEFT = State.NEW, State.DONE, State.LEFT


class Seat(Generic[W]):
    """A thread that waits for many tickets.

    Attributes:
        wake: released when a ticket of the seat leads, or is done; locked while there is no news.
        told: the tickets that are done and that the seat has not looked at yet.
        boxes: those that have been given tickets, and that the seat has not rung yet.
        earliest: no ticket of the seat in line has an earlier deadline; under the line's lock.
    """

    __slots__ = ("boxes", "earliest", "told", "wake")

    def __init__(self) -> None:
        """Begin with no news."""
        self.wake = closed_lock()
        self.told: deque[Ticket[W]] = deque()  # appended under the line's lock, taken from by the seat
        self.boxes: dict[Box, None] = {}  # as told
        self.earliest = clock.NEVER


class Held(Protocol):
    """The line of a ticket, as far as the ticket looks at it."""

    @property
    def holder(self) -> object:
        """The ticket that has the role."""
        ...


class Box(Protocol):
    """Where tickets go that were told their outcome; for any thread."""

    def put(self, ticket: Any, /) -> object:  # noqa: ANN401 - the kind of tickets that it is the box of
        """Take *ticket*."""
        ...

    def ring(self) -> object:
        """Tell whoever looks after it that there is news."""
        ...


class Ticket(Generic[W]):
    """One request's place in the line.

    Attributes:
        work: what is to be done; the line does not look at it.
        deadline: until when it may wait for its turn.
        entered_at: when it was made.
        portable: another thread than its own may do it.
        alone: nobody may share what it opens.
        started: it has run before, so that it can leave no more.
        struck: its run ended by an interrupt, which only the main thread has.
        settled: it has its outcome, and is in line again only to be told it in its turn.
        error: what it is to raise, once it is DONE.
        value: what it is to return, once it is DONE.
        interrupt: what interrupted its thread while it could not leave.
        seat: who waits for it, where it has no thread of its own.
        patient: it waits outside where the line is full, though it has no thread.
        box: who is given it when it is told, where that is not the seat's own business.
        line: where it stands, or is to stand.
        trail: what is noted of its way, where somebody follows it.
    """

    # Defaults in the class, not in each ticket: a lone write makes one, uses it for little and drops it.
    started = False
    patient = False
    struck = False
    settled = False
    state = _NEW  # written under the line's lock, or by the holder of the role
    given_up = False  # its thread was interrupted, or held it too long, and has left it
    value: object = None  # value and error: written by the holder of the role before DONE
    error: BaseException | None = None
    interrupt: BaseException | None = None  # its own thread's
    wake: threading.Lock | None = None  # made under the line's lock when its thread is to wait
    seat: Seat[W] | None = None
    line: Held | None = None
    box: Box | None = None
    trail: Trail | None = None

    def __init__(self, work: W, timeout_s: float, *, portable: bool, alone: bool) -> None:
        """Describe the request, which may wait for *timeout_s* from now; `Line.enter` gives it its place."""
        self.work = work
        self.entered_at = now = clock.now()
        self.deadline = now + timeout_s
        self.portable = portable
        self.alone = alone

    @property
    def is_over(self) -> bool:
        """Whether its owner waits for nothing more of it, and does not act as the holder under its name."""
        if self.given_up:
            return True
        acts = self.line is not None and self.line.holder is self
        return not acts and (self.state is _DONE or self.state is _LEFT)


def tell(ticket: Ticket[W], state: State) -> None:
    """Change the state, under the line's lock, and wake whoever waits for it; a second time does no harm."""
    ticket.state = state
    wake = ticket.wake
    if wake is None or (ticket.seat is not None and not wake.locked()):
        return
    try:
        wake.release()
    except RuntimeError:  # the news was there already
        return


def fail(ticket: Ticket[W]) -> NoReturn:
    """Raise what came of *ticket*; an interrupt that had to wait comes first."""
    error = ticket.interrupt or ticket.error
    assert error is not None, "it did not fail"
    try:
        raise error
    finally:
        ticket.error = ticket.interrupt = error = None  # no cycle through the traceback
