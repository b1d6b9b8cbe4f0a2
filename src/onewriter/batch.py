"""The batch: requests that share one transaction, and do not share failures.

B1  At most one write transaction is open at a time; only the holder of the write role touches the batch.
B2  A caller hears its outcome, a failure too, only after the commit that holds the state it saw.
B3  What a request that failed did is undone alone: each but the first has a savepoint of its own, and with the first
    the transaction is rolled back. Where the transaction is lost under the others, they run again, one by one.
    Statements among nothing but statements are *bare*: they have none, until one fails.
B4  A request that has its own commit (`alone`) is the only member of its batch.

Members have done their work and wait for the commit. The states, and the method that makes each transition:

    CLOSED ──open──> OPEN      BEGIN IMMEDIATE for the first member, up to a deadline
    CLOSED ──adopt──> OPEN     a lone caller has done its work, and others came meanwhile
    OPEN ──join──> OPEN        one more member, behind a savepoint of its own if it is not the first
    OPEN ──next──> OPEN        one more after the other, all of them bare
    OPEN ──commit──> CLOSED    every member hears its outcome
    OPEN ──join──> CLOSED      the first member failed: it hears its error, since it saw only what is committed
    OPEN ──_lose──> CLOSED     a statement ended the transaction, or the commit failed: the members go back to the head
                               of the line, each alone, and hear the outcome of that second run
    OPEN ──_lose──> CLOSED     a bare one failed: they go back together, and have savepoints in that second run
    OPEN ──_lose──> CLOSED     the stack of the thread that did another's work was at its end: they go back, each alone,
                               and that one is its own thread's from then on

Between `join` and the next the role, and the batch with it, may have moved to another thread.

B5  An interrupt (Ctrl-C, a signal handler that raises) may end any method here after any of its steps; `recover`,
    called by whoever takes the role over, ends the batch: if it was committed, its members hear so, once; if not, it
    is rolled back and they run again. So members are taken off the list only after they were told or put back in line.

What a member that ended the transaction saw was not committed: it runs again like the others (B2), unless it was the
first, which saw only what is committed. One that ran out of time would do so again: it goes back in line with the
others, and hears of it in its turn. One that was interrupted hears of it at once.

A savepoint costs a statement more than it costs itself: each of the two calls gives the interpreter's lock away. SQLite
undoes a statement that failed, but for what ``OR FAIL``, ``RAISE(FAIL)``, a broken deferred key and errors that its
compiler did not foresee leave of it (https://sqlite.org/lang_conflict.html). Nothing is made of that here: when a bare
one fails, all is rolled back and runs again with savepoints, the guilty one too, whose text has one from then on. So
one that is refused again and again (a name that is taken) costs that once. Beside a function nothing is bare: it would
be called a second time for another's failure.

Bare statements behind one another are a *streak*: `next` does with them what `join` does, but for what only functions
need, and `Line.streak` gives it them one by one, so that those it has not come to may still leave the line. It ends
where one fails or is not bare, and where the batch is full. A statement costs a third less than by `join`.

A commit that fails with an I/O error may be durable all the same: its frames are in the WAL, and a recovery would find
them whole. So it is followed at once by another commit, which changes nothing but takes their place; only where that
fails too, the outcome is unknown.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections.abc import Callable
from functools import partial
from itertools import chain
from operator import methodcaller
from pathlib import Path
from typing import Final

from . import clock
from .checkpoints import Checkpointer
from .config import Config
from .connection import Connection
from .contenders import DISK_S
from .counts import Counts
from .errors import DiskError, DiskFull, Error, OutcomeUnknown, StatementTimeout, cut_history
from .line import Line, Step
from .requests import Request
from .tickets import State, Ticket
from .translate import broken_foreign_key

_log = logging.getLogger(__name__)
_WARY_MAX: Final = 1_000  # texts that are known to fail


class Batch:
    """What is open on the writing connection, and the requests that are in it.

    Attributes:
        members: the requests in it; it is OPEN while there are any. Only the batch changes them.
        counts: what was written.
    """

    def __init__(self, connection: Connection, line: Line[Request], config: Config, path: Path) -> None:
        """Begin CLOSED."""
        # Guarded by the write role, but that anybody may read the numbers.
        self._connection = connection
        # Asked by its name each time: while somebody observes, the connection is of another class (`recording`, V1).
        self._commits_now: Callable[[], None] = partial(methodcaller("commit"), connection)
        self._line = line
        self._config = config
        self._path = path
        self._main = threading.main_thread().ident
        self.checkpointer: Checkpointer | None = None  # set once, before the first use
        # The WAL is looked at when `pages_written` is not between these any more; SQLite counts to 2**31, and anew.
        self._looked_at, self._looks_at = 0, 0.0
        self.members: list[Ticket[Request]] = []
        # Whether all members are statements; those that have failed where they had no savepoint.
        self._statements_only, self._wary = True, set[str]()
        self._batch_max, self._batch_s = config.batch_max, config.batch_s
        self._full_at = 0.0  # when the one that is open has lasted long enough
        self.ended_at = 0.0  # when the last one was committed
        self._last_members, self._took_s = 0, 0.0  # how many it had, and how long its commit took
        self._has_waited = False  # for more members
        self._unknown_at = -1  # how many commits had been made when the fate of one was logged to be unknown
        self.counts = Counts()

    @property
    def is_full(self) -> bool:
        """Whether it has gathered enough, by number or by time; for one that is OPEN."""
        return len(self.members) >= self._batch_max or clock.now() >= self._full_at

    def waits_for_more(self) -> bool:
        """Whether its commit will take long, and more may want to share it, as they did the last; True once a batch."""
        if self._took_s < DISK_S or self._has_waited or len(self.members) >= self._last_members:
            return False
        self._has_waited = True
        return True

    def open(self, deadline: float) -> bool:
        """Begin the transaction for the first member; False where another connection kept the lock past *deadline*.

        Raises:
            Error: SQLite cannot begin one.
        """
        begun = self._connection.begin_write(deadline)
        self._full_at = clock.now() + self._batch_s
        return begun

    def join(self, ticket: Ticket[Request]) -> None:
        """Do the work of *ticket*; what came of it is told at the commit."""
        self.members.append(ticket)
        self._line.joined(ticket)
        if ticket.started:
            ticket.value = ticket.error = None
        else:
            self.counts.waits.add(clock.now() - ticket.entered_at)
        text = ticket.work.text
        if len(self.members) == 1:
            saves = False
            self._statements_only = text is not None
        else:
            saves = text is None or not self._statements_only or ticket.started or text in self._wary
            self._statements_only = self._statements_only and text is not None
        if not self._attempt(ticket, saves=saves):
            self._lose(ticket, bare=not saves)
        elif ticket.alone:
            self.commit()

    def next(self, serves_until: float) -> Ticket[Request] | Step | None:
        """Return what `Line.advance` tells is next; a streak is done first, the short way: None tells to ask again."""
        step: Ticket[Request] | Step | None = self._line.advance(
            is_open=bool(self.members), serves_until=serves_until
        )
        if not isinstance(step, Ticket) or not self.members or not self._statements_only:
            return step
        connection, members, wary = self._connection, self.members, self._wary
        statement, full_at = connection.statement, self._full_at
        more = self._line.streak(serves_until, self._batch_max - len(members) - 1)
        outer, waits, now = sys.exception(), list[float](), clock.now()
        try:
            for ticket in chain((step,), more):
                members.append(ticket)  # first of all: what has been taken is never lost (B5)
                work = ticket.work
                params, text = work.params, work.text
                if params is None or text is None or ticket.started or text in wary or not work.begin():
                    members.pop()
                    return ticket
                waits.append(now - ticket.entered_at)
                try:
                    ticket.value = statement(text, params, now)
                except BaseException as error:  # noqa: BLE001 - the request's
                    self._note_failure(ticket, error, outer, saves=False)
                    self._lose(ticket, bare=True)
                    # The error has this frame, and is another's than the rest.
                    step, more, members = None, iter(()), []
                    return None
                now = clock.now()
                if now >= full_at:
                    break
            return None
        finally:
            connection.stop_at = clock.NEVER
            self.counts.waits.add_all(waits)

    def commit(self) -> None:
        """End it: every member hears its outcome, or they run again one by one."""
        members = self.members
        started = clock.now()
        try:
            self._commits_now()
        except Exception as error:  # noqa: BLE001 - a hook of on_connect may raise anything
            if not self._connection.committed:
                self._commit_failed(members, error)
                return
            self._came_late(error)
        self._line.finish(members)
        self.members = []
        self._count(started, len(members))

    def adopt(self, ticket: Ticket[Request], value: object) -> None:
        """Make *ticket*, whose work is done in the transaction that is open, the first member."""
        ticket.value = value
        self._full_at = ticket.entered_at + self._batch_s
        self._statements_only = ticket.work.text is not None
        self.members.append(ticket)
        self._line.joined(ticket)

    def commit_turn(self) -> None:
        """Commit what a thread that has the role for itself has open.

        Raises:
            OutcomeUnknown: it may be durable or not.
            Error: the commit failed and was rolled back.
        """
        started = clock.now()
        try:
            self._commits_now()
        except Exception as error:
            if not self._connection.committed:
                self._connection.rollback()
                if self._may_be_durable(error):
                    raise self._unknown() from error
                raise
            self._came_late(error)
        self._count(started, 1)

    def recover(self, ticket: Ticket[Request]) -> None:
        """End what is open after an interrupt struck the holder, whose ticket *ticket* is (B5), in its place.

        What that thread had asked for is rolled back if it was not committed; in either case it hears the interrupt.
        """
        committed, members = self._connection.committed, self.members
        self._connection.recover()
        if committed:
            self._line.finish(members)
        else:
            # Again: who waits for these may not have heard.
            self._line.finish([each for each in members if each.state is State.DONE])
            self._again([each for each in members if each is not ticket and each.state is not State.DONE])
        self.members = []
        self._line.finish((ticket,))

    def note_growth(self) -> None:
        """Have the WAL looked after soon: it has grown by other ways than a commit here."""
        if self.checkpointer is not None:
            self.checkpointer.nudge()

    # --- inside

    def _attempt(self, ticket: Ticket[Request], *, saves: bool) -> bool:
        """Run the work and keep its outcome; False where the whole transaction is lost with it (B3).

        It has a savepoint of its own where it *saves*.
        """
        connection = self._connection
        outer = sys.exception()  # what the holder is handling is not the request's
        connection.start_request()
        try:
            if saves:
                connection.save()
            ticket.value = ticket.work.run(connection)
            if not connection.end_request():
                raise broken_foreign_key()
            if saves:
                connection.release()
        except BaseException as error:  # noqa: BLE001 - the request's
            return self._note_failure(ticket, error, outer, saves=saves)
        return True

    def _note_failure(
        self, ticket: Ticket[Request], error: BaseException, outer: BaseException | None, *, saves: bool
    ) -> bool:
        """Keep the *error* of a run, and undo what it did where it *saves*; return as `_attempt`."""
        ticket.error = error
        ticket.struck = not isinstance(error, Exception) and threading.get_ident() == self._main
        if outer is not None:
            cut_history(error, outer)
        if self._connection.inherited:
            raise error  # in a forked child that came out of its parent's function, nothing here is its own
        if ticket.portable and isinstance(error, RecursionError):
            # Where another thread did it, the stack that came to its end was that thread's: its own does it anew.
            ticket.portable, ticket.error, saves = False, None, False
        kept = saves and self._undo()
        self._connection.end_request()
        return kept

    def _undo(self) -> bool:
        """Go back to the savepoint; False where there is no way back but to roll back everything."""
        if self._connection.killer() is not None:
            return False
        try:
            self._connection.go_back()
        except Error:
            _log.warning("%s: a savepoint could not be rolled back", self._path, exc_info=True)
            return False
        return True

    def _lose(self, culprit: Ticket[Request], *, bare: bool) -> None:
        """Roll the batch back and have its members run again; see the module for the culprit, which may be *bare*."""
        together = bare and self._connection.killer() is None
        self._connection.rollback()
        members = self.members
        if culprit.error is None:
            together = False
        elif len(members) == 1:
            self.counts.writes += 1
            self._line.finish((culprit,))
            members.remove(culprit)
        elif isinstance(culprit.error, StatementTimeout):
            culprit.settled = True
            self.counts.writes += 1
        elif together and culprit.work.text is not None:
            if len(self._wary) >= _WARY_MAX:
                self._wary.clear()
            self._wary.add(culprit.work.text)
        self._again(members, alone=not together)
        self.members = []

    def _count(self, started: float, writes: int) -> None:
        """Count a commit that began at *started*."""
        self.ended_at = clock.now()
        self._last_members, self._took_s, self._has_waited = writes, self.ended_at - started, False
        self.counts.committed(writes, self._took_s)
        if (turn := self._connection.turn) is not None and turn.held:
            turn.committed(writes, self._took_s)
        pages = self._connection.pages_written()[0]
        if not self._looked_at <= pages < self._looks_at:
            self._look_at_wal(pages)

    def _look_at_wal(self, pages: int) -> None:
        if self.checkpointer is None:
            self._looks_at = math.inf
        else:
            self._looked_at, self._looks_at = pages, pages + self.checkpointer.look_pages
            self.checkpointer.look(self._connection)

    def _commit_failed(self, members: list[Ticket[Request]], error: Exception) -> None:
        self._connection.rollback()
        if self._may_be_durable(error):
            for member in members:
                member.error = member.error or self._unknown(error)
        elif len(members) == 1:
            members[0].error = members[0].error or error
        else:
            self._again(members)
            self.members = []
            return
        self.counts.writes += len(members)
        self._line.finish(members)
        self.members = []

    def _came_late(self, error: Exception) -> None:
        """Deal with what was raised when a commit had been made: by a signal handler, which is told, or by a hook."""
        if threading.get_ident() == self._main and not isinstance(error, Error):
            raise error  # the handler of interrupts tells the members (B5)
        _log.warning("%s: raised after a commit, which stands", self._path, exc_info=error)

    def _again(self, members: list[Ticket[Request]], *, alone: bool = True) -> None:
        """Have *members* run again, but for those whose run was interrupted: they hear of that, and did nothing.

        Each has a commit of its own where they are to be *alone*.
        """
        struck = [each for each in members if each.struck]
        again = [each for each in members if each not in struck]
        self.counts.writes += len(struck)
        self._line.finish(struck)
        self.counts.reruns += sum(not each.settled for each in again)
        self._line.put_back(again, clock.now() + self._config.write_timeout_s, alone=alone)

    def _may_be_durable(self, error: Exception) -> bool:
        """Find out the fate of a commit that failed with *error*: a later one that succeeds takes its frames' place.

        A full disk leaves the first frame unwritten, or leaves room to write over it: with either nothing is left
        of the failed commit. That is so where a full disk is told by a write, as the platform's own VFS does.
        """
        if isinstance(error, Error) and not isinstance(error, (DiskError, DiskFull)):
            return False  # SQLite refused to commit, and wrote nothing
        try:
            self._connection.supersede(clock.now() + self._config.write_timeout_s)
        except DiskFull:
            return not isinstance(error, DiskFull) or self._config.vfs is not None
        except Exception:  # noqa: BLE001 - whatever it is, nothing took its place
            if self._unknown_at != self.counts.commits:  # once, until the disk has taken a commit again
                self._unknown_at = self.counts.commits
                _log.warning("%s: the fate of a failed commit is unknown", self._path, exc_info=True)
            return True
        return False

    def _unknown(self, cause: BaseException | None = None) -> OutcomeUnknown:
        msg = f"{self._path}: the commit failed on the disk, and it may or may not survive; read before trying again"
        error = OutcomeUnknown(msg, ran="unknown")
        error.__cause__ = cause
        return error
