"""What can never work is an error at once, that says what to do instead."""

# pyright: reportUnknownMemberType=false
# (APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.)

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Awaitable, Callable, Generator, Iterator
from pathlib import Path

import pytest

import onewriter
from onewriter import (
    Database,
    MisuseError,
    NestedWrite,
    ProgrammingError,
    Transaction,
    TransactionEnded,
    WrongThread,
)
from tests.support.databases import names, open_items, with_function
from tests.support.steps import LIMIT_S, Call

INSERT = "INSERT INTO item (name) VALUES (?)"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database whose batches close only when the line is empty."""
    with open_items(tmp_path) as opened:
        yield opened


async def _coroutine(tx: Transaction) -> None:
    tx.execute(INSERT, ("never",))


def _generator(tx: Transaction) -> Generator[None]:
    tx.execute(INSERT, ("never",))
    yield


async def _asynchronous_generator(tx: Transaction) -> object:
    yield tx.execute(INSERT, ("never",))


class _Callable:
    async def __call__(self, tx: Transaction) -> None:
        tx.execute(INSERT, ("never",))

    async def method(self, tx: Transaction) -> None:
        tx.execute(INSERT, ("never",))


@functools.wraps(_coroutine)
def _wrapped(tx: Transaction) -> Awaitable[None]:
    return _coroutine(tx)


LAZY: dict[str, Callable[[Transaction], object]] = {
    "coroutine": _coroutine,
    "generator": _generator,
    "asynchronous generator": _asynchronous_generator,
    "partial": functools.partial(_coroutine),
    "object": _Callable(),
    "method": _Callable().method,
    "returned": lambda tx: _coroutine(tx),  # noqa: PLW0108 - a plain function that returns a coroutine
    "wrapped": _wrapped,
}


@pytest.mark.parametrize("kind", LAZY)
def test_what_would_only_begin_its_work_is_refused(db: Database, kind: str) -> None:
    """A coroutine or generator function, in whatever dress: at once, or as soon as it shows; nothing of it stays."""
    work = LAZY[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a coroutine that is never awaited
        for call in (db.write, db.read):
            with pytest.raises(MisuseError, match="plain function"):
                call(work)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        with pytest.raises(MisuseError, match="plain function"):
            db.submit(work).result(LIMIT_S)
    assert names(db) == []
    assert db.stats().pending == 0


def test_a_function_may_return_what_it_likes(db: Database) -> None:
    """Built-in functions, classes and partials are functions; a generator over rows that were read is a value."""
    assert isinstance(db.write(id), int)
    assert isinstance(db.write(functools.partial(str)), str)
    rows = db.write(lambda tx: (row for row in tx.query("SELECT 1 UNION SELECT 2")))
    assert list(rows) == [(1,), (2,)]


def test_a_write_inside_a_write_is_refused_through_every_door(db: Database) -> None:
    """Also through another object for the same file, and through one that was closed and opened again."""
    again = onewriter.open(db.path)
    doors: list[Callable[[Database], object]] = [
        lambda each: each.execute(INSERT, ("never",)),
        lambda each: each.execute_many(INSERT, [("never",)]),
        lambda each: each.write(lambda _tx: None),
        lambda each: each.submit(lambda _tx: None),
        lambda each: each.transaction().__enter__(),
        lambda each: each.unsafe_connection().__enter__(),
        lambda each: each.vacuum(),
        lambda each: each.migrate([]),
    ]

    def inside(tx: Transaction) -> None:
        for each in (db, again):
            for door in doors:
                with pytest.raises(NestedWrite):
                    door(each)
        tx.execute(INSERT, ("kept",))

    db.write(inside)
    with db.transaction() as tx:
        tx.execute("DELETE FROM item")
        inside(tx)
    again.close()
    assert names(db) == ["kept"]


def test_a_transaction_is_over_when_its_function_is(db: Database) -> None:
    """Every method says so, and every other thread is refused while it lasts."""
    kept: list[Transaction] = []
    calls: list[Callable[[Transaction], object]] = [
        lambda tx: tx.execute(INSERT, ("never",)),
        lambda tx: tx.execute_many(INSERT, [("never",)]),
        lambda tx: tx.script("DELETE FROM item"),
        lambda tx: tx.savepoint().__enter__(),
        lambda tx: tx.after_commit(lambda: None),
        lambda tx: tx.query("SELECT 1"),
        lambda tx: tx.query_one("SELECT 1"),
        lambda tx: tx.query_value("SELECT 1"),
    ]

    def keeps(tx: Transaction) -> None:
        kept.append(tx)
        for call in calls:
            assert isinstance(Call(functools.partial(call, tx)).error(), WrongThread)

    db.write(keeps)
    db.submit(keeps).result(LIMIT_S)
    with db.transaction() as tx:
        keeps(tx)
    for each in kept:
        for call in calls:
            with pytest.raises(TransactionEnded):
                call(each)
    assert names(db) == []


def test_a_block_is_entered_once(db: Database) -> None:
    """A second time is a mistake that is told, and does no harm to the first."""
    block = db.transaction()
    with block as tx:
        tx.execute(INSERT, ("kept",))
        with pytest.raises(MisuseError):
            block.__enter__()
    with pytest.raises(MisuseError):
        block.__enter__()
    unsafe = db.unsafe_connection()
    with unsafe, pytest.raises(MisuseError):
        unsafe.__enter__()
    db.execute(INSERT, ("after",))
    assert names(db) == ["kept", "after"]


def test_a_function_that_calls_back_in_from_another_thread_is_told_the_time(db: Database) -> None:
    """Nobody can see that it waits for itself; its deadline ends it, nothing ran, and the line goes on."""

    def waits(_tx: Transaction) -> BaseException:
        return Call(lambda: db.execute(INSERT, ("never",), timeout_s=0.05)).error()

    assert isinstance(db.write(waits), onewriter.WriteTimeout)
    assert names(db) == []


def test_a_function_of_sql_that_writes_is_refused(tmp_path: Path) -> None:
    """It runs inside the statement of whoever has the role, its own or another's."""
    opened: list[Database] = []
    seen: list[BaseException] = []

    def calls_back(*_arguments: object) -> int:
        try:
            opened[0].execute(INSERT, ("never",))
        except onewriter.Error as error:
            seen.append(error)
        return 1

    with open_items(tmp_path, onewriter.Config(on_connect=with_function("calls_back", calls_back))) as db:
        opened.append(db)
        threads = [
            threading.Thread(target=db.execute, args=("INSERT INTO item (size) VALUES (calls_back())",))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
        assert len(seen) == 8
        assert all(isinstance(error, NestedWrite) for error in seen)
        assert db.query_value("SELECT count(*) FROM item", into=int) == 8


def test_what_is_no_function_is_refused(db: Database) -> None:
    """By `submit` as by `write`."""
    with pytest.raises(ProgrammingError, match="must be a function of a transaction, not str"):
        db.submit("SELECT 1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
