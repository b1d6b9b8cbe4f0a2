"""One who observes: what he wants to hear of, what waits for him, and how he leaves.

J1  What is to be told is gathered by the pump (`observers`) alone, and handed over through ``_slot``, which holds one
    piece of news: the pump puts one there when it finds it empty, and whoever tells takes it out. So a slow one waits
    for nothing, keeps nobody waiting, and what comes meanwhile is joined (`changes`, F2).
J2  Who has taken it out nudges the pump after that, and the pump looks after each nudge: so what it has gathered
    meanwhile follows.
J3  Whoever is ``closed`` hears nothing any more, but for a call that has begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

from .changes import Changes, Gathered, folded
from .locks import closed_lock
from .nets import Net, Rows


class Told(Protocol):
    """Where an observer asks for more, and leaves."""

    def nudge(self) -> object:
        """Have the pump look soon."""
        ...

    def leave(self, observer: Observer) -> object:
        """Observe no more."""
        ...


class Observer:
    """One who observes.

    Attributes:
        closed: it has left; written by anybody, once.
        over: nothing more comes than what waits in the slot; written by whoever ends the database.
        refused: why it could not begin.
        answered: news that it has begun, or why not.
    """

    def __init__(self, tables: frozenset[str] | None, rows_max: int, notify: Callable[[], object]) -> None:
        """Want to hear of *tables*, by folded names, or of all where it is None; *notify* is called at news."""
        self.tables = tables
        self.notify = notify
        self.closed = self.over = False
        self.refused: Exception | None = None
        self.answered = closed_lock()
        self.pump: Told | None = None
        self._gathered = Gathered(rows_max)  # the pump's
        self._slot: deque[Changes] = deque()  # put in by the pump, taken out by who tells (J1)

    # --- for the pump

    def add(self, net: Net, owners: Mapping[str, str]) -> None:
        """Gather what *net* says; *owners* has the virtual tables that other tables are parts of, by folded names."""
        found = False
        for table, rows in net.tables.items():
            name, told = table, rows
            if owners and (owner := owners.get(folded(table))) is not None:
                name, told = owner, Rows()
                told.unlisted = _kinds_of(rows)
            if (told.kinds or told.unlisted) and (self.tables is None or folded(name) in self.tables):
                self._gathered.add(name, told)
                found = True
        self._gathered.add_flags(net)
        if (found or net.schema) and not net.unsure:  # of one that is unsure nobody knows
            self._gathered.count()

    def offer(self, *, last: bool = False) -> None:
        """Hand over what was gathered if the slot is free (J1), or if it is the *last*."""
        if not self._gathered.is_empty and (last or not self._slot):
            self._slot.append(self._gathered.take())
            self.notify()

    def answer(self, refused: Exception | None = None) -> None:
        """Tell who waits that it has begun, or why not."""
        self.refused = refused
        self.answered.release()

    # --- for who tells

    def take(self) -> Changes | None:
        """Return what is to be told, if anything is."""
        try:
            changes = self._slot.popleft()
        except IndexError:
            return None
        if self.pump is not None:
            self.pump.nudge()  # J2
        return None if self.closed else changes

    @property
    def has_news(self) -> bool:
        """Whether there is something to be taken, at this moment."""
        return bool(self._slot)

    def close(self) -> None:
        """Hear no more (J3); a second time does nothing. Waits for nothing."""
        if not self.closed:
            self.closed = True
            if self.pump is not None:
                self.pump.leave(self)


def _kinds_of(rows: Rows) -> int:
    kinds = rows.unlisted
    for each in rows.kinds.values():
        kinds |= each
    return kinds


class Observation:
    """What `Database.observe` returns: ends by `close`, at the end of a ``with`` block, or with its database.

    One that is forgotten goes on: the callback is called until the database is closed.
    """

    __slots__ = ("_observer",)

    def __init__(self, observer: Observer) -> None:
        """Made by the library."""
        self._observer = observer

    @property
    def closed(self) -> bool:
        """Whether it has ended: nothing more is told."""
        return self._observer.closed or self._observer.over

    def close(self) -> None:
        """End it; a second time does nothing.

        No call of the callback begins after this; one that runs on another thread goes on, and is not waited for. So it
        may be called anywhere, from the callback too.
        """
        self._observer.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        self.close()

    def __repr__(self) -> str:
        """Say of which tables, and whether it has ended."""
        tables = self._observer.tables
        what = "all tables" if tables is None else ", ".join(sorted(tables))
        return f"<onewriter.Observation of {what}, {'closed' if self.closed else 'open'}>"
