"""The pool of readers in every order of its steps that can differ, small; in orders drawn from a seed, larger."""

from __future__ import annotations

import random
from typing import Any

import pytest

from onewriter.blocks import Block
from onewriter.loans import Loan
from onewriter.reader import Reader
from onewriter.readers import Readers
from tests.explorer.lending import LendingCase, draw, search
from tests.explorer.search import Broken

KINDS = ("query", "query", "twice", "timed", "block", "block", "watch", "nested")


@pytest.mark.parametrize(
    "case",
    [
        LendingCase(("query", "query")),
        LendingCase(("query", "timed")),
        LendingCase(("block", "query")),
        LendingCase(("block", "timed")),
        LendingCase(("twice", "query")),
        LendingCase(("query", "close")),
        LendingCase(("timed", "close")),
        LendingCase(("block", "close")),
        LendingCase(("close", "close")),
        LendingCase(("block", "watch")),
        LendingCase(("block", "watch"), strikes=1, looks=True),
        LendingCase(("nested", "query"), readers_max=2),
        LendingCase(("query",), strikes=3),
        LendingCase(("block",), strikes=2),
    ],
    ids=str,
)
def test_two_threads(case: LendingCase) -> None:
    """Nobody shares a connection, is forgotten or overtaken, whatever the order."""
    assert search(case) > 0


@pytest.mark.parametrize(
    "case",
    [
        LendingCase(("query", "query"), strikes=1, looks=True),
        LendingCase(("block", "query"), strikes=1, looks=True),
        LendingCase(("block", "watch"), strikes=2, looks=True),
        LendingCase(("block", "query", "watch")),  # a block that is ended from outside
        LendingCase(("block", "close", "watch")),
    ],
    ids=str,
)
def test_long_cases(case: LendingCase, seed: int, search_all: bool) -> None:
    """In every order with --search-all, for half a minute each, and in some drawn from a seed else."""
    if search_all:
        assert search(case) > 0
    else:
        draw(case, seed, 4_000)


@pytest.mark.parametrize("strikes", [0, 1, 2], ids=["quiet", "struck", "struck-twice"])
def test_five_threads(seed: int, strikes: int) -> None:
    """Of all kinds, with one reader to three, and a close now and then."""
    drawn = random.Random(seed)
    for _ in range(150):
        kinds = tuple(drawn.choices(KINDS, k=5)) + (("close",) if drawn.random() < 0.3 else ())
        if strikes and kinds[0] == "watch":
            kinds = ("block", *kinds[1:])  # the first is struck, and no signal reaches the watch
        readers_max = drawn.choice((1, 1, 2, 3))
        if 1 < readers_max <= kinds.count("nested"):
            continue  # each would wait for the other's second reader, up to its deadline
        case = LendingCase(kinds, readers_max, strikes=strikes, looks=strikes > 0)
        draw(case, drawn.randrange(2**32), 10)


# --- the test of the test


def _plant_serves_nobody(patch: pytest.MonkeyPatch) -> None:
    """Who gives back does not look at who waits."""

    def look_around(_self: Readers, _reader: Reader) -> None:
        """Do nothing."""

    patch.setattr(Readers, "look_around", look_around)


def _plant_watches_late(patch: pytest.MonkeyPatch) -> None:
    """A waiter looks for a free reader before others know that they are watched (R4)."""
    ask = Readers._ask

    def ask_first(self: Readers, loan: Loan) -> Any:  # noqa: ANN401 - as `_ask`
        if not any(self.holders.setdefault(reader, loan) is loan for reader in self._readers):
            with self._lock:
                waiter = _waiter_of(self, loan)
            self.watched = True
            return None, waiter
        self.end(loan)
        return ask(self, loan)

    patch.setattr(Readers, "_ask", ask_first)


def _waiter_of(pool: Readers, loan: Loan) -> object:
    from onewriter import loans  # noqa: PLC0415 - the class that is watched, at this moment

    waiter = loans.Waiter(loan)
    pool._waiting[waiter] = None
    return waiter


def _plant_takes_what_is_lent(patch: pytest.MonkeyPatch) -> None:
    """A reader is handed over by a look and then a store, which can be divided."""

    def serve(self: Readers) -> None:
        for reader in self._readers:
            if self._waiting and self.holders.get(reader) is None:
                waiter = next(iter(self._waiting))
                self.holders[reader] = waiter.loan
                waiter.reader = reader
                waiter.wake.release()
                del self._waiting[waiter]
        self.watched = self._closed or bool(self._waiting)

    patch.setattr(Readers, "_serve", serve)


def _plant_leaves_without_a_word(patch: pytest.MonkeyPatch) -> None:
    """Who gives a block's reader back does not claim the block first (R10)."""

    def claim(_self: Block, _why: str) -> bool:
        return True

    patch.setattr(Block, "claim", claim)


def _plant_rescues_nobody(patch: pytest.MonkeyPatch) -> None:
    """A second interrupt, while the first is cleaned up, is let pass (R8)."""

    def rescue(_self: Readers, _loan: Loan) -> None:
        """Do nothing."""

    patch.setattr(Readers, "rescue", rescue)


def _plant_ends_outside_the_gate(patch: pytest.MonkeyPatch) -> None:
    """The watch ends a block without its gate, under a running call."""

    def expire(self: Block) -> bool:
        if not self.over:
            self.end_now()
        return True

    patch.setattr(Block, "expire", expire)


@pytest.mark.parametrize(
    "plant, case",
    [
        (_plant_serves_nobody, LendingCase(("query", "query"))),
        (_plant_watches_late, LendingCase(("query", "query"))),
        (_plant_takes_what_is_lent, LendingCase(("twice", "query", "query"))),
        (_plant_leaves_without_a_word, LendingCase(("block", "watch"))),
        (_plant_rescues_nobody, LendingCase(("query",), strikes=3)),
        (_plant_rescues_nobody, LendingCase(("block",), strikes=2)),
        (_plant_ends_outside_the_gate, LendingCase(("block", "watch"))),
    ],
)
def test_a_planted_fault_is_found(plant: Any, case: LendingCase, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    """With the schedule that shows it."""
    plant(monkeypatch)
    with pytest.raises(Broken, match="repeat with"):
        search(case)
