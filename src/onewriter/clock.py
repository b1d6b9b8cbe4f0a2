"""One deadline per call, made at the public edge and passed down; nobody adds timeouts up.

A deadline is a moment of the monotonic clock, in seconds.
"""

from __future__ import annotations

import math
import threading
from time import monotonic
from typing import Final

from .errors import ProgrammingError

NEVER: Final = math.inf

now = monotonic


def deadline(timeout_s: float | None, default_s: float) -> float:
    """Return the moment *timeout_s* seconds from now (*default_s* where it is None)."""
    if timeout_s is None:
        return monotonic() + default_s
    if not _is_duration(timeout_s):
        msg = f"timeout_s must be a number of seconds, 0 or more and finite, not {timeout_s!r}"
        raise ProgrammingError(msg)
    return monotonic() + timeout_s


def _is_duration(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < math.inf


def wait_s(at: float) -> float:
    """Return the seconds until *at*, as `threading.Lock.acquire` takes them (-1: without limit)."""
    if at == NEVER:
        return -1
    return min(max(0.0, at - monotonic()), threading.TIMEOUT_MAX)
