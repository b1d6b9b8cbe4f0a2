"""What goes into SQLite and what comes out: its five types, and the texts of statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar, cast

from .errors import ProgrammingError

Value: TypeAlias = None | int | float | str | bytes
"""What SQLite stores, and what comes back where no type is asked for (https://sqlite.org/datatype3.html)."""

T = TypeVar("T")


class SQL(str):
    """A computed SQL text, marked as meant.

    Every call takes a ``LiteralString`` or this: so a type checker finds text that was put together from input.
    Whoever writes ``SQL(text)`` vouches for *text*.
    """

    __slots__ = ()


def check_params(params: object) -> None:
    """Refuse what SQLite would take apart wrongly: a bare string binds its letters one by one."""
    kind = type(params)
    if kind is tuple or kind is dict or kind is list:
        return
    if isinstance(params, (str, bytes, bytearray, memoryview, int, float)):
        msg = f"params must be a sequence or a mapping, not {kind.__name__}: write (value,) for a single one"
        raise ProgrammingError(msg)
    if not isinstance(params, (Sequence, Mapping)):
        msg = f"params must be a sequence or a mapping, not {kind.__name__}"
        raise ProgrammingError(msg)


def plain(text: T) -> T:
    """Return a text as a string of Python's own class: another's code would run on the thread that uses it."""
    return text if type(text) is str or not isinstance(text, str) else cast("T", str.__str__(text))
