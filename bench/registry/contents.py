"""The rows of uploads and blobs. All that two requests could disagree on is decided here, each in one write.

C1  A content grows only from where the writer believes it to end: of two that append at the same place one fails.
C2  A content is sealed at the size that was verified, or not at all.
C3  A blob is gone when the last repository has given it up, in the write that gives it up. Who pushes it, mounts it, or
    gives it up at the same time comes before or after as a whole.
C4  No write waits for a client, a file, or a hash: these come before or after.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.registry.errors import RegistryError, blob_unknown, upload_unknown
from bench.registry.grammar import Digest, new_token
from bench.registry.settings import PlaceName
from onewriter import Database, Transaction

PURGED: Final = 16  # chunks in one write
_CONTENT: Final = "content.id, content.token, content.place, content.size"


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes, and where they are.

    Attributes:
        id: of the row.
        token: what its files are named by; the client's name for an upload.
        place: where they are kept.
        size: what of it is durable.
    """

    id: int
    token: str
    place: PlaceName
    size: int


class Part(NamedTuple):
    """A chunk in the database."""

    start: int
    body: bytes


class Moved(Exception):
    """Somebody else has appended to the upload: it ends at *size* now."""

    def __init__(self, size: int) -> None:
        """Tell where."""
        super().__init__(f"the upload ends at {size}")
        self.size = size


# --- uploads


def begin(db: Database, repository: str, place: PlaceName) -> Content:
    """Make an upload, empty."""
    token = new_token()
    done = db.execute(
        "INSERT INTO content (token, place, repository, touched_at) VALUES (?, ?, ?, ?)",
        (token, place, repository, time.time()),
    )
    return Content(done.last_insert_rowid, token, place, 0)


def look(db: Database, repository: str, token: str) -> Content:
    """Return the upload.

    Raises:
        RegistryError: ``BLOB_UPLOAD_UNKNOWN``.
    """
    found = db.query_one(
        f"SELECT {_CONTENT} FROM content WHERE token = ? AND repository = ? AND state = 'open'",
        (token, repository),
        into=Content,
    )
    if found is None:
        raise upload_unknown()
    return found


def look_again(db: Database, upload: Content) -> Content:
    """Return *upload* as it is now; raises as `look`."""
    sql = f"SELECT {_CONTENT} FROM content WHERE id = ? AND state = 'open'"
    found = db.query_one(sql, (upload.id,), into=Content)
    if found is None:
        raise upload_unknown()
    return found


def grow(db: Database, upload: Content, offset: int, count: int) -> None:
    """Say that *count* bytes of *upload* are durable from *offset* on; for bytes that are kept elsewhere (C1).

    Raises:
        Moved: it does not end at *offset*.
        RegistryError: there is no such upload any more.
    """

    def work(tx: Transaction) -> None:
        _grow(tx, upload, offset, count)

    db.write(work)


def append(db: Database, upload: Content, offset: int, body: bytes) -> None:
    """Append *body* to *upload* at *offset*, in the database; raises as `grow`."""

    def work(tx: Transaction) -> None:
        _grow(tx, upload, offset, len(body))
        tx.execute("INSERT INTO chunk (content, start, body) VALUES (?, ?, ?)", (upload.id, offset, body))

    db.write(work)


def _grow(tx: Transaction, upload: Content, offset: int, count: int) -> None:
    done = tx.execute(
        "UPDATE content SET size = size + ?, touched_at = ? WHERE id = ? AND state = 'open' AND size = ?",
        (count, time.time(), upload.id, offset),
    )
    if done.changes == 0:
        raise _moved(tx, upload)


def _moved(tx: Transaction, upload: Content) -> Moved | RegistryError:
    size = tx.query_value(
        "SELECT size FROM content WHERE id = ? AND state = 'open'", (upload.id,), into=int | None
    )
    return upload_unknown() if size is None else Moved(size)


def drop(db: Database, upload: Content) -> None:
    """Give an upload up. Its bytes are to be discarded afterwards.

    Raises:
        RegistryError: there is no such upload any more.
    """

    def work(tx: Transaction) -> None:
        if not _discard(tx, upload, "open"):
            raise upload_unknown()

    db.write(work)


def seal(db: Database, repository: str, upload: Content, digest: Digest) -> bool:
    """Make a blob of *upload*, whose bytes were verified to have *digest*; give it to *repository* (C2, C3).

    Returns False where somebody else was faster: his bytes are the blob, and those of *upload* are to be discarded.

    Raises:
        Moved: it has grown since it was verified.
        RegistryError: there is no such upload any more.
    """

    def work(tx: Transaction) -> bool:
        done = tx.execute(
            "UPDATE content SET state = 'sealed', touched_at = ? WHERE id = ? AND state = 'open' AND size = ?",
            (time.time(), upload.id, upload.size),
        )
        if done.changes == 0:
            raise _moved(tx, upload)
        blob = tx.query_value("SELECT id FROM blob WHERE digest = ?", (str(digest),), into=int | None)
        is_new = blob is None
        if blob is None:
            insert = "INSERT INTO blob (digest, content) VALUES (?, ?)"
            blob = tx.execute(insert, (str(digest), upload.id)).last_insert_rowid
        else:
            _discard(tx, upload, "sealed")
        _link(tx, repository, blob)
        return is_new

    return db.write(work)


# --- blobs


def find(db: Database, repository: str, digest: Digest) -> Content:
    """Return the content of a blob.

    Raises:
        RegistryError: ``BLOB_UNKNOWN``: *repository* does not have it.
    """
    found = db.query_one(
        f"SELECT {_CONTENT} FROM repository JOIN link ON link.repository = repository.id "
        "JOIN blob ON blob.id = link.blob JOIN content ON content.id = blob.content "
        "WHERE repository.name = ? AND blob.digest = ?",
        (repository, str(digest)),
        into=Content,
    )
    if found is None:
        raise blob_unknown(digest)
    return found


def mount(db: Database, repository: str, digest: Digest, source: str | None) -> bool:
    """Give *repository* a blob that *source* has, or anybody where it is None; False where it cannot be had (C3)."""

    def work(tx: Transaction) -> bool:
        blob = tx.query_value(
            "SELECT blob.id FROM blob JOIN link ON link.blob = blob.id "
            "JOIN repository ON repository.id = link.repository "
            "WHERE blob.digest = :digest AND (:source IS NULL OR repository.name = :source) LIMIT 1",
            {"digest": str(digest), "source": source},
            into=int | None,
        )
        if blob is None:
            return False
        _link(tx, repository, blob)
        return True

    return db.write(work)


def give_up(db: Database, repository: str, digest: Digest) -> Content | None:
    """Take a blob from *repository*; return its content where that is to be discarded, nobody else having it (C3).

    Raises:
        RegistryError: ``BLOB_UNKNOWN``.
    """

    def work(tx: Transaction) -> Content | None:
        found = tx.query_one(
            "SELECT link.repository, blob.id FROM repository JOIN link ON link.repository = repository.id "
            "JOIN blob ON blob.id = link.blob WHERE repository.name = ? AND blob.digest = ?",
            (repository, str(digest)),
        )
        if found is None:
            raise blob_unknown(digest)
        tx.execute("DELETE FROM link WHERE repository = ? AND blob = ?", found)
        blob = found[1]
        if tx.query_value("SELECT count(*) FROM link WHERE blob = ?", (blob,), into=int):
            return None
        content = tx.query_one(
            f"SELECT {_CONTENT} FROM blob JOIN content ON content.id = blob.content WHERE blob.id = ?",
            (blob,),
            into=Content,
        )
        assert content is not None, "a blob has a content: a foreign key says so"
        tx.execute("DELETE FROM blob WHERE id = ?", (blob,))
        _discard(tx, content, "sealed", pulled_till=time.time())
        return content

    return db.write(work)


def repository_id(tx: Transaction, name: str) -> int:
    """Return the row of a repository, which is made where it is missing."""
    tx.execute("INSERT INTO repository (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
    return tx.query_value("SELECT id FROM repository WHERE name = ?", (name,), into=int)


def _link(tx: Transaction, repository: str, blob: int) -> None:
    sql = "INSERT INTO link (repository, blob) VALUES (?, ?) ON CONFLICT DO NOTHING"
    tx.execute(sql, (repository_id(tx, repository), blob))


def _discard(tx: Transaction, content: Content, state: str, *, pulled_till: float = 0.0) -> bool:
    """Take *content* away: its file is deleted after the commit, its chunks are purged later.

    *pulled_till*: seconds since 1970, up to when somebody may have begun to pull it.
    """
    if content.place == "disk":
        sql = "DELETE FROM content WHERE id = ? AND state = ?"
        return tx.execute(sql, (content.id, state)).changes == 1
    sql = "UPDATE content SET state = 'dropped', touched_at = ? WHERE id = ? AND state = ?"
    return tx.execute(sql, (pulled_till, content.id, state)).changes == 1


# --- chunks in the database


def part_at(db: Database, content: Content, offset: int) -> Part | None:
    """Return the chunk that holds the byte at *offset*, None where there is none any more."""
    return db.query_one(
        "SELECT start, body FROM chunk WHERE content = ? AND start <= ? ORDER BY start DESC LIMIT 1",
        (content.id, offset),
        into=Part,
    )


# --- what is left over


def abandoned(db: Database, before: float, most: int) -> list[Content]:
    """Return uploads that have not grown since *before* (seconds since 1970)."""
    return db.query(
        f"SELECT {_CONTENT} FROM content WHERE state = 'open' AND touched_at < ? ORDER BY touched_at LIMIT ?",
        (before, most),
        into=Content,
    )


def drop_abandoned(db: Database, upload: Content, before: float) -> bool:
    """Give *upload* up, unless it has grown since *before* after all; say whether it was."""

    def work(tx: Transaction) -> bool:
        sql = "SELECT count(*) FROM content WHERE id = ? AND touched_at < ?"
        return tx.query_value(sql, (upload.id, before), into=int) == 1 and _discard(tx, upload, "open")

    return db.write(work)


def purge(db: Database, before: float) -> bool:
    """Delete some chunks of what was dropped before *before*; say whether there may be more.

    A few at a time: deleting large values writes pages too, and others are waiting.
    """

    def work(tx: Transaction) -> bool:
        content = tx.query_value(
            "SELECT id FROM content WHERE state = 'dropped' AND touched_at < ? LIMIT 1",
            (before,),
            into=int | None,
        )
        if content is None:
            return False
        sql = "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE content = ? LIMIT ?)"
        if tx.execute(sql, (content, PURGED)).changes < PURGED:
            tx.execute("DELETE FROM content WHERE id = ?", (content,))
        return True

    return db.write(work)


def without_row(db: Database, tokens: list[str], states: tuple[str, ...]) -> list[str]:
    """Return those of *tokens* that no content in one of *states* has."""
    return db.query(
        "SELECT value FROM json_each(?) WHERE value NOT IN "
        "(SELECT token FROM content WHERE state IN (SELECT value FROM json_each(?)))",
        (json.dumps(tokens), json.dumps(states)),
        into=str,
    )
