"""What ``onewriter top`` shows at one moment, whatever it looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One moment.

    Attributes:
        at: when.
        source: what was looked at.
        problem: why it could not be seen; None where it was.
        heads: the titles of the columns of values.
        rows: a label and its values, one a column.
        lines: the same for a pipe, a line each.
        told: the same for programs.
    """

    at: datetime
    source: str
    problem: str | None = None
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, tuple[str, ...]], ...] = ()
    lines: tuple[str, ...] = ()
    told: Mapping[str, object]


class Watched(Protocol):
    """What is looked at, again and again.

    Attributes:
        name: its path or URL, for people.
    """

    name: str

    def look(self) -> Shot:
        """Return what is there now, and how it has changed since the last look.

        Raises:
            Refused, onewriter.Error: it cannot be seen, and why.
        """
        ...
