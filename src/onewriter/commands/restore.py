"""``onewriter restore``: a database from a snapshot."""

from __future__ import annotations

from pathlib import Path

import onewriter

from .endings import broken_off
from .telling import DONE, as_json, line, run


def restore(snapshot: Path, dest: Path, *, json: bool) -> int:
    """Make *dest* a database with the content of *snapshot*, and return the exit status."""

    def work() -> int:
        with broken_off():
            made = onewriter.restore(snapshot, dest)
        if json:
            as_json({"snapshot": str(snapshot), "file": str(made), "bytes": made.stat().st_size})
        else:
            print(line(f"{made}: {made.stat().st_size:,} bytes"))
        return DONE

    told = {"snapshot": str(snapshot), "file": str(dest)} if json else None
    return run("restore", work, lambda _error: None, told=told)
