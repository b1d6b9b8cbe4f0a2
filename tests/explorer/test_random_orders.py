"""Large cases in orders drawn from a seed."""

from __future__ import annotations

import random

import pytest

from tests.explorer.cases import ASKED, SUBMITTED, Case, draw

pytestmark = pytest.mark.usefixtures("patch")

KINDS = (
    "write",
    "execute",
    "timed",
    "timed_execute",
    "fails",
    "bad",
    "loses",
    "poison",
    "alone",
    "turn",
    "submit",
    "cancelled",
    "timed_submit",
    "asked",
    "timed_asked",
    "dropped",
    "stated",
    "timed_stated",
    "left",
    "bad_stated",
)


@pytest.mark.parametrize("strike", [False, True], ids=["quiet", "struck"])
def test_eight_requests(seed: int, strike: bool) -> None:
    """Of all kinds, under limits drawn too."""
    drawn = random.Random(seed)
    for _ in range(100):
        kinds = tuple(drawn.choices(KINDS, k=8))
        blocking = [n for n, kind in enumerate(kinds) if kind not in SUBMITTED | ASKED]
        if strike and not blocking:
            continue
        case = Case(
            kinds,
            pending_max=drawn.choice((1, 2, 100)),
            batch_max=drawn.choice((1, 2, 100)),
            lead_s=drawn.choice((0.0, 1e6)),
            main=drawn.choice(blocking) if strike else -1,
            strike=strike,
        )
        draw(case, drawn.randrange(2**32), 10)
