"""Who has a reader: since when, and for what; and who waits for one.

Whether a thread has ended is told by its mark, an object that lives in the thread's own storage and so dies with it.
``Thread.is_alive`` is not asked: an interrupt in it has Python take the thread for ended, for ever, and of a thread
that another library started it knows nothing.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Final, TypeAlias

from .locks import closed_lock


class Mark:
    """One thread, for as long as it lives."""

    __slots__ = ("__weakref__", "name")

    def __init__(self, name: str) -> None:
        """Mark the thread *name*."""
        self.name = name


def _name_of(ident: int) -> str:
    return next((each.name for each in threading.enumerate() if each.ident == ident), f"thread {ident}")


class _Here(threading.local):
    def __init__(self) -> None:
        self.mark = Mark(
            _name_of(threading.get_ident())
        )  # no `current_thread`, which would make one for a stranger


# The thread's identifier; since when; for which SQL; and its mark, where it is for a block, which may be left open.
# A plain tuple: one is made for each query, and it is the lending itself (`readers`, R2).
Loan: TypeAlias = tuple[int, float, str, weakref.ref[Mark] | None]

_here = _Here()
_SHOWN_MAX: Final = 80


def mark_of_this_thread() -> weakref.ref[Mark]:
    """Return what tells whether the calling thread lives."""
    return weakref.ref(_here.mark)


def is_of_this_thread(loan: Loan) -> bool:
    """Whether the calling thread has it; an identifier comes again when its thread has ended."""
    return loan[0] == threading.get_ident() and (loan[3] is None or loan[3]() is _here.mark)


def is_of_the_dead(loan: Loan) -> bool:
    """Whether its thread has ended in the middle of its block."""
    return loan[3] is not None and loan[3]() is None


def name_of(loan: Loan) -> str:
    """Return the name of its thread."""
    mark = None if loan[3] is None else loan[3]()
    if mark is not None:
        return mark.name
    if loan[3] is not None:
        return "a thread that ended"
    return _name_of(loan[0])


def purpose_of(loan: Loan) -> str:
    """Return what it is for, on one line, and not all of a long one."""
    text = " ".join(str(loan[2]).split())  # a caller's SQL that was not checked yet may be anything
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."


class Waiter:
    """A place in the queue."""

    __slots__ = ("loan", "reader", "refused", "wake")

    def __init__(self, loan: Loan) -> None:
        """Wait on behalf of *loan*."""
        self.loan = loan
        self.reader: Any = None  # the one that it was handed, once it is served
        self.refused = False
        self.wake = closed_lock()  # released once it is served, or refused
