"""Parallel writers against an oracle: every acknowledged write is there once, nothing half-done is."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import onewriter
from onewriter import Config, Database, IntegrityError, Transaction, WriteTimeout
from tests.support.databases import open_items
from tests.support.steps import calls

THREADS = 12
TURNS = 120


class Undone(Exception):
    """Raised by a function that has already written."""


@pytest.fixture(params=[None, 1e-6], ids=["default", "switching"])
def _switching(request: pytest.FixtureRequest) -> Iterator[None]:
    before = sys.getswitchinterval()
    if request.param:
        sys.setswitchinterval(request.param)
    yield
    sys.setswitchinterval(before)


class Uploads:
    """Each unit is two rows, and is whole or absent; the caller's view of it is the oracle."""

    def __init__(self, db: Database) -> None:
        """Begin with none."""
        self.db = db
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self._lock = threading.Lock()

    def work(self, seed: int) -> None:
        """Do one thread's share, in ways drawn from *seed*."""
        drawn = random.Random(seed)
        for turn in range(TURNS):
            name = f"{seed}-{turn}"
            try:
                self._one(drawn.randrange(9), name)
            except (IntegrityError, Undone, WriteTimeout):
                with self._lock:
                    self.refused.add(name)
            else:
                with self._lock:
                    self.acknowledged.add(name)
                assert (
                    self.db.query_value(
                        "SELECT count(*) FROM item WHERE name IN (?, ?)", (name, f"{name}/2"), into=int
                    )
                    == 2
                ), f"{name} was acknowledged and is not to be seen"

    def _one(self, how: int, name: str) -> None:
        rows = [(name,), (f"{name}/2",)]
        insert = "INSERT INTO item (name) VALUES (?)"

        def whole(tx: Transaction) -> None:
            for row in rows:
                tx.execute(insert, row)

        def half(tx: Transaction) -> None:
            tx.execute(insert, rows[0])
            raise Undone

        def swallows(tx: Transaction) -> None:
            tx.execute(insert, rows[0])
            try:
                tx.execute("INSERT OR ROLLBACK INTO item (id, name) VALUES (1, ?)", rows[1])
            except IntegrityError:
                return

        if how <= 1:
            self.db.execute_many(insert, rows)
        elif how == 2:
            self.db.execute("INSERT INTO item (name) VALUES (?), (?)", (rows[0][0], rows[1][0]))
        elif how == 3:
            self.db.write(whole)
        elif how == 4:
            self.db.write(whole, alone=True)
        elif how == 5:
            with self.db.transaction() as tx:
                whole(tx)
        elif how == 6:
            self.db.write(half)
        elif how == 7:
            self.db.write(swallows)
        else:
            self.db.write(whole, timeout_s=0.0005)


@pytest.mark.usefixtures("_switching")
@pytest.mark.parametrize(
    "config",
    [Config(), Config(batch_max=3), Config(batch_s=0.0), Config(lead_s=0.0, batch_s=1.0)],
    ids=["defaults", "small batches", "no batches", "no serving"],
)
def test_every_acknowledged_write_is_there_and_nothing_half_done(
    tmp_path: Path, seed: int, config: Config
) -> None:
    """Functions that fail, statements that end the transaction, time-outs, all at once."""
    with open_items(tmp_path, config) as db:
        db.execute("INSERT INTO item (id, name) VALUES (1, 'in the way')")
        uploads = Uploads(db)
        for call in calls(lambda n: uploads.work(seed + n), THREADS):
            call.result()
        assert db.stats().pending == 0
        assert db.check() == []
    with onewriter.open(tmp_path / "items.db") as again:
        found = set(again.query("SELECT name FROM item WHERE id > 1", into=str))
    assert found == {part for name in uploads.acknowledged for part in (name, f"{name}/2")}
    assert len(uploads.acknowledged) + len(uploads.refused) == THREADS * TURNS
