"""The keys of a terminal, one by one, while a command shows something on it."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from types import FrameType, TracebackType
from typing import Final, Self

_QUIT: Final = frozenset(b"qQ")
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


class Keyboard:
    """The keys of standard input, for the length of a block; nobody presses any where it is no terminal of ours.

    A signal to end leaves the block too, so that the terminal is as it was.
    """

    def __init__(self) -> None:
        """Have none yet."""
        self._descriptor: int | None = None
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        """Have keys told one by one, and not shown."""
        for each in _ENDING:
            self._handle(each, _end)
        with suppress(OSError, ValueError, AttributeError, termios.error):
            descriptor = sys.stdin.fileno()
            if os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp():
                before = termios.tcgetattr(descriptor)
                self._undo.callback(_reset, partial(termios.tcsetattr, descriptor, termios.TCSADRAIN, before))
                tty.setcbreak(descriptor)
                self._descriptor = descriptor
                self._handle(signal.SIGCONT, self._go_on)
        return self

    def _handle(self, number: signal.Signals, handler: Callable[[int, FrameType | None], object]) -> None:
        before = signal.signal(number, handler)
        self._undo.callback(signal.signal, number, signal.SIG_DFL if before is None else before)

    def wait(self, timeout_s: float) -> bool:
        """Wait so long; return whether somebody has asked to quit meanwhile, or the terminal is gone."""
        if self._descriptor is None:
            time.sleep(max(0.0, timeout_s))
            return False
        until = time.monotonic() + timeout_s
        while True:
            left = until - time.monotonic()
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, left))
            if not ready:
                return False
            try:
                pressed = os.read(self._descriptor, 64)
            except OSError:
                return True
            if not pressed or _QUIT & frozenset(pressed):
                return True

    def _go_on(self, _signal: int, _frame: FrameType | None) -> None:
        """After the shell had the terminal (Ctrl-Z)."""
        with suppress(termios.error):
            if self._descriptor is not None:
                tty.setcbreak(self._descriptor)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        self._undo.close()


def _reset(reset: Callable[[], object]) -> None:
    with suppress(OSError, termios.error):  # it is gone
        reset()


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # as the shell tells of a program that a signal has ended
