"""The turn among processes: which of them may write next.

It is told by what all who may write have mapped, a side file of the database, and by locks on it (`roll`, `turnfile`).

P1  SQLite's write lock decides who writes; the turn decides in which order processes ask for it. So whatever is wrong
    with the side file, or is done to it, costs fairness and never a write.
P2  Who has byte 0 locked has the turn. It is asked for without waiting, and again when who had it rings, or after a
    pause, up to the deadline of the call: no thread is ever blocked in a lock that nothing could wake.
P3  First come, first served: who finds the turn taken, or others waiting, writes down since when it waits, and takes
    the turn only while no other has waited longer.
P4  Who waits writes down every few milliseconds that it still does. One that has not for a while (stopped, or without
    a processor) is passed over; one that has ended at once, since a place is a lock, too.
P5  A process whose threads share commits, which wait for the disk, gives the turn to who waits after each: meanwhile
    its threads gather for the next. Any other keeps it for ``TURN_S`` while it has something to write. Where its line
    is empty for a moment, it gives up the lock and reserves the turn for ``RESERVED_NS``: its thread has just been told
    its outcome, and comes again sooner than another process could. Nobody has to end a reservation.
P6  A process that is alone takes no lock. Each newcomer leaves a token of its own on the page; who is alone compares
    it with the one that it saw when it looked, and looks again where that has changed.

Within the process the turn belongs to one `Contender`, by a step that cannot be divided: ``owner.setdefault``.
A contender is used by the holder of its database's write role alone. An interrupt may strike any step; `give`, which
`Connection.recover` calls, makes good whatever was left.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, TypeVar

from . import files
from .errors import Error
from .locks import holding, is_mine, let_go
from .roll import NEWCOMER, NOBODYS, PLACE_BYTE, PLACES, RESERVED_NS, Holder, Roll
from .turnfile import Unusable

_log = logging.getLogger(__name__)
T = TypeVar("T")
TURN_S: Final = 0.002
DISK_S: Final = 0.0001  # a commit that lasts longer waited for the disk
_SHARES: Final = 16
# Between two looks of who is next, since nobody rings for the dead, or for a reservation.
_FIRST_S: Final = 0.0005
_OTHERS_S: Final = 0.005
_LONGEST_S: Final = 0.01
_ASK_NS: Final = 20_000_000  # silent for so long: is it alive?
_PASS_NS: Final = 250_000_000  # alive, and silent for so long: passed over
_LOOK_NS: Final = 1_000_000_000  # between two looks whether it is alone again

_lock = threading.RLock()  # re-entrant for `let_go` alone
_pages: dict[tuple[int, int], _Shared] = {}  # of this process, by device and inode; guarded by _lock


class _Shared:
    """A page, and who in this process uses it."""

    def __init__(self, page: Roll) -> None:
        self.page = page
        self.owner: dict[int, Contender] = {}  # {0: who has the turn}
        self.places: dict[int, Contender] = {}  # guarded by the module's _lock


class Contender:
    """One database that may write, among the processes that have its file open.

    Attributes:
        held: it has the turn.
        waits_since: since when it waits for it, in nanoseconds; 0: it does not.
        missed: it has asked for the turn, and has not had it since.
        words: the page; at 0 is the token of the newest comer.
        alone: that token, when it was found to be alone; 0: it is not.
        at_wait: called again and again while it waits for other processes.
    """

    def __init__(self, shared: _Shared, place: int) -> None:
        """Take *place*, which is locked."""
        self.held = False
        self.waits_since = 0
        self.missed = False
        self.alone = 0
        self.at_wait: Callable[[], object] = int
        self.words = shared.page.words
        self._shared = shared
        self._page = shared.page
        self._place = place
        self._gathers = False  # the threads of this process gather while others have their turn (P5)
        self._shares = 0  # so many commits more are taken for shared
        self._since = 0  # when the turn began that it has, or that is reserved for it
        self._looked_at = 0  # when it was found not to be alone
        self._broken = False  # its locks do not work any more
        self._page.enter(place)

    def ready(self, deadline: float) -> bool:
        """Have the turn for another transaction, or find that none is needed; False where it did not come in time."""
        if self.held:
            if not self._is_due():
                return True
            self.give()
        elif self._is_alone() or self._resume():
            return True
        elif self._page.reserved_last() == self._place:
            self._page.reserve(NOBODYS, 0)
            self._page.ring_first()  # nobody was told that the reservation is over
        return self.take(deadline)

    def take(self, deadline: float) -> bool:
        """Have the turn, also where nobody else is there; False where it did not come by *deadline*."""
        if self.held or self._broken:
            return True
        if not self._page.is_wanted and self._try(time.monotonic_ns()):
            return True
        self.missed = True
        self.waits_since = time.monotonic_ns()
        try:
            return self._wait(deadline)
        finally:
            self._page.forget(self._place)
            self.waits_since = 0

    def committed(self, writes: int, seconds: float) -> None:
        """Note that the commit of so many *writes* has taken *seconds*."""
        self._shares = _SHARES if writes > 1 else max(0, self._shares - 1)
        self._gathers = self._shares > 0 and seconds >= DISK_S

    def rest(self) -> None:
        """Give up the turn where nobody of this process waits to write; reserve what is left of it (P5)."""
        if self._page.is_wanted and not self._is_due():
            until = min(self._since + int(TURN_S * 1e9), time.monotonic_ns() + RESERVED_NS)
            self._page.reserve(self._place, until)
        self.give()

    def give(self) -> None:
        """Give up the turn, or what an interrupt has left of taking it."""
        owner = self._shared.owner
        self._page.end(self._place)
        self.waits_since = 0
        if owner.get(0) is self:
            try:
                self._page.unlock(0)
            except OSError as error:  # pragma: no cover - the system's lock table is in disorder
                self._fail(error)
            owner.pop(0, None)
            self._page.ring_first()
        self.held = False

    def note_lock(self, *, waits: bool) -> None:
        """Tell the others whether, having the turn, it waits for SQLite's lock, which another keeps out of turn."""
        if self.held:
            self._page.note_lock(self._place, waits=waits)

    def holder(self) -> Holder | None:
        """Return who has the turn, if another has; where this one has missed it, who was to have it first."""
        owner = self._shared.owner.get(0)
        pid = os.getpid() if owner is not None and owner is not self else self._locker(0)
        if pid is None:
            return self._first() if self.missed else None
        return self._page.holder(pid, self._place)

    def is_last(self) -> bool:
        """Whether nobody else has the database open for writing through this library, looked at afresh."""
        with suppress(ValueError):  # it has left, and the page is closed
            self._look()
            return self._broken or self.words[NEWCOMER] == self.alone
        return False

    def has_process(self, pid: int) -> bool:
        """Whether the process *pid* has the database open for writing through this library, this contender apart."""
        if pid == os.getpid():
            return len(self._shared.places) > 1
        places = (place for place, its in enumerate(self._page.pids()) if its)
        return any(self._locker(PLACE_BYTE + place) == pid for place in places)

    def leave(self) -> None:
        """Give up the place; nobody uses it any more. A second time does nothing."""
        shared = self._shared
        try:
            with _lock:
                if shared.places.get(self._place) is not self:
                    return
                with suppress(ValueError, OSError):  # an interrupt struck after the page was closed
                    self.give()
                    self._page.leave(self._place)
                    self._page.unlock(PLACE_BYTE + self._place)
                if len(shared.places) == 1:
                    self._page.close()
                    if _pages.get(self._page.key) is shared:
                        del _pages[self._page.key]
                del shared.places[self._place]
        except BaseException:
            let_go(_lock)
            raise

    # --- inside

    def _resume(self) -> bool:
        """Go on with the turn that was reserved, if it still is."""
        return self._page.reserved_for() == self._place and self._try(self._since)

    def _try(self, since: int) -> bool:
        """Have the turn that begins, or began, at *since*, if nobody has it."""
        owner = self._shared.owner
        if self._page.reserved_for() not in (None, self._place):
            return False
        if owner.setdefault(0, self) is not self:
            return False  # another database of this process has it
        try:
            if not self._page.lock(0):
                del owner[0]
                return False
        except OSError as error:
            self._fail(error)
        self.held = True
        self.missed = self._gathers = False
        self._since = since
        self._page.begin(self._place, since)
        return True

    def _wait(self, deadline: float) -> bool:
        place, page = self._place, self._page
        while True:
            heard = page.bell(place)  # before the look: a ring after it ends the wait at once
            page.want(place, self.waits_since)  # again: another may have taken us for dead
            before = self._count_before()
            if before == 0 and self._try(time.monotonic_ns()):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.at_wait()
            # Where the wait is long, a tenth of it more does not matter.
            waited_s = (time.monotonic_ns() - self.waits_since) / 1e9
            pause = max(_OTHERS_S if before else _FIRST_S, waited_s / 10)
            page.listen(place, heard, min(pause, _LONGEST_S, left))

    def _count_before(self) -> int:
        """Return how many have waited longer (P3), but for those that are dead or stopped (P4)."""
        mine = (self.waits_since, self._place)
        return sum(self._is_there(each[1]) and each < mine for each in self._page.waiting())

    def _first(self) -> Holder:
        """Return who has waited for the longest, or who has the turn reserved, if anybody still does."""
        places = sorted(each for each in self._page.waiting() if each[1] != self._place)
        place = places[0][1] if places else self._page.reserved_last()
        known = place < PLACES and place != self._place
        known = known and (place in self._shared.places or self._locker(PLACE_BYTE + place) is not None)
        return Holder(self._page.pid(place) if known else None, None, waits=False)

    def _is_there(self, place: int) -> bool:
        silent = self._page.silent_ns(place)
        if 0 <= silent < _ASK_NS:
            return True
        if place not in self._shared.places and self._locker(PLACE_BYTE + place) is None:
            self._page.forget(place)
            return False
        return 0 <= silent < _PASS_NS  # less than 0: from before the system was started anew

    def _is_due(self) -> bool:
        """Whether others wait for the turn that this one has had for long enough (P5)."""
        is_over = self._gathers or time.monotonic_ns() - self._since >= TURN_S * 1e9
        return is_over and self._page.is_wanted

    def _is_alone(self) -> bool:
        if self._broken:
            return True
        if self.words[NEWCOMER] != self.alone and time.monotonic_ns() - self._looked_at >= _LOOK_NS:
            self._look()
        return self.words[NEWCOMER] == self.alone

    def _look(self) -> None:
        """See whether anybody else is there (P6): in this order, so that no newcomer is missed."""
        token, self.alone = self.words[NEWCOMER], 0
        if len(self._shared.places) == 1 and self._locker(PLACE_BYTE, PLACES) is None:
            self.alone = token
            self.missed = False
        else:
            self._looked_at = time.monotonic_ns()

    def arrive(self) -> None:
        """Tell those that are alone that they are not any more, and see whether anybody is there."""
        self.words[NEWCOMER] = int.from_bytes(os.urandom(8)) >> 1 | 1
        self._look()

    def _locker(self, byte: int, count: int = 1) -> int | None:
        try:
            return self._page.locker(byte, count)
        except OSError as error:
            self._fail(error)
            return None

    def _fail(self, error: OSError) -> None:
        if _is_strange(error):
            raise error
        if not self._broken:
            self._broken = True
            _log.warning("the locks of the turn file fail (%s): the order among processes is SQLite's", error)


class Member(Protocol):
    """What takes part in the turn: a writing connection."""

    turn: Contender | None


def join(path: Path, mode: int, member: Member) -> None:
    """Take a place for *member* among the processes that write to the database at *path*.

    ``member.turn`` is the place from the moment that there is one, so that it has an owner wherever an interrupt
    strikes: who calls this must see to it that the place is left. It is None, and why is logged, where there can be no
    turn: then SQLite's own locks alone decide who writes, and who waits polls, in no order.
    """
    side = files.beside(path, files.TURN)
    try:
        with _lock:
            _join(side, mode, member)
    except BaseException as error:
        let_go(_lock)
        if not isinstance(error, (OSError, ValueError, Error, Unusable)) or _is_strange(error):
            raise
        if member.turn is not None:  # what a signal handler raised may be one of these, and come after all
            member.turn.leave()
            member.turn = None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _log.warning(
            "%s cannot be used, so that processes that write to the database wait in no order: %s",
            side,
            reason,
        )


def beside_own(key: tuple[int, int], look: Callable[[Roll | None, frozenset[int], int | None], T]) -> T:
    """Return what *look* makes of this process's page of the file *key*, its places there, and which has the turn.

    Without one (None) *look* may open the file and close it: nobody here opens a page meanwhile, or it is `Unusable`.
    """
    if is_mine(_lock):
        raise Unusable("it is being opened or closed this moment")
    return holding(_lock, lambda: look(*_own(key)))


def _own(key: tuple[int, int]) -> tuple[Roll | None, frozenset[int], int | None]:
    shared = _pages.get(key)
    if shared is None or shared.page.is_closing:
        return None, frozenset(), None
    has_it = (place for place, each in shared.places.items() if each is shared.owner.get(0))
    return shared.page, frozenset(shared.places), next(has_it, None)


def _is_strange(error: Exception) -> bool:
    """Whether it is a signal handler's; some of our own are OSErrors too."""
    return isinstance(error, OSError) and not isinstance(error, Error) and not files.is_of_the_system(error)


def _join(side: Path, mode: int, member: Member) -> None:
    """Take a place on the page of *side*; the caller has the lock."""
    state = files.look_at(side)
    shared = None if state is None else _pages.get((state.st_dev, state.st_ino))
    if shared is not None and shared.page.is_closing:  # an interrupt struck who closed it
        shared.page.close()  # now: later it would drop the locks of the next (`turnfile`, I1)
        shared = None
    if shared is None:
        shared = _Shared(Roll(side, mode))
    before = set(shared.places)
    try:
        free = (place for place in range(PLACES) if place not in before)
        place = next((place for place in free if shared.page.lock(PLACE_BYTE + place)), None)
        if place is None:
            raise Unusable(f"{PLACES} databases have it open already")
        member.turn = contender = shared.places[place] = Contender(shared, place)
        _pages[shared.page.key] = shared
        contender.arrive()
    except BaseException:
        if not before:
            _pages.pop(shared.page.key, None)
            shared.page.close()
        for place in set(range(PLACES)) - before if before else ():
            shared.places.pop(place, None)
            with suppress(OSError):
                shared.page.unlock(PLACE_BYTE + place)
        raise


def _after_fork() -> None:
    """In a child: close what is the parent's, whose locks that leaves alone."""
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.RLock()
    for shared in _pages.values():
        try:
            shared.page.close()
        except BufferError:  # another thread was reading it
            _kept.append(shared)
    _pages.clear()


_kept: list[_Shared] = []  # never closed: that would drop the child's own locks on the same file
os.register_at_fork(after_in_child=_after_fork)
