"""The end of the interpreter: every database that is open is closed, up to a moment.

Python joins its ordinary threads before this; background threads of the library are daemons, and still at work now. So
what was submitted is done, or refused, and nothing is waited for without limit.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol

from . import clock

_CLOSE_S = 5.0


class Closable(Protocol):
    """Something with an end."""

    def close_at_exit(self, deadline: float) -> None:
        """End it, up to *deadline*."""
        ...


_open: weakref.WeakSet[Closable] = weakref.WeakSet()


def register(core: Closable) -> None:
    """Have *core* closed when the interpreter ends, if it lives then."""
    _open.add(core)


def _close_all() -> None:
    deadline = clock.now() + _CLOSE_S
    for core in list(_open):
        core.close_at_exit(deadline)


atexit.register(_close_all)
os.register_at_fork(after_in_child=_open.clear)  # what was open is the parent's
