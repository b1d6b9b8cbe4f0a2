"""One wake a batch: the outcomes of a shared commit reach a loop together, and each loop its own."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path

import onewriter
from onewriter import aio
from onewriter.aio.mailbox import Letter, Mailbox, settle
from tests.aio.loops import INSERT, PATIENT, WakeLoop
from tests.support.databases import SCHEMA, Held
from tests.support.steps import LIMIT_S, Call, Steps, wait_until

WRITES = 50


class Company:
    """A loop in a thread, whose tasks wait for a commit that they share with others."""

    def __init__(self, db: aio.Database, name: str) -> None:
        """Run the loop, and have its tasks write once it is told to."""
        self.loop = WakeLoop()
        self._db = db
        self._name = name
        self._steps = Steps()
        self._wakes = 0
        self._call = Call(self._run, name)
        self._steps.wait_for("runs")

    def write(self) -> None:
        """Have the tasks ask, and return when all wait."""
        self.loop.call_soon_threadsafe(self._ask)
        self._steps.wait_for("asked")
        self._wakes = self.loop.wakes

    def wakes(self) -> int:
        """Wait for the outcomes, and return how often other threads woke the loop for them."""
        self._steps.wait_for("told")
        return self.loop.wakes - self._wakes

    def end(self) -> None:
        """End the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._call.result()

    def _run(self) -> None:
        self.loop.call_soon(self._steps.mark, "runs")
        self.loop.run_forever()
        self.loop.close()

    def _ask(self) -> None:
        tasks = [
            self.loop.create_task(self._db.execute(INSERT, (f"{self._name}-{number}",)))
            for number in range(WRITES)
        ]
        told = asyncio.gather(*tasks)
        told.add_done_callback(lambda _done: self._steps.mark("told"))
        self.loop.call_soon(self.loop.call_soon, self._steps.mark, "asked")  # after the tasks' first steps


def test_one_wake_a_batch_for_each_loop(tmp_path: Path) -> None:
    """Two loops in two threads and a thread of its own wait for one commit.

    a thread       loop one         loop two
    holds the turn
                   50 tasks wait
                                    50 tasks wait
    ends its own
                   all are told by one wake
                                    all are told by one wake
    """
    with onewriter.open(tmp_path / "items.db", config=PATIENT, migrations=SCHEMA) as threads:
        db = aio.Database(threads)
        companies = [Company(db, "one"), Company(db, "two")]
        held = Held(threads)
        for company in companies:
            company.write()
        other = Call(lambda: threads.execute(INSERT, ("thread",)))
        held.wait_for(2 * WRITES + 1)
        commits = threads.stats().commits
        held.let_go()
        held.call.result()
        other.result()
        assert [company.wakes() for company in companies] == [1, 1]
        assert threads.stats().commits == commits + 1
        for company in companies:
            company.end()
        assert threads.query_value("SELECT count(*) FROM item") == 2 * WRITES + 2


def test_a_loop_that_was_closed_is_not_waited_for(tmp_path: Path) -> None:
    """What its tasks had asked for ends by itself, and callbacks are called on another thread."""
    called: list[str] = []

    def work(tx: onewriter.Transaction) -> None:
        tx.execute(INSERT, ("lost",))
        tx.after_commit(lambda: called.append(threading.current_thread().name))

    def work_too(tx: onewriter.Transaction) -> None:
        tx.execute(INSERT, ("too",))
        tx.after_commit(lambda: called.append(threading.current_thread().name))

    with onewriter.open(tmp_path / "items.db", config=PATIENT, migrations=SCHEMA) as threads:
        db = aio.Database(threads)
        held = Held(threads)
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _loop, _context: None)  # it tells of the task that was left
        task = loop.create_task(db.write(work))
        loop.run_until_complete(asyncio.sleep(0))
        held.wait_for(1)
        loop.close()
        held.let_go()
        wait_until(lambda: called == ["onewriter-callbacks"], "the callback")
        assert threads.query("SELECT name FROM item", into=str) == ["held", "lost"]
        assert not task.done()
        task.get_coro().close()
        held = Held(threads, "second")
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _loop, _context: None)
        stopped = loop.create_task(db.write(work_too))
        loop.run_until_complete(asyncio.sleep(0))
        held.wait_for(1)
        held.let_go()  # the loop is stopped, and is closed when the outcome has come
        wait_until(
            lambda: (
                threads.stats().pending == 0 and bool(threads.query("SELECT 1 FROM item WHERE name = 'too'"))
            ),
            "the commit",
        )
        loop.close()
        again = asyncio.new_event_loop()
        assert again.run_until_complete(asyncio.wait_for(db.query_value("SELECT 1"), LIMIT_S)) == 1
        wait_until(lambda: len(called) == 2, "the callback of the loop that was stopped first")
        stopped.get_coro().close()
        assert again.run_until_complete(asyncio.wait_for(db.query_value("SELECT 1"), LIMIT_S)) == 1
        again.close()
        db.sync.close()
        del task, stopped


def test_callbacks_of_a_closed_loop_are_called_before_the_database_is_closed(tmp_path: Path) -> None:
    """The loop was closed with its news on the way, and nobody asks again before a thread closes."""
    called: list[str] = []

    def work(tx: onewriter.Transaction) -> None:
        tx.execute(INSERT, ("one",))
        tx.after_commit(lambda: called.append("called"))

    with onewriter.open(tmp_path / "items.db", migrations=SCHEMA) as threads:
        db = aio.Database(threads)
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _loop, _context: None)  # it tells of the task that was left
        task = loop.create_task(db.write(work))
        loop.run_until_complete(asyncio.sleep(0))
        box = db._desk._boxes[loop]
        wait_until(lambda: box._rung, "the ring")
        loop.close()
        assert called == []
    wait_until(lambda: called == ["called"], "the callback")
    task.get_coro().close()


def test_callbacks_are_called_once_though_the_outcome_is_told_again_to_a_closed_loop(tmp_path: Path) -> None:
    """An interrupt of who tells it may have it told twice."""
    called: list[str] = []

    def work(tx: onewriter.Transaction) -> None:
        tx.execute(INSERT, ("one",))
        tx.after_commit(lambda: called.append(threading.current_thread().name))

    async def write(db: aio.Database) -> tuple[Mailbox, Letter]:
        task = asyncio.create_task(db.write(work))
        await asyncio.sleep(0)
        box = db._desk.box()
        (letter,) = box._open
        await task
        return box, letter

    with onewriter.open(tmp_path / "items.db", migrations=SCHEMA) as threads:
        box, letter = asyncio.run(write(aio.Database(threads)))
        before = set(threading.enumerate())
        box.put(letter)
        box.ring()
        for thread in set(threading.enumerate()) - before:
            thread.join(LIMIT_S)
        assert called == [threading.current_thread().name]


def test_an_outcome_that_nobody_waits_for_is_not_taken_for_a_mistake() -> None:
    """Also where the loop ended before anybody could look at it: asyncio would log an error "never retrieved"."""
    complaints: list[object] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, about: complaints.append(about))
    answer: asyncio.Future[object] = loop.create_future()
    settle(answer, None, LookupError("mine"))
    loop.close()
    del answer
    gc.collect()
    assert complaints == []
