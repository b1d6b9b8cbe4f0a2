"""What a caller is told whom the write line did not take."""

from __future__ import annotations

from pathlib import Path

from .errors import DatabaseClosed, QueueFull
from .line import Closed, Full


def turned_away(why: Closed | Full, path: Path, pending_max: int) -> DatabaseClosed | QueueFull:
    """Return the error for a request that the line of the database at *path* did not take."""
    if isinstance(why, Closed):
        return DatabaseClosed(f"{path} is closed")
    msg = f"{path}: {pending_max} requests wait already (Config.pending_max); nothing ran"
    return QueueFull(msg, held_by="line")
