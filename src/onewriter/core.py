"""What a database owns, apart from the object that its users have: so that it can be closed when that is forgotten.

O1  Nothing here, and no thread of the library's, refers to the `Database`: the garbage collector sees when nobody does.
O2  Closing goes from the outside in: readers, the line and its writer, the background threads, who observes, the
    watch. It is done up to a deadline, by any thread, again where it was not ended; what is at work then closes its
    part on leaving.
O3  The file's presence is released when all is closed.
"""

from __future__ import annotations

import _thread
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Protocol

from . import clock
from .background import Background
from .checkpoints import Checkpointer
from .config import Config
from .connection import Connection
from .errors import MisuseError, NestedRead, NestedWrite, WriteTimeout
from .helpers import apart
from .locks import closed_lock
from .observers import Observers
from .presence import Presence, nested
from .reader import ReadingConnection
from .readers import Readers
from .shared import all_of
from .tracing import writer_of
from .turns import Turn
from .watch import Watch

_FORGOTTEN_S = 5.0
_MOMENT_S = 0.005
_REST_PAGES = 1_000  # that may be moved with the role


class Staff(Protocol):
    """Threads of somebody who uses the database, which end with it."""

    def stop(self) -> object:
        """Have each end when it has done what was asked for before; waits for nothing."""
        ...

    def join(self, deadline: float) -> bool:
        """Wait for the end of all, up to *deadline*; return whether all have ended."""
        ...


class Core:
    """The parts of one open database."""

    def __init__(
        self,
        path: Path,
        presence: Presence,
        readers: Readers,
        connection: Connection | None,
        config: Config,
        *,
        connect: Callable[[float], Connection],
        connect_reader: Callable[[float], ReadingConnection],
    ) -> None:
        """Own *readers*, and *connection*, which writes.

        *connect* opens another like it, up to a deadline, *connect_reader* one that reads.
        """
        self.writer = None if connection is None else writer_of(connection, config, path, presence)
        self._connect = connect
        self._path = path
        self._presence = presence
        self._readers = readers
        self.background = None if self.writer is None else Background(self.writer)
        self.watch = Watch(path, presence, readers, config.holder_warn_s)
        self.observers = Observers(path, config, presence, self.writer, connect_reader)
        self.observers.at_quiet = self._part_ended
        self.is_closed = False  # `close` was called, by whomever
        self.is_closing = False  # and is at work still, or was interrupted
        self._writer_is_ended = self.writer is None
        self._checkpointer: Checkpointer | None = None
        if self.writer is not None:
            self.writer.at_end = self._writer_ended
            if config.checkpoint == "auto":
                self._checkpointer = Checkpointer(
                    connect, config, path, self.writer.connection.page_bytes(), readers.oldest
                )
                self._checkpointer.at_end = self._part_ended
                self.writer.batch.checkpointer = self._checkpointer
        readers.at_block, readers.at_end = self.watch.look_by, self._part_ended
        self._forgotten = closed_lock()  # news for who has forgotten it
        self.tasks: weakref.WeakSet[Staff] = weakref.WeakSet()  # the threads that read for tasks

    def check_outside(self) -> None:
        """Refuse to close where the calling thread would wait for itself.

        Raises:
            NestedWrite, NestedRead: it is in the middle of a write or a read.
        """
        if self.writer is not None and self.writer.is_held_here():
            msg = f"{self._path}: close() inside a write would wait for itself; leave the write first"
            raise NestedWrite(msg)
        if self._readers.is_held_here():
            msg = f"{self._path}: close() inside a read would wait for itself; leave the read first"
            raise NestedRead(msg)

    def empty_wal(self, timeout_s: float) -> bool:
        """Move all of the WAL and cut it, waiting up to *timeout_s* seconds; return whether that was done.

        Most is moved by the way. Then the role is kept until nobody reads what the WAL holds, for as long as a pause
        may last, and again after a moment in which others write. What a reader kept until then is not moved with the
        role, but by the way again.

        Raises:
            WriteTimeout: the role did not come in time, not once.
            NestedWrite: the calling thread is writing.
        """
        writer = self.writer
        assert writer is not None, "of a database for writing"
        if writer.presence.is_writing():
            raise nested()
        deadline, has_tried = clock.now() + timeout_s, False
        with closing(self._connect(deadline)) as by_the_way:
            while True:
                state = by_the_way.checkpoint("PASSIVE")
                rest = _REST_PAGES if state is None or state[0] != state[1] else math.inf
                try:
                    with Turn(writer, max(0.0, deadline - clock.now())) as connection:
                        writer.take_turn(deadline)
                        has_tried = True
                        if _cut(connection, rest, clock.now() + writer.config.checkpoint_pause_s):
                            return True
                except WriteTimeout:
                    if not has_tried:
                        raise
                    return False
                if clock.now() + _MOMENT_S >= deadline:
                    return False
                time.sleep(_MOMENT_S)

    def close(self, deadline: float) -> None:
        """Close everything (O2)."""
        self.is_closing = True  # first: between the two it is not closed
        self.is_closed = True
        ended = self._readers.close(deadline)
        ended = self.observers.stop_looking(deadline) and ended
        if self.writer is not None:
            ended = self.writer.close(deadline) and ended  # last, so that its close ends the WAL
        if self.background is not None:
            self.background.end(deadline)
        self.observers.end(deadline)
        for staff in all_of(self.tasks):
            staff.stop()
            staff.join(deadline)
        if self._checkpointer is not None and ended:
            ended = self._checkpointer.end(deadline)
        if ended:  # while anybody is at work, what it does counts as a write of this file
            self.watch.end(deadline)
            self._presence.release(self._readers)
        self.is_closing = False

    def _writer_ended(self) -> None:
        self._writer_is_ended = True
        if self._checkpointer is not None:
            self._checkpointer.stop()
        self._part_ended()

    def _part_ended(self) -> None:
        """Do, on whichever thread was the last to be at work, what `close` has to leave to it (O2, O3)."""
        if self.is_closed and self._writer_is_ended and self._readers.is_empty and self.observers.is_quiet:
            self.watch.stop()
            if self._checkpointer is None or self._checkpointer.is_over:
                self._presence.release(self._readers)

    def close_at_exit(self, deadline: float) -> None:
        """Close everything, up to *deadline*; at once where the calling thread holds what would be waited for."""
        try:
            self.check_outside()
        except MisuseError:
            deadline = clock.now()
        self.close(deadline)

    def close_forgotten(self) -> None:
        """Close what nobody can use any more; for a finalizer, which may come anywhere and so takes no lock.

        A thread of its own does it. It is waited for, so that what was open is closed when the collector has done,
        unless this is one of the threads that it will have to wait for.
        """
        if sys.is_finalizing():
            return
        _thread.start_new_thread(apart, ("forgotten", self._close_forgotten))
        if not threading.current_thread().name.startswith("onewriter-"):
            self._forgotten.acquire(timeout=_FORGOTTEN_S)

    def _close_forgotten(self) -> None:
        try:
            self.close(clock.now() + _FORGOTTEN_S)
        finally:
            self._forgotten.release()

    def disown(self) -> list[object]:
        """In a forked child: end what waits, and return what must be kept and never closed there."""
        kept: list[object] = [self.writer, self._readers, self._checkpointer, self.observers]
        if self.background is not None:
            kept += self.background.disown()
        return kept


def _cut(connection: Connection, rest: float, until: float) -> bool:
    """Have *connection* cut the WAL before *until*, if at most *rest* pages of it have to be moved for that."""
    while True:
        state = connection.wal_state()
        if state is not None:
            log, moved = state
            if log - moved > rest:
                return False
            if connection.checkpoint("TRUNCATE") is not None:
                return True
        if clock.now() >= until:
            return False
        time.sleep(_MOMENT_S / 10)
