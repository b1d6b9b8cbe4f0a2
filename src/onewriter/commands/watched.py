"""What ``onewriter top FILE`` shows: a database file from outside, without the help of who uses it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import onewriter
from onewriter import FileStatus

from .commits import Count, count
from .shots import Shot
from .status import lines_of_users, number, seconds, size, told
from .telling import line

_CONTENT_S: Final = 10.0  # between two looks at what it holds, for which SQLite opens it
_NO_RATE: Final = "-"
_VERSIONS: Final = {None: "another package's", 0: "no migration"}


class WatchedFile:
    """A file at a path."""

    def __init__(self, path: Path) -> None:
        """Look at *path*."""
        self.name = line(str(path))
        self._path = path
        self._content_at = -_CONTENT_S
        self._before: tuple[float, FileStatus, Count | None] | None = None

    def look(self) -> Shot:
        """Look at it; see `Watched`."""
        at = time.monotonic()
        seen = self._look(at)
        commits = count(seen.path)  # nothing of this process has it open now
        before, self._before = self._before, (at, seen, commits)
        passed = None if before is None else at - before[0]
        rates: dict[str, float | bool | None] = {
            "commits": None,
            "commits_per_s": None,
            "commits_exact": None,
            "bytes_per_s": None,
            "wal_bytes_per_s": None,
        }
        if before is not None and passed:
            more = None if commits is None else commits.since(before[2])
            least = int((seen.file_bytes, seen.wal_bytes) != (before[1].file_bytes, before[1].wal_bytes))
            rates = {
                "commits": least if more is None else more,
                "commits_per_s": (least if more is None else more) / passed,
                "commits_exact": more is not None,
                "bytes_per_s": (seen.file_bytes - before[1].file_bytes) / passed,
                "wal_bytes_per_s": (seen.wal_bytes - before[1].wal_bytes) / passed,
            }
        now = datetime.now(UTC)
        rows = tuple((label, line(value)) for label, value in _rows(seen, rates))
        return Shot(
            at=now,
            source=self.name,
            heads=("",),
            rows=tuple((label, (value,)) for label, value in rows),
            lines=(_line(seen, rates),),
            told={
                "at": now.isoformat(timespec="milliseconds"),
                "source": str(self._path),
                "interval_s": None if passed is None else round(passed, 3),
                **rates,
                **told(seen),
            },
        )

    def _look(self, at: float) -> FileStatus:
        if at - self._content_at < _CONTENT_S and self._before is not None:
            last = self._before[1]
            seen = onewriter.status(self._path, content=False)
            return replace(seen, content=last.content, problem=last.problem)
        seen = onewriter.status(self._path)
        self._content_at = at
        return seen


def _rows(seen: FileStatus, rates: dict[str, float | bool | None]) -> Iterator[tuple[str, str]]:
    held = seen.content
    yield "commits/s", _commits(rates)
    yield "size", size(seen.file_bytes) + _growth(rates["bytes_per_s"])
    yield "WAL", size(seen.wal_bytes) + _growth(rates["wal_bytes_per_s"])
    if held is not None:
        tables = f"{len(held.tables):,} table{'' if len(held.tables) == 1 else 's'}"
        yield "schema", f"{_VERSIONS.get(held.schema_version, f'version {held.schema_version}')}, {tables}"
        yield "journal mode", held.journal_mode
    if seen.problem is not None:
        yield "not all seen", seen.problem
    users = list(lines_of_users(seen))
    if not users:
        yield "nobody", "has it open through onewriter, or has a lock on it"
    yield from users


def _commits(rates: dict[str, float | bool | None]) -> str:
    rate = rates["commits_per_s"]
    if rate is None:
        return _NO_RATE
    at_least = "" if rates["commits_exact"] else "at least "
    return f"{at_least}{number(rate)}"


def _growth(rate: float | None) -> str:
    if not rate:
        return ""
    return f" ({'+' if rate > 0 else '-'}{size(abs(rate))}/s)"


def _line(seen: FileStatus, rates: dict[str, float | bool | None]) -> str:
    turn = _NO_RATE if seen.turn is None else str(seen.turn.pid or "unseen")
    turn_s = _NO_RATE if seen.turn is None or seen.turn.for_s is None else seconds(seen.turn.for_s)
    stranger = _NO_RATE if seen.stranger is None else str(seen.stranger.pid)
    told = (
        f"commits/s={_commits(rates)}",
        f"size={size(seen.file_bytes)}",
        f"WAL={size(seen.wal_bytes)}",
        f"turn={turn}",
        f"turn-for={turn_s}",
        f"waiting={len(seen.waiting)}",
        f"readers={len(seen.readers)}",
        f"writers={len(seen.writers)}",
        f"others={len(seen.others)}",
        f"stranger={stranger}",
    )
    return line(f"{seen.path} {' '.join(each.replace(' ', '') for each in told)}")
