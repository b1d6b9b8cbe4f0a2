"""Blobs as files: ``uploads/<token>`` while they grow, then ``blobs/<algorithm>/<two digits>/<hex>-<token>``.

D1  A token is of one content, for ever: no two requests ever mean different bytes by one path, so deleting an old file
    never hits a new one of the same digest.
D2  A file is written, synced, renamed, and its folders synced, before a row says that its bytes are there.
D3  An upload's file is written under its own lock (flock(2)), by who has seen under it that the file still has its
    name: so nobody writes to what has become a blob.
D4  What a killed request has left behind the durable end is never read: the next piece goes over it, and before it
    could become part of a blob it is cut off.
D5  Files have mode 0600 and folders 0700 from the first moment.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bench.registry import contents
from bench.registry.contents import Content, Moved
from bench.registry.errors import upload_unknown
from bench.registry.grammar import Digest
from bench.registry.places import Vanished
from bench.registry.ranges import Span
from onewriter import Database

_READ: Final = 256 * 1024


class OnDisk:
    """Files in a folder that several processes may share."""

    def __init__(self, db: Database, root: Path) -> None:
        """Keep them below *root*, and their rows in *db*.

        Raises:
            OSError: the folders cannot be made.
        """
        self._db = db
        self._uploads = root / "uploads"
        self._blobs = root / "blobs"
        self._durable: set[Path] = (
            set()
        )  # folders whose names this process has synced; threads only add to it
        for folder in (self._uploads, self._blobs):
            folder.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(root)

    def append(self, upload: Content, offset: int, body: bytes) -> None:
        """See `Place`."""
        with self._locked(upload, is_new=offset == 0) as file:
            if os.fstat(file).st_size < offset:
                raise upload_unknown()  # not what the row says: lost, by a disk or by a hand
            # Before a byte is written: what is below the durable end is somebody's.
            end = contents.look_again(self._db, upload).size
            if end != offset:
                raise Moved(end)
            try:
                _write_all(file, body, offset)
                os.fsync(file)
            except OSError:
                os.ftruncate(file, offset)  # a full disk is no fuller for it
                raise
            contents.grow(self._db, upload, offset, len(body))  # D2

    def read_upload(self, upload: Content, digest: Digest) -> Iterator[bytes]:
        """See `Place`; who was killed between the renaming and the row has left a file that has its new name."""
        for path in (self._uploads / upload.token, self._sealed(upload, digest)):
            with suppress(FileNotFoundError):
                return _Reading(os.open(path, os.O_RDONLY | os.O_CLOEXEC), Span(0, upload.size))
        if upload.size == 0:
            return iter(())
        raise upload_unknown()

    def seal(self, repository: str, upload: Content, digest: Digest) -> None:
        """See `Place`."""
        growing, sealed = self._uploads / upload.token, self._sealed(upload, digest)
        with self._locked(upload, is_new=upload.size == 0, other=sealed) as file:
            end = contents.look_again(self._db, upload).size
            if end != upload.size:
                raise Moved(end)  # what was not verified is somebody's, too
            if _names(growing, file):
                os.ftruncate(file, upload.size)  # D4
                os.fsync(file)
                self._make_folders(sealed.parent)
                growing.rename(sealed)
                _sync_folder(sealed.parent)
                _sync_folder(self._uploads)
            is_new = contents.seal(self._db, repository, upload, digest)  # D2
        if not is_new:
            self.discard(upload, digest)

    def discard(self, content: Content, digest: Digest | None) -> None:
        """See `Place`. A kill before it leaves a file without a row, which `sweeper` finds."""
        path = self._uploads / content.token if digest is None else self._sealed(content, digest)
        path.unlink(missing_ok=True)

    def read(self, blob: Content, digest: Digest, span: Span) -> Iterator[bytes]:
        """See `Place`. Once it is open it can be read to its end, whoever deletes it."""
        try:
            file = os.open(self._sealed(blob, digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Vanished from None
        return _Reading(file, span)

    def nobodys(self) -> Iterator[Path]:
        """Yield files that belong to nobody: of uploads and blobs that are no more, or that a kill has left (D1).

        A row is there before its file, so what is listed first and has no row afterwards will never have one.
        """
        folder = self._uploads.parent
        for pattern, states in (("uploads/*", ("open",)), ("blobs/*/*/*", ("open", "sealed"))):
            listed = {file.name.rpartition("-")[2]: file for file in folder.glob(pattern)}
            for token in contents.without_row(self._db, list(listed), states):
                yield listed[token]

    def _sealed(self, content: Content, digest: Digest) -> Path:
        return self._blobs / digest.algorithm / digest.hex[:2] / f"{digest.hex}-{content.token}"

    def _make_folders(self, folder: Path) -> None:
        """Make ``blobs/<algorithm>/<two digits>``, durably: one that is there may have been made this moment."""
        for each in (folder.parent, folder):
            if each not in self._durable:
                each.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(each.parent)
                self._durable.add(each)

    @contextmanager
    def _locked(self, upload: Content, *, is_new: bool, other: Path | None = None) -> Generator[int]:
        """Give the file of *upload* to the block, which alone may write to it (D3); *other* is where it may be as well.

        The lock is a process's no more than a thread's: each opening has its own (flock(2)). A kill frees it.
        """
        path = self._uploads / upload.token
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.open(path, flags | (os.O_CREAT if is_new else 0), 0o600)
        except FileNotFoundError:
            if other is None:
                raise upload_unknown() from None
            path = other
            try:
                file = os.open(path, flags)
            except FileNotFoundError:
                raise upload_unknown() from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _names(path, file):
                raise upload_unknown()  # it was sealed or cancelled while we waited
            if is_new:
                _sync_folder(self._uploads)
            yield file
        finally:
            os.close(file)


def _names(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _write_all(file: int, body: bytes, offset: int) -> None:
    view = memoryview(body)
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done


class _Reading:
    """Iterates over a part of an open file, piece by piece; closes it at the end, or when told."""

    def __init__(self, file: int, span: Span) -> None:
        self._file: int | None = file
        self._at, self._stop = span

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._file is None or self._at >= self._stop:
            self.close()
            raise StopIteration
        piece = os.pread(self._file, min(_READ, self._stop - self._at), self._at)
        if not piece:
            self.close()
            raise Vanished  # shorter than its row says
        self._at += len(piece)
        return piece

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def __del__(self) -> None:
        self.close()


def _sync_folder(folder: Path) -> None:
    """Make the names in *folder* durable (fsync(2), "NOTES": of a file its folder's entry needs a sync of its own)."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
