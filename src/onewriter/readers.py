"""The read-only connections: few, lent out first come first served, and given back clean.

R1  At most ``readers_max`` connections are open; they are opened when first needed.
R2  Who asks first is served first: a reader that comes back goes straight to the one who has waited longest.
R3  A hand-over is accepted under the lock: a waiter whose deadline passed has left the queue, and a reader given to it
    a moment before is taken.
R4  A reader comes back with no transaction open; one that cannot be made clean is closed, and its place is free.
R5  A thread that holds every reader itself is told so at once: nobody else could end its wait.

All fields are guarded by ``_lock``, which is never held while a connection is opened, used or closed.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import clock
from .connection import Connection
from .errors import DatabaseClosed, Error, NestedRead, ReadTimeout
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
    """One lent reader: who has it, and since when."""

    __slots__ = ("connection", "name", "since", "thread")

    def __init__(self, connection: Connection | None) -> None:
        self.connection = connection  # None: the borrower is to open one; its place is counted
        self.thread = threading.get_ident()
        self.name = threading.current_thread().name
        self.since = clock.now()


class _Waiter:
    """One thread in the queue; ``loan`` is set under the pool's lock before ``wake`` is released."""

    __slots__ = ("loan", "refused", "thread", "thread_name", "wake")

    def __init__(self) -> None:
        self.loan: _Loan | None = None
        self.refused = False
        self.thread = threading.get_ident()
        self.thread_name = threading.current_thread().name
        self.wake = threading.Lock()
        self.wake.acquire()


class Readers:
    """The pool of one database."""

    def __init__(self, connect: Callable[[float], Connection], readers_max: int, path: Path) -> None:
        """Open readers with *connect*, which is given a deadline."""
        self._connect = connect
        self._readers_max = readers_max
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[Connection] = []  # last in, first out: its cache is warm
        self._lent: dict[_Loan, None] = {}
        self._waiting: OrderedDict[_Waiter, None] = OrderedDict()
        self._closed = False
        self._waits = Samples()
        self._retries_of_closed = 0
        self._emptied = threading.Lock()  # held while something is lent after the close
        self._emptied.acquire()

    @contextmanager
    def lend(self, deadline: float) -> Generator[Connection]:
        """Lend a reader for the length of a block, with no transaction open.

        Raises:
            ReadTimeout: none came free by *deadline*; nothing ran.
            NestedRead: the calling thread itself holds all of them.
            DatabaseClosed: the pool is closed.
        """
        loan = self._borrow(deadline)
        try:
            connection = loan.connection
            if connection is None:
                connection = loan.connection = self._connect(deadline)
            connection.busy_until = deadline
            connection.start_request()
            yield connection
        finally:
            self._give_back(loan)

    def close(self, deadline: float) -> bool:
        """Refuse new readers and those who wait, and close all; one still lent at *deadline* is closed on its return.

        Returns whether all are closed.
        """
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for waiter in self._waiting:
                waiter.refused = True
                waiter.wake.release()
            self._waiting.clear()
            quiet = not self._lent
        for connection in idle:
            self._discard(connection)
        if quiet:
            return True
        if self._emptied.acquire(timeout=clock.wait_s(deadline)):
            self._emptied.release()
            return True
        return False

    def is_held_here(self) -> bool:
        """Whether the calling thread has a reader: to wait for that one would be to wait for itself."""
        me = threading.get_ident()
        with self._lock:
            return any(loan.thread == me for loan in self._lent)

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

    def _borrow(self, deadline: float) -> _Loan:
        with self._lock:
            if self._closed:
                raise self._refusal()
            if not self._waiting and (self._idle or len(self._lent) < self._readers_max):
                self._waits.add(0.0)
                return self._lend_to(_Loan(self._idle.pop() if self._idle else None))
            mine = threading.get_ident()
            if all(loan.thread == mine for loan in self._lent):  # R5
                msg = (
                    f"this thread holds all {self._readers_max} readers itself and would wait for itself: read through "
                    "the transaction it has, or raise Config(readers_max=...)"
                )
                raise NestedRead(msg)
            waiter = _Waiter()
            self._waiting[waiter] = None
        return self._wait(waiter, deadline)

    def _lend_to(self, loan: _Loan) -> _Loan:
        self._lent[loan] = None
        return loan

    def _wait(self, waiter: _Waiter, deadline: float) -> _Loan:
        started = clock.now()
        try:
            waiter.wake.acquire(timeout=clock.wait_s(deadline))
        except BaseException:
            loan = self._leave(waiter)
            if loan is not None:
                self._give_back(loan)
            raise
        loan = self._leave(waiter)  # R3: the state is asked, not the wait's return value
        waited_s = clock.now() - started
        if loan is not None:
            self._waits.add(waited_s)
            return loan
        if waiter.refused:
            raise self._refusal()
        raise self._timed_out(waited_s)

    def _leave(self, waiter: _Waiter) -> _Loan | None:
        with self._lock:
            self._waiting.pop(waiter, None)
            return waiter.loan

    def _give_back(self, loan: _Loan) -> None:
        connection = loan.connection
        if connection is not None and connection.inherited:
            return  # in a forked child, it is the parent's
        if connection is not None and not self._clean(connection):
            connection = None
        surplus: Connection | None = None
        with self._lock:
            del self._lent[loan]
            if self._closed:
                surplus = connection
                if not self._lent:
                    self._emptied.release()
            elif self._waiting:
                waiter, _ = self._waiting.popitem(last=False)  # R2
                waiter.loan = self._lend_to(_Loan(connection))
                waiter.loan.thread, waiter.loan.name = waiter.thread, waiter.thread_name
                waiter.wake.release()
            elif connection is not None:
                self._idle.append(connection)
        if surplus is not None:
            self._discard(surplus)

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
