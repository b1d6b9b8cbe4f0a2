"""Records all that one process does to the files of a folder: through SQLite, by a VFS, and through Python's `os`.

R1  A write is noted when it has been made, and a sync with how much was noted when it began: what is written meanwhile
    is not in it.
R2  What is told to somebody is noted in the same list (`Recorder.say`): what comes before it there happened before.
R3  SQLite syncs the folder of a log with the first sync of each opening of it, and of a deletion where it asks for that
    (https://sqlite.org/src/file/src/os_unix.c).
R4  The ``-shm`` is shared memory, and the numbers in the turn file are: nothing relies on either after a loss of power.
"""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import apsw

from .disk import Cut, Event, Named, Note, Sync, SyncNames, Write

_LOGS: Final = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_SUPER_JOURNAL


class Recorder:
    """The list of what happened below one folder.

    Attributes:
        events: in order.
        fails: is asked before each sync of a file, with its path, whether it is to fail.
    """

    def __init__(self, root: Path) -> None:
        """Begin with nothing; what is in *root* already `adopt` notes."""
        self.root = root
        self.events: list[Event] = []
        self.fails: Callable[[Path], bool] | None = None
        self._lock = threading.Lock()
        self._files: dict[Path, int] = {}
        self._made = 0

    def say(self, said: object) -> None:
        """Note what somebody is told (R2)."""
        self._note(Note(said))

    def write(self, path: Path, offset: int, data: bytes) -> None:
        """Note a write that has been made."""
        with self._lock:
            if path in self._files:
                self.events.append(Write(self._files[path], offset, data))

    def cut(self, path: Path, size: int) -> None:
        """Note another length."""
        with self._lock:
            if path in self._files:
                self.events.append(Cut(self._files[path], size))

    def adopt(self) -> None:
        """Begin with the files that there are, all of them durable."""
        for path in sorted(self.root.iterdir()):
            self.created(path)
            self.write(path, 0, path.read_bytes())
            self._note(Sync(self._files[path], len(self.events)))
        self._note(SyncNames(self.root, len(self.events)))

    def created(self, path: Path) -> None:
        """Note a file that has been made, if it is new and of this folder."""
        with self._lock:
            if path not in self._files and path.is_relative_to(self.root):
                self._made += 1
                self._files[path] = self._made
                self.events.append(Named(((path, self._made),)))

    def linked(self, path: Path, other: Path) -> None:
        """Note that *other* is a name of *path*'s file too."""
        with self._lock:
            if path in self._files:
                self._files[other] = self._files[path]
                self.events.append(Named(((other, self._files[path]),)))

    def moved(self, path: Path, other: Path) -> None:
        """Note that *path* is called *other* now."""
        with self._lock:
            if path in self._files:
                self._files[other] = file = self._files.pop(path)
                self.events.append(Named(((path, None), (other, file))))

    def removed(self, path: Path) -> None:
        """Note that the name is gone."""
        with self._lock:
            if self._files.pop(path, None) is not None:
                self.events.append(Named(((path, None),)))

    @contextmanager
    def syncing(self, path: Path, failure: Exception, *, loses: bool = True) -> Generator[None]:
        """Sync *path*, a file or a folder, in the block (R1); raises *failure* in its place where that is to be.

        It then *loses* what was not synced (`disk`, D3).
        """
        with self._lock:
            since, file = len(self.events), self._files.get(path)
        if file is None:
            yield
            if path.is_relative_to(self.root) and path.is_dir():
                self._note(SyncNames(path, since))
            return
        try:
            if self.fails is not None and self.fails(path):
                raise failure
            yield
        except BaseException:
            self._note(Sync(file, since, failed=True, loses=loses))
            raise
        self._note(Sync(file, since))

    def _note(self, event: Event) -> None:
        with self._lock:
            self.events.append(event)


class RecordedFile(apsw.VFSFile):
    """A file of SQLite's."""

    def __init__(self, recorder: Recorder, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        """Open as the platform does."""
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._path = Path(text or "/")
        self._recorder = recorder
        self._is_database = bool(flags[0] & apsw.SQLITE_OPEN_MAIN_DB)
        self._syncs_names = bool(flags[0] & _LOGS and flags[0] & apsw.SQLITE_OPEN_CREATE)
        super().__init__("", name, flags)
        recorder.created(self._path)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Write, and note it."""
        super().xWrite(data, offset)
        self._recorder.write(self._path, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        """Cut, and note it."""
        super().xTruncate(newsize)
        self._recorder.cut(self._path, newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Sync, and note it; the folder of a log too (R3)."""
        with self._recorder.syncing(self._path, apsw.IOError(), loses=not self._is_database):
            super().xSync(flags)
        if self._syncs_names:
            with self._recorder.syncing(self._path.parent, apsw.IOError()):
                self._syncs_names = False


class RecordingVFS(apsw.VFS):
    """SQLite's part of a recording."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        """Register under *name*."""
        self._recorder = recorder
        super().__init__(name, "")

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open a file that is recorded."""
        return RecordedFile(self._recorder, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        """Delete, and note it."""
        super().xDelete(filename, syncdir)
        self._recorder.removed(Path(filename))
        if syncdir:
            with self._recorder.syncing(Path(filename).parent, apsw.IOError()):
                pass


def _path_of(descriptor: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 - inside what Path itself calls


@contextmanager
def recording(root: Path, name: str) -> Generator[Recorder]:
    """Record what is done below *root* in the block, through the VFS *name* and through Python."""
    recorder = Recorder(root)
    vfs = RecordingVFS(name, recorder)
    real = {
        each: getattr(os, each) for each in ("open", "fsync", "pwrite", "link", "rename", "replace", "unlink")
    }

    def open_(path: Any, flags: int, *args: Any, **more: Any) -> int:  # noqa: ANN401 - os.open's
        descriptor: int = real["open"](path, flags, *args, **more)
        if flags & os.O_CREAT:
            recorder.created(_path_of(descriptor))  # *path* may be a name in a folder
        return descriptor

    def fsync(descriptor: int) -> None:
        with recorder.syncing(_path_of(descriptor), OSError(errno.EIO, "the disk is sick")):
            real["fsync"](descriptor)

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        written: int = real["pwrite"](descriptor, data, offset)
        recorder.write(_path_of(descriptor), offset, bytes(data[:written]))
        return written

    def link(path: Any, other: Any, **more: Any) -> None:  # noqa: ANN401 - os.link's
        real["link"](path, other, **more)
        recorder.linked(Path(path), Path(other))

    def rename(path: Any, other: Any, **more: Any) -> None:  # noqa: ANN401 - os.rename's
        real["rename"](path, other, **more)
        recorder.moved(Path(path), Path(other))

    def unlink(path: Any, **more: Any) -> None:  # noqa: ANN401 - os.unlink's
        real["unlink"](path, **more)
        recorder.removed(Path(path))

    ours = {"open": open_, "fsync": fsync, "pwrite": pwrite, "link": link, "rename": rename}
    try:
        with mock.patch.dict(vars(os), ours | {"replace": rename, "unlink": unlink}):
            yield recorder
    finally:
        vfs.unregister()
