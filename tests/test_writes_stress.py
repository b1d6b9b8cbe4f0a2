"""Parallel writers against an oracle: every acknowledged write is there once, nothing half-done is."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

import onewriter
from onewriter import Config, Database, IntegrityError, Transaction, WriteTimeout
from tests.support.databases import open_items
from tests.support.steps import calls

THREADS = 12
TURNS = 120
INSERT = "INSERT INTO item (name) VALUES (?)"


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
        write = self.db.write
        ways: list[Callable[[str], object]] = [
            self._rows,
            self._rows,
            self._statement,
            lambda name: write(partial(_whole, name)),
            lambda name: write(partial(_whole, name), alone=True),
            lambda name: write(partial(_whole, name), timeout_s=0.0005),
            self._interactive,
            lambda name: write(partial(_half, name)),
            lambda name: write(partial(_swallows, name)),
        ]
        ways[how](name)

    def _rows(self, name: str) -> None:
        self.db.execute_many(INSERT, [(name,), (f"{name}/2",)])

    def _statement(self, name: str) -> None:
        self.db.execute("INSERT INTO item (name) VALUES (?), (?)", (name, f"{name}/2"))

    def _interactive(self, name: str) -> None:
        with self.db.transaction() as tx:
            _whole(name, tx)


def _whole(name: str, tx: Transaction) -> None:
    tx.execute(INSERT, (name,))
    tx.execute(INSERT, (f"{name}/2",))


def _half(name: str, tx: Transaction) -> None:
    tx.execute(INSERT, (name,))
    raise Undone


def _swallows(name: str, tx: Transaction) -> None:
    tx.execute(INSERT, (name,))
    with suppress(IntegrityError):
        tx.execute("INSERT OR ROLLBACK INTO item (id, name) VALUES (1, ?)", (f"{name}/2",))


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
