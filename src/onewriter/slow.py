"""The slow-request log: which request took long, where the time went, and who kept it waiting.

S1  One line a request, as a warning of this module's logger. No parameter is in it.
S2  Where everything is slow no more than ``AT_ONCE`` lines are logged a second; the next line after them tells how many
    were left out.
S3  Nothing is logged by a thread that has the write role: a log's handler may hold its lock while it waits for that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from . import clock
from .errors import Error
from .helpers import apart
from .trails import SharedCommit, Trail, Watched

_log = logging.getLogger(__name__)
AT_ONCE: Final = 10
_SHOWN_MAX: Final = 500


class SlowLog:
    """Logs the requests of one database that take longer than a limit."""

    def __init__(self, path: Path, slow_s: float) -> None:
        """Log what takes *slow_s* seconds or more."""
        self._path = path
        self._slow_s = slow_s
        self._lock = threading.Lock()
        # Guarded by _lock.
        self._second = 0
        self._logged = self._left_out = 0

    def opened(self, database: Watched) -> None:
        """Do nothing."""

    def asked(self, trail: Trail) -> None:
        """Do nothing."""

    def committed(self, commit: SharedCommit, trails: Sequence[Trail]) -> None:
        """Do nothing."""

    def ended(self, trail: Trail) -> None:
        """Log *trail* if it took long."""
        if trail.took_s < self._slow_s:
            return
        left_out = self._may_log()
        if left_out is None:
            return
        more = f" ({left_out} more slow requests were not logged)" if left_out else ""
        line = f"{self._path}: {told(trail)}{more}"
        if trail.submitted:
            apart("slow-log", _log.warning, "%s", line)  # S3
        else:
            _log.warning("%s", line)

    def _may_log(self) -> int | None:
        """Return how many were left out before this one; None where it is left out itself (S2)."""
        second = int(clock.now())
        # Who is interrupted in here would leave it held, and a log is not worth a wait: one that is busy leaves out.
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if second != self._second:
                self._second, self._logged = second, 0
            if self._logged >= AT_ONCE:
                self._left_out += 1
                return None
            self._logged += 1
            left_out, self._left_out = self._left_out, 0
            return left_out
        finally:
            self._lock.release()


def told(trail: Trail) -> str:
    """Return, in one line, what became of *trail* and where its time went."""
    parts = [_waited(trail)]
    if trail.began_at is not None and (trail.worked_s or not trail.commit):
        parts.append(_ran(trail))
    if trail.commit is not None:
        parts.append(_committed(trail.commit))
    failed = "" if trail.error is None else f", and raised {_raised(trail.error)}"
    told_parts = ", ".join(each for each in parts if each) or "all of it at work"
    return f"{titled(trail)} of {trail.who} took {trail.took_s:.3g} s{failed}: {told_parts}"


def _raised(error: BaseException) -> str:
    """Return the kind of *error*, and what it says where it is the library's: a caller's own may say anything."""
    said = f" ({' '.join(str(error).split())})" if isinstance(error, Error) else ""
    return f"{type(error).__name__}{said}"


def titled(trail: Trail) -> str:
    """Return what was asked for, on one line, and not all of a long one."""
    if trail.text is None:
        return trail.name if trail.function is None else f"{trail.name}({trail.function})"
    text = " ".join(trail.text.split())
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."


def _waited(trail: Trail) -> str:
    what = "a reader" if trail.reads else "its turn"
    never = ", which never came" if trail.began_at is None and trail.error is not None else ""
    if trail.began_at is None and not never:
        return ""
    blame = f" ({trail.blame})" if trail.blame else ""
    return f"waited {trail.waited_s:.3g} s for {what}{never}{blame}"


def _ran(trail: Trail) -> str:
    ended_at = trail.ended_at if trail.ended_at is not None else clock.now()
    began_at = ended_at if trail.began_at is None else trail.began_at
    ran_s = trail.worked_s or ended_at - began_at
    return f"ran {ran_s:.3g} s{f' in {trail.runs} runs' if trail.runs > 1 else ''}"


def _committed(commit: SharedCommit) -> str:
    shared = f" that {commit.size} requests shared" if commit.size > 1 else ""
    return f"committed in {commit.ended_at - commit.began_at:.3g} s{shared}"
