"""The roll of the turn among processes: what the numbers of the side file mean (`contenders` has the rules).

Words of the page; only its owner writes to a place, but for clearing what the dead have left:

    0                 the token of the newest comer
    2, 3              until when the turn is reserved (nanoseconds of the monotonic clock, here and below); the place
    8 + place         the process that has the place, 0 where nobody has
    128 + place       since when it has the turn, 0: it has not
    248 + place       since when it waits for the turn, 0: it does not
    368 + place       when it last said so; while it has the turn, 1 where it waits for SQLite's lock itself
    512 + place / 2   its bell, of 32 bits: rung for who is first when the turn is given up
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

from .turnfile import Page

PLACES: Final = 120
PLACE_BYTE: Final = 16  # a place's lock is the byte of this number and its own
RESERVED_NS: Final = 250_000  # that a reservation lasts at most
NOBODYS: Final = PLACES  # no place
NEWCOMER: Final = 0  # the word that a process which is alone looks at
_UNTIL, _FOR, _PID, _SINCE, _WANTS, _SAID = 2, 3, 8, 128, 248, 368
_BELL: Final = 2 * 512
_WANTED: Final = slice(8 * _WANTS, 8 * (_WANTS + PLACES))  # of the bytes
_NOBODY: Final = bytes(8 * PLACES)


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has the turn.

    Attributes:
        pid: None where it cannot be seen, in another container.
        for_s: for how many seconds, or None.
        waits: whether it waits itself, for a lock on the database that is not of this library.
    """

    pid: int | None
    for_s: float | None
    waits: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """What the page says of one place; the page alone does not tell whether its process still lives.

    Attributes:
        place: its number.
        pid: its process, by the number that it has for itself.
        since: since when it has the turn, 0: it has not.
        wants: since when it waits for the turn, 0: it does not.
        waits_for_lock: having the turn, it waits for SQLite's lock.
    """

    place: int
    pid: int
    since: int
    wants: int
    waits_for_lock: bool


def entries(page: bytes) -> list[Entry]:
    """Return what the bytes of a page say of every place that somebody has, or has left without a word."""
    words = memoryview(page).cast("Q")
    return [
        Entry(
            place,
            words[_PID + place],
            since := words[_SINCE + place],
            words[_WANTS + place],
            since != 0 and words[_SAID + place] == 1,
        )
        for place in range(PLACES)
        if words[_PID + place]
    ]


class Roll(Page):
    """The side file, with names for its numbers."""

    def enter(self, place: int) -> None:
        """Write the calling process down at *place*, which it has locked."""
        for table in (_SINCE, _WANTS, _SAID):
            self.words[table + place] = 0
        self.words[_PID + place] = os.getpid()

    def leave(self, place: int) -> None:
        """Take the process of *place* off."""
        self.words[_PID + place] = 0

    def pid(self, place: int) -> int | None:
        """Return the process of *place*, None where nobody has it."""
        return self.words[_PID + place] or None if place < PLACES else None

    def pids(self) -> list[int]:
        """Return the processes by their places, 0 where nobody is."""
        return self.numbers(_PID, PLACES)

    # --- who has the turn

    def begin(self, place: int, since: int) -> None:
        """Write down that *place* has the turn since then."""
        self.words[_SAID + place] = 0
        self.words[_SINCE + place] = since

    def end(self, place: int) -> None:
        """Write down that *place* neither has the turn nor waits for it."""
        self.words[_WANTS + place] = self.words[_SINCE + place] = self.words[_SAID + place] = 0

    def note_lock(self, place: int, *, waits: bool) -> None:
        """Write down whether *place*, which has the turn, waits for SQLite's lock."""
        self.words[_SAID + place] = int(waits)

    def holder(self, pid: int, but: int) -> Holder:
        """Return the process *pid*, which has the turn with another place than *but*."""
        for place, its in enumerate(self.pids()):
            since = self.words[_SINCE + place]
            if its == pid and since and place != but:
                for_s = max(0.0, (time.monotonic_ns() - since) / 1e9)
                return Holder(pid, for_s, self.words[_SAID + place] == 1)
        return Holder(pid or None, None, waits=False)

    def reserve(self, place: int, until: int) -> None:
        """Write down that the turn is kept for *place* up to the moment *until*, at most ``RESERVED_NS`` from now."""
        self.words[_FOR], self.words[_UNTIL] = place, until

    def reserved_for(self) -> int | None:
        """Return the place that the turn is kept for at this moment."""
        left = self.words[_UNTIL] - time.monotonic_ns()
        # Further ahead it was written before the system was started anew.
        return self.words[_FOR] if 0 < left <= RESERVED_NS else None

    def reserved_last(self) -> int:
        """Return the place that the turn was kept for last."""
        return self.words[_FOR]

    # --- who waits

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for the turn."""
        return self.mapping[_WANTED] != _NOBODY

    def waiting(self) -> list[tuple[int, int]]:
        """Return who waits: since when, and the place."""
        return [(since, place) for place, since in enumerate(self.numbers(_WANTS, PLACES)) if since]

    def want(self, place: int, since: int) -> None:
        """Write down that *place* waits since then, and says so now; 0: it does not."""
        self.words[_SAID + place] = time.monotonic_ns()
        self.words[_WANTS + place] = since

    def silent_ns(self, place: int) -> int:
        """Return for how long *place* has not said that it waits; less than 0: that was before the system's start."""
        return time.monotonic_ns() - self.words[_SAID + place]

    def forget(self, place: int) -> None:
        """Take *place* off those who wait."""
        self.words[_WANTS + place] = 0

    def bell(self, place: int) -> int:
        """Return how often it has been rung for *place*."""
        return self.bells[_BELL + place]

    def listen(self, place: int, heard: int, timeout_s: float) -> None:
        """Wait, as *place*, until it is rung again since *heard*, for *timeout_s* seconds at most."""
        self.wait(_BELL + place, heard, timeout_s)

    def ring_first(self) -> None:
        """Wake who has waited longest, unless the turn is reserved."""
        if self.is_wanted and self.reserved_for() is None:
            waiting = self.waiting()
            if waiting:
                self.ring(_BELL + min(waiting)[1])
