"""Interrupts that come while an earlier one is cleaned up, or at the end of a block: nobody else pays for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import onewriter
from onewriter import Config, Database
from onewriter.loans import Loan
from onewriter.readers import Readers
from tests.support.steps import Call, wait_until
from tests.support.strikes import Strike


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
