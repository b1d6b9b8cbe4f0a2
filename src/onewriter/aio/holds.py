"""How long a write turn may be held by a task's transaction."""

from __future__ import annotations

import io
import logging
from contextlib import suppress
from pathlib import Path

from onewriter import clock
from onewriter.errors import TransactionEnded
from onewriter.shared import may_see_frames
from onewriter.turns import held_too_long

from .mailbox import Letter

_log = logging.getLogger(__name__)


class Hold:
    """The time of one transaction, from now on; for the thread that keeps it.

    Attributes:
        until: when it is over.
    """

    def __init__(self, path: Path, letter: Letter, hold_s: float, warn_s: float) -> None:
        """Allow *hold_s* seconds; what holds it for longer than *warn_s*, the task of *letter*, is logged once."""
        self._path = path
        self._letter = letter
        self._hold_s = hold_s
        self._since = clock.now()
        self._warn_at = self._since + warn_s
        self.until = self._since + hold_s

    def is_over(self) -> bool:
        """Whether it was held too long."""
        return clock.now() >= self.until

    def patience_s(self) -> float:
        """Return how long to wait before the next `look`."""
        return max(0.0, min(self.until, self._warn_at) - clock.now())

    def look(self) -> None:
        """Log that it is held long.

        Raises:
            TransactionEnded: it was held too long.
        """
        if self.is_over():
            raise self.ended()
        if clock.now() >= self._warn_at:
            self._warn_at = clock.NEVER
            with suppress(Exception):  # a log's handler may raise
                self._warn()

    def ended(self) -> TransactionEnded:
        """Return the error for one that was held too long."""
        return TransactionEnded(held_too_long(self._path, self._hold_s), ran="rolled_back")

    def _warn(self) -> None:
        stack = io.StringIO()
        task = self._letter.who_asked
        if task is not None and may_see_frames():
            task.print_stack(file=stack)
        held_s = clock.now() - self._since
        _log.warning(
            "%s: %s has held the write turn for %.3g s\n%s",
            self._path,
            self._letter.who,
            held_s,
            stack.getvalue(),
        )
