"""The end of the interpreter: every database that is open is closed, up to a moment.

Python joins its ordinary threads before this; background threads of the library are daemons, and still at work now. So
what was submitted is done, or refused, and nothing is waited for without limit.

A child that `multiprocessing` forked never comes to Python's own end; what it has instead is `multiprocessing`'s.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import Protocol

from . import clock
from .shared import all_of

_CLOSE_S = 5.0


class Closable(Protocol):
    """Something with an end."""

    def close_at_exit(self, deadline: float) -> None:
        """End it, up to *deadline*."""
        ...


_open: weakref.WeakSet[Closable] = weakref.WeakSet()
_is_told = False  # whether `multiprocessing` calls us at the end of this process


def register(core: Closable) -> None:
    """Have *core* closed when the interpreter ends, if it lives then."""
    _open.add(core)
    if "multiprocessing" in sys.modules and not _is_told:
        _tell_multiprocessing()


def _tell_multiprocessing() -> None:
    global _is_told  # noqa: PLW0603 - it belongs to the process
    import multiprocessing.util  # noqa: PLC0415 - loaded already, by who started this process, or not asked for

    if multiprocessing.parent_process() is not None:
        multiprocessing.util.Finalize(None, _close_all, exitpriority=0)
        _is_told = True


def _close_all() -> None:
    deadline = clock.now() + _CLOSE_S
    for core in all_of(_open):
        core.close_at_exit(deadline)


atexit.register(_close_all)


def _after_fork() -> None:
    global _is_told  # noqa: PLW0603 - of the parent
    _is_told = False
    _open.clear()  # what was open is the parent's


os.register_at_fork(after_in_child=_after_fork)
