"""Where one SQL statement ends and the next begins, by SQLite's own rule.

The rule is ``sqlite3_complete`` (https://sqlite.org/c3ref/complete.html): a semicolon inside a string, a comment or
a trigger's body ends nothing. It is asked only at semicolons outside strings and comments, so that a long text with
many of them does not take its square in time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import apsw

from .errors import DataError, ProgrammingError

# SQLite's own blank space, the byte order mark with it, which `apsw.complete` would take for a letter.
_BLANK = re.compile(r"(?:[ \t\n\f\r\ufeff;]+|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*", re.DOTALL)
# Strings, quoted names and comments, for `re.DOTALL`: what stands in them means nothing.
QUOTED: Final = (
    r"""'[^']*(?:'|\Z)|"[^"]*(?:"|\Z)|`[^`]*(?:`|\Z)|\[[^\]]*(?:\]|\Z)|--[^\n]*|/\*.*?(?:\*/|\Z)"""
)
_TOKEN = re.compile(f"{QUOTED}|;", re.DOTALL)


class Statement(NamedTuple):
    """One statement of a script: its *text*, and the *line* it begins on, counted from 1."""

    text: str
    line: int


def split(script: str) -> Iterator[Statement]:
    """Yield the statements of *script* in order; blank space and comments before each belong to none.

    Raises:
        ProgrammingError: *script* has a NUL character, which would end it for SQLite.
        DataError: it is not valid Unicode.
    """
    _check(script)
    start = _skip(script, 0)
    line = 1 + script.count("\n", 0, start)
    end = start
    while start < len(script):
        token = _TOKEN.search(script, end)
        if token is None:
            yield Statement(script[start:].rstrip(), line)
            return
        end = token.end()
        if token[0] == ";" and apsw.complete(script[start:end]):
            yield Statement(script[start:end], line)
            before, start = start, _skip(script, end)
            line += script.count("\n", before, start)
            end = start


def count(sql: str) -> int:
    """Return how many statements *sql* holds."""
    return sum(1 for _ in split(sql))


def check_text(sql: object) -> None:
    """Refuse what is no text."""
    if not isinstance(sql, str):
        raise no_text(sql)


def no_text(sql: object) -> ProgrammingError:
    """Return the error for what is no text."""
    return ProgrammingError(f"sql must be a str, not {type(sql).__name__}")


def check_one(sql: str) -> None:
    """Refuse a text that does not hold one statement."""
    found = count(sql)
    if found != 1:
        what = "no statement" if found == 0 else f"{found} statements"
        msg = f"one statement a call: this text holds {what} (tx.script() runs several)"
        raise ProgrammingError(msg, sql=sql)


def _check(script: str) -> None:
    if "\0" in script:
        msg = "the SQL text holds a NUL character"
        raise ProgrammingError(msg, sql=script)
    try:
        script.encode()
    except UnicodeEncodeError as error:
        msg = "the SQL text is not valid Unicode"
        raise DataError(msg, sql=script) from error


def _skip(script: str, start: int) -> int:
    match = _BLANK.match(script, start)
    return match.end() if match else start
