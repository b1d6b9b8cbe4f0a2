"""A caller's code that comes back into the database, and every door by which it may; `own_code` has where it runs."""

# pyright: reportUnknownMemberType=false
# (APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.)

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import onewriter
from onewriter import Database, Migration, ReadTransaction, Transaction
from tests.support.hostile import QUICK
from tests.support.oracle import MIGRATION

LATER: Final = Migration(3, "later", "CREATE TABLE later (x)")
INSERT: Final = "INSERT INTO t VALUES (?, 'text', NULL)"


@dataclass
class Caller:
    """Code of a caller's that comes back in by a *door*, once, and notes what it was told.

    Attributes:
        db: the database, from the moment that there is one.
        at_connect: it is called for each new connection.
        at_commit: it is called at each commit.
        tx: the transaction that it was given, if it was given one; kept when that has ended.
        told: what was raised; None where the call returned.
        is_over: it has come back out.
    """

    door: Callable[[Caller], object]
    folder: Path
    db: Database | None = None
    tx: Any = None
    at_connect: bool = False
    at_commit: bool = False
    told: list[BaseException | None] = field(default_factory=list[BaseException | None])
    is_over: bool = False

    def __call__(self, *arguments: object) -> int:
        """Come back in; what is given is of no interest, but for a transaction."""
        if arguments and isinstance(arguments[0], (ReadTransaction, Transaction)):
            self.tx = arguments[0]
        if self.db is None or self.told:
            return 1
        self.told.append(None)
        try:
            self.door(self)
        except BaseException as error:  # noqa: BLE001 - judged by the test
            self.told[0] = error
        self.is_over = True
        return 1

    @property
    def opened(self) -> Database:
        """The database."""
        assert self.db is not None
        return self.db


# --- the doors


def _block(caller: Caller) -> None:
    with caller.opened.transaction() as tx:
        tx.execute(INSERT, (3,))


def _unsafe(caller: Caller) -> None:
    with caller.opened.unsafe_connection() as connection:
        connection.execute("INSERT INTO t VALUES (4, '', NULL)")


def _read_block(caller: Caller) -> None:
    with caller.opened.read_transaction() as tx:
        tx.query("SELECT count(*) FROM t")


def _stream(caller: Caller) -> None:
    with caller.opened.stream("SELECT * FROM t") as rows:
        list(rows)


def _again(caller: Caller) -> None:
    with onewriter.open(caller.opened.path, config=QUICK) as other:
        other.query("SELECT count(*) FROM t")
        other.execute(INSERT, (5,))


def _through_tx(caller: Caller) -> None:
    """By the transaction, if there is one, whatever has become of it."""
    if caller.tx is not None:
        caller.tx.query("SELECT count(*) FROM t")
        if isinstance(caller.tx, Transaction):
            caller.tx.execute(INSERT, (6,))
            caller.tx.after_commit(lambda: None)
            with caller.tx.savepoint():
                caller.tx.script("DELETE FROM t; SELECT 1")


DOORS: Final[dict[str, Callable[[Caller], object]]] = {
    "execute": lambda caller: caller.opened.execute(INSERT, (1,)),
    "execute_many": lambda caller: caller.opened.execute_many(INSERT, [(1,), (2,)]),
    "write": lambda caller: caller.opened.write(lambda tx: tx.execute(INSERT, (1,))),
    "write alone": lambda caller: caller.opened.write(lambda tx: tx.execute(INSERT, (1,)), alone=True),
    "submit": lambda caller: caller.opened.submit(lambda tx: tx.execute(INSERT, (1,))),
    "transaction": _block,
    "unsafe connection": _unsafe,
    "query": lambda caller: caller.opened.query("SELECT count(*) FROM t"),
    "query_value": lambda caller: caller.opened.query_value("SELECT count(*) FROM t", into=int),
    "read": lambda caller: caller.opened.read(lambda tx: tx.query("SELECT 1")),
    "read transaction": _read_block,
    "stream": _stream,
    "migrate": lambda caller: caller.opened.migrate([MIGRATION, LATER]),
    "migration_status": lambda caller: caller.opened.migration_status([MIGRATION]),
    "schema_version": lambda caller: caller.opened.schema_version(),
    "snapshot": lambda caller: caller.opened.snapshot(caller.folder / "door.db", overwrite=True),
    "restore": lambda caller: onewriter.restore(caller.folder / "source.db", caller.opened.path),
    "check": lambda caller: caller.opened.check(),
    "checkpoint": lambda caller: caller.opened.checkpoint(timeout_s=0.1),  # a read in the way is its own
    "vacuum": lambda caller: caller.opened.vacuum(),
    "stats": lambda caller: caller.opened.stats(),
    "close": lambda caller: caller.opened.close(),
    "close at once": lambda caller: caller.opened.close(timeout_s=0),
    "leave": lambda caller: caller.opened.__exit__(None, None, None),
    "open": _again,
    "tx": _through_tx,
    "copy": lambda caller: copy.copy(caller.opened),
    "pickle": lambda caller: pickle.dumps(caller.opened),
}
