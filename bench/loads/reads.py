"""Loads that read, alone or among writes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import cast

from bench.contenders import Can
from bench.contenders.base import Session

from .base import Call, Work, always
from .writes import make

CREATE = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, kind TEXT, ratio REAL, size INT)"
FILL = "INSERT INTO item VALUES (?, ?, 'blob', ?, ?)"
POINT = "SELECT id, name, size FROM item WHERE id = ?"
SCAN = "SELECT sum(size * 3 % 7), max(length(name)) FROM item"
FIVE = "SELECT id, name, kind, ratio, size FROM item LIMIT 10000"
INSERT = "INSERT INTO item (name, kind, ratio, size) VALUES (?, 'blob', 0.5, 7)"


class _Reading(Work):
    needs = Can.QUERY

    def fill(self) -> None:
        rows = ((n, f"name {n}", n / 3, n * 5 if n % 7 else None) for n in range(self.load.rows))
        make(self, CREATE, sql=FILL, rows=rows)

    def _keys(self, number: int) -> Callable[[], int]:
        """Return what returns another key each time, the same ones for every contender."""
        key, rows = number * 977, self.load.rows

        def draw() -> int:
            nonlocal key
            key = (key + 7919) % rows
            return key

        return draw


class Point(_Reading):
    """Each call reads rows by their keys, one after the other."""

    each = 20

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        query, key, each = session.query, self._keys(number), range(self.each)

        def read() -> None:
            for _ in each:
                query(POINT, (key(),))

        return always("read", read)


class Scan(_Reading):
    """Each call reads the whole table, and returns one row."""

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        return always("read", lambda: session.query(SCAN, ()))


@dataclass
class Item:
    """A row of five columns."""

    id: int
    name: str
    kind: str
    ratio: float
    size: int | None


Fields = tuple[int, str, str, float, int | None]


class Objects(_Reading):
    """Each call reads 10,000 rows as instances of a dataclass."""

    each = 10_000

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        query = session.query

        def read() -> object:
            return [Item(*row) for row in cast("Iterable[Fields]", query(FIVE, ()))]

        into = session.query_into
        return always("read", read if into is None else lambda: into(FIVE, Item))


class Mixed(_Reading):
    """Reads by a key, and inserts, in an order that is drawn once."""

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        drawn, key = random.Random(number), self._keys(number)
        calls: dict[bool, tuple[str, Call]] = {
            True: ("read", lambda: session.query(POINT, (key(),))),
            False: ("write", lambda: session.execute(INSERT, ("x" * self.load.bytes,))),
        }
        return cycle([calls[drawn.random() < self.load.reads] for _ in range(1_000)])
