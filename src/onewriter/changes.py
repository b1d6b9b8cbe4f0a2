"""What an observer is told: which rows of which tables have changed.

F1  What is told is a value: it is frozen, and nobody else has a part of it.
F2  What comes while the last was not taken yet is joined to what will be told next. So it is bounded: by so many
    rows of each table and of all, and so many tables, since those may come and go.
F3  Between two commits anybody may have looked. So a row that one has inserted and another deleted is told as deleted,
    where in one transaction (`nets`, E1) it would be nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from .nets import DELETE, FULL, INSERT, UPDATE, Net, Rows

FULL_MAX: Final = 100  # rows of all tables: as many as so many full ones have
TABLES_MAX: Final = 10_000
Kind: TypeAlias = Literal["insert", "update", "delete"]
_KINDS: Final[dict[int, Kind]] = {INSERT: "insert", UPDATE: "update", DELETE: "delete"}
# What two kinds come to, of two commits; else it is the second (F3).
_JOINED: Final = {
    (INSERT, UPDATE): INSERT,
    (DELETE, INSERT): UPDATE,
    (DELETE, UPDATE): UPDATE,
    (UPDATE, INSERT): UPDATE,
}


def folded(name: str) -> str:
    """Return *name* as SQLite compares names: letters of ASCII alone have no case."""
    return name.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChanges:
    """What has changed in one table.

    Attributes:
        name: of the table, as the schema has it.
        inserted: rowids, ascending, of rows that are new.
        updated: of rows that were written to and are there still; one that was replaced is one of them.
        deleted: of rows that are gone. A row whose rowid was changed is deleted, and inserted as another one.
        more: other rows have changed too, and are not listed: there were more than ``Config.observe_rowids_max``, or
            than a hundred times that in all tables at a time; or they have no rowid that could be told (a table WITHOUT
            ROWID, a virtual table, the rowid 0); or `vacuum` may have given them other rowids, where the table has no
            INTEGER PRIMARY KEY.
        kinds: all that was done, to rows that are not listed as well.
    """

    name: str
    inserted: tuple[int, ...] = ()
    updated: tuple[int, ...] = ()
    deleted: tuple[int, ...] = ()
    more: bool = False
    kinds: frozenset[Kind] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What has changed since the observer was told last, by one commit or by several.

    Attributes:
        tables: what has changed, by the writes of this `Database`, in each table that is observed.
        elsewhere: another process, or another connection of this one, has committed something: any table may have
            changed.
        schema: a table, index, view or trigger was created, dropped or altered: any table may have changed, or be gone.
        unsure: any table may have changed as well: it is not known whether a commit was made (`OutcomeUnknown`), or
            more was done at a time than is kept.
        commits: how many commits of this `Database` are told of here.
    """

    tables: tuple[TableChanges, ...] = ()
    elsewhere: bool = False
    schema: bool = False
    unsure: bool = False
    commits: int = 0

    @property
    def complete(self) -> bool:
        """Whether ``tables`` has all tables that have changed; if not, take each for changed."""
        return not (self.elsewhere or self.schema or self.unsure)

    @property
    def names(self) -> frozenset[str]:
        """The names of the tables that are listed."""
        return frozenset(each.name for each in self.tables)

    def table(self, name: str) -> TableChanges | None:
        """Return what has changed in the table *name*, in whatever case; None where it is not listed."""
        wanted = folded(name)
        return next((each for each in self.tables if folded(each.name) == wanted), None)


class Gathered:
    """What is to be told to one observer next; touched by one thread."""

    def __init__(self, rows_max: int) -> None:
        """Hold *rows_max* rows of each table at most (F2)."""
        self._rows_max = rows_max
        self._tables: dict[str, Rows] = {}
        self._listed = self._commits = 0
        self._elsewhere = self._schema = self._unsure = False

    def add_flags(self, net: Net) -> None:
        """Join what *net* says of all tables."""
        self._elsewhere = self._elsewhere or net.elsewhere
        self._schema = self._schema or net.schema
        self._unsure = self._unsure or net.unsure

    def count(self) -> None:
        """Count one more commit."""
        self._commits += 1

    def add(self, table: str, later: Rows) -> None:
        """Join what was done to *table*."""
        rows = self._tables.get(table)
        if rows is None:
            if len(self._tables) >= TABLES_MAX:
                self._unsure = True
                return
            rows = self._tables[table] = Rows()
        had = len(rows.kinds)
        room = had + min(self._rows_max - had, FULL_MAX * self._rows_max - self._listed)
        for rowid, kind in later.kinds.items():
            before = rows.kinds.get(rowid)
            if before is not None:
                rows.kinds[rowid] = _JOINED.get((before, kind), kind)
            elif rows.unlisted & FULL or len(rows.kinds) >= room:
                rows.unlisted |= kind | FULL  # as in a net (E3)
            else:
                rows.kinds[rowid] = kind
        self._listed += len(rows.kinds) - had
        rows.unlisted |= later.unlisted

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self._commits or self._elsewhere or self._schema or self._unsure)

    def take(self) -> Changes:
        """Return all of it, and begin anew."""
        told = Changes(
            tables=tuple(self._told()),
            elsewhere=self._elsewhere,
            schema=self._schema,
            unsure=self._unsure,
            commits=self._commits,
        )
        self._tables, self._listed, self._commits = {}, 0, 0
        self._elsewhere = self._schema = self._unsure = False
        return told

    def _told(self) -> Iterator[TableChanges]:
        for name, rows in sorted(self._tables.items()):
            of = {
                kind: tuple(sorted(rowid for rowid, each in rows.kinds.items() if each == kind))
                for kind in _KINDS
            }
            yield TableChanges(
                name=name,
                inserted=of[INSERT],
                updated=of[UPDATE],
                deleted=of[DELETE],
                more=bool(rows.unlisted),
                kinds=frozenset(word for kind, word in _KINDS.items() if of[kind] or rows.unlisted & kind),
            )
