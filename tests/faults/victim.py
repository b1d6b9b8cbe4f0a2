"""A process that is going to be killed: it opens, migrates, writes by many threads, copies, checkpoints and closes.

    python -m tests.faults.victim FOLDER NAME SEED VERSION

Before each phase it prints the phase's name, so that its parent can choose the moment. What it is told it notes in
``FOLDER/NAME.ledger``, each promise beside the units' in ``FOLDER/NAME.promises``:

    opened VERSION               the migrations up to that version are there
    snapshot FILE BYTES          a snapshot, of all that the first bytes of the ledger have acknowledged
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import onewriter
from onewriter import Database, Migration, Transaction
from onewriter.config import Durability
from tests.support.oracle import MIGRATION, SELECT, WAYS, Ledger, whole

DATABASE: Final = "a.db"
ROWS: Final = 20  # of each table that a migration makes
THREADS: Final = 4
PHASES: Final = ("open", "write", "snapshot", "checkpoint", "vacuum", "migrate", "close")
_DURABILITIES: Final[tuple[Durability, ...]] = ("full", "normal")


def migrations(version: int) -> tuple[Migration, ...]:
    """Return the migrations up to *version*: after the units a table of `ROWS` rows each, by a script or a function."""
    return (MIGRATION, *(_migration(each) for each in range(2, version + 1)))


def _migration(version: int) -> Migration:
    table = f"made_{version}"
    create = onewriter.SQL(f"CREATE TABLE {table} (number INTEGER PRIMARY KEY)")
    insert = onewriter.SQL(f"INSERT INTO {table} VALUES (?)")

    def by_function(tx: Transaction) -> None:
        tx.execute(create)
        for number in range(ROWS):
            tx.execute(insert, (number,))

    if version % 2:
        return Migration(version, table, by_function)
    values = ", ".join(f"({number})" for number in range(ROWS))
    return Migration(version, table, f"{create}; INSERT INTO {table} VALUES {values}")


class Undone(Exception):
    """Raised by a function that has already written."""


def _half(name: str, tx: Transaction) -> None:
    whole(name, tx)
    raise Undone


class Victim:
    """One process's part."""

    def __init__(self, folder: Path, name: str, seed: int, version: int) -> None:
        """Draw everything from *seed*."""
        self._folder = folder
        self._name = name
        self._drawn = Random(seed)
        self._version = version
        self._ledger = Ledger(folder / f"{name}.ledger")
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC
        self._promises = os.open(folder / f"{name}.promises", flags)
        self._made = 0

    def live(self) -> None:
        """Go on for ever."""
        while True:
            self._say("open")
            durability = self._drawn.choice(_DURABILITIES)
            wanted = self._version if self._drawn.random() < 0.7 else 1
            db = onewriter.open(self._folder / DATABASE, durability=durability, migrations=migrations(wanted))
            self._promise(f"opened {wanted}")
            with db:
                self._use(db)
                self._say("close")

    def _use(self, db: Database) -> None:
        self._say("write")
        seeds = [self._drawn.randrange(2**32) for _ in range(THREADS)]
        threads = [threading.Thread(target=self._write, args=(db, seed)) for seed in seeds]
        for thread in threads:
            thread.start()
        for _ in range(self._drawn.randrange(1, 4)):
            phase, work = self._drawn.choice(self._others(db))
            self._say(phase)
            work()
        for thread in threads:
            thread.join()

    def _others(self, db: Database) -> list[tuple[str, Callable[[], object]]]:
        return [
            ("snapshot", lambda: self._snapshot(db)),
            ("checkpoint", db.checkpoint),
            ("vacuum", db.vacuum),
            ("migrate", lambda: self._migrate(db)),
        ]

    def _write(self, db: Database, seed: int) -> None:
        drawn = Random(seed)
        for number in range(drawn.randrange(2, 12)):
            unit = f"{self._name}-{seed}-{number}"
            if drawn.random() < 0.1:
                with suppress(Undone), self._ledger.unit(unit):
                    db.write(partial(_half, unit))
                continue
            with self._ledger.unit(unit):
                drawn.choice(WAYS)(db, unit)
            seen = db.query(f"{SELECT} WHERE name = ?", (unit,))
            assert len(seen) == 2, f"{unit} was acknowledged, and {seen} is to be seen"

    def _migrate(self, db: Database) -> None:
        db.migrate(migrations(self._version))
        self._promise(f"opened {self._version}")

    def _snapshot(self, db: Database) -> None:
        self._made += 1
        target = self._folder / f"{self._name}-{self._drawn.randrange(3)}.snapshot"
        size = (self._folder / f"{self._name}.ledger").stat().st_size
        db.snapshot(target, overwrite=True)
        self._promise(f"snapshot {target.name} {size}")

    def _promise(self, text: str) -> None:
        os.write(self._promises, f"{text}\n".encode())

    def _say(self, phase: str) -> None:
        os.write(sys.stdout.fileno(), f"{phase}\n".encode())


if __name__ == "__main__":
    folder, name, seed, version = sys.argv[1:]
    Victim(Path(folder), name, int(seed), int(version)).live()
