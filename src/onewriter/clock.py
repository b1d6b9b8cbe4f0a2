"""One deadline per call, made at the public edge and passed down; nobody adds timeouts up.

A deadline is a moment of the monotonic clock, in seconds.
"""

from __future__ import annotations

import math
import threading
from time import monotonic
from typing import Final

from .errors import ProgrammingError, quoted

NEVER: Final = math.inf

now = monotonic
LONGEST_S: Final = 1e9  # some thirty years: what is longer is a mistake, or past what a lock can wait


def deadline(timeout_s: float | None, default_s: float) -> float:
    """Return the moment *timeout_s* seconds from now (*default_s* where it is None)."""
    return monotonic() + duration(timeout_s, default_s)


def duration(timeout_s: float | None, default_s: float) -> float:
    """Return *timeout_s*, or *default_s* where it is None."""
    if timeout_s is None:
        return default_s
    check_duration(timeout_s)
    return timeout_s


def check_duration(timeout_s: object) -> None:
    """Refuse what is no number of seconds to wait."""
    if not isinstance(timeout_s, (int, float)) or not 0 <= timeout_s <= LONGEST_S:
        msg = f"timeout_s must be a number of seconds, 0 or more and finite, not {quoted(timeout_s)}"
        raise ProgrammingError(msg)


def wait_s(at: float) -> float:
    """Return the seconds until *at*, as `threading.Lock.acquire` takes them (-1: without limit)."""
    if at == NEVER:
        return -1
    return min(max(0.0, at - monotonic()), threading.TIMEOUT_MAX)


def limit(timeout_s: float | None) -> float:
    """Return *timeout_s* as `threading.Lock.acquire` takes it; None is without limit."""
    return -1 if timeout_s is None else min(max(0.0, timeout_s), threading.TIMEOUT_MAX)
