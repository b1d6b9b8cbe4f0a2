"""What is told, against what triggers wrote down in the same transactions: random writes of several threads.

Each table has triggers that note every row that is written to in the table ``noted``. What is undone takes its notes
with it, so these say exactly which rows were touched by what was committed. Against them:

- every row that was touched is told, unless it came and went in one commit, and no other row is told;
- what is told, played back in its order, leads from the rows that were there before to those that are there after;
- each row whose content has changed is told.
"""

# APSW's stub leaves the type of a bound buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw
import pytest

import onewriter
from onewriter import SQL, Changes, Config, Database, Transaction, Value
from tests.support.hearing import Hearing, open_observed, replay
from tests.support.steps import LIMIT_S, Call, calls

TABLES: Final = ("parent", "kid", "other")
KEYS: Final = 12
THREADS: Final = 4
ROUNDS: Final = 12
REQUESTS: Final = 15

SCRIPT: Final = """
CREATE TABLE parent (id INTEGER PRIMARY KEY, name UNIQUE, size NOT NULL CHECK (size >= 0));
CREATE TABLE kid (id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE CASCADE ON UPDATE SET NULL,
    later REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE other (id INTEGER PRIMARY KEY, copied);
CREATE TABLE noted (number INTEGER PRIMARY KEY, name, kind, id);
CREATE TRIGGER copies AFTER INSERT ON parent BEGIN INSERT INTO other (copied) VALUES (new.name); END;
CREATE TRIGGER refuses BEFORE UPDATE OF size ON parent WHEN new.size = 7 BEGIN SELECT RAISE(ABORT, 'seven'); END;
CREATE TRIGGER ends AFTER UPDATE OF size ON parent WHEN new.size = 8 BEGIN SELECT RAISE(ROLLBACK, 'eight'); END;
CREATE TRIGGER skips BEFORE DELETE ON parent WHEN old.size = 9 BEGIN SELECT RAISE(IGNORE); END;
"""
NOTES: Final = """
CREATE TRIGGER {0}_i AFTER INSERT ON {0} BEGIN INSERT INTO noted (name, kind, id) VALUES ('{0}', 'i', new.id); END;
CREATE TRIGGER {0}_d AFTER DELETE ON {0} BEGIN INSERT INTO noted (name, kind, id) VALUES ('{0}', 'd', old.id); END;
CREATE TRIGGER {0}_u AFTER UPDATE ON {0} WHEN new.id = old.id BEGIN
    INSERT INTO noted (name, kind, id) VALUES ('{0}', 'u', new.id); END;
CREATE TRIGGER {0}_m AFTER UPDATE ON {0} WHEN new.id != old.id BEGIN
    INSERT INTO noted (name, kind, id) VALUES ('{0}', 'd', old.id), ('{0}', 'i', new.id); END;
"""
FAILS: Final = """
CREATE TRIGGER leaves AFTER UPDATE OF size ON parent WHEN new.size = 6 BEGIN SELECT RAISE(FAIL, 'six'); END;
"""


def _on_connect(connection: apsw.Connection) -> None:
    # Rows that a conflict replaces fire their triggers then, and are noted too.
    connection.execute("PRAGMA recursive_triggers = ON")
    connection.create_scalar_function("burst", _burst)


def _burst(*values: object) -> int:
    (value,) = values
    assert isinstance(value, int)
    if value % 5 == 0:
        raise LookupError("burst")
    return value


class Random:
    """Draws what a thread does."""

    def __init__(self, seed: int, *, fails: bool) -> None:
        """Draw everything from *seed*; statements say FAIL too where it *fails*."""
        self._drawn = random.Random(seed)
        self._how = ["", "", " OR REPLACE", " OR IGNORE", " OR ABORT", " OR ROLLBACK", *[" OR FAIL"] * fails]

    def statement(self) -> str:
        """Return one statement; many of them fail."""
        drawn = self._drawn
        key, other, size = (
            drawn.randint(1, KEYS),
            drawn.randint(1, KEYS),
            drawn.choice((0, 1, 2, 3, 6, 7, 8, 9, -1)),
        )
        how = drawn.choice(self._how)
        return drawn.choice(
            (
                f"INSERT{how} INTO parent VALUES ({key}, 'n{other}', {size}), ({other}, 'n{key}', 1)",
                f"INSERT{how} INTO parent (name, size) VALUES ('n{key}', {size})",
                f"INSERT INTO parent VALUES ({key}, 'n{other}', 1) ON CONFLICT DO UPDATE SET size = {size}",
                f"UPDATE{how} parent SET size = {size} WHERE id <= {key}",
                f"UPDATE{how} parent SET name = 'n{other}' WHERE id = {key}",
                f"UPDATE{how} parent SET id = {other} WHERE id = {key}",
                f"UPDATE parent SET size = burst(id) WHERE id >= {key}",
                f"DELETE FROM parent WHERE id = {key}",
                f"INSERT{how} INTO kid VALUES ({key}, {other}, NULL)",
                f"INSERT INTO kid (parent, later) VALUES ({other}, {key})",
                f"UPDATE kid SET parent = {other}",
                f"DELETE FROM kid WHERE id > {key}",
                "DELETE FROM kid",
                "DELETE FROM other",
            )
        )

    def function(self, depth: int = 0) -> Callable[[Transaction], None]:
        """Return a function of some steps, which may go on after an error, undo a part, or raise."""
        drawn = self._drawn
        steps: list[tuple[str, object]] = []
        for _ in range(drawn.randint(1, 4)):
            kind = drawn.choice(("run", "run", "try", "try", "many", "nest", "undo"))
            if kind in ("nest", "undo"):
                steps.append((kind, self.function(depth + 1)) if depth < 2 else ("try", self.statement()))
            else:
                steps.append((kind, self.statement()))
        raises = drawn.random() < 0.15

        def work(tx: Transaction) -> None:
            for kind, what in steps:
                _step(tx, kind, what)
            if raises:
                raise LookupError("mine")

        return work

    def request(self, db: Database) -> Callable[[], object]:
        """Return one request, whatever it is made by."""
        drawn, function, sql = self._drawn, self.function(), SQL(self.statement())
        keys = [(drawn.randint(1, KEYS),) for _ in range(drawn.randint(1, 4))]

        def block() -> None:
            with db.transaction() as tx:
                function(tx)

        return drawn.choice(
            (
                lambda: db.execute(sql),
                lambda: db.execute(sql),
                lambda: db.execute_many("INSERT INTO kid (id) VALUES (?)", keys),
                lambda: db.write(function),
                lambda: db.write(function),
                lambda: db.write(function, alone=True),
                lambda: db.submit(function).result(LIMIT_S),
                block,
            )
        )


def _step(tx: Transaction, kind: str, what: object) -> None:
    if kind == "run" or "burst" in str(
        what
    ):  # of that nobody knows whether it was undone; so it is, as a whole
        tx.execute(SQL(str(what)))
    elif kind == "many":
        with suppress(onewriter.IntegrityError):
            tx.execute_many("INSERT INTO parent VALUES (?, ?, 1)", [(n, f"m{n}") for n in (3, 20, 4)])
    elif kind == "try":
        with suppress(onewriter.Error, LookupError):
            tx.execute(SQL(str(what)))
    else:
        assert callable(what)
        with suppress(onewriter.IntegrityError, LookupError), tx.savepoint():
            what(tx)
            if kind == "undo":
                raise LookupError


Content = Mapping[str, Mapping[Value, object]]


def _content(db: Database) -> Content:
    return db.read(
        lambda tx: {
            name: {row[0]: tuple(row[1:]) for row in tx.query(SQL(f"SELECT * FROM {name}"))}
            for name in TABLES
        }
    )


def _ids(rows: Mapping[Value, object]) -> set[int]:
    return {rowid for rowid in rows if isinstance(rowid, int)}


def _touched(db: Database, name: str) -> tuple[set[int], set[int]]:
    """Return which rows of *name* were touched, and which of these have only come and gone, as far as can be seen."""
    notes = db.query("SELECT id, kind FROM noted WHERE name = ? ORDER BY number", (name,))
    touched: dict[int, str] = {}
    for rowid, kind in notes:
        assert isinstance(rowid, int)
        touched[rowid] = touched.get(rowid, "") + str(kind)
    passing = {rowid for rowid, kinds in touched.items() if kinds[0] == "i" and kinds[-1] == "d"}
    return set(touched), passing


def _told(told: list[Changes], name: str) -> Iterator[int]:
    for changes in told:
        found = changes.table(name)
        if found is not None:
            assert not found.more
            yield from (*found.inserted, *found.updated, *found.deleted)


def _run(db: Database, hearing: Hearing, drawn: random.Random, *, exact: bool) -> None:
    """Have several threads write at random, then judge what was told of it."""
    db.execute("DELETE FROM noted")
    hearing.rest()
    before = _content(db)
    seeds = [drawn.randrange(2**32) for _ in range(THREADS)]

    def write(number: int) -> None:
        mine = Random(seeds[number], fails=not exact)
        for _ in range(REQUESTS):
            with suppress(onewriter.Error, LookupError):
                mine.request(db)()

    running: list[Call[None]] = calls(write, THREADS)
    for call in running:
        call.result()
    told, after = hearing.rest(), _content(db)
    assert all(each.complete for each in told)
    for name in TABLES:
        touched, passing = _touched(db, name)
        heard = set(_told(told, name))
        assert touched - passing <= heard, f"{name}: not told: {touched - passing - heard}"
        changed = {
            rowid
            for rowid in before[name].keys() | after[name].keys()
            if before[name].get(rowid) != after[name].get(rowid)
        }
        assert changed <= heard, f"{name}: changed, and not told: {changed - heard}"
        if exact:
            assert heard <= touched, f"{name}: told, though undone: {heard - touched}"
            assert replay(told, name, _ids(before[name])) == _ids(after[name]), name


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "with RAISE(FAIL)"])
def test_what_is_told_is_what_was_committed(tmp_path: Path, seed: int, exact: bool) -> None:
    """Where FAIL is said, a statement that was undone may be told; nothing that was committed is missing."""
    script = SCRIPT + "".join(NOTES.format(name) for name in TABLES) + ("" if exact else FAILS)
    config = Config(on_connect=_on_connect, observe_rowids_max=1_000_000)
    drawn = random.Random(seed)
    with open_observed(tmp_path, script, config) as db:
        hearing = Hearing(db)
        for _ in range(ROUNDS):
            _run(db, hearing, drawn, exact=exact)
