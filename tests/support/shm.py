"""Another process that has exactly the locks that it is told to have, or stops at a step of SQLite's.

The locks of WAL mode are bytes of the ``-shm`` (https://sqlite.org/walformat.html#wal_locks).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.children import Child, child

WRITER: Final = 120
CHECKPOINTER: Final = 121
RECOVERY: Final = 122
READERS: Final = (123, 124, 125, 126, 127)

_KEEPS = """
import fcntl, os, sys
shm = os.open(sys.argv[1] + "-shm", os.O_RDWR)
for byte in map(int, sys.argv[3:]):
    fcntl.lockf(shm, fcntl.LOCK_EX, 1, byte)
header = os.pread(shm, 96, 0)
if sys.argv[2] == "recovers":
    os.pwrite(shm, bytes(96), 0)
print("keeps", flush=True)
sys.stdin.readline()
os.pwrite(shm, header, 0)
"""


@contextmanager
def keeping(path: Path, *locks: int) -> Generator[Child]:
    """Have *locks* of the database at *path*, which somebody has open, kept by a process until it is let go on."""
    with child(_KEEPS, path, "keeps", *locks) as other:
        other.wait_for("keeps")
        yield other


@contextmanager
def recovering(path: Path) -> Generator[Child]:
    """Have a process in the middle of recovering the WAL of *path*, as after a crash, until it is let go on."""
    with child(_KEEPS, path, "recovers", WRITER, RECOVERY) as other:
        other.wait_for("keeps")
        yield other
