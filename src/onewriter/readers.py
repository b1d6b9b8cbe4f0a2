"""The read-only connections: few, lent out first come first served, and given back clean.

R1  At most ``readers_max`` connections are open; they are opened when first needed.
R2  Who asks first is served first: a reader that comes back goes straight to the one who has waited longest.
R3  A hand-over is accepted under the lock: a waiter whose deadline passed has left the queue, and a reader given to it
    a moment before is taken.
R4  A reader comes back with no transaction open; one that cannot be made clean is closed, and its place is free.
R5  A thread that holds every reader itself is told so at once: nobody else could end its wait.
R6  An interrupt (Ctrl-C, a signal handler that raises) may end any method here after any of its steps: the loan that a
    borrower made before he asked is given back by him, whatever had become of it by then, and what he left of the lock
    is released.

A loan is in ``_waiting``, then in ``_lent``, then in neither. All fields are guarded by ``_lock``, which is never held
while a connection is opened, used or closed.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from . import clock
from .connection import Connection
from .errors import DatabaseClosed, Error, NestedRead, ReadTimeout
from .locks import closed_lock, is_mine, let_go, wake_up
from .samples import Samples, Spread

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderStats:
    """The readers at one moment; durations in seconds."""

    readers_idle: int
    readers_lent: int
    read_wait_s: Spread
    busy_retries: int
    oldest_reader_s: float
    oldest_reader: str | None


class _Loan:
    """One lent reader, or the wait for one: who has it, and since when."""

    __slots__ = ("connection", "name", "refused", "since", "thread", "wake")

    def __init__(self) -> None:
        self.connection: Connection | None = None  # None once it is lent: the borrower is to open one
        self.refused = False
        self.thread = threading.get_ident()
        self.name = threading.current_thread().name
        self.since = clock.now()
        self.wake: threading.Lock | None = None  # released once it is lent, or refused


class Readers:
    """The pool of one database."""

    def __init__(self, connect: Callable[[float], Connection], readers_max: int, path: Path) -> None:
        """Open readers with *connect*, which is given a deadline."""
        self._connect = connect
        self._readers_max = readers_max
        self._path = path
        self._lock = threading.RLock()  # re-entrant for `let_go` alone (R6)
        self._idle: list[Connection] = []  # last in, first out: its cache is warm
        self._lent: dict[_Loan, None] = {}
        self._waiting: OrderedDict[_Loan, None] = OrderedDict()
        self._closed = False
        self._waits = Samples()
        self._retries_of_closed = 0
        self._emptied = closed_lock()  # news that nothing is lent after the close

    @contextmanager
    def lend(self, deadline: float) -> Generator[Connection]:
        """Lend a reader for the length of a block, with no transaction open.

        Raises:
            ReadTimeout: none came free by *deadline*; nothing ran.
            NestedRead: the calling thread itself holds all of them.
            DatabaseClosed: the pool is closed.
        """
        if is_mine(self._lock):
            msg = f"{self._path}: a read inside the library's own bookkeeping, from a signal handler or a finalizer"
            raise NestedRead(msg)
        loan = _Loan()
        try:
            try:
                self._borrow(loan, deadline)
                connection = loan.connection
                if connection is None:
                    connection = loan.connection = self._connect(deadline)
                connection.busy_until = deadline
                connection.start_request()
                yield connection
            finally:
                self._give_back(loan)
        except BaseException:
            let_go(self._lock)
            self._give_back(loan)  # again, since an interrupt may have struck as it began (R6)
            raise

    def close(self, deadline: float) -> bool:
        """Refuse new readers and those who wait, and close all; one still lent at *deadline* is closed on its return.

        Returns whether all are closed.
        """
        try:
            quiet = self._refuse_all()
        except BaseException:
            let_go(self._lock)
            raise
        if not quiet:
            self._emptied.acquire(timeout=clock.wait_s(deadline))
        if self._lent:
            return False
        wake_up(self._emptied)  # for the next who waits
        return True

    def _refuse_all(self) -> bool:
        """Close the idle readers and refuse those who wait; return whether none is lent."""
        with self._lock:
            self._closed = True
            for loan in list(self._waiting):
                loan.refused = True
                del self._waiting[loan]
                _wake(loan)
        while True:
            with self._lock:
                if not self._idle:
                    return not self._lent
                connection = self._idle[-1]
            self._discard(connection)  # again, where an interrupt struck: it does no harm
            with self._lock, suppress(ValueError):
                self._idle.remove(connection)

    @property
    def is_empty(self) -> bool:
        """Whether no reader is open or lent at this moment."""
        return not self._lent and not self._idle

    def is_held_here(self) -> bool:
        """Whether the calling thread has a reader: to wait for that one would be to wait for itself."""
        me = threading.get_ident()
        if is_mine(self._lock):
            return True
        try:
            with self._lock:
                return any(loan.thread == me for loan in self._lent)
        except BaseException:
            let_go(self._lock)
            raise

    def stats(self) -> ReaderStats:
        """Return the state of this moment."""
        with self._lock:
            lent = list(self._lent)
            oldest = min(lent, key=lambda loan: loan.since, default=None)
            connections = [*self._idle, *(loan.connection for loan in lent if loan.connection)]
            return ReaderStats(
                readers_idle=len(self._idle),
                readers_lent=len(lent),
                read_wait_s=self._waits.spread(),
                busy_retries=self._retries_of_closed + sum(each.busy_retries for each in connections),
                oldest_reader_s=clock.now() - oldest.since if oldest else 0.0,
                oldest_reader=oldest.name if oldest else None,
            )

    # --- inside

    def _borrow(self, loan: _Loan, deadline: float) -> None:
        with self._lock:
            if self._closed:
                raise self._refusal()
            if not self._waiting and (self._idle or len(self._lent) < self._readers_max):
                self._lent[loan] = None
                if self._idle:
                    loan.connection = self._idle[-1]
                    del self._idle[-1]
                self._waits.add(0.0)
                return
            if all(each.thread == loan.thread for each in self._lent):  # R5
                msg = (
                    f"this thread holds all {self._readers_max} readers itself and would wait for itself: read through "
                    "the transaction it has, or raise Config(readers_max=...)"
                )
                raise NestedRead(msg)
            wake = loan.wake = closed_lock()
            self._waiting[loan] = None
        wake.acquire(timeout=clock.wait_s(deadline))
        waited_s = clock.now() - loan.since
        with self._lock:  # R3: the state is asked, not the wait's return value
            self._waiting.pop(loan, None)
            lent = loan in self._lent
            loan.since = clock.now()
        if lent:
            self._waits.add(waited_s)
        elif loan.refused:
            raise self._refusal()
        else:
            raise self._timed_out(waited_s)

    def _give_back(self, loan: _Loan) -> None:
        connection = loan.connection
        if connection is not None and connection.inherited:
            return  # in a forked child, it is the parent's
        try:
            if not self._is_out(loan):
                return
            if connection is not None and not self._clean(connection):
                connection = None
            surplus = self._take_back(loan, connection)
            if surplus is not None:
                self._discard(surplus)
        except BaseException:
            let_go(self._lock)
            self._take_back(loan, None)  # the connection, which may be half-cleaned, is left to the collector
            raise

    def _is_out(self, loan: _Loan) -> bool:
        """Whether *loan* is lent; one that waits is taken out of the queue."""
        with self._lock:
            self._waiting.pop(loan, None)
            return loan in self._lent

    def _take_back(self, loan: _Loan, connection: Connection | None) -> Connection | None:
        """End *loan*; pass *connection* on to who waited longest, or keep it; return it if it is to be closed."""
        with self._lock:
            self._waiting.pop(loan, None)
            if loan not in self._lent:
                return None
            if self._closed:
                del self._lent[loan]
                if not self._lent:
                    wake_up(self._emptied)
                return connection
            if self._waiting:  # R2
                heir = next(iter(self._waiting))
                heir.connection = connection
                self._lent[heir] = None
                del self._lent[loan]
                del self._waiting[heir]
                _wake(heir)
                return None
            if connection is not None and connection not in self._idle:
                self._idle.append(connection)
            del self._lent[loan]
            return None

    def _clean(self, connection: Connection) -> bool:
        """Make sure that nothing is open on *connection* (R4)."""
        if connection.is_idle():
            return True
        try:
            connection.rollback()
        except Error:
            _log.warning("%s: a reader could not be cleaned and was closed", self._path, exc_info=True)
        if connection.is_idle():
            return True
        self._discard(connection)
        return False

    def _discard(self, connection: Connection) -> None:
        with self._lock:
            self._retries_of_closed += connection.busy_retries
        connection.close()

    def _refusal(self) -> DatabaseClosed:
        return DatabaseClosed(f"{self._path} is closed")

    def _timed_out(self, waited_s: float) -> ReadTimeout:
        with self._lock:
            held = ", ".join(f"{loan.name} for {clock.now() - loan.since:.3g} s" for loan in self._lent)
        msg = (
            f"{self._path}: no reader came free in {waited_s:.3g} s; all {self._readers_max} are held: {held}"
        )
        return ReadTimeout(msg, held_by="line")


def _wake(loan: _Loan) -> None:
    if loan.wake is not None:
        wake_up(loan.wake)
