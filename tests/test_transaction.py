"""Interactive transactions, savepoints, and what is refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import onewriter
from onewriter import (
    SQL,
    Config,
    Database,
    DatabaseClosed,
    DataError,
    ForbiddenStatement,
    IntegrityError,
    NestedRead,
    NestedWrite,
    ProgrammingError,
    Result,
    RowMismatch,
    Transaction,
    TransactionEnded,
    WriteTimeout,
    WrongThread,
)
from tests.support.databases import Held, names, open_items
from tests.support.steps import Call, Steps, calls, wait_until


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An open database with two small tables."""
    with open_items(tmp_path, Config()) as opened:
        yield opened


def test_a_block_is_committed_at_its_end(db: Database) -> None:
    """Nobody sees it before, everybody after."""
    with db.transaction() as tx:
        result = tx.execute("INSERT INTO item (name) VALUES ('a') RETURNING id, name")
        assert (result.rows, result.changes, result.last_insert_rowid) == ([(1, "a")], 1, 1)
        assert Call(lambda: names(db)).result() == []
    assert names(db) == ["a"]


def test_a_block_that_raises_is_rolled_back(db: Database) -> None:
    """The exception leaves as it is, and the line goes on."""
    with pytest.raises(LookupError), db.transaction() as tx:
        tx.execute("INSERT INTO item (name) VALUES ('a')")
        raise LookupError
    db.execute("INSERT INTO item (name) VALUES ('b')")
    assert names(db) == ["b"]


def test_a_block_waits_in_the_same_line(db: Database) -> None:
    """It gets its turn behind those who came before, and has a commit of its own."""
    held = Held(db)
    steps = Steps()

    def interactive() -> list[str]:
        with db.transaction() as tx:
            steps.mark("has its turn")
            return tx.query("SELECT name FROM item", into=str)

    call = Call(interactive)
    held.wait_for(1)
    later = Call(lambda: db.execute("INSERT INTO item (name) VALUES ('later')"))
    held.wait_for(2)
    assert names(db) == []
    held.let_go()
    assert call.result() == ["held"]
    later.result()
    assert names(db) == ["held", "later"]


def test_a_broken_foreign_key_at_the_end_of_a_block_is_its_error(db: Database) -> None:
    """A deferred key is found at the commit, which rolls back."""
    with pytest.raises(IntegrityError) as caught, db.transaction() as tx:
        tx.execute("INSERT INTO item (id, name) VALUES (1, 'a')")
        tx.execute("INSERT INTO part (item, later) VALUES (1, 99)")
    assert caught.value.kind == "foreign_key"
    assert caught.value.ran == "rolled_back"
    assert names(db) == []


def test_savepoints_nest_and_undo_only_their_part(db: Database) -> None:
    """An inner block that raises leaves what the outer ones did."""
    with db.transaction() as tx:
        tx.execute("INSERT INTO item (name) VALUES ('a')")
        with tx.savepoint():
            tx.execute("INSERT INTO item (name) VALUES ('b')")
            with pytest.raises(IntegrityError), tx.savepoint():
                tx.execute("INSERT INTO item (name) VALUES ('c')")
                tx.execute("INSERT INTO item (name) VALUES ('a')")
            tx.execute("INSERT INTO item (name) VALUES ('d')")
    assert names(db) == ["a", "b", "d"]


def test_a_savepoint_ends_with_a_transaction_that_sqlite_ended(db: Database) -> None:
    """OR ROLLBACK inside a savepoint leaves nothing to go back to; its error is what is raised."""
    db.execute("INSERT INTO item (name) VALUES ('a')")
    with pytest.raises(IntegrityError), db.transaction() as tx, tx.savepoint():
        tx.execute("INSERT OR ROLLBACK INTO item (name) VALUES ('a')")
    assert names(db) == ["a"]
    with db.transaction() as tx:
        tx.execute("INSERT INTO item (name) VALUES ('b')")
    assert names(db) == ["a", "b"]


def test_a_rollback_swallowed_in_a_block_is_raised_at_its_end(db: Database) -> None:
    """The block cannot end as if it had been committed."""
    db.execute("INSERT INTO item (name) VALUES ('a')")
    with pytest.raises(IntegrityError), db.transaction() as tx:
        with pytest.raises(IntegrityError):
            tx.execute("INSERT OR ROLLBACK INTO item (name) VALUES ('a')")
        with pytest.raises(TransactionEnded):
            tx.execute("INSERT INTO item (name) VALUES ('stray')")
    assert names(db) == ["a"]


def test_execute_many_in_a_transaction_is_all_or_nothing(db: Database) -> None:
    """Where one row fails, the rows before it are undone and the transaction goes on."""
    with db.transaction() as tx:
        tx.execute("INSERT INTO item (name) VALUES ('a')")
        with pytest.raises(IntegrityError):
            tx.execute_many("INSERT INTO item (name) VALUES (?)", [("b",), ("a",)])
        assert tx.execute_many("INSERT INTO item (name) VALUES (?)", (("c",), ("d",))).changes == 2
    assert names(db) == ["a", "c", "d"]


def test_a_script_runs_every_statement(db: Database) -> None:
    """Triggers, strings and comments may hold semicolons."""
    db.write(
        lambda tx: tx.script(
            """
            CREATE TRIGGER shout AFTER INSERT ON item BEGIN
                UPDATE item SET name = upper(name) || ';' WHERE id = new.id; -- not the end;
            END;
            INSERT INTO item (name) VALUES ('a;b'); /* ; */
            """
        )
    )
    assert names(db) == ["A;B;"]


# --- misuse: an error at once that says what to do


def test_a_write_inside_a_write_is_refused(db: Database) -> None:
    """Through any door, also where the file was opened twice; closing the other one is no write."""
    with db.transaction() as tx, onewriter.open(db.path) as twin:
        tx.execute("INSERT INTO item (name) VALUES ('a')")
        for other in (db, twin):
            with pytest.raises(NestedWrite, match="use the transaction"):
                other.execute("DELETE FROM item")
            with pytest.raises(NestedWrite):
                other.write(lambda _tx: None)
            with pytest.raises(NestedWrite), other.transaction():
                pass
        with pytest.raises(NestedWrite, match="leave the write first"):
            db.close()
    assert names(db) == ["a"]


def test_a_read_around_the_transaction_is_refused(db: Database) -> None:
    """It would see the last commit, not the transaction."""

    def work(tx: Transaction) -> int:
        tx.execute("INSERT INTO item (name) VALUES ('a')")
        with pytest.raises(NestedRead, match=r"tx\.query"):
            db.query("SELECT * FROM item")
        with pytest.raises(NestedRead), db.read_transaction():
            pass
        with pytest.raises(NestedRead):
            db.check()
        return tx.query_value("SELECT count(*) FROM item", into=int)

    assert db.write(work) == 1


def test_a_transaction_is_refused_after_its_end(db: Database) -> None:
    """Of a function, a block, and a read."""
    kept: list[onewriter.ReadTransaction] = [db.write(lambda tx: tx), db.read(lambda tx: tx)]
    with db.transaction() as tx:
        kept.append(tx)
    for each in kept:
        with pytest.raises(TransactionEnded):
            each.query("SELECT 1")
    with pytest.raises(TransactionEnded), tx.savepoint():
        pass


def test_a_transaction_is_refused_to_another_thread(db: Database) -> None:
    """Each thread has transactions of its own."""
    with db.transaction() as tx:
        error = Call(lambda: tx.execute("DELETE FROM item")).error()
    assert isinstance(error, WrongThread)


@pytest.mark.parametrize(
    "sql,advice",
    [
        ("BEGIN", "db.transaction"),
        ("COMMIT", "return from the function"),
        ("END", "return from the function"),
        ("ROLLBACK", "raise an exception"),
        ("SAVEPOINT mine", "tx.savepoint"),
        ("RELEASE mine", "tx.savepoint"),
        ("ROLLBACK TO mine", "tx.savepoint"),
        ("ATTACH ':memory:' AS other", "one Database is one file"),
        ("DETACH main", "one Database is one file"),
        ("PRAGMA synchronous = OFF", "Config"),
        ("PRAGMA journal_mode = DELETE", "Config"),
        ("PRAGMA foreign_keys = OFF", "Config"),
        ("PRAGMA wal_checkpoint", "Config"),
        ("PRAGMA schema_version = 7", "Config"),
        ("SELECT load_extension('x')", "on_connect"),
    ],
)
def test_a_forbidden_statement_is_refused_every_time(db: Database, sql: str, advice: str) -> None:
    """The first time and every later one, through the writer and through a reader, with what to do instead."""
    for _ in range(3):
        for run in (db.execute, db.query):
            with pytest.raises(ForbiddenStatement, match=advice):
                run(SQL(sql))
    db.execute("INSERT INTO item (name) VALUES ('a')")
    assert names(db) == ["a"]


@pytest.mark.parametrize("sql", ["BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", "BEGIN"])
def test_the_library_s_own_statements_do_not_open_the_door(db: Database, sql: str) -> None:
    """APSW caches statements by text and asks no second time: the library's texts are not a caller's."""
    for _ in range(3):
        db.execute("INSERT INTO item DEFAULT VALUES")
        db.read(lambda tx: tx.query("SELECT 1"))
        for run in (db.execute, db.query):
            with pytest.raises(ForbiddenStatement):
                run(SQL(sql))


def test_reading_pragmas_work(db: Database) -> None:
    """What only tells is allowed, to readers and writers."""
    assert db.query_value("PRAGMA journal_mode", into=str) == "wal"
    assert db.write(lambda tx: tx.query_value("PRAGMA foreign_keys", into=int)) == 1
    assert [row[1] for row in db.query("PRAGMA table_info(item)")] == ["id", "name", "size"]
    assert db.query("SELECT name FROM pragma_table_info('part')", into=str) == ["item", "later"]
    assert db.execute("PRAGMA user_version = 5") == Result([], 0, 0)
    assert db.query_value("PRAGMA user_version", into=int) == 5


@pytest.mark.parametrize(
    "sql,params,error,message",
    [
        ("SELECT 1; SELECT 2", (), ProgrammingError, "holds 2 statements"),
        ("", (), ProgrammingError, "holds no statement"),
        ("-- nothing", (), ProgrammingError, "holds no statement"),
        ("SELECT ?", "a", ProgrammingError, r"write \(value,\)"),
        ("SELECT ?", b"a", ProgrammingError, "not bytes"),
        ("SELECT ?", 5, ProgrammingError, "not int"),
        ("SELECT ?", {1}, ProgrammingError, "not set"),
        ("SELECT ?", (), ProgrammingError, "has 1 parameter, and params has no values"),
        ("SELECT ?", (1, 2), ProgrammingError, "has 1 parameter, and params has 2 values"),
        ("SELECT :a", {}, ProgrammingError, ":a"),
        ("SELECT ?", (object(),), ProgrammingError, "parameter 1: a value of type object"),
        ("SELECT ?", (2**64,), DataError, "64 bits"),
        ("SELECT ?", ("\ud800",), DataError, "Unicode"),
        ("SELECT cast(x'ff' AS TEXT)", (), DataError, "UTF-8"),
        ("SELECT nowhere", (), ProgrammingError, "no such column"),
    ],
)
def test_wrong_sql_and_wrong_parameters_are_named(
    db: Database, sql: str, params: object, error: type[Exception], message: str
) -> None:
    """Through a reader, a statement and a function alike; and the next call works."""
    loose: Any = db

    def in_a_function(tx: Transaction) -> None:
        loose_tx: Any = tx
        loose_tx.execute(sql, params)

    for run in (
        lambda: loose.query(sql, params),
        lambda: loose.execute(sql, params),
        lambda: db.write(in_a_function),
    ):
        with pytest.raises(error, match=message):
            run()
    db.execute("INSERT INTO item (name) VALUES ('a')")
    assert names(db) == ["a"]


@pytest.mark.parametrize("timeout_s", [-1, float("inf"), float("nan"), "1"])
def test_a_wrong_timeout_is_named(db: Database, timeout_s: float) -> None:
    """Before anything waits."""
    with pytest.raises(ProgrammingError, match="timeout_s"):
        db.execute("DELETE FROM item", timeout_s=timeout_s)
    with pytest.raises(ProgrammingError, match="timeout_s"):
        db.query("SELECT 1", timeout_s=timeout_s)


def test_what_is_no_function_is_refused(db: Database) -> None:
    """`write` and `read` take functions."""
    loose: Any = db
    with pytest.raises(ProgrammingError, match="function"):
        loose.write("DELETE FROM item")
    with pytest.raises(ProgrammingError, match="function"):
        loose.read(None)


# --- scalars


def test_scalars_come_as_what_was_asked_for(db: Database) -> None:
    """And whole numbers where floats are asked for."""
    assert db.query_value("SELECT 1", into=int) == 1
    assert db.query_value("SELECT 1", into=float) == 1.0
    assert db.query_value("SELECT 'a'", into=str) == "a"
    assert db.query_value("SELECT x'00'", into=bytes) == b"\0"
    assert db.query_value("SELECT NULL", into=int | None) is None
    assert db.query_value("SELECT 1 WHERE 0", into=int | None) is None
    assert db.query_value("SELECT NULL") is None
    assert db.query_one("SELECT 1, 2") == (1, 2)
    assert db.query_one("SELECT 1 WHERE 0") is None
    assert db.query_one("SELECT 1", into=int) == 1
    assert db.query_one("SELECT 1 WHERE 0", into=int) is None
    assert db.query("SELECT 1 UNION SELECT 2", into=int) == [1, 2]


@pytest.mark.parametrize(
    "sql,into,message",
    [
        ("SELECT 1 WHERE 0", int, "no row"),
        ("SELECT NULL AS n", int, "'n'.*NULL"),
        ("SELECT 'a' AS n", int, "'n'.*str"),
        ("SELECT 1 AS n", str, "'n'.*int"),
        ("SELECT 1.5 AS n", int, "'n'.*float"),
        ("SELECT 1 AS one, 2 AS two", int, "one, two"),
        ("SELECT 1 AS one, 2 AS two", None, "one, two"),
    ],
)
def test_a_row_that_does_not_fit_is_named(db: Database, sql: str, into: object, message: str) -> None:
    """With the column, what was wanted and what came."""
    loose: Any = db
    with pytest.raises(RowMismatch, match=message):
        loose.query_value(sql, into=into)


def test_an_unknown_into_is_refused_before_anything_runs(db: Database) -> None:
    """Neither a row nor a value can become one."""
    wrong: tuple[object, ...] = (list, list[int], int | list[int], "int", [], 5)
    loose: Any = db
    for into in wrong:
        with pytest.raises(ProgrammingError, match="into"):
            loose.query("SELECT nowhere", into=into)


# --- deadlines


def test_a_write_whose_turn_does_not_come_leaves_and_never_runs(db: Database) -> None:
    """WriteTimeout means that nothing ran, and the rest of the line is served."""
    held = Held(db)
    late = Call(lambda: db.execute("INSERT INTO item (name) VALUES ('late')", timeout_s=0.05))
    error = late.error()
    assert isinstance(error, WriteTimeout)
    assert isinstance(error, TimeoutError)
    assert (error.ran, error.held_by) == ("no", "line")
    assert isinstance(Call(lambda: db.write(lambda _tx: None, timeout_s=0)).error(), WriteTimeout)
    assert isinstance(Call(partial(_enter, db)).error(), WriteTimeout)
    held.let_go()
    held.call.result()
    assert names(db) == ["held"]


def _enter(db: Database) -> None:
    with db.transaction(timeout_s=0):
        pass


# --- closing


def test_closing_drains_what_was_accepted(tmp_path: Path) -> None:
    """Who waits is served, then the file is closed; who comes later is refused."""
    db = open_items(tmp_path)
    held = Held(db)
    waits = calls(lambda n: db.execute("INSERT INTO item (name) VALUES (?)", (f"n{n}",)), 3)
    held.wait_for(3)
    closing = Call(db.close)
    wait_until(lambda: db.closed, "the beginning of the close")
    assert closing.running
    with pytest.raises(DatabaseClosed):
        db.execute("DELETE FROM item")
    with pytest.raises(DatabaseClosed):
        db.query("SELECT 1")
    with pytest.raises(DatabaseClosed):
        db.check()
    held.let_go()
    closing.result()
    for call in (held.call, *waits):
        call.result()
    assert not (tmp_path / "items.db-wal").exists()
    with open_items(tmp_path) as again:
        assert sorted(names(again)) == ["held", "n0", "n1", "n2"]


def test_closing_in_vain_refuses_who_waits(tmp_path: Path) -> None:
    """Past the deadline the waiting are told; whoever is at work ends it and closes the file."""
    db = open_items(tmp_path)
    held = Held(db)
    waits = Call(lambda: db.execute("INSERT INTO item (name) VALUES ('waits')"))
    held.wait_for(1)
    db.close(timeout_s=0.05)
    assert isinstance(waits.error(), DatabaseClosed)
    held.let_go()
    assert held.call.result() == "held"
    db.close()
    with open_items(tmp_path) as again:
        assert names(again) == ["held"]


def test_closing_twice_and_from_many_threads_is_harmless(tmp_path: Path) -> None:
    """Every call returns when the file is closed."""
    db = open_items(tmp_path)
    for call in [Call(db.close) for _ in range(8)]:
        call.result()
    db.close()
    assert db.closed
    assert "closed" in repr(db)
