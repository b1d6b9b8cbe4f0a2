"""Loads that write: small rows, uploads, a pipeline, many rows at once, and a large table."""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

import apsw

from bench.contenders import About, Can
from bench.contenders.base import Params, Session, Statements, Waiting

from .base import Call, Work, always

CREATE = "CREATE TABLE small (id INTEGER PRIMARY KEY, body TEXT NOT NULL)"
INSERT = "INSERT INTO small (body) VALUES (?)"
LARGE = """
    WITH RECURSIVE rows (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM rows LIMIT {0})
    INSERT INTO large SELECT number * (9223372036854775807 / {0}), 'x' FROM rows
"""


class Small(Work):
    """Each call inserts one row."""

    needs = Can.EXECUTE

    def fill(self) -> None:
        make(self, CREATE)

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        return always("write", partial(session.execute, INSERT, ("x" * self.load.bytes,)))


class Large(Work):
    """Each call inserts a row somewhere in the midst of many: the larger the table, the more pages it is about.

    The keys are all of SQLite's positive ones, drawn at random; a key that is there already is as good as impossible.
    """

    needs = Can.EXECUTE
    key_max: Final = 2**63 - 1

    @classmethod
    def is_for(cls, about: About) -> bool:
        return super().is_for(about) and about.key != "synced"  # which has no rows

    def fill(self) -> None:
        make(
            self,
            "CREATE TABLE large (key INTEGER PRIMARY KEY, body TEXT NOT NULL)",
            LARGE.format(self.load.rows),
        )

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        draw, body, execute = random.Random().randrange, "x" * self.load.bytes, session.execute

        def insert() -> None:
            execute("INSERT INTO large VALUES (?, ?)", (draw(self.key_max), body))

        return always("write", insert)


class Upload(Work):
    """Each call stores a chunk of a file: it reads the upload's row, inserts the chunk, and updates the row.

    Each thread has an upload of its own, which goes on in the next round.
    """

    needs = Can.WRITE
    anew = True

    def fill(self) -> None:
        make(
            self,
            "CREATE TABLE upload (id INTEGER PRIMARY KEY, received INT NOT NULL)",
            "CREATE TABLE chunk (upload INT, start INT, body BLOB NOT NULL, PRIMARY KEY (upload, start))",
            sql="INSERT INTO upload VALUES (?, 0)",
            rows=((number,) for number in range(self.load.threads)),
        )

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        body = random.Random(number).randbytes(self.load.bytes)

        def store(tx: Statements) -> None:
            [[received]] = tx.query("SELECT received FROM upload WHERE id = ?", (number,))
            assert isinstance(received, int), received
            tx.execute("INSERT INTO chunk VALUES (?, ?, ?)", (number, received, body))
            tx.execute("UPDATE upload SET received = ? WHERE id = ?", (received + len(body), number))

        return always("write", partial(session.write, store))


class Submitted(Small):
    """One thread submits inserts, and waits for the outcome of what it submitted a thousand calls ago."""

    needs = Can.SUBMIT
    ahead = 1_000

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        assert self.load.threads == 1, self.load
        body = "x" * self.load.bytes
        self._waiting: deque[Waiting] = deque()

        def insert(tx: Statements) -> None:
            tx.execute(INSERT, (body,))

        def submit() -> None:
            self._waiting.append(session.submit(insert))
            if len(self._waiting) > self.ahead:
                self._waiting.popleft().result()

        return always("write", submit)

    def left(self) -> Iterator[Call]:
        return (waiting.result for waiting in self._waiting)


class Many(Small):
    """Each call inserts 1,000 rows at once."""

    needs = Can.MANY
    each = 1_000
    anew = True

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        rows = [("x" * self.load.bytes,)] * self.each
        return always("write", partial(session.many, INSERT, rows))


def make(work: Work, *statements: str, sql: str = "", rows: Iterable[Params] = ()) -> None:
    """Run *statements* on the new file of *work*, and *sql* for each of *rows*."""
    connection = apsw.Connection(str(work.path))
    connection.execute("PRAGMA synchronous = OFF")
    with connection:
        for statement in statements:
            connection.execute(statement)
        if sql:
            connection.executemany(sql, rows)
    connection.pragma("journal_mode", "wal")
    connection.close()
