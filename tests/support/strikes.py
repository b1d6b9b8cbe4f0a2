"""Interrupts of the main thread at any chosen bytecode of the library.

A trace function sees every bytecode of the package that the calling thread comes to, and raises before the chosen one:
what a signal handler that raises would do there at the worst. (Real ones run at calls and loops only.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import onewriter

_DROPPED = {"__del__"}  # run by the collector: Python drops what it raises
PACKAGE = str(Path(onewriter.__file__).parent)


class Strike(BaseException):
    """The interrupt; a `BaseException`, as KeyboardInterrupt is."""


class StrikeError(Exception):
    """The interrupt of a handler that raises an ordinary exception, as for SIGALRM."""


class Striker:
    """Raises once, before the bytecode number *at* that a call comes to inside the package."""

    def __init__(
        self, at: int, error: type[BaseException] = Strike, within: tuple[str, ...] | None = None
    ) -> None:
        """Count down from *at*; only the bytecodes of the functions *within*, where they are given."""
        self._left = at
        self._within = within
        self._error = error
        self.place = ""  # where it struck; empty where the call ended before

    def run(self, call: Callable[[], object]) -> BaseException | None:
        """Call it on this thread; return what it raised."""
        sys.settrace(self._enter)
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - judged by the test
            return error
        finally:
            sys.settrace(None)
        return None

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ANN401 - Python's own signature
        code = frame.f_code
        if (
            not code.co_filename.startswith(PACKAGE) or code.co_name == "__del__"
        ):  # Python drops what that raises
            return None
        if self._within is not None and code.co_qualname not in self._within:
            return self._enter
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ANN401 - Python's own signature
        if event != "opcode" or self.place:
            return self._step
        self._left -= 1
        if self._left <= 0:
            code = frame.f_code
            self.place = (
                f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_qualname} bytecode {frame.f_lasti}"
            )
            raise self._error(self.place)
        return self._step
