"""The types that follow from a call: what a service writes, and what it gets."""

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import NamedTuple, TypedDict, assert_type
from uuid import UUID

import apsw

import onewriter
from onewriter import (
    SQL,
    Changes,
    Config,
    Database,
    FileContent,
    FileStatus,
    Migration,
    Observation,
    ProcessInfo,
    ReadTransaction,
    Result,
    Row,
    TableChanges,
    Transaction,
    Value,
)

MIGRATIONS = (
    Migration(
        1, "initial schema", "CREATE TABLE blob (digest TEXT PRIMARY KEY, size INTEGER NOT NULL) STRICT"
    ),
    Migration(2, "backfill", lambda tx: tx.execute("UPDATE blob SET size = 0")),
)


class State(Enum):
    """An enumeration."""

    NEW = "new"


@dataclass(frozen=True, slots=True)
class Blob:
    """A dataclass."""

    digest: str
    size: int | None = None


class Pair(NamedTuple):
    """A NamedTuple."""

    digest: str
    size: int


class Dictionary(TypedDict):
    """A TypedDict."""

    digest: str
    size: int


def count(tx: ReadTransaction) -> int:
    """A function of a read transaction; a Transaction is taken too."""
    return tx.query_value("SELECT count(*) FROM blob", into=int)


def opened() -> None:
    """A Database, which is a context manager too."""
    assert_type(onewriter.open("data/registry.db"), Database)
    with onewriter.open(Path("registry.db"), config=Config(readers_max=8), durability="normal") as db:
        assert_type(db, Database)
        assert_type(db.path, Path)


def reading(db: Database, computed: str) -> None:
    """Rows, or what `into` names."""
    assert_type(db.query("SELECT digest, size FROM blob WHERE size > ?", (1024,)), list[Row])
    assert_type(db.query_one("SELECT digest FROM blob"), Row | None)
    assert_type(db.query("SELECT size FROM blob", into=int), list[int])
    assert_type(db.query_one("SELECT size FROM blob", into=int), int | None)
    assert_type(db.query_value("SELECT count(*) FROM blob", into=int), int)
    assert_type(db.query_value("SELECT max(size) FROM blob", into=int | None), int | None)
    assert_type(db.query_value("SELECT max(digest) FROM blob", into=str | None, timeout_s=1.0), str | None)
    assert_type(db.query_value(SQL(f"SELECT {computed}"), {"name": b""}, into=bytes), bytes)
    assert_type(db.query("SELECT digest, size FROM blob", into=Blob), list[Blob])
    assert_type(db.query_one("SELECT digest, size FROM blob", into=Pair), Pair | None)
    assert_type(db.query("SELECT digest, size FROM blob", into=Dictionary), list[Dictionary])
    assert_type(db.query_value("SELECT max(at) FROM blob", into=datetime | None), datetime | None)
    assert_type(db.query("SELECT state FROM blob", into=State), list[State])
    assert_type(db.read(count), int)
    with db.stream("SELECT digest, size FROM blob") as rows:
        assert_type(rows, Iterator[Row])
        for digest, _ in rows:
            assert_type(digest, Value)
    with db.stream("SELECT digest, size FROM blob", into=Blob, timeout_s=1.0) as blobs:
        assert_type(next(blobs), Blob)
    with db.read_transaction() as tx:
        assert_type(tx, ReadTransaction)
        assert_type(tx.query_one("SELECT digest, size FROM blob", into=Blob), Blob | None)
        with tx.stream("SELECT size FROM blob", into=int | None) as sizes:
            assert_type(list(sizes), list[int | None])
        with tx.open_blob("chunk", "body", 1) as file:
            assert_type(file.readinto(bytearray(10)), int)
            buffered: io.RawIOBase = file
            assert_type(io.BufferedReader(buffered).read(), bytes)


def parameters(db: Database, at: datetime, folder: Path) -> None:
    """What SQLite stores, and what has a converter."""
    db.execute("INSERT INTO blob VALUES (?, ?, ?)", ("sha256:1", at, True))
    db.execute("INSERT INTO blob VALUES (:a, :b)", {"a": folder, "b": bytearray(3)})
    db.execute("INSERT INTO blob VALUES (?, ?, ?)", [UUID(int=5), Decimal("0.1"), State.NEW])
    result = db.execute("INSERT INTO blob VALUES (?) RETURNING digest", (None,))
    assert_type(result.rows, list[Row])
    assert_type(result.rows[0]["digest"], Value)
    assert_type(db.read(lambda tx: tx.query_value("SELECT 1.5", into=float)), float)
    with db.read_transaction() as tx:
        assert_type(tx, ReadTransaction)


def writing(db: Database, rows: Sequence[tuple[str, int]]) -> None:
    """Results of statements, and what a function returns."""
    assert_type(db.execute("INSERT INTO blob VALUES (?, ?)", ("digest", 1)), Result)
    db.execute_many("INSERT INTO blob VALUES (?, ?)", rows)
    assert_type(db.write(count), int)
    assert_type(db.write(lambda tx: tx.execute("DELETE FROM blob").changes, timeout_s=2.0, alone=True), int)
    with db.transaction(timeout_s=2.0) as tx:
        assert_type(tx, Transaction)
        with tx.savepoint():
            tx.execute("DELETE FROM blob")


def in_the_background(db: Database) -> None:
    """A future of what the function returns; the one door to APSW; callbacks without arguments."""
    assert_type(db.submit(count), Future[int])
    assert_type(
        db.submit(lambda tx: tx.execute("DELETE FROM blob"), timeout_s=1.0, alone=True), Future[Result]
    )
    with db.transaction(hold_s=5.0) as tx:
        tx.after_commit(lambda: None)
    with db.unsafe_connection(timeout_s=1.0) as connection:
        assert_type(connection, apsw.Connection)
    assert_type(db.vacuum(timeout_s=1.0), None)


def from_outside(path: Path) -> None:
    """What can be seen of a file; what may be missing is said to be."""
    seen = onewriter.status(path, count_rows=True, migrations=())
    assert_type(seen, FileStatus)
    assert_type(seen.content, FileContent | None)
    assert_type(seen.stranger, ProcessInfo | None)
    assert_type(seen.waiting, tuple[ProcessInfo, ...])


def told(changes: Changes) -> int:
    """Take what has changed."""
    found = changes.table("blob")
    assert_type(found, TableChanges | None)
    assert_type(changes.complete, bool)
    assert_type([each.inserted for each in changes.tables], list[tuple[int, ...]])
    return 0


def observing(db: Database) -> None:
    """Callbacks take what has changed; what they return is dropped."""
    assert_type(db.observe("blob", told), Observation)
    with db.observe(["blob", "chunk"], lambda changes: None, timeout_s=1.0) as observation:
        assert_type(observation.closed, bool)
    db.observe(None, told).close()
