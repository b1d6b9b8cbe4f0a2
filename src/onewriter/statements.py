"""Where one SQL statement ends and the next begins, by SQLite's own rule.

The rule is ``sqlite3_complete`` (https://sqlite.org/c3ref/complete.html): a semicolon inside a string, a comment or
a trigger's body ends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import apsw

_BLANK = re.compile(r"(?:\s|;|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*", re.DOTALL)


class Statement(NamedTuple):
    """One statement of a script: its *text*, and the *line* it begins on, counted from 1."""

    text: str
    line: int


def split(script: str) -> Iterator[Statement]:
    """Yield the statements of *script* in order; blank space and comments before each belong to none."""
    start = _skip(script, 0)
    end = start
    while start < len(script):
        end = script.find(";", end)
        if end < 0:
            yield Statement(script[start:].rstrip(), _line(script, start))
            return
        end += 1
        if apsw.complete(script[start:end]):
            yield Statement(script[start:end], _line(script, start))
            start = end = _skip(script, end)


@lru_cache(maxsize=512)
def count(sql: str) -> int:
    """Return how many statements *sql* holds."""
    return sum(1 for _ in split(sql))


def _skip(script: str, start: int) -> int:
    match = _BLANK.match(script, start)
    return match.end() if match else start


def _line(script: str, position: int) -> int:
    return script.count("\n", 0, position) + 1
