"""Who observes a database in tests, and knows when all has been told."""

from __future__ import annotations

import threading
from itertools import count
from pathlib import Path

import onewriter
from onewriter import Changes, Config, Database
from tests.support.databases import SCHEMA
from tests.support.steps import wait_until

MARK = "CREATE TABLE mark (id INTEGER PRIMARY KEY)"


def open_observed(folder: Path, script: str = "", config: Config | None = None) -> Database:
    """Open a database with the tables of *script*, two small ones, and one for marks."""
    db = onewriter.open(folder / "items.db", config=config, migrations=SCHEMA, durability="normal")
    db.write(lambda tx: tx.script(onewriter.SQL(f"{MARK};\n{script}")))
    return db


class Hearing:
    """Hears of all changes; `rest` ends the wait for what was committed by a mark of its own."""

    def __init__(self, db: Database) -> None:
        """Observe all tables of *db*."""
        self._db = db
        self._lock = threading.Lock()
        self._told: list[Changes] = []
        self._marks = count(1)
        self.observation = db.observe(None, self._hear)

    def _hear(self, changes: Changes) -> None:
        with self._lock:
            self._told.append(changes)

    def so_far(self) -> list[Changes]:
        """Return what was told since the last `rest`, waiting for nothing."""
        with self._lock:
            return list(self._told)

    def rest(self) -> list[Changes]:
        """Commit a mark, wait until that is told, and return what was told before and with it, without the mark."""
        mark = next(self._marks)
        self._db.execute("INSERT INTO mark VALUES (?)", (mark,))
        wait_until(lambda: any(_has_mark(each, mark) for each in self.so_far()), f"mark {mark} told")
        with self._lock:
            told, self._told = self._told, []
        return [each for each in map(_without_mark, told) if each.tables or not each.complete]


def _has_mark(changes: Changes, mark: int) -> bool:
    marks = changes.table("mark")
    return marks is not None and mark in marks.inserted


def _without_mark(changes: Changes) -> Changes:
    marks = changes.table("mark")
    return Changes(
        tables=tuple(each for each in changes.tables if each.name != "mark"),
        elsewhere=changes.elsewhere,
        schema=changes.schema,
        unsure=changes.unsure,
        commits=changes.commits - (len(marks.inserted) if marks is not None else 0),
    )


def short(told: list[Changes]) -> list[str]:
    """Return *told* in short: ``item +1 ~2 -3``, a table each, ``*`` where there is more; then what is said of all."""
    return [one for changes in told for one in _short(changes)]


def _short(changes: Changes) -> list[str]:
    found: list[str] = []
    for each in changes.tables:
        rows = [
            *(f"+{rowid}" for rowid in each.inserted),
            *(f"~{rowid}" for rowid in each.updated),
            *(f"-{rowid}" for rowid in each.deleted),
        ]
        if each.more:
            rows += ["*", *sorted(each.kinds)]
        found.append(" ".join([each.name, *rows]))
    return found + [
        name
        for name, is_so in (
            ("elsewhere", changes.elsewhere),
            ("schema", changes.schema),
            ("unsure", changes.unsure),
        )
        if is_so
    ]


def inserted(told: list[Changes], table: str) -> list[int]:
    """Return the rows of *table* that were told as inserted, in the order of the telling."""
    return [rowid for each in told if (found := each.table(table)) for rowid in found.inserted]


def replay(told: list[Changes], table: str, rows: set[int]) -> set[int]:
    """Return which rows *table* has after *told*, which must fit to those that it had before, *rows*."""
    there = set(rows)
    for changes in told:
        found = changes.table(table)
        if found is None:
            continue
        inserted, updated, deleted = set(found.inserted), set(found.updated), set(found.deleted)
        assert len(inserted | updated | deleted) == len(inserted) + len(updated) + len(deleted), found
        assert not inserted & there, f"was there already: {inserted & there}, in {found}"
        # Of several commits, one may have inserted what another deleted, and a third inserted again.
        assert updated <= there or changes.commits > 1, f"was not there: {updated - there}, in {found}"
        assert deleted <= there or changes.commits > 1, f"was not there: {deleted - there}, in {found}"
        there = (there | inserted | updated) - deleted
    return there
