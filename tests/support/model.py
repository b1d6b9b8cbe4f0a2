"""A model of a small database in plain Python: what each statement does to it.

What a statement that fails undoes follows its conflict clause (https://sqlite.org/lang_conflict.html). Foreign keys are
the business of the transaction: `asking`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn, Protocol, TypeAlias, cast

import onewriter
from onewriter import SQL, DataError, ForbiddenStatement, Migration, ProgrammingError
from onewriter.values import Value

Row: TypeAlias = tuple[Value, ...]

SCHEMA = (
    Migration(
        1,
        "initial schema",
        """
        CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0));
        CREATE TABLE part (
            item INTEGER NOT NULL REFERENCES item (id),
            later INTEGER REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED
        );
        CREATE TRIGGER bomb BEFORE INSERT ON item WHEN new.name = 'bomb' BEGIN SELECT RAISE(ROLLBACK, 'bomb'); END;
        """,
    ),
)
Conflict = Literal["ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK"]
Item: TypeAlias = tuple[int | None, str | None, int | None]  # the id (None: the next one), the name, the size
Undoes = Literal["nothing", "statement", "transaction"]


@dataclass
class Content:
    """All that is in the database."""

    items: dict[int, Row] = field(
        default_factory=dict[int, Row]
    )  # by id: name, size, and the note if there is one
    parts: Counter[Row] = field(default_factory=Counter[Row])
    side: list[Row] | None = None  # None: there is no such table
    indexed: bool = False
    noted: bool = False  # the table of items has a third column

    def is_dangling(self, *, column: int) -> bool:
        """Whether a part refers, by its *column*, to an item that is not there."""
        return any(part[column] is not None and part[column] not in self.items for part in self.parts)


def read_content(query: Callable[[SQL], Sequence[Row]]) -> Content:
    """Return what is really there, as *query* sees it."""
    schema = {row[0] for row in query(SQL("SELECT name FROM sqlite_schema"))}
    return Content(
        items={cast("int", row[0]): row[1:] for row in query(SQL("SELECT * FROM item"))},
        parts=Counter(query(SQL("SELECT * FROM part"))),
        side=[*query(SQL("SELECT * FROM side ORDER BY rowid"))] if "side" in schema else None,
        indexed="by_size" in schema,
        noted=query(SQL("SELECT 1 FROM pragma_table_info('item') WHERE name = 'note'")) != [],
    )


# --- statements


class Broken(Exception):
    """A constraint that a statement broke."""

    def __init__(self, kind: str, undoes: Undoes = "statement") -> None:
        """Name the constraint by its *kind*, and say what is undone."""
        super().__init__(kind)
        self.kind = kind
        self.undoes: Undoes = undoes


@dataclass(frozen=True)
class Effect:
    """What a statement did; *rowid* is of the item that it inserted last, or 0."""

    rows: list[Row] = field(default_factory=list[Row])
    changes: int = 0
    rowid: int = 0


class Statement(Protocol):
    """One statement: its SQL for the real database, and its effect on the model."""

    @property
    def sql(self) -> str:
        """The text."""
        ...

    @property
    def params(self) -> tuple[Value, ...]:
        """What is bound in it."""
        ...

    def apply(self, content: Content) -> Effect:
        """Do it to *content*; what is half-done where it raises, the caller undoes.

        Raises:
            Broken: a constraint, foreign keys aside, which the caller looks after.
            Error: it cannot run.
        """
        ...


@dataclass(frozen=True)
class Insert:
    """Insert items, one after the other."""

    rows: tuple[Item, ...]
    conflict: Conflict = "ABORT"

    @property
    def sql(self) -> str:
        """One row of parameters an item."""
        values = ", ".join(["(?, ?, ?)"] * len(self.rows))
        return f"INSERT OR {self.conflict} INTO item (id, name, size) VALUES {values}"

    @property
    def params(self) -> tuple[Value, ...]:
        """All items in a row."""
        return tuple(value for row in self.rows for value in row)

    def apply(self, content: Content) -> Effect:
        """Insert one after the other."""
        done = [self._insert(content, *row) for row in self.rows]
        ids = [each for each in done if each is not None]
        return Effect(changes=len(ids), rowid=ids[-1] if ids else 0)

    def _insert(self, content: Content, key: int | None, name: str | None, size: int | None) -> int | None:
        if name == "bomb":
            raise Broken("trigger", "transaction")
        if key is None:
            key = max(content.items, default=0) + 1
        if size is None and self.conflict == "REPLACE":
            size = 0  # the column's default
        namesakes = [each for each, row in content.items.items() if name is not None and row[0] == name]
        problem = (
            "not_null"
            if size is None
            else "check"
            if size < 0
            else "primary_key"
            if key in content.items
            else "unique"
            if namesakes
            else None
        )
        if problem is not None:
            if self.conflict == "IGNORE":
                return None
            if self.conflict != "REPLACE" or problem == "check":
                raise Broken(problem, _UNDOES[self.conflict])
            for each in (key, *namesakes):
                content.items.pop(each, None)
        content.items[key] = (name, size, *(("new",) if content.noted else ()))
        return key


_UNDOES: dict[Conflict, Undoes] = {
    "ABORT": "statement",
    "FAIL": "nothing",
    "REPLACE": "statement",
    "ROLLBACK": "transaction",
}


@dataclass(frozen=True)
class Resize:
    """Change the size of an item."""

    key: int
    size: int | None
    sql = "UPDATE item SET size = ? WHERE id = ? RETURNING id"

    @property
    def params(self) -> tuple[Value, ...]:
        """In the order of the text."""
        return (self.size, self.key)

    def apply(self, content: Content) -> Effect:
        """Do nothing where there is no such item."""
        if self.key not in content.items:
            return Effect()
        if self.size is None or self.size < 0:
            raise Broken("not_null" if self.size is None else "check")
        name, _size, *rest = content.items[self.key]
        content.items[self.key] = (name, self.size, *rest)
        return Effect([(self.key,)], 1)


@dataclass(frozen=True)
class Drop:
    """Delete an item."""

    key: int
    sql = "DELETE FROM item WHERE id = ? RETURNING id"

    @property
    def params(self) -> tuple[Value, ...]:
        """Its id."""
        return (self.key,)

    def apply(self, content: Content) -> Effect:
        """Do nothing where there is no such item."""
        if content.items.pop(self.key, None) is None:
            return Effect()
        return Effect([(self.key,)], 1)


@dataclass(frozen=True)
class Attach:
    """Insert a part of an item, which must be there at once, and of another, which must be there in the end."""

    item: int
    later: int | None
    # Not VALUES: where a row breaks both keys, that leaves the deferred one counted as broken though nothing is there.
    sql = "INSERT INTO part (item, later) SELECT ?, ?"

    @property
    def params(self) -> tuple[Value, ...]:
        """Both."""
        return (self.item, self.later)

    def apply(self, content: Content) -> Effect:
        """Parts may be equal."""
        content.parts[self.item, self.later] += 1
        return Effect(changes=1)


@dataclass(frozen=True)
class Detach:
    """Delete all parts of an item."""

    item: int
    sql = "DELETE FROM part WHERE item = ?"

    @property
    def params(self) -> tuple[Value, ...]:
        """The item."""
        return (self.item,)

    def apply(self, content: Content) -> Effect:
        """Count them."""
        gone = [part for part in content.parts if part[0] == self.item]
        return Effect(changes=sum(content.parts.pop(part) for part in gone))


@dataclass(frozen=True)
class Aside:
    """Insert into a table that may not be there."""

    number: int
    sql = "INSERT INTO side (number) VALUES (?)"

    @property
    def params(self) -> tuple[Value, ...]:
        """The number."""
        return (self.number,)

    def apply(self, content: Content) -> Effect:
        """Numbers are not unique."""
        if content.side is None:
            raise ProgrammingError("no such table")
        content.side.append((self.number,))
        return Effect(changes=1)


@dataclass(frozen=True)
class Change:
    """Make something of the schema that is not there yet, or drop it."""

    what: Literal["side", "index", "note"]
    there: bool
    params = ()

    @property
    def sql(self) -> str:
        """DDL."""
        return _DDL[self.what, self.there]

    def apply(self, content: Content) -> Effect:
        """Refuse what is so already."""
        is_there = {"side": content.side is not None, "index": content.indexed, "note": content.noted}
        if is_there[self.what] is self.there:
            raise ProgrammingError("is there already, or is not")
        if self.what == "side":
            content.side = [] if self.there else None
        elif self.what == "index":
            content.indexed = self.there
        else:
            content.noted = self.there
            note = ("new",) if self.there else ()
            content.items = {key: (*row[:2], *note) for key, row in content.items.items()}
        return Effect()


_DDL = {
    ("side", True): "CREATE TABLE side (number INTEGER)",
    ("side", False): "DROP TABLE side",
    ("index", True): "CREATE INDEX by_size ON item (size)",
    ("index", False): "DROP INDEX by_size",
    ("note", True): "ALTER TABLE item ADD COLUMN note TEXT DEFAULT 'new'",
    ("note", False): "ALTER TABLE item DROP COLUMN note",
}


@dataclass(frozen=True)
class Defer:
    """Have immediate foreign keys wait for the end of the request."""

    sql = "PRAGMA defer_foreign_keys = ON"
    params = ()

    def apply(self, content: Content) -> Effect:
        """Change nothing; the transaction keeps it in mind."""
        return Effect()


@dataclass(frozen=True)
class Wrong:
    """A statement that is refused before it does anything."""

    sql: str
    error: type[onewriter.Error]
    params: tuple[Value, ...] = ()

    def apply(self, content: Content) -> NoReturn:
        """Refuse it."""
        raise self.error("refused")


WRONG = (
    Wrong("INSERT INTO", ProgrammingError),
    Wrong("SELECT nowhere", ProgrammingError),
    Wrong("SELECT 1; SELECT 2", ProgrammingError),
    Wrong("SELECT ?", DataError, (2**64,)),
    Wrong("SELECT ?", ProgrammingError, (1, 2)),
    Wrong("VACUUM", ForbiddenStatement),
    *(
        Wrong(sql, ForbiddenStatement)
        for sql in (
            "BEGIN",
            "COMMIT",
            "ROLLBACK",
            "SAVEPOINT mine",
            "RELEASE mine",
            "PRAGMA foreign_keys = OFF",
            "ATTACH ':memory:' AS other",
            "CREATE TEMP TABLE item (id)",
        )
    ),
)
