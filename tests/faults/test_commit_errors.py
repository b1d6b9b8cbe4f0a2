"""A commit that fails is not told as made, nor one that was made as failed; and no error but the library's leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

import onewriter
from onewriter import DiskError, Error, Transaction
from tests.faults.scenario import BALLAST, CONFIG, MIGRATIONS
from tests.support.nth_call import NthCall, failing
from tests.support.oracle import WAYS, Ledger, judge, rows, whole
from tests.support.places import in_memory
from tests.support.sick_files import CODES, sick_files
from tests.support.sick_vfs import SickVFS


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Of a database that has not been made."""
    with in_memory(tmp_path / "disk") as folder:
        yield folder / "a.db"


def _does_nothing(_connection: apsw.Connection) -> None:
    pass


@pytest.mark.parametrize("guest", [False, True])
def test_a_commit_that_fails_with_its_cache_is_not_told_as_made(path: Path, guest: bool) -> None:
    """It cannot be rolled back by reading, so SQLite throws its cache away, which looks like a change of the data.

    That is looked at where the code of a user, such as `Config.on_connect`, may run inside the commit.
    """
    sick: list[str] = []

    def rule(what: str, kind: str) -> int:
        return CODES[what] if kind != "other" and what in sick else apsw.SQLITE_OK

    def work(tx: Transaction) -> None:
        whole("large", tx)
        tx.execute(BALLAST)
        sick.extend(("write", "read"))

    config = replace(CONFIG, on_connect=_does_nothing if guest else None)
    ledger = Ledger()
    with sick_files(rule), onewriter.open(path, config=config, migrations=MIGRATIONS) as db:
        with pytest.raises(Error), ledger.unit("large"):
            db.write(work)
        sick.clear()
        for way in WAYS:
            with ledger.unit(way.__name__):
                way(db, way.__name__)
        judge(ledger.fates, rows(db)).check()
        assert db.check() == []


def test_a_commit_is_told_as_made_when_the_log_cannot_be_looked_at(path: Path) -> None:
    """What comes after it, to keep the WAL short, is no failure of it."""
    fault = NthCall("os.stat", 1, lasts=True)
    ledger = Ledger()
    with onewriter.open(path, config=CONFIG, migrations=MIGRATIONS) as db:
        with failing("system", fault, CONFIG):
            for number in range(20):
                with ledger.unit(f"unit {number}"):
                    WAYS[number % len(WAYS)](db, f"unit {number}")
            assert fault.struck
        judge(ledger.fates, rows(db)).check()
        assert db.check() == []


def test_an_opening_that_fails_twice_is_told_by_the_first_error(path: Path) -> None:
    """A VFS in Python raises when it is asked for the file's size, and again when it is closed for that."""
    vfs = SickVFS("sick-twice")

    def rule(what: str, _kind: str) -> None:
        if what in ("size", "unlock"):
            raise apsw.IOError

    vfs.rule = rule
    with pytest.raises(DiskError, match="cannot open"):
        onewriter.open(path, config=replace(CONFIG, vfs=vfs.name))
    vfs.rule = None
    onewriter.open(path, config=replace(CONFIG, vfs=vfs.name)).close()
