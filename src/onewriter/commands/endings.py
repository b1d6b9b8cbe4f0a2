"""Signals to end, for a command that has half-made files: it is broken off as by Ctrl-C, and takes them away.

S1  Who has asked not to be ended by one (``nohup``) is not.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """A signal to end has come; what is under way ends as it does after Ctrl-C."""

    def __init__(self, number: int) -> None:
        """Note which it was."""
        super().__init__(number)
        self.signal = signal.Signals(number)


@contextmanager
def broken_off() -> Generator[None]:
    """Raise `Ended` in the block where such a signal comes."""
    taken: list[signal.Signals] = []
    try:
        for each in _ENDING:
            if signal.getsignal(each) is signal.SIG_DFL:  # S1
                with suppress(ValueError):  # signals are the main thread's business
                    signal.signal(each, _end)
                    taken.append(each)
        yield
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)


def _end(number: int, _frame: FrameType | None) -> None:
    raise Ended(number)
