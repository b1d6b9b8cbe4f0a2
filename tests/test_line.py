"""The line by itself, with integers for work."""

from __future__ import annotations

import random
import threading

import pytest

from onewriter import clock
from onewriter.line import Closed, Line, Step, TimedOut
from onewriter.places import LATE_MAX
from onewriter.tickets import Seat, State, Ticket
from tests.support.steps import Call, calls, wait_until


def _ticket(work: int, *, portable: bool = False, alone: bool = False, wait_s: float = 20.0) -> Ticket[int]:
    return Ticket(work, wait_s, portable=portable, alone=alone)


def _waiting(line: Line[int], *tickets: Ticket[int]) -> None:
    for ticket in tickets:
        assert line.enter(ticket) is False


def test_the_first_to_come_takes_the_role() -> None:
    """An empty line gives the role at once, and only once."""
    line: Line[int] = Line(100)
    assert line.enter(_ticket(1)) is True
    assert line.enter(_ticket(2)) is False
    assert len(line) == 1


def test_statements_are_taken_in_the_order_of_their_coming() -> None:
    """The holder takes portable work from the head, and the role is free once nobody waits."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    _waiting(line, *(_ticket(n, portable=True) for n in (1, 2, 3)))
    taken: list[int] = []
    while isinstance(step := line.advance(is_open=False, serves_until=clock.NEVER), Ticket):
        taken.append(step.work)
        line.finish((step,))
    assert (taken, step) == ([1, 2, 3], Step.HANDED)
    assert line.enter(_ticket(4)) is True


def test_a_function_gets_the_role_on_its_own_thread() -> None:
    """The head that is not portable is woken as the new holder."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    mine = _ticket(1)
    _waiting(line, mine)
    call = Call(lambda: line.wait(mine) is State.LEADS)
    assert line.advance(is_open=True, serves_until=clock.NEVER) is Step.HANDED
    assert call.result() is True
    assert mine.state is State.LEADS


def test_nobody_joins_what_one_wants_alone() -> None:
    """An open batch is to be committed before a ticket that wants to be alone."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    _waiting(line, _ticket(1, portable=True, alone=True))
    assert line.advance(is_open=True, serves_until=clock.NEVER) is Step.COMMIT
    step = line.advance(is_open=False, serves_until=clock.NEVER)
    assert isinstance(step, Ticket)
    assert step.work == 1


def test_an_open_batch_with_nobody_waiting_is_committed() -> None:
    """The end of the line asks for the commit and keeps the role."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    assert line.advance(is_open=True, serves_until=clock.NEVER) is Step.COMMIT
    assert line.enter(_ticket(1)) is False


def test_a_waiter_whose_time_is_up_leaves() -> None:
    """A time-out takes the ticket out of the line; nobody will run it."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    late = _ticket(1, portable=True, wait_s=0.0)
    _waiting(line, late)
    with pytest.raises(TimedOut):
        line.wait(late)
    assert late.state is State.LEFT
    assert line.advance(is_open=False, serves_until=clock.NEVER) is Step.HANDED


def test_a_ticket_taken_before_its_time_is_up_cannot_leave() -> None:
    """Once taken, its owner waits for the outcome, however late."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    late = _ticket(1, portable=True, wait_s=0.0)
    _waiting(line, late)
    assert (
        line.advance(is_open=False, serves_until=clock.NEVER) is late
    )  # the holder was quicker than the time-out
    call = Call(lambda: line.wait(late) is State.LEADS)
    late.value = "done"
    line.finish((late,))
    assert call.result() is False
    assert late.value == "done"


def test_a_role_handed_over_before_the_time_is_up_is_taken() -> None:
    """A waiter that was made the holder a moment before its deadline holds it."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    late = _ticket(1, wait_s=0.0)
    _waiting(line, late)
    line.advance(is_open=False, serves_until=clock.NEVER)
    assert line.wait(late) is State.LEADS


def test_what_is_put_back_comes_first_and_alone() -> None:
    """Members of a lost batch keep their order, before all who wait, and share no more."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    members = [_ticket(n, portable=True) for n in (1, 2)]
    _waiting(line, *members, _ticket(3, portable=True))
    for _ in members:
        line.advance(is_open=True, serves_until=clock.NEVER)
    line.put_back(members, clock.NEVER)
    order: list[int] = []
    while isinstance(step := line.advance(is_open=False, serves_until=clock.NEVER), Ticket):
        order.append(step.work)
        assert step.alone is (step.work in (1, 2))
    assert order == [1, 2, 3]


def test_what_was_started_cannot_time_out() -> None:
    """A ticket that ran before waits for its second run, whatever its deadline."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    member = _ticket(1, portable=True, wait_s=0.0)
    _waiting(line, member)
    line.advance(is_open=True, serves_until=clock.NEVER)
    call = Call(lambda: line.wait(member) is State.LEADS)
    line.put_back((member,), clock.NEVER)
    assert line.advance(is_open=False, serves_until=0.0) is Step.HANDED  # to its own thread
    assert call.result() is True


def test_a_taken_ticket_can_be_given_the_role_after_all() -> None:
    """The holder that will not do another's work hands it the role."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    taken = _ticket(1, portable=True)
    _waiting(line, taken)
    assert line.advance(is_open=False, serves_until=clock.NEVER) is taken
    call = Call(lambda: line.wait(taken) is State.LEADS)
    line.give(taken)
    assert call.result() is True


def test_closing_lets_nobody_in_and_ends_when_empty() -> None:
    """The holder is told of the end once all who wait have been served."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    _waiting(line, _ticket(1, portable=True))
    assert line.close(_ticket(9)) is False
    with pytest.raises(Closed):
        line.enter(_ticket(2))
    assert isinstance(line.advance(is_open=False, serves_until=clock.NEVER), Ticket)
    assert line.advance(is_open=False, serves_until=clock.NEVER) is Step.END


def test_closing_an_idle_line_gives_the_role_for_good() -> None:
    """Only the first to close gets it."""
    line: Line[int] = Line(100)
    assert line.close(_ticket(9)) is True
    assert line.close(_ticket(9)) is False
    with pytest.raises(Closed):
        line.enter(_ticket(1))


def test_refusing_spares_what_was_started() -> None:
    """Who waits hears the error; who has run before waits for the second run."""
    line: Line[int] = Line(100)
    line.enter(_ticket(0))
    member, waiter = _ticket(1, portable=True), _ticket(2, portable=True)
    _waiting(line, member, waiter)
    line.advance(is_open=True, serves_until=clock.NEVER)
    line.put_back((member,), clock.NEVER)
    error = ValueError()
    line.refuse(lambda: error)
    assert line.wait(waiter) is State.DONE
    assert waiter.error is error
    assert line.advance(is_open=False, serves_until=clock.NEVER) is member


def test_every_ticket_has_one_outcome_and_the_role_one_holder(seed: int) -> None:
    """Threads that come and go in any order: each ticket is worked on once or timed out, never both."""
    line: Line[int] = Line(100)
    drawn = random.Random(seed)
    plans = [
        [(drawn.random() < 0.5, drawn.choice((0.0, 1e-5, 1e-4, 20.0))) for _ in range(150)] for _ in range(8)
    ]
    inside = threading.Lock()
    done: list[int] = []

    def work(ticket: Ticket[int]) -> None:
        done.append(ticket.work)
        line.finish((ticket,))

    def lead(ticket: Ticket[int]) -> None:
        assert inside.acquire(blocking=False), "two holders"
        work(ticket)
        while True:
            inside.release()
            step = line.advance(is_open=False, serves_until=clock.NEVER)
            if not isinstance(step, Ticket):
                return
            assert inside.acquire(blocking=False), "two holders"
            work(step)

    def caller(number: int) -> tuple[list[int], list[int]]:
        told: list[int] = []
        left: list[int] = []
        for index, (portable, wait_s) in enumerate(plans[number]):
            ticket = _ticket(number * 1_000 + index, portable=portable, wait_s=wait_s)
            try:
                leads = line.enter(ticket)
                while leads or line.wait(ticket) is State.LEADS:
                    leads = False
                    lead(ticket)
                told.append(ticket.work)
            except TimedOut:
                left.append(ticket.work)
        return told, left

    outcomes = [call.result() for call in calls(caller, 8)]
    told = [work for each, _ in outcomes for work in each]
    left = [work for _, each in outcomes for work in each]
    assert sorted(done) == sorted(told)
    assert len(told) + len(left) == 8 * 150
    assert not set(told) & set(left)
    wait_until(lambda: len(line) == 0, "an empty line")


def test_late_tickets_of_a_seat_are_taken_out_some_at_a_time() -> None:
    """Others come to the lock in between; the seat is told to ask again at once, and for the next deadline then."""
    line: Line[int] = Line(LATE_MAX)
    line.enter(_ticket(0))
    seat: Seat[int] = Seat()
    late = [_ticket(number, wait_s=0.0) for number in range(2 * LATE_MAX)]
    soon = _ticket(-1, wait_s=20.0)
    for ticket in (*late, soon):
        ticket.seat, ticket.wake, ticket.patient = seat, seat.wake, True  # half of them outside
        assert line.enter(ticket) is False
    for half in (late[:LATE_MAX], late[LATE_MAX:]):
        assert seat.earliest <= clock.now()
        assert line.expire(seat) == half
        assert {ticket.state for ticket in half} == {State.LEFT}
    assert seat.earliest == soon.deadline
    assert line.expire(seat) == []
    assert len(line.tickets()) == 2
