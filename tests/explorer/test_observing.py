"""How changes come from who commits to who observes, in every order of the steps that have no lock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from onewriter import Changes
from onewriter.observer import Observer
from onewriter.observers import Observers
from tests.explorer import observing
from tests.explorer.observing import ObservingCase
from tests.explorer.search import Broken


@pytest.mark.parametrize("commits, orders", [(1, 10), (2, 500)])
def test_all_is_told(commits: int, orders: int) -> None:
    """Each commit once, in their order, by the nudges alone."""
    assert observing.search(ObservingCase(commits)) > orders


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_all_is_told_before_the_end(commits: int, seed: int) -> None:
    """Whoever ends it hears of the end of both threads, when all is told; too many orders for a search."""
    observing.draw(ObservingCase(commits, ends=True), seed, 300)


def test_all_of_many_is_told(seed: int) -> None:
    """Too many orders for a search."""
    observing.draw(ObservingCase(5), seed, 300)


# --- the test of the test


def _plant_takes_without_a_word(patch: pytest.MonkeyPatch) -> None:
    """Who takes what was told does not nudge the pump, which has gathered more meanwhile."""

    def take(self: Observer) -> Changes | None:
        return self._slot.popleft() if self._slot else None

    patch.setattr(Observer, "take", take)


def _plant_nudges_before_it_takes(patch: pytest.MonkeyPatch) -> None:
    """The pump may look in between, and finds the slot taken."""

    def take(self: Observer) -> Changes | None:
        if not self._slot:
            return None
        if self.pump is not None:
            self.pump.nudge()
        return self._slot.popleft()

    patch.setattr(Observer, "take", take)


def _plant_keeps_the_last_back(patch: pytest.MonkeyPatch) -> None:
    """The pump ends without what it has gathered while the slot was taken."""

    def finish(self: Observers) -> None:
        for each in self._joined:
            each.offer()
            each.over = True
            each.notify()

    patch.setattr(Observers, "_finish", finish)


@pytest.mark.parametrize("plant", [_plant_takes_without_a_word, _plant_nudges_before_it_takes])
def test_a_nudge_that_is_lost_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the schedule that shows it."""
    plant(monkeypatch)
    with pytest.raises(Broken, match="nobody can go on"):
        observing.search(ObservingCase(2))


def test_what_is_kept_back_at_the_end_is_found(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """By some order of those that are drawn."""
    _plant_keeps_the_last_back(monkeypatch)
    with pytest.raises(Broken, match=r"told \["):
        observing.draw(ObservingCase(3, ends=True), seed, 20_000)
