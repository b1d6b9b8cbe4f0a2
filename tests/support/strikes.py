"""Interrupts of the main thread at any chosen bytecode of the library.

A trace function sees every bytecode of the package that the calling thread comes to, and raises before the chosen one:
what a signal handler that raises would do there at the worst. (Real ones run at calls and loops only.)
"""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
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
        self,
        at: int,
        error: type[BaseException] = Strike,
        within: tuple[str, ...] | None = None,
        *,
        where_handlers_run: bool = False,
    ) -> None:
        """Count down from *at*; only the bytecodes of the functions *within*, where they are given.

        *where_handlers_run* leaves out those before which Python runs no signal handler.
        """
        self._where_handlers_run = where_handlers_run
        self._left = at
        self._within = within
        self._error = error
        self.place = ""  # where it struck; empty where the call ended before

    def run(self, call: Callable[[], object]) -> BaseException | None:
        """Call it on this thread; return what it raised."""
        enter = self._enter  # kept: Python 3.11 drops it as it raises, and may be about to call it again
        sys.settrace(enter)
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - judged by the test
            return error
        finally:
            sys.settrace(None)
        return None

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ANN401 - Python's own signature
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE) or code.co_name in _DROPPED:
            return None
        if self._within is not None and code.co_qualname not in self._within:
            return self._enter
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ANN401 - Python's own signature
        if event != "opcode" or self.place:
            return self._step
        if self._where_handlers_run and frame.f_lasti not in _where_handlers_run(frame.f_code):
            return self._step
        self._left -= 1
        if self._left <= 0 and not _is_in_finalizer(frame):
            code = frame.f_code
            self.place = (
                f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_qualname} bytecode {frame.f_lasti}"
            )
            raise self._error(self.place)
        return self._step


def _is_in_finalizer(frame: FrameType | None) -> bool:
    """Whether *frame* is of a finalizer, or was called by one: Python drops what that raises."""
    while frame is not None:
        if frame.f_code.co_name in _DROPPED:
            return True
        frame = frame.f_back
    return False


@functools.cache
def _where_handlers_run(code: CodeType) -> frozenset[int]:
    """Return the places before which Python runs handlers: after a call, as a function begins, as a loop goes on."""
    places: set[int] = set()
    before = ""
    for each in dis.get_instructions(code):
        if before in ("RESUME", "CALL", "CALL_FUNCTION_EX", "CALL_KW"):
            places.add(each.offset)
        if each.opname.startswith("JUMP_BACKWARD"):
            places.add(each.argval)
        before = each.opname
    return frozenset(places)
