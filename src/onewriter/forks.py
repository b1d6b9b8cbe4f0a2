"""What a forked child has of its parent's databases: objects that refuse all use, and handles left alone.

A child that used an inherited SQLite handle would corrupt the file; one that closed it would drop locks and undo what
the parent has open (https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_).
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from . import presence


class Forkable(Protocol):
    """An object that holds handles of SQLite."""

    def disown(self) -> list[object]:
        """In a forked child: refuse all use, and return what must be kept and never closed there."""
        ...


_open: weakref.WeakSet[Forkable] = weakref.WeakSet()


def register(holder: Forkable) -> None:
    """Have *holder* disowned in every child that is forked while it lives."""
    _open.add(holder)


def _after_fork() -> None:
    presence.forget_all()
    inherited = [holder.disown() for holder in list(_open)]
    if inherited:
        _keep_for_ever(inherited)


def _keep_for_ever(inherited: object) -> None:
    """Give *inherited* a reference that nothing takes back: the interpreter's own end would close what it holds."""
    import ctypes  # noqa: PLC0415 - a child of a process with an open database alone has to pay for it

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


os.register_at_fork(after_in_child=_after_fork)
