"""The future of a submitted write: ``concurrent.futures.Future`` with three promises more.

Q1  ``cancel`` works until the request starts, and frees its place in line.
Q2  Done callbacks run on no thread that holds the write role, and under no lock: a thread of their own calls them, but
    for those of ``cancel``, and those that are added when all is done, which the calling thread calls if it may.
Q3  Waiting for it inside a write, which it would wait for, is refused.
Q4  Whoever tells the outcome waits for nobody: an interrupt of a thread that waits leaves no lock behind.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from operator import attrgetter
from typing import Any, TypeVar, cast

from . import clock
from .errors import ForkedDatabase, NestedWrite
from .locks import closed_lock, wake_up
from .presence import Presence

T = TypeVar("T")
_FINISHED = frozenset({"CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED"})
_log = logging.getLogger(__name__)


class _Condition:
    """A condition that an interrupt cannot leave locked.

    ``threading.Condition`` takes its lock by Python code, and a signal handler that raises between the taking and the
    block leaves it so: whoever then tells the outcome would wait for ever. This one is entered and left in C alone: a
    ``with`` finds the lock's own methods through the two descriptors.
    """

    __enter__ = property(attrgetter("_lock.__enter__"))
    __exit__ = property(attrgetter("_lock.__exit__"))
    acquire = property(attrgetter("_lock.acquire"))
    release = property(attrgetter("_lock.release"))

    def __init__(self) -> None:
        self._lock = threading.RLock()  # `Future` writes its own repr into an error while it has it
        self._sleepers: deque[threading.Lock] = deque()

    def sleeper(self) -> threading.Lock:
        """Return a lock that is released when the future is done; whoever sleeps looks once more before he does."""
        wake = closed_lock()
        self._sleepers.append(wake)
        return wake

    def forget(self, wake: threading.Lock) -> None:
        """Drop what `sleeper` returned: nobody sleeps on it any more."""
        with suppress(ValueError):
            self._sleepers.remove(wake)

    def notify_all(self) -> None:
        while self._sleepers:
            wake_up(self._sleepers.popleft())


class _Waiters(list[object]):
    """Those who wait for several futures; whoever would wait inside a write is refused (Q3)."""

    def __init__(self, future: WriteFuture[T]) -> None:
        super().__init__()
        self._check = future.check_wait

    def append(self, waiter: object, /) -> None:
        self._check()
        super().append(waiter)


class WriteFuture(Future[T]):
    """The outcome of a submitted write, some day; `concurrent.futures.Future` documents its methods."""

    def __init__(
        self,
        presence: Presence,
        leave: Callable[[], object],
        later: Callable[[Callable[[], object]], object],
        wait: Callable[[], object],
    ) -> None:
        """Use *leave* to give up the place in line; *later* has a function called by a thread that has no role.

        *wait* is called by a thread that is going to wait.
        """
        self._before_wait = wait
        super().__init__()
        self._presence = presence
        self._leave = leave
        self._later = later
        self._sleep = self._renew()
        self._waiters = cast("Any", _Waiters(self))
        # No lock: a thread that adds a callback looks at _told after it, one that tells looks for callbacks after it;
        # who takes a callback out calls it. Who takes the one thing out of _first asks for the state to change.
        self._told = False  # from here on callbacks are called at once
        self._calls: deque[Callable[[Future[T]], object]] = deque()
        self._first: deque[None] = deque((None,))

    # --- for users

    def cancel(self) -> bool:
        """Cancel the request unless it has started; return whether it is cancelled."""
        if not super().cancel():
            return False
        try:
            self.begin()  # tells those who wait for several futures
            self._leave()
            self.call_back()
        except BaseException:
            self._later(self.call_back)  # an interrupt struck: they are called all the same
            raise
        return True

    def result(self, timeout: float | None = None) -> T:
        """Return the result, once it is committed; raises what the request raised.

        Raises:
            NestedWrite: called inside a write, which the request waits for.
        """
        self._wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the request raised, or None; raises as `result`."""
        self._wait(timeout)
        return super().exception(0)

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Have *fn* called with this future once it is done: see the module for the thread (Q2)."""
        self._calls.append(fn)
        if self._told:
            self.call_back()

    # --- for those who run the request

    def begin(self) -> bool:
        """Return whether the request is to be run, or told an outcome: False where it was cancelled first."""
        try:
            self._first.pop()
        except IndexError:
            return not self.cancelled()
        return self.set_running_or_notify_cancel()

    def settle(self, value: object, error: BaseException | None) -> bool:
        """Take the outcome, unless there is one; return whether `call_back` is to be called."""
        if self.begin():
            with suppress(InvalidStateError):
                if error is None:
                    self.set_result(cast("T", value))
                else:
                    self.set_exception(error)
        self._told = True
        return bool(self._calls)

    @property
    def has_waiters(self) -> bool:
        """Whether somebody waits for several futures: with a lock of his own, which an interrupt may leave locked."""
        return bool(self._waiters)

    def check_wait(self) -> None:
        """Refuse to wait inside a write (Q3); the calling thread may have the future's condition."""
        if self._state in _FINISHED:
            return
        if self._presence.is_writing():
            msg = "waiting for a submitted write inside a write, which it waits for: wait when that has ended"
            raise NestedWrite(msg)
        self._before_wait()

    def call_back(self) -> None:
        """Call those who want to be called; the future is done."""
        self._told = True
        if self._presence.is_writing():  # Q2
            self._later(self.call_back)
            return
        with suppress(IndexError):  # another thread may take the last one
            while self._calls:
                self._call(self._calls.popleft())

    def disown(self) -> None:
        """In a forked child: end, with new locks, since a thread of the parent may have had the old ones."""
        super().__init__()
        self._sleep = self._renew()
        self._told = True
        self._first.clear()
        msg = "the request is the parent process's; open the database again in the child"
        self.set_exception(ForkedDatabase(msg))

    # --- inside

    def _renew(self) -> _Condition:
        condition = _Condition()
        self._condition = cast("threading.Condition", condition)
        return condition

    def _call(self, fn: Callable[[Future[T]], object]) -> None:
        try:
            fn(self)
        except Exception:  # noqa: BLE001 - it is a caller's
            _log.exception("a callback of %r raised", self)
        except BaseException:
            self._later(self.call_back)  # the others are called all the same
            raise

    def _wait(self, timeout: float | None) -> None:
        if self.done():
            return
        self.check_wait()
        if timeout is not None and timeout <= 0:
            raise TimeoutError
        wake = self._sleep.sleeper()
        if not self.done() and not wake.acquire(timeout=clock.limit(timeout)):
            self._sleep.forget(wake)
            raise TimeoutError
