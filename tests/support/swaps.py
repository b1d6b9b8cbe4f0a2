"""A name that changes under the one who uses it: what another user may put there, and each moment at which he can.

A `Moments` counts what a call asks of the system, by Python's `os` and by SQLite's own VFS, and lets somebody act
right before the one that was chosen: so that the swap comes between a look and the use of what was seen, at every such
place, and not where luck has it.
"""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from unittest import mock

import apsw

from tests.support.outside import NAME, Ground

CALLS: Final = (
    "access",
    "chmod",
    "link",
    "lstat",
    "mkdir",
    "open",
    "readlink",
    "rename",
    "replace",
    "rmdir",
    "scandir",
    "stat",
    "unlink",
)


class MomentVFS(apsw.VFS):
    """The platform's own, which says when it is asked for a name."""

    def __init__(self, name: str) -> None:
        """Register under *name*."""
        self.at: Callable[[str], object] = len
        self.name = name
        super().__init__(name, "")

    def xFullPathname(self, name: str) -> str:  # noqa: N802 - SQLite's name
        """Resolve the links of *name*."""
        self.at(f"resolves {name}")
        return super().xFullPathname(name)

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802 - SQLite's name
        """Say whether there is a file."""
        self.at(f"asks for {pathname}")
        return super().xAccess(pathname, flags)

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open a file."""
        self.at(f"opens {name.filename() if isinstance(name, apsw.URIFilename) else name}")
        return apsw.VFSFile("", name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        """Delete a file."""
        self.at(f"deletes {filename}")
        super().xDelete(filename, syncdir)


class Moments:
    """Counts moments, and has *act* called before the one whose number is *chosen*.

    Attributes:
        count: how many there were.
        place: what was about to be asked when it was done; empty where the call ended before.
    """

    def __init__(self, chosen: int, act: Callable[[], object]) -> None:
        """Begin at 0."""
        self.count = 0
        self.place = ""
        self._chosen = chosen
        self._act = act
        self._acts = False

    def at(self, what: str) -> None:
        """Count one."""
        if self._acts:
            return  # it is what the other user does
        self.count += 1
        if self.count == self._chosen:
            self.place = what
            self._acts = True
            try:
                self._act()
            finally:
                self._acts = False

    @contextmanager
    def watched(self, vfs: MomentVFS) -> Generator[None]:
        """Count what is asked of the system in a block, by *vfs* too."""
        told = {name: self._told(name, getattr(os, name)) for name in CALLS}
        vfs.at = self.at
        try:
            with mock.patch.dict(vars(os), told | {"supports_effective_ids": {told["access"]}}):
                yield
        finally:
            vfs.at = len

    def _told(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def told(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the system's takes
            self.at(f"{name} {arguments[0] if arguments else ''}")
            return call(*arguments, **named)

        return told


# --- what is put in the place of a name


def _away(place: Path) -> None:
    """Take the name away; what had it is moved."""
    with suppress(FileNotFoundError):
        place.rename(place.with_name(f"moved-{os.urandom(4).hex()}"))


def _nothing(place: Path, _ground: Ground) -> None:
    _away(place)


def _link_to(name: str) -> Callable[[Path, Ground], None]:
    def lay(place: Path, ground: Ground) -> None:
        _away(place)
        place.symlink_to(ground.outside / name)

    return lay


def _hard_link(place: Path, ground: Ground) -> None:
    """Linux forbids it for another's file (``fs.protected_hardlinks``): then the name is only taken away."""
    _away(place)
    with suppress(PermissionError):
        place.hardlink_to(ground.outside / NAME)


def _folder(place: Path, _ground: Ground) -> None:
    _away(place)
    place.mkdir()


def _file(place: Path, _ground: Ground) -> None:
    _away(place)
    place.touch()
    place.chmod(0o666)


def pipe(place: Path, _ground: Ground) -> None:
    """Put a pipe there, which nobody writes to: whoever opens it to read waits."""
    _away(place)
    os.mkfifo(place)
    place.chmod(0o666)


Put = Callable[[Path, Ground], None]
FOLDER_LINK: Final = _link_to(".")
PUTS: Final[dict[str, Put]] = {
    "nothing": _nothing,
    "link to a database": _link_to(NAME),
    "link to a text": _link_to("notes.txt"),
    "link to an empty file": _link_to("empty"),
    "link to nothing": _link_to("absent"),
    "link to a folder": FOLDER_LINK,
    "hard link": _hard_link,
    "folder": _folder,
    "file": _file,
}
