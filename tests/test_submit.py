"""Submitted writes: futures as `concurrent.futures` has them, in the same line as all others."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import random
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from onewriter import (
    Config,
    Database,
    DatabaseClosed,
    IntegrityError,
    NestedWrite,
    QueueFull,
    Transaction,
    WriteTimeout,
)
from onewriter.futures import WriteFuture
from tests.support.databases import PATIENT, Held, names, open_items
from tests.support.steps import LIMIT_S, Call, Steps, wait_until

INSERT = "INSERT INTO item (name) VALUES (?)"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database whose batches close only when the line is empty."""
    with open_items(tmp_path) as opened:
        yield opened


def _insert(tx: Transaction, name: str) -> str:
    tx.execute(INSERT, (name,))
    return name


def _fail(tx: Transaction) -> None:
    tx.execute(INSERT, ("undone",))
    raise LookupError("mine")


def test_a_future_has_the_result_once_it_is_committed(db: Database) -> None:
    """`submit` returns at once, and the result is what the function returned."""
    future = db.submit(partial(_insert, name="a"))
    assert future.result(LIMIT_S) == "a"
    assert names(db) == ["a"]
    assert future.done()
    assert not future.cancelled()
    assert future.exception() is None


def test_a_future_has_the_error_of_its_function(db: Database) -> None:
    """What the function raises is undone and raised by `result`; its neighbours are committed."""
    held = Held(db)
    futures: list[Future[object]] = [
        db.submit(partial(_insert, name="before")),
        db.submit(_fail),
        db.submit(lambda tx: tx.execute(INSERT, ("held",))),
        db.submit(partial(_insert, name="after")),
    ]
    held.let_go()
    with pytest.raises(LookupError, match="mine"):
        futures[1].result(LIMIT_S)
    assert isinstance(futures[2].exception(LIMIT_S), IntegrityError)
    assert [futures[0].result(LIMIT_S), futures[3].result(LIMIT_S)] == ["before", "after"]
    assert names(db) == ["held", "before", "after"]


def test_submitted_requests_share_commits_in_the_order_of_all(db: Database) -> None:
    """They wait in the one line with statements and functions of other threads."""
    before = db.stats()
    held = Held(db)
    first = db.submit(partial(_insert, name="first"))
    held.wait_for(1)
    second = Call(lambda: db.execute(INSERT, ("second",)))
    held.wait_for(2)
    third = db.submit(partial(_insert, name="third"))
    held.let_go()
    concurrent.futures.wait([first, third], LIMIT_S)
    second.result()
    assert names(db) == ["held", "first", "second", "third"]
    assert db.stats().commits - before.commits == 1


def test_a_submitted_function_runs_in_a_copy_of_the_context(db: Database) -> None:
    """On a thread of its own, with the caller's context variables, which it cannot change."""
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("mine")

    def work(_tx: Transaction) -> tuple[str, int]:
        seen = variable.get()
        variable.set("changed")
        return seen, threading.get_ident()

    seen, thread = db.submit(work).result(LIMIT_S)
    assert (seen, variable.get()) == ("mine", "mine")
    assert thread != threading.get_ident()


def test_cancel_works_until_the_request_starts(db: Database) -> None:
    """A cancelled request never runs and frees its place; one that has started cannot be cancelled."""
    held = Held(db)
    steps = Steps()

    def slow(tx: Transaction) -> None:
        steps.mark("started")
        steps.wait_for("go")
        _insert(tx, "slow")

    running = db.submit(slow)
    cancelled = db.submit(partial(_insert, name="never"))
    held.wait_for(2)
    assert cancelled.cancel()
    assert cancelled.cancel(), "a second time says the same"
    assert db.stats().pending == 1
    held.let_go()
    steps.wait_for("started")
    assert not running.cancel()
    steps.mark("go")
    assert running.result(LIMIT_S) is None
    with pytest.raises(CancelledError):
        cancelled.result(LIMIT_S)
    assert (running.cancelled(), cancelled.cancelled()) == (False, True)
    assert names(db) == ["held", "slow"]


def test_cancelled_futures_are_seen_by_those_who_wait_for_several(db: Database) -> None:
    """`concurrent.futures.wait` and `as_completed` know futures of submitted writes."""
    held = Held(db)
    futures = [db.submit(partial(_insert, name=f"n{number}")) for number in range(4)]
    futures[1].cancel()
    held.let_go()
    done, not_done = concurrent.futures.wait(futures, LIMIT_S)
    assert (len(done), not_done) == (4, set())
    assert len(list(concurrent.futures.as_completed(futures, LIMIT_S))) == 4
    assert names(db) == ["held", "n0", "n2", "n3"]


def test_a_full_line_refuses_what_is_submitted(tmp_path: Path) -> None:
    """`pending_max` requests wait at most: the next is a QueueFull, nothing of it ran, and its place is free later."""
    with open_items(tmp_path, Config(pending_max=3)) as db:
        held = Held(db)
        futures = [db.submit(partial(_insert, name=f"n{number}")) for number in range(3)]
        with pytest.raises(QueueFull, match="3 requests wait already") as caught:
            db.submit(partial(_insert, name="never"))
        assert caught.value.ran == "no"
        futures[0].cancel()
        futures.append(db.submit(partial(_insert, name="now there is room")))
        held.let_go()
        concurrent.futures.wait(futures, LIMIT_S)
        assert names(db) == ["held", "n1", "n2", "now there is room"]


def test_a_program_that_submits_without_end_keeps_its_memory(tmp_path: Path) -> None:
    """Of 100,000 submitted behind a writer that does not end, no more than `pending_max` are kept."""
    with open_items(tmp_path, Config(pending_max=100)) as db:
        held = Held(db)
        refused = 0
        futures: list[Future[str]] = []
        for number in range(100_000):
            try:
                futures.append(db.submit(partial(_insert, name=f"n{number}")))
            except QueueFull:
                refused += 1
        assert (len(futures), refused, db.stats().pending) == (100, 99_900, 100)
        held.let_go()
        concurrent.futures.wait(futures, LIMIT_S)
        assert len(names(db)) == 101


def test_calls_that_find_the_line_full_wait_for_room_in_their_order(tmp_path: Path) -> None:
    """They enter as others leave, before what comes later; the first may time out before it was ever in line."""
    with open_items(tmp_path, Config(pending_max=1, batch_s=60.0)) as db:
        held = Held(db)
        in_line = db.submit(partial(_insert, name="in line"))
        late = Call(lambda: db.execute(INSERT, ("never",), timeout_s=0.01))
        assert isinstance(late.error(), WriteTimeout)
        room = [Call(partial(db.execute, INSERT, ("a",)), "a")]
        wait_until(
            lambda: len(db._core.writer.line._outside) == 1 if db._core.writer else False, "a waits for room"
        )
        with pytest.raises(QueueFull):
            db.submit(partial(_insert, name="never"))
        in_line.cancel()
        with pytest.raises(QueueFull):  # the room is for who waited
            db.submit(partial(_insert, name="never"))
        assert db.stats().pending <= 1
        held.let_go()
        for call in room:
            call.result()
        assert names(db) == ["held", "a"]


def test_a_submitted_request_has_a_deadline_too(tmp_path: Path) -> None:
    """Its turn did not come in time: the future has a WriteTimeout, and it never runs."""
    with open_items(tmp_path) as db:
        held = Held(db)
        patient = db.submit(partial(_insert, name="patient"))
        late = db.submit(partial(_insert, name="never"), timeout_s=0.01)
        error = late.exception(LIMIT_S)
        assert isinstance(error, WriteTimeout)
        assert error.ran == "no"
        assert not patient.done()
        held.let_go()
        assert patient.result(LIMIT_S) == "patient"
        assert names(db) == ["held", "patient"]


def test_callbacks_run_without_the_role_and_may_write(db: Database) -> None:
    """A done callback writes, submits and reads; one that is slow holds up nobody; one that raises harms nobody."""
    steps = Steps()
    seen: list[object] = []

    def raises(_future: Future[str]) -> None:
        raise LookupError("dropped")

    def writes(future: Future[str]) -> None:
        seen.append(future.result())
        db.execute(INSERT, ("by the callback",))
        seen.append(db.submit(partial(_insert, name="by the callback's own")).result(LIMIT_S))
        steps.mark("written")
        steps.wait_for("go")

    held = Held(db)
    future = db.submit(partial(_insert, name="first"))
    future.add_done_callback(raises)
    future.add_done_callback(writes)
    held.let_go()
    steps.wait_for("written")
    assert db.submit(partial(_insert, name="meanwhile")).result(LIMIT_S) == "meanwhile"
    steps.mark("go")
    assert seen == ["first", "by the callback's own"]
    assert names(db) == ["held", "first", "by the callback", "by the callback's own", "meanwhile"]


def test_a_callback_that_is_added_late_is_called_at_once(db: Database) -> None:
    """On the thread that adds it; inside a write, which has the role, by another thread when it may."""
    future = db.submit(partial(_insert, name="a"))
    future.result(LIMIT_S)
    threads: list[int] = []
    future.add_done_callback(lambda _future: threads.append(threading.get_ident()))
    assert threads == [threading.get_ident()]
    with db.transaction():
        future.add_done_callback(lambda _future: threads.append(threading.get_ident()))
    wait_until(lambda: len(threads) == 2, "the callback")
    assert threads[1] != threading.get_ident()


def test_each_future_is_told_once(db: Database, seed: int) -> None:
    """Callbacks are called once each, whether the request was done, failed or cancelled from another thread."""
    told: list[Future[str | None]] = []
    futures: list[Future[str | None]] = []
    for number in range(300):
        work: Callable[[Transaction], str | None] = partial(_insert, name=f"{seed}-{number}")
        future = db.submit(work if number % 7 else _fail)
        future.add_done_callback(told.append)
        futures.append(future)
        if number % 3 == 0:
            future.cancel()
    concurrent.futures.wait(futures, LIMIT_S)
    wait_until(lambda: len(told) == len(futures), "all callbacks")
    assert set(told) == set(futures)
    there = set(names(db))
    for number, future in enumerate(futures):
        ran = not future.cancelled() and future.exception() is None
        assert (f"{seed}-{number}" in there) is ran


def test_waiting_for_a_future_inside_a_write_is_refused(db: Database) -> None:
    """It would wait for itself: on the caller's thread and on the background one; submitting there is refused too."""
    held = Held(db)
    future = db.submit(partial(_insert, name="a"))

    def waits(_tx: Transaction) -> None:
        future.result(LIMIT_S)

    def submits(_tx: Transaction) -> None:
        db.submit(partial(_insert, name="never"))

    calls = [Call(lambda: db.write(waits)), Call(lambda: db.write(submits))]
    inner = db.submit(lambda _tx: other.result(LIMIT_S))
    other = db.submit(partial(_insert, name="b"))
    held.wait_for(5)
    held.let_go()
    # The first may find it done, if it came later.
    assert isinstance(calls[1].error(), NestedWrite)
    assert isinstance(inner.exception(LIMIT_S), NestedWrite)
    assert future.result(LIMIT_S) == "a"
    assert other.result(LIMIT_S) == "b"
    with db.transaction() as tx:
        with pytest.raises(NestedWrite, match="after_commit"):
            db.submit(partial(_insert, name="never"))
        assert future.result() == "a", "one that is done may be asked"
        tx.execute(INSERT, ("c",))


def test_a_time_out_of_result_is_not_the_end(db: Database) -> None:
    """The request goes on; asking again gets its outcome."""
    held = Held(db)
    future = db.submit(partial(_insert, name="a"))
    with pytest.raises(TimeoutError):
        future.result(0.001)
    with pytest.raises(TimeoutError):
        future.exception(0)
    assert not future.done()
    held.let_go()
    assert future.result(LIMIT_S) == "a"


def test_closing_does_what_was_submitted(tmp_path: Path) -> None:
    """Every future is done when `close` returns, its callbacks have been called, and no thread is left."""
    told: list[str] = []
    db = open_items(tmp_path, PATIENT)
    held = Held(db)
    futures = [db.submit(partial(_insert, name=f"n{number}")) for number in range(20)]
    futures[0].add_done_callback(lambda future: told.append(future.result()))
    held.let_go()
    db.close()
    assert all(future.done() for future in futures)
    assert told == ["n0"]
    with pytest.raises(DatabaseClosed):
        db.submit(partial(_insert, name="never"))


def test_closing_in_vain_refuses_what_was_submitted(tmp_path: Path) -> None:
    """Past the deadline each future that waits has a DatabaseClosed; the one at work ends, and closes the file."""
    db = open_items(tmp_path)
    steps = Steps()

    def stuck(tx: Transaction) -> str:
        steps.mark("stuck")
        steps.wait_for("go")
        return _insert(tx, "stuck")

    running = db.submit(stuck)
    steps.wait_for("stuck")
    waiting = db.submit(partial(_insert, name="never"))
    db.close(timeout_s=0.01)
    error = waiting.exception(LIMIT_S)
    assert isinstance(error, DatabaseClosed)
    assert error.ran == "no"
    steps.mark("go")
    assert running.result(LIMIT_S) == "stuck"
    with open_items(tmp_path) as again:
        assert names(again) == ["stuck"]


@pytest.mark.parametrize("where", ["done", "after_commit"])
def test_a_callback_that_would_end_its_thread_ends_nothing(db: Database, where: str) -> None:
    """`sys.exit` in a callback is logged like any error: later callbacks run, and `close` finds nothing left."""

    def work(tx: Transaction) -> None:
        if where == "after_commit":
            tx.after_commit(sys.exit)
            tx.after_commit(lambda: steps.mark("next"))

    steps = Steps()
    held = Held(db)
    future = db.submit(work)
    if where == "done":
        future.add_done_callback(lambda _future: sys.exit())
        future.add_done_callback(lambda _future: steps.mark("next"))
    held.let_go()
    steps.wait_for("next")
    assert future.result(LIMIT_S) is None
    later = db.submit(partial(_insert, name="later"))
    later.add_done_callback(lambda _future: steps.mark("later"))
    steps.wait_for("later")
    assert names(db) == ["held", "later"]


def test_a_function_that_outlives_close_has_its_outcome_and_callbacks(tmp_path: Path) -> None:
    """`close` ran out of time while it ran: it is committed, told, and its callbacks are called."""
    db = open_items(tmp_path)
    steps = Steps()
    first = db.submit(lambda tx: tx.after_commit(lambda: None))  # both threads are at work
    first.result(LIMIT_S)

    def slow(tx: Transaction) -> str:
        tx.after_commit(lambda: steps.mark("after the commit"))
        steps.mark("running")
        steps.wait_for("go")
        return _insert(tx, "slow")

    future = db.submit(slow)
    future.add_done_callback(lambda _future: steps.mark("called back"))
    steps.wait_for("running")
    db.close(timeout_s=0.01)
    steps.mark("go")
    assert future.result(LIMIT_S) == "slow"
    steps.wait_for("after the commit")
    steps.wait_for("called back")


def test_a_callback_may_wait_for_other_futures(db: Database) -> None:
    """Whose own callbacks it keeps waiting: outcomes do not depend on them."""
    seen: list[object] = []
    steps = Steps()

    def waits(_future: Future[str]) -> None:
        others: list[Future[object]] = [db.submit(lambda tx: tx.after_commit(lambda: None)) for _ in range(2)]
        others[0].add_done_callback(lambda _other: None)
        done, _ = concurrent.futures.wait(others, LIMIT_S)
        seen.append(len(done))
        seen.append(others[0].result(LIMIT_S))
        steps.mark("waited")

    future = db.submit(partial(_insert, name="a"))
    future.add_done_callback(waits)
    steps.wait_for("waited")
    assert seen == [2, None]


def test_waiting_for_several_futures_inside_a_write_is_refused(db: Database) -> None:
    """By `wait` and `as_completed`; those that are done may be asked."""
    done = db.submit(partial(_insert, name="a"))
    done.result(LIMIT_S)
    steps = Steps()
    refused: list[BaseException] = []

    def waits(_tx: Transaction) -> None:
        concurrent.futures.wait([done], 0)
        steps.mark("inside")
        steps.wait_for("submitted")
        for wait in (
            lambda: concurrent.futures.wait(futures, LIMIT_S),
            lambda: next(concurrent.futures.as_completed(futures, LIMIT_S)),
        ):
            try:
                wait()
            except NestedWrite as error:
                refused.append(error)

    call = Call(lambda: db.write(waits))
    steps.wait_for("inside")
    futures = [db.submit(partial(_insert, name="b"))]
    steps.mark("submitted")
    call.result()
    assert len(refused) == 2
    assert futures[0].result(LIMIT_S) == "b"


def test_polling_a_future_leaves_nothing_behind(db: Database) -> None:
    """Each time-out takes its sleeper with it."""
    held = Held(db)
    future = db.submit(partial(_insert, name="a"))
    for timeout_s in (0, 0.0001) * 50:
        with pytest.raises(TimeoutError):
            future.result(timeout_s)
    assert isinstance(future, WriteFuture)
    assert len(future.__dict__["_sleepers"]) == 0
    held.let_go()
    future.result(LIMIT_S)


def test_a_future_is_freed_with_its_last_reference(db: Database) -> None:
    """It is part of no cycle: a program that submits without end does not wait for the collector."""

    class Work:
        def __call__(self, _tx: Transaction) -> object:
            return self

    gc.disable()
    try:
        work = Work()
        futures: list[Future[Any]] = [db.submit(work)]
        held = Held(db)
        futures.append(db.submit(work))
        futures[1].cancel()
        held.let_go()
        assert futures[0].result(LIMIT_S) is work
        db.submit(lambda _tx: None).result(LIMIT_S)  # the thread has let go of those before
        alive = [weakref.ref[object](each) for each in (work, *futures)]
        del work, futures
        wait_until(lambda: not any(each() for each in alive), "all are freed")
    finally:
        gc.enable()


@pytest.mark.parametrize("seed", range(10))
def test_every_way_of_waiting_at_once(db: Database, seed: int) -> None:
    """Several threads wait for the same futures, each in its way, while some are cancelled: all hear the same."""
    rnd = random.Random(seed)
    held = Held(db)
    futures = [
        db.submit(_fail if rnd.random() < 0.3 else partial(_insert, name=f"n{number}"))
        for number in range(30)
    ]
    called: list[Future[Any]] = []
    ways: list[Callable[[list[Future[Any]]], object]] = [
        lambda each: concurrent.futures.wait(each, LIMIT_S),
        lambda each: list(concurrent.futures.as_completed(each, LIMIT_S)),
        lambda each: [_outcome(one) for one in each],
        lambda each: _call_back(each, called),
        lambda each: [one.cancel() for one in each[::7]],
        lambda each: asyncio.run(_wrapped(each)),
        lambda _each: held.let_go(),
    ]
    rnd.shuffle(ways)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        calls = [Call(partial(way, rnd.sample(futures, len(futures)))) for way in ways]
        for call in calls:
            call.result()
    finally:
        sys.setswitchinterval(interval)
    wait_until(lambda: len(called) == len(futures), "each callback was called once")
    assert set(called) == set(futures)
    stored = [each.result() for each in futures if not each.cancelled() and each.exception() is None]
    assert names(db) == ["held", *stored]
    assert {repr(each).strip(">").split()[3] for each in futures} <= {"state=finished", "state=cancelled"}
    assert concurrent.futures.wait(futures, 0).done == set(futures)


def _call_back(futures: list[Future[Any]], called: list[Future[Any]]) -> None:
    for each in futures:
        each.add_done_callback(called.append)


def _outcome(future: Future[Any]) -> object:
    try:
        return future.result(LIMIT_S)
    except (LookupError, CancelledError) as error:
        return error


async def _wrapped(futures: list[Future[Any]]) -> None:
    await asyncio.wait_for(
        asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True), LIMIT_S
    )
