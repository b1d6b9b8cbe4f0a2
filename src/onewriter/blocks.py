"""Reads that keep their snapshot for the length of a block: a read transaction, a stream.

A snapshot keeps the WAL from starting over, so it may grow old, but not for ever
(https://sqlite.org/wal.html#avoiding_excessively_large_wal_files).

E1  Past ``ends_at`` a running statement is interrupted (``Handle.hold_until``), and a block that is between two of them
    is ended by the watch, under the gate: its cursors are closed, its transaction is rolled back.
E2  The watch never waits for the gate: a thread may be inside a function of SQL for long. It sets ``is_due``, so that
    the block's next call ends it, and looks again.
E3  The reader stays lent until the block is left. Who gives it back says so in ``over``, under the gate; from then on
    nobody else touches the connection.

States of ``over``:

    ""  ──claim──> "ended"               the block is left, or its thread has ended: `readers` cleans the connection
    ""  ──end_now──> why                 it is too old: by the watch, or by its own thread's next call
"""

from __future__ import annotations

import logging
import weakref
from typing import Protocol

from . import clock
from .errors import Error, StatementTimeout
from .gates import Gated
from .marks import Mark

_log = logging.getLogger(__name__)


class Snapshot(Protocol):
    """The connection.

    Attributes:
        hold_until: when the snapshot is too old.
    """

    hold_until: float

    def too_old(self) -> str:
        """Say that it is."""
        ...

    def rollback(self) -> None:
        """End it, with all that is open on it."""
        ...


class Block(Gated):
    """One read.

    Attributes:
        mark: its thread's.
        ends_at: when its snapshot is too old; never, while it has none.
    """

    ends_at = clock.NEVER
    _connection: Snapshot | None = None

    def __init__(self, what: str, mark: weakref.ref[Mark]) -> None:
        """Begin without a connection; it is for *what*, until its first statement."""
        super().__init__()
        self.doing = what
        self.mark = mark

    def open(self, connection: Snapshot) -> None:
        """Keep the snapshot that *connection* has."""
        self._connection = connection
        self.ends_at = connection.hold_until

    def expire(self) -> bool:
        """End it since it is too old, for the watch; False where its thread is in the middle of a call (E2)."""
        self.is_due = True
        if not self.gate.acquire(blocking=False):
            return False
        try:
            if not self.over:
                self.end_now()
        except BaseException:  # of a user's hook, since nothing interrupts this thread: it is not asked again
            self.over = self.over or "the read was too old"
            raise
        finally:
            self.gate.release()
        return True

    def end_now(self) -> None:
        """End it since it is too old; who calls it has the gate. An interrupt leaves it to be done again."""
        connection = self._connection
        assert connection is not None, "only what was opened grows old"
        try:
            connection.rollback()
        except Error:  # who gives it back cleans it, or closes it
            _log.warning("a read that was too old could not be rolled back", exc_info=True)
        self.over = connection.too_old()

    def refusal(self) -> Error:
        """Return the error for a call that comes when it is over."""
        return super().refusal() if self.is_left else StatementTimeout(self.over, ran="rolled_back")
