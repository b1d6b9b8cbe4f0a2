"""Wrong use that a type checker finds before it runs."""

from dataclasses import dataclass

import onewriter
from onewriter import Config, Database, Transaction


@dataclass
class Blob:
    """A dataclass."""

    digest: str


def sql_of_input(db: Database, tx: Transaction, name: str) -> None:
    """SQL is a literal, or marked as meant with onewriter.SQL: text made of input is refused."""
    db.query(f"SELECT * FROM blob WHERE digest = '{name}'")  # error: pyright
    db.execute("DELETE FROM " + name)  # error: pyright
    db.query_value(name, into=int)  # error: pyright
    tx.execute(name)  # error: pyright
    with db.stream(name) as rows:  # error: pyright
        next(rows)


def wrong_values(db: Database) -> None:
    """The type of a result follows from `into`; NULL has to be asked for."""
    size: int = db.query_value("SELECT max(size) FROM blob", into=int | None)  # error: both
    digest: str = db.query_value("SELECT size FROM blob", into=int)  # error: both
    rows: list[str] = db.query("SELECT size FROM blob", into=int)  # error: both
    blobs: list[Blob] = db.query("SELECT digest FROM blob")  # error: both
    blob: Blob = db.query_one("SELECT digest FROM blob", into=Blob)  # error: both
    with db.stream("SELECT digest FROM blob", into=Blob) as stream:
        size = next(stream).size  # error: both


def wrong_arguments(db: Database) -> None:
    """Parameters that SQLite cannot bind, options by place, names that do not exist."""
    db.execute("DELETE FROM blob WHERE size = ?", (object(),))  # error: both
    db.execute("DELETE FROM blob WHERE size = ?", 1)  # error: both
    db.query("SELECT * FROM blob WHERE size = :size", {"size": [1]})  # error: both
    tx_of_a_read(db).open_blob("chunk", "body", "1")  # error: both
    db.query("SELECT size FROM blob", into=5)  # error: both
    db.write(lambda: None)  # error: both
    Config(8)  # error: both
    onewriter.open("registry.db", durability="most")  # error: both
    db.connection  # error: both


def tx_of_a_read(db: Database) -> onewriter.ReadTransaction:
    """A read transaction that is still open."""
    return db.read_transaction().__enter__()


def wrong_callbacks(db: Database, tx: Transaction) -> None:
    """Callbacks take no argument; a future has the type of its function; limits are given by name."""
    tx.after_commit(lambda value: None)  # error: both
    number: int = db.submit(lambda tx: "text").result()  # error: both
    db.transaction(2.0)  # error: both
    db.observe("blob", lambda: None)  # error: both
    db.observe(5, print)  # error: both
