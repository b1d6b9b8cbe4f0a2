"""The schema of an upload service, and its three writes. The same statements for every way.

S1  An upload is done when its row names a digest; the blob of that digest then exists.
S2  A blob's content is the chunks, in order, of the one upload that it names.
S3  A second upload of the same content keeps no chunks of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import LiteralString, Protocol, TypeAlias

SCHEMA: LiteralString = """
CREATE TABLE IF NOT EXISTS upload (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL,
    received INTEGER NOT NULL DEFAULT 0,
    chunks   INTEGER NOT NULL DEFAULT 0,
    digest   TEXT REFERENCES blob (digest)
) STRICT;
CREATE TABLE IF NOT EXISTS blob (
    digest    TEXT PRIMARY KEY,
    size      INTEGER NOT NULL,
    upload_id INTEGER NOT NULL REFERENCES upload (id)
) STRICT;
CREATE TABLE IF NOT EXISTS chunk (
    upload_id INTEGER NOT NULL REFERENCES upload (id),
    number    INTEGER NOT NULL,
    content   BLOB NOT NULL,
    PRIMARY KEY (upload_id, number)
) STRICT;
"""


class UploadMissing(Exception):
    """The row of an upload that was begun, and acknowledged, is not there: the database has lost it."""


Value: TypeAlias = None | int | float | str | bytes


class Statements(Protocol):
    """What a write may do in its transaction; `onewriter.Transaction` fits as it is."""

    def execute(self, sql: LiteralString, params: Sequence[Value] = ..., /) -> object:
        """Run one statement."""

    def query_one(self, sql: LiteralString, params: Sequence[Value] = ..., /) -> tuple[Value, ...] | None:
        """Return the first row, or None."""


Write: TypeAlias = Callable[[Statements], None]


def start(upload: int, name: str) -> Write:
    """Return the write that begins the upload numbered *upload*."""

    def write(tx: Statements) -> None:
        tx.execute("INSERT INTO upload (id, name) VALUES (?, ?)", (upload, name))

    return write


def add_chunk(upload: int, content: bytes) -> Write:
    """Return the write that appends *content*.

    It reads before it changes anything: a deferred transaction holds a snapshot by then, and SQLite refuses to let it
    write once another has committed (https://sqlite.org/rescode.html#busy_snapshot).
    """

    def write(tx: Statements) -> None:
        received, chunks = _received(tx, upload)
        tx.execute(
            "INSERT INTO chunk (upload_id, number, content) VALUES (?, ?, ?)",
            (upload, chunks, content),
        )
        tx.execute(
            "UPDATE upload SET received = ?, chunks = ? WHERE id = ?",
            (received + len(content), chunks + 1, upload),
        )

    return write


def finish(upload: int, digest: str) -> Write:
    """Return the write that puts the upload under *digest*: as a new blob, or linked to the one that is there."""

    def write(tx: Statements) -> None:
        received, _ = _received(tx, upload)
        if tx.query_one("SELECT 1 FROM blob WHERE digest = ?", (digest,)) is None:
            tx.execute(
                "INSERT INTO blob (digest, size, upload_id) VALUES (?, ?, ?)",
                (digest, received, upload),
            )
        else:
            tx.execute("DELETE FROM chunk WHERE upload_id = ?", (upload,))
        tx.execute("UPDATE upload SET digest = ? WHERE id = ?", (digest, upload))

    return write


def _received(tx: Statements, upload: int) -> tuple[int, int]:
    row = tx.query_one("SELECT received, chunks FROM upload WHERE id = ?", (upload,))
    if row is None:
        raise UploadMissing(f"upload {upload} was begun, and its row is gone")
    received, chunks = row
    assert isinstance(received, int)
    assert isinstance(chunks, int)
    return received, chunks
