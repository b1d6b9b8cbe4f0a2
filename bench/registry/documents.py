"""Manifests as documents: what one says of itself, and what it refers to.

M1  The bytes are kept as they came; they are read here once, to see what must be there.
M2  Whatever a client sends is either understood or `MANIFEST_INVALID`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from bench.registry.errors import RegistryError, manifest_invalid
from bench.registry.grammar import Digest

Fields: TypeAlias = "dict[str, object]"
IMAGE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
# RFC 6838, section 4.2; what a media type may not have could break a header of an answer.
_MEDIA_TYPE: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
)


@dataclass(frozen=True, slots=True)
class Document:
    """What a manifest says.

    Attributes:
        media_type: of itself.
        blobs: digests of what it refers to as blobs, each once.
        manifests: digests of the manifests that it refers to, each once.
        subject: digest of the manifest that it is about, which need not be there.
        artifact_type: what kind of thing it is, as lists of referrers show it.
        annotations: its own.
    """

    media_type: str
    blobs: tuple[str, ...]
    manifests: tuple[str, ...]
    subject: str | None
    artifact_type: str | None
    annotations: dict[str, str]


def read(body: bytes, content_type: str | None) -> Document:
    """Return what *body* says, which came with *content_type*.

    Raises:
        RegistryError: ``MANIFEST_INVALID`` (M2).
    """
    try:
        said: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise manifest_invalid(f"the manifest is no JSON: {str(error)[:100]}") from error
    if not isinstance(said, dict):
        raise manifest_invalid("the manifest is no JSON object")
    fields = cast("Fields", said)
    media_type = _media_type(fields, content_type)
    blobs = [*_descriptors(fields, "config"), *_descriptors(fields, "layers"), *_descriptors(fields, "blobs")]
    config = fields.get("config")
    config_type = cast("Fields", config).get("mediaType") if isinstance(config, dict) else None
    return Document(
        media_type,
        tuple(dict.fromkeys(digest for digest, is_elsewhere in blobs if not is_elsewhere)),
        tuple(dict.fromkeys(digest for digest, _ in _descriptors(fields, "manifests"))),
        next((digest for digest, _ in _descriptors(fields, "subject")), None),
        _type(fields.get("artifactType") or config_type, "artifactType"),
        _annotations(fields.get("annotations")),
    )


def _media_type(fields: Fields, content_type: str | None) -> str:
    own = _type(fields.get("mediaType"), "mediaType")
    said = _type((content_type or "").partition(";")[0].strip() or None, "Content-Type")
    if own is not None and said is not None and own != said:
        raise manifest_invalid(f"the manifest says that it is {own}, its Content-Type {said}")
    if own is None and said is None:
        raise manifest_invalid("neither Content-Type nor mediaType says what the manifest is")
    if content_type is None or said is None:
        return str(own)
    return content_type.strip() if content_type.isprintable() else said  # its parameters, too, are given back


def _type(value: object, field: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
        raise manifest_invalid(f"{field} is no media type")
    return value


def _descriptors(fields: Fields, name: str) -> list[tuple[str, bool]]:
    """Return the digests of the descriptors in a field, and whether each is kept elsewhere, by its ``urls``."""
    value = fields.get(name)
    if value is None:
        return []
    found: list[tuple[str, bool]] = []
    for each in cast("list[object]", value) if isinstance(value, list) else [value]:
        descriptor = cast("Fields", each) if isinstance(each, dict) else {}
        said = descriptor.get("digest")
        if not isinstance(said, str):
            raise manifest_invalid(f"{name} holds what is no descriptor with a digest")
        try:
            digest = str(Digest.parse(said))
        except RegistryError as error:
            raise manifest_invalid(f"{name}: {error}") from error
        found.append((digest, bool(descriptor.get("urls"))))
    return found


def _annotations(value: object) -> dict[str, str]:
    if value is None:
        return {}
    said = cast("Fields", value) if isinstance(value, dict) else {"": value}
    texts = {name: each for name, each in said.items() if isinstance(each, str)}
    if not isinstance(value, dict) or len(texts) < len(said):
        raise manifest_invalid("annotations are no object of texts")
    return texts
