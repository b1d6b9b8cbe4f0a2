"""Interrupts that come while an earlier one is cleaned up, or at the end of a block: nobody else pays for it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import onewriter
from onewriter import Config, Database, presence
from onewriter.loans import Loan
from onewriter.readers import Readers
from tests.support.databases import SCHEMA, open_items
from tests.support.steps import Call, wait_until
from tests.support.strikes import Strike, Striker


def _block(db: Database) -> None:
    with db.read_transaction() as tx:
        tx.query("SELECT 1")


def _stream(db: Database) -> None:
    with db.stream("SELECT 1 UNION ALL SELECT 2") as rows:
        next(rows)


def _version(db: Database) -> None:
    db.schema_version()


def _wrong(db: Database) -> None:
    db.query("SELECT nothing")


@pytest.mark.parametrize("call", [_block, _stream, _wrong, _version])
@pytest.mark.parametrize("times", [1, 2])
def test_a_reader_comes_back_after_two_interrupts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[Database], object], times: int
) -> None:
    """The second strikes who cleans up after the first: another thread's read is served, and the file can be closed."""
    real, left = Readers.end, [0]

    def end(self: Readers, loan: Loan) -> None:
        if left[0]:
            left[0] -= 1
            raise Strike
        real(self, loan)

    monkeypatch.setattr(Readers, "end", end)
    with onewriter.open(tmp_path / "items.db", config=Config(readers_max=1, read_timeout_s=5)) as db:
        left[0] = times
        with pytest.raises((Strike, onewriter.ProgrammingError)):
            call(db)
        assert left[0] == 0
        with (
            db.read_transaction() as tx
        ):  # on the same thread, which is not told that it holds the reader itself
            assert tx.query("SELECT 1") == [(1,)]
        Call(lambda: db.query("SELECT 1")).result()
        wait_until(lambda: db.stats().readers_lent == 0, "the reader is back")
        assert db.query("SELECT 1") == [(1,)]


def test_an_interrupt_at_the_end_of_a_block_is_what_the_program_hears(tmp_path: Path) -> None:
    """The database is closed around it, and who waits for the turn is refused; not `NestedWrite`, nor a long wait."""
    striker = Striker(1, within=("HeldTransaction.__exit__",))

    def program() -> None:
        with open_items(tmp_path) as db, db.transaction() as tx:
            tx.execute("INSERT INTO item (name) VALUES ('undone')")

    raised = striker.run(program)
    assert isinstance(raised, Strike), repr(raised)
    assert "HeldTransaction.__exit__" in striker.place
    del raised
    gc.collect()
    wait_until(lambda: not presence.is_open(tmp_path / "items.db"), "closed")
    with open_items(tmp_path) as db:
        assert db.query("SELECT name FROM item") == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_interrupt_at_the_end_of_a_migration_is_what_the_program_hears(tmp_path: Path) -> None:
    """`open` closes what it has opened, though the migration's turn is not given up yet; and not `NestedWrite`."""
    number, places = 0, set[str]()
    while True:
        number += 1
        path = tmp_path / f"{number}.db"
        striker = Striker(number, within=("Turn.__exit__", "Turn.leave", "HeldTransaction.__exit__"))
        raised = striker.run(partial(onewriter.open, path, migrations=SCHEMA, durability="normal"))
        assert raised is None or isinstance(raised, Strike), (striker.place, repr(raised))
        if not striker.place:
            break
        places.add(striker.place)
        del raised
        gc.collect()
        wait_until(lambda path=path: not presence.is_open(path), "closed")  # type: ignore[misc]
    gc.collect()  # the one that was opened
    assert len(places) > 20


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_close_that_was_interrupted_is_ended_by_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody calls it again: the connections are closed with the object."""
    db = onewriter.open(tmp_path / "items.db", migrations=SCHEMA)
    db.query("SELECT 1")

    def strike(_self: Readers, _deadline: float) -> bool:
        raise Strike

    with monkeypatch.context() as patch:
        patch.setattr(Readers, "close", strike)
        with pytest.raises(Strike):
            db.close()
    del db
    gc.collect()
    wait_until(lambda: not presence.is_open(tmp_path / "items.db"), "closed")
