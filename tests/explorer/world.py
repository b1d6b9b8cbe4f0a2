"""Logical threads that a test steps one by one, and what each step touched.

P1  One logical thread runs at a time, from one *point* to the next. Points stand before each acquire of a lock, each
    call of the connection, and whatever else two threads may come to without a lock (`watched`). A *fine* thread has a
    point before every access to shared state, inside the line's lock too.
P2  A thread that is not fine has no points while it has a lock whose holders never wait (a *section*): nobody else
    could get in. Nor has it one before it reads a ticket's state without the lock, so that orders are missed in which
    another comes between that and the step before: those are for fine threads.
P3  Each step tells what it touched, by keys that are the same in every run that begins with the same steps: a key
    names the thread that made the object and how many it had made before. `search` decides from them which steps
    could have come in another order.
P4  A thread has a clock of its own, which its own time-outs move and nothing else. So a thread may see an earlier
    moment than another saw before it. That is more than can happen: each wait may end at its deadline, or not.
P5  A wait of `LONG_S` or more never times out; a thread times out `TIME_OUTS_MAX` times at most.
P6  A strike is a step of a thread of its own, the *interrupter*: it conflicts with all steps of its target, whose
    next step then raises `Strike` at the point where the target stands, in a wait too.
"""

from __future__ import annotations

import enum
import sys
import traceback
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Final, Protocol

from tests.explorer.fibers import Fiber, new_fiber, this_fiber

Key = Hashable
LONG_S: Final = 10.0
TIME_OUTS_MAX: Final = 2
NAMES: Final = "abcdefgh"
FIRST_IDENT: Final = 1_000


class Touch(enum.IntEnum):
    """How a step touched something; of two, the greater one counts. Only two reads never conflict."""

    READ = 1
    RELEASE = 2  # of a lock that was held: whoever waits for it without limit could not have come before
    WRITE = 3  # or an acquire that may time out
    TAKE = 4  # an acquire without limit


Touched = dict[Key, Touch]


class Strike(BaseException):
    """What a signal handler raises in the thread that stands for the main thread."""


class Over(BaseException):
    """The run is over; the fibers that are left unwind."""


class Fault(BaseException):
    """A rule is broken; no `except Exception` of the library takes it for a request's error."""


class Waited(Protocol):
    """What a thread may wait for."""

    def is_free_for(self, thread: Thread, /) -> bool:
        """Whether *thread* goes on without waiting."""
        ...


class Thread:
    """A logical thread.

    Attributes:
        ident: what ``threading.get_ident`` returns in it.
        daemon: it may wait for ever at the end.
        now: its clock (P4).
        waits: the lock that it is about to acquire, or the queue that it is about to take from.
        timeout_s: for how long; None for a wait that never times out (P5).
        sections: how many sections it has (P2).
        fine: it has a point before each access (P1).
        struck: its next step raises `Strike`.
        was_struck: it did.
        acts_for: the ticket in whose name it works, where it is no ticket's own thread.
    """

    def __init__(self, number: int, name: str, *, daemon: bool, fine: bool, now: float) -> None:
        """Begin at a point."""
        self.number = number
        self.ident = FIRST_IDENT + number
        self.name = name
        self.daemon = daemon
        self.fine = fine
        self.now = now
        self.fiber: Fiber
        self.waits: Waited | None = None
        self.timeout_s: float | None = None
        self.time_outs = 0
        self.sections = 0
        self.made = 0  # keys
        self.finished = False
        self.struck = self.was_struck = False
        self.acts_for: object = None
        self.place = "its beginning"  # the line at which it stands, in a run that is traced
        self.api: object = None  # what threading.current_thread returns

    @property
    def is_ready(self) -> bool:
        """Whether it can be stepped."""
        if self.finished:
            return False
        if self.struck or self.waits is None or self.waits.is_free_for(self):
            return True
        return self.timeout_s is not None and self.time_outs < TIME_OUTS_MAX


class World:
    """All logical threads of one run, and what the step of this moment touches."""

    def __init__(self) -> None:
        """Begin with no thread, at moment 0."""
        self.threads: list[Thread] = []
        self.current: Thread | None = None
        self.main_ident = FIRST_IDENT - 1
        self.interrupter = -1  # its number
        self.target: Thread | None = None
        self.touched: Touched = {}
        self.entered: list[object] = []  # tickets, in the order in which they came into the line
        self.faults: list[str] = []
        self.is_over = False
        self.run: object = None  # what it is for, where that wants to be found
        self.trace: list[str] | None = None  # what each step did, where somebody wants to read it
        self._made = 0
        self._hub = this_fiber()

    # --- for the scheduler

    def ready(self) -> list[int]:
        """Return the numbers of the threads that can be stepped; the interrupter last."""
        numbers = [each.number for each in self.threads if each.is_ready]
        if self.interrupter in numbers:
            numbers.remove(self.interrupter)
            numbers.append(self.interrupter)
        return numbers

    def step(self, number: int) -> Touched:
        """Run the thread *number* to its next point, and return what it touched."""
        thread = self.threads[number]
        self.touched = {}
        if thread is self.target:
            self.touch(("control", number), Touch.READ)
        self.current = thread
        thread.fiber.switch()
        self.current = None
        if self.trace is not None:
            self.trace.append(f"{thread.name}: {'ends' if thread.finished else f'to {thread.place}'}")
        return self.touched

    def end(self) -> None:
        """Unwind every fiber that is left."""
        self.is_over = True
        for thread in self.threads:
            while not thread.finished:
                self.current = thread
                thread.fiber.switch()
        self.current = None

    def stuck(self) -> list[str]:
        """Return the names of the threads that should have come to their end, and have not."""
        return [each.name for each in self.threads if not each.finished and not each.daemon]

    # --- for what runs in it

    def spawn(
        self, name: str, work: Callable[[], object], *, daemon: bool = False, fine: bool = False
    ) -> Thread:
        """Make a thread; what its *work* raises is a fault."""
        now = 0.0 if self.current is None else self.current.now
        if any(each.name == name for each in self.threads):
            name += str(len(self.threads))
        thread = Thread(len(self.threads), name, daemon=daemon, fine=fine, now=now)

        def run() -> None:
            try:
                if not self.is_over:
                    work()
            except Over:
                pass
            except Fault as fault:
                self.faults.append(str(fault))
            except BaseException as error:  # noqa: BLE001 - whatever comes out here is told
                where = "".join(traceback.format_tb(error.__traceback__))
                self.faults.append(f"{name} ended with {error!r}\n{where}")
            thread.finished = True

        thread.fiber = new_fiber(run, self._hub)  # where it goes when it ends
        self.threads.append(thread)
        return thread

    def interrupt(self, target: Thread, times: int = 1) -> None:
        """Add the interrupter of *target*, which strikes so many *times* (P6)."""
        self.target = target

        def strike() -> None:
            for number in range(times):
                if number:
                    self.point()
                self.touch(("control", target.number), Touch.WRITE)
                target.struck = not target.finished

        self.interrupter = self.spawn("interrupt", strike).number

    def new_key(self) -> Key:
        """Return a key for what the running thread makes (P3)."""
        me = self.current
        if me is None:
            self._made += 1
            return (-1, self._made)
        me.made += 1
        return (me.number, me.made)

    def touch(self, key: Key, how: Touch) -> None:
        """Note that this step touches *key*."""
        if how > self.touched.get(key, 0):
            self.touched[key] = how

    def point(self) -> None:
        """Let the scheduler choose who goes on, unless the running thread is in a section (P2)."""
        me = self.current
        if me is not None and (me.fine or not me.sections or me.waits is not None):
            self.pause(me)

    def pause(self, me: Thread) -> None:
        """Let the scheduler choose; raises the strike that has come meanwhile."""
        if self.trace is not None:
            me.place = _place()
        if not self.is_over:
            self._hub.switch()
        if self.is_over:
            raise Over
        if me.struck:
            me.struck, me.was_struck = False, True
            raise Strike

    def fail(self, what: str) -> None:
        """Note a fault and end the running thread's work."""
        self.faults.append(what)
        raise Fault(what)


def _place() -> str:
    """Return the line of the library, or of the standard library, at which the running thread has stopped."""
    frame = sys._getframe()
    folder = Path(__file__).parent
    while Path(frame.f_code.co_filename).parent == folder and frame.f_back is not None:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_qualname}"


_here: list[World] = []


def here() -> World:
    """Return the world of this moment."""
    return _here[-1]


def enter(world: World) -> None:
    """Make *world* the one of this moment."""
    _here[:] = [world]
