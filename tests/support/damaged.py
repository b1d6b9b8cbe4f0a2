"""A small database with a bit of everything that a file can hold, and all that can be asked of it.

Its pages are small, so that a file of some dozens of them has each kind: trees of two levels, overflow, free pages.
"""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import apsw

import onewriter
from onewriter import Config, Database, Migration
from tests.support.oracle import INSERT, MIGRATION, SELECT, WAYS

UNITS, BASE_UNITS = 120, 10
ITEMS, BODIES = 150, 16
LATER: Final = Migration(
    3,
    "later",
    "CREATE TABLE later (a TEXT); CREATE INDEX item_later ON item (size, name); INSERT INTO later VALUES ('x')",
)
SCHEMA: Final = (
    MIGRATION,
    Migration(
        2,
        "everything",
        """
        CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size INTEGER NOT NULL) STRICT;
        CREATE INDEX item_size ON item (size);
        CREATE TABLE pair (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
        CREATE TABLE body (id INTEGER PRIMARY KEY, content BLOB NOT NULL);
        """,
    ),
)
PAGE_BYTES: Final = 1024


class Root(NamedTuple):
    """The first page of a table or an index."""

    page: int
    is_index: int


class Half(NamedTuple):
    """A row of `unit`."""

    name: str
    half: int


@dataclass(frozen=True)
class Item:
    """A row of `item`."""

    id: int
    name: str
    size: int


@dataclass(frozen=True)
class Body:
    """A row of `body`."""

    id: int
    content: bytes


def unit(number: int) -> str:
    """Return the name of one of the units that were written in order."""
    return f"{number:04}"


def _small_pages(connection: apsw.Connection) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")


def build(path: Path, *, keeps_wal: bool) -> Database:
    """Make the database at *path*, with nothing in its WAL, and the first units of `units_in_order`."""
    config = Config(on_connect=_small_pages, checkpoint="external" if keeps_wal else "auto")
    db = onewriter.open(path, config=config, durability="normal", migrations=SCHEMA)
    drawn = random.Random(1)
    items = [(number, f"item {drawn.getrandbits(40)}", drawn.randrange(9)) for number in range(1, ITEMS + 1)]
    db.execute_many("INSERT INTO item VALUES (?, ?, ?)", items)
    db.execute_many("INSERT INTO pair VALUES (?, ?)", [(f"{n % 7}", n) for n in range(60)])
    bodies = [(number, drawn.randbytes(drawn.randrange(10, 5_000))) for number in range(1, 2 * BODIES)]
    db.execute_many("INSERT INTO body VALUES (?, ?)", bodies)
    db.execute("DELETE FROM body WHERE id % 2 = 0")  # whose pages are free
    for number in range(BASE_UNITS):
        WAYS[number % len(WAYS)](db, unit(number))
    assert db.checkpoint()
    return db


def units_in_order(db: Database) -> None:
    """Write the rest of the units, each with a commit of its own, into the WAL."""
    for number in range(BASE_UNITS, UNITS):
        WAYS[number % len(WAYS)](db, unit(number))


def trees(path: Path) -> dict[int, bool]:
    """Return the root pages of the database at *path*, and whether each is that of an index."""
    with onewriter.open(path, read_only=True) as db:
        roots = db.query(
            "SELECT rootpage AS page, type = 'index' AS is_index FROM sqlite_schema WHERE rootpage > 0",
            into=Root,
        )
    return {root.page: root.is_index == 1 for root in roots}


# --- what can be asked


def halves(db: Database) -> list[Half]:
    """Return the rows of all units; `oracle.rows` takes them to be of the right types."""
    return db.query(SELECT, into=Half)


def _streamed(db: Database) -> list[Body]:
    with db.stream("SELECT id, content FROM body", into=Body) as bodies:
        return list(bodies)


def _one_by_one(db: Database) -> Iterator[Body | None]:
    for number in range(1, 2 * BODIES, 2):
        yield db.query_one("SELECT id, content FROM body WHERE id = ?", (number,), into=Body)


def _on_one_snapshot(db: Database) -> list[object]:
    def work(tx: onewriter.ReadTransaction) -> list[object]:
        blobs: list[object] = []
        for number in range(1, 2 * BODIES, 2):
            with tx.open_blob("body", "content", number) as blob:
                blobs.append(blob.read())
        return [*blobs, tx.query_value("SELECT sum(size) FROM item", into=int | None)]

    return db.read(work)


QUESTIONS: Final[dict[str, Callable[[Database], object]]] = {
    "units": halves,
    "items": lambda db: db.query("SELECT id, name, size FROM item NOT INDEXED ORDER BY id", into=Item),
    "names": lambda db: db.query("SELECT name FROM item INDEXED BY sqlite_autoindex_item_1", into=str),
    "sizes": lambda db: db.query("SELECT size, id FROM item INDEXED BY item_size WHERE size >= 0"),
    "by name": lambda db: db.query("SELECT a.id, b.id FROM item AS a JOIN item AS b USING (name) ORDER BY 1"),
    "pairs": lambda db: db.query("SELECT a, b FROM pair"),
    "bodies": _streamed,
    "each body": lambda db: list(_one_by_one(db)),
    "snapshot": _on_one_snapshot,
    "schema": lambda db: db.query("SELECT type, name, sql FROM sqlite_schema ORDER BY name"),
}
# --- what can be written, beside units


def _shrink(db: Database) -> None:
    db.execute("DELETE FROM body WHERE id < 9")


def _grow(db: Database) -> None:
    db.execute_many("INSERT INTO body (content) VALUES (?)", [(bytes(3_000),), (bytes(40),)])


def _change(db: Database) -> None:
    db.execute("UPDATE item SET size = size + 1, name = name || '.' WHERE id % 3 = 0")


def _several(db: Database) -> None:
    with db.transaction() as tx:
        tx.execute("INSERT OR REPLACE INTO pair VALUES ('new', 1)")
        with tx.savepoint():
            tx.execute("DELETE FROM pair WHERE a = '3'")
        tx.execute(INSERT, ("several", 1))
        tx.execute(INSERT, ("several", 2))


CHANGES: Final[dict[str, Callable[[Database], object]]] = {
    "shrink": _shrink,
    "grow": _grow,
    "change": _change,
    "several": _several,
}
