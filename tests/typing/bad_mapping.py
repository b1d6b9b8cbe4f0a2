"""Wrong use of rows, converters, parameters and `into` that a type checker finds before it runs."""

from dataclasses import dataclass

from onewriter.converters import register, to_sql
from onewriter.mapping import mapper
from onewriter.parameters import native
from onewriter.rows import Row


@dataclass
class Blob:
    """A dataclass."""

    digest: str
    size: int


class Money:
    """A type of one's own."""

    def __init__(self, cents: int) -> None:
        """Hold *cents*."""
        self.cents = cents


def rows(row: Row) -> None:
    """A value may be any of SQLite's; columns are no attributes, and cannot be set."""
    size: int = row["size"]  # error: both
    first: str = row[0]  # error: both
    row.size  # error: both
    row["size"] = 1  # error: both
    row[1.5]  # error: both


def converters() -> None:
    """Functions of the right types, and a stored type that SQLite has."""
    register(Money, to_sql=lambda money: money.euros, from_sql=Money, stored=int)  # error: both
    register(Money, to_sql=lambda money: [money], from_sql=Money, stored=int)  # error: both
    register(Money, to_sql=lambda money: money.cents, from_sql=Money, stored=str)  # error: both
    register(Money, to_sql=lambda money: money.cents, from_sql=Money, stored=list)  # error: both
    register(Money, to_sql=lambda money: money.cents, from_sql=Money)  # error: both
    cents: int = to_sql(Money(5))  # error: both


def mapping(names: tuple[str, ...], row: tuple[int, ...]) -> None:
    """What is made is what was asked for."""
    size: int = mapper(int | None, names).one(row)  # error: both
    blobs: list[int] = mapper(Blob, names).all([row])  # error: both
    mapper(Blob, "digest")  # error: both
    mapper(5, names)  # error: both


def parameters() -> None:
    """What cannot be bound as it is."""
    native((Money(5),))  # error: both
    native({"money": Money(5)})  # error: both
    native(5)  # error: both
