"""What a caller may give and must not: objects that lie about themselves, raise, and call back into the database.

H1  A call ends within `LIMIT_S`, with a value or an error.
H2  The error is the library's, or `OwnError`, which the caller's own code raised.
H3  Afterwards the database works: nobody waits, nothing is lent, every way of writing writes, the file is sound.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import enum
import random
import time
import uuid
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onewriter
from onewriter import Config, Database, Error
from tests.support.oracle import MIGRATION, WAYS, Ledger, judge, rows

LIMIT_S: Final = 20.0
SHOWN_MAX: Final = 300
# Short limits, so that what runs away ends; long enough for a machine that pauses.
QUICK: Final = Config(statement_timeout_s=0.5, read_timeout_s=3.0, write_timeout_s=3.0, readers_max=3)


class OwnError(Exception):
    """Raised by a caller's own code."""


class Base(BaseException):
    """The same, of the sort that no ``except Exception`` sees."""


OWN: Final = (OwnError, Base)


def shown(case: object) -> str:
    """Return *case* as a failure shows it."""
    try:
        text = ascii(case)
    except BaseException:  # noqa: BLE001 - its class is hostile
        text = object.__repr__(case)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}... ({len(text)} characters)"


def attempt(call: Callable[[], object], case: object) -> BaseException | None:
    """Call it, and return what it raised; fail where H1 or H2 is broken. The last case that is printed hangs."""
    print(shown(case))  # noqa: T201 - shown with a failure, or a time-out
    began = time.monotonic()
    error: BaseException | None = None
    try:
        call()
    except (Error, *OWN) as raised:
        error = raised
    except Exception as raised:
        message = f"{shown(case)} raised {raised!r}"
        raise AssertionError(message) from raised
    assert time.monotonic() - began < LIMIT_S, f"{shown(case)} took too long"
    return error


def check_works(db: Database, ledger: Ledger) -> None:
    """Fail where the database does not work as before (H3)."""
    stats = db.stats()
    assert (stats.pending, stats.readers_lent) == (0, 0)
    for way in WAYS:
        name = f"{way.__name__} {len(ledger.fates)}"
        with ledger.unit(name):
            way(db, name)
    judge(ledger.fates, rows(db)).check()


def open_hostile(path: Path, config: Config = QUICK) -> Database:
    """Open a database with the oracle's table, and one that is there to be maltreated."""
    db = onewriter.open(path, config=config, migrations=(MIGRATION,))
    db.execute("CREATE TABLE IF NOT EXISTS t (a, b TEXT, c BLOB)")
    db.execute("INSERT INTO t VALUES (1, 'one', x'01'), (2.5, 'two', NULL)")
    return db


# --- the doors that take a statement

Door = Callable[[Database, Any, Any], object]


def _stream(db: Database, sql: Any, params: Any) -> object:  # noqa: ANN401 - whatever a hostile caller gives
    with db.stream(sql, params) as found:
        return sum(1 for _ in found)


def _transaction(db: Database, sql: Any, params: Any) -> object:  # noqa: ANN401 - as above
    with db.transaction() as tx:
        return tx.execute(sql, params)


def _tx_stream(db: Database, sql: Any, params: Any) -> object:  # noqa: ANN401 - as above
    def work(tx: onewriter.Transaction) -> int:
        with tx.savepoint(), tx.stream(sql, params) as found:
            return sum(1 for _ in found)

    return db.write(work)


DOORS: Final[dict[str, Door]] = {
    "query": lambda db, sql, params: db.query(sql, params),
    "query_one": lambda db, sql, params: db.query_one(sql, params),
    "query_value": lambda db, sql, params: db.query_value(sql, params),
    "stream": _stream,
    "read": lambda db, sql, params: db.read(lambda tx: tx.query(sql, params)),
    "execute": lambda db, sql, params: db.execute(sql, params),
    "execute_many": lambda db, sql, params: db.execute_many(sql, [params]),
    "write": lambda db, sql, params: db.write(lambda tx: tx.execute(sql, params)),
    "write many": lambda db, sql, params: db.write(lambda tx: tx.execute_many(sql, [params, params])),
    "write query": lambda db, sql, params: db.write(lambda tx: tx.query(sql, params)),
    "write stream": _tx_stream,
    "script": lambda db, sql, _params: db.write(lambda tx: tx.script(sql)),
    "submit": lambda db, sql, params: db.submit(lambda tx: tx.execute(sql, params)).result(LIMIT_S),
    "transaction": _transaction,
}
ASYNC_DOORS: Final[dict[str, Callable[[onewriter.aio.Database, Any, Any], Any]]] = {
    "query": lambda db, sql, params: db.query(sql, params),
    "query_one": lambda db, sql, params: db.query_one(sql, params),
    "query_value": lambda db, sql, params: db.query_value(sql, params),
    "execute": lambda db, sql, params: db.execute(sql, params),
    "execute_many": lambda db, sql, params: db.execute_many(sql, [params]),
    "write": lambda db, sql, params: db.write(lambda tx: tx.execute(sql, params)),
    "read": lambda db, sql, params: db.read(lambda tx: tx.query(sql, params)),
}


def attempt_async(
    loop: asyncio.AbstractEventLoop, make: Callable[[], Any], case: object
) -> BaseException | None:
    """Do what `attempt` does, for what *make* returns, in *loop*."""

    async def call() -> None:
        async with asyncio.timeout(LIMIT_S):
            await make()

    return attempt(lambda: loop.run_until_complete(call()), case)


# --- objects that lie


class Text(str):
    """A text with code of its own in every method that somebody may ask."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise OwnError

    def __eq__(self, other: object) -> bool:
        raise OwnError

    def __str__(self) -> str:
        raise OwnError

    def __repr__(self) -> str:
        raise OwnError

    def __len__(self) -> int:
        return 2**62


class Bytes(bytes):
    """The same of bytes."""

    def __len__(self) -> int:
        return 5

    def __bytes__(self) -> bytes:
        raise OwnError


class Whole(int):
    """A number that says of itself that it is none."""

    def __int__(self) -> int:
        raise OwnError

    def __index__(self) -> int:
        raise OwnError

    def __repr__(self) -> str:
        raise OwnError


class Member(enum.Enum):
    """An enumeration whose values cannot be stored."""

    THING = object()
    LIST = (1, 2)


class Zone(dt.tzinfo):
    """A time zone that returns nonsense."""

    def utcoffset(self, _moment: dt.datetime | None, /) -> Any:  # noqa: ANN401 - nonsense
        return "one hour"

    dst = tzname = utcoffset


class Liar(Sequence[Any]):
    """A sequence whose length and whose items are what the caller of it says."""

    def __init__(self, length: Callable[[], int], item: Callable[[int], object]) -> None:
        """Answer by *length* and *item*."""
        self._length, self._item = length, item

    def __len__(self) -> int:
        return self._length()

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - of a sequence of anything
        return self._item(index)


class LiarMapping(Mapping[Any, Any]):
    """A mapping whose keys are what the caller of it says, and whose values may not be there."""

    def __init__(self, keys: Sequence[object], item: Callable[[object], object]) -> None:
        """Answer by *keys* and *item*."""
        self._keys, self._item = keys, item

    def __len__(self) -> int:
        return -1  # noqa: PLE0303 - it lies

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __getitem__(self, key: object) -> object:
        return self._item(key)


class Pairless(dict[Any, Any]):
    """A dictionary whose items are no pairs."""

    def items(self) -> Any:  # noqa: ANN401 - nonsense
        return [(1, 2, 3), 4, None]


class NoIterator:
    """Says that it can be iterated, and cannot."""

    def __iter__(self) -> Any:  # noqa: ANN401 - nonsense
        return 5


class Raises:
    """Raises at whatever is asked of it."""

    def __init__(self, error: type[BaseException] = OwnError) -> None:
        """Raise *error*."""
        self._error = error

    def _raise(self, *_: object) -> Any:  # noqa: ANN401 - never returns
        raise self._error

    __len__ = __iter__ = __getitem__ = __contains__ = __bool__ = __call__ = __fspath__ = _raise
    __int__ = __index__ = __float__ = __str__ = __repr__ = __hash__ = __eq__ = _raise


def raising(error: type[BaseException] = OwnError) -> Callable[..., Any]:
    """Return a function that raises *error*."""

    def raises(*_: object) -> Any:  # noqa: ANN401 - never returns
        raise error

    return raises


def released() -> memoryview:
    """Return a buffer that was given back."""
    view = memoryview(bytearray(3))
    view.release()
    return view


def nested(depth: int) -> list[Any]:
    """Return a list in a list in a list ..."""
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


def strange_values() -> list[object]:
    """Return values that no column can hold, or that are held only just."""
    return [
        *(None, True, 0, -1, 2**63 - 1, -(2**63), 2**63, 10**30, 10**5000, -(10**5000)),
        *(0.0, -0.0, float("nan"), float("inf"), 1e308, 1 + 2j),
        *("", "\0", "a\0b", "\ud800", "x" * 100_000, "\U0010ffff", Text("text")),
        *(b"", b"\0" * 1000, Bytes(b"abc"), bytearray(b"x"), memoryview(b"abc")[::2], released()),
        *(array("d", [1.0]), memoryview(array("d", [1.0])), memoryview(b"abcd").cast("B", (2, 2))),
        *(Whole(3), Member.THING, Member.LIST, decimal.Decimal("NaN"), decimal.Decimal("1e999999")),
        dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=23))),
        dt.datetime(2020, 1, 1, tzinfo=Zone()),
        *(dt.date.min, dt.time(1), dt.timedelta(1), uuid.UUID(int=0)),
        *(Path("\udcff"), Path("x" * 10_000), object(), object, int, print, ..., NotImplemented),
        *([], [1], (1,), {}, {"a": 1}, {1}, nested(5_000), range(5), (each for each in "ab")),
        *(Raises(), Raises(Base), NoIterator(), Exception("x"), asyncio.Lock(), lambda: 1),
    ]


def strange_params() -> list[object]:
    """Return what cannot be the parameters of a statement, or says something else each time."""
    return [
        *strange_values(),
        *([value] for value in strange_values()),
        *({"a": value} for value in strange_values()),
        Liar(lambda: -1, raising(IndexError)),
        Liar(lambda: 10**30, lambda index: index if index < 3 else raising(IndexError)()),
        Liar(lambda: 1, lambda _index: 1),  # never ends
        Liar(lambda: 2, raising()),
        Liar(raising(), lambda _index: 1),
        Liar(lambda: 0, lambda index: None if index < 1 else raising(IndexError)()),
        LiarMapping(["a"], raising()),
        LiarMapping(["a"], raising()),
        LiarMapping([["unhashable"]], lambda _key: 1),
        LiarMapping([1, None, b"a", ("a",)], lambda _key: 1),
        LiarMapping(["a", "a"], lambda _key: random.random()),  # another each time
        LiarMapping([Text("a")], lambda _key: 1),
        Pairless(a=1),
        {"a\0": 1, "\ud800": 2},
        {1: 2},
        {"a": 1, "b": 2},
        [1] * 40_000,
        {f"a{number}": number for number in range(40_000)},
    ]
