"""Small cases in every order that matters (`search`, D1).

scripts/test --quick tests/explorer --search-all    searches the long ones too, which are drawn from else: minutes
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest

from tests.explorer import judge
from tests.explorer.cases import Case, CaseRun, draw, replay, search
from tests.explorer.search import Broken

pytestmark = pytest.mark.usefixtures("patch")

DRAWN = 4_000
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
    "timed_turn",
    "close",
    "timed_close",
)
THREES = (
    ("write", "write", "write"),
    ("execute", "execute", "execute"),
    ("write", "execute", "execute"),
    ("write", "write", "loses"),
    ("write", "execute", "loses"),
    ("write", "execute", "fails"),
    ("write", "execute", "poison"),
    ("write", "bad", "execute"),
    ("execute", "alone", "turn"),
    ("write", "execute", "close"),
    ("execute", "turn", "timed_close"),
    ("write", "execute", "stranger"),
    ("timed", "execute", "stranger"),
    ("write", "timed_execute", "stranger"),
)
LIMITED = (
    Case(("write", "timed"), pending_max=1),
    Case(("write", "execute", "write"), pending_max=1),
    Case(("write", "write", "loses"), pending_max=1),
    Case(("write", "execute", "timed"), pending_max=1, batch_max=1),
    Case(("write", "execute", "execute"), lead_s=0.0),
    Case(("write", "execute", "execute"), main=0),
    Case(("write", "execute", "execute"), batch_max=2),
)
SUBMITTED = (
    Case(("submit",)),
    Case(("cancelled",)),
    Case(("submit", "execute")),
    Case(("submit", "close")),
    Case(("hooked",)),
    Case(("asked",)),
    Case(("dropped",)),
    Case(("asked", "execute")),
    Case(("asked", "close")),
    Case(("stated",)),
    Case(("left",)),
    Case(("stated", "execute")),
)
STRUCK = (
    *(Case((kind,), main=0, strike=True) for kind in ("write", "execute", "alone", "turn", "loses")),
    *(Case(("execute", other), main=0, strike=True) for other in ("write", "execute")),
    Case(("turn", "execute"), main=0, strike=True),
)
# Half a minute each: searched where that is asked for, and drawn from a seed else.
LONG = (
    *(
        Case((kind, other), main=0, strike=True)
        for kind in ("write", "fails", "timed")
        for other in ("write", "execute")
    ),
    Case(
        ("submit", "timed_close")
    ),  # at once after the first one: the background thread may not have started
)


@pytest.mark.parametrize("kinds", tuple(combinations_with_replacement(KINDS, 2)), ids="+".join)
def test_two_requests(kinds: tuple[str, ...]) -> None:
    """All pairs, with a point before every single access."""
    search(Case(kinds, fine=True))


@pytest.mark.parametrize("kinds", THREES, ids="+".join)
def test_three_requests(kinds: tuple[str, ...]) -> None:
    """Three, with points at locks and at the connection."""
    search(Case(kinds))


@pytest.mark.parametrize("case", LIMITED, ids=str)
def test_limits(case: Case) -> None:
    """A line with room for one, so that others wait outside; batches of few; a leader who does not serve."""
    search(case)


@pytest.mark.parametrize("case", SUBMITTED, ids=str)
def test_what_is_submitted(case: Case) -> None:
    """The background thread among others, and a future that is cancelled at any moment."""
    search(case)


def test_callbacks_after_the_commit(seed: int) -> None:
    """Also one that waits for another write, which is told then before its own are called; too many for a search."""
    for kinds in (("hooked", "execute"), ("hooked", "close"), ("waiting",), ("waiting", "execute")):
        draw(Case(kinds), seed, 150)


def test_tasks_wait_outside_of_a_full_line(seed: int) -> None:
    """They have no thread to wait with, and come in like those that have; too many orders for a search."""
    draw(Case(("dropped", "execute"), fine=True), seed, 300)
    for kinds in (
        ("write", "asked", "asked"),
        ("write", "dropped", "asked"),
        ("write", "timed_asked", "asked"),
    ):
        draw(Case(kinds, pending_max=1), seed, 300)


@pytest.mark.parametrize(
    "kinds",
    [
        ("execute", "execute", "execute", "execute"),
        ("execute", "execute", "timed_execute", "execute"),
        ("execute", "execute", "bad", "execute"),
        ("execute", "execute", "execute", "alone"),
        ("stated", "stated", "stated", "stated"),
        ("stated", "stated", "left", "stated"),
        ("stated", "timed_stated", "timed_stated", "stated"),
        ("stated", "stated", "bad_stated", "stated"),
        ("stated", "asked", "stated", "stated"),
        ("stated", "execute", "stated", "execute"),
        ("stated", "stated", "stated", "close"),
        ("stated", "stated", "stated", "stranger"),
    ],
    ids="+".join,
)
def test_a_streak_of_statements(kinds: tuple[str, ...], seed: int) -> None:
    """Taken one after another while those behind may leave, and others come; too many orders for a search."""
    for case in (Case(kinds), Case(kinds, batch_max=3), Case(kinds, pending_max=2)):
        draw(case, seed, 60)


def test_struck_in_a_full_line() -> None:
    """What the interrupt left in line does not keep out those who wait outside; too many orders for a search."""
    draw(Case(("write", "write", "write"), pending_max=1, main=1, strike=True), 3, 1_000)


@pytest.mark.parametrize("case", STRUCK, ids=str)
def test_the_main_thread_is_struck(case: Case) -> None:
    """Once, at any point, inside the line's lock and right after an acquire too."""
    search(case)


@pytest.mark.parametrize("case", LONG, ids=str)
def test_long_cases(case: Case, seed: int, search_all: bool) -> None:
    """In every order with --search-all, and in some else."""
    if search_all:
        search(case)
    else:
        draw(case, seed, DRAWN)


def test_no_outcome_is_missed(patch: pytest.MonkeyPatch) -> None:
    """The test of the reduction: whatever random orders come to, the orders of the search have come to as well."""
    case = Case(("write", "execute", "bad"), lead_s=0.0)
    met: set[object] = set()

    def look(run: CaseRun) -> list[str]:
        outcomes = tuple(each.outcome for each in run.asked)
        met.add(
            (outcomes, tuple(run.store.kept), tuple((number, each.name) for number, each in run.store.ran))
        )
        return []

    patch.setattr(judge, "faults", look)
    search(case)
    known = set(met)
    assert len(known) > 10
    draw(case, 7, 2_000)
    assert met == known


def test_a_report_repeats_itself(patch: pytest.MonkeyPatch) -> None:
    """What a report names breaks the same rule again."""
    case = Case(("write", "execute"))

    def refuse(run: CaseRun) -> list[str]:
        return ["x"] if run.store.kept[0] == 20 else []

    patch.setattr(judge, "faults", refuse)
    with pytest.raises(Broken) as found:
        search(case)
    with pytest.raises(Broken) as again:
        replay(case, found.value.schedule)
    assert (again.value.faults, again.value.schedule) == (["x"], found.value.schedule)
    assert "replay(Case(kinds=('write', 'execute')" in str(found.value)
