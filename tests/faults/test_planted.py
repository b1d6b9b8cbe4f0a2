"""The test of the tests: faults that are planted in the library are caught."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onewriter import files, snapshots
from onewriter.batch import Batch
from onewriter.connection import Connection
from onewriter.requests import Request
from onewriter.snapshots import Progress
from onewriter.tickets import Ticket
from tests.support.places import in_memory

from .losses import Losses
from .power import life


def _leave_it(_path: Path) -> None:
    """Sync nothing."""


def _first_complaint(tmp_path: Path, seed: int) -> str:
    """Live with the planted fault, lose power at every moment, and return what was found first."""
    with life(tmp_path / "life", "full") as lived:
        lived.live()
    with in_memory(tmp_path / "left") as place:
        return Losses(lived, place, seed).first(drawn=1) or "nothing was found"


def test_an_acknowledgement_before_the_commit_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Power is lost between the two."""
    commit: Callable[[Batch], None] = Batch.commit

    def tell_first(batch: Batch) -> None:
        batch._line.finish(batch.members)
        time.sleep(0.01)  # they hear of it
        commit(batch)

    monkeypatch.setattr(Batch, "commit", tell_first)
    assert "acknowledged and is lost" in _first_complaint(tmp_path, seed)


def test_a_missing_second_run_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The members of a batch that was rolled back are told that all is well."""

    def tell(batch: Batch, members: list[Ticket[Request]], *, alone: bool = True) -> None:
        batch._line.finish(members)

    monkeypatch.setattr(Batch, "_again", tell)
    assert "acknowledged and is lost" in _first_complaint(tmp_path, seed)


def test_a_snapshot_that_has_its_name_before_it_is_synced_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Power is lost after the one and before the other; SQLite, which syncs it too, is told not to."""
    fill = snapshots._fill

    def fill_only(connection: Connection, made: Path, progress: Progress | None) -> None:
        connection.run_unguarded("PRAGMA synchronous = OFF")
        fill(connection, made, progress)

    monkeypatch.setattr(snapshots, "_fill", fill_only)
    monkeypatch.setattr(files, "sync_file", _leave_it)
    assert "copy.db" in _first_complaint(tmp_path, seed)


def test_a_folder_that_is_not_synced_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """A file that was made, and told of, has lost its name."""
    monkeypatch.setattr(files, "sync_folder", _leave_it)
    assert "is lost" in _first_complaint(tmp_path, seed)
