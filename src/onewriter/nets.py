"""What a write transaction has done to the rows of its tables, in the end: its *net*.

E1  A net says of each row whether it was there before and is there after: inserted, updated or deleted. A row that was
    inserted and deleted again is in none; one that was deleted and inserted again was updated.
E2  Nets are laid one upon the other: a statement's upon its savepoint's, that upon its transaction's. Where the
    statement or the savepoint is undone, its net is thrown away.
E3  A net holds no more than so many rows of each table. Of what is more it keeps the kinds alone; and none is listed
    from then on, since it may be one of those that are not.
E4  Where an interrupt strikes as one net is laid upon another, both are as they may be: the lower one is unsure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

INSERT: Final = 1
UPDATE: Final = 2
DELETE: Final = 4
FULL: Final = 8  # no further row is listed (E3)

# What two kinds come to, the second upon the first; else it is the second.
_BOTH: Final = {
    (INSERT, UPDATE): INSERT,
    (INSERT, DELETE): 0,
    (DELETE, INSERT): UPDATE,
    (DELETE, UPDATE): UPDATE,
    (UPDATE, INSERT): UPDATE,
}


class Rows:
    """What was done to the rows of one table.

    Attributes:
        kinds: by rowid, what became of the row.
        unlisted: what was done to rows that are not listed, as bits; FULL where there were too many.
    """

    __slots__ = ("kinds", "unlisted")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.kinds: dict[int, int] = {}
        self.unlisted = 0

    def note(self, rowid: int, kind: int, rows_max: int) -> None:
        """Note that *kind* was done to the row *rowid*, if that is one more than *rows_max* only as a kind (E3)."""
        kinds = self.kinds
        before = kinds.get(rowid)
        if before is None:
            if len(kinds) < rows_max and not self.unlisted & FULL:
                kinds[rowid] = kind
            else:
                self.unlisted |= kind | FULL
            return
        both = _BOTH.get((before, kind), kind)
        if both:
            kinds[rowid] = both
        else:
            del kinds[rowid]

    def add(self, later: Rows, rows_max: int) -> None:
        """Lay *later* upon this (E2)."""
        for rowid, kind in later.kinds.items():
            self.note(rowid, kind, rows_max)
        self.unlisted |= later.unlisted


class Net:
    """What was done to all tables.

    Attributes:
        tables: by name, as the schema has it.
        schema: tables were created, dropped or altered.
        unsure: more may have been done than is listed, or less.
        elsewhere: others have done something, and what is not known.
        told: it was taken from who tells it; written by who takes it.
    """

    __slots__ = ("elsewhere", "rows_max", "schema", "tables", "told", "unsure")

    def __init__(self, rows_max: int, *, elsewhere: bool = False, unsure: bool = False) -> None:
        """Hold *rows_max* rows of each table at most (E3)."""
        self.rows_max = rows_max
        self.tables: dict[str, Rows] = {}
        self.elsewhere = elsewhere
        self.unsure = unsure
        self.schema = self.told = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell; a row that came and went leaves an empty table."""
        return not (
            self.schema
            or self.unsure
            or self.elsewhere
            or any(rows.kinds or rows.unlisted for rows in self.tables.values())
        )

    @property
    def is_about_rows(self) -> bool:
        """Whether it says all that was done."""
        return not (self.schema or self.unsure or self.elsewhere)

    @property
    def weight(self) -> int:
        """How many rows it has listed, and one for itself."""
        return 1 + sum(len(rows.kinds) for rows in self.tables.values())

    def rows(self, table: str) -> Rows:
        """Return what was done to *table*."""
        rows = self.tables.get(table)
        if rows is None:
            rows = self.tables[table] = Rows()
        return rows

    def add(self, later: Net) -> None:
        """Lay *later* upon this (E2)."""
        for table, rows in later.tables.items():
            self.rows(table).add(rows, self.rows_max)
        self.schema = self.schema or later.schema
        self.unsure = self.unsure or later.unsure


class Nets:
    """The nets of one transaction that is open: its own, upon it one for each savepoint and statement that has begun.

    For who has the role. What an interrupt has left lies upon the rest until something outside of it ends.
    """

    __slots__ = ("_levels", "_nets", "_rows_max")

    def __init__(self, rows_max: int) -> None:
        """Begin with an empty net; each holds *rows_max* rows of a table at most."""
        self._rows_max = rows_max
        self._nets = [Net(rows_max)]
        self._levels: dict[str, int] = {}  # where the nets of savepoints lie, by name

    @property
    def top(self) -> Net:
        """The net of what runs now."""
        return self._nets[-1]

    def begin(self, savepoint: str | None = None) -> int:
        """Lay a new net upon the others, and return its level."""
        level = len(self._nets)
        if savepoint is not None:
            self._levels[savepoint] = level
        self._nets.append(Net(self._rows_max))
        return level

    def level_of(self, savepoint: str) -> int:
        """Return the level of the net of *savepoint*; above all where it has none, since an interrupt struck."""
        return self._levels.get(savepoint, len(self._nets))

    def above(self, level: int) -> Iterable[Net]:
        """Return the nets at *level* and upon it."""
        return self._nets[level:]

    def keep(self, level: int) -> None:
        """Lay what is at *level* and upon it upon what is below."""
        while len(self._nets) > level:
            below, top = self._nets[-2:]
            unsure, below.unsure = below.unsure, True  # E4
            below.add(top)
            self._nets.pop()
            below.unsure = unsure or top.unsure

    def undo(self, level: int) -> None:
        """Throw away what is at *level* and upon it."""
        del self._nets[level:]

    def whole(self) -> Net:
        """Return the one net of the transaction, which ends; the same one if asked again."""
        self.keep(1)
        return self._nets[0]

    def clear(self) -> None:
        """Begin anew with the next transaction."""
        if len(self._nets) > 1 or not self._nets[0].is_empty or self._nets[0].tables:
            self._nets = [Net(self._rows_max)]
            self._levels.clear()
