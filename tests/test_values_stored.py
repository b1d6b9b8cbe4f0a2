"""What is stored for a value is the same by every road: statements, functions, blocks, queries, streams."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import pytest

import onewriter
from onewriter import SQL, Config, Database, NestedRead, converters
from tests.support.steps import Call


class Colour(Enum):
    """Values that are texts."""

    RED = "red"


class Level(IntEnum):
    """Members that are integers."""

    HIGH = 3


class Name(StrEnum):
    """Members that are texts."""

    ADA = "ada"


class Coordinate(bytes, Enum):
    """Members that are bytes, and have another value."""

    ORIGIN = (b"\x01", 7)

    def __new__(cls, code: bytes, value: int) -> Self:
        """Be *code*."""
        member = bytes.__new__(cls, code)
        member._value_ = value
        return member


class Money(int):
    """A type that SQLite would store as it is, with a converter of its own."""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database with a table that changes nothing of what it stores."""
    with onewriter.open(tmp_path / "values.db", config=Config(readers_max=2)) as opened:
        opened.execute("CREATE TABLE value (road TEXT, stored)")
        yield opened


class Kind:
    """A base of a type of one's own that SQLite would store as it is."""


class Tagged(Kind, int):
    """Such a type."""


@pytest.mark.parametrize("value", [Tagged(5), array("B", [5])])
def test_a_converter_of_a_base_or_a_buffer_is_asked_by_every_road(db: Database, value: object) -> None:
    """APSW would bind these by itself."""
    registry, wary = converters._registry, converters.wary
    try:
        converters.register(Kind, to_sql=lambda _: "kind", from_sql=lambda _: Kind(), stored=str)
        converters.register(array, to_sql=lambda _: "kind", from_sql=lambda _: array("B"), stored=str)
        assert set(_roads(db, value).values()) == {("text", "kind")}
    finally:
        converters._registry, converters.wary = registry, wary


@pytest.fixture
def money() -> Iterator[None]:
    """Money is stored in hundredths, while the test runs."""
    registry, wary = converters._registry, converters.wary
    converters.register(Money, to_sql=lambda m: int(m) * 100, from_sql=lambda n: Money(n // 100), stored=int)
    yield
    converters._registry, converters.wary = registry, wary


def _roads(db: Database, value: Any) -> dict[str, object]:  # noqa: ANN401 - any value
    """Store *value* by every road, and return what is stored."""
    insert = "INSERT INTO value VALUES (?, ?)"
    named = "INSERT INTO value VALUES (:road, :value)"
    db.execute("DELETE FROM value")
    db.execute(insert, ("statement", value))
    db.execute(insert, ["list", value])
    db.execute(named, {"road": "named", "value": value})
    db.execute_many(insert, [("many", value)])
    for _ in range(2):  # the second time the text is known
        db.write(lambda tx: tx.execute(insert, ("function", value)))
    db.write(lambda tx: tx.execute_many(insert, [("many in a function", value)]))
    db.submit(lambda tx: tx.execute(named, {"road": "submitted", "value": value})).result(10)
    with db.transaction() as tx:
        tx.execute(insert, ("block", value))
    stored: dict[str, object] = {
        str(road): (kind, content)
        for road, kind, content in db.query("SELECT road, typeof(stored), stored FROM value")
    }
    for _ in range(2):
        stored["query"] = tuple(db.query("SELECT typeof(?1), ?1", (value,))[0])
        stored["query_one"] = tuple(db.query_one("SELECT typeof(?1), ?1", (value,)) or ())
    with db.stream("SELECT typeof(?1), ?1", (value,)) as rows:
        stored["stream"] = tuple(next(rows))
    return stored


@pytest.mark.parametrize(
    "value, expected",
    [
        (True, ("integer", 1)),
        (datetime(2026, 3, 25, 23, 28, 46, tzinfo=UTC), ("text", "2026-03-25T23:28:46.000000+00:00")),
        (Decimal("1.10"), ("text", "1.10")),
        (UUID(int=5), ("text", "00000000-0000-0000-0000-000000000005")),
        (Path("a/b"), ("text", "a/b")),
        (Colour.RED, ("text", "red")),
        (Level.HIGH, ("integer", 3)),
        (Name.ADA, ("text", "ada")),
        (Coordinate.ORIGIN, ("blob", b"\x01")),
        (bytearray(b"abc"), ("blob", b"abc")),
        (memoryview(b"abc"), ("blob", b"abc")),
        (array("B", [1, 2]), ("blob", b"\x01\x02")),
        (Money(5), ("integer", 500)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_road_stores_the_same(
    db: Database, value: object, expected: tuple[str, object], request: pytest.FixtureRequest
) -> None:
    """With a registered type that SQLite takes by itself, too."""
    if isinstance(value, Money):
        request.getfixturevalue("money")
    stored = _roads(db, value)
    assert len(stored) == 11
    assert set(stored.values()) == {expected}, stored


@pytest.mark.usefixtures("money")
def test_what_was_stored_comes_back(db: Database) -> None:
    """And compares, as a parameter, with what is stored."""
    db.execute("INSERT INTO value VALUES ('a', ?)", (Money(5),))
    assert db.query("SELECT stored FROM value", into=Money) == [Money(5)]
    for _ in range(2):
        assert db.query_value("SELECT count(*) FROM value WHERE stored = ?", (Money(5),), into=int) == 1
    assert db.query_one("SELECT stored FROM value WHERE road = ?", ("a",), into=Money) == Money(5)


def test_a_converter_runs_on_the_thread_that_called(db: Database, money: None) -> None:
    """Not on that of whoever runs the statement for it (G13)."""
    threads: list[int] = []

    def to_sql(value: Money) -> int:
        threads.append(threading.get_ident())
        return int(value)

    converters.register(Money, to_sql=to_sql, from_sql=Money, stored=int)
    go = threading.Event()
    held = Call(lambda: db.write(lambda _tx: go.wait(10)))
    waiting = Call(lambda: db.execute("INSERT INTO value VALUES ('a', ?)", (Money(5),)))
    while db.stats().pending == 0:
        pass
    go.set()
    held.result()
    waiting.result()
    assert threads == [waiting.ident]


@pytest.mark.parametrize(
    "params, message",
    [
        ((1, 2**64), "parameter 2: an integer does not fit in 64 bits"),
        (("a", "\ud800"), "parameter 2: a text is not valid Unicode"),
        (({"a": 2**63}), "parameter :a: an integer does not fit in 64 bits"),
        ((1, object()), "parameter 2: a value of type object cannot be stored: .*converters.register"),
        (
            (1, [2]),
            "parameter 2: a value of type list cannot be stored: .* take it apart in SQL: IN .*json_each",
        ),
        ((1, memoryview(b"abcd")[::2]), "parameter 2: "),
    ],
)
def test_a_value_that_does_not_fit_is_named(db: Database, params: Any, message: str) -> None:  # noqa: ANN401
    """By every road, and the value itself is not told."""
    sql = SQL("SELECT :a" if ":a" in message else "SELECT ?, ?")
    roads: tuple[Callable[[], object], ...] = (
        lambda: db.query(sql, params),
        lambda: db.execute(sql, params),
        lambda: db.write(lambda tx: tx.execute(sql, params)),
        lambda: db.query_one(sql, params),
        lambda: db.stream(sql, params).__enter__(),
    )
    for road in roads:
        with pytest.raises(onewriter.Error, match=message) as caught:
            road()
        assert "18446744073709551616" not in str(caught.value)


def test_a_converter_that_misuses_the_database_is_told_so(db: Database, money: None) -> None:
    """Its own error comes out, not one about a parameter."""

    def to_sql(_value: Money) -> int:
        return len(db.query("SELECT 1"))

    converters.register(Money, to_sql=to_sql, from_sql=Money, stored=int)
    with pytest.raises(NestedRead):
        db.write(lambda tx: tx.execute("INSERT INTO value VALUES ('a', ?)", (Money(5),)))


def test_execute_many_says_which_row_has_too_many_values(db: Database) -> None:
    """By its own count, and nothing is stored."""
    rows = [("a", 1), ("b", 2, 3)]
    with pytest.raises(onewriter.ProgrammingError, match="has 2 parameters, and params has 3 values"):
        db.execute_many("INSERT INTO value VALUES (?, ?)", rows)
    with pytest.raises(onewriter.ProgrammingError, match="has 2 parameters, and params has 3 values"):
        db.write(lambda tx: tx.execute_many("INSERT INTO value VALUES (?, ?)", rows))
    assert db.query("SELECT * FROM value") == []


@pytest.mark.parametrize("script", [5, None, b"SELECT 1", ["SELECT 1"]])
def test_a_script_that_is_no_text_is_named(db: Database, script: Any) -> None:  # noqa: ANN401
    """As everywhere else."""
    with pytest.raises(onewriter.ProgrammingError, match="sql must be a str"):
        db.write(lambda tx: tx.script(script))
