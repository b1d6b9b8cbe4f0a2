"""Power is lost at every write, sync and change of a name of a service's life; what the disk may have left is judged.

scripts/test --quick tests/faults/test_power_loss.py --power-loss=20    draws more states at each moment
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import pytest

from onewriter.config import Durability
from tests.support.oracle import Fate
from tests.support.places import in_memory

from .disk import Sync
from .losses import Losses
from .power import life
from .sick_syncs import SickSyncs

AGAIN: Final = 8  # moments whose recovery is recorded


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_power_is_lost_at_every_moment(
    tmp_path: Path, pytestconfig: pytest.Config, seed: int, durability: Durability
) -> None:
    """With ``full`` nothing acknowledged is lost, with ``normal`` nothing is half-done."""
    drawn: int | None = pytestconfig.getoption("--power-loss")
    assert drawn is not None, "it has a default"
    with life(tmp_path / "life", durability) as lived:
        lived.live()
    events = lived.recorder.events
    assert set(lived.ledger.fates.values()) == {Fate.ACKNOWLEDGED}
    assert sum(isinstance(event, Sync) for event in events) > 20
    with in_memory(tmp_path / "left") as place:
        losses = Losses(lived, place, seed)
        losses.sweep(range(len(events) + 1), drawn)
    losses.check()
    assert losses.different > 100


def test_power_is_lost_again_while_it_recovers(tmp_path: Path, seed: int) -> None:
    """From moments that are drawn, at every moment of the next opening and closing."""
    with life(tmp_path / "life", "full") as lived:
        lived.live()
    moments = sorted(Random(seed).sample(range(len(lived.recorder.events)), AGAIN))
    with in_memory(tmp_path / "left") as place:
        losses = Losses(lived, place / "state", seed)
        for moment in moments:
            losses.sweep((moment,), 0)
            losses.sweep_again(place / "recovers", 1)
    losses.check()
    assert losses.states > 50


@pytest.mark.parametrize("on", [False, True], ids=["once", "from then on"])
def test_a_sync_fails_and_power_is_lost(tmp_path: Path, seed: int, on: bool) -> None:
    """Each sync of a life in its turn, once and from then on; what was told to be unknown is either."""
    with in_memory(tmp_path / "place") as place:
        sick = SickSyncs(place, seed)
        tried = next(number for number in count() if not sick.one(number, on=on))
    assert tried > 20
    assert sick.failed >= tried
    assert bool(sick.unknown) == on  # one that fails once is followed by a commit that takes its place
