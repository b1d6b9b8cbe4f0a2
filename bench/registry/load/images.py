"""Images of random bytes, made again from their seeds whenever they are needed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from bench.registry.documents import IMAGE
from bench.registry.grammar import Digest

REPOSITORIES: Final = 12
_SHARED: Final = 40  # layers that images have in common, as base images
_BYTES_MIN: Final = 1_000
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Blob:
    """Bytes that a seed stands for.

    Attributes:
        seed: what they are drawn from.
        size: how many.
        media_type: what a manifest says of them.
    """

    seed: int
    size: int
    media_type: str = _LAYER

    def content(self) -> bytes:
        """Return them."""
        return random.Random(self.seed).randbytes(self.size)

    @cached_property
    def digest(self) -> str:
        """Their digest."""
        return str(Digest.of(self.content()))

    def descriptor(self) -> dict[str, object]:
        """Return what a manifest says of them."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class Image:
    """An image, and where it is pushed to."""

    repository: str
    tag: str
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """All that its manifest refers to."""
        return (*self.layers, self.config)

    @cached_property
    def manifest(self) -> bytes:
        """Its manifest."""
        said = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": self.config.descriptor(),
            "layers": [layer.descriptor() for layer in self.layers],
            "annotations": {"org.opencontainers.image.ref.name": self.tag},
        }
        return json.dumps(said).encode()

    @property
    def digest(self) -> str:
        """The digest of its manifest."""
        return str(Digest.of(self.manifest))


def images(seed: int, pusher: int, bytes_max: int) -> Iterator[Image]:
    """Yield the images of one pusher, without end; layers are of all sizes up to *bytes_max*, some of them shared."""
    drawn = random.Random(f"{seed} {pusher}")
    shared = [
        Blob(seed * 1_000_003 + number, _size(random.Random(f"{seed} shared {number}"), bytes_max))
        for number in range(_SHARED)
    ]
    number = 0
    while True:
        number += 1
        layers = [Blob(drawn.getrandbits(64), _size(drawn, bytes_max)) for _ in range(drawn.randint(1, 3))]
        layers += drawn.sample(shared, drawn.randint(0, 2))
        config = Blob(drawn.getrandbits(64), drawn.randint(_BYTES_MIN, 4_000), _CONFIG)
        repository = f"load/repository-{drawn.randrange(REPOSITORIES)}"
        yield Image(repository, f"p{pusher}-{number}", config, tuple(layers))


def _size(drawn: random.Random, bytes_max: int) -> int:
    """Return a size: as many of some thousands as of some millions."""
    return int(_BYTES_MIN * (bytes_max / _BYTES_MIN) ** drawn.random())
