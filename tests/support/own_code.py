"""Every place where a caller's own code runs inside the library; `reentry` has what it does there."""

# pyright: reportUnknownMemberType=false
# (APSW's stub leaves the type of a bound buffer unknown.)

from __future__ import annotations

import gc
import logging
import signal
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import apsw

import onewriter
from onewriter import Config, Migration, Transaction
from tests.support.hostile import QUICK
from tests.support.oracle import MIGRATION
from tests.support.reentry import INSERT, Caller
from tests.support.steps import wait_until


def connect_with(caller: Caller) -> Config:
    """Return the limits of a database whose SQL functions, collation and commits come to *caller*."""

    def collate(one: str, other: str) -> int:
        caller()
        return (one > other) - (one < other)

    def on_connect(connection: apsw.Connection) -> None:
        connection.create_scalar_function("calls_back", caller)
        connection.create_collation("calls_back", collate)

        def hook() -> bool:
            if caller.at_commit:
                caller()
            return False

        connection.set_commit_hook(hook)
        if caller.at_connect:
            caller()

    return replace(QUICK, on_connect=on_connect)


class _Rows:
    """Rows whose iterator comes back in."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def __iter__(self) -> Iterator[tuple[int]]:
        yield (self._caller(),)


class _Values(Sequence[int]):
    """Parameters whose class comes back in."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def __len__(self) -> int:
        return self._caller()

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - one number
        if index == 0:
            return self._caller()
        raise IndexError


class _Forgotten:
    """Comes back in when the collector finds it."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._itself = self

    def __del__(self) -> None:
        self._caller()


class _Logs(logging.Handler):
    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self._caller = caller

    def emit(self, record: logging.LogRecord) -> None:
        self._caller()


class Money:
    """A type with a converter, which comes back in; see `PLACES`."""

    def __init__(self, caller: Caller) -> None:
        """Note who is called."""
        self.caller = caller


def _never(stored: int) -> Money:
    raise AssertionError(stored)


def _called(money: Money) -> int:
    return money.caller()


onewriter.converters.register(Money, to_sql=_called, from_sql=_never, stored=int)


def _params(value: object) -> Any:  # noqa: ANN401 - no type checker knows of the converter
    return (value,)


# --- the places


def _in_transaction(caller: Caller) -> None:
    with caller.opened.transaction() as tx:
        tx.execute(INSERT, (1,))
        caller(tx)
        tx.execute(INSERT, (2,))


def _in_savepoint(caller: Caller) -> None:
    def work(tx: Transaction) -> None:
        with tx.savepoint(), tx.stream("SELECT a FROM t") as rows:
            next(iter(rows))
            caller(tx)

    caller.opened.write(work)


def _in_stream(caller: Caller) -> None:
    with caller.opened.stream("SELECT a FROM t") as rows:
        for _ in rows:
            caller()


def _in_read_transaction(caller: Caller) -> None:
    with caller.opened.read_transaction() as tx:
        caller(tx)


def _in_unsafe(caller: Caller) -> None:
    with caller.opened.unsafe_connection():
        caller()


def _in_function(caller: Caller) -> None:
    """Inside SQL that a function of the caller's runs, within a write."""
    caller.opened.write(lambda tx: tx.query("SELECT calls_back(a) FROM t"))


def _after_commit(caller: Caller) -> None:
    caller.opened.write(lambda tx: tx.after_commit(caller))


def _after_submitted(caller: Caller) -> None:
    caller.opened.submit(lambda tx: tx.after_commit(caller)).result(10)


def _done_callback(caller: Caller) -> None:
    future = caller.opened.submit(lambda tx: tx.execute(INSERT, (1,)))
    future.add_done_callback(caller)
    wait_until(lambda: caller.is_over, "the callback")


def _signal(caller: Caller) -> None:
    """In a signal handler that interrupts a write; on the main thread, where they run."""

    def work(tx: Transaction) -> None:
        signal.raise_signal(signal.SIGUSR1)
        tx.execute(INSERT, (1,))

    before = signal.signal(signal.SIGUSR1, caller)
    try:
        caller.opened.write(work)
    finally:
        signal.signal(signal.SIGUSR1, before)


def _finalizer(caller: Caller) -> None:
    def work(tx: Transaction) -> None:
        _Forgotten(caller)
        gc.collect()
        tx.execute(INSERT, (1,))

    caller.opened.write(work)


def _weak(caller: Caller) -> None:
    def read(tx: onewriter.ReadTransaction) -> None:
        class Thing:
            pass

        thing = Thing()
        weakref.finalize(thing, caller)
        del thing
        gc.collect()
        tx.query("SELECT 1")

    caller.opened.read(read)


def _log(caller: Caller) -> None:
    """In the log's handler, which hears of a callback that raised."""
    handler, logger = _Logs(caller), logging.getLogger("onewriter")
    logger.addHandler(handler)
    try:
        caller.opened.write(lambda tx: tx.after_commit(lambda: 1 / 0))
    finally:
        logger.removeHandler(handler)


def _migration(caller: Caller) -> None:
    caller.opened.migrate([MIGRATION, Migration(2, "calls back", caller)])


def _post_init(caller: Caller) -> None:
    @dataclass
    class Made:
        a: int

        def __post_init__(self) -> None:
            caller()

    caller.opened.query("SELECT 1 AS a", into=Made)


def _commit_hook(caller: Caller) -> None:
    caller.at_commit = True
    caller.opened.execute("INSERT INTO t VALUES ('hooked', '', NULL)")


def _new_reader(caller: Caller) -> None:
    """In `Config.on_connect`, for each reader that is opened."""
    caller.at_connect = True
    with caller.opened.read_transaction(), caller.opened.read_transaction():
        pass


PLACES: Final[dict[str, Callable[[Caller], object]]] = {
    "write": lambda caller: caller.opened.write(caller),
    "write alone": lambda caller: caller.opened.write(caller, alone=True),
    "submit": lambda caller: caller.opened.submit(caller).result(10),
    "read": lambda caller: caller.opened.read(caller),
    "transaction": _in_transaction,
    "savepoint": _in_savepoint,
    "stream": _in_stream,
    "read transaction": _in_read_transaction,
    "unsafe connection": _in_unsafe,
    "after_commit": _after_commit,
    "after_commit of submit": _after_submitted,
    "done callback": _done_callback,
    "progress": lambda caller: caller.opened.snapshot(caller.folder / "place.db", progress=caller),
    "rows": lambda caller: caller.opened.execute_many(INSERT, _Rows(caller)),
    "rows of a transaction": lambda caller: caller.opened.write(
        lambda tx: tx.execute_many(INSERT, _Rows(caller))
    ),
    "parameters": lambda caller: caller.opened.execute(INSERT, _Values(caller)),
    "parameters of a query": lambda caller: caller.opened.query("SELECT ?", _Values(caller)),
    "parameters of a transaction": lambda caller: caller.opened.write(
        lambda tx: tx.execute(INSERT, _Values(caller))
    ),
    "converter": lambda caller: caller.opened.execute(INSERT, _params(Money(caller))),
    "converter of a query": lambda caller: caller.opened.query("SELECT ?", _params(Money(caller))),
    "function": _in_function,
    "function of a query": lambda caller: caller.opened.query("SELECT calls_back(a) FROM t"),
    "function of a statement": lambda caller: caller.opened.execute("UPDATE t SET a = calls_back(a)"),
    "collation": lambda caller: caller.opened.query("SELECT b FROM t ORDER BY b COLLATE calls_back"),
    "commit hook": _commit_hook,
    "new reader": _new_reader,
    "signal handler": _signal,
    "finalizer": _finalizer,
    "weak reference": _weak,
    "log": _log,
    "migration": _migration,
    "post_init": _post_init,
}
