"""What threads share without a lock is taken step by step, each of which Python promises to be whole (`shared`).

On Python 3.11 the collector may come at any object that is made, inside a call into C too; a finalizer then runs Python
code, and with it any other thread. So a finalizer stands here for the thread that comes in between. Where the collector
waits for the end of a bytecode, as it does from Python 3.12 on, these cases cannot go wrong.
"""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

import onewriter
from onewriter import Database, checkpoints, futures, shared
from onewriter.checkpoints import Checkpointer
from onewriter.loans import Loan
from onewriter.presence import Pending, Presence
from onewriter.readers import Readers
from onewriter.samples import Samples
from tests.support.steps import LIMIT_S, Call, Steps

COMES = range(1, 48, 2)  # how many objects are made before the collector comes


class _Forgotten:
    """Something that only the collector frees."""

    def __init__(self, finalize: Callable[[], object]) -> None:
        self._itself = self
        self._finalize = finalize

    def __del__(self) -> None:
        self._finalize()


@contextmanager
def _collected(after: int, finalize: Callable[[], object]) -> Generator[None]:
    """Have the collector come, and call *finalize*, when *after* objects more are made in the block."""
    before = gc.get_threshold()
    gc.collect()  # and so no tuple or dictionary is kept to be used again
    gc.disable()
    try:
        _Forgotten(finalize)
        gc.set_threshold(after)
        gc.enable()
        yield
    finally:
        gc.set_threshold(*before)
        gc.enable()
        gc.collect()


def _loan(place: int) -> Loan:
    return (place, 0.0, "SELECT 1", None)


def test_who_has_a_reader_is_asked_while_another_is_lent() -> None:
    """U2: `Readers` looks at a copy, on the road of whoever waits for a reader."""
    for after in COMES:
        _ask_who_has_a_reader(after)


def _ask_who_has_a_reader(after: int) -> None:
    pool = Readers(lambda _deadline: pytest.fail("nobody connects"), 40, Path("items.db"))
    *lent, last = pool._readers
    for place, reader in enumerate(lent):
        pool.holders[reader] = _loan(place)
    with _collected(after, lambda: pool.holders.setdefault(last, _loan(99))):
        found = pool.loans()
    assert len(found) in (39, 40)
    with _collected(after, lambda: pool.holders.pop(last, None)):
        pool.end(_loan(100))


def test_who_writes_is_asked_while_another_begins(caplog: pytest.LogCaptureFixture) -> None:
    """U2: a turn that is held long is complained of, whoever comes to write meanwhile."""
    for after in COMES:
        caplog.clear()
        _complain(after, caplog)


def _complain(after: int, caplog: pytest.LogCaptureFixture) -> None:
    presence = Presence((0, 0))
    holder = cast("Pending", SimpleNamespace(is_over=False))
    for ident in range(30):
        presence.writing[ident] = cast("Pending", SimpleNamespace(is_over=False))
    presence.writing[threading.get_ident()] = holder
    with _collected(after, lambda: presence.writing.setdefault(-1, holder)), caplog.at_level(logging.WARNING):
        presence.warn_of(holder, Path("items.db"), "for 3 s")
    assert threading.current_thread().name in caplog.text


FIRST_LOOK = """
import gc

from onewriter.futures import WriteFuture

class Forgotten:
    def __init__(self, future):
        self.itself, self.future = self, future
    def __del__(self):
        words.append(self.future._first("_fate", "cancels"))

for _ in range(5):
    future, words = WriteFuture(object()), []
    gc.collect()
    gc.disable()
    Forgotten(future)
    taken = [{place: place} for place in range(300)]  # dictionaries that were kept to be used again
    gc.set_threshold(1)
    gc.enable()  # at the next object that is made
    word = future._first("_fate", "runs")
    gc.disable()
    gc.collect()
    assert words == [word]
    assert [*future.__dict__] == ["_runner", "_fate"], future.__dict__
"""


def test_a_future_has_one_dictionary() -> None:
    """Two come to be the first to look at it; where it is made only then, Python 3.11 ends with a broken memory."""
    subprocess.run([sys.executable, "-c", FIRST_LOOK], check=True, timeout=LIMIT_S * 2)


class _Busy(weakref.WeakSet[Any]):
    """A set of weak references to which another thread adds while it is looked at, once."""

    another: object = None

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():
            if self.another is not None:
                self.add(self.another)
                self.another = None
            yield each


class _Thing:
    """Something that can be referred to weakly."""


def test_all_of_a_set_that_grows() -> None:
    """U2: none is missed that was there before."""
    things = [_Thing() for _ in range(20)]
    busy = _Busy(things)
    busy.another = another = _Thing()
    assert {*things} <= {*shared.all_of(busy)} <= {*things, another}


def test_a_fork_waits_for_each_checkpoint_though_a_database_is_opened_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not found out by the process that forks: a hook that raises is told of, and the fork goes on."""
    there, opened = _checkpointer(), _checkpointer()
    busy = _Busy([there])
    busy.another = opened
    monkeypatch.setattr(checkpoints, "_all", busy)
    checkpoints._before_fork()
    assert there.calling._is_owned()
    checkpoints._after_fork()
    assert not there.calling._is_owned()


def _checkpointer() -> Any:  # noqa: ANN401 - its locks alone
    return cast("Checkpointer", _Locks())


class _Locks:
    def __init__(self) -> None:
        self.settling, self.calling = threading.RLock(), threading.RLock()


def test_two_threads_fork_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gives back the locks that it has taken itself.

    one                     the other
    before its fork
                            before its fork
    after its fork
                            after its fork
    """
    steps, mine, other = Steps(), _checkpointer(), _checkpointer()

    def fork() -> None:
        monkeypatch.setattr(checkpoints, "_all", weakref.WeakSet([other]))
        checkpoints._before_fork()
        steps.mark("the other is about to fork")
        steps.wait_for("one has forked")
        checkpoints._after_fork()

    monkeypatch.setattr(checkpoints, "_all", weakref.WeakSet([mine]))
    checkpoints._before_fork()
    call = Call(fork)
    steps.wait_for("the other is about to fork")
    checkpoints._after_fork()
    assert mine.calling.acquire(blocking=False)
    assert not other.calling.acquire(blocking=False)
    steps.mark("one has forked")
    call.result()
    assert other.calling.acquire(blocking=False)


def test_a_write_that_comes_while_the_database_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """U4: what `close` takes away is looked at once."""
    with onewriter.open(tmp_path / "items.db") as db:
        writer = db._for_writing()
        looks = iter((writer, None))
        with monkeypatch.context() as patch:
            patch.setattr(Database, "_live", property(lambda _self: next(looks)), raising=False)
            assert db._for_writing() is writer


def test_durations_are_told_while_more_are_counted() -> None:
    """U3: of a deque only its ends are promised."""

    class Busy(deque[float]):
        tries = 0

        def copy(self) -> Self:
            self.tries += 1
            if self.tries == 1:
                raise RuntimeError("deque mutated during iteration")
            return self

    samples = Samples()
    samples._last = Busy([1.0, 2.0, 3.0])
    assert samples.spread().p50 == 2.0


@pytest.mark.parametrize("has_lock", [True, False])
def test_the_stack_of_another_thread(
    has_lock: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is looked at only while Python has the interpreter's lock; who holds the turn is told in any case."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: has_lock, raising=False)
    presence = Presence((0, 0))
    holder = cast("Pending", SimpleNamespace(is_over=False))
    presence.writing[threading.get_ident()] = holder
    with caplog.at_level(logging.WARNING):
        presence.warn_of(holder, Path("items.db"), "for 3 s")
    assert threading.current_thread().name in caplog.text
    assert ("test_the_stack_of_another_thread" in caplog.text) is has_lock


def test_a_future_is_cancelled_while_its_outcome_is_told() -> None:
    """U4: who cancels takes the ticket out of the line, though who tells the outcome forgets it at that moment."""
    withdrawn: list[object] = []

    class Told(futures.WriteFuture[None]):
        looks = 0

        @property
        def ticket(self) -> object:
            """Be there once."""
            self.looks += 1
            return "ticket" if self.looks == 1 else None

        @ticket.setter
        def ticket(self, _value: object) -> None:
            """Forget it."""

    runner = SimpleNamespace(withdraw=withdrawn.append, presence=Presence((0, 0)))
    assert Told(cast("Any", runner)).cancel()
    assert withdrawn == ["ticket"]
