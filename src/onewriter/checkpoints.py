"""Checkpoints: how the WAL is moved into the database and starts over, without a commit that pays for it.

C1  One thread a database moves the pages, on a connection of its own; no commit does. What it does by the way keeps
    nobody waiting (``PASSIVE``, https://sqlite.org/c3ref/wal_checkpoint_v2.html).
C2  That alone never lets the WAL start over while writes and reads go on: there is always a page that was written, or a
    reader that began, since. So near ``wal_bytes_max`` the holder of the write role, after a commit, keeps the role
    for ``checkpoint_pause_s`` at most, in which nothing is written: the thread moves what is left and asks for a
    ``RESTART`` again and again, without waiting in SQLite, until the readers of older snapshots have left.
C3  The holder waits for the thread by the clock, so that its call never takes longer, whatever the disk does.
C4  A pause that ended in vain is tried again when the WAL has grown by a sixteenth of its limit: so writers are slowed
    down where they are faster than the thread. Past twice the limit, where it does not move anything, a reader must be
    keeping the WAL: then it is tried ever more rarely, until the thread moves something again. Who it is is logged
    once.
C5  Where nothing has been written for ``QUIET_S``, the file is cut to nothing, without waiting for anybody.
C6  Whoever closes the last connection to the file moves what is left (https://sqlite.org/wal.html#ckpt).
C7  No SQLite call of the thread is under way when the process forks: the child could not shed that handle.

The thread is started when the WAL first has enough in it. Fields are written by one side each: ``_asked`` by the holder
of the write role, all others by the thread. A `_Pause` is answered once, and an answer that comes late is to no one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import clock, files
from .blockers import readers_of
from .config import Config
from .connection import Connection
from .errors import Error
from .helpers import Helper
from .locks import closed_lock, wake_up
from .upkeep import Mode

_log = logging.getLogger(__name__)

PASS_PAGES: Final = 1_000  # SQLite's own measure: https://sqlite.org/wal.html#automatic_checkpoint
QUIET_S: Final = 1.0
_QUIET_S_MAX: Final = 30.0  # between two tries while readers are in the way
_AGAIN_S: Final = 0.1  # after a pass that could not move all
_RETRY_S: Final = 0.0005  # of a restart, within a pause
_COPIES_S: Final = 0.02  # a pass that lasts longer has something to move
_RARELY_S, _RARELY_S_MAX = 0.25, 5.0
_CONNECT_S: Final = 1.0
_FORK_S: Final = 5.0  # that a fork waits for a call to end
_FRAME_HEADER: Final = (
    24  # bytes before each page in the WAL: https://sqlite.org/fileformat2.html#the_write_ahead_log
)


class _Pause:
    """The holder waits up to a moment for the WAL to start over."""

    __slots__ = ("is_answered", "news", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.news = closed_lock()
        self.is_answered = False


class Checkpointer:
    """The thread of one database that moves its WAL."""

    def __init__(
        self,
        connect: Callable[[float], Connection],
        config: Config,
        path: Path,
        page_bytes: int,
        oldest: Callable[[], tuple[str, float] | None],
    ) -> None:
        """Work on what *connect* opens, by a deadline; *oldest* names this process's oldest reader, and since when."""
        self._connect = connect
        self._config = config
        self._path = path
        self._oldest = oldest
        self._limit = max(
            1, config.wal_bytes_max // (page_bytes + _FRAME_HEADER)
        )  # in pages, as all that follows
        self.pass_pages = max(1, min(PASS_PAGES, self._limit // 4))  # a pass of the thread is worth it
        self.look_pages = max(
            1, self.pass_pages // 8
        )  # the holder of the write role looks when it has written so many
        self._near = max(1, self._limit * 3 // 4)
        self.at_end: Callable[[], object] | None = None  # called when the thread has ended
        self._asked: _Pause | None = None
        self._connection: Connection | None = None
        self._pass_at, self._pass_log = 0.0, 0  # when, or from which size on, the next pass is worth it
        self._began_at = clock.NEVER  # when the pass began that is under way
        self._moved: int = 0  # what the last one had moved
        self._pause_at, self._pause_log = 0.0, 0  # when, and from which size on, the next pause may be (C4)
        self._rarely_s = _RARELY_S
        self._complained = ""  # what was logged last, so that it is logged once
        self._small_bytes = self.pass_pages * page_bytes  # that are not worth cutting
        self._quiet_log, self._quiet_since, self._quiet_s = -1, 0.0, QUIET_S
        self.calling = threading.Lock()  # while a call of SQLite's runs (C7)
        self._helper = Helper(f"onewriter-checkpoint-{path.name}", self._work, leave=self._leave)
        _all.add(self)

    # --- for the holder of the write role, after a commit

    def look(self, connection: Connection) -> None:
        """See how much the WAL of *connection* holds, and have done what is to be done; may pause the caller (C2).

        It raises nothing but what interrupts: what was committed stands.
        """
        try:
            self._look(*connection.wal_state())
        except Error:
            _log.warning("%s: the WAL cannot be looked after", self._path, exc_info=True)

    def _look(self, log: int, moved: int) -> None:
        now = clock.now()
        copies = now - self._began_at >= _COPIES_S
        if log >= max(self._near, self._pause_log) and (copies or now >= self._pause_at):
            self._pause_log = log + max(1, self._limit // 16)
            self._pause(now + self._config.checkpoint_pause_s)
        elif log - moved >= self.pass_pages and (now >= self._pass_at or log >= self._pass_log):
            self._helper.start()
            self._helper.nudge()

    def _pause(self, until: float) -> None:
        pause = _Pause(until)
        self._helper.start()
        self._asked = pause
        self._helper.nudge()
        while not pause.is_answered and clock.now() < until:
            pause.news.acquire(timeout=clock.wait_s(until))

    # --- for whom the WAL has grown otherwise, and who closes

    def nudge(self) -> None:
        """Have the thread look soon."""
        self._helper.start()
        self._helper.nudge()

    def stop(self) -> None:
        """Have the thread end, and close its connection, without waiting for it."""
        self._helper.stop()

    def end(self, deadline: float) -> bool:
        """Wait for that; False where it takes longer than *deadline*."""
        return self._helper.end(deadline)

    @property
    def is_closed(self) -> bool:
        """Whether it has no connection at this moment."""
        return self._connection is None

    # --- on the thread

    def _work(self) -> float:
        if self._helper.has_ended():
            return clock.NEVER
        pause = self._asked
        try:
            if pause is not None and not pause.is_answered:
                self._restart(pause)
            else:
                self._pass()
            return self._cut_when_quiet()
        except Error as error:
            self._complain("failed", f"a checkpoint failed, and is tried again: {error}")
            return clock.now() + QUIET_S
        finally:
            if pause is not None:
                pause.is_answered = True
                wake_up(pause.news)

    def _pass(self) -> None:
        """Move what can be moved (C1)."""
        log, moved = self._move() or self._state()
        self._pass_at, self._pass_log = clock.now() + _AGAIN_S, log + self.pass_pages
        if log == moved or log < self._near:
            self._forget_failures()  # nobody keeps it

    def _restart(self, pause: _Pause) -> None:
        """Have the WAL start over while the holder waits (C2)."""
        stuck_at = self._moved
        while True:
            self._move()
            log, moved = self._state()
            # A restart keeps writers out while it moves what is left: so nothing may be.
            if log == moved and clock.now() < pause.until and self._checkpoint("RESTART") is not None:
                self._pass_at, self._pass_log, self._complained = 0.0, 0, ""
                self._forget_failures()
                return
            if clock.now() >= pause.until or self._helper.has_ended():
                break
            time.sleep(_RETRY_S)
        self._pass_at = clock.now() + _AGAIN_S
        if log >= 2 * self._limit and moved == stuck_at:
            self._pause_at, self._rarely_s = (
                clock.now() + self._rarely_s,
                min(2 * self._rarely_s, _RARELY_S_MAX),
            )
        if log >= self._limit and moved == stuck_at:
            self._complain(
                "kept", f"the WAL is past Config.wal_bytes_max and cannot start over: {self._keepers()}"
            )

    def _move(self) -> tuple[int, int] | None:
        self._began_at = clock.now()
        try:
            done = self._checkpoint("PASSIVE")
        finally:
            self._began_at = clock.NEVER
        if done is not None and done[1] != self._moved:
            self._moved, self._pause_at, self._rarely_s = done[1], 0.0, _RARELY_S
        return done

    def _forget_failures(self) -> None:
        self._pause_at, self._pause_log, self._rarely_s = 0.0, 0, _RARELY_S

    def _cut_when_quiet(self) -> float:
        """Cut the file where nothing has been written for a while (C5); return when to look again."""
        now = clock.now()
        if files.size(files.beside(self._path, "-wal")) <= self._small_bytes:
            return clock.NEVER
        log, moved = self._state()
        if log != self._quiet_log:
            self._quiet_log, self._quiet_since, self._quiet_s = log, now, QUIET_S
        elif now >= self._quiet_since + self._quiet_s:
            if moved < log:
                self._move()
            if self._checkpoint("TRUNCATE") is not None:
                self._forget_failures()
                return clock.NEVER
            self._quiet_s = min(2 * self._quiet_s, now - self._quiet_since + _QUIET_S_MAX)
        return max(now, self._quiet_since + self._quiet_s)

    def _checkpoint(self, mode: Mode) -> tuple[int, int] | None:
        with self.calling:
            return self._connected().checkpoint(mode)

    def _state(self) -> tuple[int, int]:
        with self.calling:
            return self._connected().wal_state()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect(clock.now() + _CONNECT_S)
        return self._connection

    def _leave(self) -> None:
        if self._connection is not None and not self._connection.inherited:
            self._connection.close()
            self._connection = None
        if self.at_end is not None:
            self.at_end()

    def _complain(self, kind: str, text: str) -> None:
        if self._complained != kind:
            self._complained = kind
            _log.warning("%s: %s", self._path, text)

    def _keepers(self) -> str:
        """Say who keeps the WAL: the oldest reader of this process if it is old, and other processes that read."""
        oldest, now = self._oldest(), clock.now()
        keepers = [f"{name} reads" for name in readers_of(self._path)]
        if oldest is not None and (now - oldest[1] >= self._config.checkpoint_pause_s or not keepers):
            keepers.insert(0, f"{oldest[0]} has read for {now - oldest[1]:.3g} s")
        return "; ".join(keepers) or "a reader that cannot be seen"


_all: weakref.WeakSet[Checkpointer] = weakref.WeakSet()
_held: list[threading.Lock] = []  # while the process forks


def _before_fork() -> None:
    _held.extend(each.calling for each in list(_all) if each.calling.acquire(timeout=_FORK_S))


def _after_fork() -> None:
    while _held:
        _held.pop().release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
