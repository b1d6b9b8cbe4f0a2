"""The types that follow from an awaited call: those of its namesake."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_type

import onewriter
from onewriter import Changes, Config, Migration, ReadTransaction, Result, Row, Stats, Transaction, Value, aio


@dataclass(frozen=True, slots=True)
class Blob:
    """A dataclass."""

    digest: str
    size: int | None = None


def count(tx: ReadTransaction) -> int:
    """A function of a read transaction; a Transaction is taken too."""
    return tx.query_value("SELECT count(*) FROM blob", into=int)


async def opened(migrations: Sequence[Migration]) -> None:
    """Opening, and what it gives."""
    db = await onewriter.aio.open(
        "a.db", config=Config(readers_max=2), migrations=migrations, durability="normal"
    )
    assert_type(db, aio.Database)
    async with await aio.open(Path("a.db"), read_only=True) as again:
        assert_type(again, aio.Database)
    assert_type(await aio.restore("copy.db", "a.db"), Path)
    assert_type(db.sync, onewriter.Database)
    assert_type(aio.Database(db.sync), aio.Database)


async def wrote(db: aio.Database) -> None:
    """Writing."""
    assert_type(await db.execute("DELETE FROM blob WHERE size > ?", (1,), timeout_s=1.0), Result)
    assert_type(await db.execute_many("DELETE FROM blob WHERE size = :size", [{"size": 1}]), Result)
    assert_type(await db.write(count), int)
    assert_type(await db.write(lambda tx: tx.execute("DELETE FROM blob"), alone=True), Result)
    async with db.transaction(hold_s=1.0) as tx:
        assert_type(tx, aio.Transaction)
        assert_type(await tx.execute("DELETE FROM blob"), Result)
        assert_type(await tx.query_value("SELECT size FROM blob", into=int | None), int | None)
        async with tx.savepoint():
            await tx.script("DELETE FROM blob; DELETE FROM blob")
        await tx.after_commit(lambda: None)
        async with await tx.open_blob("blob", "body", 1, writable=True) as blob:
            assert_type(blob, aio.Blob)
            assert_type(await blob.read(), bytes)
            assert_type(await blob.write(b"1"), int)


async def read(db: aio.Database) -> None:
    """Reading."""
    assert_type(await db.query("SELECT digest FROM blob"), list[Row])
    assert_type(await db.query("SELECT digest FROM blob", into=Blob), list[Blob])
    assert_type(await db.query_one("SELECT digest FROM blob"), Row | None)
    assert_type(await db.query_one("SELECT digest FROM blob", into=Blob), Blob | None)
    assert_type(await db.query_value("SELECT size FROM blob"), Value)
    assert_type(await db.query_value("SELECT size FROM blob", into=int), int)
    assert_type(await db.query_value("SELECT size FROM blob", into=int | None), int | None)
    assert_type(await db.read(count), int)
    async with db.read_transaction() as tx:
        assert_type(tx, aio.ReadTransaction)
        assert_type(await tx.query("SELECT digest FROM blob", into=Blob), list[Blob])
        async with tx.stream("SELECT digest FROM blob", into=str) as digests:
            assert_type(digests, AsyncIterator[str])
    async with db.stream("SELECT digest FROM blob", into=Blob) as blobs:
        assert_type(blobs, AsyncIterator[Blob])
        async for blob in blobs:
            assert_type(blob, Blob)
    async with db.stream("SELECT digest FROM blob") as rows:
        assert_type([row async for row in rows], list[Row])


async def observing(db: aio.Database) -> None:
    """An asynchronous iterator, and a block."""
    async with db.observe("blob", timeout_s=1.0) as observed:
        assert_type(observed, aio.Observation)
        async for changes in observed:
            assert_type(changes, Changes)
    async for changes in db.observe():
        assert_type(changes.elsewhere, bool)


async def looked_after(db: aio.Database) -> None:
    """The file."""
    assert_type(await db.snapshot("copy.db", progress=lambda done, total: done / total), Path)
    assert_type(await db.check(), list[str])
    assert_type(await db.checkpoint(), bool)
    assert_type(await db.schema_version(), int)
    assert_type(await db.stats(), Stats)
    await db.vacuum()
    await db.close(1.0)


def not_awaited(tx: Transaction) -> None:
    """What `write` is given is the transaction of threads."""
    assert_type(tx.execute("DELETE FROM blob"), Result)
