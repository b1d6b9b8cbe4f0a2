"""Interrupts that come while an earlier one is cleaned up, or at the end of a block: nobody else pays for it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import onewriter
from onewriter import Config, Database, drafts, files, presence
from onewriter.connection import Connection
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


@pytest.mark.usefixtures("small_heap")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_interrupt_at_the_end_of_a_migration_is_what_the_program_hears(tmp_path: Path, seed: int) -> None:
    """`open` closes what it has opened, though the migration's turn is not given up yet; and not `NestedWrite`.

    Every fourth bytecode, others each run.
    """
    number, places = seed % 4, set[str]()
    while True:
        number += 4
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
    assert len(places) > 5


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


def test_an_interrupt_is_heard_where_there_is_a_file_already(tmp_path: Path) -> None:
    """What says that it exists does not take the interrupt's place."""
    path = tmp_path / "items.db"
    path.touch()
    number, place = 0, "none"
    while place:
        number += 1
        striker = Striker(number)
        raised = striker.run(lambda: files.create(path, 0o600))
        place = striker.place
        assert isinstance(raised, Strike) is (place != ""), (place, repr(raised))


@pytest.mark.parametrize("call", [files.create, files.sync_file, files.sync_folder])
def test_a_file_may_be_made_and_synced_under_an_interrupt_anywhere(
    tmp_path: Path, call: Callable[..., object]
) -> None:
    """No descriptor of it stays open, not even for as long as somebody keeps the exception; its folder's may that long.

    That one locks nothing, and so its close drops no lock.
    """
    number, place = 0, "none"
    while place:
        number += 1
        path = tmp_path / f"{number}.db"
        arguments: tuple[object, ...] = (path, 0o600)
        if call is not files.create:
            path.touch()
            arguments = (path,) if call is files.sync_file else (tmp_path,)
        striker = Striker(number)
        raised = striker.run(lambda arguments=arguments: call(*arguments))  # type: ignore[misc]
        place = striker.place
        assert isinstance(raised, Strike) is (place != ""), (place, repr(raised))
        assert files.descriptors_of(path) == set(), place
        del raised
        assert files.descriptors_of(path) | files.descriptors_of(tmp_path) == set(), place
    assert number > 10


def _fill(target: Path) -> None:
    with drafts.unfinished(target, 0o600) as draft:
        draft.path.touch()


@pytest.mark.parametrize("times", [1, 2])
def test_an_unfinished_file_goes_though_interrupts_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Also where the second strikes who removes it after the first."""
    real, left = drafts._remove, [times]

    def remove(path: Path) -> None:
        if left[0]:
            left[0] -= 1
            raise Strike
        real(path)

    monkeypatch.setattr(drafts, "_remove", remove)
    with pytest.raises(Strike):
        _fill(tmp_path / "snapshot.db")
    assert left[0] == 0
    wait_until(lambda: not any(tmp_path.iterdir()), "the file removed")


def test_an_unfinished_file_may_be_interrupted_anywhere(tmp_path: Path) -> None:
    """Nothing of it is left, at whichever bytecode."""
    number, place = 0, "none"
    while place:
        number += 1
        striker = Striker(number)
        raised = striker.run(lambda: _fill(tmp_path / "snapshot.db"))
        del raised
        place = striker.place
        assert not list(tmp_path.iterdir()), place
    assert number > 50


@pytest.mark.parametrize("times", [1, 2])
def test_what_an_interrupt_of_open_left_is_closed_though_another_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The second strikes as the writing connection is closed: its place in the turn is given up all the same."""
    path, close, left = tmp_path / "items.db", Connection.close, [0]
    onewriter.open(path).close()

    def begin(*_: object) -> None:
        left[0] = times - 1
        raise Strike

    def strike(self: Connection) -> None:
        if left[0]:
            left[0] -= 1
            raise Strike
        close(self)

    with monkeypatch.context() as patch:
        patch.setattr(Readers, "__init__", begin)
        patch.setattr(Connection, "close", strike)
        with pytest.raises(Strike):
            onewriter.open(path)
    side = files.beside(path, files.TURN)
    wait_until(lambda: not files.descriptors_of(side), "the side file is closed")
