"""Who writes: the role that moves down the line, with the one writing connection and its open batch.

W1  Whoever holds the role of the line holds the connection and the batch; nobody else touches them.
W2  A function runs on the thread that asked for it; a statement is data, and the holder may run it for its owner.
W3  Whoever holds the role gives it on, whatever happened to its own request.
W4  Nobody waits for another process's lock on another thread's behalf: there the role is given to that thread.

A lone write, in an empty line, takes the short way of `_lone`, without a place in it.

The life of the role in one thread: `perform` or `turn` gets it, by entering an empty line or by being handed it, with
the batch open or closed. `_lead` does the thread's own work, then `_go_on` runs the statements that wait, up to the
limits of the batch and of ``lead_s``; it ends when the role has been handed to the thread of the next ticket (with the
batch open, where that may join it) or nobody waits. Then the thread waits for its own outcome, if it has none yet.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from . import clock
from .batch import Batch, BatchStats, broken_foreign_key
from .config import Config
from .connection import Connection
from .errors import (
    DatabaseClosed,
    NestedWrite,
    Ran,
    WriteTimeout,
)
from .line import Closed, Line, State, Step, Ticket, TimedOut
from .presence import Presence
from .requests import Request
from .transaction import Transaction

_DONE = State.DONE  # looked up once: see `line`
_COMMIT, _END = Step.COMMIT, Step.END


class _Interactive:
    """The work of a request whose own thread does it between two calls: only the role is wanted."""

    def run(self, connection: Connection) -> object:
        raise AssertionError(connection)  # never joined to a batch, never run by another


class Writer:
    """Everything that this process writes to the file goes through here."""

    def __init__(self, connection: Connection, config: Config, path: Path, presence: Presence) -> None:
        """Own *connection* from now on."""
        self._config = config
        self._path = path
        self._line: Line[Request] = Line()
        self._presence = presence
        self._holder = 0  # the thread that got the role last; written by it
        self._main = threading.main_thread().ident
        self._ended = threading.Lock()  # held until the connection is closed
        self._ended.acquire()
        # Guarded by the role, but that anybody may read the numbers.
        self._connection = connection
        self._batch = Batch(connection, self._line, config, path)

    # --- for callers

    def perform(self, work: Request, timeout_s: float, *, portable: bool, alone: bool) -> object:
        """Have *work* done and committed, and return its value.

        Raises:
            WriteTimeout: its turn did not come within *timeout_s*; nothing ran.
            NestedWrite: the calling thread is writing already.
            DatabaseClosed: the line is closed.
        """
        with_role = self._presence.writing
        me = threading.get_ident()
        if me in with_role:
            raise _nested()
        with_role.add(me)
        try:
            ticket = Ticket(work, timeout_s, portable=portable, alone=alone)
            if self._line.take():
                self._holder = me
                if self._lone(ticket):
                    return ticket.value
                leads = False
            else:
                leads = self._enter(ticket)
            while leads or (ticket.state is not _DONE and self._wait(ticket)):
                leads = False
                self._holder = me
                self._lead(ticket)
        finally:
            with_role.discard(me)
        if ticket.error is None and ticket.interrupt is None:
            return ticket.value
        return _fail(ticket)

    @contextmanager
    def turn(self, timeout_s: float) -> Generator[Connection]:
        """Give the calling thread the role, with no transaction open, for the length of a block.

        Raises:
            WriteTimeout, NestedWrite, DatabaseClosed: as `perform`.
        """
        me = threading.get_ident()
        if me in self._presence.writing:
            raise _nested()
        self._presence.writing.add(me)
        try:
            ticket: Ticket[Request] = Ticket(_Interactive(), timeout_s, portable=False, alone=True)
            if not self._enter(ticket) and not self._wait(ticket):
                _fail(ticket)  # it was refused
            self._holder = me
            try:
                self._batch.note_wait(clock.now() - ticket.entered_at)
                if ticket.interrupt is not None:
                    raise ticket.interrupt
                yield self._connection
            finally:
                self._leave_turn(ticket)
        finally:
            self._presence.writing.discard(me)

    @contextmanager
    def transaction(self, timeout_s: float) -> Generator[Transaction]:
        """Give the calling thread a write transaction of its own for the length of a block.

        It is committed at the end of the block, and rolled back where the block raises.
        """
        deadline = clock.now() + timeout_s
        with self.turn(timeout_s) as connection:
            if not self._batch.open(deadline):
                raise self._locked()
            connection.start_request()
            transaction = Transaction(connection)
            try:
                yield transaction
            finally:
                transaction.end()
            connection.check_alive()
            self.commit_turn()

    def commit_turn(self) -> None:
        """Commit what the calling thread, which has the turn, has open; raises as `Batch.commit_turn`."""
        self._batch.commit_turn()

    def is_held_here(self) -> bool:
        """Whether the calling thread has the role: what it then waits for would wait for it."""
        me = threading.get_ident()
        return self._holder == me and me in self._presence.writing and self._line.is_held

    def close(self, deadline: float) -> bool:
        """Refuse new requests, let those in line be done until *deadline*, refuse the rest, close the connection.

        Returns whether the connection is closed: whoever is still at work at *deadline* closes it on leaving.
        """
        if self._line.close():
            self._end()
        closed = self._ended.acquire(timeout=clock.wait_s(deadline))
        if not closed:
            self._line.refuse(
                lambda: DatabaseClosed(f"{self._path} was closed before this write's turn came")
            )
            return False
        self._ended.release()
        return True

    def stats(self) -> BatchStats:
        """Return the counts of this moment."""
        return self._batch.stats()

    @property
    def pending(self) -> int:
        """How many wait for their turn."""
        return len(self._line)

    @property
    def busy_retries(self) -> int:
        """How often SQLite said busy to the writing connection, and nobody else heard."""
        return self._connection.busy_retries

    # --- entering and waiting, without the role

    def _enter(self, ticket: Ticket[Request]) -> bool:
        try:
            return self._line.enter(ticket)
        except Closed:
            msg = f"{self._path} is closed"
            raise DatabaseClosed(msg) from None

    def _wait(self, ticket: Ticket[Request]) -> bool:
        try:
            return self._line.wait(ticket)
        except TimedOut:
            pass
        if self._connection.waits_for_lock:
            raise self._locked()
        waited_s = clock.now() - ticket.entered_at
        msg = (
            f"{self._path}: the write's turn did not come in {waited_s:.3g} s; {len(self._line)} others wait"
        )
        raise WriteTimeout(msg, held_by="line")

    # --- with the role

    def _lone(self, ticket: Ticket[Request]) -> bool:
        """Do the work of *ticket* in an empty line, and commit it if nobody has come meanwhile; False if somebody has.

        What a lone write pays beside its transaction is run cold, after the sleep of a sync: so this is the short way
        through what `_lead`, `Batch.join` and `Batch.commit` do, for a first member that stays the only one.
        """
        connection, batch = self._connection, self._batch
        done = False
        try:
            if not connection.begin_write(ticket.deadline):
                raise self._locked()
            connection.start_request()
            value = ticket.work.run(connection)
            if not connection.end_request():
                raise broken_foreign_key()
            if ticket.alone or self._line.is_empty:
                batch.commit_turn()
                ticket.value = value
                done = True
            else:
                batch.adopt(ticket, value)
        except BaseException:
            if not connection.inherited:
                connection.rollback()
                connection.end_request()
            raise
        finally:
            if not connection.inherited and (batch.members or not self._line.release()):
                self._go_on()
        return done

    def _lead(self, ticket: Ticket[Request]) -> None:
        """Do the work of *ticket*, which is the calling thread's, then go on down the line (W3)."""
        try:
            if ticket.interrupt is not None and not ticket.started:
                self._tell(ticket, ticket.interrupt)
            elif self._batch.members or self._open(ticket, mine=True):
                self._batch.join(ticket)
            self._go_on()
        except BaseException:
            if not self._connection.inherited:
                self._batch.abandon(ticket)
                self._go_on()
            raise

    def _go_on(self) -> None:
        """Serve the line until the role is handed on."""
        batch, advance = self._batch, self._line.advance
        # A statement that the main thread ran for another could be struck by Ctrl-C: it does its own work only.
        # Any other thread helps freely while its own outcome is open, and for a while after.
        serves_until = clock.NEVER if self._holder != self._main else 0.0
        while True:
            if batch.members and batch.is_full:
                serves_until = self._commit(serves_until)
            step = advance(is_open=bool(batch.members), serves_until=serves_until)
            if isinstance(step, Ticket):
                if not self._serve(step):
                    return
            elif step is _COMMIT:
                serves_until = self._commit(serves_until)
            else:
                if step is _END:
                    self._end()
                return

    def _commit(self, serves_until: float) -> float:
        """Commit the batch; return up to when this thread, whose own outcome is told now at the latest, may help."""
        self._batch.commit()
        return min(serves_until, self._batch.ended_at + self._config.lead_s)

    def _serve(self, ticket: Ticket[Request]) -> bool:
        """Do the work of another's *ticket* in the batch; return whether the role is still the calling thread's."""
        if self._batch.members or self._open(ticket, mine=False):
            self._batch.join(ticket)
            return True
        return False

    def _open(self, ticket: Ticket[Request], *, mine: bool) -> bool:
        """Begin the batch for its first member; where that fails, the ticket is told, or gets the role itself."""
        try:
            if self._batch.open(ticket.deadline if mine else 0.0):  # W4
                return True
            error: Exception = self._locked("rolled_back" if ticket.started else "no")
        except Exception as failure:  # noqa: BLE001 - a VFS or a hook of on_connect may raise anything
            error = failure
        if mine:
            self._tell(ticket, error)
        else:
            self._line.give(ticket)
        return False

    def _tell(self, ticket: Ticket[Request], error: BaseException) -> None:
        ticket.error = error
        self._line.finish((ticket,))

    def _leave_turn(self, ticket: Ticket[Request]) -> None:
        if self._connection.inherited:
            return  # a forked child that came out of its parent's block: nothing here is its own
        try:
            self._connection.rollback()
        finally:
            self._line.finish((ticket,))
            self._go_on()

    def _end(self) -> None:
        self._connection.close()
        self._ended.release()

    # --- messages

    def _locked(self, ran: Ran = "no") -> WriteTimeout:
        msg = (
            f"{self._path}: another connection, not of this line, kept the file's write lock past the deadline "
            "(an sqlite3 shell or another process with an open write transaction?)"
        )
        return WriteTimeout(msg, held_by="stranger", ran=ran)


def _fail(ticket: Ticket[Request]) -> NoReturn:
    """Raise what came of *ticket*; an interrupt that had to wait comes first."""
    error = ticket.interrupt or ticket.error
    assert error is not None
    try:
        raise error
    finally:
        ticket.error = ticket.interrupt = error = None  # no cycle through the traceback


def _nested() -> NestedWrite:
    return NestedWrite(
        "this thread is writing to the same file already: use the transaction it was given (tx)"
    )
