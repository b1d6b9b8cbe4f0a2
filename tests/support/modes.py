"""Permissions: what a path has, and a umask for the length of a block."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

UMASKS = (0o000, 0o022, 0o077, 0o777)


def mode(path: Path) -> int:
    """Return the permission bits of *path*."""
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(bits: int) -> Generator[None]:
    """Set the process's umask for a block."""
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)
