"""Lists: tags of a repository, repositories, referrers of a manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

from bench.registry import images
from bench.registry.documents import INDEX
from bench.registry.errors import unsupported
from bench.registry.exchange import Request, Response, as_json
from bench.registry.grammar import Digest
from bench.registry.images import Referrer
from bench.registry.store import Store


def tags(store: Store, request: Request, name: str) -> Response:
    """``GET /v2/<name>/tags/list``, with ``n`` and ``last``."""
    most = _most(store, request)
    found = images.tags(store.db, name, request.query("last"), most + 1)
    return _page(request, "tags", found, most, besides={"name": name})


def catalog(store: Store, request: Request) -> Response:
    """``GET /v2/_catalog``, with ``n`` and ``last``."""
    most = _most(store, request)
    found = images.repositories(store.db, request.query("last"), most + 1)
    return _page(request, "repositories", found, most, besides={})


def referrers(store: Store, request: Request, name: str, reference: str) -> Response:
    """``GET /v2/<name>/referrers/<digest>``, with ``artifactType``; an empty list where there are none."""
    wanted = request.query("artifactType") or None
    found = images.referrers(store.db, name, Digest.parse(reference), wanted)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [_descriptor(each) for each in found]}
    return as_json(index, INDEX, [("OCI-Filters-Applied", "artifactType")] if wanted else [])


def _descriptor(found: Referrer) -> dict[str, object]:
    descriptor: dict[str, object] = {
        "mediaType": found.media_type.partition(";")[0],
        "digest": found.digest,
        "size": found.size,
    }
    if found.artifact_type is not None:
        descriptor["artifactType"] = found.artifact_type
    if annotations := json.loads(found.annotations):
        descriptor["annotations"] = annotations
    return descriptor


def _most(store: Store, request: Request) -> int:
    """Return how many entries are wanted."""
    said = request.query("n")
    if said is None:
        return store.settings.page_max
    if not (said.isascii() and said.isdigit() and len(said) < 10):
        raise unsupported("n is no number")
    return min(int(said), store.settings.page_max)


def _page(
    request: Request,
    field: str,
    found: Sequence[str],
    most: int,
    *,
    besides: dict[str, str],
) -> Response:
    """Answer with the first *most* of *found*, and a ``Link`` to the rest (RFC 8288)."""
    shown = list(found[:most])
    headers = []
    if len(found) > most and shown:
        last = quote(shown[-1], safe="")
        headers = [("Link", f'<{request.path}?n={most}&last={last}>; rel="next"')]
    return as_json({**besides, field: shown}, headers=headers)
