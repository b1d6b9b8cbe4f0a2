"""The future of a submitted write: ``concurrent.futures.Future`` with four promises more.

Q1  ``cancel`` works until the request starts, and frees its place in line.
Q2  Done callbacks run on no thread that holds the write role, and under no lock: a thread of their own calls them, but
    for those of ``cancel``, and those that are added when all is done, which the calling thread calls if it may.
Q3  Waiting for it inside a write, which it would wait for, is refused.
Q4  Whoever tells the outcome waits for nobody: an interrupt of a thread that waits leaves no lock behind.

States, by the names of ``concurrent.futures``:

    PENDING ──`begin`──> RUNNING                   the request is to be run, or told an outcome
    PENDING ──`cancel`──> CANCELLED_AND_NOTIFIED
    RUNNING ──`settle`──> FINISHED

Who changes the state has put his word into the future's dictionary first, by one call into C: so there is one fate
(RUNS or CANCELS) and one outcome. Where an interrupt struck him before he wrote the state, `settle` does it, which is
called for every request in its turn. What is needed for waiting is made by the first who waits:

    ``_calls``       the callbacks; whoever takes one out calls it
    ``_sleepers``    locks of threads in ``result`` or ``exception``; whoever takes one out releases it
    ``_made``        the lock that `concurrent.futures.wait` and ``as_completed`` take, and who waits by them

Whoever makes one of the first two looks at the state after that, and whoever writes the state looks for them after
that: neither needs a lock. But those two functions look at the state and come in under one hold of a lock, and are
told of what changes afterwards. So ``_made`` is decided too: by the first who waits, and then the state is written
under that lock; or by whoever is going to write the state (NOBODY), and then who comes to wait waits for that. A
future of which nobody asks anything meanwhile, as most are that are submitted in a row, has none of the three.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final, Protocol, TypeVar, cast

from . import clock
from .errors import ForkedDatabase, NestedWrite
from .locks import closed_lock, wake_up
from .presence import Presence

T = TypeVar("T")
K = TypeVar("K")
_RUNNING, _CANCELLED, _FINISHED = "RUNNING", "CANCELLED_AND_NOTIFIED", "FINISHED"
_DONE: Final = frozenset({_CANCELLED, _FINISHED})
_RUNS, _CANCELS, _NOBODY = "runs", "is cancelled", "nobody"
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

    def notify_all(self) -> None:
        """Do nothing: nobody waits by it."""


class _Waiters(list[Any]):
    """Those who wait for several futures; whoever would wait inside a write is refused (Q3)."""

    def __init__(self, future: WriteFuture[T]) -> None:
        super().__init__()
        self._future = future
        self.untold: deque[Any] = deque()

    def append(self, waiter: object, /) -> None:
        self._future.check_wait()
        super().append(waiter)
        if not self._future.done():
            self.untold.append(waiter)


class Runner(Protocol):
    """Who runs the request."""

    @property
    def presence(self) -> Presence:
        """Who writes to the file."""
        ...

    def withdraw(self, ticket: Any, /) -> object:  # noqa: ANN401 - what it gave the future
        """Give up the place in line."""
        ...

    def later(self, call: Callable[[], object], /) -> object:
        """Have *call* called by a thread that has no role."""
        ...

    def about_to_wait(self) -> object:
        """Take note that the calling thread is going to wait."""
        ...


class WriteFuture(Future[T]):
    """The outcome of a submitted write, some day; `concurrent.futures.Future` documents its methods.

    Attributes:
        ticket: the request's place in line, up to its outcome.
    """

    # Defaults in the class, and no call of `Future.__init__`: of many futures nothing more is ever asked.
    _state = "PENDING"
    _result: T | None = None
    _exception: BaseException | None = None
    _done_callbacks = ()  # those of ours are in `_calls`
    _told = False  # from here on callbacks are called at once
    _runner: Runner
    ticket: object = None

    def __init__(self, runner: Runner) -> None:
        """Be the future of a request that *runner* is to run."""
        # By the dictionary, which is made now, by one thread: where two come to be the first to look at it, and the
        # collector runs in between, Python 3.11 makes two of them, and comes to grief.
        self.__dict__["_runner"] = runner

    # --- for users

    def cancel(self) -> bool:
        """Cancel the request unless it has started; return whether it is cancelled."""
        if self._first("_fate", _CANCELS) is not _CANCELS:
            return False
        try:
            self._tell(_CANCELLED)
            ticket = self.ticket  # once: `settle` may come (`shared`, U4)
            if ticket is not None:
                self._runner.withdraw(ticket)
                self.ticket = None
            self.call_back()
        except BaseException:
            self._runner.later(self.call_back)  # an interrupt struck: they are called all the same
            raise
        return True

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self._state is _CANCELLED

    def running(self) -> bool:
        """Return whether the request has started, and has no outcome yet."""
        return self._state is _RUNNING

    def done(self) -> bool:
        """Return whether it has an outcome, or was cancelled."""
        return self._state in _DONE

    def result(self, timeout: float | None = None) -> T:
        """Return the result, once it is committed; raises what the request raised.

        Raises:
            NestedWrite: called inside a write, which the request waits for.
        """
        error = self.exception(timeout)
        if error is None:
            return cast("T", self._result)
        try:
            raise error
        finally:
            del error, self  # no cycle through the traceback

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the request raised, or None; raises as `result`."""
        if self._state not in _DONE:
            self._wait(timeout)
        if self._state is _CANCELLED:
            raise CancelledError
        return self._exception

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Have *fn* called with this future once it is done: see the module for the thread (Q2)."""
        self._first("_calls", deque[Callable[[Future[T]], object]]()).append(fn)
        if self._told:
            self.call_back()

    # --- for those who run the request

    def begin(self) -> bool:
        """Return whether the request is to be run, or told an outcome: False where it was cancelled first."""
        if self._first("_fate", _RUNS) is not _RUNS:
            return False
        if self._state not in _DONE:
            self._state = _RUNNING
        return True

    def settle(self, value: object, error: BaseException | None, *, may_wait: bool) -> bool | None:
        """Take the outcome, unless there is one; return whether `call_back` is to be called.

        None says that somebody waits for several futures, with a lock of his own, which an interrupt may have left
        locked: then nothing is done, but on a thread that *may_wait*.
        """
        if self._first("_made", _NOBODY) is not _NOBODY and not may_wait:
            return None
        if self._first("_fate", _RUNS) is not _RUNS:
            self._tell(_CANCELLED)  # an interrupt may have struck who cancelled it
        elif self._first("_outcome", outcome := (value, error)) is outcome:
            self._result, self._exception = cast("T", value), error
            self._tell(_FINISHED)
        self.ticket = None  # which knows this future
        self._told = True
        return bool(self._kept("_calls"))

    def check_wait(self) -> None:
        """Refuse to wait inside a write (Q3); the calling thread may have the future's condition."""
        if self._state in _DONE:
            return
        if self._runner.presence.is_writing():
            msg = "waiting for a submitted write inside a write, which it waits for: wait when that has ended"
            raise NestedWrite(msg)
        self._runner.about_to_wait()

    def call_back(self) -> None:
        """Call those who want to be called; the future is done."""
        self._told = True
        if self._runner.presence.is_writing():  # Q2
            self._runner.later(self.call_back)
            return
        calls: deque[Callable[[Future[T]], object]] | None = self._kept("_calls")
        with suppress(IndexError):  # another thread may take the last one
            while calls:
                self._call(calls.popleft())

    def disown(self) -> None:
        """In a forked child: end, with new locks, since a thread of the parent may have had the old ones."""
        for name in ("_made", "_made late", "_sleepers", "_outcome"):
            self.__dict__.pop(name, None)
        self._first("_fate", _RUNS)
        if self._state not in _DONE:
            msg = "the request is the parent process's; open the database again in the child"
            self._state, self._exception = _FINISHED, ForkedDatabase(msg)
        self._told = True

    # --- inside

    def _first(self, name: str, word: K) -> K:
        """Keep *word* under *name* if nothing is yet; return what is."""
        return cast("K", self.__dict__.setdefault(name, word))

    def _kept(self, name: str) -> Any:  # noqa: ANN401 - what `_first` kept, or None
        return self.__dict__.get(name)

    def _tell(self, state: str) -> None:
        """Write *state* and wake all who wait for it; a second time does no harm."""
        made = self._first("_made", _NOBODY)
        if made is _NOBODY:
            self._write(state)
            return
        condition, waiters = cast("tuple[_Condition, _Waiters]", made)
        with condition:
            self._write(state)
            while waiters.untold:
                self._tell_one(waiters.untold.popleft())

    def _write(self, state: str) -> None:
        self._state = state
        sleepers: deque[threading.Lock] | None = self._kept("_sleepers")
        with suppress(IndexError):  # another thread may take the last one
            while sleepers:
                wake_up(sleepers.popleft())

    def _tell_one(self, waiter: Any) -> None:  # noqa: ANN401 - of `concurrent.futures`
        if self._state is _CANCELLED:
            waiter.add_cancelled(self)
        elif self._exception is not None:
            waiter.add_exception(self)
        else:
            waiter.add_result(self)

    def _make(self) -> tuple[_Condition, _Waiters]:
        made = self._kept("_made")
        if made is None:
            made = self._first("_made", (_Condition(), _Waiters(self)))
        if made is _NOBODY:
            self._sleep(None)  # who has decided that is about to write the state
            made = self._first("_made late", (_Condition(), _Waiters(self)))
        return cast("tuple[_Condition, _Waiters]", made)

    @property
    def _condition(self) -> Any:  # type: ignore[override] # pyright: ignore[reportIncompatibleVariableOverride] # noqa: ANN401 - what `concurrent.futures` finds there
        return self._make()[0]

    @property
    def _waiters(self) -> Any:  # type: ignore[override] # pyright: ignore[reportIncompatibleVariableOverride] # noqa: ANN401 - as above
        return self._make()[1]

    def _call(self, fn: Callable[[Future[T]], object]) -> None:
        try:
            fn(self)
        except Exception:  # noqa: BLE001 - it is a caller's
            _log.exception("a callback of %r raised", self)
        except BaseException:
            self._runner.later(self.call_back)  # the others are called all the same
            raise

    def _wait(self, timeout: float | None) -> None:
        self.check_wait()
        if timeout is not None and timeout <= 0 and self._state not in _DONE:
            raise TimeoutError
        self._sleep(timeout)
        if self._state not in _DONE:
            raise TimeoutError

    def _sleep(self, timeout: float | None) -> None:
        sleepers, wake = self._first("_sleepers", deque[threading.Lock]()), closed_lock()
        sleepers.append(wake)
        if self._state not in _DONE and not wake.acquire(timeout=clock.limit(timeout)):
            with suppress(ValueError):
                sleepers.remove(wake)
