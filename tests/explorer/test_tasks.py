"""What stands between tasks and threads, in every order of its steps: the crew that reads for them, and the mailbox."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from onewriter import clock
from onewriter.aio.crew import Crew, Job
from onewriter.aio.mailbox import Mailbox
from onewriter.locks import holding
from tests.explorer import crews, mailboxes
from tests.explorer.crews import CrewCase
from tests.explorer.mailboxes import MailboxCase
from tests.explorer.search import Broken

KINDS = ("job", "job", "left", "gone")


@pytest.mark.parametrize(
    "case",
    [
        CrewCase(("left",)),
        CrewCase(("gone",)),
        CrewCase(("job", "job")),
        CrewCase(("job", "stop")),
        CrewCase(("left", "stop")),
        CrewCase(("stop", "stop")),
    ],
    ids=str,
)
def test_the_crew(case: CrewCase) -> None:
    """Each job is done once or was withdrawn, and who ends the crew does not wait in vain."""
    assert crews.search(case) > 1


def test_a_larger_crew(seed: int) -> None:
    """Jobs of all kinds, for one thread or more of them; too many orders for a search."""
    drawn = random.Random(seed)
    for _ in range(60):
        kinds = (*drawn.choices(KINDS, k=4), *(("stop",) if drawn.random() < 0.5 else ()))
        crews.draw(CrewCase(kinds, drawn.choice((1, 2, 3))), drawn.randrange(2**32), 10)


@pytest.mark.parametrize(
    "case",
    [
        MailboxCase((1,), times=2),
        MailboxCase((1, 1)),
        MailboxCase((1, 1), at_once=1),
        MailboxCase((2, 1), at_once=1),
    ],
    ids=str,
)
def test_the_mailbox(case: MailboxCase) -> None:
    """Each letter arrives once, by the rings alone."""
    assert mailboxes.search(case) > 1


def test_a_mailbox_of_many(seed: int) -> None:
    """Too many orders for a search."""
    for case in (MailboxCase((2, 1, 1), times=2), MailboxCase((2, 1, 1), times=2, at_once=1)):
        mailboxes.draw(case, seed, 300)


# --- the test of the test


def _plant_takes_in_two_steps(patch: pytest.MonkeyPatch) -> None:
    """Who takes a job looks which is the first, and then takes that: in between it may be withdrawn."""

    def take(self: Crew) -> Job | None:
        with self._lock:
            job = next(iter(self._jobs), None)
        if job is not None:
            holding(self._lock, self._jobs.pop, job, None)
        return job

    patch.setattr(Crew, "_next", take)


def _plant_rings_for_nobody_left(patch: pytest.MonkeyPatch) -> None:
    """Who withdraws a job does not look whether there is a ring for each that is left."""

    def withdraw(self: Crew, job: Job) -> bool:
        if holding(self._lock, self._jobs.pop, job, self) is self:
            return False
        if self._rings.qsize():
            self._rings.get_nowait()
        return True

    patch.setattr(Crew, "withdraw", withdraw)


def _plant_comes_too_late(patch: pytest.MonkeyPatch) -> None:
    """Who asks does not look whether the crew was stopped meanwhile."""

    def do(self: Crew, job: Job) -> None:
        job.crew = self
        holding(self._lock, self._jobs.__setitem__, job, None)
        self._rings.put(None)
        self.hire_at_need()

    patch.setattr(Crew, "do", do)


@pytest.mark.parametrize(
    "plant, case",
    [
        (_plant_takes_in_two_steps, CrewCase(("left",))),
        (_plant_comes_too_late, CrewCase(("job", "stop"))),
    ],
)
def test_a_fault_of_the_crew_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], case: CrewCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the schedule that shows it."""
    plant(monkeypatch)
    with pytest.raises(Broken, match="repeat with"):
        crews.search(case)


def test_a_ring_that_is_lost_is_found(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a case of three, which are too many for a search."""
    _plant_rings_for_nobody_left(monkeypatch)
    with pytest.raises(Broken):
        crews.draw(CrewCase(("job", "left", "gone")), seed, 5_000)


def test_a_fault_of_the_mailbox_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The box is emptied before it is no longer rung for: a letter put in between has no ring (M2)."""

    def deliver(self: Mailbox) -> None:
        while self._letters:
            self._letters[0].arrive()
            self._letters.popleft()
        self._rung, self._looked_in_at = False, clock.now()

    monkeypatch.setattr(Mailbox, "_deliver", deliver)
    with pytest.raises(Broken, match="nobody can go on"):
        mailboxes.search(MailboxCase((1, 1)))
