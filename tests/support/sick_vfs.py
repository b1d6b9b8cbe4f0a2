"""A file system that fails on command: an SQLite VFS over the platform's own."""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import apsw


class SickFile(apsw.VFSFile):
    """A file whose writes and syncs ask its VFS first."""

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


_KINDS = {
    apsw.SQLITE_OPEN_MAIN_DB: "db",
    apsw.SQLITE_OPEN_WAL: "wal",
    apsw.SQLITE_OPEN_MAIN_JOURNAL: "journal",
}


class SickVFS(apsw.VFS):
    """Calls ``rule(what, kind)`` before each write, read, sync and deletion; the rule raises, or kills, or counts.

    *what* is "write", "written", "read", "sync" or "delete", *kind* "db", "wal", "journal" or "other".
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
        """Open a file that asks."""
        return SickFile(self, name, flags)

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
