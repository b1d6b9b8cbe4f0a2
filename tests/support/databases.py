"""Databases for tests."""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw

import onewriter
from onewriter import Config, Database, Migration
from tests.support.steps import Call, Steps, wait_until

SCHEMA = (
    Migration(
        1,
        "initial schema",
        """
        CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0));
        CREATE TABLE part (
            item INTEGER NOT NULL REFERENCES item (id),
            later INTEGER REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED
        );
        """,
    ),
)
T = TypeVar("T")
# Nothing but a full line or its end closes a batch: a test decides who shares a commit.
PATIENT = Config(batch_s=60.0, lead_s=60.0)


def open_items(folder: Path, config: Config = PATIENT) -> Database:
    """Open a database with two small tables."""
    return onewriter.open(folder / "items.db", config=config, migrations=SCHEMA)


def names(db: Database) -> list[str]:
    """Return the names of all items in the order in which they were inserted."""
    return db.query("SELECT name FROM item ORDER BY id", into=str)


def in_line(db: Database, *asks: Callable[[], T]) -> list[Call[T]]:
    """Bring *asks* into the line, in this order, behind a transaction that ends when all have their places."""
    calls: list[Call[T]] = []
    with db.transaction():
        for ask in asks:
            calls.append(Call(ask, f"caller {len(calls)}"))
            wait_until(lambda: db.stats().pending == len(calls), "its place in line")
    return calls


class Held:
    """A write that has the role and keeps it, its transaction open, until it is let go."""

    def __init__(self, db: Database, name: str = "held") -> None:
        """Return once it has the role and has inserted *name*."""
        self.db = db
        self.steps = Steps()
        self.call = Call(lambda: db.write(lambda tx: self._hold(tx, name)), name)
        self.steps.wait_for("holds")

    def _hold(self, tx: onewriter.Transaction, name: str) -> str:
        tx.execute("INSERT INTO item (name) VALUES (?)", (name,))
        self.steps.mark("holds")
        self.steps.wait_for("go")
        return name

    def wait_for(self, pending: int) -> None:
        """Wait until so many requests are in line behind it."""
        wait_until(lambda: self.db.stats().pending == pending, f"{pending} in line")

    def let_go(self) -> None:
        """Let its function return."""
        self.steps.mark("go")


def with_function(name: str, function: Callable[..., int]) -> Callable[[apsw.Connection], None]:
    """Return what `Config.on_connect` is to be, so that SQL can call *function* as *name*."""
    return lambda connection: connection.create_scalar_function(name, function)


class Pause:
    """An SQL function ``pause()`` that stays inside its statement until it is let go, and returns 1."""

    def __init__(self) -> None:
        """Be given to `Config.on_connect`."""
        self.steps = Steps()
        self.on_connect = with_function("pause", self._pause)

    def _pause(self, *_: object) -> int:
        self.steps.mark("inside")
        self.steps.wait_for("go")
        return 1
