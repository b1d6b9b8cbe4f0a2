"""Plain locks as news, and what an interrupt leaves of locks.

Plain locks are used, not conditions: an interrupt can leave a condition locked.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Container
from operator import methodcaller
from types import CodeType, FrameType
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_is_owned = methodcaller("_is_owned")  # what Python's own conditions ask a lock


def closed_lock() -> threading.Lock:
    """Return a lock that is held: who acquires it waits for news."""
    lock = threading.Lock()
    lock.acquire()
    return lock


def wake_up(wake: threading.Lock) -> None:
    """Give news to whoever waits for *wake*; a second time, before it was taken, does no harm."""
    try:
        if wake.locked():
            wake.release()
    except RuntimeError:
        pass  # another thread gave it at the same moment


def is_mine(lock: threading.RLock) -> bool:
    """Whether the calling thread has *lock*: a signal handler or a finalizer has interrupted it in there, then."""
    return bool(_is_owned(lock))


def let_go(lock: threading.RLock) -> None:
    """Release *lock* as often as the calling thread has it: an interrupt may have left it held."""
    try:
        while True:
            lock.release()
    except RuntimeError:
        pass  # it is not the calling thread's


def holding(lock: threading.RLock, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Return what *call* returns, called with *lock* held; an interrupt does not leave it held."""
    if is_mine(lock):  # a signal handler is here, in the middle of another call, to which the lock is left
        return call(*arguments)
    try:
        with lock:
            return call(*arguments)
    except BaseException:
        let_go(lock)
        raise


def is_within(owner: object, codes: Container[CodeType], outside: int) -> bool:
    """Whether the calling thread is in a method of *owner* with one of *codes*, *outside* frames further out or more.

    Then what it holds is not left by an interrupt: a signal handler, a finalizer or a function of SQL came back in.
    """
    frame: FrameType | None = sys._getframe(outside)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - there is no other
    while frame is not None:
        if frame.f_code in codes and frame.f_locals.get("self") is owner:
            return True
        frame = frame.f_back
    return False
