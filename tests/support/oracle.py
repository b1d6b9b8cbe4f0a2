"""The set workload: unique appends, each of two rows, and a judge who knows what every caller was told.

O1  What was acknowledged is there, whole and once.
O2  What was refused, with ``ran`` "no" or "rolled_back" or by the caller's own error, is not there.
O3  What was reported as unknown, and what was asked for when its process ended, is there whole and once, or not at all.
O4  Nothing is there that nobody asked for.

A `Ledger` notes what was asked for and told. One with a file outlives the process that is killed: each word is one
``write`` to a file that is open for appending, which needs no sync to survive the end of a process. The table has no
key, so that a value that is there twice can be seen.
"""

from __future__ import annotations

import enum
import os
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from onewriter import Database, Error, Migration, Transaction

MIGRATION: Final = Migration(1, "units", "CREATE TABLE unit (name TEXT NOT NULL, half INTEGER NOT NULL)")
INSERT: Final = "INSERT INTO unit VALUES (?, ?)"
SELECT: Final = "SELECT name, half FROM unit"


class Fate(enum.Enum):
    """What the caller of a unit was told; the value is its mark in a ledger's file."""

    ASKED = "?"  # nothing yet, and perhaps never
    ACKNOWLEDGED = "+"
    REFUSED = "-"
    UNKNOWN = "~"


class Ledger:
    """What was asked for and told, in this process."""

    def __init__(self, path: Path | None = None) -> None:
        """Keep it in the file at *path* too, behind what is there."""
        self.fates: dict[str, Fate] = {}
        self.at_each: Callable[[str, Fate], object] | None = None  # is told each word, after it was noted
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC
        self._file = None if path is None else os.open(path, flags)
        self._lock = threading.Lock()

    def note(self, name: str, fate: Fate) -> None:
        """Note one word; on any thread."""
        with self._lock:
            self.fates[name] = fate
            if self._file is not None:
                os.write(self._file, f"{fate.value}{name}\n".encode())
            if self.at_each is not None:
                self.at_each(name, fate)

    @contextmanager
    def unit(self, name: str) -> Generator[None]:
        """Note what becomes of *name*, which the block writes; what the block raises leaves it."""
        self.note(name, Fate.ASKED)
        try:
            yield
        except Exception as error:
            unknown = isinstance(error, Error) and error.ran == "unknown"
            self.note(name, Fate.UNKNOWN if unknown else Fate.REFUSED)
            raise
        self.note(name, Fate.ACKNOWLEDGED)

    def close(self) -> None:
        """Close the file, if it has one."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_ledger(path: Path) -> dict[str, Fate]:
    """Return the fates in the ledger's file at *path*; a last line that a kill has cut says nothing."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return {line[1:]: Fate(line[0]) for line in lines}


@dataclass(frozen=True)
class Verdict:
    """What a judge found.

    Attributes:
        complaints: which promises were broken, for which units; empty where all is well.
        acknowledged: how many units were.
        refused: how many.
        unknown: how many were reported so.
        asked: how many nobody was told of.
        survived: how many of the last two are there.
    """

    complaints: list[str] = field(default_factory=list[str])
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    asked: int = 0
    survived: int = 0

    def check(self, where: str = "") -> None:
        """Fail where there are complaints."""
        assert not self.complaints, f"{where}{'; '.join(self.complaints[:5])} ({len(self.complaints)} in all)"


def judge(fates: Mapping[str, Fate], found: Iterable[tuple[str, int]], *, survives: bool = True) -> Verdict:
    """Compare what callers were told with the rows that were *found* (O1 to O4).

    What was acknowledged need not be there where it *survives* not: a loss of power, with ``normal``.
    """
    halves = Counter(found)
    there = {name for name, _half in halves}
    complaints = [
        f"{name!r} half {half} is there {times} times" for (name, half), times in halves.items() if times > 1
    ]
    complaints += [f"{name!r} is half-done" for name in there if not {(name, 1), (name, 2)} <= halves.keys()]
    complaints += [f"{name!r} is there, and nobody asked for it" for name in there - fates.keys()]
    for name, fate in fates.items():
        if fate is Fate.ACKNOWLEDGED and survives and name not in there:
            complaints.append(f"{name!r} was acknowledged and is lost")
        if fate is Fate.REFUSED and name in there:
            complaints.append(f"{name!r} was refused and is there")
    told = Counter(fates.values())
    return Verdict(
        complaints=complaints,
        acknowledged=told[Fate.ACKNOWLEDGED],
        refused=told[Fate.REFUSED],
        unknown=told[Fate.UNKNOWN],
        asked=told[Fate.ASKED],
        survived=sum(name in there for name, fate in fates.items() if fate in (Fate.ASKED, Fate.UNKNOWN)),
    )


class Row(NamedTuple):
    """One half of a unit."""

    name: str
    half: int


def rows(db: Database) -> list[tuple[str, int]]:
    """Return what *db* has of the table of units; raises `RowMismatch` where that is something else."""
    return list(db.query(SELECT, into=Row))


# --- the ways to write one unit


def whole(name: str, tx: Transaction) -> None:
    """Write both rows."""
    tx.execute(INSERT, (name, 1))
    tx.execute(INSERT, (name, 2))


def _statement(db: Database, name: str) -> None:
    db.execute("INSERT INTO unit VALUES (?1, 1), (?1, 2)", (name,))


def _rows(db: Database, name: str) -> None:
    db.execute_many(INSERT, [(name, 1), (name, 2)])


def _function(db: Database, name: str) -> None:
    db.write(lambda tx: whole(name, tx))


def _alone(db: Database, name: str) -> None:
    db.write(lambda tx: whole(name, tx), alone=True)


def _submitted(db: Database, name: str) -> None:
    db.submit(lambda tx: whole(name, tx)).result(timeout=60.0)


def _interactive(db: Database, name: str) -> None:
    with db.transaction() as tx:
        tx.execute(INSERT, (name, 1))
        with tx.savepoint():
            tx.execute(INSERT, (name, 2))


WAYS: Final[tuple[Callable[[Database, str], None], ...]] = (
    _statement,
    _rows,
    _function,
    _alone,
    _submitted,
    _interactive,
)
