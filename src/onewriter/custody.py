"""Readers that the library itself has for a moment: to give one back for a thread that cannot, or to close it for good.

Y1  A reader is taken over by one step under the pool's lock, which puts a loan of the library's own in the place of the
    other: of several threads that come for it at once, one alone comes to the connection.
Y2  What was taken over comes back, though an interrupt strikes: what ends it is called again then, and where that is
    struck too, `Readers.rescue` does it (`readers`, R8).
"""

from __future__ import annotations

import _thread
import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from . import clock
from .gates import ENDED
from .helpers import apart
from .lent import Lent
from .loans import Loan, is_of_the_dead, purpose_of
from .reader import Reader

_log = logging.getLogger(__name__)
_start_new_thread = _thread.start_new_thread

CLOSED: Final[Loan] = (0, 0.0, "", None)  # has the readers that are closed for good


class Pool(Protocol):
    """The pool, as far as it is needed here."""

    holders: dict[Reader, Loan]

    def replace(self, reader: Reader, loan: Loan, mine: Loan) -> bool:
        """Put *mine* in the place of *loan*; False where that does not have *reader* any more (Y1)."""
        ...

    def end(self, loan: Loan) -> None:
        """End *loan*, whatever had become of it."""
        ...

    def rescue(self, loan: Loan) -> None:
        """End *loan* in the place of its thread."""
        ...


def take_over(pool: Pool, reader: Reader, loan: Loan, *, discard: bool = False) -> bool:
    """Give back *reader* for who has *loan* and cannot, its connection closed with *discard*.

    Returns False where another was quicker.
    """
    mine: Loan = (threading.get_ident(), clock.now(), "the library's own bookkeeping", None)
    try:
        try:
            if not pool.replace(reader, loan, mine):
                return False
            if loan[3] is not None:
                loan[3].claim(ENDED)  # `readers`, R10
            if discard:
                reader.discard()
            return True
        finally:
            pool.end(mine)
    except BaseException:
        try:
            pool.end(mine)  # again, since an interrupt may have struck as it began (Y2)
        except BaseException:  # and another one now: nothing is called before the rescue
            _start_new_thread(apart, ("rescue", pool.rescue, mine))
            raise
        raise


def take_from_the_dead(pool: Pool, lent: Iterable[Lent], path: Path) -> None:
    """Take back what threads hold of *lent*, readers of the file at *path*, that have ended (`readers`, R9)."""
    for reader, loan in lent:
        if is_of_the_dead(loan) and take_over(pool, reader, loan, discard=True):
            _log.warning(
                "%s: a thread ended with a reader, for %s: it was taken back", path, purpose_of(loan)
            )


def shut(pool: Pool, reader: Reader) -> None:
    """Close *reader* for good, unless it is lent."""
    mine: Loan = (threading.get_ident(), clock.now(), "closing", None)
    try:
        if pool.holders.setdefault(reader, mine) is mine:
            _close_for_good(pool, reader)
    except BaseException:
        try:
            if pool.holders.get(reader) is mine:
                _close_for_good(pool, reader)  # again: an interrupt struck (Y2)
        except BaseException:  # and another one now: nothing is called before the rescue
            _start_new_thread(apart, ("rescue", pool.rescue, mine))
            raise
        raise


def _close_for_good(pool: Pool, reader: Reader) -> None:
    reader.discard()
    pool.holders[reader] = CLOSED
