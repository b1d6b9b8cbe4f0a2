"""A service's life on a disk that is recorded.

What must be true of the states that a loss of power may leave of it stands in `losses`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import onewriter
from onewriter import Config, Database, Error, Migration, Transaction
from onewriter.config import Durability
from tests.support.databases import PATIENT, in_line
from tests.support.oracle import MIGRATION, WAYS, Fate, Ledger

from .recorder import Recorder, recording


def _fill(tx: Transaction) -> None:
    tx.execute_many("INSERT INTO filled VALUES (?, ?)", [(number, "x" * 500) for number in range(20)])


MIGRATIONS: Final = (
    MIGRATION,
    Migration(2, "filled", "CREATE TABLE filled (number INTEGER PRIMARY KEY, text TEXT NOT NULL)"),
    Migration(3, "fill", _fill),
)
FILLED: Final = 20
TOGETHER: Final = WAYS[:3] * 2  # those that share a commit, from threads of their own
DATABASE, COPY, OTHER, AGAIN = "a.db", "copy.db", "other.db", "again.db"


@dataclass(frozen=True)
class Said:
    """Something was promised: the *name* of a file, and which units it has."""

    name: str
    units: frozenset[str]


@dataclass
class Life:
    """What one service does with its disk.

    Attributes:
        alone: the units that one caller wrote one after the other, in order.
    """

    folder: Path
    vfs: str
    durability: Durability
    recorder: Recorder
    ledger: Ledger = field(default_factory=Ledger)
    alone: list[str] = field(default_factory=list[str])

    def live(self) -> None:
        """Open, write in every way, alone and together, copy, restore, close, and open again; with errors, go on."""
        self.ledger.at_each = lambda name, fate: self.recorder.say((name, fate))
        with suppress(Error), self._open() as db:
            self._write(db, "first")
            self._together(db)
            self._snapshot(db, COPY)
            with suppress(Error):
                db.checkpoint()
            self._write(db, "second")
            self._snapshot(db, OTHER)
        self._restore()
        with suppress(Error), self._open() as db:
            self._write(db, "third")
            self._snapshot(db, COPY)
            with suppress(Error):
                db.vacuum()
            self._write(db, "fourth")

    def _open(self) -> Database:
        config = replace(
            PATIENT, vfs=self.vfs, write_timeout_s=5.0, read_timeout_s=5.0, migrate_timeout_s=5.0
        )
        db = onewriter.open(
            self.folder / DATABASE, config=config, durability=self.durability, migrations=MIGRATIONS
        )
        self.recorder.say(Said(DATABASE, frozenset()))
        return db

    def _write(self, db: Database, when: str) -> None:
        for number, way in enumerate(WAYS):
            name = f"{when} {number}"
            self.alone.append(name)
            self._unit(db, way, name)

    def _together(self, db: Database) -> None:
        """Have requests share a commit, one of which takes the transaction of all away in the middle."""
        asks = [partial(self._unit, db, way, f"together {number}") for number, way in enumerate(TOGETHER)]
        asks.insert(len(asks) // 2, partial(self._sabotage, db))
        for call in in_line(db, *asks):
            call.result()

    def _unit(self, db: Database, way: Callable[[Database, str], None], name: str) -> None:
        with suppress(Error), self.ledger.unit(name):
            way(db, name)

    def _sabotage(self, db: Database) -> None:
        with suppress(Error):
            db.write(lambda tx: tx.execute("INSERT OR ROLLBACK INTO filled VALUES (0, 'in the way')"))

    def _snapshot(self, db: Database, name: str) -> None:
        units = self._acknowledged()
        with suppress(Error):
            db.snapshot(self.folder / name, overwrite=True)
            self.recorder.say(Said(name, units))

    def _restore(self) -> None:
        units = self._acknowledged()
        with suppress(Error):
            onewriter.restore(self.folder / OTHER, self.folder / AGAIN, Config(vfs=self.vfs))
            self.recorder.say(Said(AGAIN, units))

    def _acknowledged(self) -> frozenset[str]:
        return frozenset(name for name, fate in self.ledger.fates.items() if fate is Fate.ACKNOWLEDGED)


@contextmanager
def life(folder: Path, durability: Durability) -> Generator[Life]:
    """A life below *folder*, recorded in the block."""
    folder.mkdir()
    with recording(folder, "onewriter-recorded") as recorder:
        yield Life(folder, "onewriter-recorded", durability, recorder)
