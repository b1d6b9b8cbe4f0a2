"""A folder with another user's prey in it, and a folder beside it that this other user may write.

The database lies in ``common``, which the other user can change and does not own. What lies in ``outside`` is known to
the last bit: nothing that is asked of the database may touch it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import onewriter
from tests.support.children import NOBODY

NAME = "a.db"  # of the database, and of a file outside too
SNAPSHOT = "copy.db"
IS_ROOT = os.geteuid() == 0
_MEMORY = Path("/dev/shm")


class State(NamedTuple):
    """What is known of one file or folder."""

    mode: int
    owner: int
    changed_ns: int
    content: bytes


class Ground:
    """The two folders, and what the second held at first."""

    def __init__(self, root: Path) -> None:
        """Make them below *root*."""
        self.common, self.outside = root / "shared" / "common", root / "outside"
        for folder in (self.common, self.outside):
            folder.mkdir(parents=True)
        # Another user may put names there, and take them away: the database's folder, and the one above.
        for folder in (self.common, self.common.parent):
            folder.chmod(0o777)
        self.path, self.copy = self.common / NAME, self.common / SNAPSHOT
        for name in (NAME, SNAPSHOT):
            self._make_database(self.outside / name)
        (self.outside / "notes.txt").write_bytes(b"kept as they are\n")
        (self.outside / "empty").touch()
        for each in self.outside.iterdir():
            each.chmod(0o644)
        self.outside.chmod(0o755)
        self.before = self.look()
        self.kept = root / "kept"
        shutil.copytree(self.outside, self.kept)

    def restore(self) -> None:
        """Make what is outside as it was."""
        shutil.rmtree(self.outside)
        shutil.copytree(self.kept, self.outside)
        self.before = self.look()

    @staticmethod
    def _make_database(path: Path) -> None:
        with onewriter.open(path) as db:
            db.execute("CREATE TABLE prey (name TEXT)")
            db.execute("INSERT INTO prey VALUES ('outside')")
        path.with_name(f"{path.name}-turn").unlink()

    def look(self) -> dict[str, State]:
        """Return the state of the folder outside, and of all in it."""
        found = {".": self._state(self.outside)}
        for each in sorted(self.outside.iterdir()):
            found[each.name] = self._state(each)
        return found

    @staticmethod
    def _state(path: Path) -> State:
        state = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(state.st_mode) else b""
        return State(state.st_mode, state.st_uid, state.st_mtime_ns, content)

    def touched(self) -> list[str]:
        """Return, in words, what is not as it was outside."""
        now = self.look()
        complaints = [f"{name} has come" for name in now.keys() - self.before.keys()]
        complaints += [f"{name} is gone" for name in self.before.keys() - now.keys()]
        for name in sorted(now.keys() & self.before.keys()):
            was, is_ = self.before[name], now[name]
            complaints += [
                f"{name}: its {field} was {getattr(was, field)!r} and is {getattr(is_, field)!r}"
                for field in State._fields
                if getattr(was, field) != getattr(is_, field)
            ]
        return complaints

    def wide(self) -> list[str]:
        """Return what of this user's in the common folder has content, and others may read or write."""
        found: list[str] = []
        if self.common.is_symlink() or not self.common.is_dir():
            return found
        for each in sorted(self.common.iterdir()):
            with suppress(FileNotFoundError):  # the other user is still at it
                state = each.lstat()
                is_ours = state.st_uid == os.geteuid() and stat.S_ISREG(state.st_mode)
                if is_ours and state.st_size and state.st_mode & 0o077:
                    found.append(f"{each.name} has mode {stat.S_IMODE(state.st_mode):o}")
        return found

    def clear(self) -> None:
        """Empty the common folder, or make it anew, for the next case."""
        for each in self.common.parent.iterdir():
            if each.is_symlink():
                each.unlink()
            else:
                shutil.rmtree(each)
        self.common.mkdir()
        self.common.chmod(0o777)


@contextmanager
def ground() -> Generator[Ground]:
    """The two folders, for a block; `tmp_path` is where another user does not come. In memory, where that can be."""
    root = Path(tempfile.mkdtemp(prefix="onewriter-", dir=_MEMORY if _MEMORY.is_dir() else None)).resolve()
    try:
        root.chmod(0o755)
        yield Ground(root)
    finally:
        shutil.rmtree(root)


@contextmanager
def other_user() -> Generator[None]:
    """Be the other user for a block, where the tests may; all threads are."""
    if not IS_ROOT:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
