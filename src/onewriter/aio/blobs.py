"""One value as a file, whose methods are awaited."""

from __future__ import annotations

import io
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from onewriter import blobs as sync

from .sessions import Session

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Blob:
    """A value that is open, up to the end of its block or its transaction; see `onewriter.Blob` for what it raises."""

    def __init__(self, session: Session[Any], blob: sync.Blob) -> None:
        """Use *blob*, which *session* has open."""
        self._session = session
        self._blob = blob

    async def read(self, size: int = -1, /) -> bytes:
        """Return *size* bytes from the current place on, fewer where there are no more; all that are left for -1."""
        return await self._session.call(lambda _tx: self._blob.read(size) or b"")

    async def write(self, data: ReadableBuffer, /) -> int:
        """Put *data*, which is copied first, in the place of the bytes from the current place on; return how many."""
        copied = bytes(data)
        return await self._session.call(lambda _tx: self._blob.write(copied))

    async def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place, and return it."""
        return await self._session.call(lambda _tx: self._blob.seek(offset, whence))

    async def tell(self) -> int:
        """Return the current place."""
        return await self._session.call(lambda _tx: self._blob.tell())

    def __len__(self) -> int:
        """Return the size of the value in bytes."""
        return len(self._blob)

    def __bool__(self) -> bool:
        """Return True: an empty value is open all the same."""
        return True

    async def close(self) -> None:
        """Close it; a second time, or after the end of its block, it does nothing."""
        if not self._session.is_over:
            await self._session.end(lambda _tx: self._blob.close())

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()
