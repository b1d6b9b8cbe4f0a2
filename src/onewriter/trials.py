"""Whether some work comes to an end at all, tried out in a forked copy of this process.

T1  A copy has every mutex in the state that this process has it in, and one thread. So what waits for a mutex that
    nobody will ever give up waits there as it would here, and what ends there ends here.
T2  Only where another thread of this process is inside the same mutex at the moment of the fork does the copy hang for
    no reason. So it is tried again before anybody is told that it hangs.
T3  The copy is never more than that: it does the work and ends, before any code that forked it, or that others have
    asked to be called after a fork (it may open a database), could go on there. It ends without the interpreter's own
    end, which would flush the buffers of this process a second time.
T4  No signal reaches either of them meanwhile: a handler that raises would get the copy out of its work, or this
    process away from its copy. What has come is dealt with afterwards. Where another thread gets one, the main thread
    calls its handler all the same: then a thread of its own ends the copy. (To fork on such a thread is no way: what
    others have asked to be called before a fork would wait there for a lock that the calling thread has, such as
    logging's.)
T5  A copy whose maker is killed meanwhile is ended by the system's alarm, which needs no Python to run.
"""

from __future__ import annotations

import _thread
import os
import select
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from itertools import starmap
from typing import Final

_start_new_thread = _thread.start_new_thread

WAIT_S = 2.0  # for a copy
_TRIES: Final = 2
_ENDED: Final = b"."

# By the identifier of the thread that makes a copy: what is to be done there, and the pipe that tells of it.
_under_way: dict[int, tuple[Callable[[], object], int]] = {}


def ends(work: Callable[[], object]) -> bool:
    """Do *work* in a copy of this process; return whether it ended there, be it with an error.

    Where it does not, that takes two times ``WAIT_S``.

    Raises:
        OSError, RuntimeError: there is no copy, since the system has no room for one, or the interpreter is ending.
    """
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # T4
        return any(_ends(work) for _ in range(_TRIES))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def is_under_way() -> bool:
    """Whether the calling thread is about to make a copy, or is the copy's: what is called by the way of the fork."""
    return threading.get_ident() in _under_way


def _ends(work: Callable[[], object]) -> bool:
    reading, writing = os.pipe()
    copies: list[int] = []
    try:
        try:
            _fork(work, writing, copies)
        finally:
            os.close(writing)
        news = select.poll()  # unlike `select` it takes a descriptor of any number
        news.register(reading, select.POLLIN)
        is_over = bool(news.poll(WAIT_S * 1000))
        if not is_over:
            os.kill(copies[0], signal.SIGKILL)  # it lives, since its end of the pipe is open
        told = os.read(reading, 1) if is_over else b""
    except BaseException:
        _start_new_thread(_end, (copies,))  # nothing is called before this (T4)
        raise
    finally:
        os.close(reading)
    _reap(copies.pop())
    return told == _ENDED


def _fork(work: Callable[[], object], writing: int, copies: list[int]) -> None:
    """Make a copy, and add it to *copies* before any handler is called."""
    me = threading.get_ident()
    _under_way[me] = work, writing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which the copy does not need
            copies.extend(starmap(os.fork, ((),)))
    finally:
        _under_way.pop(me, None)


def _end(copies: list[int]) -> None:
    for pid in copies:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _reap(pid)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # the program, or the system for it, reaps whatever ends
        os.waitpid(pid, 0)


def _after_fork() -> None:
    """In a copy: do what it was made for, and end (T3). In any other child, forget what its parent tries."""
    mine = _under_way.get(threading.get_ident())
    _under_way.clear()
    if mine is None:
        return
    work, writing = mine
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 2 * WAIT_S)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
        try:
            work()
        finally:
            os.write(writing, _ENDED)
    finally:
        os._exit(0)


os.register_at_fork(after_in_child=_after_fork)
