"""Blob uploads: begun, sent in one piece or in many, asked about, finished, cancelled, mounted.

U1  An upload is where it ends, durably: the answer to every request of it says so, and a client goes on from there,
    whatever became of the connection, the server, or another request for the same upload.
U2  A digest is verified by reading what was stored, all of it, whoever sent it and how.
U3  The turn to write is never held while a client is waited for: bytes are taken in first, a piece at a time.
"""

from __future__ import annotations

from contextlib import suppress

import onewriter
from bench.registry import contents, ranges
from bench.registry.contents import Content, Moved
from bench.registry.errors import (
    RegistryError,
    digest_invalid,
    out_of_order,
    size_invalid,
    upload_unknown,
)
from bench.registry.exchange import BodyCut, Request, Response
from bench.registry.grammar import Digest, is_name, is_token
from bench.registry.places import Vanished
from bench.registry.store import Store


def begin(store: Store, request: Request, name: str) -> Response:
    """``POST /v2/<name>/blobs/uploads/``: begin an upload; or take a blob (``digest``), or mount one (``mount``)."""
    if (mounted := request.query("mount")) is not None and _mount(
        store, name, mounted, request.query("from")
    ):
        return _created(name, mounted)
    at_once = request.query("digest")
    digest = None if at_once is None else Digest.parse(at_once)
    upload = contents.begin(store.db, name, store.settings.place)
    if digest is None:
        return Response(202, _position(name, upload))
    try:
        _take(store, request, upload)
        return _finish(store, name, upload, digest)
    except Exception:
        _forget(store, upload)
        raise


def status(store: Store, _request: Request, name: str, token: str) -> Response:
    """``GET /v2/<name>/blobs/uploads/<token>``: say where it ends."""
    return Response(204, _position(name, _look(store, name, token)))


def send(store: Store, request: Request, name: str, token: str) -> Response:
    """``PATCH /v2/<name>/blobs/uploads/<token>``: append a chunk, or a stream."""
    upload = _look(store, name, token)
    _take_at(store, request, name, upload)
    return Response(202, _position(name, contents.look_again(store.db, upload)))


def finish(store: Store, request: Request, name: str, token: str) -> Response:
    """``PUT /v2/<name>/blobs/uploads/<token>?digest=<digest>``: append what there is, and make a blob of all."""
    upload = _look(store, name, token)
    said = request.query("digest")
    if said is None:
        raise digest_invalid("the digest is missing: ?digest=<digest>")
    digest = Digest.parse(said)
    _take_at(store, request, name, upload)
    return _finish(store, name, upload, digest)


def cancel(store: Store, _request: Request, name: str, token: str) -> Response:
    """``DELETE /v2/<name>/blobs/uploads/<token>``: give it up."""
    upload = _look(store, name, token)
    contents.drop(store.db, upload)
    store.place_of(upload).discard(upload, None)
    return Response(204)


def _look(store: Store, name: str, token: str) -> Content:
    if not is_token(token):
        raise upload_unknown()
    return contents.look(store.db, name, token)


def _mount(store: Store, name: str, digest: str, source: str | None) -> bool:
    """Try to mount; what cannot be mounted is uploaded instead (the specification, "Mounting a blob")."""
    if source is not None and not is_name(source):
        return False
    try:
        parsed = Digest.parse(digest)
    except RegistryError:
        return False
    return contents.mount(store.db, name, parsed, source)


def _take_at(store: Store, request: Request, name: str, upload: Content) -> None:
    """Append the body where its ``Content-Range`` says, or else where the upload ends."""
    try:
        _check_range(request, upload)
        _take(store, request, upload)
    except Moved as moved:
        now = Content(upload.id, upload.token, upload.place, moved.size)
        raise out_of_order(str(moved), _position(name, now)) from None


def _check_range(request: Request, upload: Content) -> None:
    said = request.header("Content-Range")
    if said is None:
        return
    span = ranges.of_chunk(said)
    if span is None or span.start != upload.size:
        raise Moved(upload.size)
    if request.length is not None and request.length != span.size:
        raise size_invalid(f"Content-Range has {span.size} bytes, Content-Length {request.length}")


def _take(store: Store, request: Request, upload: Content) -> None:
    """Append the body, a piece at a time (U1, U3)."""
    place, offset, most = store.place_of(upload), upload.size, store.settings.blob_bytes_max
    if offset + (request.length or 0) > most:
        raise size_invalid(f"a blob has at most {most} bytes", 413)
    span = ranges.of_chunk(request.header("Content-Range") or "")
    if span is not None:
        most = min(most, span.stop)
    try:
        for piece in request.pieces(store.settings.piece_bytes):
            if offset + len(piece) > most:
                raise size_invalid("the body is longer than it may be", 413)
            place.append(upload, offset, piece)
            offset += len(piece)
    except BodyCut as cut:
        if cut.rest:
            place.append(upload, offset, cut.rest)  # so that the client can go on from there
        raise cut.error from cut
    if span is not None and offset < span.stop:
        raise size_invalid(f"Content-Range has {span.size} bytes, the body {offset - span.start}")


def _finish(store: Store, name: str, upload: Content, digest: Digest) -> Response:
    whole = contents.look_again(store.db, upload)
    place, hasher = store.place_of(upload), digest.hasher()
    try:
        for piece in place.read_upload(whole, digest):
            hasher.update(piece)
    except Vanished:  # it was cancelled, and swept, or the disk has lost it
        raise upload_unknown() from None
    if hasher.hexdigest() != digest.hex:  # U2
        _cancel(store, whole)
        raise digest_invalid(f"the {whole.size} bytes that were sent do not have the digest {digest}")
    try:
        place.seal(name, whole, digest)
    except Moved as moved:
        now = Content(upload.id, upload.token, upload.place, moved.size)
        raise out_of_order(str(moved), _position(name, now)) from None
    return _created(name, str(digest))


def _cancel(store: Store, upload: Content) -> None:
    try:
        contents.drop(store.db, upload)
    except RegistryError:
        return  # it is no more
    store.place_of(upload).discard(upload, None)


def _forget(store: Store, upload: Content) -> None:
    """Take away an upload that no client has heard of; bytes first, since the disk may be full."""
    with suppress(OSError):
        store.place_of(upload).discard(upload, None)
    with suppress(RegistryError, onewriter.Error):  # the sweeper finds it some day
        contents.drop(store.db, upload)


def _created(name: str, digest: str) -> Response:
    return Response(201, [("Location", f"/v2/{name}/blobs/{digest}"), ("Docker-Content-Digest", digest)])


def _position(name: str, upload: Content) -> list[tuple[str, str]]:
    """Return the headers that say where *upload* is, and where it ends; an empty one is ``0-0``."""
    return [
        ("Location", f"/v2/{name}/blobs/uploads/{upload.token}"),
        ("Range", f"0-{max(0, upload.size - 1)}"),
        ("Docker-Upload-UUID", upload.token),
    ]
