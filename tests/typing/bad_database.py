"""Wrong use that a type checker finds before it runs."""

import onewriter
from onewriter import Config, Database, Transaction


def sql_of_input(db: Database, tx: Transaction, name: str) -> None:
    """SQL is a literal, or marked as meant with onewriter.SQL: text made of input is refused."""
    db.query(f"SELECT * FROM blob WHERE digest = '{name}'")  # error: pyright
    db.execute("DELETE FROM " + name)  # error: pyright
    db.query_value(name, into=int)  # error: pyright
    tx.execute(name)  # error: pyright


def wrong_values(db: Database) -> None:
    """The type of a result follows from `into`; NULL has to be asked for."""
    size: int = db.query_value("SELECT max(size) FROM blob", into=int | None)  # error: both
    digest: str = db.query_value("SELECT size FROM blob", into=int)  # error: both
    rows: list[str] = db.query("SELECT size FROM blob", into=int)  # error: both


def wrong_arguments(db: Database) -> None:
    """Parameters that SQLite cannot bind, options by place, names that do not exist."""
    db.execute("DELETE FROM blob WHERE size = ?", (object(),))  # error: both
    db.execute("DELETE FROM blob WHERE size = ?", 1)  # error: both
    db.write(lambda: None)  # error: both
    Config(8)  # error: both
    onewriter.open("registry.db", durability="most")  # error: both
    db.connection  # error: both


def wrong_callbacks(db: Database, tx: Transaction) -> None:
    """Callbacks take no argument; a future has the type of its function; limits are given by name."""
    tx.after_commit(lambda value: None)  # error: both
    number: int = db.submit(lambda tx: "text").result()  # error: both
    db.transaction(2.0)  # error: both
