"""Requests that share a commit: in order, told after it, and without each other's failures."""

# pyright: reportUnknownMemberType=false
# (APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.)

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import apsw
import pytest

from onewriter import (
    SQL,
    Config,
    Database,
    DiskFull,
    IntegrityError,
    ProgrammingError,
    Result,
    StatementTimeout,
    Transaction,
    TransactionEnded,
)
from tests.support.databases import Held, names, open_items
from tests.support.steps import Call, Steps, wait_until
from tests.support.steps import calls as at_once


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database whose batches close only when the line is empty."""
    with open_items(tmp_path) as opened:
        yield opened


def _insert(db: Database, name: str) -> Call[Result]:
    return Call(lambda: db.execute("INSERT INTO item (name) VALUES (?)", (name,)), name)


def _insert_by_function(db: Database, name: str) -> Call[str]:
    def work(tx: Transaction) -> str:
        tx.execute("INSERT INTO item (name) VALUES (?)", (name,))
        return name

    return Call(lambda: db.write(work), name)


def _in_line(db: Database, *starts: Callable[[], Call[object]]) -> tuple[Held, list[Call[object]]]:
    """Hold the role and bring each of *starts* into the line behind it, in this order."""
    held = Held(db)
    calls: list[Call[object]] = []
    for start in starts:
        calls.append(start())
        held.wait_for(len(calls))
    return held, calls


def test_statements_and_functions_share_one_commit_in_order(db: Database) -> None:
    """All that wait behind a holder are committed with it, first come first served."""
    before = db.stats()
    held, calls = _in_line(
        db,
        lambda: _insert(db, "a"),
        lambda: _insert_by_function(db, "b"),
        lambda: _insert(db, "c"),
        lambda: _insert_by_function(db, "d"),
    )
    held.let_go()
    for call in (held.call, *calls):
        call.result()
    after = db.stats()
    assert names(db) == ["held", "a", "b", "c", "d"]
    assert (after.commits - before.commits, after.writes - before.writes) == (1, 5)
    assert 0 <= after.write_wait_s.p50 <= after.write_wait_s.max


def test_nobody_hears_done_before_the_commit(db: Database) -> None:
    """A member that has run waits while the transaction is open; a reader does not see it."""
    held = Held(db)
    first = _insert(db, "first")
    held.wait_for(1)
    steps = Steps()

    def last(tx: Transaction) -> list[str]:
        steps.mark("last runs")  # the holder has run and passed the role on, the statement has been run by it
        steps.wait_for("checked")
        return tx.query("SELECT name FROM item ORDER BY id", into=str)

    second = Call(lambda: db.write(last))
    held.wait_for(2)
    held.let_go()
    steps.wait_for("last runs")
    assert held.call.running
    assert first.running
    assert names(db) == []
    steps.mark("checked")
    assert second.result() == ["held", "first"]
    assert held.call.result() == "held"
    assert first.result().changes == 1
    assert names(db) == ["held", "first"]


def test_a_function_runs_on_the_thread_that_asked(db: Database) -> None:
    """Also where the role comes to it with the transaction open: its locals and locks are its own."""
    local = threading.local()

    def asks(name: str) -> Call[tuple[int, str]]:
        def call() -> tuple[int, str]:
            local.name = name
            return db.write(lambda _tx: (threading.get_ident(), local.name))

        return Call(call)

    held = Held(db)
    calls: list[Call[tuple[int, str]]] = []
    for index in range(4):
        calls.append(asks(f"t{index}"))
        held.wait_for(index + 1)
    held.let_go()
    for index, call in enumerate(calls):
        assert call.result() == (call.ident, f"t{index}")


def _failing(db: Database, how: str) -> Call[object]:
    sql = {
        "unique": "INSERT INTO item (name) VALUES ('held')",
        "check": "INSERT INTO item (name, size) VALUES ('x', -1)",
        "not null": "INSERT INTO item (name, size) VALUES ('x', NULL)",
        "foreign key": "INSERT INTO part (item) VALUES (999)",
        "deferred foreign key": "INSERT INTO part (item, later) VALUES (1, 999)",
        "or fail": "INSERT OR FAIL INTO item (name) VALUES ('y'), ('held')",
        "or rollback": "INSERT OR ROLLBACK INTO item (name) VALUES ('held')",
        "syntax": "INSERT INTO",
    }[how]
    return Call(lambda: db.execute(SQL(sql)), how)


@pytest.mark.parametrize(
    "how,error",
    [
        ("unique", IntegrityError),
        ("check", IntegrityError),
        ("not null", IntegrityError),
        ("foreign key", IntegrityError),
        ("deferred foreign key", IntegrityError),
        ("or fail", IntegrityError),
        ("or rollback", IntegrityError),
        ("syntax", ProgrammingError),
    ],
)
def test_a_failure_is_the_guilty_one_s_alone(db: Database, how: str, error: type[Exception]) -> None:
    """Whatever one statement breaks, those before and after it in the batch are committed, in order."""
    held, calls = _in_line(
        db, lambda: _insert(db, "before"), lambda: _failing(db, how), lambda: _insert(db, "after")
    )
    held.let_go()
    assert isinstance(calls[1].error(), error)
    calls[0].result()
    calls[2].result()
    assert held.call.result() == "held"
    assert names(db) == ["held", "before", "after"]
    assert db.query("SELECT * FROM part") == []
    assert (db.stats().reruns > 0) is (how == "or rollback")  # nobody else had to run again


def test_a_function_that_raises_is_undone_alone(db: Database) -> None:
    """Its exception is its own, with its own traceback, and its neighbours are committed."""

    def fails(tx: Transaction) -> None:
        tx.execute("INSERT INTO item (name) VALUES ('undone')")
        raise LookupError("mine")

    held, calls = _in_line(
        db,
        lambda: _insert_by_function(db, "before"),
        lambda: Call(lambda: db.write(fails)),
        lambda: _insert_by_function(db, "after"),
    )
    held.let_go()
    error = calls[1].error()
    assert isinstance(error, LookupError)
    assert "fails" in _functions(error)
    calls[0].result()
    calls[2].result()
    assert names(db) == ["held", "before", "after"]


def _functions(error: BaseException) -> list[str]:
    found: list[str] = []
    traceback = error.__traceback__
    while traceback is not None:
        found.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    return found


def test_a_failure_too_is_told_after_the_commit(db: Database) -> None:
    """The error of a member depends on rows that are not committed yet: it waits for them."""
    held = Held(db)
    guilty = _failing(db, "unique")  # breaks on the holder's own, uncommitted row
    held.wait_for(1)
    steps = Steps()

    def last(_tx: Transaction) -> None:
        steps.mark("last runs")
        steps.wait_for("checked")

    call = Call(lambda: db.write(last))
    held.wait_for(2)
    held.let_go()
    steps.wait_for("last runs")
    assert guilty.running
    steps.mark("checked")
    assert isinstance(guilty.error(), IntegrityError)
    call.result()
    assert names(db) == ["held"]


def test_a_swallowed_rollback_cannot_write_on(db: Database) -> None:
    """After OR ROLLBACK the function's next statement would commit by itself: it is refused, its end an error."""
    seen: list[BaseException] = []

    def swallows(tx: Transaction) -> str:
        tx.execute("INSERT INTO item (name) VALUES ('lost')")
        try:
            tx.execute("INSERT OR ROLLBACK INTO item (name) VALUES ('held')")
        except IntegrityError:
            with pytest.raises(TransactionEnded) as refused:
                tx.execute("INSERT INTO item (name) VALUES ('stray')")
            seen.append(refused.value)
        return "as if nothing had happened"

    held, calls = _in_line(
        db,
        lambda: _insert(db, "before"),
        lambda: Call(lambda: db.write(swallows)),
        lambda: _insert(db, "after"),
    )
    held.let_go()
    error = calls[1].error()
    assert isinstance(error, IntegrityError)
    assert error.kind == "unique"
    assert len(seen) == 2  # in the shared transaction, and again alone
    calls[0].result()
    calls[2].result()
    assert names(db) == ["held", "before", "after"]


def test_a_lost_transaction_is_run_again_one_by_one(db: Database) -> None:
    """Members of a lost batch run a second time, on their own threads, each with its own commit, in order."""
    runs: list[tuple[str, int]] = []

    def counted(name: str) -> Call[object]:
        def work(tx: Transaction) -> None:
            runs.append((name, threading.get_ident()))
            tx.execute("INSERT INTO item (name) VALUES (?)", (name,))

        return Call(lambda: db.write(work))

    before = db.stats()
    held, calls = _in_line(
        db,
        lambda: counted("a"),
        lambda: counted("b"),
        lambda: _failing(db, "or rollback"),
        lambda: counted("c"),
    )
    held.let_go()
    assert isinstance(calls[2].error(), IntegrityError)
    for call in (held.call, calls[0], calls[1], calls[3]):
        call.result()
    after = db.stats()
    assert names(db) == ["held", "a", "b", "c"]
    assert runs == [("a", calls[0].ident), ("b", calls[1].ident)] * 2 + [("c", calls[3].ident)]
    assert after.reruns - before.reruns == 4
    assert db.check() == []


def test_alone_never_runs_twice(db: Database) -> None:
    """A request with its own commit is not drawn into a batch that is lost."""
    runs: list[str] = []

    def once(tx: Transaction) -> None:
        runs.append("once")
        tx.execute("INSERT INTO item (name) VALUES ('alone')")

    before = db.stats()
    held, calls = _in_line(
        db,
        lambda: _insert(db, "a"),
        lambda: Call(lambda: db.write(once, alone=True)),
        lambda: _failing(db, "or rollback"),
        lambda: _insert(db, "b"),
    )
    held.let_go()
    assert isinstance(calls[2].error(), IntegrityError)
    for call in (held.call, calls[0], calls[1], calls[3]):
        call.result()
    assert runs == ["once"]
    assert names(db) == ["held", "a", "alone", "b"]
    assert db.stats().commits - before.commits >= 3


def test_a_runaway_statement_is_interrupted_and_spares_its_batch(tmp_path: Path) -> None:
    """`statement_timeout_s` ends one request; it is not run again, its neighbours are."""
    config = Config(batch_s=60.0, lead_s=60.0, statement_timeout_s=0.3)
    runaway = (
        "INSERT INTO item (name) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT 'r' || i FROM n WHERE i < 0"
    )
    with open_items(tmp_path, config) as db:
        held, calls = _in_line(
            db,
            lambda: _insert(db, "before"),
            lambda: Call(lambda: db.execute(runaway)),
            lambda: _insert(db, "after"),
        )
        held.let_go()
        error = calls[1].error()
        assert isinstance(error, StatementTimeout)
        assert error.ran == "rolled_back"
        assert error.extended_code == "SQLITE_INTERRUPT"
        for call in (held.call, calls[0], calls[2]):
            call.result()
        assert names(db) == ["held", "before", "after"]


def _keep_small(connection: apsw.Connection) -> None:
    connection.pragma("max_page_count", 40)


def test_a_full_file_strikes_only_who_fills_it(tmp_path: Path) -> None:
    """A request that does not fit is refused; those beside it fit and are committed."""
    config = Config(batch_s=60.0, lead_s=60.0, on_connect=_keep_small)
    with open_items(tmp_path, config) as db:
        db.execute("CREATE TABLE big (data BLOB)")
        held, calls = _in_line(
            db,
            lambda: _insert(db, "before"),
            lambda: Call(lambda: db.execute("INSERT INTO big VALUES (zeroblob(400000))")),
            lambda: _insert(db, "after"),
        )
        held.let_go()
        error = calls[1].error()
        assert isinstance(error, DiskFull)
        assert error.ran == "rolled_back"
        for call in (held.call, calls[0], calls[2]):
            call.result()
        assert names(db) == ["held", "before", "after"]
        assert db.check() == []


def test_a_deferred_foreign_key_may_be_mended_within_its_request(db: Database) -> None:
    """Deferred means until the end of the request, not of the statement."""

    def work(tx: Transaction) -> None:
        tx.execute("INSERT INTO item (id, name) VALUES (1, 'one')")
        tx.execute("INSERT INTO part (item, later) VALUES (1, 2)")
        tx.execute("INSERT INTO item (id, name) VALUES (2, 'two')")

    db.write(work)
    assert db.query("SELECT item, later FROM part") == [(1, 2)]


def test_defer_foreign_keys_ends_with_its_request(db: Database) -> None:
    """One request's pragma does not make the next one's immediate keys deferred."""

    def defers(tx: Transaction) -> None:
        tx.execute("PRAGMA defer_foreign_keys = ON")
        tx.execute("INSERT INTO part (item) VALUES (7)")
        tx.execute("INSERT INTO item (id, name) VALUES (7, 'seven')")

    def immediate(tx: Transaction) -> None:
        with pytest.raises(IntegrityError):
            tx.execute("INSERT INTO part (item) VALUES (8)")

    held, calls = _in_line(
        db, lambda: Call(lambda: db.write(defers)), lambda: Call(lambda: db.write(immediate))
    )
    held.let_go()
    for call in calls:
        call.result()
    assert db.query("SELECT item FROM part") == [(7,)]


def test_last_rowid_and_changes_are_the_request_s_own(db: Database) -> None:
    """Neither leaks from the request before in the same transaction."""
    held, calls = _in_line(
        db,
        lambda: _insert(db, "a"),
        lambda: Call(lambda: db.execute("UPDATE item SET size = 1 WHERE name = 'nobody'")),
        lambda: Call(lambda: db.execute("CREATE INDEX by_size ON item (size)")),
        lambda: Call(lambda: db.execute("UPDATE item SET size = 2 RETURNING name")),
    )
    held.let_go()
    assert calls[0].result() == Result([], 1, 2)
    assert calls[1].result() == Result([], 0, 0)
    assert calls[2].result() == Result([], 0, 0)
    returned = calls[3].result()
    assert isinstance(returned, Result)
    assert (returned.rows, returned.changes, returned.last_insert_rowid) == ([("held",), ("a",)], 2, 0)


def test_a_batch_ends_at_its_limit_of_members(tmp_path: Path) -> None:
    """`batch_max` requests share a commit at most."""
    with open_items(tmp_path, Config(batch_s=60.0, lead_s=60.0, batch_max=3)) as db:
        before = db.stats().commits
        held, calls = _in_line(db, *(partial(_insert, db, f"n{n}") for n in range(7)))
        held.let_go()
        for call in calls:
            call.result()
        assert db.stats().commits - before == 3  # 3 + 3 + 2
        assert names(db) == ["held", *(f"n{n}" for n in range(7))]


def test_a_batch_ends_at_its_limit_of_time(tmp_path: Path) -> None:
    """With no time to gather, each request is committed by itself."""
    with open_items(tmp_path, Config(batch_s=0.0)) as db:
        before = db.stats().commits
        held, calls = _in_line(db, *(partial(_insert, db, f"n{n}") for n in range(4)))
        held.let_go()
        for call in calls:
            call.result()
        assert db.stats().commits - before == 5


def test_a_caller_is_not_kept_serving_others_for_ever(tmp_path: Path) -> None:
    """With `lead_s` 0 a holder whose own outcome is known hands the role on at once."""
    with open_items(tmp_path, Config(batch_s=0.0, lead_s=0.0)) as db:
        held, calls = _in_line(db, *(partial(_insert, db, f"n{n}") for n in range(3)))
        held.let_go()
        assert held.call.result() == "held"
        for call in calls:
            call.result()
        assert names(db) == ["held", "n0", "n1", "n2"]


def test_execute_many_is_one_atomic_request(db: Database) -> None:
    """All rows or none; the caller's list may change once the call has returned its error."""
    rows = [(f"m{n}",) for n in range(5)]
    assert db.execute_many("INSERT INTO item (name) VALUES (?)", rows) == Result([], 5, 5)
    with pytest.raises(IntegrityError):
        db.execute_many("INSERT INTO item (name) VALUES (?)", (("new",), ("m3",)))
    assert names(db) == ["m0", "m1", "m2", "m3", "m4"]


def test_execute_many_copies_its_rows_first(db: Database) -> None:
    """What another thread runs later is what the rows were at the call."""
    rows = [("one",)]
    held = Held(db)
    call = Call(lambda: db.execute_many("INSERT INTO item (name) VALUES (?)", rows))
    held.wait_for(1)
    rows.append(("two",))
    held.let_go()
    assert call.result().changes == 1
    assert names(db) == ["held", "one"]


def test_a_lone_write_that_fails_leaves_the_line_free(db: Database) -> None:
    """The first member of a batch has no savepoint: its failure rolls the transaction back and is told."""
    with pytest.raises(IntegrityError):
        db.execute("INSERT INTO item (name, size) VALUES ('x', -1)")
    db.execute("INSERT INTO item (name) VALUES ('next')")
    assert names(db) == ["next"]
    wait_until(lambda: db.stats().pending == 0, "an empty line")


def test_the_default_limits_share_commits_too(tmp_path: Path) -> None:
    """Under load with the defaults there are fewer commits than writes, and every write is there."""
    with open_items(tmp_path, Config()) as db:

        def insert(number: int) -> None:
            for index in range(50):
                db.execute("INSERT INTO item (name) VALUES (?)", (f"{number}-{index}",))

        for call in at_once(insert, 16):
            call.result()
        stats = db.stats()
        assert len(names(db)) == 800
        assert stats.commits < stats.writes
