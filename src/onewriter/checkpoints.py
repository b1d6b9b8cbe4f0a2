"""Checkpoints: how the WAL is moved into the database and starts over, without a commit that pays for it.

C1  One thread a database moves the pages, on a connection of its own; no commit does. What it does by the way keeps
    nobody waiting (``PASSIVE``, https://sqlite.org/c3ref/wal_checkpoint_v2.html).
C2  That alone never lets the WAL start over while writes and reads go on: there is always a page that was written, or a
    reader that began, since. So near ``wal_bytes_max`` the holder of the write role, after a commit, keeps the role
    for ``checkpoint_pause_s`` at most, in which nothing is written: the thread moves what is left and asks for a
    ``RESTART`` again and again, without waiting in SQLite, until the readers of older snapshots have left.
    After a pass that has left little, the holder does the same for ``BRIEF_S`` at most: to write over a WAL that has
    its size costs the disk a third less than to make it longer. Where that is in vain it is tried ever more rarely.
C3  The holder waits for the thread by the clock, so that its call never takes longer, whatever the disk does.
C4  A pause that ended in vain is tried again when the WAL has grown by a sixteenth of its limit: so writers are slowed
    down where they are faster than the thread. Past twice the limit, where it does not move anything, a reader must be
    keeping the WAL: then it is tried ever more rarely, until the thread moves something again. Who it is is logged
    once.
C5  Where nothing has been written for ``QUIET_S``, a file that is longer than a quarter of ``wal_bytes_max`` is cut to
    nothing, without waiting for anybody. A shorter one stays, since what is written next is written over it: to make
    a file longer costs a sync twice as much.
C6  Whoever closes the last connection to the file moves what is left (https://sqlite.org/wal.html#ckpt). SQLite does
    that inside the close, and APSW has the interpreter's lock meanwhile: no thread, no event loop would run for as
    long. So where the process is the last to write, what is left is moved, and the WAL cut, before the close: by this
    thread, or where it has no connection yet by who closes the writing one. He does not wait for the thread, which may
    be at `on_connect`.
C7  No SQLite call of the thread is under way when the process forks, nor what is done in its place (C6), not even its
    close: the child could not shed that handle.
C8  Where a reader has let the file get long, it is cut while writes go on, by the first commit after each restart:
    SQLite does it nowhere else. To cut a gigabyte takes a quarter of a second, so no commit cuts more than
    ``CUT_BYTES``, and restarts are sought more often until the file is within its limit.

The thread is started when the WAL first has enough in it. Fields are written by one side each: ``_asked`` and
``_cut_to`` by the holder of the write role, all others by the thread; but ``_pause_log``, ``_is_moved`` and
``_complained`` by both: at worst there is a pause, or a line in the log, too many. A `_Pause` is answered once; an
answer that comes late is to no one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from . import clock, files
from .blockers import readers_of
from .config import Config
from .connection import Connection
from .errors import Error
from .helpers import Helper
from .locks import closed_lock, holding, wake_up
from .shared import all_of
from .upkeep import Mode

_log = logging.getLogger(__name__)

PASS_PAGES: Final = 1_000  # SQLite's own measure: https://sqlite.org/wal.html#automatic_checkpoint
QUIET_S: Final = 1.0
BRIEF_S: Final = 0.005
CUT_BYTES = 192 * 1024 * 1024
_QUIET_S_MAX: Final = 30.0  # between two tries while readers are in the way
_AGAIN_S: Final = 0.1  # after a pass that could not move all
_RETRY_S: Final = 0.0005  # of a restart, within a pause
_COPIES_S: Final = 0.02  # a pass that lasts longer has something to move
_RARELY_S, _RARELY_S_MAX = 0.25, 5.0
_CONNECT_S: Final = 1.0
_FORK_S: Final = 5.0  # that a fork waits for a call to end
# Bytes before each page in the WAL: https://sqlite.org/fileformat2.html#the_write_ahead_log
_FRAME_HEADER: Final = 24


class _Pause:
    """The holder waits up to a moment for the WAL to start over."""

    __slots__ = ("is_answered", "is_brief", "news", "until")

    def __init__(self, until: float, *, is_brief: bool) -> None:
        self.until = until
        self.is_brief = is_brief
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
        # In pages, as all that follows: a pass of the thread is worth it; the holder of the write role has written so
        # many since its last look; a pause is due.
        self._limit = max(1, config.wal_bytes_max // (page_bytes + _FRAME_HEADER))
        self.pass_pages = max(1, min(PASS_PAGES, self._limit // 4))
        self.look_pages = max(1, self.pass_pages // 8)
        self._near = max(1, self._limit * 3 // 4)
        self._asked: _Pause | None = None
        self._cut_to = -1  # the size to which a commit cuts the file; -1: it does not
        self._connection: Connection | None = None
        self._pass_at, self._pass_log = 0.0, 0  # when, or from which size on, the next pass is worth it
        self._began_at = clock.NEVER  # when the pass began that is under way
        self._moved: int = 0  # what the last one had moved
        self._pause_at, self._pause_log = 0.0, 0  # when, and from which size on, the next pause may be (C4)
        self._rarely_s = _RARELY_S
        self._is_moved = False  # the last pass has left little, and nobody has tried a restart since
        # When a brief pause may be; how long after one that was in vain.
        self._brief_at, self._brief_s = 0.0, _RARELY_S
        self._complained = ""  # what was logged last, so that it is logged once
        self._small_bytes = max(1, self._limit // 4) * page_bytes  # that are not cut (C5)
        self._quiet_log, self._quiet_since, self._quiet_s = -1, 0.0, QUIET_S
        self.calling = threading.RLock()  # while a call of SQLite's runs (C7)
        self.settling = threading.RLock()  # while the writing connection is closed. Re-entrant for `holding`
        self._is_last = False  # when it ends, the process is the last to write
        self.at_end: Callable[[], object] | None = None  # called when the connection is closed
        self._is_over = False
        self._helper = Helper(f"onewriter-checkpoint-{path.name}", self._work, leave=self._leave)
        _all.add(self)

    # --- for the holder of the write role, after a commit

    def look(self, connection: Connection) -> None:
        """See how much the WAL of *connection* holds, and have done what is to be done; may pause the caller (C2).

        It raises nothing but what interrupts: what was committed stands.
        """
        try:
            state = connection.wal_state()
            if state is not None:
                self._look(connection, *state)
        except Error as error:
            self._complain("unseen", f"the WAL cannot be looked after: {error}")

    def _look(self, connection: Connection, log: int, moved: int) -> None:
        now = clock.now()
        copies = now - self._began_at >= _COPIES_S
        file_bytes = files.size(files.beside(self._path, "-wal"))
        is_long = file_bytes > self._config.wal_bytes_max
        near = self.pass_pages if is_long else self._near
        cut_to = max(self._config.wal_bytes_max, file_bytes - CUT_BYTES) if is_long else -1  # C8
        if cut_to != self._cut_to:
            connection.limit_wal(cut_to)
            self._cut_to = cut_to
        if log >= max(near, self._pause_log) and (copies or now >= self._pause_at):
            self._pause_log = log + max(1, self._limit // 16)
            self._pause(now + self._config.checkpoint_pause_s)
        elif self._is_moved and log - moved <= 2 * self.look_pages and now >= self._brief_at:
            self._is_moved = False
            self._pause(now + min(BRIEF_S, self._config.checkpoint_pause_s), is_brief=True)
        elif log - moved >= self.pass_pages and (now >= self._pass_at or log >= self._pass_log):
            self._helper.start()
            self._helper.nudge()

    def _pause(self, until: float, *, is_brief: bool = False) -> None:
        pause = _Pause(until, is_brief=is_brief)
        self._helper.start()
        self._asked = pause
        self._helper.nudge()
        while not pause.is_answered and clock.now() < until:
            pause.news.acquire(timeout=clock.wait_s(until))

    # --- for whom the WAL has grown otherwise, and who closes

    def nudge(self) -> None:
        """Have the thread look soon; as `look`, it makes no failure of what was done."""
        try:
            self._helper.start()
            self._helper.nudge()
        except Error as error:
            self._complain("unseen", f"the WAL cannot be looked after: {error}")

    def close(self, connection: Connection) -> None:
        """Close *connection*, the writing one, with no work left for that, nor for the thread's own close (C6)."""
        self._is_last = connection.turn is None or connection.turn.is_last()
        holding(self.settling, self._settle_and_close, connection)

    def stop(self) -> None:
        """Have the thread end, and close its connection, without waiting for it."""
        self._helper.stop()

    def end(self, deadline: float) -> bool:
        """Wait for that; False where it takes longer than *deadline*."""
        try:
            return self._helper.end(deadline)
        except Error:
            return True  # it could not be started, so there is nothing to end

    @property
    def is_over(self) -> bool:
        """Whether its connection is closed, or it never had one; once it was told to end."""
        return self._is_over or not self._helper.was_asked

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
            self._complain(
                "failed", f"a checkpoint failed, and is tried again; the WAL grows meanwhile: {error}"
            )
            return clock.now() + QUIET_S
        finally:
            if pause is not None:
                pause.is_answered = True
                wake_up(pause.news)

    def _pass(self) -> None:
        """Move what can be moved (C1)."""
        state = self._move() or self._state()
        if state is None:
            return
        log, moved = state
        self._pass_at, self._pass_log = clock.now() + _AGAIN_S, log + self.pass_pages
        self._is_moved = 0 <= log - moved <= self.look_pages
        # Asked anew, since a pass that more is written under is done without a sync, and tells of its own pages only.
        if self._complained not in ("", "kept") and self._state() == (log, log) == (log, moved):
            self._complained = ""  # it works again
        if log == moved or log < self._near:
            self._forget_failures()  # nobody keeps it

    def _restart(self, pause: _Pause) -> None:
        """Have the WAL start over while the holder waits (C2)."""
        stuck_at, log, moved = self._moved, 0, 0
        while True:
            self._move()
            log, moved = self._state() or (log, moved)
            # A restart keeps writers out while it moves what is left: so nothing may be.
            if log == moved > 0 and clock.now() < pause.until and self._checkpoint("RESTART") is not None:
                self._pass_at, self._pass_log, self._complained = 0.0, 0, ""
                self._brief_at, self._brief_s = 0.0, _RARELY_S
                self._forget_failures()
                return
            if clock.now() >= pause.until or self._helper.has_ended():
                break
            time.sleep(_RETRY_S)
        self._pass_at = clock.now() + _AGAIN_S
        if pause.is_brief:
            self._brief_at, self._brief_s = clock.now() + self._brief_s, min(2 * self._brief_s, _RARELY_S_MAX)
            return
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
        log, moved = self._state() or (-1, 0)
        if log != self._quiet_log or log < 0:
            self._quiet_log, self._quiet_since, self._quiet_s = log, now, QUIET_S
        elif now >= self._quiet_since + self._quiet_s:
            if moved < log:
                self._move()
            # As with a restart: others may have written while pages were moved.
            if self._state() == (log, log) and self._checkpoint("TRUNCATE") is not None:
                self._forget_failures()
                return clock.NEVER
            self._quiet_s = min(2 * self._quiet_s, now - self._quiet_since + _QUIET_S_MAX)
        return max(now, self._quiet_since + self._quiet_s)

    def _checkpoint(self, mode: Mode) -> tuple[int, int] | None:
        with self.calling:
            return self._connected().checkpoint(mode)

    def _state(self) -> tuple[int, int] | None:
        with self.calling:
            return self._connected().wal_state()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect(clock.now() + _CONNECT_S)
        return self._connection

    def _leave(self) -> None:
        if self._connection is not None and not self._connection.inherited:
            with self.calling:
                self._settle(self._connection)
                self._connection.close()
        self._is_over = True
        if self.at_end is not None:
            self.at_end()

    def _settle_and_close(self, connection: Connection) -> None:
        if self._connection is None:
            self._settle(connection)
        connection.close()

    def _settle(self, connection: Connection) -> None:
        if self._is_last:
            with suppress(Error):  # the close tries again
                done = connection.checkpoint("PASSIVE")
                if done is not None and done[0] == done[1]:
                    connection.checkpoint("TRUNCATE")

    def _complain(self, kind: str, text: str) -> None:
        if self._complained != kind:
            self._complained = kind
            with suppress(Exception):  # a log's handler may raise, and what was committed stands
                _log.warning("%s: %s", self._path, text)

    def _keepers(self) -> str:
        """Say who keeps the WAL: the oldest reader of this process if it is old, and other processes that read."""
        oldest, now = self._oldest(), clock.now()
        keepers = [f"{name} reads" for name in readers_of(self._path)]
        if oldest is not None and (now - oldest[1] >= self._config.checkpoint_pause_s or not keepers):
            keepers.insert(0, f"{oldest[0]} has read for {now - oldest[1]:.3g} s")
        return "; ".join(keepers) or "a snapshot or check of this process, or a reader that cannot be seen"


_all: weakref.WeakSet[Checkpointer] = weakref.WeakSet()
# By the identifier of the thread that forks, which two may do at once, what it has meanwhile.
_held: dict[int, list[threading.RLock]] = {}


def _before_fork() -> None:
    locks = [lock for each in all_of(_all) for lock in (each.settling, each.calling)]
    held = _held[threading.get_ident()] = []
    held.extend(lock for lock in locks if lock.acquire(timeout=_FORK_S))


def _after_fork() -> None:
    for lock in _held.pop(threading.get_ident(), ()):
        lock.release()


def _after_fork_in_child() -> None:
    _after_fork()
    _held.clear()
    _all.clear()  # the parent's: one of a call that did not end in time would delay each fork of the child


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
