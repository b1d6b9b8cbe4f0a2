"""Pulls everything back that was acknowledged, and compares it with what was pushed."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from bench.registry.documents import IMAGE
from bench.registry.load.client import Broken, Client
from bench.registry.load.images import Blob, Image
from bench.registry.load.ledger import Ledger

_THREADS: Final = 8
_PAGE: Final = 50
_NEXT: Final = re.compile(r'<([^>]+)>; rel="next"')


@dataclass(frozen=True, slots=True)
class Audit:
    """What was pulled back: how many manifests and blobs, of how many bytes."""

    manifests: int
    blobs: int
    bytes: int


def audit(port: int, ledger: Ledger, progress: Callable[[int, int], object]) -> Audit:
    """Pull all that *ledger* has as acknowledged, and tell it what is missing or wrong."""
    pushed = ledger.pushed
    blobs = sorted({(image.repository, blob) for image in pushed for blob in image.blobs}, key=str)
    # Blobs whose content must be drawn again are compared repository by repository, a few at a time.
    works: list[Callable[[Client], None]] = [
        *(lambda client, image=image: _check_manifest(client, image) for image in pushed),
        *(lambda client, blob=blob, name=name: _check_blob(client, name, blob) for name, blob in blobs),
        lambda client: _check_lists(client, pushed),
    ]

    def run(work: Callable[[Client], None]) -> None:
        client = Client(port, ledger)
        try:
            work(client)
        except Broken:
            return
        finally:
            client.close()

    with ThreadPoolExecutor(_THREADS) as pool:
        for done, _ in enumerate(pool.map(run, works), 1):
            progress(done, len(works))
    return Audit(len(pushed), len(blobs), sum(blob.size for _, blob in blobs))


def _check_manifest(client: Client, image: Image) -> None:
    for reference in (image.tag, image.digest):
        answer = client.insist("GET", f"/v2/{image.repository}/manifests/{reference}")
        if answer.status != 200:
            raise client.broken(f"an acknowledged manifest is answered {answer.status}")
        if answer.body != image.manifest or answer.header("Content-Type") != IMAGE:
            raise client.broken("a manifest is not as it was pushed")


def _check_blob(client: Client, repository: str, blob: Blob) -> None:
    target = f"/v2/{repository}/blobs/{blob.digest}"
    answer = client.insist("GET", target)
    if answer.status != 200:
        raise client.broken(f"an acknowledged blob is answered {answer.status}")
    if f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != blob.digest:
        raise client.broken("a blob has another digest than its name")
    if answer.body != blob.content():
        raise client.broken("a blob is not as it was pushed")
    middle = blob.size // 2
    part = client.insist("GET", target, None, {"Range": f"bytes={middle}-"})
    if part.status != 206 or part.body != answer.body[middle:]:
        raise client.broken("a part of a blob is not that of the whole")


def _check_lists(client: Client, pushed: list[Image]) -> None:
    tags: defaultdict[str, set[str]] = defaultdict(set)
    for image in pushed:
        tags[image.repository].add(image.tag)
    listed = _list(client, "/v2/_catalog", "repositories")
    if missing := tags.keys() - set(listed):
        raise client.broken(f"the catalog lacks {len(missing)} repositories")
    for repository, acknowledged in tags.items():
        found = _list(client, f"/v2/{repository}/tags/list", "tags")
        if missing := acknowledged - set(found):
            raise client.broken(f"a list of tags lacks {len(missing)}")
        if len(found) != len(set(found)) or found != sorted(found, key=lambda tag: (tag.lower(), tag)):
            raise client.broken("a list of tags is out of order, or has a tag twice")


def _list(client: Client, target: str, field: str) -> list[str]:
    return [entry for page in _pages(client, target) for entry in json.loads(page)[field]]


def _pages(client: Client, target: str) -> Iterator[bytes]:
    following: str | None = f"{target}?n={_PAGE}"
    while following is not None:
        answer = client.insist("GET", following)
        if answer.status != 200:
            raise client.broken(f"a list is answered {answer.status}")
        yield answer.body
        link = _NEXT.search(answer.header("Link"))
        following = None if link is None else link[1]
