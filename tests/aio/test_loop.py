"""The loop is never kept: whatever goes on in the database, its other callbacks come; and closing ends all."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import onewriter
from onewriter import Config, DatabaseClosed, aio, clock, presence
from tests.aio.loops import COUNT, INSERT, insert, names, on_loop, open_items, pending, until
from tests.support.databases import SCHEMA, Held, Pause
from tests.support.sick_vfs import SickVFS
from tests.support.steps import LIMIT_S, Steps


async def _turns(db: aio.Database, steps: Steps, call: Callable[[], Awaitable[object]]) -> None:
    """See that the loop turns while *call* is inside what *steps* tells of, up to its being let go."""
    task = asyncio.ensure_future(call())
    turns = 0
    while not steps.is_marked("inside"):
        turns += 1
        await asyncio.sleep(0.0005)
    for _ in range(20):
        await asyncio.sleep(0)
        assert not task.done()
    steps.mark("go")
    await task


@on_loop
async def test_a_call_inside_sqlite_does_not_keep_it(tmp_path: Path) -> None:
    """A query, a read function, a statement, a function, a call of a transaction, of a read, a stream."""

    async def transaction(db: aio.Database) -> None:
        async with db.transaction() as tx:
            await tx.query("SELECT pause()")

    async def read(db: aio.Database) -> None:
        async with db.read_transaction() as tx:
            await tx.query("SELECT pause()")

    async def stream(db: aio.Database) -> None:
        async with db.stream("SELECT pause()") as rows:
            assert [row async for row in rows] == [(1,)]

    calls: list[Callable[[aio.Database], Awaitable[object]]] = [
        lambda db: db.query("SELECT pause()"),
        lambda db: db.read(lambda tx: tx.query("SELECT pause()")),
        lambda db: db.execute("UPDATE item SET size = pause() WHERE id = 1"),
        lambda db: db.write(lambda tx: tx.query("SELECT pause()")),
        transaction,
        read,
        stream,
    ]
    for number, call in enumerate(calls):
        pause = Pause()
        (tmp_path / str(number)).mkdir()
        config = Config(on_connect=pause.on_connect)
        async with await open_items(tmp_path / str(number), config) as db:
            await db.execute(INSERT, ("one",))
            await _turns(db, pause.steps, lambda db=db, call=call: call(db))  # type: ignore[misc]


@on_loop
async def test_a_slow_disk_does_not_keep_it(tmp_path: Path) -> None:
    """A commit waits in its sync; others wait for it; the loop turns."""
    steps = Steps()
    vfs = SickVFS("slow-for-tasks")

    def rule(what: str, kind: str) -> None:
        if (what, kind) == ("sync", "wal"):
            vfs.rule = None
            steps.mark("inside")
            steps.wait_for("go")

    async with await aio.open(tmp_path / "items.db", config=Config(vfs=vfs.name), migrations=SCHEMA) as db:
        vfs.rule = rule
        await _turns(db, steps, lambda: db.execute(INSERT, ("one",)))
        assert await names(db) == ["one"]


@on_loop
async def test_a_held_turn_and_a_full_line_do_not_keep_it(tmp_path: Path) -> None:
    """A thread has the turn; more tasks than the line takes ask for it, and one closes."""
    async with await open_items(tmp_path, Config(pending_max=3, batch_s=60.0, lead_s=60.0)) as db:
        held = Held(db.sync)
        tasks = [asyncio.create_task(db.execute(INSERT, (str(number),))) for number in range(50)]
        await pending(db, 3)
        closing = asyncio.create_task(db.close())
        await until(lambda: db.closed, "closing")
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(task.done() for task in (*tasks, closing))
        with pytest.raises(DatabaseClosed):
            await db.execute(INSERT, ("late",))
        held.let_go()
        await closing
        await asyncio.wait(tasks)
        assert all(task.exception() is None for task in tasks)
    with onewriter.open(tmp_path / "items.db") as again:
        assert again.query_value(COUNT) == 51


@on_loop
async def test_closing_waits_no_longer_than_its_deadline(tmp_path: Path) -> None:
    """What waits then is refused; whoever is at work closes on leaving."""
    db = await open_items(tmp_path)
    held = Held(db.sync)
    task = asyncio.create_task(db.execute(INSERT, ("refused",)))
    await pending(db, 1)
    await db.close(0.01)
    with pytest.raises(DatabaseClosed) as caught:
        await task
    assert caught.value.ran == "no"
    held.let_go()
    assert await asyncio.to_thread(held.call.result) == "held"
    await db.close()
    await until(lambda: _threads() == [], "all threads ended")


@on_loop
async def test_reads_that_wait_when_closing_has_no_time_left_are_refused(tmp_path: Path) -> None:
    """Though every thread that reads is at work still."""
    db = await open_items(tmp_path)
    free = threading.Event()
    reads = [asyncio.create_task(db.read(lambda _tx: free.wait(LIMIT_S))) for _ in range(2)]
    await until(lambda: db.sync.stats().readers_lent == 2, "two reads")
    waits = asyncio.create_task(db.query(COUNT))
    await until(lambda: len(db._desk.crew._jobs) == 1, "a third")
    await db.close(0.01)
    with pytest.raises(DatabaseClosed):
        await waits
    assert not free.is_set()
    free.set()
    assert await asyncio.gather(*reads) == [True, True]
    await until(lambda: _threads() == [], "all threads ended")


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("onewriter-")]


@on_loop
async def test_closing_waits_for_blocks(tmp_path: Path) -> None:
    """A transaction and a read of other tasks are done first."""
    db = await open_items(tmp_path)
    may_end, entered = asyncio.Event(), [asyncio.Event(), asyncio.Event()]

    async def write() -> None:
        async with db.transaction() as tx:
            entered[0].set()
            await may_end.wait()
            await tx.execute(INSERT, ("one",))

    async def read() -> None:
        async with db.read_transaction() as tx:
            entered[1].set()
            await may_end.wait()
            assert await tx.query(COUNT) == [(0,)]

    tasks = [asyncio.create_task(write()), asyncio.create_task(read())]
    for each in entered:
        await each.wait()
    closing = asyncio.create_task(db.close())
    await until(lambda: db.closed, "closing")
    may_end.set()
    await asyncio.gather(closing, *tasks)
    with onewriter.open(tmp_path / "items.db") as again:
        assert again.query_value(COUNT) == 1


@on_loop
async def test_a_cancelled_close_ends_by_itself(tmp_path: Path) -> None:
    """And a second one waits for it."""
    db = await open_items(tmp_path)
    held = Held(db.sync)
    closing = asyncio.create_task(db.close())
    await until(lambda: db.closed, "closing")
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    held.let_go()
    await db.close()
    held.call.result()
    assert not presence.is_open(db.path)


@on_loop
async def test_a_read_that_comes_when_its_threads_end_is_told(tmp_path: Path) -> None:
    """It was asked for before another thread closed, and none is left to come to it."""
    async with await open_items(tmp_path) as db:
        db._desk.crew.stop()
        assert db._desk.crew.join(clock.now() + LIMIT_S)
        assert await db.query(COUNT, timeout_s=5.0) == [(0,)]


@on_loop
async def test_a_forgotten_database_is_closed(tmp_path: Path) -> None:
    """With a warning, and no thread is left."""
    db = await open_items(tmp_path)
    await db.query(COUNT)
    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031 - the object is to be forgotten inside
        del db
        gc.collect()


@on_loop
async def test_several_loops_and_threads(tmp_path: Path) -> None:
    """Loops in threads, tasks of this one, and threads write at once: everything acknowledged is there, once."""
    async with await open_items(tmp_path, Config()) as db:
        counts = 4, 25, 4  # loops and threads, tasks of each, writes of each

        async def task(name: str) -> None:
            for number in range(counts[2]):
                match number % 4:
                    case 0:
                        await db.execute(INSERT, (f"{name}-{number}",))
                    case 1:
                        await db.write(insert(f"{name}-{number}"))
                    case 2:
                        async with db.transaction() as tx:
                            await tx.execute(INSERT, (f"{name}-{number}",))
                    case _:
                        await db.query(COUNT)
                        await db.execute_many(INSERT, [(f"{name}-{number}",)])

        async def loop(name: str) -> None:
            await asyncio.gather(*(task(f"{name}-{number}") for number in range(counts[1])))

        def thread(name: str) -> None:
            for number in range(counts[1] * counts[2]):
                db.sync.execute(INSERT, (f"{name}-{number}",))

        await asyncio.gather(
            loop("here"),
            *(asyncio.to_thread(asyncio.run, loop(f"loop-{number}")) for number in range(counts[0])),
            *(asyncio.to_thread(thread, f"thread-{number}") for number in range(counts[0])),
        )
        assert await db.query_value(COUNT) == (2 * counts[0] + 1) * counts[1] * counts[2]
        assert (await db.stats()).pending == 0


_SIGINT = """
import asyncio, os, signal, sys
import onewriter

async def main():
    async with await onewriter.aio.open(sys.argv[1]) as db:
        await db.execute("CREATE TABLE t (a)")
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO t VALUES (1)")
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
with onewriter.open(sys.argv[1]) as db:
    print(db.query("SELECT a FROM t"))
"""

_EXIT = """
import asyncio, sys
import onewriter

async def main():
    db = await onewriter.aio.open(sys.argv[1])
    await db.execute("CREATE TABLE t (a)")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    asyncio.create_task(db.query(endless))
    asyncio.create_task(db.write(lambda tx: tx.execute("INSERT INTO t VALUES (1)")))
    await asyncio.sleep(0.05)
    print("ends", flush=True)
    keep.append(db)

keep = []
asyncio.run(main())
"""

_FORK = """
import asyncio, os, sys
import onewriter

async def main():
    async with await onewriter.aio.open(sys.argv[1]) as db:
        await db.execute("CREATE TABLE t (a)")
        await db.query("SELECT * FROM t")
        pid = os.fork()
        if pid == 0:
            refused = 0
            for call in (db.execute("INSERT INTO t VALUES (1)"), db.query("SELECT 1"), db.write(lambda tx: 1)):
                try:
                    await call
                except onewriter.ForkedDatabase:
                    refused += 1
            os._exit(refused)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        await db.execute("INSERT INTO t VALUES (2)")
        print(await db.query("SELECT a FROM t", into=int))

asyncio.run(main())
"""


_FORK_INSIDE = """
import asyncio, os, sys
import onewriter

async def inside(block):
    async with block:
        await asyncio.sleep(60)

async def main():
    db = await onewriter.aio.open(sys.argv[1])
    blocks = db.transaction(), db.read_transaction(), db.stream("SELECT 1")
    tasks = [asyncio.create_task(inside(block)) for block in blocks]
    while db.sync.stats().readers_lent < 2 or not db.sync._presence.tasks:
        await asyncio.sleep(0.001)
    async with db.read_transaction() as tx:
        pid = os.fork()
        if pid == 0:
            try:
                for call in (db.snapshot("x"), db.check(), db.migrate([]), db.vacuum(), db.checkpoint(), tx.query("")):
                    try:
                        await call
                    except onewriter.ForkedDatabase:
                        continue
                    sys.exit(1)
            finally:
                sys.exit(0)  # its loop cancels all tasks, and waits for their ends
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(await db.execute("CREATE TABLE t (a)", timeout_s=5.0))
    await db.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "program, says",
    [
        pytest.param(_SIGINT, "interrupted\n[]\n", id="Ctrl-C"),
        pytest.param(_EXIT, "ends\n", id="exit"),
        pytest.param(_FORK, "3\n[2]\n", id="fork"),
        pytest.param(
            _FORK_INSIDE, "0\nResult(rows=[], changes=0, last_insert_rowid=0)\n", id="fork beside blocks"
        ),
    ],
)
def test_the_end_of_the_program(tmp_path: Path, program: str, says: str) -> None:
    """Ctrl-C in a block rolls it back; an exit in the middle does not hang; a forked child is refused."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "a.db")],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, says), done.stderr
