"""Where bytes are kept: files of a folder, or rows of the database.

P1  `append` returns when the bytes are durable, and the row says so.
P2  `seal` returns when the blob is durable; a kill at any moment leaves the blob, or an upload to be sealed again.
P3  What is read was verified: a blob's bytes never change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from bench.registry import contents
from bench.registry.contents import Content
from bench.registry.grammar import Digest
from bench.registry.ranges import Span
from onewriter import Database


class Vanished(Exception):
    """The blob was deleted while it was being opened, or read."""


class Place(Protocol):
    """Where bytes are kept."""

    def append(self, upload: Content, offset: int, body: bytes) -> None:
        """Append *body* to *upload*, which ends at *offset* (P1).

        Raises:
            Moved: it does not.
            RegistryError: there is no such upload any more.
        """
        ...

    def read_upload(self, upload: Content, digest: Digest) -> Iterator[bytes]:
        """Yield what is durable of *upload*, which is to become the blob *digest*.

        Raises:
            Vanished: not all of it is there any more.
            RegistryError: nothing is.
        """
        ...

    def seal(self, repository: str, upload: Content, digest: Digest) -> None:
        """Make the blob *digest* of *upload*, whose bytes were verified, and give it to *repository* (P2).

        Raises as `append`.
        """
        ...

    def discard(self, content: Content, digest: Digest | None) -> None:
        """Delete the bytes of a content that has no row any more; *digest* where it was a blob's."""
        ...

    def read(self, blob: Content, digest: Digest, span: Span) -> Iterator[bytes]:
        """Open a blob, and return its bytes within *span*, piece by piece (P3).

        Raises:
            Vanished: it was deleted meanwhile.
        """
        ...


class InDatabase:
    """Chunks are rows: one write appends one, and the digest of all makes them a blob."""

    def __init__(self, db: Database) -> None:
        """Keep them in *db*."""
        self._db = db

    def append(self, upload: Content, offset: int, body: bytes) -> None:
        """See `Place`."""
        contents.append(self._db, upload, offset, body)

    def read_upload(self, upload: Content, digest: Digest) -> Iterator[bytes]:
        """See `Place`."""
        return self._parts(upload, Span(0, upload.size))

    def seal(self, repository: str, upload: Content, digest: Digest) -> None:
        """See `Place`."""
        contents.seal(self._db, repository, upload, digest)

    def discard(self, content: Content, digest: Digest | None) -> None:
        """Nothing: the chunks are left to `sweeper`, since somebody may be pulling them."""

    def read(self, blob: Content, digest: Digest, span: Span) -> Iterator[bytes]:
        """See `Place`."""
        return self._parts(blob, span)

    def _parts(self, content: Content, span: Span) -> Iterator[bytes]:
        """Yield chunk by chunk, each by a query of its own: a slow client is to keep no snapshot, and no reader."""
        at = span.start
        while at < span.stop:
            part = contents.part_at(self._db, content, at)
            body = b"" if part is None else part.body[at - part.start : span.stop - part.start]
            if not body:
                raise Vanished
            at += len(body)
            yield body
