"""A signal handler that raises strikes the loop's thread: calls end, and neither the turn nor a reader is lost."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import onewriter
from onewriter import Config, ReadTimeout, aio
from onewriter.aio.mailbox import Mailbox
from onewriter.aio.writes import AskedWrite
from tests.aio.loops import COUNT, INSERT, is_sound, on_loop, open_items
from tests.support.databases import SCHEMA
from tests.support.steps import LIMIT_S, Call
from tests.support.strikes import StrikeError, Striker

PLACES_MAX = 2_000
ENDS_S = 3.0


def struck_once(method: Callable[..., object], error: type[BaseException]) -> Callable[..., object]:
    """Return *method*, which the first time raises *error* as it is entered."""
    strikes = [error]

    @functools.wraps(method)
    def call(*arguments: object) -> object:
        if strikes:
            raise strikes.pop()
        return method(*arguments)

    return call


def test_a_ring_that_is_lost_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop was about to look into its box: what ends the program's blocks comes all the same."""

    async def main() -> None:
        async with await open_items(tmp_path) as db, db.transaction() as tx:
            monkeypatch.setattr(Mailbox, "_deliver", struck_once(Mailbox._deliver, KeyboardInterrupt))
            await tx.execute(INSERT, ("undone",))

    with pytest.raises(KeyboardInterrupt):
        Call(lambda: asyncio.run(main())).result()


@on_loop
async def test_a_letter_that_is_struck_arrives_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its outcome had been taken out, and not told."""
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    called: list[None] = []
    async with await open_items(tmp_path) as db:
        for owner, name in ((AskedWrite, "_settle"), (AskedWrite, "arrive"), (Mailbox, "_deliver")):
            method = getattr(owner, name)
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, struck_once(method, StrikeError))
                work = functools.partial(_insert, called=called)
                assert await asyncio.wait_for(db.write(work), LIMIT_S) == "one"
    assert len(called) == 3


def _insert(tx: onewriter.Transaction, called: list[None]) -> str:
    tx.after_commit(lambda: called.append(None))
    return "one"


@on_loop
async def test_deadlines_are_kept_though_their_timer_was_struck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer that was struck is lost; there is another one behind it."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    async with await open_items(tmp_path, Config(readers_max=1)) as db, db.read_transaction() as tx:
        monkeypatch.setattr(Mailbox, "_look", struck_once(Mailbox._look, StrikeError))
        for _ in range(2):
            with pytest.raises(ReadTimeout):
                await asyncio.wait_for(_read(db), LIMIT_S)
        assert await tx.query("SELECT 1") == [(1,)]


async def _read(db: aio.Database) -> object:
    return await db.query("SELECT 1", timeout_s=0.01)


async def _execute(db: aio.Database) -> None:
    await db.execute(INSERT, (None,))


async def _transaction(db: aio.Database) -> None:
    async with db.transaction() as tx:
        await tx.execute(INSERT, (None,))


async def _read_transaction(db: aio.Database) -> None:
    async with db.read_transaction() as tx:
        await tx.query(COUNT)


@pytest.mark.filterwarnings("ignore:.*was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("error", [KeyboardInterrupt, StrikeError])
@pytest.mark.parametrize("work", [_execute, _transaction, _read_transaction])
def test_a_strike_anywhere_loses_neither_the_turn_nor_a_reader(
    tmp_path: Path, work: Callable[[aio.Database], Coroutine[Any, Any, None]], error: type[BaseException]
) -> None:
    """The loop ends as `asyncio.run` ends it, or goes on where it has caught the exception."""
    places = 0
    with onewriter.open(
        tmp_path / "a.db", config=Config(readers_max=2), migrations=SCHEMA, durability="normal"
    ) as threads:
        db = aio.Database(threads)
        for at in range(1, PLACES_MAX):
            place = _strike(work(db), at, error)
            asyncio.run(is_sound(db))
            if not place:
                break
            places += 1
        else:
            pytest.fail("it goes on for ever")
    assert places > 40


def _strike(call: Coroutine[Any, Any, None], at: int, error: type[BaseException]) -> str:
    """Run *call* on a loop of its own, which is struck at the place *at*; return that place."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    striker = Striker(at, error, where_handlers_run=True)
    try:
        task = loop.create_task(call)
        striker.run(lambda: loop.run_until_complete(asyncio.wait([task], timeout=ENDS_S)))
        if error is StrikeError:
            assert task.done() or not striker.place.startswith("mailbox"), striker.place
        left = asyncio.all_tasks(loop)
        for each in left:
            each.cancel()
        if left:
            _, hang = loop.run_until_complete(asyncio.wait(left, timeout=ENDS_S))
            assert not hang, striker.place
        if task.done() and not task.cancelled():
            task.exception()
    finally:
        loop.close()
    return striker.place
