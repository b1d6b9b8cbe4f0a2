"""Threads of the library's own: started at the first need, woken when there is work, ended with their database.

They are daemons, so that the end of the interpreter never waits for them; who closes does, up to a deadline. No signal
handler runs on them.
"""

from __future__ import annotations

import _thread
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from . import clock
from .errors import OperationalError
from .locks import closed_lock, wake_up

_log = logging.getLogger(__name__)
_PAUSE_S: Final = 1.0  # after a failure
_AGAIN_S = 0.05  # between two tries to start the thread


class Helper:
    """One thread that calls a function each time it is woken, and at the moment that the function named last.

    Attributes:
        runs: the thread has begun; its identifier comes a moment before it may be joined.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], float],
        wake: threading.Lock | None = None,
        leave: Callable[[], object] | None = None,
    ) -> None:
        """Name the thread *name*; *work* returns the moment at which it is to be called again without being woken.

        *leave* is called when the thread ends.
        """
        self._leave = leave
        self._work = work
        self._wake = closed_lock() if wake is None else wake
        self._wanted = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._starting = threading.Lock()  # of bare threads only, which no interrupt reaches
        self._again_at = 0.0  # when `start` is to try again
        self._asked = False  # `start` was called
        self.runs = False
        self._begun = closed_lock()  # news of that

    def start(self) -> None:
        """Start the thread if it was not started yet.

        By another one, since an interrupt of the calling thread in the middle of that would leave half a thread. A
        burst of calls makes one of those, not one a call until the thread has begun.

        Raises:
            OperationalError: the system has no thread left.
        """
        if self._thread.ident is None and clock.now() >= self._again_at:
            self._asked = True
            try:
                _thread.start_new_thread(self._start, ())
            except RuntimeError as error:
                raise OperationalError(f"cannot start the thread {self._thread.name}: {error}") from error
            self._again_at = clock.now() + _AGAIN_S  # not before: an interrupt may have come first

    def nudge(self) -> None:
        """Have the function called soon, if the thread was started."""
        wake_up(self._wake)

    def is_here(self) -> bool:
        """Whether the calling thread is this one."""
        return threading.get_ident() == self._thread.ident

    @property
    def was_asked(self) -> bool:
        """Whether it was ever asked to start; it may not have begun yet."""
        return self._asked

    def has_ended(self) -> bool:
        """Whether it was told to end, and may do no more of what comes now."""
        return not self._wanted

    def stop(self) -> None:
        """Have the function called once more, and the thread end; waits for nothing."""
        self._wanted = False
        self.nudge()

    def end(self, deadline: float) -> bool:
        """Have the function called once more and end the thread; False where that took longer than *deadline*.

        From the thread itself it does not wait for the end, and says that it is on its way.
        """
        self.stop()
        if not self._asked or self.is_here():
            return True
        if not self.runs:
            self.start()  # what was asked of it may wait for it; an interrupt may have come before its start
            if self._begun.acquire(timeout=clock.wait_s(deadline)):
                wake_up(self._begun)  # for the next who waits
        if self.runs:
            self._thread.join(max(0.0, deadline - clock.now()))
        return self.runs and not self._thread.is_alive()

    def _start(self) -> None:
        if self._starting.acquire(blocking=False):  # else another one is at it
            try:
                while self._thread.ident is None:
                    try:
                        self._thread.start()
                    except (
                        RuntimeError
                    ):  # the system has no thread left, and what was asked of this one waits for it
                        time.sleep(_AGAIN_S)
            finally:
                self._starting.release()

    def _run(self) -> None:
        self.runs = True
        wake_up(self._begun)
        while self._wanted:
            until = self._work_safely()
            self._wake.acquire(timeout=clock.wait_s(until))
        self._work_safely()
        if self._leave is not None:
            self._leave()

    def _work_safely(self) -> float:
        try:
            return self._work()
        except BaseException:  # noqa: BLE001 - the thread must live
            with suppress(BaseException):  # a log's handler may raise
                _log.exception("%s failed, and goes on", self._thread.name)
            return clock.now() + _PAUSE_S


def apart(name: str, call: Callable[..., object], *arguments: object) -> None:
    """Call *call* on a daemon thread that Python knows by *name*; for a bare thread, which ends at once.

    A bare thread is started by one call into C, so that no interrupt comes between; but what asks for the current
    thread on it, such as logging, would leave Python an entry for ever.
    """
    threading.Thread(target=call, args=arguments, name=f"onewriter-{name}", daemon=True).start()
