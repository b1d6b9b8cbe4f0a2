"""Reads: onewriter beside raw APSW on one thread, beside the standard library on many; scans on both cores; rows.

    python -m bench.reads [point|threads|scans|rows ...] [--rounds 11] [--seconds 0.5] [--json FILE]

``point``    one thread reads one row of three columns by its key
``threads``  2, 16 and 64 threads do the same: the standard library with a connection a thread, and the pool with other
             ways to hand a reader over: at once after each read (``stay 0``), and after half and five milliseconds
``scans``    one and two threads sum up a column of 200,000 rows: what the second core adds
``rows``     10,000 rows of five columns, as tuples of APSW, as `Row`, and into what ``into`` takes

In each short round every way has its turn, another way first each time; a rate is the median over the rounds, a ratio
the median of the ratios within a round to the first way of the list.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypedDict

import apsw

import onewriter
from bench.rounds import Call, Figure, Report, Ways, always, arguments, compare
from onewriter import readers

ROWS = 200_000
POINT = "SELECT id, name, size FROM item WHERE id = ?"
SCAN = "SELECT sum(size * 3 % 7), max(length(name)) FROM item"
FIVE = "SELECT id, name, kind, ratio, size FROM item LIMIT 10000"


@dataclass
class Plain:
    """Five columns as a dataclass."""

    id: int
    name: str
    kind: str
    ratio: float
    size: int | None


@dataclass(frozen=True)
class Frozen:
    """Five columns as a frozen one."""

    id: int
    name: str
    kind: str
    ratio: float
    size: int | None


@dataclass(frozen=True, slots=True)
class Slotted:
    """Five columns as a frozen one with slots."""

    id: int
    name: str
    kind: str
    ratio: float
    size: int | None


class Named(NamedTuple):
    """Five columns as a named tuple."""

    id: int
    name: str
    kind: str
    ratio: float
    size: int | None


class Typed(TypedDict):
    """Five columns as a dictionary."""

    id: int
    name: str
    kind: str
    ratio: float
    size: int | None


class _Keys:
    """Keys of rows, another each time, the same for every way."""

    def __init__(self, seed: int) -> None:
        self._key = seed * 977

    def __call__(self) -> int:
        self._key = (self._key + 7919) % ROWS
        return self._key


def _raw(path: Path) -> Call:
    cursor = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY).cursor()
    key = _Keys(1)

    def read() -> object:
        return cursor.execute(POINT, (key(),)).fetchone()

    return read


def _standard(path: Path) -> Callable[[int], Call]:
    def of_thread(number: int) -> Call:
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        key = _Keys(number)
        return lambda: connection.execute(POINT, (key(),)).fetchone()

    return of_thread


def _ours(db: onewriter.Database) -> Callable[[int], Call]:
    def of_thread(number: int) -> Call:
        key = _Keys(number)
        return lambda: db.query_one(POINT, (key(),))

    return of_thread


class Bench:
    """The file, and how often and how long each way is run."""

    def __init__(self, folder: Path, rounds: int, seconds: float) -> None:
        """Make the file."""
        self.path = folder / "reads.db"
        self.rounds = rounds
        self.seconds = seconds
        self.db = onewriter.open(self.path)
        self.db.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, kind TEXT, ratio REAL, size INT)"
        )
        self.db.execute_many(
            "INSERT INTO item VALUES (?, ?, 'blob', ?, ?)",
            [(n, f"name {n}", n / 3, n * 5 if n % 7 else None) for n in range(ROWS)],
        )

    def point(self) -> dict[str, Figure]:
        """One thread."""
        return self._rounds(1, {"raw APSW": lambda _: _raw(self.path), "query_one": _ours(self.db)})

    def threads(self, number: int) -> dict[str, Figure]:
        """*number* threads."""
        chosen = readers.STAY_S

        def staying(stay_s: float) -> Callable[[int], Call]:
            def of_thread(number: int) -> Call:
                readers.STAY_S = stay_s  # type: ignore[misc] # a bench may
                return _ours(self.db)(number)

            return of_thread

        ways = {
            "standard library, a connection a thread": _standard(self.path),
            "query_one": staying(chosen),
            "query_one, stay 0": staying(0.0),
            "query_one, stay 0.5 ms": staying(0.0005),
            "query_one, stay 5 ms": staying(0.005),
        }
        try:
            return self._rounds(number, ways)
        finally:
            readers.STAY_S = chosen  # type: ignore[misc] # a bench may

    def scans(self) -> dict[str, Figure]:
        """One thread and two; the ratio is the second core's."""

        def scan() -> object:
            return self.db.query_one(SCAN)

        ways: Ways = {"1 thread": lambda: [scan], "2 threads": lambda: [scan] * 2}
        return compare(always(ways), self.rounds, self.seconds)

    def rows(self) -> dict[str, Figure]:
        """Many rows at once."""
        cursor = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY).cursor()
        db = self.db
        ways: dict[str, Callable[[int], Call]] = {
            "tuples, raw APSW": lambda _: lambda: cursor.execute(FIVE).fetchall(),
            "Row": lambda _: lambda: db.query(FIVE),
            "dataclass": lambda _: lambda: db.query(FIVE, into=Plain),
            "frozen dataclass": lambda _: lambda: db.query(FIVE, into=Frozen),
            "frozen dataclass with slots": lambda _: lambda: db.query(FIVE, into=Slotted),
            "NamedTuple": lambda _: lambda: db.query(FIVE, into=Named),
            "TypedDict": lambda _: lambda: db.query(FIVE, into=Typed),
        }
        return self._rounds(1, ways)

    def _rounds(self, threads: int, makers: dict[str, Callable[[int], Call]]) -> dict[str, Figure]:
        """Measure what each of *makers* makes for each thread of each round."""

        def of_each(make: Callable[[int], Call]) -> list[Call]:
            return [make(number) for number in range(threads)]

        ways: Ways = {way: partial(of_each, make) for way, make in makers.items()}
        return compare(always(ways), self.rounds, self.seconds)


def main(given: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = arguments("Reads, by ratio.", rounds=11, seconds=0.5)
    parser.add_argument(
        "what", nargs="*", choices=("point", "threads", "scans", "rows", []), help="all by default"
    )
    chosen = parser.parse_args(given)
    report = Report(chosen)
    with tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name:
        bench = Bench(Path(name), chosen.rounds, chosen.seconds)
        for what in chosen.what or ("point", "threads", "scans", "rows"):
            if what == "threads":
                for number in (2, 16, 64):
                    report.show(f"{number} threads", bench.threads(number))
            else:
                report.show(what, getattr(bench, what)())
        bench.db.close()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
