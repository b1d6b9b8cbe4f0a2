"""A process that uses the same file with another SQLite, the standard library's, and knows nothing of onewriter.

It must be another process: two copies of SQLite in one drop each other's locks.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self, cast

LIMIT_S = 30.0

_PROGRAM = """
import json, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=float(sys.argv[2]), isolation_level=None)
for line in sys.stdin:
    try:
        answer = {"rows": connection.execute(*json.loads(line)).fetchall()}
    except sqlite3.Error as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
connection.close()
"""


class Refused(Exception):
    """The stranger's SQLite refused a statement."""


class Stranger:
    """One connection in another process; a context manager, which ends it."""

    def __init__(self, path: Path, *, timeout_s: float = 0.0) -> None:
        """Connect to *path*; wait up to *timeout_s* for locks."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(path), str(timeout_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def run(self, sql: str, *params: object) -> list[list[object]]:
        """Run one statement and return its rows."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([sql, params]), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return cast("list[list[object]]", answer["rows"])

    def kill(self) -> None:
        """End it as a loss of power would: nothing is closed."""
        self._process.kill()
        self._process.wait(LIMIT_S)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(LIMIT_S)


def may_write(path: Path) -> bool:
    """Return whether another process gets the write lock of *path* at once."""
    with Stranger(path) as other:
        try:
            other.run("BEGIN IMMEDIATE")
        except Refused:
            return False
        return True
