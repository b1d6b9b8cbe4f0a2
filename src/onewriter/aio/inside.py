"""What of a `onewriter.Database` its tasks use, beside its public names: the one door to its parts."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from onewriter.background import Background
from onewriter.core import Staff
from onewriter.database import Database
from onewriter.observer import Observer
from onewriter.presence import Presence
from onewriter.readers import Readers
from onewriter.writer import Writer


class Inside(NamedTuple):
    """The parts of a database."""

    background: Background | None
    presence: Presence
    readers: Readers
    for_writing: Callable[[], Writer]  # raises what `Database.write` raises where it cannot be used
    for_reading: Callable[[], None]  # raises what `Database.query` raises
    check_own: Callable[[], None]  # raises `ForkedDatabase`
    is_forked: Callable[[], bool]
    observe_by: Callable[[str | Iterable[str] | None, Callable[[], object], float | None], Observer]
    has_staff: Callable[[Staff], None]  # notes threads that end with it


def inside(database: Database) -> Inside:
    """Return the parts of *database*."""
    return Inside(
        database._core.background,  # noqa: SLF001
        database._presence,  # noqa: SLF001
        database._readers,  # noqa: SLF001
        database._for_writing,  # noqa: SLF001
        database._check_not_writing,  # noqa: SLF001
        database._check_own,  # noqa: SLF001
        lambda: database._forked,  # noqa: SLF001
        database._observe_by,  # noqa: SLF001
        database._core.tasks.add,  # noqa: SLF001
    )
