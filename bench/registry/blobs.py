"""Blobs: asked for, pulled in whole or in part, deleted.

B1  A pull keeps no reader and no snapshot between two pieces.
B2  A pull that has begun from the disk ends with all bytes, whoever deletes the blob; one from the database does where
    it takes no longer than ``Settings.dropped_s`` after that, else its connection ends before ``Content-Length``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from bench.registry import contents, ranges
from bench.registry.contents import Content
from bench.registry.errors import RegistryError, blob_unknown
from bench.registry.exchange import Request, Response
from bench.registry.grammar import Digest
from bench.registry.places import Vanished
from bench.registry.ranges import Span
from bench.registry.store import Store

_TRIES = 3  # a blob that is deleted and pushed again between our look and our opening


class Pull:
    """The bytes of an answer; knows that the first ones are there before the answer begins."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        """Take the first of *pieces*; raises `Vanished`."""
        self._pieces = pieces
        self._first = next(pieces, b"")

    def __iter__(self) -> Iterator[bytes]:
        """Yield them all."""
        yield self._first
        yield from self._pieces

    def close(self) -> None:
        """End it; called by the server (PEP 3333)."""
        if (close := getattr(self._pieces, "close", None)) is not None:
            close()


def get(store: Store, request: Request, name: str, reference: str) -> Response:
    """``GET`` and ``HEAD /v2/<name>/blobs/<digest>``."""
    digest = Digest.parse(reference)
    for _ in range(_TRIES):
        blob = contents.find(store.db, name, digest)
        with suppress(Vanished):
            return _answer(store, request, blob, digest)
    raise blob_unknown(digest)


def delete(store: Store, _request: Request, name: str, reference: str) -> Response:
    """``DELETE /v2/<name>/blobs/<digest>``: the repository has it no more; its bytes go with the last that had it."""
    digest = Digest.parse(reference)
    content = contents.give_up(store.db, name, digest)
    if content is not None:
        store.place_of(content).discard(content, digest)
    return Response(202)


def _answer(store: Store, request: Request, blob: Content, digest: Digest) -> Response:
    entity = f'"{digest}"'
    headers = [
        ("Content-Type", "application/octet-stream"),
        ("Docker-Content-Digest", str(digest)),
        ("ETag", entity),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "max-age=31536000, immutable"),
    ]
    if _names(request.header("If-None-Match"), entity):
        return Response(304, headers[1:])
    if_range = request.header("If-Range")
    asked = request.header("Range") if if_range in (None, entity) else None
    try:
        span = ranges.wanted(asked, blob.size)
    except ValueError as error:
        unsatisfied = [("Content-Range", f"bytes */{blob.size}")]
        raise RegistryError(416, "UNSUPPORTED", str(error), headers=unsatisfied) from None
    status = 200 if span is None else 206
    span = span or Span(0, blob.size)
    if status == 206:
        headers.append(("Content-Range", f"bytes {span.start}-{span.stop - 1}/{blob.size}"))
    headers.append(("Content-Length", str(span.size)))
    if request.is_head:
        return Response(status, headers, ())
    return Response(status, headers, Pull(store.place_of(blob).read(blob, digest, span)))


def _names(header: str | None, entity: str) -> bool:
    return header is not None and (header.strip() == "*" or entity in header)
