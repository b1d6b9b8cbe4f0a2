"""The last close of a file: nothing is moved inside SQLite's own, where no other thread of the process could run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

import onewriter
from onewriter import Config, Database
from onewriter.handle import Handle
from tests.support.children import child, forked
from tests.support.sick_vfs import SickVFS
from tests.support.steps import LIMIT_S, Call, Steps
from tests.support.stranger import Stranger

INSERT = "INSERT INTO body (bytes) VALUES (zeroblob(4096))"
_OPEN = """
import sys
db = onewriter.open(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
db.execute("INSERT INTO body (bytes) VALUES (zeroblob(4096))")
db.close()
"""


class Disk(SickVFS):
    """Notes what is written to the database, and whether inside SQLite's close; and may wait there."""

    def __init__(self) -> None:
        """Note nothing yet."""
        super().__init__("noting-last-close")
        self.clear()

    def clear(self) -> None:
        """Forget what was noted."""
        self.before = self.inside = 0
        self.steps: Steps | None = None

    def note(self, what: str, kind: str) -> None:
        """Note it; the rule."""
        if kind != "db" or what not in ("write", "sync"):
            return
        if _is_closing():
            self.inside += 1
        else:
            self.before += 1
        if self.steps is not None:
            self.steps.mark("moves")
            self.steps.wait_for("go")


def _is_closing() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is Handle.close.__code__:
            return True
        frame = frame.f_back
    return False


@pytest.fixture(scope="module")
def _disk() -> Disk:
    return Disk()


@pytest.fixture
def disk(_disk: Disk) -> Iterator[Disk]:
    """A disk that notes what is written to the database."""
    _disk.clear()
    _disk.rule = _disk.note
    yield _disk
    _disk.rule = None
    _disk.clear()


def make(folder: Path, disk: Disk, rows: int) -> Database:
    """Open a database, and write so many pages."""
    db = onewriter.open(folder / "a.db", config=Config(vfs=disk.name), durability="normal")
    db.execute("CREATE TABLE body (id INTEGER PRIMARY KEY, bytes BLOB)")
    for _ in range(rows):
        db.execute(INSERT)
    return db


@pytest.mark.parametrize("rows", [1, 3_000], ids=["few", "many"])
def test_all_is_moved_before_the_close(tmp_path: Path, disk: Disk, rows: int) -> None:
    """By who closes, or by the thread that moves where there is one; the file is whole, and alone."""
    db = make(tmp_path, disk, rows)
    movers = [each for each in threading.enumerate() if each.name.startswith("onewriter-checkpoint")]
    assert bool(movers) is (rows > 1)
    disk.before = 0
    db.close()
    assert disk.inside == 0
    assert disk.before > 0
    assert not (tmp_path / "a.db-wal").exists()
    with Stranger(tmp_path / "a.db") as other:
        assert other.run("SELECT count(*) FROM body") == [[rows]]


def test_who_closes_does_not_wait_for_a_thread_that_is_opening(tmp_path: Path, disk: Disk) -> None:
    """It was asked a moment ago and has no connection yet: who closes does its work, outside the close.

    closes                           the thread that moves
    ──────────────────────────────   ──────────────────────────────
    writes, and asks for it
                                     begins to open
    moves all, and closes
                                     has opened, and ends
    """
    steps = Steps()

    def on_connect(_: object) -> None:
        if threading.current_thread().name.startswith("onewriter-checkpoint"):
            steps.mark("opens")
            steps.wait_for("go")

    config = Config(vfs=disk.name, on_connect=on_connect)
    db = onewriter.open(tmp_path / "a.db", config=config, durability="normal")
    db.execute("CREATE TABLE body (id INTEGER PRIMARY KEY, bytes BLOB)")
    db.execute_many(INSERT, [()] * 3_000)
    steps.wait_for("opens")
    disk.before = 0
    try:
        db.close(timeout_s=0)
        assert disk.inside == 0
        assert disk.before > 0
    finally:
        steps.mark("go")
        db.close()


def test_who_is_not_the_last_moves_nothing(tmp_path: Path, disk: Disk) -> None:
    """Nobody is kept by a close that is none of the file's; the last one does it, and has all."""
    db = make(tmp_path, disk, 1)
    with child(_OPEN, db.path) as other:
        other.wait_for("open")
        disk.before = 0
        db.close()
        assert (disk.before, disk.inside) == (0, 0)
        assert (tmp_path / "a.db-wal").stat().st_size > 0
        other.go_on()
        other.end()
    assert not (tmp_path / "a.db-wal").exists()
    with onewriter.open(tmp_path / "a.db", read_only=True) as again:
        assert again.query_value("SELECT count(*) FROM body", into=int) == 2


def test_a_fork_waits_while_the_rest_is_moved(tmp_path: Path, disk: Disk) -> None:
    """The child could not put the handle away, and so not open the file (`checkpoints`, C7)."""
    db = make(tmp_path, disk, 1)
    steps = disk.steps = Steps()
    closing = Call(db.close)
    steps.wait_for("moves")
    begun = Steps()

    def fork() -> object:
        begun.mark("forks")
        return forked(lambda: _count(tmp_path / "a.db"))

    forking = Call(fork)
    begun.wait_for("forks")
    forking._thread.join(0.2)
    assert forking.running
    disk.steps = None
    steps.mark("go")
    closing.result()
    forking._thread.join(LIMIT_S)
    assert forking.result() == 1


def _count(path: Path) -> int:
    with onewriter.open(path) as db:
        return db.query_value("SELECT count(*) FROM body", into=int)
