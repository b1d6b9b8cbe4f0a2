"""Who looks at long turns: one thread a database, started with its first interactive turn."""

from __future__ import annotations

import weakref
from contextlib import suppress

from . import clock
from .helpers import Helper
from .turns import Turn
from .writer import Writer


class Watch:
    """Looks at the turn of this moment: says once that it is held long, and ends it when it is held too long.

    Its thread is started with the first interactive turn, and sleeps for as long as there is none. ``_turn`` is written
    by the thread that has the turn before it reads ``_sleeps_until``, and this thread writes that before it reads
    ``_turn``: so one of the two always sees the other's. The reference is weak: a forgotten turn ends by itself.
    """

    def __init__(self, writer: Writer) -> None:
        """Begin with no turn to look at."""
        self._writer = writer
        self._turn: weakref.ref[Turn] | None = None
        self._sleeps_until = 0.0
        self._helper = Helper(f"onewriter-watch-{writer.path.name}", self._look)

    def look_at(self, turn: Turn) -> None:
        """Look at *turn* from now on, until it is over."""
        self._turn = weakref.ref(turn)
        self._helper.start()
        if min(turn.hold_until, turn.since + self._writer.config.holder_warn_s) < self._sleeps_until:
            self._helper.nudge()

    def stop(self) -> None:
        """End the thread, without waiting for it: the writer has ended, and with it every turn."""
        self._helper.stop()

    def end(self, deadline: float) -> bool:
        """Wait for the end of the thread, which comes with that of the writer."""
        return self._helper.end(deadline)

    def _look(self) -> float:
        """Do what is due, and return when to look again."""
        self._sleeps_until = clock.NEVER
        seen = self._turn
        turn = None if seen is None else seen()
        if turn is None or turn.over:
            return self._sleep(seen, clock.NEVER)
        with (
            self._writer.presence.engaged()
        ):  # the log's handler may write, and would wait for this very thread
            return self._look_at(turn, seen)

    def _look_at(self, turn: Turn, seen: weakref.ref[Turn] | None) -> float:
        now = clock.now()
        if now >= turn.hold_until:
            turn.expire()
            return self._sleep(seen, clock.NEVER)
        warn_at = turn.since + self._writer.config.holder_warn_s
        if now >= warn_at:
            with suppress(Exception):  # a log's handler may raise: it was refused, say
                self._writer.presence.warn_of(turn.ticket, self._writer.path, f"for {now - turn.since:.3g} s")
            warn_at = clock.NEVER
        return self._sleep(seen, min(warn_at, turn.hold_until))

    def _sleep(self, seen: weakref.ref[Turn] | None, until: float) -> float:
        self._sleeps_until = until
        return until if self._turn is seen else 0.0
