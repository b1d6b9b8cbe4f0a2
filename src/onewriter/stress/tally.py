"""What became of uploads and writes, counted by one thread, then put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import apsw

import onewriter

from .waits import Waits

TICK_S = 0.05
_TIMEOUTS = (onewriter.WriteTimeout, onewriter.ReadTimeout)
_TIMEOUT_KINDS = frozenset(error.__name__ for error in _TIMEOUTS)


def kind_of(error: Exception) -> str:
    """Return the name under which *error* is counted: SQLite's extended result code, else the type's name."""
    if isinstance(error, apsw.Error):
        return _code_name(error) or type(error).__name__
    if isinstance(error, onewriter.Error) and not isinstance(error, _TIMEOUTS) and error.extended_code:
        return error.extended_code
    return type(error).__name__


def _code_name(error: apsw.Error) -> str | None:
    """Return SQLite's most exact name for *error*; one of APSW's own, such as a misuse, has none."""
    code = getattr(error, "extendedresult", apsw.SQLITE_OK)
    if code == apsw.SQLITE_OK:
        return None
    for names in (apsw.mapping_extended_result_codes, apsw.mapping_result_codes):
        name = names.get(code)
        if isinstance(name, str):
            return name
    return None


def is_busy(kind: str) -> bool:
    """Return whether errors of *kind* say "database is locked", in SQLite's words or in onewriter's."""
    return kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or kind in _TIMEOUT_KINDS


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An upload that the service was told is done: it must be there for ever after.

    Attributes:
        upload: its number.
        name: the file's name.
        size: the bytes that were read from the file and sent.
        digest: their SHA-256.
        changed: whether that is not the file's digest at the beginning of the run.
    """

    upload: int
    name: str
    size: int
    digest: str
    changed: bool


@dataclass(slots=True)
class Tally:
    """The counts of one uploading thread, or of all once merged.

    Changed by its own thread only; others may look at the lengths and numbers, which only grow.

    Attributes:
        done: the uploads that were acknowledged.
        failed: how many uploads a failed write ended.
        errors: those writes, by kind.
        unreadable: files that could no longer be read; nobody's failure.
        writes: how many writes were acknowledged.
        waits: how long each write call took, whether it ended well or badly.
        ticks: writes acknowledged in each `TICK_S` of the run.
    """

    done: list[Acknowledged] = field(default_factory=list[Acknowledged])
    failed: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    unreadable: list[str] = field(default_factory=list[str])
    writes: int = 0
    waits: Waits = field(default_factory=Waits)
    ticks: Counter[int] = field(default_factory=Counter[int])

    @property
    def ended(self) -> int:
        """How many files have been dealt with, one way or another."""
        return len(self.done) + self.failed + len(self.unreadable)

    @property
    def busy(self) -> int:
        """How many errors said "database is locked"."""
        return sum(count for kind, count in self.errors.items() if is_busy(kind))

    @property
    def changed(self) -> int:
        """How many of the done were sent with another content than the file had when the run began."""
        return sum(upload.changed for upload in self.done)

    @property
    def done_bytes(self) -> int:
        """The size of the uploads that were acknowledged."""
        return sum(upload.size for upload in self.done)

    def wrote(self, at_s: float) -> None:
        """Count a write that was acknowledged *at_s* seconds after the run began."""
        self.writes += 1
        self.ticks[int(at_s / TICK_S)] += 1

    @classmethod
    def of(cls, tallies: Iterable[Tally]) -> Tally:
        """Return the counts of all *tallies* together; their threads have ended."""
        together = cls()
        for tally in tallies:
            together.merge(tally)
        return together

    def merge(self, other: Tally) -> None:
        """Add the counts of *other*, whose thread has ended."""
        self.done += other.done
        self.failed += other.failed
        self.errors += other.errors
        self.unreadable += other.unreadable
        self.writes += other.writes
        self.waits.merge(other.waits)
        self.ticks += other.ticks

    def growth(self) -> list[tuple[float, int]]:
        """Return (seconds, writes acknowledged until then), from (0, 0) on, in order."""
        points, total = [(0.0, 0)], 0
        for tick in sorted(self.ticks):
            if tick * TICK_S > points[-1][0]:
                points.append((tick * TICK_S, total))
            total += self.ticks[tick]
            points.append(((tick + 1) * TICK_S, total))
        return points

    def time_of(self, write: int) -> float:
        """Return the seconds from the run's beginning until the write of this number (from 1), to about a `TICK_S`."""
        before = 0
        for tick in sorted(self.ticks):
            if before + self.ticks[tick] >= write:
                return (tick + (write - before) / self.ticks[tick]) * TICK_S
            before += self.ticks[tick]
        raise ValueError(f"there were {before} writes, not {write}")
