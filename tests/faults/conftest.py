"""How many faults are injected, as asked for and as done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest


@pytest.fixture
def faults(pytestconfig: pytest.Config) -> int | None:
    """How many calls of each kind are to fail in turn; None: every one."""
    drawn: int | None = pytestconfig.getoption("--faults")
    return drawn or None


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[Sequence[int]], None]:
    """Add to what the run tells in the end: a number of faults for each case."""

    def note(struck: Sequence[int]) -> None:
        record_property("faults", sum(struck))
        record_property("cases", len(struck))

    return note
