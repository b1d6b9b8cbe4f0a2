"""Tests of the suite of benches."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from bench.contenders import About

ENDLESS = "datasette's writing thread has no end but the program's"


def each_of(found: Iterable[About]) -> pytest.MarkDecorator:
    """Run a test with each of those contenders, as *about*."""
    leaves = pytest.mark.leaves_behind(reason=ENDLESS)
    return pytest.mark.parametrize(
        "about",
        [
            pytest.param(each, id=each.key, marks=[leaves] if each.key == "datasette" else [])
            for each in found
        ],
    )
