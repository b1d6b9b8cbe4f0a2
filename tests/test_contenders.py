"""The turn among processes, without a database: contenders of one process, and numbers that others have left.

Two contenders of one process share the page and its locks, as two databases of the same file do. What the locks tell
of other processes is in `test_turn_of_processes`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from onewriter import contenders, futexes, roll
from onewriter.contenders import Contender
from tests.support.children import forked
from tests.support.members import Alone, take_place
from tests.support.steps import LIMIT_S, Call, wait_until
from tests.support.strikes import Strike, Striker

FOR_EVER = 3600.0
HOUR_NS = 3_600_000_000_000
BYTECODES_MAX = 50_000
UNTIL, FOR, WANTS, SAID = 2, 3, 248, 368  # words of the page
NOBODYS = 77  # a place
WAITS_NOT = [0] * 120
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Company:
    """The contenders of one file."""

    def __init__(self, folder: Path) -> None:
        """Begin with none."""
        self.path = folder / "a.db"
        self.all: list[Contender] = []

    def join(self) -> Contender:
        """Let one more come."""
        contender = take_place(self.path)
        self.all.append(contender)
        return contender


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """Contenders, which leave at the end."""
    company = Company(tmp_path)
    yield company
    for each in company.all:
        each.leave()


def soon() -> float:
    """Return a deadline that no test should come to."""
    return time.monotonic() + LIMIT_S


def reserve_for(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have a reservation last so long."""
    for module in (contenders, roll):
        monkeypatch.setattr(module, "RESERVED_NS", int(seconds * 1e9))


def failing(error: OSError) -> Callable[..., NoReturn]:
    """Return what raises *error*, whatever it is asked."""

    def fail(*_: object) -> NoReturn:
        raise error

    return fail


def taking(contender: Contender) -> Call[bool]:
    """Let *contender* wait for the turn on a thread of its own; it does when this returns."""
    call = Call(lambda: contender.take(soon()), "taking")
    wait_until(lambda: _is_on_the_page(contender) or not call.running, "it waits")
    return call


def _is_on_the_page(contender: Contender) -> bool:
    """Return whether the others can see that it waits, which is a moment later than that it does."""
    return any(place == contender._place for _, place in contender._page.waiting())


def waiting(contender: Contender) -> list[int]:
    """Return what the page says of who waits, and since when."""
    return contender._page.numbers(WANTS, 120)


def is_free(contender: Contender) -> bool:
    """Whether *contender* gets the turn at once."""
    return contender.take(time.monotonic())


# --- order


def test_who_waits_is_served_in_the_order_of_coming(company: Company) -> None:
    """Whoever polls first: all who came later find that one waits before them.

    first            second           third
    has the turn
                     waits
                                      waits
    gives
                     has it
                     gives
                                      has it
    """
    first, *others = [company.join() for _ in range(5)]
    assert is_free(first)
    calls = [taking(each) for each in others]
    first.give()
    for index, (each, call) in enumerate(zip(others, calls, strict=True)):
        assert call.result()
        assert each.held
        assert [after.running for after in calls[index + 1 :]] == [True] * (len(calls) - index - 1)
        each.give()
    assert waiting(first) == WAITS_NOT


def test_who_has_had_its_turn_stands_behind_who_waits(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may go on for ``TURN_S``, then gives it up by itself and queues."""
    first, second = company.join(), company.join()
    assert first.ready(soon())
    since = first._since
    waits = taking(second)
    monkeypatch.setattr(contenders, "TURN_S", FOR_EVER)
    assert first.ready(soon())
    assert (first.held, first._since) == (True, since)
    monkeypatch.setattr(contenders, "TURN_S", 0.0)
    again = Call(lambda: first.ready(soon()), "again")
    assert waits.result()
    assert again.running
    second.give()
    assert again.result()


def test_a_turn_goes_on_for_ever_where_nobody_waits(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is due for somebody only."""
    first, _ = company.join(), company.join()
    monkeypatch.setattr(contenders, "TURN_S", 0.0)
    assert first.ready(soon())
    since = first._since
    assert first.ready(soon())
    assert first._since == since


# --- the reservation


def test_a_reserved_turn_is_kept_for_who_reserved_it(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next write of the same process goes on with the same turn, before who waits."""
    monkeypatch.setattr(contenders, "TURN_S", FOR_EVER)
    reserve_for(monkeypatch, FOR_EVER)
    first, second = company.join(), company.join()
    assert is_free(first)
    since = first._since
    waits = taking(second)
    first.rest()
    assert not first.held
    assert not second._try(time.monotonic_ns())
    assert first.ready(time.monotonic())
    assert (first.held, first._since) == (True, since)
    assert waits.running
    first.give()
    first.words[UNTIL] = 0
    assert waits.result()


def test_a_reservation_expires(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to end it: who reserved it need not come back, nor be alive."""
    monkeypatch.setattr(contenders, "TURN_S", FOR_EVER)
    reserve_for(monkeypatch, 0.05)
    first, second = company.join(), company.join()
    assert is_free(first)
    waits = taking(second)
    first.rest()
    until = first.words[UNTIL]
    assert until > 0
    assert waits.result()
    assert time.monotonic_ns() >= until
    assert not first._resume()


def test_a_turn_that_is_due_is_not_reserved(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reserved is the rest of it, and there is none."""
    monkeypatch.setattr(contenders, "TURN_S", 0.0)
    reserve_for(monkeypatch, FOR_EVER)
    first, second = company.join(), company.join()
    assert is_free(first)
    waits = taking(second)
    first.rest()
    assert first.words[UNTIL] <= time.monotonic_ns()
    assert waits.result()
    assert not first.ready(time.monotonic())


def test_nothing_is_reserved_where_nobody_waits(company: Company) -> None:
    """A newcomer has it at once."""
    first, second = company.join(), company.join()
    assert is_free(first)
    first.rest()
    assert is_free(second)


# --- alone


def test_a_process_that_is_alone_takes_no_lock(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds whoever comes by the next write, and is alone again when that one has left."""
    monkeypatch.setattr(contenders, "_LOOK_NS", 0)
    first = company.join()
    assert first.ready(0.0)
    assert (first.held, first.words[0] == first.alone) == (False, True)
    second = company.join()
    assert first.ready(0.0)
    assert first.held
    first.give()
    assert second.ready(0.0)
    assert second.held
    second.leave()
    assert first.ready(0.0)
    assert (first.held, first.words[0] == first.alone) == (False, True)


def test_between_two_looks_it_takes_the_lock(company: Company) -> None:
    """To look costs more than the lock: a second passes between two looks."""
    first, second = company.join(), company.join()
    assert first.ready(0.0)
    first.give()
    second.leave()
    assert first.ready(0.0)
    assert first.held


def test_a_turn_may_be_had_alone(company: Company) -> None:
    """For what may last: a newcomer finds it taken, and by whom."""
    first = company.join()
    assert first.take(0.0)
    second = company.join()
    assert not is_free(second)
    holder = second.holder()
    assert holder is not None
    assert holder.pid == os.getpid()
    assert holder.for_s is not None
    assert first.holder() is None


# --- deadlines, and what is left behind


@pytest.mark.parametrize("wait_s", [0.0, 0.05])
def test_the_deadline_is_kept_and_nothing_is_left(company: Company, wait_s: float) -> None:
    """Not before it and not long after; nobody is taken to wait any more."""
    first, second = company.join(), company.join()
    assert is_free(first)
    began = time.monotonic()
    assert not second.take(began + wait_s)
    assert time.monotonic() - began >= wait_s
    assert (second.held, second.waits_since, second.missed) == (False, 0, True)
    assert waiting(first) == WAITS_NOT
    first.give()
    assert is_free(second)
    assert not second.missed


def test_a_past_deadline_takes_what_is_free_but_not_before_others(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look: also for who is dead, so that a time-out of 0 is served where nobody is left but the dead."""
    first, second, third = (company.join() for _ in range(3))
    assert is_free(first)
    monkeypatch.setattr(contenders, "_FIRST_S", 0.2)
    monkeypatch.setattr(contenders, "_LONGEST_S", 0.2)
    monkeypatch.setattr(roll.Roll, "ring_first", int)  # does nothing; or the second would have it at once
    waits = taking(second)
    first.give()
    assert not third.take(0.0)
    assert waits.result()
    second.give()
    second.words[WANTS + NOBODYS] = 1
    assert third.take(0.0)
    assert waiting(third) == WAITS_NOT


def test_who_missed_the_turn_knows_who_was_before_it(company: Company) -> None:
    """Between two turns nobody has the lock; then it is whoever has waited longest, or reserved it."""
    first, second = company.join(), company.join()
    assert second.holder() is None
    first.words[WANTS + first._place] = first.words[SAID + first._place] = time.monotonic_ns()
    assert not second.take(0.0)
    holder = second.holder()
    assert holder is not None
    assert (holder.pid, holder.waits) == (os.getpid(), False)
    first.give()
    first.words[FOR] = first._place
    holder = second.holder()
    assert holder is not None
    assert holder.pid == os.getpid()
    for nobody in (2**64 - 1, NOBODYS, second._place):
        first.words[FOR] = nobody
        holder = second.holder()
        assert holder is not None
        assert holder.pid is None
    assert is_free(second)
    assert second.holder() is None


def test_the_holder_says_whether_it_waits_itself(company: Company) -> None:
    """For SQLite's lock, which another keeps out of turn; no more when it has it."""
    first, second = company.join(), company.join()
    first.note_lock(waits=True)  # without the turn, it is nobody's business
    assert is_free(first)
    for waits in (True, False):
        first.note_lock(waits=waits)
        holder = second.holder()
        assert holder is not None
        assert holder.waits is waits
    first.note_lock(waits=True)
    first.give()
    assert is_free(first)
    holder = second.holder()
    assert holder is not None
    assert not holder.waits


# --- what others have left on the page


@pytest.mark.parametrize("reserved_for", ["itself", "another"])
@pytest.mark.parametrize("when", ["the future", "the past"])
def test_numbers_from_before_a_restart_delay_nobody(company: Company, when: str, reserved_for: str) -> None:
    """The clock has begun anew: what was written may lie ahead of it, or far behind."""
    first, second = company.join(), company.join()
    at = time.monotonic_ns() + HOUR_NS if when == "the future" else 1
    first.words[FOR] = first._place if reserved_for == "itself" else NOBODYS
    first.words[UNTIL] = at
    for place in range(10, 120):
        first.words[WANTS + place] = first.words[SAID + place] = at
    assert first.ready(0.0)
    assert waiting(first)[10:] == WAITS_NOT[10:]
    first.rest()
    assert second.ready(0.0)


def test_a_dead_waiter_is_cleared_away(company: Company) -> None:
    """Its place is not locked: whoever waits sees it, and later calls need not look."""
    first, second = company.join(), company.join()
    first.words[WANTS + NOBODYS] = 1
    first.words[SAID + NOBODYS] = time.monotonic_ns()  # it was alive just now
    assert first.take(soon())
    assert waiting(first) == WAITS_NOT
    first.give()
    second.words[WANTS + NOBODYS] = time.monotonic_ns() + HOUR_NS  # it would be later
    assert second.take(soon())
    assert waiting(first) == WAITS_NOT


def test_a_silent_waiter_is_passed_over(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, but has said nothing for long; it is not cleared away, since it may go on."""
    monkeypatch.setattr(contenders, "_ASK_NS", 0)
    first, second, third = (company.join() for _ in range(3))
    second.words[WANTS + second._place] = 1
    second.words[SAID + second._place] = time.monotonic_ns()
    assert not is_free(third)
    monkeypatch.setattr(contenders, "_PASS_NS", 0)
    assert is_free(third)
    assert waiting(first)[second._place] == 1
    third.give()
    assert is_free(second)


def test_a_place_is_taken_over_clean(company: Company) -> None:
    """What its last owner had written is not the new one's."""
    first, second = company.join(), company.join()
    place = second._place
    for word in (128, WANTS, SAID):
        first.words[word + place] = 7
    second.leave()
    third = company.join()
    assert third._place == place
    assert [first.words[word + place] for word in (8, 128, WANTS, SAID)] == [os.getpid(), 0, 0, 0]


# --- when locks fail


def test_a_lock_that_fails_leaves_the_order_to_sqlite(
    company: Company, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; no write fails for it, and none waits for it."""
    first, second = company.join(), company.join()
    monkeypatch.setattr(first._page, "lock", failing(OSError(37, "No locks available")))
    for each in (first, second):
        for _ in range(2):
            assert each.ready(time.monotonic())
            each.rest()
    assert [record.message for record in caplog.records] == [
        "the locks of the turn file fail ([Errno 37] No locks available): the order among processes is SQLite's"
    ] * 2


def test_a_question_that_fails_does_too(
    company: Company, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has a lock cannot be asked everywhere."""
    first, second = company.join(), company.join()
    monkeypatch.setattr(first._page, "locker", failing(OSError(22, "Invalid argument")))
    assert is_free(first)
    first.give()
    first.words[WANTS + NOBODYS] = 1
    assert is_free(first)
    assert first.holder() is None
    assert not second.has_process(1)
    assert len(caplog.records) == 2


# --- leaving, forks, interrupts


def open_pages(path: Path) -> int:
    """Return how many descriptors of the side file this process has (Linux)."""
    found = 0
    for descriptor in os.scandir("/proc/self/fd"):
        with suppress(OSError):  # the one that scandir had open
            found += os.readlink(descriptor.path) == f"{path}-turn"  # noqa: PTH115 - a plain text
    return found


linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")


@linux
def test_the_last_to_leave_closes_the_page(company: Company) -> None:
    """And whoever had the turn has it no more; leaving twice, or asking afterwards, does no harm."""
    first, second = company.join(), company.join()
    assert open_pages(company.path) == 2  # the file, and the mapping's
    assert is_free(first)
    first.leave()
    assert is_free(second)
    for _ in range(2):
        second.leave()
    assert open_pages(company.path) == 0
    with pytest.raises(ValueError, match="closed"):
        second.holder()
    assert not contenders._pages


def test_a_page_may_be_closed_while_it_is_read(company: Company) -> None:
    """Nobody holds a view of it that would be in the way."""
    first = company.join()
    numbers = first._page.numbers(0, 8)
    first.leave()
    assert numbers[0] == first.alone


@linux
def test_a_forked_child_has_no_part_in_it(company: Company) -> None:
    """It closes what it has inherited, and may come by itself; its parent keeps the turn, and has it after its end."""
    first, second = company.join(), company.join()
    assert is_free(first)

    def come() -> object:
        inherited = open_pages(company.path)
        mine = Company(company.path.parent).join()
        refused = mine.take(time.monotonic())
        holder = mine.holder()
        mine.leave()
        assert holder is not None
        return inherited, refused, holder.pid, holder.for_s is not None, open_pages(company.path)

    assert forked(come) == (0, False, os.getpid(), True, 0)
    assert first.held
    assert not forked(lambda: is_free(Company(company.path.parent).join()))
    first.give()
    assert forked(lambda: is_free(Company(company.path.parent).join()))
    assert is_free(second)


@linux
@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("has_turn", [False, True])
def test_leaving_may_be_interrupted_anywhere(
    company: Company, others: int, has_turn: bool, seed: int
) -> None:
    """A second call does what the first left: no descriptor stays, and no lock. Every third bytecode, as in strikes."""
    rest = [company.join() for _ in range(others)]
    for number in range(1 + seed % 3, BYTECODES_MAX, 3):
        contender = Company(company.path.parent).join()
        if has_turn:
            assert is_free(contender)
        striker = Striker(number)
        raised = striker.run(contender.leave)
        assert raised is None or isinstance(raised, Strike), striker.place
        contender.leave()
        assert open_pages(company.path) == 2 * others, striker.place
        assert len(contenders._pages) == others, striker.place
        assert all(is_free(each) for each in rest), striker.place
        assert forked(lambda: is_free(Company(company.path.parent).join())) is not bool(rest), striker.place
        for each in rest:
            each.give()
        if not striker.place:
            assert number > 50
            return
    raise AssertionError("it never ended")


@linux
def test_who_comes_after_an_interrupted_leaving_keeps_its_locks(company: Company, seed: int) -> None:
    """What is left of the leaving is done before the next has a descriptor: to close one later drops all locks."""
    for number in range(1 + seed % 3, BYTECODES_MAX, 3):
        leaves = Company(company.path.parent).join()
        striker = Striker(number)
        striker.run(leaves.leave)
        comes = Company(company.path.parent).join()
        leaves.leave()
        byte = roll.PLACE_BYTE + comes._place
        assert forked(lambda byte=byte: _locker(company.path, byte)) == os.getpid(), striker.place  # type: ignore[misc]
        comes.leave()
        if not striker.place:
            assert number > 50
            return
    raise AssertionError("it never ended")


def _locker(path: Path, byte: int) -> int | None:
    return Company(path.parent).join()._page.locker(byte)


@linux
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # a page that the collector closed
@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("kind", [Strike, TimeoutError])
def test_joining_may_be_interrupted_anywhere(
    company: Company, others: int, kind: type[BaseException]
) -> None:
    """What was begun is undone, or left by who asked for it: nothing stays. Also by what is taken for the system's."""
    rest = [company.join() for _ in range(others)]
    for number in range(1, BYTECODES_MAX):
        member, striker = Alone(), Striker(number, kind)
        raised = striker.run(partial(contenders.join, company.path, 0o600, member))
        assert raised is None or isinstance(raised, kind), striker.place
        del raised  # and with it the frames, and what they have opened
        if member.turn is not None:
            member.turn.leave()
        assert open_pages(company.path) == 2 * others, striker.place
        assert len(contenders._pages) == others, striker.place
        assert [list(shared.places.values()) for shared in contenders._pages.values()] == [rest] * others
        if not striker.place:
            assert number > 100
            return
    raise AssertionError("it never ended")


def test_a_contended_take_may_be_interrupted_anywhere(company: Company, seed: int) -> None:
    """What `Connection.recover` calls makes good what is left: others have the turn, and nobody is said to wait."""
    first, second = company.join(), company.join()
    for number in range(1 + seed % 5, BYTECODES_MAX, 5):
        assert first.take(soon())
        done: list[None] = []
        giver = Call(lambda: _give_when_wanted(first, second, done), "giver")  # noqa: B023 - it ends in this round
        striker = Striker(number)
        raised = striker.run(lambda: second.take(soon()))
        done.append(None)
        giver.result()
        assert raised is None or isinstance(raised, Strike), striker.place
        second.give()
        assert (second.held, second.waits_since, first._shared.owner) == (False, 0, {}), striker.place
        assert waiting(first) == WAITS_NOT, striker.place
        if not striker.place:
            assert number > 100
            return
    raise AssertionError("it never ended")


def _give_when_wanted(first: Contender, second: Contender, done: list[None]) -> None:
    wait_until(lambda: bool(second.waits_since or done), "it is wanted")
    first.give()


@pytest.mark.parametrize("call", ["ready", "rest", "give"])
def test_going_on_and_resting_may_be_interrupted_anywhere(company: Company, call: str) -> None:
    """As above, for who has the turn, or has it reserved, while another waits."""
    first, second = company.join(), company.join()
    for number in range(1, BYTECODES_MAX):
        assert first.take(soon())
        second.words[WANTS + second._place] = 1  # it waits, for the moment of the call
        if call == "ready":
            first.rest()
        striker = Striker(number)
        action = {"ready": lambda: first.ready(0.0), "rest": first.rest, "give": first.give}[call]
        raised = striker.run(action)
        assert raised is None or isinstance(raised, Strike), striker.place
        first.give()
        second.words[WANTS + second._place] = 0
        assert second.take(soon()), striker.place
        second.give()
        assert waiting(first) == WAITS_NOT, striker.place
        if not striker.place:
            assert number > 20
            return
    raise AssertionError("it never ended")


# --- the bell


def test_who_is_first_is_rung(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives the turn up wakes who has waited longest, who need not look by himself."""
    monkeypatch.setattr(contenders, "_FIRST_S", FOR_EVER)
    monkeypatch.setattr(contenders, "_OTHERS_S", FOR_EVER)
    monkeypatch.setattr(contenders, "_LONGEST_S", FOR_EVER)
    first, second = company.join(), company.join()
    for giver, taker in ((first, second), (second, first)):
        assert giver.take(0.0)
        waits = taking(taker)
        giver.give()
        assert waits.result()
        taker.give()


def test_who_comes_back_too_late_for_his_reservation_rings(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was rung for when the turn was reserved."""
    for name in ("_FIRST_S", "_OTHERS_S", "_LONGEST_S", "TURN_S"):
        monkeypatch.setattr(contenders, name, FOR_EVER)
    reserve_for(monkeypatch, FOR_EVER)
    first, second = company.join(), company.join()
    assert first.take(0.0)
    waits = taking(second)
    first.rest()
    assert second.waits_since
    reserve_for(monkeypatch, 0.0)
    again = Call(lambda: first.ready(soon()))
    assert waits.result()
    second.give()
    assert again.result()
    first.give()


def test_where_nothing_can_be_rung_one_looks(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform without futexes: who waits looks again from time to time, whatever he was told to wait."""
    monkeypatch.setattr(futexes, "_NUMBERS", {})
    futexes._futex.cache_clear()
    try:
        for name in ("_FIRST_S", "_OTHERS_S", "_LONGEST_S"):
            monkeypatch.setattr(contenders, name, FOR_EVER)
        first, second = company.join(), company.join()
        assert first.take(0.0)
        waits = taking(second)
        first.give()
        assert waits.result()
        second.give()
    finally:
        futexes._futex.cache_clear()


def test_threads_that_share_commits_gather_while_others_write(company: Company) -> None:
    """A commit that was shared and waited for the disk ends the turn where others wait; a quick one does not."""
    first, second = company.join(), company.join()
    slow, quick = 2 * contenders.DISK_S, contenders.DISK_S / 2
    for writes, seconds, keeps in ((1, slow, True), (2, quick, True), (2, slow, False), (1, slow, False)):
        assert first.take(0.0)
        second.words[WANTS + second._place] = 1  # it waits, for the moment of the call
        first.committed(writes, seconds)
        assert first._is_due() is not keeps
        second.words[WANTS + second._place] = 0
        first.give()
