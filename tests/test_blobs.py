"""Blobs: a value as a raw file, read in any reader and written in a write, and never silently wrong."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import onewriter
from onewriter import (
    Database,
    DataError,
    ForbiddenStatement,
    MisuseError,
    ProgrammingError,
    TransactionEnded,
    WrongThread,
)
from tests.support.places import small_disk
from tests.support.steps import Call

BODY = bytes(range(256)) * 40


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database with one value of 10,240 bytes."""
    with onewriter.open(tmp_path / "blobs.db") as opened:
        opened.execute(
            "CREATE TABLE chunk (id INTEGER PRIMARY KEY, body BLOB, name TEXT UNIQUE, size INTEGER)"
        )
        opened.execute("INSERT INTO chunk VALUES (1, ?, 'text of it', 7)", (BODY,))
        yield opened


# --- reading


def test_a_value_is_read_piece_by_piece(db: Database) -> None:
    """At any place, up to its end."""
    with db.read_transaction() as tx, tx.open_blob("chunk", "body", 1) as blob:
        assert (len(blob), blob.tell()) == (10_240, 0)
        assert blob.read(3) == BODY[:3]
        assert blob.seek(-2, io.SEEK_END) == 10_238
        assert (blob.read(), blob.read(5)) == (BODY[-2:], b"")
        assert blob.seek(1_000) == 1_000
        buffer = bytearray(10)
        assert blob.readinto(buffer) == 10
        assert bytes(buffer) == BODY[1_000:1_010]
        assert blob.seek(5, io.SEEK_CUR) == 1_015
        blob.seek(99_999)
        assert blob.read(1) == b""
        assert (blob.readable(), blob.writable(), blob.seekable(), bool(blob)) == (True, False, True, True)


def test_it_is_a_file_to_whoever_takes_files(db: Database, tmp_path: Path) -> None:
    """`shutil.copyfileobj`, `io.BufferedReader`, `hashlib.file_digest`."""
    with db.read_transaction() as tx:
        with tx.open_blob("chunk", "body", 1) as blob, (tmp_path / "copy").open("wb") as copy:
            shutil.copyfileobj(blob, copy, 1_000)
        with io.BufferedReader(tx.open_blob("chunk", "body", 1), 512) as buffered:
            assert buffered.read(700) == BODY[:700]
            assert buffered.readline() == BODY[700 : BODY.index(b"\n", 700) + 1]
        with tx.open_blob("chunk", "body", 1) as blob:
            assert hashlib.file_digest(blob, "sha256").digest() == hashlib.sha256(BODY).digest()
        with tx.open_blob("chunk", "name", 1) as text:
            assert text.readall() == b"text of it"
    assert (tmp_path / "copy").read_bytes() == BODY


def test_a_blob_reads_its_snapshot(db: Database) -> None:
    """A row that is deleted meanwhile is there to its end."""
    with db.read_transaction() as tx, tx.open_blob("chunk", "body", 1) as blob:
        blob.read(100)
        Call(lambda: db.execute("DELETE FROM chunk")).result()
        assert blob.readall() == BODY[100:]


def test_a_table_that_is_new_to_a_reader_is_found(db: Database) -> None:
    """Its schema may be older than the table."""
    with db.read_transaction() as tx:
        assert tx.open_blob("chunk", "body", 1).read(1) == b"\0"
    db.execute("CREATE TABLE newer (id INTEGER PRIMARY KEY, body BLOB)")
    db.execute("INSERT INTO newer VALUES (5, 'abc')")
    with db.read_transaction() as tx:
        assert tx.open_blob("newer", "body", 5).read() == b"abc"


@pytest.mark.parametrize(
    "table, column, rowid, message",
    [
        ("nothing", "body", 1, "no such table"),
        ("chunk", "nothing", 1, "no such column"),
        ("chunk", "body", 2, "no such rowid: 2"),
        ("chunk", "size", 1, "cannot open value of type integer"),
    ],
)
def test_what_cannot_be_opened_is_named(
    db: Database, table: str, column: str, rowid: int, message: str
) -> None:
    """And the transaction goes on."""
    with db.read_transaction() as tx:
        with pytest.raises(ProgrammingError, match=message):
            tx.open_blob(table, column, rowid)
        assert tx.query_value("SELECT count(*) FROM chunk", into=int) == 1
    loose: Any = db
    with loose.read_transaction() as tx, pytest.raises(ProgrammingError, match="rowid"):
        tx.open_blob("chunk", "body", "1")


def test_a_reader_writes_nothing(db: Database) -> None:
    """Neither by opening for writing nor by writing."""
    with db.read_transaction() as tx:
        with pytest.raises(ForbiddenStatement, match="write"):
            tx.open_blob("chunk", "body", 1, writable=True)
        with (
            tx.open_blob("chunk", "body", 1) as blob,
            pytest.raises(io.UnsupportedOperation, match="writable=True"),
        ):
            blob.write(b"x")
    assert db.query_value("SELECT body FROM chunk", into=bytes) == BODY


# --- writing


def test_a_value_is_written_piece_by_piece(db: Database) -> None:
    """Into room that was made for it; all of it is one transaction."""

    def upload(tx: onewriter.Transaction) -> int:
        rowid = tx.execute("INSERT INTO chunk (body) VALUES (zeroblob(?))", (len(BODY),)).last_insert_rowid
        with tx.open_blob("chunk", "body", rowid, writable=True) as blob:
            shutil.copyfileobj(io.BytesIO(BODY), blob, 999)
            assert blob.tell() == len(BODY)
            blob.seek(2)
            assert blob.read(2) == BODY[2:4]
            blob.seek(0)
            assert blob.write(memoryview(b"ZZ")) == 2
        return rowid

    rowid = db.write(upload)
    assert db.query_value("SELECT body FROM chunk WHERE id = ?", (rowid,), into=bytes) == b"ZZ" + BODY[2:]
    with pytest.raises(LookupError), db.transaction() as tx:
        with tx.open_blob("chunk", "body", rowid, writable=True) as blob:
            blob.write(b"lost")
        raise LookupError
    assert (
        db.query_value("SELECT substr(body, 1, 4) FROM chunk WHERE id = ?", (rowid,), into=bytes) == b"ZZ\2\3"
    )


def test_what_has_no_room_is_refused_whole(db: Database) -> None:
    """A short write would lose what a copy did not look at."""
    with db.transaction() as tx, tx.open_blob("chunk", "body", 1, writable=True) as blob:
        blob.seek(-3, io.SEEK_END)
        with pytest.raises(DataError, match=r"room for 3 more bytes of 10240, not for 4"):
            blob.write(b"four")
        blob.seek(20_000)
        with pytest.raises(DataError, match="room for 0"):
            blob.write(b"x")
        assert blob.write(b"") == 0
    assert db.query_value("SELECT body FROM chunk", into=bytes) == BODY


def test_sqlites_own_tables_are_not_written(db: Database) -> None:
    """That would be the schema."""
    with db.transaction() as tx, pytest.raises(ForbiddenStatement, match="sqlite_schema"):
        tx.open_blob("sqlite_schema", "sql", 1, writable=True)


def test_an_indexed_column_is_read_and_not_written(db: Database) -> None:
    """SQLite's rule, in its words."""
    with db.transaction() as tx:
        with pytest.raises(ProgrammingError, match="indexed column"):
            tx.open_blob("chunk", "name", 1, writable=True)
        assert tx.open_blob("chunk", "name", 1).read(4) == b"text"


def test_a_full_disk_undoes_the_request(tmp_path: Path) -> None:
    """Nothing half-written is left."""
    with small_disk(tmp_path / "disk", "4m") as folder, onewriter.open(folder / "full.db") as db:
        db.execute("CREATE TABLE chunk (id INTEGER PRIMARY KEY, body BLOB)")
        db.execute("INSERT INTO chunk VALUES (1, zeroblob(100000))")

        def fill(tx: onewriter.Transaction) -> None:
            for number in range(2, 1_000):
                tx.execute("INSERT INTO chunk VALUES (?, zeroblob(200000))", (number,))
                with tx.open_blob("chunk", "body", number, writable=True) as blob:
                    blob.write(os.urandom(200_000))

        with pytest.raises(onewriter.DiskFull):
            db.write(fill)
        assert db.query("SELECT id, length(body) FROM chunk") == [(1, 100_000)]
        assert db.check() == []


# --- when it is over


@pytest.mark.parametrize(
    "change", ["UPDATE chunk SET size = 8", "DELETE FROM chunk", "UPDATE chunk SET body = 'x'"]
)
def test_a_row_that_changed_is_reported(db: Database, change: onewriter.SQL) -> None:
    """Not silently wrong."""
    with db.transaction() as tx:
        blob = tx.open_blob("chunk", "body", 1, writable=True)
        blob.read(1)
        tx.execute(onewriter.SQL(change))
        for use in (lambda: blob.read(1), lambda: blob.write(b"x")):
            with pytest.raises(MisuseError, match="changed or deleted") as caught:
                use()
            assert caught.value.code == "SQLITE_ABORT"
        tx.execute("INSERT INTO chunk (id, body) VALUES (9, 'the transaction goes on')")
    assert db.query_value("SELECT count(*) FROM chunk WHERE id = 9", into=int) == 1


def test_a_blob_ends_with_its_transaction(db: Database) -> None:
    """And with its own `close`, as a file."""
    kept: list[onewriter.Blob] = []
    db.read(lambda tx: kept.append(tx.open_blob("chunk", "body", 1)))
    db.write(lambda tx: kept.append(tx.open_blob("chunk", "body", 1, writable=True)))
    with db.transaction() as tx:
        kept.append(tx.open_blob("chunk", "body", 1))
        closed = tx.open_blob("chunk", "body", 1)
        closed.close()
        closed.close()
        with pytest.raises(ValueError, match="closed"):
            closed.read(1)
        assert "closed" in repr(closed)
    for blob in kept:
        with pytest.raises(TransactionEnded):
            blob.read(1)
        blob.close()
    assert db.stats().readers_lent == 0
    assert db.check() == []


def test_a_blob_belongs_to_its_thread(db: Database) -> None:
    """As its transaction does."""
    with db.read_transaction() as tx, tx.open_blob("chunk", "body", 1) as blob:
        assert isinstance(Call(lambda: blob.read(1)).error(), WrongThread)
        assert blob.read(1) == b"\0"


def test_wrong_places_are_refused_as_files_do(db: Database) -> None:
    """With a ValueError."""
    with db.read_transaction() as tx, tx.open_blob("chunk", "body", 1) as blob:
        for place in ((-1, 0), (-20_000, 2), (0, 7)):
            with pytest.raises(ValueError, match=r"place|whence"):
                blob.seek(*place)
        assert blob.tell() == 0
