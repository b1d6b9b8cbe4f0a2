"""The histogram, held against the plain list of what it was told."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onewriter.stress.waits import Waits

lengths = st.lists(st.floats(1e-6, 100), min_size=1, max_size=50)


@given(lengths, lengths)
def test_percentiles_are_those_of_the_list(one: list[float], other: list[float]) -> None:
    """Two threads' histograms merged give the list's percentiles, to three digits, and its worst to a microsecond."""
    waits = _waits(one)
    waits.merge(_waits(other))
    ordered = sorted(one + other)
    assert waits.count == len(ordered)
    assert waits.worst_s == pytest.approx(ordered[-1], abs=1e-6)
    for percentile in (50, 99):
        place = max(1, math.floor(len(ordered) * percentile / 100 + 0.5)) - 1
        assert waits.at(percentile) == pytest.approx(ordered[place], rel=2e-3, abs=1.1e-6)


@given(lengths)
def test_the_curve_rises_to_the_worst(one: list[float]) -> None:
    """From one call in one to one in all, never downwards."""
    curve = _waits(one).curve()
    assert curve == sorted(curve)
    assert [seconds for _, seconds in curve] == sorted(seconds for _, seconds in curve)
    assert curve[-1] == (len(one), _waits(one).worst_s)


@given(st.lists(st.floats(1e-6, 100), max_size=50))
def test_they_come_through_a_pipe_whole(one: list[float]) -> None:
    """Sent by another process they are the same, and may be merged."""
    waits, other = _waits(one), Waits()
    other.merge(pickle.loads(pickle.dumps(waits)))
    assert (other.count, other.worst_s, other.curve()) == (waits.count, waits.worst_s, waits.curve())


def test_none_at_all() -> None:
    """A way whose first write failed everywhere has no waits, and is shown all the same."""
    assert (Waits().at(50), Waits().worst_s, Waits().curve()) == (0, 0, [])


def test_longer_than_an_hour() -> None:
    """Such a wait counts as an hour."""
    assert _waits([7200.0]).worst_s == 3600


def _waits(lengths_s: list[float]) -> Waits:
    waits = Waits()
    for each in lengths_s:
        waits.record(each)
    return waits
