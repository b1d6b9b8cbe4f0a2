"""Which thread it is, and whether it lives.

That is told by a mark, an object that lives in the thread's own storage and so dies with it. ``Thread.is_alive`` is not
asked: an interrupt in it has Python take the thread for ended, for ever, and of a thread that another library started
it knows nothing.
"""

from __future__ import annotations

import threading
import weakref
from typing import Final


def name_of_thread(ident: int) -> str:
    """Return the name of the thread with the identifier *ident*."""
    return next((each.name for each in threading.enumerate() if each.ident == ident), f"thread {ident}")


class Mark:
    """One thread, for as long as it lives."""

    __slots__ = ("__weakref__", "name")

    def __init__(self, name: str) -> None:
        """Mark the thread *name*."""
        self.name = name


class _Here(threading.local):
    def __init__(self) -> None:
        self.mark = Mark(
            name_of_thread(threading.get_ident())
        )  # no `current_thread`, which would make one for a stranger


_here: Final = _Here()


def my_name() -> str:
    """Return the name that the calling thread had when it was asked for first."""
    return _here.mark.name


def mark_of_this_thread() -> weakref.ref[Mark]:
    """Return what tells whether the calling thread lives."""
    return weakref.ref(_here.mark)


def is_mark_of_this_thread(mark: weakref.ref[Mark]) -> bool:
    """Whether *mark* is the calling thread's."""
    return mark() is _here.mark
