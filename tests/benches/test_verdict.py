"""Slower or not: what is noise, and what is not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.verdict import LEAST, UNCLEAR, judge

RATIOS = st.lists(st.floats(0.2, 5.0), min_size=3, max_size=21)


def _rows(drawn: random.Random, middle: float, spread: float, rounds: int) -> list[float]:
    return [max(0.01, drawn.gauss(middle, spread)) for _ in range(rounds)]


@pytest.mark.parametrize("spread", [0.01, 0.05, 0.1, 0.2])
def test_no_change_is_no_change(spread: float) -> None:
    """Of a thousand loads that did not change hardly one is called slower, before it was measured again."""
    drawn = random.Random(1)
    slower = sum(
        judge("x", _rows(drawn, 1.0, spread, 7), _rows(drawn, 1.0, spread, 7)).is_slower for _ in range(1_000)
    )
    assert slower <= 10


@pytest.mark.parametrize("spread, middle", [(0.01, 0.9), (0.05, 0.8), (0.1, 0.6), (0.2, 0.35)])
def test_what_is_slower_is_found(spread: float, middle: float) -> None:
    """The more noise, the more of it there must be."""
    drawn = random.Random(2)
    found = sum(
        judge("x", _rows(drawn, middle, spread * middle, 7), _rows(drawn, 1.0, spread, 7)).is_slower
        for _ in range(300)
    )
    assert found >= 270


def test_no_noise_at_all_has_a_bound_all_the_same() -> None:
    """Five per cent."""
    assert judge("x", [0.951] * 3, [1.0] * 3).is_slower is False
    assert judge("x", [0.94] * 3, [1.0] * 3).is_slower is True
    assert judge("x", [1.0] * 3, [1.0] * 3).bound == LEAST


@given(RATIOS, st.floats(0.06, 0.5))
def test_a_run_that_tells_equals_apart_is_believed_less(ratios: list[float], off: float) -> None:
    """The bound grows by what the double is off."""
    even = [1.0] * len(ratios)
    moved = [1.0 - off] * len(ratios)
    assert judge("x", even, moved).bound == pytest.approx(off)
    assert judge("x", ratios, moved).bound >= judge("x", ratios, even).bound + off - LEAST - 1e-9


def test_both_rows_tell_of_the_noise() -> None:
    """A quiet one beside one that is not is no quiet run."""
    quiet, noisy = [1.0] * 7, [0.5, 0.7, 0.9, 1.0, 1.1, 1.4, 1.6]
    bound = judge("x", quiet, quiet).bound
    assert judge("x", noisy, noisy).bound > judge("x", noisy, quiet).bound > bound == LEAST
    assert judge("x", noisy, quiet).bound == pytest.approx(judge("x", quiet, noisy).bound)


def test_too_much_noise_is_no_good_news() -> None:
    """What it cannot tell it does not say."""
    noisy = [0.3, 0.5, 0.9, 1.0, 1.2, 2.0, 3.0]
    verdict = judge("x", noisy, noisy)
    assert verdict.bound >= UNCLEAR
    assert (verdict.is_unclear, verdict.is_slower, verdict.is_faster) == (True, False, False)
    assert "cannot tell (within this run's noise of" in verdict.sentence("y")


@given(RATIOS, RATIOS, st.floats(0.1, 1.0))
def test_a_slower_row_is_never_called_less_slow(ratios: list[float], control: list[float], by: float) -> None:
    """Whatever the noise."""
    verdict = judge("x", ratios, control)
    slower = judge("x", [each * by for each in ratios], control)
    assert slower.bound == pytest.approx(verdict.bound)
    assert slower.ratio <= verdict.ratio
    assert slower.is_slower or not verdict.is_slower
    assert not (verdict.is_slower and verdict.is_faster)


def test_it_is_said_in_words() -> None:
    """With the load, the ratio, and the noise."""
    assert judge("small-16-full", [0.7] * 5, [1.0] * 5).sentence("onewriter@abc") == (
        "small-16-full: 0.70 of onewriter@abc's rate, slower (beyond this run's noise of 5%)"
    )
    assert "no different (within this run's noise of 5%)" in judge("x", [1.0], [1.0]).sentence("y")
    assert "faster (beyond" in judge("x", [2.0], [1.0]).sentence("y")
