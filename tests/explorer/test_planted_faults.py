"""The test of the test: faults planted in the line are found, and within how many schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pytest

from onewriter import clock, futures
from onewriter import line as lines
from onewriter.background import Background
from onewriter.futures import WriteFuture
from onewriter.line import Line, Step
from onewriter.tickets import State, Ticket
from tests.explorer.cases import Case, draw, search
from tests.explorer.search import Broken

AnyLine = Line[Any]
AnyTicket = Ticket[Any]


def _tell_nobody(ticket: AnyTicket, state: State) -> None:
    ticket.state = state


def _plant_no_wake(patch: pytest.MonkeyPatch) -> None:
    """`advance` hands the role over and does not wake the new holder."""
    advance = AnyLine.advance

    def hand_over(self: AnyLine, *, is_open: bool, serves_until: float) -> AnyTicket | Step:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(lines, "tell", _tell_nobody)
            return advance(self, is_open=is_open, serves_until=serves_until)

    patch.setattr(Line, "advance", hand_over)


def _plant_leaves_what_was_taken(patch: pytest.MonkeyPatch) -> None:
    """`_look` lets a ticket leave though the holder has taken it."""

    def look(self: AnyLine, ticket: AnyTicket) -> State:
        with self._lock:
            if self.holder is ticket:
                return self._leads(ticket).state
            if clock.now() >= ticket.deadline and ticket.state is not State.DONE:
                self._take_out(ticket)
            return ticket.state

    patch.setattr(Line, "_look", look)


def _plant_wrong_order(patch: pytest.MonkeyPatch) -> None:
    """`put_back` puts the last one first."""
    put_back = AnyLine.put_back

    def turn_round(
        self: AnyLine, tickets: Iterable[AnyTicket], deadline: float, *, alone: bool = True
    ) -> None:
        put_back(self, reversed(list(tickets)), deadline, alone=alone)

    patch.setattr(Line, "put_back", turn_round)


def _plant_forgets_one(patch: pytest.MonkeyPatch) -> None:
    """`finish` does not tell the second of several."""
    finish = AnyLine.finish

    def forget(self: AnyLine, tickets: Iterable[AnyTicket]) -> None:
        told = list(tickets)
        finish(self, told[:1] + told[2:])

    patch.setattr(Line, "finish", forget)


def _plant_ignores_who_waits(patch: pytest.MonkeyPatch) -> None:
    """`release` gives the role up though somebody waits."""

    def release(self: AnyLine) -> bool:
        with self._lock:
            self.holder = None
            return True

    patch.setattr(Line, "release", release)


def _plant_takes_who_has_left(patch: pytest.MonkeyPatch) -> None:
    """`streak` does not look whether somebody has left since it looked who is there."""

    def streak(self: AnyLine, serves_until: float, most: int) -> Iterator[AnyTicket]:
        with self._lock:
            ahead = list(self._waiting)[:most]
        for ticket in ahead:
            with self._lock:
                ticket.state = State.TAKEN
                self._waiting.pop(ticket, None)
            yield ticket

    patch.setattr(Line, "streak", streak)


def _plant_two_holders(patch: pytest.MonkeyPatch) -> None:
    """`take` looks and acts in two steps."""

    def take(self: AnyLine, ticket: AnyTicket) -> bool:
        with self._lock:
            if self.holder is not None or self._closed:
                return False
        with self._lock:
            self.holder = ticket
            return True

    patch.setattr(Line, "take", take)


def _plant_newest_first(patch: pytest.MonkeyPatch) -> None:
    """`enter` puts a newcomer before those who wait."""
    enter = AnyLine.enter

    def push_in(self: AnyLine, ticket: AnyTicket) -> bool:
        leads = enter(self, ticket)
        with self._lock:
            if ticket in self._waiting:
                self._waiting.move_to_end(ticket, last=False)
        return leads

    patch.setattr(Line, "enter", push_in)


def _plant_told_too_early(patch: pytest.MonkeyPatch) -> None:
    """`joined` tells the outcome before the commit."""

    def joined(self: AnyLine, ticket: AnyTicket) -> None:
        self.finish((ticket,))

    patch.setattr(Line, "joined", joined)


def _plant_looks_before_it_decides(patch: pytest.MonkeyPatch) -> None:
    """`begin` of a future takes it that nobody cancels what has not been cancelled yet."""

    def begin(self: WriteFuture[Any]) -> bool:
        was_cancelled = self._kept("_fate") is not None
        return not was_cancelled and bool(self._first("_fate", "runs"))

    patch.setattr(WriteFuture, "begin", begin)


def _plant_looks_twice(patch: pytest.MonkeyPatch) -> None:
    """`cancel` looks whether there is a ticket, and then looks at it again: it may be forgotten in between."""

    def cancel(self: WriteFuture[Any]) -> bool:
        if self._first("_fate", futures._CANCELS) is not futures._CANCELS:
            return False
        self._tell(futures._CANCELLED)
        if self.ticket is not None:
            self._runner.withdraw(self.ticket)
        self.call_back()
        return True

    patch.setattr(WriteFuture, "cancel", cancel)


@pytest.mark.parametrize(
    "plant, kinds, within",
    [
        (_plant_no_wake, ("write", "write"), 100),
        (_plant_leaves_what_was_taken, ("write", "timed_execute"), 100),
        (_plant_wrong_order, ("write", "execute", "loses"), 1_000),
        (_plant_forgets_one, ("write", "execute", "execute"), 100),
        (_plant_ignores_who_waits, ("write", "write"), 100),
        (_plant_two_holders, ("write", "write"), 100),
        (_plant_newest_first, ("write", "write", "write"), 1_000),
        (_plant_told_too_early, ("write", "execute"), 100),
        (_plant_looks_before_it_decides, ("cancelled",), 1_000),
        (_plant_looks_twice, ("cancelled",), 100),
    ],
)
def test_a_planted_fault_is_found(
    patch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    kinds: tuple[str, ...],
    within: int,
) -> None:
    """By a case that is sound without it, within so many schedules."""
    search(Case(kinds))
    plant(patch)
    with pytest.raises(Broken) as found:
        search(Case(kinds))
    assert found.value.number <= within


def test_a_streak_that_takes_who_has_left_is_found(patch: pytest.MonkeyPatch, seed: int) -> None:
    """By a case of four, which are too many for a search."""
    case = Case(("execute", "execute", "timed_execute", "execute"))
    draw(case, seed, 300)
    _plant_takes_who_has_left(patch)
    with pytest.raises(Broken):
        draw(case, seed, 3_000)


def test_an_outcome_that_waits_for_its_own_callbacks_is_found(patch: pytest.MonkeyPatch, seed: int) -> None:
    """Whoever keeps an outcome back looks whether anybody waits before he has done so, and not after."""

    def tell(self: Background, ticket: AnyTicket) -> None:
        work, waits = ticket.work, self._waits
        if ticket.error is None and work.callbacks is not None and not work.future.done():
            self._untold[ticket] = work
            self.later(partial(self._finish, ticket, work))
            if waits:
                self._tell_untold()
        else:
            self._outcome(ticket, work)

    patch.setattr(Background, "_tell", tell)
    with pytest.raises(Broken, match="nobody can go on"):
        draw(Case(("waiting",)), seed, 3_000)
