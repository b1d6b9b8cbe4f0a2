"""Turns: the role for the length of a block, and the interactive transaction that is made of one.

U1  A turn ends once: with its block, when it has been held too long, or after an interrupt, whichever comes first. Who
    ends it says so in ``over``, under ``gate``, and is then the only one to use the connection and to hand the role on.
U2  The statements of an interactive transaction run under ``gate`` too; so it is never ended under a running one. That
    is stopped first, by ``Connection.hold_until``. Before the watch waits for the gate, which goes to whoever comes
    first, it says that the turn ``is_due``: so no statement runs after that one, and nothing is committed.
U3  Nobody waits for ``gate`` while he has the line's lock.
U4  A turn whose block was left without a word (its thread died, it was entered by hand and forgotten) ends with its
    object. It has no ``__del__``, which an interrupt could strike and be lost in each time that a turn ends well.

States of ``over``, each transition made by `Gated.claim`, or by `end_now`:

    ""  ──leave──> "ended"               the block is left: commit or roll back, then hand on
    ""  ──end_now──> why                 ``hold_s`` is over: roll back, by the watch or by the block's next call; then
                                         the watch hands on, in `expire`
    ""  ──give_up, abort──> why          an interrupt struck `__enter__` or `leave`: a thread ends what is open
"""

from __future__ import annotations

import _thread
import threading
import weakref
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar, TypeVarTuple

from . import clock
from .connection import Connection
from .errors import StatementTimeout, TransactionEnded
from .gates import ENDED, ROADS, Gated
from .helpers import apart
from .locks import is_within, let_go
from .presence import nested
from .requests import Idle, Request
from .tickets import State, Ticket, fail
from .writer import Writer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_start_new_thread = _thread.start_new_thread


class Turn(Gated):
    """The role for the length of a block, with no transaction open; `__enter__` returns the connection.

    Raises on entering:
        WriteTimeout, NestedWrite, DatabaseClosed: as `Writer.perform`.
    """

    _ticket: Ticket[Request] | None = None
    begins = False  # a transaction, at once: that will tell whether others keep the lock

    def __init__(self, writer: Writer, timeout_s: float) -> None:
        """Wait for the role up to *timeout_s* seconds."""
        super().__init__()
        self.since = 0.0  # when the role came
        self.hold_until = clock.NEVER
        self.writer = writer
        self._timeout_s = timeout_s

    @property
    def ticket(self) -> Ticket[Request]:
        """Its place in line; once it was entered."""
        assert self._ticket is not None, "not entered"
        return self._ticket

    @property
    def is_entered(self) -> bool:
        """Whether it was entered, which it can be once."""
        return self._ticket is not None

    def __enter__(self) -> Connection:
        writer = self.writer
        writing, me = writer.presence.writing, threading.get_ident()
        if me in writing and not writing[me].is_over:
            raise nested()
        assert self._ticket is None, "a turn is entered once"
        ticket = _TurnTicket(self, self._timeout_s)
        ticket.line = writer.line
        self._ticket = ticket
        try:
            writing[me] = ticket
            if not writer.enter(ticket) and not writer.wait(ticket):
                fail(ticket)  # it was refused
            self.since = clock.now()
            writer.batch.counts.waits.add(self.since - ticket.entered_at)
            if not self.begins:
                # Who is late from now on waits for this turn, unless it waits for the lock itself.
                writer.connection.waits_for_lock = False
            forgotten = writer.forgotten = _Forgotten(self, _START)
            forgotten.start = partial(_start_new_thread, apart, ("rescue", writer.rescue, ticket))
            return writer.connection
        except BaseException:
            ticket.given_up = True
            if writer.line.holder is ticket or (
                ticket.state is not State.LEFT and ticket.state is not State.DONE
            ):
                _start_new_thread(
                    apart, ("rescue", self.give_up)
                )  # nothing is called before this: see `writer`, W5
            self._let_go()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the role up; what is open is rolled back."""
        self.leave(commit=False)

    def leave(self, *, commit: bool) -> None:
        """Give the role up; what is open is committed, or rolled back.

        Raises:
            TransactionEnded: it was over already, so that nothing can be committed; or SQLite had rolled it back.
            OutcomeUnknown, Error: the commit failed.
        """
        writer, ticket = self.writer, self._ticket
        connection = writer.connection
        if ticket is None or (writer.line.holder is not ticket and not self.over):
            return  # it was not entered, or left already
        if connection.inherited:
            if commit:
                connection.check_own()
            return  # a forked child that came out of its parent's block: nothing here is its own
        try:
            if self.is_due:
                self.unless_over(self.end_now)
            if self.claim(ENDED):
                writer.forgotten = None
                self._end(
                    commit=commit
                )  # not here: the bytecode that an inner `try` begins with has no handler
            elif commit:
                raise TransactionEnded(self.over, ran="rolled_back")
        except BaseException:
            ticket.given_up = True
            if writer.line.holder is ticket:
                _start_new_thread(apart, ("rescue", self.abort))
            self._let_go()
            raise
        finally:
            writer.presence.writing.pop(threading.get_ident(), None)

    def _end(self, *, commit: bool) -> None:
        writer = self.writer
        try:
            if commit:
                writer.connection.hold_until = clock.NEVER
                writer.connection.check_alive()
                writer.batch.commit_turn()
        finally:
            writer.hand_on(self.ticket)

    def run(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Run *call*, which uses the connection, if the turn is not over (U2).

        Raises:
            TransactionEnded: it is.
        """
        try:
            return super().run(call, *arguments)
        except StatementTimeout as error:
            if clock.now() < self.hold_until:
                raise
            raise TransactionEnded(self.held_too_long(), ran="rolled_back") from error

    def held_too_long(self) -> str:
        """Say that the turn was held longer than it may be."""
        return held_too_long(self.writer.path, self.hold_until - self.since)

    def expire(self) -> None:
        """End a turn that was held too long; for the watch."""
        self.is_due = True  # before it waits (U2)
        with self.gate:
            if not self.over:
                self.end_now()
            if self.over != self.held_too_long():
                return
        self.writer.rescue(self.ticket)

    def end_now(self) -> None:
        """Roll back since it was held too long; who calls it has the gate. The watch, which waits for it, hands on.

        Raises:
            TransactionEnded: a statement is running, and this is a call of its own function; the statement ends first.
        """
        if is_within(self, ROADS, 3):
            raise TransactionEnded(self.held_too_long(), ran="rolled_back")
        self.over = self.held_too_long()
        self.writer.forgotten = None
        self.writer.connection.hold_until = clock.NEVER
        self.writer.connection.rollback()

    def give_up(self) -> None:
        """End it after an interrupt of `__enter__`, unless somebody does so already; on a thread of its own."""
        if self.claim("the turn was interrupted"):
            self.writer.rescue(self.ticket)

    def abort(self) -> None:
        """End it after an interrupt of `leave`, which alone says "ended"; on a thread of its own."""
        if self.claim("the turn was interrupted") or self.is_left:
            self.writer.rescue(self.ticket)

    def _let_go(self) -> None:
        """Make good what an interrupt of the calling thread has left held."""
        let_go(self.gate)
        self.writer.line.let_go()


def held_too_long(path: Path, hold_s: float) -> str:
    """Say that a turn of the file at *path* was held for longer than *hold_s*."""
    return (
        f"{path}: the transaction was rolled back, since it had kept the write turn for longer than hold_s "
        f"({hold_s:.3g} s): do slow work before or after it, or allow more"
    )


class _TurnTicket(Ticket[Request]):
    """A turn's place in line, which is over with the turn: nobody can come back to it then."""

    def __init__(self, turn: Turn, timeout_s: float) -> None:
        super().__init__(Idle(), timeout_s, portable=False, alone=True)
        self._turn = weakref.ref(turn)

    @property
    def is_over(self) -> bool:
        return self._turn() is None or super().is_over


class _Forgotten(weakref.ref[Turn]):
    """What ends a turn that nobody can leave any more: a weak reference whose callback is C to the end.

    So no lock is taken wherever the collector comes, and no interrupt comes between (U4).
    """

    start: Callable[[], object] = int  # does nothing, until it is known what


_START: Final = methodcaller("start")
