"""Locks and threads as the library's modules see them: each acquire and release is a point.

F1  A section is a lock whose holders never wait (`world`, P2): the line's own, and that of a future. A turn's gate is
    none, since statements run under it.
F2  In a fine thread a strike may come right after an acquire and right before a release, which leaves the lock held.
F3  The first acquire of a lock is none: mostly it is its maker's, who closes it as news. So the orders are missed in
    which another is first at the line, and nothing but that differs. Once all were gone through, in three times the
    time, and no fault was found.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty
from typing import Generic, TypeVar, cast

from onewriter import tickets, turns
from tests.explorer.world import LONG_S, Thread, Touch, here

T = TypeVar("T")


class FakeLock:
    """A lock whose acquire and release are points; re-entrant or not, a section or not."""

    def __init__(self, *, section: bool = False, reentrant: bool = False) -> None:
        """Begin free."""
        self._world = here()
        self.key = self._world.new_key()
        self._section = section
        self._reentrant = reentrant
        self._owner: Thread | None = None
        self._depth = 0
        self._fresh = True

    def is_free_for(self, thread: Thread) -> bool:
        """Whether *thread* gets it without waiting."""
        return not self._depth or (self._reentrant and self._owner is thread)

    def _is_owned(self) -> bool:
        """As Python's own re-entrant locks tell their conditions; no point, for who asks has it or has it not."""
        return bool(self._depth) and self._owner is self._world.current

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; False where the scheduler has let the time pass."""
        world, me = self._world, self._world.current
        may_time_out = not blocking or 0 <= timeout < LONG_S
        if me is not None and not self._fresh:
            me.waits, me.timeout_s = self, (max(0.0, timeout) if may_time_out else None)
            try:
                world.point()
            finally:
                me.waits = None
            world.touch(self.key, Touch.WRITE if may_time_out else Touch.TAKE)
            if not self.is_free_for(me):
                me.now += max(0.0, timeout)
                me.time_outs += 1
                return False
        self._fresh = False
        self._owner = me
        self._depth += 1
        if me is not None:
            me.sections += self._section
            if me.fine:
                world.point()  # F2
        return True

    def release(self) -> None:
        """Give it up, as ``threading`` does: a plain lock by anybody, a re-entrant one by its owner."""
        world, me = self._world, self._world.current
        if not self._depth or (self._reentrant and self._owner is not me):
            raise RuntimeError
        if not self._section or (me is not None and me.fine):
            world.point()  # F2
            if not self._depth:
                raise RuntimeError  # another thread was quicker
        world.touch(self.key, Touch.RELEASE)
        self._depth -= 1
        if me is not None:
            me.sections -= self._section

    def locked(self) -> bool:
        """Whether somebody has it."""
        self._world.touch(self.key, Touch.READ)
        return bool(self._depth)

    def touch(self) -> None:
        """Note an access to what it guards, by a thread that does not have it."""
        self._world.point()
        self._world.touch(self.key, Touch.READ)

    def __enter__(self) -> bool:
        """Acquire."""
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        """Release."""
        self.release()


class FakeQueue(Generic[T]):
    """``queue.SimpleQueue``: each call is a point, and cannot be divided."""

    def __init__(self) -> None:
        """Begin empty."""
        self._world = here()
        self.key = self._world.new_key()
        self._items: list[T] = []

    def is_free_for(self, _thread: Thread) -> bool:
        """Whether there is something to take."""
        return bool(self._items)

    def put(self, item: T) -> None:
        """Put *item* last."""
        self._touch(Touch.WRITE)
        self._items.append(item)

    def get(self) -> T:
        """Take the first, once there is one."""
        world, me = self._world, self._world.current
        assert me is not None, "a logical thread"
        while True:
            self._touch(
                Touch.WRITE
            )  # where it finds nothing too: it could have come before who took the last
            if self._items:
                return self._items.pop(0)
            me.waits, me.timeout_s = self, None
            try:
                world.point()
            finally:
                me.waits = None

    def get_nowait(self) -> T:
        """Take the first, if there is one."""
        self._touch(Touch.WRITE)
        if not self._items:
            raise Empty
        return self._items.pop(0)

    def qsize(self) -> int:
        """Return how many there are."""
        self._touch(Touch.READ)
        return len(self._items)

    def _touch(self, how: Touch) -> None:
        self._world.point()
        self._world.touch(self.key, how)


class FakeThread:
    """``threading.Thread`` as far as `helpers` uses it."""

    def __init__(
        self, *, target: Callable[..., object], name: str, daemon: bool, args: tuple[object, ...] = ()
    ) -> None:
        """Do not start."""
        self._work = target
        self._arguments = args
        self.name = name
        self._daemon = daemon
        self._thread: Thread | None = None
        self._ended = FakeLock()
        self._ended.acquire()

    @property
    def ident(self) -> int | None:
        """Its identifier, once it was started."""
        self._ended.touch()
        return None if self._thread is None else self._thread.ident

    def start(self) -> None:
        """Start it; a second time is an error."""
        if self._thread is not None:
            raise RuntimeError
        here().touch(self._ended.key, Touch.WRITE)
        serves = self._daemon and not self._arguments  # it waits for work, for ever
        self._thread = here().spawn(self.name.split("-")[1], self._run, daemon=serves)
        self._thread.api = self
        self._thread.acts_for = ticket_of(self._work, self._arguments)

    def join(self, timeout: float) -> None:
        """Wait for its end."""
        if self._ended.acquire(timeout=timeout):
            self._ended.release()

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._thread is not None and self._ended.locked()

    def _run(self) -> None:
        self._work(*self._arguments)
        self._ended.release()


def ticket_of(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    """Return the ticket in whose name a thread that was started with these works, if there is one."""
    for each in arguments:
        if isinstance(each, tickets.Ticket):
            return cast("object", each)
    owners = [getattr(each, "__self__", None) for each in (function, *arguments)]
    return next((each._ticket for each in owners if isinstance(each, turns.Turn)), None)
