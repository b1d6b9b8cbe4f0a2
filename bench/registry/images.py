"""The rows of manifests and tags, and the lists of them.

I1  A manifest is stored by the same write that has seen all that it refers to in its repository.
I2  Lists go by pages, each a query of its own that begins after the last entry of the one before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from bench.registry.contents import repository_id
from bench.registry.documents import Document
from bench.registry.errors import manifest_blobs_unknown, manifest_unknown, name_unknown
from bench.registry.grammar import Digest
from onewriter import Database, Transaction


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as it came."""

    digest: str
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Referrer:
    """What a list of referrers shows of a manifest; *annotations* is JSON."""

    digest: str
    media_type: str
    size: int
    artifact_type: str | None
    annotations: str


def put(db: Database, repository: str, manifest: Manifest, document: Document, tag: str | None) -> None:
    """Store a manifest, which says what is in *document*, and let *tag* name it (I1).

    Raises:
        RegistryError: ``MANIFEST_BLOB_UNKNOWN``: the repository has not all that it refers to.
    """

    def work(tx: Transaction) -> None:
        if missing := [
            *_missing_blobs(tx, repository, document),
            *_missing_manifests(tx, repository, document),
        ]:
            raise manifest_blobs_unknown(missing)
        owner = repository_id(tx, repository)
        tx.execute(
            "INSERT INTO manifest (repository, digest, media_type, body, subject, artifact_type, annotations) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (repository, digest) DO UPDATE SET media_type = excluded.media_type",
            (
                *(
                    owner,
                    manifest.digest,
                    manifest.media_type,
                    manifest.body,
                    document.subject,
                    document.artifact_type,
                ),
                json.dumps(document.annotations),
            ),
        )
        if tag is not None:
            tx.execute(
                "INSERT INTO tag (repository, name, manifest) "
                "SELECT repository, ?, id FROM manifest WHERE repository = ? AND digest = ? "
                "ON CONFLICT (repository, name) DO UPDATE SET manifest = excluded.manifest",
                (tag, owner, manifest.digest),
            )

    db.write(work)


def _missing_blobs(tx: Transaction, repository: str, document: Document) -> list[str]:
    return tx.query(
        "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM blob JOIN link ON link.blob = blob.id "
        "JOIN repository ON repository.id = link.repository WHERE blob.digest = value AND repository.name = ?)",
        (json.dumps(document.blobs), repository),
        into=str,
    )


def _missing_manifests(tx: Transaction, repository: str, document: Document) -> list[str]:
    return tx.query(
        "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM manifest "
        "JOIN repository ON repository.id = manifest.repository "
        "WHERE manifest.digest = value AND repository.name = ?)",
        (json.dumps(document.manifests), repository),
        into=str,
    )


def by_digest(db: Database, repository: str, digest: Digest) -> Manifest:
    """Return a manifest.

    Raises:
        RegistryError: ``MANIFEST_UNKNOWN``.
    """
    found = db.query_one(
        "SELECT digest, media_type, body FROM manifest JOIN repository ON repository.id = manifest.repository "
        "WHERE repository.name = ? AND digest = ?",
        (repository, str(digest)),
        into=Manifest,
    )
    if found is None:
        raise manifest_unknown(str(digest))
    return found


def by_tag(db: Database, repository: str, tag: str) -> Manifest:
    """Return the manifest that *tag* names; raises as `by_digest`."""
    found = db.query_one(
        "SELECT digest, media_type, body FROM tag JOIN repository ON repository.id = tag.repository "
        "JOIN manifest ON manifest.id = tag.manifest WHERE repository.name = ? AND tag.name = ?",
        (repository, tag),
        into=Manifest,
    )
    if found is None:
        raise manifest_unknown(tag)
    return found


def delete(db: Database, repository: str, digest: Digest) -> None:
    """Delete a manifest, and the tags that name it; raises as `by_digest`."""
    done = db.execute(
        "DELETE FROM manifest WHERE digest = ? AND repository = (SELECT id FROM repository WHERE name = ?)",
        (str(digest), repository),
    )
    if done.changes == 0:
        raise manifest_unknown(str(digest))


def delete_tag(db: Database, repository: str, tag: str) -> None:
    """Delete a tag; the manifest stays. Raises as `by_digest`."""
    done = db.execute(
        "DELETE FROM tag WHERE name = ? AND repository = (SELECT id FROM repository WHERE name = ?)",
        (tag, repository),
    )
    if done.changes == 0:
        raise manifest_unknown(tag)


def tags(db: Database, repository: str, after: str | None, most: int) -> list[str]:
    """Return up to *most* tags behind *after*, in lexical order: without regard to case, then with it (I2).

    Raises:
        RegistryError: ``NAME_UNKNOWN``.
    """
    owner = db.query_value("SELECT id FROM repository WHERE name = ?", (repository,), into=int | None)
    if owner is None:
        raise name_unknown(repository)
    return db.query(
        "SELECT name FROM tag WHERE repository = :owner AND (name COLLATE NOCASE, name) > (:after, :after) "
        "ORDER BY name COLLATE NOCASE, name LIMIT :most",
        {"owner": owner, "after": after or "", "most": most},
        into=str,
    )


def repositories(db: Database, after: str | None, most: int) -> list[str]:
    """Return up to *most* names of repositories behind *after* that have a manifest (I2)."""
    return db.query(
        "SELECT name FROM repository WHERE name > ? "
        "AND EXISTS (SELECT 1 FROM manifest WHERE manifest.repository = repository.id) ORDER BY name LIMIT ?",
        (after or "", most),
        into=str,
    )


def referrers(db: Database, repository: str, subject: Digest, artifact_type: str | None) -> list[Referrer]:
    """Return the manifests that are about *subject*, all or those of one type."""
    return db.query(
        "SELECT digest, media_type, length(body) AS size, artifact_type, annotations "
        "FROM manifest JOIN repository ON repository.id = manifest.repository "
        "WHERE repository.name = :name AND subject = :subject AND (:type IS NULL OR artifact_type = :type) "
        "ORDER BY manifest.id",
        {"name": repository, "subject": str(subject), "type": artifact_type},
        into=Referrer,
    )
