"""A writer whose requests are followed: the plain one, and what makes their `trails`.

C1  A ticket gets its trail when it enters the line: that of the call that its thread is in, or one of its own where
    nobody waits for it on a thread.
C2  Every write goes the long way, through the batch, one by one: neither the short way of a lone write nor a streak of
    statements has room for a look at the clock.
C3  A trail that was submitted ends before its outcome is told, and one whose caller waits in that caller's own call
    (`traced`): so whoever has an outcome finds what listens told.
C4  What listens may be told by a thread that has the write role: that is refused whatever it would ask of the file, as
    any thread is that writes, since its ticket stands in ``presence.writing``.

Who kept a request waiting is told by what has had the turn, or waited for others, for long enough to matter: the
*stays*, of which the last few are kept. Only the holder of the role writes them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from . import clock
from .batch import Batch
from .config import Config
from .connection import Connection
from .errors import WriteTimeout
from .line import Line, Step
from .marks import my_name
from .presence import Presence
from .requests import Function, Idle, ManyStatements, Request
from .slow import SlowLog, titled
from .tickets import State, Ticket
from .trails import CURRENT, SharedCommit, Trail, Trails, name_of
from .writer import Writer

_PART: Final = 10  # what took less than this part of what is slow is not to blame
_KEPT: Final = 64
_LEFT: Final = State.LEFT


def trails_of(path: Path, config: Config) -> Trails | None:
    """Return what follows the requests of the database at *path*; None where nobody wants to."""
    listeners = [] if config.telemetry is None else [config.telemetry]
    if config.slow_request_s is not None:
        listeners.append(SlowLog(path, config.slow_request_s))
    return Trails(path, listeners) if listeners else None


def writer_of(connection: Connection, config: Config, path: Path, presence: Presence) -> Writer:
    """Return the writer of a database, followed where somebody wants to follow it."""
    trails = trails_of(path, config)
    if trails is None:
        return Writer(connection, config, path, presence)
    return FollowedWriter(connection, config, path, presence, trails)


class Stay(NamedTuple):
    """Something that kept others waiting for a while: from when to when, and who it was."""

    began_at: float
    ended_at: float
    who: str

    def within(self, since: float, until: float) -> float:
        """How much of it lies between the two moments."""
        return min(self.ended_at, until) - max(self.began_at, since)


class Stays:
    """The last ones that mattered."""

    def __init__(self, slow_s: float | None, who_waits: Callable[[], str]) -> None:
        """Keep what took a part of *slow_s*; *who_waits* tells for whom the connection waits at this moment."""
        self.least_s = clock.NEVER if slow_s is None else slow_s / _PART
        self._who_waits = who_waits
        self._kept: deque[Stay] = deque(maxlen=_KEPT)
        self._waits_since: float | None = None
        self._seen = ""

    def add(self, began_at: float, who: Callable[[], str]) -> None:
        """Keep one that ends now, if it was long."""
        now = clock.now()
        if now - began_at >= self.least_s:
            self._kept.append(Stay(began_at, now, who()))

    def look(self) -> None:
        """See who it is that others are waited for, once it has lasted; called again and again while that goes on."""
        now = clock.now()
        if self._waits_since is None:
            self._waits_since = now
        elif not self._seen and now - self._waits_since >= self.least_s:
            self._seen = self._who_waits()

    def waited(self, began_at: float) -> None:
        """Keep a wait for others that ends now, if there was any: what began at once may have been slow too."""
        if self._waits_since is None:
            return
        seen = self._seen or "another process, or another connection"
        self._waits_since, self._seen = None, ""
        self.add(began_at, lambda: seen)

    def blame(self, trail: Trail) -> str:
        """Return who kept *trail* waiting, whose work begins now; "" where that does not matter."""
        since, now = trail.asked_at, clock.now()
        if now - since < self.least_s:
            return ""
        stay = max(self._kept, key=lambda each: each.within(since, now), default=None)
        if stay is None or stay.within(since, now) <= 0:
            return "for many short ones"
        return f"for {stay.within(since, now):.3g} s of it: {stay.who}"


class FollowedLine(Line[Request]):
    """Ends the trails of those that nobody waits for on a thread (C3)."""

    at_end: Callable[[Ticket[Request]], object] = id

    def finish(self, tickets: Iterable[Ticket[Request]]) -> None:
        """Tell each of *tickets* its outcome, in order; for the holder of the role only."""
        told = list(tickets)
        for ticket in told:
            self.at_end(ticket)
        super().finish(told)

    def refuse(self, error: Callable[[], BaseException]) -> None:
        """Give every ticket that waits and was never started an *error* of its own as its outcome."""
        waited = self.tickets()
        super().refuse(error)
        for ticket in waited:
            if ticket.state is State.DONE:
                self.at_end(ticket)


class FollowedBatch(Batch):
    """Notes when each request began, how long it worked, and which commit carried it."""

    def __init__(
        self,
        connection: Connection,
        line: Line[Request],
        config: Config,
        path: Path,
        *,
        trails: Trails,
        stays: Stays,
    ) -> None:
        """Begin CLOSED; tell *trails*."""
        super().__init__(connection, line, config, path)
        self._trails, self._stays = trails, stays
        self._opened_at = 0.0
        self._commits_now = self._followed_commit

    def open(self, deadline: float) -> bool:
        """Begin the transaction for the first member; False where another connection kept the lock past *deadline*."""
        asked_at = clock.now()
        try:
            return super().open(deadline)
        finally:
            self._opened_at = clock.now()
            self._stays.waited(asked_at)
            begin_turn(self._line.holder, self._stays)

    def next(self, serves_until: float) -> Ticket[Request] | Step | None:
        """Return what `Line.advance` tells is next (C2)."""
        return self._line.advance(is_open=bool(self.members), serves_until=serves_until)

    def _attempt(self, ticket: Ticket[Request], *, saves: bool) -> bool:
        trail = ticket.trail
        if trail is None:
            return super()._attempt(ticket, saves=saves)
        trail.blame = trail.blame or self._stays.blame(trail)
        trail.begin()
        began_at = clock.now()
        try:
            return super()._attempt(ticket, saves=saves)
        finally:
            trail.worked_s += clock.now() - began_at
            self._stays.add(began_at, lambda: described(trail))

    def _followed_commit(self) -> None:
        holder = self._line.holder
        tickets = self.members or ([] if holder is None else [holder])
        began_at = clock.now()
        self._connection.commit()
        commit = SharedCommit(self._opened_at, began_at, clock.now(), len(tickets))
        trails = [each.trail for each in tickets if each.trail is not None]
        self._trails.committed(commit, trails)  # C4
        self._stays.add(began_at, lambda: f"a commit of {commit.size} requests")


class FollowedWriter(Writer):
    """The writer of a database that somebody follows.

    Attributes:
        trails: those of the database.
    """

    def __init__(
        self, connection: Connection, config: Config, path: Path, presence: Presence, trails: Trails
    ) -> None:
        """Own *connection* from now on, and tell *trails*."""
        self.trails = trails
        super().__init__(connection, config, path, presence)

    def _parts(self, connection: Connection) -> tuple[Line[Request], Batch]:
        line = FollowedLine(self.config.pending_max, self._rest)
        line.at_end = self._told
        stays = self._stays = Stays(self.config.slow_request_s, self._blame.who)
        if self.config.slow_request_s is not None:
            connection.at_wait = stays.look
            if connection.turn is not None:
                connection.turn.at_wait = stays.look
        batch = FollowedBatch(
            connection,
            line,
            self.config,
            self.path,
            trails=self.trails,
            stays=stays,
        )
        return line, batch

    # --- a ticket and its trail (C1)

    def submit(self, ticket: Ticket[Request]) -> None:
        """Give *ticket*, which has a seat, its place in line; raises as `Writer.submit`."""
        trail = self._trail_of(ticket)
        self.trails.begin(trail)
        ticket.trail = trail
        try:
            super().submit(ticket)
        except BaseException as error:
            trail.error = error
            self.trails.end(trail)
            raise

    def enter(self, ticket: Ticket[Request]) -> bool:
        """Enter the line; raises as `Writer.enter`."""
        self._take_trail(ticket)
        leads = super().enter(ticket)
        if leads:
            begin_turn(ticket, self._stays)
        return leads

    def wait(self, ticket: Ticket[Request]) -> bool:
        """Wait until the calling thread has the role, or its outcome; raises as `Writer.wait`."""
        leads = super().wait(ticket)
        if leads:
            begin_turn(ticket, self._stays)
        return leads

    def _lone(self, ticket: Ticket[Request]) -> bool:
        self._take_trail(ticket)
        self._lead(ticket)  # C2
        return False

    def _take_trail(self, ticket: Ticket[Request]) -> None:
        trail = CURRENT.get()
        if trail is not None and trail.path == self.path and not trail.reads:
            ticket.trail = trail
            if not isinstance(ticket.work, Idle):
                CURRENT.set(None)  # what a function asks of others is not this

    def _trail_of(self, ticket: Ticket[Request]) -> Trail:
        who = getattr(ticket, "who", None) or my_name()
        trail = Trail(self.path, named(ticket.work), who, reads=False)
        trail.submitted = True
        describe(trail, ticket.work)
        return trail

    # --- the end of one that was submitted (C3)

    def late(self, ticket: Ticket[Request]) -> WriteTimeout:
        """Return the error for *ticket*, whose turn did not come in time."""
        error = super().late(ticket)
        self._end_trail(ticket, error)
        return error

    def withdraw(self, ticket: Ticket[Request]) -> None:
        """Take *ticket* out of the line if it has not started."""
        super().withdraw(ticket)
        if ticket.state is _LEFT:
            self._end_trail(ticket, None)

    def _told(self, ticket: Ticket[Request]) -> None:
        self._end_trail(ticket, ticket.error)  # C4

    def _end_trail(self, ticket: Ticket[Request], error: BaseException | None) -> None:
        trail = ticket.trail
        if trail is not None and trail.submitted:
            trail.error = error
            self.trails.end(trail)

    # --- who keeps others waiting

    def take_turn(self, deadline: float) -> None:
        """Have the turn among processes, for the holder of the role and for as long; raises `locked`'s."""
        asked_at = clock.now()
        try:
            super().take_turn(deadline)
        finally:
            self._stays.waited(asked_at)
            begin_turn(self.line.holder, self._stays)

    def hand_on(self, ticket: Ticket[Request]) -> None:
        """Give up a turn, whose *ticket* has the role: what is open is rolled back."""
        trail = ticket.trail
        if trail is not None and trail.began_at is not None:
            self._stays.add(trail.began_at, lambda: described(trail))
        super().hand_on(ticket)


def named(work: Request) -> str:
    """Return what the trail of *work* is called."""
    if work.text is not None:
        return name_of(work.text)
    return "transaction" if work.lasts else "write"


def describe(trail: Trail, work: Request) -> None:
    """Have *trail* say what *work* is."""
    trail.text, trail.has_params = work.text, bool(work.params)
    if isinstance(work, ManyStatements):
        trail.rows, trail.has_params = work.count, True
    elif isinstance(work, Function):
        trail.function = work.name


def begin_turn(ticket: Ticket[Request] | None, stays: Stays) -> None:
    """Note that *ticket*, where it is a turn's, has what it waited for: the role, then the turn and the lock."""
    if ticket is not None and ticket.trail is not None and isinstance(ticket.work, Idle):
        trail = ticket.trail
        trail.began_at, trail.runs = None, 0
        trail.blame = stays.blame(trail)
        trail.begin()


def described(trail: Trail) -> str:
    """Return whose it was, and what."""
    return f"{trail.who}: {titled(trail)}"
