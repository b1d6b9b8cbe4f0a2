"""The types that follow from rows, converters, parameters and `into`, as a service's checker sees them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Literal, NamedTuple, NewType, TypedDict, assert_type
from uuid import UUID

from onewriter.converters import register, to_sql
from onewriter.mapping import Mapper, check_into, is_scalar, mapper, takes_null
from onewriter.parameters import Param, Params, native
from onewriter.rows import Row, row_class
from onewriter.values import Value

UserId = NewType("UserId", int)


@dataclass(frozen=True, slots=True)
class Blob:
    """A dataclass."""

    digest: str
    size: int | None


class Pair(NamedTuple):
    """A NamedTuple."""

    digest: str
    size: int


class Dictionary(TypedDict):
    """A TypedDict."""

    digest: str
    size: int


class Colour(Enum):
    """An enumeration."""

    RED = "red"


class Money:
    """A type of one's own."""

    def __init__(self, cents: int) -> None:
        """Hold *cents*."""
        self.cents = cents

    @classmethod
    def parse(cls, text: str) -> "Money":
        """Make one of a text."""
        return cls(int(text))


def rows(row: Row) -> None:
    """A value by place and by name, a tuple by slice, a tuple and a mapping in all."""
    assert_type(row[0], Value)
    assert_type(row["size"], Value)
    assert_type(row[1:], tuple[Value, ...])
    assert_type(row.keys(), tuple[str, ...])
    assert_type(dict(row), dict[str, Value])
    assert_type(list(row), list[Value])
    digest, _ = row
    assert_type(digest, Value)
    values: tuple[Value, ...] = row
    assert_type(row_class(("digest", "size")), type[Row])
    assert_type(row_class(("digest", "size"))(values), Row)


def converters() -> None:
    """A converter of one's own: functions of what the column holds, of one type or of several."""
    register(Money, to_sql=lambda money: money.cents, from_sql=Money, stored=int)
    register(Money, to_sql=lambda money: str(money.cents), from_sql=Money.parse, stored=str)
    register(Money, to_sql=lambda money: money.cents, from_sql=lambda cents: Money(cents + 1), stored=int)
    register(Money, to_sql=lambda money: money.cents, from_sql=of_either, stored=(int, str))
    register(Money, to_sql=lambda money: money.cents, from_sql=of_either, stored=int)
    assert_type(to_sql(Money(5)), Value)


def of_either(value: Value) -> Money:
    """Make one of whatever is stored."""
    return Money(int(value or 0))


def classes(names: tuple[str, ...], row: tuple[Value, ...]) -> None:
    """A class of each sort."""
    assert_type(mapper(Blob, names), Mapper[Blob])
    assert_type(mapper(Blob, names).one(row), Blob)
    assert_type(mapper(Pair, names).all([row]), list[Pair])
    assert_type(mapper(Dictionary, names).one(row), Dictionary)
    assert_type(mapper(Blob, names).one(row_class(names)(row)), Blob)


def values(names: tuple[str, ...], row: tuple[Value, ...]) -> None:
    """One value of each sort."""
    assert_type(mapper(int, names).one(row), int)
    assert_type(mapper(int | None, names).one(row), int | None)
    assert_type(mapper(int | str, names).all([row]), list[int | str])
    assert_type(mapper(datetime | None, names).one(row), datetime | None)
    assert_type(mapper(Colour, names).one(row), Colour)
    assert_type(mapper(UUID, names).one(row), UUID)
    assert_type(mapper(UserId, names).one(row), UserId)
    assert_type(mapper(Literal["r", "w"], names).one(row), Literal["r", "w"])
    assert_type(mapper(Money, names).one(row), Money)
    check_into(int | None)
    assert_type(takes_null(int | None), bool)
    assert_type(is_scalar(Blob), bool)


def parameters(blobs: list[tuple[str, int]], named: dict[str, int]) -> None:
    """What can be bound, in a sequence or a mapping; a type of one's own goes through `to_sql`."""
    param: Param = datetime.now(UTC)
    all_of_them: Params = (None, 1, 1.5, "x", b"x", bytearray(), memoryview(b""), True, param, date.min)
    more: Params = [Decimal(1), UUID(int=1), Colour.RED, Path("x"), to_sql(Money(5))]
    by_name: Params = {"size": 5, "at": param}
    some: list[Params] = [blobs[0], named, all_of_them, more, by_name]
    assert_type(native(some[0]), Params)
