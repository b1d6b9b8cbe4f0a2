"""A file system that fails on command: an SQLite VFS over the platform's own."""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import apsw


class SickFile(apsw.VFSFile):
    """A file that asks its VFS before what it does."""

    def __init__(self, vfs: SickVFS, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        """Open as the platform does."""
        self._vfs = vfs
        self._kind = next((kind for flag, kind in _KINDS.items() if flags[0] & flag), "other")
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Write, if the VFS lets it."""
        self._vfs.ask("write", self._kind)
        super().xWrite(data, offset)
        self._vfs.ask("written", self._kind)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Sync, if the VFS lets it."""
        self._vfs.ask("sync", self._kind)
        super().xSync(flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name
        """Read, if the VFS lets it."""
        self._vfs.ask("read", self._kind)
        return super().xRead(amount, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        """Cut, if the VFS lets it."""
        self._vfs.ask("truncate", self._kind)
        super().xTruncate(newsize)

    def xFileSize(self) -> int:  # noqa: N802 - SQLite's name
        """Tell the size, if the VFS lets it."""
        self._vfs.ask("size", self._kind)
        return super().xFileSize()

    def xLock(self, level: int) -> None:  # noqa: N802 - SQLite's name
        """Lock, if the VFS lets it."""
        self._vfs.ask("lock", self._kind)
        super().xLock(level)

    def xUnlock(self, level: int) -> None:  # noqa: N802 - SQLite's name
        """Give a lock up, and ask then."""
        super().xUnlock(level)
        self._vfs.ask("unlock", self._kind)


_KINDS = {
    apsw.SQLITE_OPEN_MAIN_DB: "db",
    apsw.SQLITE_OPEN_WAL: "wal",
    apsw.SQLITE_OPEN_MAIN_JOURNAL: "journal",
}


class SickVFS(apsw.VFS):
    """Calls ``rule(what, kind)`` before each call of the file system; the rule raises, or kills, or counts.

    *what* is as in `sick_files`, but for shared memory, which APSW hands to the platform's VFS; *kind* "db", "wal",
    "journal" or "other".
    """

    def __init__(self, name: str) -> None:
        """Register under *name*."""
        self.rule: Callable[[str, str], object] | None = None
        self.name = name
        super().__init__(name, "")

    def ask(self, what: str, kind: str) -> None:
        """Ask the rule."""
        if self.rule is not None:
            self.rule(what, kind)

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open a file that asks, if the rule lets it."""
        self.ask("open", next((kind for flag, kind in _KINDS.items() if flags[0] & flag), "other"))
        return SickFile(self, name, flags)

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802 - SQLite's name
        """Look for a file, if the rule lets it."""
        self.ask("access", "other")
        return super().xAccess(pathname, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        """Delete, if the rule lets it."""
        self.ask("delete", "wal" if filename.endswith("-wal") else "other")
        super().xDelete(filename, syncdir)


def fail(what: str, kind: str, error: type[apsw.Error]) -> Callable[[str, str], None]:
    """Return a rule by which every *what* of a *kind* raises *error*."""

    def rule(asked: str, of: str) -> None:
        if (asked, of) == (what, kind):
            raise error

    return cast("Callable[[str, str], None]", rule)
