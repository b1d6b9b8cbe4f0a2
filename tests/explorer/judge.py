"""What must be true at the end of a run, whatever the order was.

J1  Each thread has one outcome. What was acknowledged is committed, once and whole; of what failed or was refused there
    is nothing; what was refused, timed out or was cancelled never ran. What was struck is there whole or not at all,
    and its thread hears the strike, unless that struck a run which was discarded with a lost batch.
J2  First come, first served, but for who was struck: requests began to run in the order in which they came into the
    line; and so did the runs that count, so that the list has their integers in that order.
J3  Functions ran on their own threads, what was submitted on the one background thread. What was to be called after a
    commit was called once, and where nobody waited for that in turn, before the outcome was told.
J4  Nobody waits, nothing is open, no thread is said to write, and the role is free, or closed with the connection.

While it runs, `store` sees to it that one thread at a time has the connection and the role, and `cases` that nobody
is told of what is not committed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.explorer.world import Thread

if TYPE_CHECKING:
    from tests.explorer.cases import CaseRun

ON_ANY = frozenset({"execute", "timed_execute", "bad"})
STATED = frozenset({"stated", "timed_stated", "left", "bad_stated"})
ON_BACKGROUND = STATED | {
    "submit",
    "timed_submit",
    "cancelled",
    "hooked",
    "waiting",
    "asked",
    "timed_asked",
    "dropped",
}
CALLED = frozenset({"hooked", "waiting"})
NO_REQUEST = frozenset({"close", "timed_close", "stranger"})
OUTCOMES = {
    "write": "done",
    "execute": "done",
    "alone": "done",
    "turn": "done",
    "submit": "done",
    "hooked": "done",
    "waiting": "done",
    "timed": "done refused",
    "timed_execute": "done refused",
    "timed_submit": "done refused",
    "timed_turn": "done refused",
    "cancelled": "done refused",
    "asked": "done",
    "timed_asked": "done refused",
    "dropped": "done dropped",
    "stated": "done",
    "timed_stated": "done refused",
    "left": "done dropped",
    "bad_stated": "failed",
    "fails": "failed",
    "bad": "failed",
    "loses": "failed",
    "poison": "failed",
    "close": "done",
    "timed_close": "done",
    "stranger": "done",
}


@dataclass(slots=True)
class Asked:
    """What one thread asked for, and what came of it."""

    kind: str
    first: int  # the integer of its first statement
    thread: Thread
    outcome: str = ""  # done, failed, refused, struck, dropped
    error: BaseException | None = None
    was_cancelled: bool = False
    cancel_said: bool = False
    called: int = 0

    def call(self) -> None:
        """Be called after the commit."""
        self.called += 1

    @property
    def name(self) -> str:
        """Its thread's."""
        return self.thread.name

    @property
    def numbers(self) -> list[int]:
        """All that it puts on the list, where it is done."""
        return [self.first] if self.kind in ON_ANY | STATED else [self.first, self.first + 1]

    @property
    def wants(self) -> bool:
        """Whether it asks for something to be written."""
        return self.kind not in NO_REQUEST


def faults(run: CaseRun) -> list[str]:
    """Return what is wrong at the end of *run*."""
    return [*_outcomes(run), *_order(run), *_threads(run), *_rest(run)]


def _outcomes(run: CaseRun) -> Iterator[str]:
    """J1."""
    may_refuse = run.case.pending_max < len(run.asked) or {"close", "timed_close"} & set(run.case.kinds)
    for each in run.asked:
        allowed = OUTCOMES[each.kind].split()
        if each.wants and may_refuse:
            allowed.append("refused")
        if each.thread.was_struck:
            allowed = ["struck"]
        if each.outcome not in allowed:
            yield f"{each.name} ({each.kind}) was told {each.outcome} ({each.error!r}), not {' or '.join(allowed)}"
        if each.wants:
            yield from _traces(run, each)


def _traces(run: CaseRun, each: Asked) -> Iterator[str]:
    """J1: what is there of one request."""
    kept = run.store.kept
    there = [number for number in kept if number in (each.first, each.first + 1)]
    if each.outcome == "done" and there != each.numbers:
        yield f"{each.name} is done, and {there} of {each.numbers} are there: {kept}"
    if each.outcome in ("failed", "refused") and there:
        yield f"{each.name} was {each.outcome}, and {there} are there: {kept}"
    if each.outcome in ("struck", "dropped") and there not in ([], each.numbers):
        yield f"{each.name} was {each.outcome}, and {there} of {each.numbers} are there: {kept}"
    if each.outcome == "refused" and any(number == each.first for number, _ in run.store.ran):
        yield f"{each.name} was refused ({each.error!r}), and ran"
    if each.called != (each.outcome == "done" and each.kind in CALLED):
        yield f"{each.name} ({each.kind}) was told {each.outcome}, and called back {each.called} times"
    if each.cancel_said and not each.was_cancelled and not each.thread.was_struck:
        yield f"{each.name} was cancelled, and was told {each.outcome}"


def _order(run: CaseRun) -> Iterator[str]:
    """J2."""
    told = [each for each in run.asked if each.outcome in ("done", "failed") and not each.thread.was_struck]
    by_thread = {each.thread.number: each for each in told}
    entered: list[int] = []
    for ticket in run.world.entered:
        key: Any = ticket.__dict__["key"]
        asked = by_thread.get(key[0])
        if asked is not None and asked.wants and asked.first not in entered:
            entered.append(asked.first)
    ran = [number for number, _ in run.store.ran if number in entered]
    first = sorted(set(ran), key=ran.index)
    if first != entered:
        yield f"they came in the order {entered} and began in the order {first}"
    last = sorted(set(ran), key=lambda number: len(ran) - ran[::-1].index(number))
    if last != entered:
        yield f"they came in the order {entered}, and their last runs in the order {last}"
    done = [each.first for each in told if each.outcome == "done"]
    kept = [number for number in run.store.kept if number in done]
    if kept != [number for number in entered if number in done]:
        yield f"they came in the order {entered}, and the list is {kept}"


def _threads(run: CaseRun) -> Iterator[str]:
    """J3."""
    by_first = {each.first: each for each in run.asked}
    for number, thread in run.store.ran:
        each = by_first[number]
        if each.kind in ON_BACKGROUND:
            if thread.name != "submit":
                yield f"{each.name} ran on {thread.name}"
        elif each.kind not in ON_ANY and thread is not each.thread:
            yield f"{each.name} ran on {thread.name}"


def _rest(run: CaseRun) -> Iterator[str]:
    """J4."""
    line, batch = run.writer.line, run.writer.batch
    if line._waiting or line._outside:
        yield f"left in line: {[*line._waiting, *line._outside]}"
    if batch.members or run.store.open is not None:
        yield f"left open: {batch.members}, {run.store.open}"
    if run.store.turn.held:
        yield "the turn among processes is kept, and nobody writes"
    left = [ident for ident, pending in run.presence.writing.items() if not pending.is_over]
    if left:
        yield f"said to be writing: {left}"
    closing = any(each.kind in ("close", "timed_close") for each in run.asked)
    if closing and not run.store.is_closed:
        yield "the connection was never closed"
    if not closing and line.holder is not None:
        yield "the role is not free"
