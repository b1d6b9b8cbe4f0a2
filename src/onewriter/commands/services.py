"""What ``onewriter top URL`` shows: the databases of a running service, by the metrics that it exports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Final

from .expositions import Exposition, Figures, fetch
from .shots import Shot
from .status import number, seconds, size
from .telling import line

MISSING: Final = "-"
_NAME_MAX: Final = 24
_Shown = Callable[[float], str]


# What a row shows: its label, and its figures, each in its form.
_ROWS: Final[tuple[tuple[str, tuple[str, ...], _Shown], ...]] = (
    ("pending", ("pending",), number),
    ("writes/s", ("writes_per_s",), number),
    ("commits/s", ("commits_per_s",), number),
    ("writes per commit", ("writes_per_commit",), number),
    ("write wait p50, p99", ("write_wait_p50_s", "write_wait_p99_s"), seconds),
    ("commit p50, p99", ("commit_p50_s", "commit_p99_s"), seconds),
    ("readers used, idle", ("readers_used", "readers_idle"), number),
    ("read wait p50, p99", ("read_wait_p50_s", "read_wait_p99_s"), seconds),
    ("reruns/s", ("reruns_per_s",), number),
    ("busy retries/s", ("busy_retries_per_s",), number),
    ("WAL", ("wal_bytes",), size),
    ("oldest reader", ("oldest_reader_s",), seconds),
)


class Service:
    """A service at a URL."""

    def __init__(self, url: str) -> None:
        """Look at *url*."""
        self.name = line(url)
        self._url = url
        self._before: Exposition | None = None

    def look(self) -> Shot:
        """Ask it; see `Watched`. Where it was gone meanwhile, what it says is held against what it said before that."""
        now = fetch(self._url)
        before, self._before = self._before, now
        databases = now.since(before)
        told = {
            "at": (at := datetime.now(UTC)).isoformat(timespec="milliseconds"),
            "source": self._url,
            "interval_s": None if before is None else round(now.at - before.at, 3),
            "databases": databases,
        }
        names = list(databases)
        return Shot(
            at=at,
            source=self.name,
            problem=None if names else "it answers, and tells of no database of onewriter (yet?)",
            heads=tuple(short(names)),
            rows=tuple(
                (label, tuple(_cell(databases[name], keys, shown) for name in names))
                for label, keys, shown in _ROWS
            ),
            lines=tuple(_line(name, databases[name]) for name in names),
            told=told,
        )


def _cell(figures: Figures, keys: Sequence[str], shown: _Shown) -> str:
    values = [figures.get(key) for key in keys]
    if all(value is None for value in values):
        return MISSING
    return ", ".join(MISSING if value is None else shown(value) for value in values)


def _line(name: str, figures: Figures) -> str:
    told = (
        f"{label.replace(' ', '-').replace(',', '')}={_cell(figures, keys, shown).replace(', ', ',').replace(' ', '')}"
        for label, keys, shown in _ROWS
    )
    return line(f"{name} {' '.join(told)}")


def short(names: Sequence[str]) -> list[str]:
    """Return for each of *names*, which are paths, as much of its end as tells it from the others; cut where long."""
    parts = [PurePath(name).parts or (name,) for name in names]
    found: list[str] = []
    for each in parts:
        count = 1
        while count < len(each) and sum(other[-count:] == each[-count:] for other in parts) > 1:
            count += 1
        text = line("/".join(part.strip("/") for part in each[-count:]))
        found.append(text if len(text) <= _NAME_MAX else f"…{text[1 - _NAME_MAX :]}")
    return found
