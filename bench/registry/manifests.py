"""Manifests: pushed, pulled, deleted, by tag or by digest."""

from __future__ import annotations

from bench.registry import documents, images
from bench.registry.errors import digest_invalid, manifest_invalid, manifest_unknown
from bench.registry.exchange import Request, Response
from bench.registry.grammar import Digest, is_tag, quoted
from bench.registry.images import Manifest
from bench.registry.store import Store


def put(store: Store, request: Request, name: str, reference: str) -> Response:
    """``PUT /v2/<name>/manifests/<reference>``."""
    digest = Digest.parse(reference) if ":" in reference else None
    if digest is None and not is_tag(reference):
        raise manifest_invalid(f"{quoted(reference)} is neither a tag nor a digest")
    most = store.settings.manifest_bytes_max
    body = request.whole(most, manifest_invalid(f"a manifest has at most {most} bytes", 413))
    actual = Digest.of(body, "sha256" if digest is None else digest.algorithm)
    if digest not in (None, actual):
        raise digest_invalid(f"the manifest has the digest {actual}, not {digest}")
    document = documents.read(body, request.header("Content-Type"))
    found = Manifest(str(actual), document.media_type, body)
    images.put(store.db, name, found, document, reference if digest is None else None)
    headers = [("Location", f"/v2/{name}/manifests/{reference}"), ("Docker-Content-Digest", str(actual))]
    if document.subject is not None:
        headers.append(("OCI-Subject", document.subject))
    return Response(201, headers)


def get(store: Store, request: Request, name: str, reference: str) -> Response:
    """``GET`` and ``HEAD /v2/<name>/manifests/<reference>``."""
    found = _find(store, name, reference)
    entity = f'"{found.digest}"'
    headers = [
        ("Content-Type", found.media_type),
        ("Docker-Content-Digest", found.digest),
        ("ETag", entity),
    ]
    if entity in (request.header("If-None-Match") or ""):
        return Response(304, headers[1:])
    if request.is_head:
        return Response(200, [*headers, ("Content-Length", str(len(found.body)))], ())
    return Response(200, headers, found.body)


def delete(store: Store, _request: Request, name: str, reference: str) -> Response:
    """``DELETE /v2/<name>/manifests/<reference>``: a digest's manifest with its tags, or a tag alone."""
    if ":" in reference:
        images.delete(store.db, name, Digest.parse(reference))
    elif is_tag(reference):
        images.delete_tag(store.db, name, reference)
    else:
        raise manifest_unknown(quoted(reference))
    return Response(202)


def _find(store: Store, name: str, reference: str) -> Manifest:
    if ":" in reference:
        return images.by_digest(store.db, name, Digest.parse(reference))
    if is_tag(reference):
        return images.by_tag(store.db, name, reference)
    raise manifest_unknown(quoted(reference))
