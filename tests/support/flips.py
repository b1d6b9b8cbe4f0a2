"""Damage: bits and bytes that are flipped, sectors that come back as zeros or as garbage, files that are cut."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

SECTOR: Final = 512
How = Literal["bit", "byte", "zeros", "garbage", "cut"]
HOWS: Final[tuple[How, ...]] = ("bit", "byte", "zeros", "garbage", "cut")


@dataclass(frozen=True)
class Flip:
    """One damage to a file's content.

    Attributes:
        how: what is done.
        at: to which byte, or from which on.
        put: what is there then; empty where the file is cut.
    """

    how: How
    at: int
    put: bytes

    def apply(self, content: bytes) -> bytes:
        """Return the damaged content."""
        if self.how == "cut":
            return content[: self.at]
        return content[: self.at] + self.put + content[self.at + len(self.put) :]

    def changed(self, content: bytes) -> list[int]:
        """Return where the damaged content is another."""
        end = len(content) if self.how == "cut" else self.at + len(self.put)
        put = bytes(end - self.at) if self.how == "cut" else self.put
        return [at for at in range(self.at, end) if self.how == "cut" or content[at] != put[at - self.at]]

    def __str__(self) -> str:
        """Say it in few words."""
        return f"{self.how} at {self.at}"


def draw(drawn: random.Random, content: bytes, how: How, within: Sequence[int]) -> Flip:
    """Draw a damage of a kind that changes *content*; a bit or a byte is one of those at *within*."""
    while True:
        flip = _draw(drawn, content, how, within)
        if flip.changed(content):
            return flip


def _draw(drawn: random.Random, content: bytes, how: How, within: Sequence[int]) -> Flip:
    if how == "cut":
        return Flip(how, drawn.randrange(len(content)) | 1, b"")
    if how == "bit":
        at = drawn.choice(within)
        return Flip(how, at, bytes([content[at] ^ 1 << drawn.randrange(8)]))
    if how == "byte":
        return Flip(how, drawn.choice(within), drawn.randbytes(1))
    at = drawn.randrange(0, len(content), SECTOR)
    length = min(SECTOR, len(content) - at)
    return Flip(how, at, bytes(length) if how == "zeros" else drawn.randbytes(length))
