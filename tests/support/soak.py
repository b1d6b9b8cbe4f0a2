"""One of several processes that have a database together: it opens, migrates, writes, reads and closes, over and over.

    python -m tests.support.soak PATH LOG SEED SECONDS

Each write that was acknowledged is put down in LOG. Whatever goes wrong ends it with a traceback. At its end it prints
how often it opened, and how often SQLite said busy. Processes that are killed: `tests.faults.victim`.
"""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import onewriter
from onewriter import Database, Migration, Transaction
from onewriter.config import Durability

MIGRATIONS = (
    Migration(
        1, "tables", "CREATE TABLE row (name TEXT PRIMARY KEY) STRICT; CREATE TABLE ran (version INTEGER)"
    ),
    Migration(2, "as a script", "INSERT INTO ran VALUES (2)"),
    Migration(3, "as a function", lambda tx: tx.execute("INSERT INTO ran VALUES (3)")),
)
DURABILITIES: tuple[Durability, ...] = ("full", "normal")
INSERT = "INSERT INTO row VALUES (?)"


class Soak:
    """One process's part."""

    def __init__(self, path: Path, log: Path, seed: int) -> None:
        """Draw everything from *seed*."""
        self._path = path
        self._log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._drawn = random.Random(seed)
        self._written = 0
        self.opened = self.retries = 0

    def run(self, until: float) -> None:
        """Open, use and close until the clock says *until*."""
        while time.time() < until:
            if self._drawn.random() < 0.15 and self._path.exists():
                with onewriter.open(self._path, read_only=True) as db:
                    self._look(db)
            else:
                durability = self._drawn.choice(DURABILITIES)
                with onewriter.open(self._path, migrations=MIGRATIONS, durability=durability) as db:
                    self._use(db)
            self.opened += 1

    def _look(self, db: Database) -> None:
        if db.schema_version() >= 1:
            db.query("SELECT count(*) FROM row")
        self.retries += db.stats().busy_retries

    def _use(self, db: Database) -> None:
        for _ in range(self._drawn.randrange(1, 6)):
            db.execute(INSERT, (self._name(),))
            self._acknowledged(db)
            db.write(self._insert)
            self._acknowledged(db)
        others: list[Callable[[], object]] = [
            lambda: db.check() and sys.exit("not sound"),
            lambda: db.snapshot(self._path.with_name(f"snapshot-{os.getpid()}"), overwrite=True),
            db.vacuum,
            lambda: self._change_the_schema(db),
            lambda: db.migrate(MIGRATIONS),
            lambda: db.submit(self._insert).result(timeout=30.0),
        ]
        if self._drawn.random() < 0.5:
            self._drawn.choice(others)()
        self._look(db)

    def _change_the_schema(self, db: Database) -> None:
        with db.unsafe_connection() as connection:
            connection.execute("BEGIN IMMEDIATE; CREATE TABLE passing (a); DROP TABLE passing; COMMIT")

    def _insert(self, tx: Transaction) -> None:
        tx.execute(INSERT, (self._name(),))

    def _name(self) -> str:
        self._written += 1
        return self._last()

    def _last(self) -> str:
        return f"{os.getpid()}-{self._written}"

    def _acknowledged(self, db: Database) -> None:
        os.write(self._log, f"{self._last()}\n".encode())
        seen = db.query_value("SELECT count(*) FROM row WHERE name = ?", (self._last(),), into=int)
        assert seen == 1, f"{self._last()} was acknowledged and is not to be seen"


if __name__ == "__main__":
    path, log, seed, seconds = sys.argv[1:]
    soak = Soak(Path(path), Path(log), int(seed))
    soak.run(time.time() + float(seconds))
    sys.stdout.write(f"{soak.opened} {soak.retries}\n")
