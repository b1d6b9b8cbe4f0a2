"""One value as a file: read, and written in place, piece by piece.

It is a raw file (https://docs.python.org/3/library/io.html#io.RawIOBase): wrap it in `io.BufferedReader` for many small
reads. A value keeps its size: insert ``zeroblob(n)`` first, then write into it
(https://sqlite.org/c3ref/blob_write.html).
"""

from __future__ import annotations

import io
import operator
import threading
from typing import TYPE_CHECKING

from .errors import DataError, ForbiddenStatement, ProgrammingError, WrongThread
from .opened import Holding, OpenBlob

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


def check_place(table: object, column: object, rowid: object, *, writable: bool) -> None:
    """Refuse what names no value, or one that is not for callers to write."""
    for name, value, kind in (("table", table, str), ("column", column, str), ("rowid", rowid, int)):
        if not isinstance(value, kind):
            msg = f"{name} must be {'an int' if kind is int else 'a str'}, not {type(value).__name__}"
            raise ProgrammingError(msg)
    if writable and str(table).lower().startswith("sqlite_"):
        msg = f"open_blob: {table} is SQLite's own table"
        raise ForbiddenStatement(msg)


class Blob(io.RawIOBase):
    """A value that is open, up to the end of its block or its transaction; for the thread that opened it.

    Every call raises `TransactionEnded` after the end of its transaction, `MisuseError` where the row was changed or
    deleted since it was opened, `StatementTimeout` where its read was ended for its age (``Config.reader_age_max_s``),
    and `ValueError`, as files do, after `close`.
    """

    def __init__(self, source: Holding, opened: OpenBlob, name: str) -> None:
        """Read, and perhaps write, *opened*; *name* is what errors call it."""
        super().__init__()
        self._source = source
        self._opened = opened
        self._name = name
        self._place = 0
        self._thread = threading.get_ident()

    def readable(self) -> bool:
        """Return True."""
        self._check()
        return True

    def writable(self) -> bool:
        """Return whether it was opened for writing."""
        self._check()
        return self._opened.writable

    def seekable(self) -> bool:
        """Return True."""
        self._check()
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill *buffer* from the current place on, and return how many bytes there were; 0 at the end."""
        self._check()
        view = memoryview(buffer).cast("B")
        count = min(len(view), max(0, self._opened.size - self._place))
        if count:
            self._source.run(lambda: self._opened.read_into(self._place, view[:count]))
            self._place += count
        return count

    def write(self, data: ReadableBuffer, /) -> int:
        """Put *data* in the place of the bytes from the current place on, and return how many they are: all.

        Raises:
            DataError: there is no room for all of it; nothing was written.
            io.UnsupportedOperation: it was opened for reading.
        """
        self._check()
        if not self._opened.writable:
            msg = f"{self._name} was opened for reading: open_blob(..., writable=True), in a write"
            raise io.UnsupportedOperation(msg)
        view = memoryview(data).cast("B")
        room = max(0, self._opened.size - self._place)
        if len(view) > room:
            msg = (
                f"{self._name} has room for {room} more bytes of {self._opened.size}, not for {len(view)}: a "
                "value keeps its size; insert it as zeroblob(size) first"
            )
            raise DataError(msg)
        if len(view):
            self._source.run(lambda: self._opened.write(self._place, view))
            self._place += len(view)
        return len(view)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place, and return it; past the end there is nothing to read and no room to write.

        Raises:
            ValueError: the place is before the first byte, or *whence* is none of those that files have.
        """
        self._check()
        offset = operator.index(offset)
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._opened.size}.get(whence)
        if start is None:
            msg = f"whence must be 0, 1 or 2, not {whence!r}"
            raise ValueError(msg)
        if start + offset < 0:
            msg = f"{self._name}: there is no place {start + offset}"
            raise ValueError(msg)
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """Return the current place."""
        self._check()
        return self._place

    def __len__(self) -> int:
        """Return the size of the value in bytes."""
        return self._opened.size

    def __bool__(self) -> bool:
        """Return True: an empty value is open all the same."""
        return True

    def close(self) -> None:
        """Close it; a second time does nothing.

        Called by the garbage collector on another thread, it leaves the value to the end of the transaction.
        """
        if not self.closed and threading.get_ident() == self._thread:
            self._source.shut(self._opened)
        super().close()

    def __repr__(self) -> str:
        """Say which value, and whether it is open."""
        return f"<onewriter.Blob {self._name} {'closed' if self.closed else 'open'}>"

    def _check(self) -> None:
        if self.closed:
            msg = f"{self._name} is closed"
            raise ValueError(msg)
        if threading.get_ident() != self._thread:
            msg = f"{self._name} belongs to the thread that opened it"
            raise WrongThread(msg)
