"""Each call of the file system fails in turn, once or from then on: `scenario` has what holds all the same.

A run of the suite draws some calls of each kind; ``--faults=0`` has every one of them fail.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from onewriter import CorruptDatabase
from onewriter import translate as translating
from onewriter.batch import Batch
from onewriter.connection import Connection
from onewriter.requests import Request
from onewriter.tickets import Ticket
from tests.faults.scenario import CONFIG, Scenario
from tests.support.nth_call import ROADS, NthCall, codes, failing
from tests.support.places import in_memory
from tests.support.steps import Call


@dataclass(frozen=True)
class Kind:
    """One kind of fault; a case is one of this kind at the n-th call."""

    road: str
    what: str
    code: int
    lasts: bool

    def __str__(self) -> str:
        """Name it."""
        full = "-full" if self.code == apsw.SQLITE_FULL else ""
        return f"{self.road}-{self.what}{full}-{'lasts' if self.lasts else 'once'}"

    def run(self, folder: Path, nth: int) -> NthCall:
        """Run the scenario in *folder* with the *nth* call failing; what is found there, or hangs, names the case."""
        fault = NthCall(self.what, nth, self.code, lasts=self.lasts)
        try:
            with failing(self.road, fault, CONFIG) as config:
                scenario = Scenario(folder / "data", fault, config, crashes=folder / "crashes")
                Call(scenario.run, "the scenario").result()
        except Exception as error:
            raise AssertionError(f"{self}, call {nth}: {error}") from error
        return fault


KINDS = [
    Kind(road, what, code, lasts)
    for road, kinds in ROADS.items()
    for what in kinds
    for code in codes(road, what)
    for lasts in (False, True)
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a sync costs nothing: nobody cuts the power here."""
    with in_memory(tmp_path / "disk") as place:
        yield place


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], int]:
    """How many calls of a kind the scenario makes where nothing fails."""
    with in_memory(tmp_path_factory.mktemp("asked") / "disk") as place:
        counts = {road: Kind(road, "", 0, False).run(place / road, 0).asked for road in ROADS}
    return lambda kind: counts[kind.road][kind.what]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_call_fails(
    kind: Kind,
    folder: Path,
    asked: Callable[[Kind], int],
    *,
    seed: int,
    faults: int | None,
    note: Callable[[Sequence[int]], None],
) -> None:
    """Nothing acknowledged is lost, only who touched it hears of it, and all goes on."""
    later = range(2, asked(kind) + 1)
    drawn = random.Random(f"{seed}{kind}").sample(
        later, min(faults - 1, len(later)) if faults else len(later)
    )
    struck = [kind.run(folder / str(nth), nth).struck for nth in (1, *drawn)]
    assert struck[0], "the scenario has no such call"  # of the last ones the library's threads may make less
    note(struck)


# --- faults that are planted in the library


def _by_name(name: str) -> Kind:
    return next(kind for kind in KINDS if str(kind) == name)


def _commits_anyhow(batch: Batch, members: list[Ticket[Request]], _error: Exception) -> None:
    batch._connection.rollback()
    batch._line.finish(members)
    batch.members = []


def _fails_all(batch: Batch, members: list[Ticket[Request]], error: Exception) -> None:
    batch._connection.rollback()
    for member in members:
        member.error = error
    batch._line.finish(members)
    batch.members = []


def _keeps_all(_batch: Batch, _error: Exception) -> bool:
    return False


def _takes_any_change(connection: Connection) -> None:
    if connection._has_guests and connection._apsw.get_autocommit():
        connection._commits.append(None)


@pytest.mark.parametrize(
    "kind, place, name, planted, complaint",
    [
        ("files-write-once", Batch, "_commit_failed", _commits_anyhow, "was acknowledged and is lost"),
        ("files-write-once", Batch, "_commit_failed", _fails_all, "one fault, and"),
        ("files-sync-lasts", Batch, "_may_be_durable", _keeps_all, "was refused and is there"),
        ("vfs-write-once", Connection, "_look_closer", _takes_any_change, "was acknowledged and is lost"),
    ],
)
def test_a_planted_fault_is_found(
    kind: str,
    place: type,
    name: str,
    planted: Callable[..., object],
    complaint: str,
    *,
    folder: Path,
    asked: Callable[[Kind], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By name: a failed commit that is told as made, or to all who shared it, or as undone where it may be there."""
    monkeypatch.setattr(place, name, planted)
    chosen = _by_name(kind)
    for nth in range(1, asked(chosen) + 1, max(1, asked(chosen) // 100)):
        try:
            chosen.run(folder / str(nth), nth)
        except AssertionError as error:
            if complaint in str(error):
                return
    raise AssertionError(f"nobody complains that a unit {complaint}")


def test_a_wrong_error_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk error that is told as another."""
    monkeypatch.setitem(translating._CLASSES, apsw.IOError, CorruptDatabase)
    with pytest.raises(AssertionError, match="CorruptDatabase"):
        _by_name("files-read-lasts").run(folder, 100)
