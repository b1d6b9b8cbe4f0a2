"""Where one SQL statement ends and the next begins, by SQLite's own rule.

The rule is that of ``sqlite3_complete`` (https://sqlite.org/c3ref/complete.html): a semicolon inside a string, a
comment or a trigger's body ends nothing. It is written out here, since that function has to be asked for each
semicolon, always from the beginning: a trigger of many would take their square in time.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from .errors import DataError, ProgrammingError

# SQLite's own blank space, the byte order mark with it, which to the rule is a letter.
_BLANK = re.compile(r"(?:[ \t\n\f\r\ufeff;]+|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*", re.DOTALL)
# Strings, quoted names and comments, for `re.DOTALL`: what stands in them means nothing.
QUOTED: Final = (
    r"""'[^']*(?:'|\Z)|"[^"]*(?:"|\Z)|`[^`]*(?:`|\Z)|\[[^\]]*(?:\]|\Z)|--[^\n]*|/\*.*?(?:\*/|\Z)"""
)
_END = re.compile(f"{QUOTED}|(?P<end>;)", re.DOTALL)
_TOKEN = re.compile(
    rf"(?P<blank>[ \t\n\f\r]+|--[^\n]*|/\*.*?(?:\*/|\Z))|{QUOTED}|[\w$\x80-\U0010ffff]+|.", re.DOTALL
)


_WORD_MAX: Final = len("temporary")


class _State(enum.Enum):
    """What a statement is, by its first words; then where in a trigger its text is."""

    BEGUN = 0
    EXPLAINED = 1
    CREATED = 2
    NORMAL = 3
    BODY = 4  # of a trigger
    AFTER = 5  # a semicolon of the body
    LAST = 6  # after its END


# What comes of a word; of any other it is NORMAL, or goes on with the BODY.
_WORDS: Final[dict[_State, dict[str, _State]]] = {
    _State.BEGUN: {"explain": _State.EXPLAINED, "create": _State.CREATED},
    _State.EXPLAINED: dict.fromkeys(("explain", "temp", "temporary", "trigger", "end"), _State.NORMAL)
    | {"create": _State.CREATED},
    _State.CREATED: {"temp": _State.CREATED, "temporary": _State.CREATED, "trigger": _State.BODY},
    _State.AFTER: {"end": _State.LAST},
}
_OTHERS: Final = {
    _State.BEGUN: _State.NORMAL,
    _State.EXPLAINED: _State.EXPLAINED,
    _State.CREATED: _State.NORMAL,
}


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
    while start < len(script):
        end = _end(script, start)
        if end is None:
            yield Statement(script[start:].rstrip(), line)
            return
        yield Statement(script[start:end], line)
        before, start = start, _skip(script, end)
        line += script.count("\n", before, start)


def _end(script: str, start: int) -> int | None:
    """Return where the statement that begins at *start* ends, behind its semicolon; None where it has none."""
    state, end = _State.BEGUN, start
    while state is not _State.NORMAL:
        token = _TOKEN.match(script, end)
        if token is None:
            return None
        end = token.end()
        if token["blank"] is not None:
            continue
        if token[0] != ";":
            word = token[0].lower() if len(token[0]) <= _WORD_MAX else ""
            state = _WORDS.get(state, {}).get(word) or _OTHERS.get(state, _State.BODY)
        elif state in (_State.BODY, _State.AFTER):
            state = _State.AFTER
        else:
            return end
    found = next((token for token in _END.finditer(script, end) if token["end"]), None)
    return None if found is None else found.end()


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
