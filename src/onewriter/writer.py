"""Who writes: the role that moves down the line, with the one writing connection and its open batch.

W1  Whoever holds the role of the line holds the connection and the batch; nobody else touches them.
W2  A function runs on the thread that asked for it, or on the background thread where it was submitted; a statement is
    data, and the holder may run it for its owner.
W3  Whoever holds the role gives it on, whatever happened to its own request.
W4  Nobody waits for another process's lock on another thread's behalf: there the role is given to that thread.
W5  An interrupt (Ctrl-C, a signal handler that raises; the end of the stack) may strike any step. What it strikes
    while it holds the role is taken over by a thread of its own, which no signal reaches: `rescue`.
W6  Before a commit that fewer share than the last one did, and that waits for the disk, the holder gives the
    interpreter's lock away once: who was told may be on his way back.

A lone write, in an empty line, takes the short way of `_lone`, without a place in it. Else `perform` or a turn gets the
role, by entering an empty line or by being handed it, with the batch open or closed. `_lead` does the thread's own
work, then `_go_on` runs the statements that wait, up to the limits of the batch and of ``lead_s``, until nobody waits,
or the role is the next ticket's thread's. Then the thread waits for its own outcome, if it has none yet.

How W5 is kept. Every exception that is not a request's own comes to the handler in `perform` (for a turn, in `turns`).
If by then the request is not over, or its ticket has the role still, that handler starts a thread for `rescue`, by one
call into C before which no Python code is called: signal handlers run at calls and loops only, so that a second
interrupt finds the rescue on its way. `rescue` takes the ticket out of the line, or acts as the holder: `Batch.recover`
tells or re-runs the members, and the role goes on. What is left half-done of the rest, L7, B5, N5 and N6 say.
"""

from __future__ import annotations

import _thread
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import clock
from .batch import Batch
from .blockers import Blame
from .config import Config
from .connection import Connection
from .errors import DatabaseClosed, Error, Ran, WriteTimeout
from .helpers import apart
from .line import Closed, Full, Line, Step, TimedOut
from .locks import closed_lock, wake_up
from .presence import Presence, nested
from .refusals import turned_away
from .requests import Idle, Request
from .tickets import Seat, State, Ticket, fail
from .translate import broken_foreign_key

_log = logging.getLogger(__name__)
_DONE, _LEFT, _LEADS = State.DONE, State.LEFT, State.LEADS  # looked up once: see `tickets`
_COMMIT, _END = Step.COMMIT, Step.END
_start_new_thread, _sleep = _thread.start_new_thread, time.sleep


class Writer:
    """Everything that this process writes to the file goes through here."""

    def __init__(self, connection: Connection, config: Config, path: Path, presence: Presence) -> None:
        """Own *connection* from now on."""
        self.config = config
        self.path = path
        self.presence = presence
        self.turn = connection.turn  # guarded by the role
        self._blame = Blame(path, self.turn)
        self.line, self.batch = self._parts(connection)
        self.connection = connection  # guarded by the role, as the batch; their numbers anybody may read
        self.tell_seat: Callable[[], object] = int  # has the outcomes of submitted requests told
        self.at_end: Callable[[], object] | None = None  # called when the connection is closed
        self.forgotten: object = None  # what ends the turn that has the role; guarded by the role
        self._main = threading.main_thread().ident
        self._patience_s = min(config.holder_warn_s / 2, threading.TIMEOUT_MAX)  # between two looks
        self._is_ended = False  # whether the connection is closed
        self._ended = closed_lock()  # news of that

    def _parts(self, connection: Connection) -> tuple[Line[Request], Batch]:
        line: Line[Request] = Line(self.config.pending_max, self._rest)
        return line, Batch(connection, line, self.config, self.path)

    def perform(  # noqa: C901, PLR0912 - one road, whose handler must call nothing before the rescue (W5)
        self, work: Request, timeout_s: float, *, portable: bool, alone: bool
    ) -> object:
        """Have *work* done and committed, and return its value.

        Raises:
            WriteTimeout: its turn did not come within *timeout_s*; nothing ran.
            NestedWrite: the calling thread is writing already.
            DatabaseClosed: the line is closed.
        """
        writing = self.presence.writing
        me = threading.get_ident()
        if me in writing and not writing[me].is_over:
            raise nested()
        line = self.line
        ticket: Ticket[Request] = Ticket(work, timeout_s, portable=portable, alone=alone)
        ticket.line = line
        try:
            writing[me] = ticket
            if line.holder is None and line.take(ticket):  # asked first, since the call takes a lock
                if self._lone(ticket) and work.callbacks is None:
                    return ticket.value
                leads = False
            else:
                leads = self.enter(ticket)
            while leads or ticket.state is not _DONE:
                if leads:
                    self._lead(ticket)
                    leads = False
                else:
                    state = line.wait(ticket, self._patience_s)
                    leads = state is _LEADS or (state is not _DONE and self.wait(ticket))
        except TimedOut:
            raise self.late(ticket) from None
        except BaseException:
            ticket.given_up = True
            if line.holder is ticket or (ticket.state is not _DONE and ticket.state is not _LEFT):
                try:
                    _start_new_thread(apart, ("rescue", self.rescue, ticket))
                except RuntimeError:  # the system has no thread left
                    self.rescue(ticket)
            line.let_go()
            raise
        finally:
            writing.pop(me, None)
        if ticket.error is None:
            if work.callbacks is not None:
                work.committed(self.path)
            if ticket.interrupt is None:
                return ticket.value
        return fail(ticket)

    def submit(self, ticket: Ticket[Request]) -> None:
        """Give *ticket*, which has a seat, its place in line.

        Raises:
            QueueFull: there is none; nothing ran.
            DatabaseClosed: the line is closed.
        """
        ticket.line, me, writing = self.line, threading.get_ident(), self.presence.writing
        try:
            writing[me] = ticket  # a signal handler that asks for a write meanwhile is refused
            self.line.enter(ticket)  # not by `self.enter`: the road of every write of a task
        except BaseException as error:
            self.line.let_go()
            self.withdraw(ticket)
            if isinstance(error, (Closed, Full)):
                raise turned_away(error, self.path, self.config.pending_max) from None
            raise
        finally:
            writing.pop(me, None)

    def withdraw(self, ticket: Ticket[Request]) -> None:
        """Take *ticket* out of the line if it has not started.

        Where a signal handler or a finalizer interrupted this thread inside the line, it stays, and is passed over.
        """
        if self.line.is_mine():
            return
        try:
            self.line.leave(ticket)
        except BaseException:
            self.line.let_go()
            raise

    def enter(self, ticket: Ticket[Request]) -> bool:
        """Enter the line; raises as `submit`."""
        try:
            return self.line.enter(ticket)
        except (Closed, Full) as error:
            raise turned_away(error, self.path, self.config.pending_max) from None

    def wait(self, ticket: Ticket[Request]) -> bool:
        """Wait until the calling thread, whose *ticket* is, has the role (True), or its outcome (False).

        Raises:
            WriteTimeout: neither came in time; nothing ran.
        """
        line, seen, since, warn_s = self.line, None, 0.0, self.config.holder_warn_s
        try:
            while True:
                if line.holder is not seen:
                    seen, since = line.holder, clock.now()
                elif seen is not None and clock.now() - since >= warn_s:
                    how_long = f"for more than {warn_s:.3g} s, while {len(line)} requests wait"
                    self.presence.warn_of(seen, self.path, how_long)
                state = line.wait(ticket, self._patience_s)
                if state is _LEADS or state is _DONE:
                    return state is _LEADS
        except TimedOut:
            raise self.late(ticket) from None

    def is_held_here(self) -> bool:
        """Whether the calling thread has the role, or waits for it: what it then waits for would wait for it."""
        mine = self.presence.writing.get(threading.get_ident())
        return isinstance(mine, Ticket) and mine.line is self.line and not mine.is_over

    def close(self, deadline: float) -> bool:
        """Refuse new requests, let those in line be done until *deadline*, refuse the rest, close the connection.

        Returns whether it is closed: whoever is still at work at *deadline* closes it on leaving.
        """
        ticket: Ticket[Request] = Ticket(Idle(), 0.0, portable=False, alone=True)
        try:
            if self.line.close(ticket):
                self._end()
        except BaseException:
            _start_new_thread(apart, ("rescue", self.rescue, ticket))
            self.line.let_go()
            raise
        if not self._is_ended:
            self._ended.acquire(timeout=clock.wait_s(deadline))
        if self._is_ended:
            wake_up(self._ended)  # for the next who waits
            return True
        self.line.refuse(lambda: DatabaseClosed(f"{self.path} was closed before this write's turn came"))
        return False

    def take_turn(self, deadline: float) -> None:
        """Have the turn among processes, for the holder of the role and for as long; raises `locked`'s."""
        if not self.connection.take_turn(deadline):
            raise self.locked()

    def locked(self, ran: Ran = "no") -> WriteTimeout:
        """Return the error for a file that another process or connection keeps from this one."""
        return self._blame.error(ran)

    def late(self, ticket: Ticket[Request]) -> WriteTimeout:
        """Return the error for *ticket*, whose turn did not come in time."""
        if self.connection.waits_for_lock or (self.turn is not None and self.turn.missed):
            return self.locked()
        waited_s = clock.now() - ticket.entered_at
        msg = f"{self.path}: the write's turn did not come in {waited_s:.3g} s; {len(self.line)} others wait"
        return WriteTimeout(msg, held_by="line")

    # --- with the role

    def seated(self, seat: Seat[Request]) -> bool:
        """Lead for the ticket of *seat* that has the role, if one has, and go on; for the seat's thread."""
        ticket = self.line.lead(seat)
        if ticket is None:
            return False
        me = threading.get_ident()
        self.presence.writing[me] = ticket
        try:
            self._lead(ticket)
        except BaseException:  # noqa: BLE001 - the thread must live
            _log.exception("%s: the background thread failed, and goes on", self.path)
            self.rescue(ticket)
        finally:
            self.presence.writing.pop(me, None)
        return True

    def hand_on(self, ticket: Ticket[Request]) -> None:
        """Give up a turn, whose *ticket* has the role: what is open is rolled back."""
        try:
            self.connection.recover()
        except Error:
            _log.exception("%s: what a turn had left open could not be rolled back", self.path)
        self.line.finish((ticket,))
        self._go_on(ticket)

    def _lone(self, ticket: Ticket[Request]) -> bool:
        """Do the work of *ticket* in an empty line, and commit it if nobody has come meanwhile; True if all is done.

        The short way through `_lead`, `Batch.join` and `Batch.commit`: it is run cold, after the sleep of a sync.
        """
        connection, batch = self.connection, self.batch
        try:
            if not connection.begin_write(ticket.deadline):
                raise self.locked()
            connection.start_request()
            value = ticket.work.run(connection)
            if not connection.end_request():
                raise broken_foreign_key()
            if ticket.alone or self.line.is_empty:
                batch.commit_turn()
                ticket.value = value
                ticket.state = _DONE
            else:
                batch.adopt(ticket, value)
        except BaseException:
            if not connection.inherited:
                connection.recover()
                batch.members = []  # it may have been made one
                ticket.state = _DONE
                if not self.line.release():
                    self._go_on(ticket)
            raise
        if ticket.state is _DONE:
            self._rest()
            if self.line.release():
                return True
        self._go_on(ticket)
        return False

    def _lead(self, ticket: Ticket[Request]) -> None:
        """Do the work of *ticket*, which is the calling thread's, then go on down the line (W3)."""
        if ticket.interrupt is not None and not ticket.started:
            self._tell(ticket, ticket.interrupt)
        else:
            self._do(ticket, mine=True)
        self._go_on(ticket)

    def _go_on(self, holder: Ticket[Request]) -> None:
        """Serve the line, as *holder*, until the role is handed on."""
        batch, seat = self.batch, holder.seat
        # A statement that the main thread ran for another could be struck by Ctrl-C: it does its own work only.
        # Any other thread helps freely while its own outcome is open, and for a while after.
        serves_until = clock.NEVER if threading.get_ident() != self._main and not holder.given_up else 0.0
        while True:
            if batch.members and batch.is_full:
                serves_until = self._commit(serves_until)
            if seat is not None and (seat.told or seat.boxes):
                self.tell_seat()  # what comes next may take long
            step = batch.next(serves_until)
            if isinstance(step, Ticket):
                if not self._do(step, mine=step.seat is not None):
                    return
            elif step is _COMMIT:
                if self.line.is_empty and batch.waits_for_more():
                    _sleep(0)  # W6
                    continue
                serves_until = self._commit(serves_until)
            elif step is not None:
                if step is _END:
                    self._end()
                return

    def _commit(self, serves_until: float) -> float:
        """Commit the batch; return up to when this thread, whose own outcome is told now at the latest, may help."""
        self.batch.commit()
        return min(serves_until, self.batch.ended_at + self.config.lead_s)

    def _do(self, ticket: Ticket[Request], *, mine: bool) -> bool:
        """Do the work of *ticket* in the batch; return whether the role is still the calling thread's."""
        if ticket.settled or (ticket.seat is not None and not ticket.work.begin()):
            self.line.finish((ticket,))  # it is told in its turn, or was cancelled
            return True
        if not self.batch.members:
            opened = self._open(ticket, mine=mine)
            if opened is not True:
                if not mine and self.line.give(ticket):
                    return False
                self._tell(ticket, opened or self.locked("rolled_back" if ticket.started else "no"))
                return True
        self.batch.join(ticket)
        return True

    def _open(self, ticket: Ticket[Request], *, mine: bool) -> bool | Exception:
        """Begin the batch for its first member; return why that cannot be: False where others are in the way."""
        deadline = ticket.deadline if mine else 0.0  # W4
        try:
            if ticket.work.lasts and not self.connection.take_turn(deadline):
                return False
            return self.batch.open(deadline)
        except Exception as failure:  # noqa: BLE001 - a VFS, a hook of on_connect, a signal handler may raise anything
            self.connection.recover()
            return failure

    def _tell(self, ticket: Ticket[Request], error: BaseException) -> None:
        ticket.error = error
        self.line.finish((ticket,))

    def _rest(self) -> None:
        if (turn := self.turn) is not None and turn.held:
            turn.rest()

    def _end(self) -> None:
        """Close the connection; again where an interrupt struck this, which may be after any step."""
        if not self._is_ended:
            if self.config.optimize:
                self.connection.optimize()
            if self.batch.checkpointer is not None:
                self.batch.checkpointer.close(self.connection)
            self.connection.close()  # for itself, or again, which does nothing
            if self.turn is not None:
                self.turn.leave()
        self._is_ended = True
        wake_up(self._ended)
        if self.at_end is not None:
            self.at_end()
        self.line.holder = None  # so that its thread is not taken for one that still writes

    def rescue(self, ticket: Ticket[Request]) -> None:
        """Take *ticket* out of the line, or the role over from its thread, which an interrupt struck (W5)."""
        if self.connection.inherited:
            return
        if self.line.rescue(ticket):
            with self.presence.engaged():  # a log's handler that writes would wait for this thread
                self._take_over(ticket)
        elif self.line.ended and self.line.holder is ticket:
            self._end()  # again: the interrupt struck it

    def _take_over(self, ticket: Ticket[Request]) -> None:
        ticket.given_up = True  # where a turn was held too long, its thread may write again
        try:
            self.batch.recover(ticket)
        except Exception:  # noqa: BLE001 - the role goes on, whatever a VFS raises now
            _log.exception("%s: the writing connection could not be brought in order", self.path)
            self.line.finish((ticket,))
        self._go_on(ticket)
