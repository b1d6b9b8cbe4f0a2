"""Who has a reader: since when, and for what."""

from __future__ import annotations

import threading
from typing import Final, TypeAlias

# The thread's identifier; since when; for which SQL; and the thread, where it is for a block, which may be left open.
# A plain tuple: one is made for each query, and it is the lending itself (`readers`, R2).
Loan: TypeAlias = tuple[int, float, str, threading.Thread | None]

_SHOWN_MAX: Final = 80


def is_of_this_thread(loan: Loan) -> bool:
    """Whether the calling thread has it; an identifier comes again when its thread has ended."""
    return loan[0] == threading.get_ident() and loan[3] in (None, threading.current_thread())


def is_of_the_dead(loan: Loan) -> bool:
    """Whether its thread has ended in the middle of its block."""
    return loan[3] is not None and not loan[3].is_alive()


def name_of(loan: Loan) -> str:
    """Return the name of its thread."""
    if loan[3] is not None:
        return loan[3].name
    return next((each.name for each in threading.enumerate() if each.ident == loan[0]), "a thread that ended")


def purpose_of(loan: Loan) -> str:
    """Return what it is for, on one line, and not all of a long one."""
    text = " ".join(str(loan[2]).split())  # a caller's SQL that was not checked yet may be anything
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."
