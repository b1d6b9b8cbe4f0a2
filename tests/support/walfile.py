"""What a WAL file holds, frame by frame (https://sqlite.org/fileformat2.html#the_write_ahead_log)."""

from __future__ import annotations

from typing import Final

HEADER: Final = 32
_FRAME_HEADER: Final = 24


def commits_before(content: bytes, at: int) -> int:
    """Return how many commits are whole in the part of a WAL that ends before the byte *at*.

    Frames behind the last one that belong to an older round of the file count for nothing.
    """
    salt = content[16:24]
    length = _FRAME_HEADER + int.from_bytes(content[8:12])
    commits = 0
    for start in range(HEADER, min(at, len(content)) - length + 1, length):
        if content[start + 8 : start + 16] != salt:
            break
        commits += int.from_bytes(content[start + 4 : start + 8]) != 0
    return commits if at >= HEADER else 0
