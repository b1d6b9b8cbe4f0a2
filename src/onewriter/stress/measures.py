"""What is shown of each way, the same in the terminal and in the report, as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .run import Result

_Shown: TypeAlias = Callable[[Result], str]
_MS_WITH_DECIMALS = 10


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of every way.

    Attributes:
        label: its name.
        meaning: what it says, for someone who sees it for the first time.
        values: one text a way.
        bad: whether that value is a failure, one a way.
    """

    label: str
    meaning: str
    values: tuple[str, ...]
    bad: tuple[bool, ...]


def measures(results: Sequence[Result]) -> list[Measure]:
    """Return every measure of *results*, in the order in which they are shown."""
    return [
        *_of_uploads(results),
        *(_of_processes(results) if any(result.shares for result in results) else ()),
        *_of_the_file(results),
    ]


def _of_uploads(results: Sequence[Result]) -> list[Measure]:
    return [
        _measure(results, "uploads done", "files stored, and acknowledged as stored", _done),
        _measure(
            results,
            "uploads failed",
            "files given up because a write failed; no way tries again",
            _failed,
            "0",
        ),
        _measure(results, "database is locked", "writes that ended with this error of SQLite's", _busy, "0"),
        _measure(results, "uploads/s", "uploads done a second", lambda of: f"{of.uploads_per_s:,.0f}"),
        _measure(
            results,
            "MB/s",
            "millions of bytes a second of those",
            lambda of: f"{of.bytes_per_s / 1e6:,.1f}",
        ),
        _measure(results, "wait, p50", "half of all writes took at most this long", _wait(50)),
        _measure(results, "wait, p99", "99 of 100 writes took at most this long", _wait(99)),
        _measure(
            results,
            "wait, worst",
            "the longest that any write took",
            _worst,
        ),
    ]


def _of_processes(results: Sequence[Result]) -> list[Measure]:
    return [
        _measure(
            results,
            "fairness",
            "the time that the fastest process took for a number of writes, by the slowest's; 1.00 is even",
            _fairness,
        ),
        _measure(
            results,
            "processes lost",
            "processes that broke, were killed or hung",
            lambda of: f"{sum(bool(share.lost) for share in of.shares):,}",
            "0",
        ),
    ]


def _of_the_file(results: Sequence[Result]) -> list[Measure]:
    return [
        _measure(results, "writes", "write transactions that succeeded", lambda of: f"{of.tally.writes:,}"),
        _measure(
            results,
            "commits",
            "times that SQLite had to commit for them",
            lambda of: f"{of.commits:,}",
        ),
        _measure(
            results,
            "blobs lost",
            "acknowledged as stored, but not in the file",
            _lost,
            "0",
        ),
        _measure(
            results,
            "blobs wrong",
            "read back with another content",
            _wrong,
            "0",
        ),
        _measure(results, "file sound", "what SQLite's own checks say at the end", _sound, "yes"),
    ]


def notes(result: Result) -> list[str]:
    """Return what else there is to say about *result*: its errors by kind, and files that were not left alone."""
    tally, said = result.tally, list[str]()
    if tally.errors:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in tally.errors.most_common())
        said.append(f"errors by SQLite's names: {kinds}")
    if tally.changed:
        said.append(
            f"{tally.changed:,} file(s) changed after the run began; each is held against the bytes sent"
        )
    if tally.unreadable:
        said.append(f"{len(tally.unreadable):,} file(s) could no longer be read; nobody's failure")
    said += [f"process {share.number} {share.lost}" for share in result.shares if share.lost]
    return said


def shown_ms(seconds: float) -> str:
    """Return *seconds* as milliseconds, with as many digits as mean something."""
    ms = seconds * 1e3
    return f"{ms:.2f} ms" if ms < 1 else f"{ms:.1f} ms" if ms < _MS_WITH_DECIMALS else f"{ms:,.0f} ms"


def _measure(
    results: Sequence[Result], label: str, meaning: str, shown: _Shown, good: str | None = None
) -> Measure:
    values = tuple(shown(result) for result in results)
    return Measure(label, meaning, values, tuple(good is not None and value != good for value in values))


def _done(result: Result) -> str:
    return f"{len(result.tally.done):,}"


def _failed(result: Result) -> str:
    return f"{result.tally.failed:,}"


def _busy(result: Result) -> str:
    return f"{result.tally.busy:,}"


def _lost(result: Result) -> str:
    return f"{len(result.audit.lost):,}"


def _wrong(result: Result) -> str:
    return f"{len(result.audit.wrong):,}"


def _worst(result: Result) -> str:
    return shown_ms(result.tally.waits.worst_s)


def _fairness(result: Result) -> str:
    return "none" if result.fairness is None else f"{result.fairness:.2f}"


def _sound(result: Result) -> str:
    return "no" if result.audit.unsound else "yes"


def _wait(percentile: float) -> _Shown:
    return lambda result: shown_ms(result.tally.waits.at(percentile))
