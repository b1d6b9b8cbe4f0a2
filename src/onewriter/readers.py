"""The read-only connections: few, lent out first come first served, and given back clean.

R1  There are ``readers_max`` readers, each with one connection at most, which is opened when it is first needed, and
    closed where it broke or could not be made clean.
R2  A reader is lent by one step that cannot be divided, ``holders.setdefault(reader, loan) is loan``, and comes back
    by deleting that entry: no lock. The loan, a tuple made for the call, says who has it, since when and for what.
R3  A thread's home is the reader that it used last; it is tried first, and by that thread alone is it taken while
    others wait. Whoever finds his home taken asks for any free one; where there is none, or somebody waits already, he
    joins the queue.
R4  Who has waited longest is served first. ``watched`` is set, under the lock, *before* a waiter looks for a free
    reader a last time; who gives back deletes the entry *before* he looks at ``watched``. So one of the two sees the
    other.
R5  While others wait, a thread that reads again and again keeps the reader that it was handed as its home for
    ``STAY_S``: to hand it over after each short read would cost a thread switch each (a fifth of the rate at 16
    threads). That it does is told by how soon it came back last time. Where it does not come back this time, a waiter
    finds the reader, since waiters look again from time to time.
R6  A reader comes back with no transaction open, judged by ``txn_state``. One whose statement ran to its end has none.
R7  A thread that holds every reader itself is told so at once: nobody else could end its wait.
R8  An interrupt (Ctrl-C, a signal handler that raises) may end any method here after any of its steps: `end` then finds
    by the loan whatever had become of it, and does no harm a second time. So it is called again by the same thread
    where the first call was struck. Where the second is struck too, `rescue` does it on a thread of its own, which no
    signal reaches; the loan is ``given_up`` from then on, and no longer its thread's.
R9  A reader whose thread ended in the middle of a block is taken back by who needs one.
R10 A block that grows old is ended under its gate by the watch, and its reader stays lent. Who gives that back, or
    takes it back, claims the block before he touches the connection (`blocks`, E3).

Guards: ``holders`` by R2, an entry being added by whoever has the loan, or by who hands over, and deleted by whoever
has it (or R9, under the lock). Everything else is written under ``_lock``, which is never held while a connection is
opened, used or closed; ``homes``, ``watched`` and ``stay_until`` are read without it, and ``_left`` is written without
it, by each thread for itself.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Final

from . import clock
from .blocks import Block
from .custody import CLOSED, shut, take_from_the_dead, take_over
from .errors import DatabaseClosed, NestedRead, ReadTimeout
from .gates import ENDED
from .helpers import apart
from .lent import Lent, ReaderStats, all_lent, oldest, stats_of
from .loans import Loan, Waiter, is_of_the_dead, is_of_this_thread
from .locks import closed_lock, is_mine, is_within, let_go, wake_up
from .reader import Reader, ReadingConnection
from .samples import Samples

_start_new_thread = _thread.start_new_thread

STAY_S: Final = 0.002
_SOON_S: Final = 0.0005
_LEFT_MAX: Final = 256
# Until the first look of a waiter who is next; each later one comes after twice the time.
_LOOK_S: Final = 0.002
_LOOK_S_MAX: Final = 0.05


class Readers:
    """The pool of one database.

    Attributes:
        holders: who has which reader (R2).
        homes: by a thread's identifier, the reader that it used last (R3).
        watched: somebody waits, or the pool is closed: who gives a reader back is to call `look_around`.
        given_up: what was left to `rescue` last; written by the thread that leaves it, before that begins (R8).
    """

    def __init__(self, connect: Callable[[float], ReadingConnection], readers_max: int, path: Path) -> None:
        """Open readers with *connect*, which is given a deadline."""
        self._connect = connect
        self._path = path
        self._readers = tuple(Reader() for _ in range(readers_max))
        self.holders: dict[Reader, Loan] = {}
        self.homes: dict[int, Reader] = {}
        self.watched = False
        self.given_up: Loan | None = None
        self._lock = threading.RLock()  # re-entrant for `let_go` alone (R8)
        self._waiting: dict[Waiter, None] = {}  # in the order of their coming
        # By a thread's identifier, when it gave back last while others waited (R5).
        self._left: dict[int, float] = {}
        self._closed = self._forked = False
        # Told when a new snapshot is too old, and called when all are closed; both do nothing yet.
        self.at_block: Callable[[float], object] = float
        self.at_end: Callable[[], object] = float
        self._waits = Samples()
        self.count_free = self._waits.count_none
        self._emptied = closed_lock()  # news that nothing is lent after the close

    # --- lending

    def borrow(self, loan: Loan, deadline: float) -> Reader:
        """Lend any reader; its connection may be still to be opened, see `ready`.

        Raises:
            ReadTimeout: none came free by *deadline*; nothing ran.
            NestedRead: the calling thread itself holds all of them.
            DatabaseClosed: the pool is closed.
        """
        if is_mine(self._lock):
            msg = f"{self._path}: a read inside the library's own bookkeeping, from a signal handler or a finalizer"
            raise NestedRead(msg)
        try:
            reader, waiter = self._ask(loan)
            if waiter is not None:
                reader = self._wait(waiter, deadline)
            assert reader is not None, "either is there"
            return reader
        except BaseException:
            let_go(self._lock)
            raise

    def ready(self, reader: Reader, deadline: float) -> ReadingConnection:
        """Return the connection of a *reader* that was lent, opened where it has none, ready for a request."""
        connection = reader.connection
        if connection is None:
            connection = reader.connection = self._connect(deadline)
        connection.begin_request(deadline)
        return connection

    def give_back(self, reader: Reader) -> None:
        """Take back a reader that is clean, from who has it."""
        del self.holders[reader]
        if self.watched:
            self.look_around(reader)

    def end(self, loan: Loan) -> None:
        """End *loan*, whatever had become of it (R8): clean what it has, and leave the queue."""
        if self._forked:
            return  # all is the parent's
        try:
            self._leave(loan)
            if is_of_the_dead(loan):
                take_from_the_dead(self, self._lent(), self._path)  # which others may be at, too
                return
            reader = self._readers[0]
            for reader, held in self.holders.copy().items():
                if held is loan:
                    if loan[3] is not None:
                        loan[3].claim(ENDED)  # R10
                    reader.clean()
                    self.give_back(reader)
                    return
            if self.watched:  # an interrupt may have come between giving back and telling those who wait
                self.look_around(reader)
        finally:  # an interrupt may have left it held, and another may have struck who was to let it go
            if is_mine(self._lock) and not is_within(self, _METHODS, 2):
                let_go(self._lock)

    @contextmanager
    def lend(self, deadline: float, block: Block) -> Generator[ReadingConnection]:
        """Lend a reader for the length of *block*; raises as `borrow`."""
        loan: Loan = (threading.get_ident(), clock.now(), block.doing, block)
        try:
            try:
                reader = self.borrow(loan, deadline)
                yield self.ready(reader, deadline)
            finally:
                self.end(loan)
        except BaseException:
            try:
                self.end(loan)  # again, since an interrupt may have struck as it began (R8)
            except BaseException:  # and another one now: nothing is called before the rescue
                self.given_up = loan
                _start_new_thread(apart, ("rescue", self.rescue, loan))
                raise
            raise

    def rescue(self, loan: Loan) -> None:
        """End *loan* in the place of its thread, which was interrupted again while it did; by any number of threads."""
        if self._forked:
            return
        self._leave(loan)
        for reader, held in self._lent():
            if held is loan:
                take_over(self, reader, loan)
        if self.watched:  # as in `end`
            self.look_around(self._readers[0])

    def replace(self, reader: Reader, loan: Loan, mine: Loan) -> bool:
        """Put *mine* in the place of *loan*; False where that does not have *reader* any more (`custody`, Y1)."""
        with self._lock:
            if self.holders.get(reader) is not loan:
                return False
            self.holders[reader] = mine
            return True

    def look_around(self, reader: Reader) -> None:
        """Serve who waits, after *reader* was given back; or end what `close` has left (R4, R5)."""
        now = clock.now()
        if len(self._left) > _LEFT_MAX:
            self._left.clear()
        self._left[threading.get_ident()] = now
        if not self._closed and now < reader.stay_until:
            return
        if is_mine(self._lock):
            return  # a finalizer, in the middle of this thread's own bookkeeping: a waiter looks himself
        try:
            if self._closed:
                self._shut_all()
                return
            with self._lock:
                self._serve()
        except BaseException:
            let_go(self._lock)
            raise

    # --- the end

    def close(self, deadline: float) -> bool:
        """Refuse new readers and those who wait, and close all; one still lent at *deadline* is closed on its return.

        Returns whether all are closed.
        """
        try:
            self._refuse_all()
            self._shut_all()
        except BaseException:
            let_go(self._lock)
            raise
        while not self.is_empty:
            if not self._emptied.acquire(timeout=clock.wait_s(deadline)):
                return False
        wake_up(self._emptied)  # for the next who waits
        return True

    def disown(self) -> None:
        """In a forked child: leave all as it is."""
        self._forked = True
        self.homes.clear()

    @property
    def is_empty(self) -> bool:
        """Whether no reader is open or lent at this moment."""
        return self._lent() == [] and all(reader.connection is None for reader in self._readers)

    def is_held_here(self) -> bool:
        """Whether the calling thread has a reader: to wait for that one would be to wait for itself."""
        return is_mine(self._lock) or any(self._is_here(loan) for _, loan in self._lent())

    def loans(self) -> list[Loan]:
        """Return what is lent at this moment."""
        return [loan for _, loan in self._lent()]

    def oldest(self) -> tuple[str, float] | None:
        """Return the read that has kept its snapshot longest, and with it the WAL: who and for what, and since when.

        That is a moment of the monotonic clock, in seconds. None where nobody reads, but in blocks that were ended.
        """
        return oldest(self._lent())

    def late(self, since: float, sql: str) -> ReadTimeout:
        """Return the error for who has waited for a reader in vain since *since*, for *sql*."""
        return all_lent(self._path, self._lent(), (0, since, sql, None))

    def stats(self) -> ReaderStats:
        """Return the state of this moment."""
        with self._lock:
            waits = self._waits.spread()
        return stats_of(self._readers, self._lent(), waits)

    # --- inside

    def _ask(self, loan: Loan) -> tuple[Reader | None, Waiter | None]:
        """Return a free reader, or a place in the queue."""
        take_from_the_dead(self, self._lent(), self._path)
        with self._lock:
            if self._closed:
                raise self._refusal()
            for reader, held in self._lent():
                if held is loan:
                    return reader, None  # its home, which has no connection any more
            self.watched = True  # R4
            if not self._waiting:
                for reader in self._readers:
                    if self.holders.setdefault(reader, loan) is loan:
                        self.watched = False
                        self._settle(reader, loan, 0.0)
                        self.count_free(0.0)
                        return reader, None
            mine = sum(self._is_here(each) for _, each in self._lent())
            if mine == len(self._readers):  # R7; others may have come back since, or gone
                self.watched = bool(self._waiting)
                msg = (
                    f"this thread holds all {len(self._readers)} readers itself and would wait for itself: read "
                    "through the transaction it has, or raise Config(readers_max=...)"
                )
                raise NestedRead(msg)
            waiter = Waiter(loan)
            self._waiting[waiter] = None
            return None, waiter

    def _wait(self, waiter: Waiter, deadline: float) -> Reader:
        """Wait until *waiter* is served."""
        look_s = _LOOK_S * (1 + len(self._waiting) / len(self._readers))
        reader = None
        while reader is None:
            waiter.wake.acquire(timeout=min(look_s, _LOOK_S_MAX, clock.wait_s(deadline)))
            reader = waiter.reader or self._look_for(waiter, deadline)
            look_s *= 2
        with self._lock:
            self._waiting.pop(waiter, None)  # an interrupt may have struck who served it in the middle (R8)
            self._waits.add(clock.now() - waiter.loan[1])
        return reader

    def _look_for(self, waiter: Waiter, deadline: float) -> Reader | None:
        """See whether a reader is free that nobody tells of (R5, R9); raise where there is none to wait for."""
        if waiter.refused:
            raise self._refusal()
        take_from_the_dead(self, self._lent(), self._path)
        with self._lock:
            self._serve()
            if waiter.reader is None and clock.now() >= deadline:  # the state is asked, under the lock
                raise all_lent(self._path, self._lent(), waiter.loan)
            found: Reader | None = waiter.reader
            return found

    def _serve(self) -> None:
        """Hand free readers to those who have waited longest; the caller has the lock.

        An interrupt may have left one here that was handed its reader only half (R8): it is served as if it came first.
        """
        for reader, loan in self._lent():
            waiter = next((each for each in self._waiting if each.loan is loan), None)
            if waiter is not None:
                self._hand(reader, waiter)
        for reader in self._readers:
            if not self._waiting:
                break
            waiter = next(iter(self._waiting))
            if self.holders.setdefault(reader, waiter.loan) is waiter.loan:
                self._settle(reader, waiter.loan, clock.now())
                self._hand(reader, waiter)
        self.watched = self._closed or bool(self._waiting)

    def _hand(self, reader: Reader, waiter: Waiter) -> None:
        """Tell *waiter* that *reader* is his; the caller has the lock."""
        waiter.reader = reader
        wake_up(waiter.wake)
        del self._waiting[waiter]

    def _settle(self, reader: Reader, loan: Loan, now: float) -> None:
        """Make *reader* the home of who has it (R3); the caller has the lock. *now* is 0 where nobody waits."""
        if self.homes.get(reader.home_of) is reader:
            del self.homes[reader.home_of]
        left_at = self._left.get(loan[0])
        comes_soon = left_at is not None and loan[1] - left_at < _SOON_S
        reader.lent_at, reader.stay_until = now, now + STAY_S if comes_soon else 0.0
        reader.home_of = loan[0]
        self.homes[loan[0]] = reader

    def _leave(self, loan: Loan) -> None:
        """Leave the queue, where *loan* waits in it."""
        for waiter in self._waiting.copy():
            if waiter.loan is loan:
                with self._lock:
                    self._waiting.pop(waiter, None)
                    self._serve()

    def _is_here(self, loan: Loan) -> bool:
        return loan is not self.given_up and is_of_this_thread(loan)

    def _refuse_all(self) -> None:
        """Refuse those who wait, and all who come."""
        with self._lock:
            self._closed = self.watched = True
            self.homes.clear()
            for waiter in list(self._waiting):
                waiter.refused = True
                del self._waiting[waiter]
                wake_up(waiter.wake)

    def _shut_all(self) -> None:
        """After the close: close every reader for good that is not lent; its borrower then comes here too."""
        for reader in self._readers:
            try:
                shut(self, reader)
            finally:
                self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self.is_empty:
            wake_up(self._emptied)
            self.at_end()

    def _lent(self) -> list[Lent]:
        return [(reader, loan) for reader, loan in self.holders.copy().items() if loan is not CLOSED]

    def _refusal(self) -> DatabaseClosed:
        return DatabaseClosed(f"{self._path} is closed")


_METHODS: Final = {each.__code__ for each in vars(Readers).values() if isinstance(each, FunctionType)}
