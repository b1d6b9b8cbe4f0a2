"""The main thread is interrupted at every bytecode of the library while somebody observes: no change is lost.

For each place: a call of the main thread is struck there. Afterwards what was told is what is in the file, once: what
was committed before the interrupt too, and nothing of what was rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from onewriter import Changes, Database, IntegrityError, Observation, Transaction, TransactionEnded
from tests.support.hearing import Hearing, open_observed, replay
from tests.support.steps import Call, wait_until
from tests.support.strikes import Strike, StrikeError, Striker

INSERT = "INSERT INTO item (name) VALUES (?)"
BYTECODES_MAX = 20_000
STEP = 11  # of so many bytecodes one is struck, others each run


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database that a test observes; its commits are not synced, for there are many."""
    with open_observed(tmp_path) as opened:
        yield opened


def _nested(tx: Transaction) -> None:
    tx.execute(INSERT, ("a",))
    with suppress(LookupError), tx.savepoint():
        tx.execute(INSERT, ("undone",))
        raise LookupError
    with tx.savepoint():
        tx.execute("UPDATE item SET size = 5 WHERE name = 'a'")
        tx.execute(INSERT, ("b",))


def _goes_on(tx: Transaction) -> None:
    """Go on after whatever struck a statement: so what became of it is committed."""
    for name in ("a", "b", "c"):
        with suppress(Strike, StrikeError, IntegrityError):
            tx.execute("INSERT INTO item (name) VALUES (?), (?)", (name, f"{name}'"))
    with suppress(Strike, StrikeError):
        tx.execute("DELETE FROM item WHERE name = 'b'")


def _block(db: Database) -> None:
    with db.transaction() as tx:
        _nested(tx)


CALLS: dict[str, Callable[[Database], object]] = {
    "execute": lambda db: db.execute(INSERT, ("a",)),
    "execute_many": lambda db: db.execute_many(INSERT, [("a",), ("b",)]),
    "write": lambda db: db.write(_nested),
    "goes on": lambda db: db.write(_goes_on),
    "block": _block,
}


@pytest.mark.parametrize("error", [Strike, StrikeError])
@pytest.mark.parametrize("name", CALLS)
def test_a_write_that_is_observed_may_be_interrupted_anywhere(
    db: Database, seed: int, name: str, error: type[BaseException]
) -> None:
    """Whether it was committed or not is told as it is; where nobody can know what was done, that is told."""
    hearing = Hearing(db)
    there: set[int] = set()
    unsure, number = 0, seed % STEP
    while number < BYTECODES_MAX:
        number += STEP
        striker = Striker(number, error)
        raised = striker.run(lambda: CALLS[name](db))
        # SQLite asks whether to go on meanwhile, and takes what was raised for a no.
        assert raised is None or isinstance(raised, (error, TransactionEnded)), (striker.place, repr(raised))
        del raised
        told = hearing.rest()
        now = set(db.query("SELECT id FROM item", into=int))
        _judge(told, there, now, striker.place)
        unsure += any(each.unsure for each in told)
        db.execute("DELETE FROM item")
        there = replay(hearing.rest(), "item", now)
        assert there == set(), striker.place
        if not striker.place:
            break
    assert number > 100
    assert unsure < number / STEP / 2


def _judge(told: list[Changes], there: set[int], now: set[int], place: str) -> None:
    if any(each.unsure for each in told):
        return
    assert replay(told, "item", there) == now, place


def test_beginning_to_observe_may_be_interrupted_anywhere(db: Database, seed: int) -> None:
    """Nothing of it is left, or all: who observes after that hears everything, and writers go on."""
    number, kept = seed % STEP, list[Observation]()

    def begin_and_end(told: list[Changes]) -> None:
        kept.append(db.observe("item", told.append))
        kept[-1].close()

    while number < BYTECODES_MAX:
        number += STEP
        told: list[Changes] = []
        striker = Striker(number, where_handlers_run=True)
        raised = striker.run(partial(begin_and_end, told))
        assert raised is None or isinstance(raised, Strike), (striker.place, repr(raised))
        del raised
        Call(lambda: db.execute(INSERT, ("a",))).result()
        with db.observe("item", told.append):
            db.execute("DELETE FROM item")
            wait_until(partial(_has_rows, told), striker.place)
        if not striker.place:
            break
    assert number > 100
    for each in kept:
        each.close()  # again: the first may have been struck
    wait_until(lambda: not db._observers._joined and db._observers.is_quiet, "nobody is left")


def _has_rows(told: list[Changes]) -> bool:
    return any(each.tables for each in told)
