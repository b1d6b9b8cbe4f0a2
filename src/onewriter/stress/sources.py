"""The files that are uploaded: found once, read once, in one order for every way.

Reading them all at the start shows which are readable, gives the digests that the uploads are later held against, and
puts them into the system's page cache, so that the first way does not pay for the disk.
"""

from __future__ import annotations

import hashlib
import os
import random
import stat
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_READ_BYTES = 1024 * 1024
_NOT_STANDARD_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})


class BadInput(Exception):
    """What was asked for cannot be done; the message is one line for the person who asked."""


class SourceUnreadable(Exception):
    """A file could be read at the start of the run and no longer can."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file to upload.

    Attributes:
        number: its place in the sorted list of files, the upload's key in every database.
        path: where it lies.
        name: its path below the folder, as text that any database and terminal takes.
        size: its bytes when the run began.
        digest: the SHA-256 of its content when the run began.
    """

    number: int
    path: Path
    name: str
    size: int
    digest: str

    def chunks(self, chunk_bytes: int) -> Iterator[bytes]:
        """Yield the file's content in pieces of *chunk_bytes*, the last one shorter; an empty file has none.

        Raises:
            SourceUnreadable: the file has gone, or fails to be read.
        """
        try:
            yield from _pieces(self.path, chunk_bytes)
        except OSError as error:
            raise SourceUnreadable(f"{self.name}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of one run, in the order in which they are uploaded.

    Attributes:
        folder: where they were found.
        files: the files, shuffled.
        unreadable: files of the folder that could not be read and are left out.
    """

    folder: Path
    files: tuple[Source, ...]
    unreadable: int

    @property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return sum(source.size for source in self.files)

    @property
    def distinct(self) -> int:
        """How many different contents there are: blobs that a database should hold at the end."""
        return len({source.digest for source in self.files})


def standard_library() -> Path:
    """Return the folder of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def find(folder: Path | None, *, seed: int) -> Sources:
    """Find and read every file below *folder* (None: the standard library), in the order that *seed* gives.

    Takes regular files, and links to them; links to folders are not followed.

    Raises:
        BadInput: *folder* is not a folder, or holds no file that can be read.
    """
    root, left_out = (
        (standard_library(), _NOT_STANDARD_LIBRARY) if folder is None else (folder, frozenset[str]())
    )
    if not root.is_dir():
        raise BadInput(f"--from {root}: {'not a folder' if root.exists() else 'no such folder'}")
    files: list[Source] = []
    unreadable = 0
    for path in sorted(_paths(root, left_out)):
        try:
            if stat.S_ISREG(path.stat().st_mode):
                files.append(_read(path, root, number=len(files)))
        except OSError:
            unreadable += 1
    if not files:
        raise BadInput(f"--from {root}: holds no file that can be read")
    random.Random(seed).shuffle(files)  # noqa: S311 - an order that can be repeated, not a secret
    return Sources(root, tuple(files), unreadable)


def _paths(root: Path, left_out: frozenset[str]) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in left_out]
        yield from (Path(folder, name) for name in names)


def _read(path: Path, root: Path, *, number: int) -> Source:
    digest = hashlib.sha256()
    size = 0
    for piece in _pieces(path, _READ_BYTES):
        digest.update(piece)
        size += len(piece)
    # A file name may be bytes that are no UTF-8, which SQLite would refuse as text.
    name = os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
    return Source(number, path, name, size, digest.hexdigest())


def _pieces(path: Path, piece_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(piece_bytes):
            yield piece
