"""Who looks at long turns and old reads: one thread a database, started with its first block of either kind."""

from __future__ import annotations

import logging
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

from . import clock
from .errors import OperationalError
from .helpers import Helper
from .loans import Loan, described
from .presence import Presence
from .readers import Readers
from .turns import Turn

_log = logging.getLogger(__name__)
_AGAIN_S: Final = 0.02  # between two looks at an old read that is in the middle of a call


class Watch:
    """Looks at the turn of this moment: says once that it is held long, and ends it when it is held too long.

    Looks at the reads that are blocks: ends those whose snapshot is too old.

    Its thread sleeps until the first of them is due, though that may be over by then, and for as long as nothing is due
    that it was told of: so blocks that come and go wake it no more often than they may last. ``_turn``, or the reader
    and the age of a block, are written by the thread that has them before it reads ``_sleeps_until``, and this thread
    writes that before it reads them: so one of the two always sees the other's. The reference to a turn is weak: a
    forgotten one ends by itself.
    """

    def __init__(self, path: Path, presence: Presence, readers: Readers, warn_s: float) -> None:
        """Begin with nothing to look at; a turn is held long when it is held for *warn_s*."""
        self._path = path
        self._presence = presence
        self._readers = readers
        self._warn_s = warn_s
        self._turn: weakref.ref[Turn] | None = None
        self._asked = 0.0  # when it was to look, at the latest call; to spare the next one a wake-up
        self._sleeps_until = clock.NEVER
        self._helper = Helper(f"onewriter-watch-{path.name}", self._look)

    def look_at(self, turn: Turn) -> None:
        """Look at *turn* from now on, until it is over."""
        self._turn = weakref.ref(turn)
        self._helper.start()
        self.look_by(min(turn.hold_until, turn.since + self._warn_s))

    def look_by(self, at: float) -> None:
        """Look at everything again at *at*, at the latest."""
        if at < self._sleeps_until:
            self._asked = at
            # Where no thread is left, or the program ends, it is a read all the same.
            with suppress(OperationalError):
                self._helper.start()
            self._helper.nudge()

    def stop(self) -> None:
        """End the thread, without waiting for it: all turns and all reads have ended."""
        self._helper.stop()

    def end(self, deadline: float) -> bool:
        """End the thread and wait for that; False where it took longer than *deadline*."""
        return self._helper.end(deadline)

    def _look(self) -> float:
        """Do what is due, and return when to look again."""
        self._sleeps_until = clock.NEVER
        seen = self._turn
        turn = None if seen is None else seen()
        until = min([clock.NEVER, *map(self._look_at_read, self._readers.loans())])
        if turn is not None and not turn.over:
            with self._presence.engaged():  # the log's handler may write, and would wait for this very thread
                until = min(until, self._look_at_turn(turn))
        asked = self._asked
        if clock.now() < asked < until:
            until = asked
        self._sleeps_until = until
        return until if self._turn is seen else 0.0

    def _look_at_turn(self, turn: Turn) -> float:
        now = clock.now()
        if now >= turn.hold_until:
            turn.expire()
            return clock.NEVER
        warn_at = turn.since + self._warn_s
        if now >= warn_at:
            with suppress(Exception):  # a log's handler may raise: it was refused, say
                self._presence.warn_of(turn.ticket, self._path, f"for {now - turn.since:.3g} s")
            warn_at = clock.NEVER
        return min(warn_at, turn.hold_until)

    def _look_at_read(self, loan: Loan) -> float:
        block = loan[3]
        if block is None or block.over:
            return clock.NEVER
        if clock.now() < block.ends_at:
            return block.ends_at
        with self._presence.engaged():
            is_new = not block.is_due
            is_over = block.expire()
            if is_new and not block.is_left:
                with suppress(Exception):
                    _log.warning(
                        "%s: a read was open for too long and is ended: %s", self._path, described(loan)
                    )
        return clock.NEVER if is_over else clock.now() + _AGAIN_S
