"""Requests of every kind that share commits: only the guilty fail, by an oracle."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from onewriter import SQL, Config, Database, IntegrityError, StatementTimeout, Transaction, TransactionEnded
from tests.support.databases import Held, names, open_items
from tests.support.steps import Call, outcome

NAMED = "INSERT INTO item (name) VALUES (?)"
_RUNAWAY = SQL("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0")
_INNOCENT = ("statement", "many", "function", "alone", "block", "slow read", "first only")
_GUILTY = (
    "or rollback",
    "unique",
    "deferred key",
    "pragma deferred key",
    "raises",
    "block raises",
    "rows raise",
    "alone rolls back",
    "swallows rollback",
    "swallows time-out",
    "second run raises",
)


class _Request:
    """One request of a kind, under a name that is in the file once if it succeeds."""

    def __init__(self, db: Database, kind: str, name: str) -> None:
        self.db, self.kind, self.name = db, kind, name
        self.runs = 0
        self.call: Call[object] = Call(self._ask, f"{name} {kind}")

    def _ask(self) -> object:
        name, db = self.name, self.db
        match self.kind:
            case "statement":
                return db.execute(NAMED, (name,))
            case "many":
                return db.execute_many(NAMED, [(name,)])
            case "or rollback":
                return db.execute("INSERT OR ROLLBACK INTO item (id, name) VALUES (1, ?)", (name,))
            case "unique":
                return db.execute("INSERT INTO item (id, name) VALUES (1, ?)", (name,))
            case "deferred key":
                return db.execute("INSERT INTO part (item, later) VALUES (1, 999)")
            case "block" | "block raises":
                with db.transaction() as tx:
                    self._work(tx)
                return None
            case _:
                return db.write(self._work, alone=self.kind.startswith("alone"))

    def _work(self, tx: Transaction) -> None:
        self.runs += 1
        tx.execute(NAMED, (self.name,))
        match self.kind:
            case "raises" | "block raises":
                raise LookupError(self.name)
            case "pragma deferred key":
                tx.execute("PRAGMA defer_foreign_keys = ON")
                tx.execute("INSERT INTO part (item) VALUES (999)")
            case "rows raise":
                tx.execute_many(NAMED, self._raising_rows())
            case "slow read":
                with suppress(StatementTimeout):
                    tx.query(_RUNAWAY)
            case "swallows time-out":
                with suppress(StatementTimeout):
                    tx.execute(SQL(f"INSERT INTO item (name) {_RUNAWAY}"))
            case _:
                self._may_roll_back(tx)

    def _may_roll_back(self, tx: Transaction) -> None:
        match self.kind:
            case "alone rolls back":
                self._roll_back(tx)
            case "swallows rollback":
                with suppress(IntegrityError):
                    self._roll_back(tx)
                with pytest.raises(TransactionEnded):
                    tx.execute(NAMED, (f"stray {self.name}",))
            case "first only" | "second run raises" if self.runs == 1:
                self._roll_back(tx)
            case "second run raises":
                raise LookupError(self.name)
            case _:
                pass

    def _raising_rows(self) -> Iterator[tuple[str]]:
        yield (f"row {self.name}",)
        raise LookupError(self.name)

    def _roll_back(self, tx: Transaction) -> None:
        tx.execute("INSERT OR ROLLBACK INTO item (id, name) VALUES (1, ?)", (self.name,))


def test_only_the_guilty_fail_whatever_shares_a_commit(tmp_path: Path, seed: int) -> None:
    """Requests of all kinds in random batches: each ends as if alone, in order, run no more often than it may."""
    drawn = random.Random(seed)
    for number in range(30):
        config = Config(
            batch_s=60.0,
            lead_s=drawn.choice((0.0, 60.0)),
            batch_max=drawn.choice((2, 3, 256)),
            statement_timeout_s=0.08,
        )
        with open_items(tmp_path / str(number), config) as db:
            held = Held(db)
            requests: list[_Request] = []
            for index in range(drawn.randint(2, 7)):
                requests.append(_Request(db, drawn.choice(_INNOCENT + _GUILTY), f"r{index}"))
                held.wait_for(index + 1)
            held.let_go()
            held.call.result()
            expected = ["held"]
            for request in requests:
                error = outcome(request.call)
                what = f"{request.kind}: {error!r} in {[each.kind for each in requests]}"
                if request.kind in _GUILTY:
                    assert error is not None, what
                elif (
                    request.kind != "first only" or request.runs == 2
                ):  # in the first place it is told at once
                    assert error is None, what
                assert request.runs <= (1 if request.kind.startswith(("alone", "block")) else 2), what
                if error is None:
                    expected.append(request.name)
            assert names(db) == expected, [each.kind for each in requests]
            assert db.query("SELECT * FROM part") == []
