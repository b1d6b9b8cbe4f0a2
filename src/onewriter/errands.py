"""For whom a thread of the library's own is at work at this moment: who it is, and whether he still wants it.

Each thread writes its own entry alone; a dictionary's own operations are atomic, so no lock is needed.
"""

from __future__ import annotations

import threading
from typing import Protocol


class Errand(Protocol):
    """What a thread does for somebody."""

    @property
    def who(self) -> str:
        """The name of the one for whom it is done."""
        ...

    @property
    def broken(self) -> bool:
        """Whether nobody wants it any more, so that it is broken off where it is."""
        ...


_errands: dict[int, Errand] = {}


def begin(errand: Errand) -> None:
    """Note that the calling thread is at work on *errand* from now on."""
    _errands[threading.get_ident()] = errand


def end() -> None:
    """Note that the calling thread works for nobody else any more."""
    _errands.pop(threading.get_ident(), None)


def is_broken() -> bool:
    """Whether what the calling thread does is to be broken off; asked from inside SQLite."""
    errand = _errands.get(threading.get_ident())
    return errand is not None and errand.broken


def who_has(ident: int) -> str | None:
    """Return for whom the thread with the identifier *ident* is at work; None for itself."""
    errand = _errands.get(ident)
    return None if errand is None else errand.who


def forget_all() -> None:
    """In a forked child: its one thread does nothing for anybody."""
    _errands.clear()
