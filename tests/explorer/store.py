"""A connection without SQLite: a list of integers, with transactions and one savepoint, that watches how it is used.

S1  Only one logical thread at a time is in it, and that one acts for the ticket that holds the role.
S2  Transactions are begun, saved, kept, undone and ended in an order that SQLite would take.
S3  The turn among processes is had while a transaction is open, and given up by who has the role.
S4  A call that could take time is a point, in the middle of which another user would be caught.

Its statements are words: ``add`` puts an integer on the list and returns what was there; ``refuse`` fails alone;
``kill`` fails and ends the whole transaction; ``poison`` has the commit fail.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from onewriter import clock
from onewriter.errors import IntegrityError
from onewriter.parameters import Params
from onewriter.results import Result
from onewriter.rows import Row
from tests.explorer.fakes import FakeLock
from tests.explorer.world import Thread, Touch, World

if TYPE_CHECKING:
    from onewriter.line import Line
    from onewriter.requests import Request

POISON = -1  # in the list: the commit fails


class Turn:
    """The fake of a `Contender`, which is never kept waiting.

    Attributes:
        held: the process has the turn.
    """

    missed = False

    def __init__(self, store: Store) -> None:
        """Begin without it."""
        self._store = store
        self.held = False

    def committed(self, writes: int, _seconds: float) -> None:
        """Take note of a commit, which is made by then."""
        with self._store.use("notes a commit"):
            self._store.demand(writes > 0 and self._store.open is None, "a commit noted that was not made")

    def rest(self) -> None:
        """Give it up."""
        with self._store.use("gives up the turn"):
            self._store.demand(self._store.open is None, "the turn given up in the middle of a transaction")
            self.held = False

    def holder(self) -> None:
        """Return None: no other process has it."""

    def leave(self) -> None:
        """Give it up for good."""
        self._store.demand(self._store.is_closed, "the turn left before the connection was closed")
        self.held = False


class Store:
    """The fake connection.

    Attributes:
        kept: what is committed, which a reader would see.
        open: what the transaction has made of it; None where none is open.
        ran: each run of a request's first statement: its integer, and the thread that ran it.
        seen: by that integer, what the last run found.
        stranger: another connection's lock, where there is one.
    """

    inherited = False
    opened = None  # nothing stays open between two calls here
    waits_for_lock = False

    def __init__(self, world: World) -> None:
        """Begin empty."""
        self._world = world
        self._user: Thread | None = None
        self.line: Line[Request]
        self.kept: list[int] = []
        self.open: list[int] | None = None
        self._saved: list[int] | None = None
        self._commits = False
        self.is_closed = False
        self.killed_by: BaseException | None = None
        self.hold_until = self.stop_at = clock.NEVER
        self.ran: list[tuple[int, Thread]] = []
        self.seen: dict[int, tuple[int, ...]] = {}
        self.stranger: FakeLock | None = None
        self.turn = Turn(self)

    # --- what the writer and the batch use

    def begin_write(self, deadline: float) -> bool:
        """Begin; False where the stranger keeps its lock up to *deadline*."""
        with self.use("begins", slow=True):
            self.demand(self.open is None, "a transaction within a transaction")
            self._commits = False
            self.turn.held = True
            if self.stranger is not None:
                if not self.stranger.acquire(timeout=clock.wait_s(deadline)):
                    return False
                self.stranger.release()
            self.open, self._saved, self.killed_by = list(self.kept), None, None
            return True

    def take_turn(self, deadline: float) -> bool:
        """Have the turn among processes."""
        with self.use("takes the turn"):
            self.turn.held = deadline > 0
            return True

    def commit(self) -> None:
        """Commit, unless the transaction is poisoned."""
        with self.use("commits", slow=True):
            self.demand(self.open is not None, "a commit of nothing")
            self.demand(self.turn.held, "a commit without the turn")
            assert self.open is not None
            if POISON in self.open:
                msg = "the commit is refused"
                raise IntegrityError(msg)
            self.kept, self.open, self._commits = self.open, None, True

    @property
    def committed(self) -> bool:
        """Whether the transaction that was begun last is committed."""
        return self._commits

    def recover(self) -> None:
        """Roll back what is open, and forget what an interrupt has left."""
        with self.use("recovers", slow=True):
            self.turn.held = False
            self.open = self._saved = None
            self.hold_until = clock.NEVER

    def rollback(self) -> None:
        """Roll back what is open."""
        with self.use("rolls back", slow=True):
            self.open = self._saved = None

    def optimize(self) -> None:
        """Do nothing."""

    def start_request(self) -> None:
        """Do nothing."""
        with self.use("starts a request"):
            pass

    def end_request(self) -> bool:
        """Return True: nothing is broken."""
        with self.use("ends a request"):
            return True

    def save(self) -> None:
        """Set the savepoint."""
        with self.use("saves"):
            self.demand(self.open is not None and self._saved is None, "a savepoint in the wrong place")
            assert self.open is not None
            self._saved = list(self.open)

    def release(self) -> None:
        """Keep what was done since the savepoint."""
        with self.use("keeps"):
            self.demand(self.open is not None and self._saved is not None, "no savepoint to keep")
            self._saved = None

    def go_back(self) -> None:
        """Undo what was done since the savepoint."""
        with self.use("goes back"):
            self.demand(self.open is not None and self._saved is not None, "no savepoint to go back to")
            self.open, self._saved = self._saved, None

    def killer(self) -> BaseException | None:
        """Return what ended the transaction under its user."""
        return self.killed_by

    def check_alive(self) -> None:
        """Raise what ended the transaction under its user."""
        if self.killed_by is not None:
            raise self.killed_by

    unended = False  # no interrupt comes in the middle of a statement here

    def check_own(self) -> None:
        """Do nothing: nobody forks."""

    def pages_written(self) -> tuple[int, int]:
        """Return 0: a checkpoint is never due."""
        return 0, 0

    def checkpoint(self) -> None:
        """Do nothing."""
        with self.use("checkpoints"):
            pass

    def close(self) -> None:
        """Close, once."""
        with self.use("closes", slow=True):
            self.demand(not self.is_closed, "closed twice")
            self.demand(self.open is None, "closed with a transaction open")
            self.is_closed = True

    def statement(self, sql: str, params: Params, now: float) -> Result:
        """Run a request that is one of the words."""
        return self.execute(sql, params)

    # --- what requests use

    def execute(self, sql: str, params: Params) -> Result:
        """Run one of the words."""
        with self.use(sql, slow=True) as me:
            self.demand(self.open is not None, f"{sql} outside a transaction")
            assert self.open is not None
            found = tuple(self.open)
            if sql == "kill":
                self.killed_by = IntegrityError("killed")
                self.open = None
                raise self.killed_by
            if sql == "refuse":
                msg = "refused"
                raise IntegrityError(msg)
            (number,) = params
            assert isinstance(number, int)
            if sql in ("first", "bad"):  # the first statement of a run
                self.ran.append((number, me))
                self.seen[number] = found
            if sql == "bad":
                msg = "bad"
                raise IntegrityError(msg)
            self.open.append(number)
            return Result([Row((each,)) for each in found], 1, 0)

    # --- inside

    @contextmanager
    def use(self, what: str, *, slow: bool = False) -> Generator[Thread]:
        world, me = self._world, self._world.current
        assert me is not None
        if world.is_over:
            yield me
            return
        world.touch("connection", Touch.WRITE)
        if self._user is not None:
            world.fail(f"{me.name} {what} while {self._user.name} is in the connection")
        self._check_role(me, what)
        self._user = me
        try:
            if slow:
                world.point()
                world.touch("connection", Touch.WRITE)
            self.demand(not self.is_closed, f"{what}, but it is closed")
            yield me
        finally:
            self._user = None

    def _check_role(self, me: Thread, what: str) -> None:
        holder: Any = self.line.__dict__["watched holder"]
        self.demand(holder is not None, f"{me.name} {what}, and the role is nobody's")
        acts = me.acts_for is holder or holder.__dict__["key"][0] == me.number
        seated = holder.seat is not None and me.name == "submit"
        if not acts and not seated:
            self._world.fail(f"{me.name} {what}, but the role is that of {holder.__dict__['key']}")

    def demand(self, true: bool, what: str) -> None:
        if not true:
            self._world.fail(what)
