"""The judge of the set workload sees each of the four wrongs, and nothing where all is well."""

from __future__ import annotations

from pathlib import Path

import pytest

import onewriter
from onewriter import OutcomeUnknown
from tests.support.oracle import MIGRATION, WAYS, Fate, Ledger, judge, read_ledger, rows

TOLD = {"kept": Fate.ACKNOWLEDGED, "gone": Fate.REFUSED, "who knows": Fate.UNKNOWN, "cut": Fate.ASKED}
KEPT = [("kept", 1), ("kept", 2)]


@pytest.mark.parametrize(
    "found, complaint",
    [
        ([], "'kept' was acknowledged and is lost"),
        ([*KEPT, ("kept", 2)], "'kept' half 2 is there 2 times"),
        ([*KEPT, ("gone", 1), ("gone", 2)], "'gone' was refused and is there"),
        ([*KEPT, ("who knows", 1)], "'who knows' is half-done"),
        ([*KEPT, ("nobody", 1), ("nobody", 2)], "'nobody' is there, and nobody asked for it"),
    ],
)
def test_each_wrong_is_seen(found: list[tuple[str, int]], complaint: str) -> None:
    """By name."""
    verdict = judge(TOLD, found)
    assert verdict.complaints == [complaint]
    with pytest.raises(AssertionError, match=r"\(1 in all\)"):
        verdict.check()


@pytest.mark.parametrize("name", ["who knows", "cut"])
def test_what_nobody_was_told_of_may_be_there_or_not(name: str) -> None:
    """Both, whole."""
    absent, present = judge(TOLD, KEPT), judge(TOLD, [*KEPT, (name, 1), (name, 2)])
    absent.check()
    present.check()
    assert (absent.survived, present.survived) == (0, 1)
    assert (present.acknowledged, present.refused, present.unknown, present.asked) == (1, 1, 1, 1)


def test_what_does_not_survive_may_be_lost() -> None:
    """But is not half-done."""
    judge(TOLD, [], survives=False).check()
    assert judge(TOLD, KEPT[:1], survives=False).complaints == ["'kept' is half-done"]


def test_a_ledger_is_read_up_to_where_it_was_cut(tmp_path: Path) -> None:
    """The last word counts, and half a word does not."""
    ledger = Ledger(tmp_path / "ledger")
    with ledger.unit("kept"):
        pass
    with pytest.raises(OutcomeUnknown), ledger.unit("who knows"):
        raise OutcomeUnknown("its sync failed", ran="unknown")
    with pytest.raises(ZeroDivisionError), ledger.unit("gone"):
        raise ZeroDivisionError
    ledger.note("cut", Fate.ASKED)
    assert ledger.fates == TOLD
    ledger.close()
    with (tmp_path / "ledger").open("a") as file:
        file.write("+cu")
    assert read_ledger(tmp_path / "ledger") == TOLD


def test_every_way_writes_a_whole_unit(tmp_path: Path) -> None:
    """And the ledger says so."""
    ledger = Ledger()
    with onewriter.open(tmp_path / "a.db", migrations=(MIGRATION,)) as db:
        for number, way in enumerate(WAYS):
            with ledger.unit(f"unit {number}"):
                way(db, f"unit {number}")
        verdict = judge(ledger.fates, rows(db))
    verdict.check()
    assert verdict.acknowledged == len(WAYS)
