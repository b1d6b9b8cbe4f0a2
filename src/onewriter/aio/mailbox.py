"""What comes back to one event loop from the threads of one database.

A *letter* is something that a task waits for: a write in line, a read on a thread, a call of an open transaction.

M1  Letters are made, dropped and arrive on the loop's thread; what a letter says of itself is written there, but for
    its outcome, which whoever did the work writes before he puts it into the box.
M2  Once letters were put into the box it is rung for all of them, by whoever did so or the thread of their seat: one
    ``call_soon_threadsafe``, unless one is on its way. ``_rung`` is unset before the box is emptied, so that a letter
    put in later is rung for.
M3  A letter's task hears of it once: the outcome, a deadline that passed before it had begun, or its own cancellation.
    A cancelled letter that has not begun is never begun; of one that has begun the outcome is dropped.
M4  One timer a loop stands for all deadlines: it comes at the earliest of them, and looks at all that are open.
M5  Where the loop is lost nobody hears: what is open counts as cancelled, and keeps nobody's turn or reader. What is
    to be done all the same (callbacks of ``after_commit``) is done on a thread of the library's own. A loop is lost
    that is closed, and one that was left, not closed, by a thread that has ended: nobody can be there who runs it.
M6  No more than `AT_ONCE_MAX` letters arrive, or are told that they are late, in one turn of the loop, since each has a
    task run in the next: what else waits for the loop comes between.
M7  A signal handler that raises may strike the loop's thread at any step. A ring that it lost counts no more when it
    is `_AGAIN_S` old; each timer has another behind it; and while letters are open the timer comes every `BEAT_S` at
    least, and looks into the box too. A letter stays where it is until it has been told, and so may be told twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from onewriter import clock
from onewriter.marks import is_mark_of_this_thread, mark_of_this_thread

Asker = Callable[[], asyncio.Task[Any] | None]


class Letter:
    """Something that a task waits for.

    Attributes:
        answer: what the task awaits.
        task: the one that asked, if it was one.
        asker: the same for a block, which does not keep its task: returns it, or None where it is gone.
        until: when it has to have begun.
        dropped: nobody waits for it any more, so that it is not begun.
        broken: what it does inside SQLite is to be broken off.
    """

    answer: asyncio.Future[Any]
    task: asyncio.Task[object] | None = None
    asker: Asker | None = None
    until = clock.NEVER
    dropped = broken = False

    @property
    def who(self) -> str:
        """The name of its task."""
        return name_of(self.who_asked)

    @property
    def who_asked(self) -> asyncio.Task[Any] | None:
        """Its task, if there is one still."""
        return self.task if self.asker is None else self.asker()

    def arrive(self) -> None:
        """Give the outcome to the task; on the loop's thread, and once more where an interrupt struck it (M7)."""
        raise AssertionError(self)

    def be_lost(self) -> None:
        """Do what is to be done though the loop is closed; on any thread."""

    def drop(self) -> None:
        """See to it that it is not begun if that can be: its task was cancelled, or its loop is closed."""
        self.dropped = True

    def give_up(self) -> BaseException | None:
        """See to it that it never begins, and return why its task waits no longer; None where it has begun.

        None also where it is about to begin: then ``until`` says when to look again.
        """
        return None


class Answer(Letter):
    """A letter that has its outcome in itself.

    Attributes:
        value: what its work returned.
        error: what its work raised.
    """

    value: object = None
    error: BaseException | None = None

    def arrive(self) -> None:
        """Tell the outcome."""
        settle(self.answer, self.value, self.error)
        self.error = None  # no cycle through the traceback


_AGAIN_S: Final = 0.05
BEAT_S: Final = 0.5
HAND_OVER_S: Final = 0.05  # the way to a thread, which is not counted: the loop tells who is late by more
AT_ONCE_MAX: Final = 128


class Mailbox:
    """The box of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver to *loop*."""
        self.loop = loop
        self._thread = mark_of_this_thread()  # of the one that runs the loop, as far as it was seen to
        self._letters: deque[Letter] = deque()  # put in by any thread, taken out on the loop's
        # Any thread puts what has its outcome into the box, by one call into C.
        self.put = self._letters.append
        self._rung, self._rung_at = False, 0.0  # see M2
        self._looked_in_at = 0.0
        # Those that have not arrived: added on the loop's thread, and taken out there, or by whoever destroys a task.
        self._open: dict[Letter, None] = {}
        # Some of those, whose deadline has passed; when the last were told so, since an interrupt may lose the rest.
        self._late: deque[Letter] = deque()
        self._late_at = 0.0
        # On the loop's thread alone: the timer for their deadlines.
        self._looks_at = 0.0  # in the past: there is no timer
        self._timers: tuple[asyncio.TimerHandle, ...] = ()  # the second one for where the first is struck
        self._struck: Letter | None = None  # arrives for the second time

    # --- on the loop's thread

    def expect(self, letter: Letter, now: float | None = None) -> None:
        """Await *letter*: its ``answer`` is there from now on, which whoever has asked the clock may say."""
        if now is None:
            now = clock.now()
        letter.answer = self.loop.create_future()
        self._open[letter] = None
        looks_at = self._looks_at
        if letter.until < looks_at or looks_at + _AGAIN_S < now:  # M7
            self._look_by(min(letter.until, now + BEAT_S))

    def forget(self, letter: Letter) -> None:
        """Await *letter* no more."""
        self._open.pop(letter, None)

    def _deliver(self) -> None:
        self._rung, self._looked_in_at = False, clock.now()
        # Here, where whoever enters a block hears that he has it.
        if not is_mark_of_this_thread(self._thread):
            self._thread = mark_of_this_thread()
        letters, waiting = self._letters, self._open
        try:
            for _ in range(min(len(letters), AT_ONCE_MAX)):
                letter = letters[0]
                letter.arrive()
                waiting.pop(letter, None)
                letters.popleft()
        except BaseException:
            self._try_again(letters)
            raise
        finally:
            if letters:  # M6, or a callback ended the loop
                self.loop.call_soon(self._deliver)

    def _try_again(self, letters: deque[Letter]) -> None:
        """Leave the first of *letters*, which was struck, where it is; but not for ever."""
        if letters and letters[0] is self._struck:
            letters.popleft()
        self._struck = letters[0] if letters else None

    def _look_by(self, at: float) -> None:
        for timer in self._timers:
            timer.cancel()
        self._looks_at, in_s = at, max(0.0, at - clock.now())
        self._timers = tuple(self.loop.call_later(each, self._look) for each in (in_s, in_s + _AGAIN_S))

    def _look(self) -> None:
        now, late = clock.now(), self._late
        # The rest of an earlier look is on its way: not twice in a turn (M6).
        is_told = bool(late) and now < self._late_at + _AGAIN_S
        waiting = self._open.copy()  # a task that is destroyed, on any thread, takes its letter out
        for letter in [each for each in waiting if each.until <= now]:
            letter.until = clock.NEVER  # it is looked at once, unless it says otherwise
            late.append(letter)
        if waiting:
            self._look_by(min(now + BEAT_S, *(each.until for each in waiting)))
        else:
            self._looks_at = 0.0
        if self._letters and self._looked_in_at + _AGAIN_S < now:  # M7; else the rest is on its way
            self._deliver()
        if not is_told:
            self._give_up()

    def _give_up(self) -> None:
        late, left = self._late, AT_ONCE_MAX
        self._late_at = clock.now()
        try:
            while late and left:
                left -= 1
                letter = late[0]
                error = letter.give_up() if letter in self._open else None
                if error is not None:
                    settle(letter.answer, None, error)
                    self.forget(letter)
                elif letter.until < self._looks_at:
                    self._look_by(letter.until)
                late.popleft()
        except BaseException:
            self._try_again(late)
            raise
        finally:
            if late:  # M6
                self.loop.call_soon(self._give_up)

    # --- on any thread

    @property
    def is_lost(self) -> bool:
        """Whether nobody runs the loop any more, and nobody will (M5)."""
        loop = self.loop
        return loop.is_closed() or (self._thread() is None and not loop.is_running())

    def ring(self) -> None:
        """Have the loop look into the box soon (M2)."""
        now = clock.now()
        if self._rung and now < self._rung_at + _AGAIN_S and not self.is_lost:
            return
        self._rung, self._rung_at = True, now
        try:
            self.loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # it is closed
            self.lose()

    def lose(self) -> None:
        """Do what is to be done though the loop is lost (M5)."""
        letters = self._letters
        while letters:
            try:
                letter = letters.popleft()
            except IndexError:
                break  # another thread has found it closed too
            self.forget(letter)
            letter.be_lost()
        for letter in self._open.copy():
            self.forget(letter)
            letter.drop()
        self._rung = False


def name_of(task: asyncio.Task[Any] | None) -> str:
    """Return how a person finds *task*, or what is done by none."""
    return "a callback of the event loop" if task is None else task.get_name()


async def outcome(letter: Letter) -> Any:  # noqa: ANN401 - of whatever was asked
    """Await *letter*; where the task is cancelled or destroyed meanwhile, drop it."""
    try:
        return await letter.answer
    except (asyncio.CancelledError, GeneratorExit):
        letter.drop()
        raise


def settle(answer: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    """Give *answer* its outcome, if anybody waits for it still."""
    if answer.done():
        return
    if error is None:
        answer.set_result(value)
        return
    if isinstance(error, StopIteration):
        # A future takes anything else; whoever awaits a coroutine would be told so in the same words by Python itself.
        error = RuntimeError(f"the function raised {error!r}")
    answer.set_exception(error)
    # Nobody may wait for it any more, or the loop end first, and asyncio would log that as a program's mistake.
    answer.exception()
