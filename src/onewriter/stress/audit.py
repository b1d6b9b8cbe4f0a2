"""What is really in a database file once the uploads have ended, held against what was acknowledged.

A1  Every acknowledged upload is there, under the digest of the bytes that were sent.
A2  Every blob's chunks, one after the other, have the digest and the size that the blob is kept under.
A3  SQLite finds the file sound: its pages, its indexes, its foreign keys.
A4  A content that was uploaded twice is stored once.

The file has been closed by its way and is opened afresh.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import apsw

from .raw import Connection
from .tally import Acknowledged

_Blobs: TypeAlias = dict[str, str]  # a blob's digest: what is wrong with its content, empty where nothing is


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found; three empty tuples are a clean bill.

    Attributes:
        blobs: how many blobs were read back.
        lost: acknowledged uploads that are not there, by name.
        wrong: uploads or blobs whose content is another than was sent, each with what is wrong.
        unsound: what SQLite, or our own rules, find wrong with the file.
    """

    blobs: int
    lost: tuple[str, ...]
    wrong: tuple[str, ...]
    unsound: tuple[str, ...]


def audit(path: Path, acknowledged: Iterable[Acknowledged]) -> Audit:
    """Read everything in the database at *path* back and hold it against *acknowledged*."""
    uploads = tuple(acknowledged)
    try:
        connection = Connection(path, create=False)
    except apsw.Error as error:
        return Audit(0, tuple(upload.name for upload in uploads), (), (f"cannot be opened: {error}",))
    try:
        unsound = _unsound(connection)
        return _compare(connection, uploads, unsound)
    except apsw.Error as error:
        return Audit(0, (), (), (f"cannot be read: {error}",))
    finally:
        connection.close()


def _unsound(connection: Connection) -> list[str]:
    # A badly damaged file has thousands of problems; nobody reads more than these.
    problems = cast("list[tuple[str]]", connection.execute("PRAGMA integrity_check(20)"))
    found = [] if problems == [("ok",)] else [f"integrity check: {problem}" for (problem,) in problems]
    broken = connection.execute(
        "SELECT [table], parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2"
    )
    for table, parent, count in cast("list[tuple[str, str, int]]", broken):
        found.append(f"foreign keys: {count} of {table} name no {parent}")
    leftover = connection.execute(
        "SELECT count(*) FROM upload WHERE digest IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM chunk WHERE chunk.upload_id = upload.id) "
        "AND NOT EXISTS (SELECT 1 FROM blob WHERE blob.digest = upload.digest AND blob.upload_id = upload.id)"
    )
    ((count,),) = cast("list[tuple[int]]", leftover)
    if count:
        found.append(f"stored twice: {count} finished uploads keep chunks of their own")  # A4
    return found


def _compare(connection: Connection, uploads: Iterable[Acknowledged], unsound: list[str]) -> Audit:
    blobs = _read_blobs(connection)
    digests = dict(cast("list[tuple[int, str | None]]", connection.execute("SELECT id, digest FROM upload")))
    lost: list[str] = []
    wrong: list[str] = []
    blamed: set[str] = set()
    for upload in uploads:  # A1
        digest = digests.get(upload.upload)
        if digest is not None and digest != upload.digest:
            wrong.append(f"{upload.name}: kept under {digest}, its content has {upload.digest}")
        elif digest is None or upload.digest not in blobs:
            lost.append(upload.name)
        elif blobs[upload.digest]:
            wrong.append(f"{upload.name}: {blobs[upload.digest]}")
            blamed.add(upload.digest)
    wrong += [
        f"blob {digest}: {problem}"
        for digest, problem in blobs.items()
        if problem and digest not in blamed  # whoever uploaded it was told nothing, but it is there
    ]
    return Audit(len(blobs), tuple(lost), tuple(wrong), tuple(unsound))


def _read_blobs(connection: Connection) -> _Blobs:
    rows = connection.execute("SELECT digest, size, upload_id FROM blob")
    blobs = cast("list[tuple[str, int, int]]", rows)  # the tables are STRICT: nothing else can be in them
    return {digest: _problem(connection, digest, size, upload) for digest, size, upload in blobs}


def _problem(connection: Connection, digest: str, size: int, upload: int) -> str:
    """Return what is wrong with the blob's content, or an empty string (A2). One chunk in memory at a time."""
    content = hashlib.sha256()
    received = 0
    counted = connection.execute("SELECT count(*) FROM chunk WHERE upload_id = ?", (upload,))
    ((chunks,),) = cast("list[tuple[int]]", counted)
    for number in range(chunks):
        row = connection.query_one(
            "SELECT content FROM chunk WHERE upload_id = ? AND number = ?", (upload, number)
        )
        if row is None:
            return f"chunk {number} is missing"
        (chunk,) = cast("tuple[bytes]", row)
        content.update(chunk)
        received += len(chunk)
    if received != size:
        return f"has {received} bytes instead of {size}"
    if content.hexdigest() != digest:
        return f"reads back as {content.hexdigest()} instead of {digest}"
    return ""
