"""Ranges of bytes: which part of a blob is asked for, and which part of an upload a chunk is."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_CHUNK: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")
_WANTED: Final = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")


class Span(NamedTuple):
    """The bytes from *start* up to, and without, *stop*."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many."""
        return self.stop - self.start


def of_chunk(text: str) -> Span | None:
    """Return what ``Content-Range: 0-99`` says (the specification, "Pushing a blob in chunks"); None if it is none."""
    found = _CHUNK.fullmatch(text)
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    return Span(first, last + 1) if first <= last else None


def wanted(text: str | None, size: int) -> Span | None:
    """Return which part of *size* bytes ``Range`` asks for (RFC 9110, section 14.1.2).

    None where all of it is to be sent: there is no such header, or it is of a form that may be ignored: several ranges,
    another unit, an end before its beginning.

    Raises:
        ValueError: no byte lies in the range: 416.
    """
    found = _WANTED.fullmatch(text.strip()) if text else None
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        suffix = int(found[2])
        if suffix == 0 or size == 0:
            msg = "no byte lies in the range"
            raise ValueError(msg)
        return Span(max(0, size - suffix), size)
    first = int(found[1])
    if found[2] != "" and int(found[2]) < first:
        return None
    if first >= size:
        msg = "no byte lies in the range"
        raise ValueError(msg)
    return Span(first, size if found[2] == "" else min(size, int(found[2]) + 1))
