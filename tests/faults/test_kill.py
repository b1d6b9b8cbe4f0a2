"""Processes are killed in the middle of everything; scripts/soak does it for as long as it is asked to.

scripts/test --quick tests/faults/test_kill.py --soak=60
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .killing import Counts, Killing

PROCESSES = 3


def test_what_was_acknowledged_outlives_those_who_are_killed(
    tmp_path: Path, pytestconfig: pytest.Config, seed: int
) -> None:
    """Round after round on one database."""
    soak_s: float | None = pytestconfig.getoption("--soak")
    assert soak_s is not None, "it has a default"
    until = time.monotonic() + soak_s
    counts = Counts()
    killing = Killing(tmp_path, seed, PROCESSES, counts)
    while time.monotonic() < until or counts.rounds < 2:
        killing.round()
    assert counts.killed.total() == PROCESSES * counts.rounds
    assert counts.acknowledged > counts.rounds
