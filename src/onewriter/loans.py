"""Who has a reader: since when, and for what; and who waits for one."""

from __future__ import annotations

import threading
from typing import Any, Final, TypeAlias

from . import errands
from .blocks import Block
from .locks import closed_lock
from .marks import is_mark_of_this_thread, name_of_thread

# The thread's identifier; since when; for which SQL; and the block that it is for, if it is for one.
# A plain tuple: one is made for each query, and it is the lending itself (`readers`, R2).
Loan: TypeAlias = tuple[int, float, str, Block | None]

_SHOWN_MAX: Final = 80


def is_of_this_thread(loan: Loan) -> bool:
    """Whether the calling thread has it; an identifier comes again when its thread has ended."""
    return loan[0] == threading.get_ident() and (loan[3] is None or is_mark_of_this_thread(loan[3].mark))


def is_of_the_dead(loan: Loan) -> bool:
    """Whether its thread has ended in the middle of its block."""
    return loan[3] is not None and loan[3].mark() is None


def name_of(loan: Loan) -> str:
    """Return the name of its thread, or of the task for which that reads."""
    who = errands.who_has(loan[0])
    if who is not None:
        return who
    mark = None if loan[3] is None else loan[3].mark()
    if mark is not None:
        return mark.name
    if loan[3] is not None:
        return "a thread that ended"
    return name_of_thread(loan[0])


def purpose_of(loan: Loan) -> str:
    """Return what it is for at this moment, on one line, and not all of a long one."""
    what: object = loan[2] if loan[3] is None else loan[3].doing
    text = " ".join(str(what).split())  # a caller's SQL that was not checked yet may be anything
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."


def described(loan: Loan) -> str:
    """Return who has it, and for what."""
    return f"{name_of(loan)}: {purpose_of(loan)}"


class Waiter:
    """A place in the queue."""

    __slots__ = ("loan", "reader", "refused", "wake")

    def __init__(self, loan: Loan) -> None:
        """Wait on behalf of *loan*."""
        self.loan = loan
        self.reader: Any = None  # the one that it was handed, once it is served
        self.refused = False
        self.wake = closed_lock()  # released once it is served, or refused
