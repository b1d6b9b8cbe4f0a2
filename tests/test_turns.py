"""Interactive turns: their limits, the marked door to SQLite, and what runs after a commit."""

# pyright: reportUnknownMemberType=false
# (APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.)

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import cast

import apsw
import pytest

import onewriter
from onewriter import (
    Config,
    Database,
    IntegrityError,
    NestedWrite,
    ProgrammingError,
    Transaction,
    TransactionEnded,
    WriteTimeout,
)
from onewriter.interactive import HeldTransaction
from onewriter.locks import is_mine
from onewriter.turns import Turn
from tests.support.databases import PATIENT, SCHEMA, Held, names, open_items, with_function
from tests.support.sick_vfs import SickVFS
from tests.support.steps import LIMIT_S, Call, Steps, wait_until
from tests.support.stranger import Stranger, may_write

INSERT = "INSERT INTO item (name) VALUES (?)"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database whose batches close only when the line is empty."""
    with open_items(tmp_path) as opened:
        yield opened


# --- hold_s


def test_a_turn_held_too_long_is_rolled_back(db: Database) -> None:
    """Others, in this process and in any other, can write; the holder's next call and its end are told so."""
    block = db.transaction(hold_s=0.05)
    tx = block.__enter__()
    tx.execute(INSERT, ("undone",))
    other = Call(lambda: db.execute(INSERT, ("other",)))
    other.result()
    assert may_write(db.path)
    with pytest.raises(TransactionEnded, match=r"hold_s \(0\.05 s\)"):
        tx.execute(INSERT, ("never",))
    with pytest.raises(TransactionEnded, match="hold_s"):
        tx.query("SELECT 1")
    with pytest.raises(TransactionEnded, match="hold_s") as caught:
        block.__exit__(None, None, None)
    assert caught.value.ran == "rolled_back"
    assert names(db) == ["other"]
    with db.transaction() as again:
        again.execute(INSERT, ("again",))
    assert names(db) == ["other", "again"]


def test_a_statement_that_runs_past_hold_s_is_stopped(db: Database) -> None:
    """A turn does not end under a running statement: that is interrupted, and told why."""
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(TransactionEnded, match="hold_s"):
        with db.transaction(hold_s=0.05) as tx:
            tx.execute(INSERT, ("undone",))
            tx.query(endless)
    assert names(db) == []


class _LateGate:
    """A turn's gate that the watch comes to only when it may."""

    def __init__(self, gate: threading.RLock, steps: Steps) -> None:
        """Let the calling thread through at once, any other after the step "go"."""
        self._gate = gate
        self._steps = steps
        self._first = threading.get_ident()

    def __enter__(self) -> bool:
        if threading.get_ident() != self._first:
            self._steps.wait_for("go")
        return self._gate.__enter__()

    def __exit__(self, *_: object) -> None:
        self._gate.release()

    def release(self) -> None:
        """Release."""
        self._gate.release()

    def _is_owned(self) -> bool:
        return is_mine(self._gate)


def _turn_of(block: AbstractContextManager[Transaction]) -> Turn:
    """Return what alone shows that the watch waits for its gate."""
    block = getattr(block, "_block", block)  # with --followed
    assert isinstance(block, HeldTransaction)
    assert block._turn is not None, "not entered"
    return block._turn


@pytest.mark.parametrize("calls", [0, 1])
def test_a_turn_that_is_due_ends_though_its_thread_is_quicker(db: Database, calls: int) -> None:
    """Neither does another statement run nor is anything committed while the watch waits for the gate.

    the block                          the watch
    writes
                                       hold_s is over: waits for the gate
    writes again, or ends: is refused
                                       hands on
    """
    steps = Steps()
    block = db.transaction(hold_s=0.2)
    tx = block.__enter__()
    turn = _turn_of(block)
    turn.gate = cast("threading.RLock", _LateGate(turn.gate, steps))
    tx.execute(INSERT, ("undone",))
    wait_until(lambda: turn.is_due, "the watch at the gate")
    for _ in range(calls):
        with pytest.raises(TransactionEnded, match="hold_s"):
            tx.execute(INSERT, ("never",))
    with pytest.raises(TransactionEnded, match="hold_s"):
        block.__exit__(None, None, None)
    steps.mark("go")
    Call(lambda: db.execute(INSERT, ("other",))).result()
    db.execute(INSERT, ("mine",))
    assert names(db) == ["other", "mine"]


def test_a_function_of_sql_that_calls_back_when_its_turn_is_due_is_refused(tmp_path: Path) -> None:
    """Its own statement is running: that fails, and the turn ends after it."""
    found: list[Callable[[], int]] = []
    config = Config(on_connect=with_function("call_back", lambda: found[0]()))  # noqa: PLW0108 - it comes later
    with open_items(tmp_path, config) as db:
        block = db.transaction(hold_s=0.1)
        tx = block.__enter__()
        turn = _turn_of(block)
        tx.execute(INSERT, ("undone",))
        refused: list[str] = []

        def call_back() -> int:
            wait_until(lambda: turn.is_due, "the watch at the gate")
            with pytest.raises(TransactionEnded, match="hold_s") as caught:
                tx.execute(INSERT, ("never",))
            refused.append(str(caught.value))
            return 1

        found.append(call_back)
        with suppress(TransactionEnded):
            tx.query("SELECT call_back()")
        assert refused
        with pytest.raises(TransactionEnded, match="hold_s"):
            block.__exit__(None, None, None)
        db.execute(INSERT, ("after",))
        assert names(db) == ["after"]


def test_an_error_of_the_block_is_not_hidden_by_its_limit(db: Database) -> None:
    """What the block itself raises leaves it, also where the turn was over before."""
    with pytest.raises(LookupError):
        with db.transaction(hold_s=0.01) as tx:
            tx.execute(INSERT, ("undone",))
            wait_until(lambda: may_write(db.path), "the end of the turn")
            raise LookupError
    assert names(db) == []


def test_a_savepoint_of_a_turn_that_is_over_leaves_without_complaint(db: Database) -> None:
    """Its own exception, not one of the savepoint's end, tells what happened."""
    with pytest.raises(TransactionEnded, match="hold_s"):
        with db.transaction(hold_s=0.02) as tx:
            with tx.savepoint():
                tx.execute(INSERT, ("undone",))
                wait_until(lambda: may_write(db.path), "the end of the turn")
                tx.execute(INSERT, ("never",))


def test_the_default_limit_is_config_s(tmp_path: Path) -> None:
    """`Config.hold_s` holds where the call does not say."""
    with open_items(tmp_path, Config(hold_s=0.03)) as db:
        with pytest.raises(TransactionEnded, match=r"0\.03 s"):
            with db.transaction():
                wait_until(lambda: may_write(db.path), "the end of the turn")


@pytest.mark.parametrize("hold_s", [-1, float("nan"), float("inf"), "5"])
def test_a_wrong_limit_is_named(db: Database, hold_s: float) -> None:
    """Before anything waits."""
    with pytest.raises(ProgrammingError, match="number of seconds"):
        db.transaction(hold_s=hold_s)


def test_a_turn_that_ends_in_time_is_not_touched(db: Database) -> None:
    """Many short turns one after the other, each with a limit that never comes."""
    for number in range(200):
        with db.transaction(hold_s=5.0) as tx:
            tx.execute(INSERT, (f"n{number}",))
    assert len(names(db)) == 200


def test_the_end_of_a_turn_and_its_limit_come_at_once(tmp_path: Path) -> None:
    """Whichever is first: the block is committed whole, or it raises TransactionEnded and nothing is there."""
    with open_items(tmp_path) as db:
        kept = 0
        for number in range(300):
            name = f"n{number}"
            try:
                with db.transaction(hold_s=0.0004) as tx:
                    tx.execute(INSERT, (name,))
                    tx.execute(INSERT, (f"{name} too",))
                kept += 1
                assert (
                    db.query_value("SELECT count(*) FROM item WHERE name LIKE ?", (f"{name}%",), into=int)
                    == 2
                )
            except TransactionEnded:
                assert (
                    db.query_value("SELECT count(*) FROM item WHERE name LIKE ?", (f"{name}%",), into=int)
                    == 0
                )
            db.execute("DELETE FROM item")
        assert db.check() == []
        assert db.stats().pending == 0


# --- holder_warn_s


def test_a_turn_held_long_is_logged_once_with_its_stack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Though nobody waits for it."""
    with open_items(tmp_path, Config(holder_warn_s=0.02)) as db:
        caplog.clear()
        with db.transaction():
            _wait_for_a_warning(caplog)
            time.sleep(0.1)  # a second one would come now
    (record,) = [record for record in caplog.records if "held the write turn" in record.message]
    assert record.levelno == logging.WARNING
    assert str(tmp_path) in record.message
    assert "MainThread" in record.message
    assert "test_a_turn_held_long_is_logged_once_with_its_stack" in record.message, "the holder's stack"


def test_a_function_that_keeps_others_waiting_is_logged_once_with_its_stack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By whoever waits, however many they are."""
    with open_items(tmp_path, Config(holder_warn_s=0.02)) as db:
        held = Held(db, "the culprit")
        calls = [Call(partial(db.execute, INSERT, (f"n{number}",))) for number in range(5)]
        _wait_for_a_warning(caplog)
        time.sleep(0.1)  # more would come now
        held.let_go()
        for call in calls:
            call.result()
    (record,) = [record for record in caplog.records if "held the write turn" in record.message]
    assert "the culprit has held" in record.message
    assert "in _hold" in record.message, "the holder's stack"


def _wait_for_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    wait_until(
        lambda: any("held the write turn" in each.getMessage() for each in caplog.records), "the warning"
    )


# --- forgotten turns


def test_a_turn_that_is_forgotten_ends(db: Database) -> None:
    """Entered by hand and dropped: what it did is rolled back, and others write."""
    tx = db.transaction().__enter__()
    tx.execute(INSERT, ("undone",))
    del tx
    gc.collect()
    Call(lambda: db.execute(INSERT, ("other",))).result()
    db.execute(INSERT, ("mine",))
    assert names(db) == ["other", "mine"]


def test_a_turn_lives_as_long_as_its_transaction(db: Database) -> None:
    """Who keeps only the transaction still has the turn."""
    tx = db.transaction().__enter__()
    gc.collect()
    tx.execute(INSERT, ("undone",))
    assert not may_write(db.path)
    with pytest.raises(NestedWrite):
        db.execute(INSERT, ("never",))


def test_a_thread_that_dies_inside_its_turn_holds_up_nobody_for_long(db: Database) -> None:
    """Its frames go, and with them the turn; a new thread with its identifier is nobody's heir."""

    def dies() -> None:
        db.transaction().__enter__().execute(INSERT, ("undone",))

    threading.Thread(target=dies).start()
    for number in range(20):
        Call(partial(db.execute, INSERT, (f"n{number}",))).result()
    assert len(names(db)) == 20


def test_a_turn_that_is_kept_by_a_dead_thread_ends_by_its_limit(db: Database) -> None:
    """The transaction lives on in a list: the watch ends it."""
    kept: list[Transaction] = []
    Call(lambda: kept.append(db.transaction(hold_s=0.05).__enter__())).result()
    db.execute(INSERT, ("after",))
    with pytest.raises(onewriter.MisuseError):
        kept[0].execute(INSERT, ("never",))
    assert names(db) == ["after"]


# --- after_commit


def test_callbacks_run_after_the_commit_in_order(db: Database) -> None:
    """On the caller's thread, outside the transaction: they may read and write."""
    seen: list[object] = []

    def work(tx: Transaction) -> str:
        tx.after_commit(lambda: seen.append((threading.get_ident(), names(db))))
        tx.execute(INSERT, ("a",))
        tx.after_commit(lambda: seen.append(db.execute(INSERT, ("by the callback",)).changes))
        return "done"

    assert db.write(work) == "done"
    assert seen == [(threading.get_ident(), ["a"]), 1]
    seen.clear()
    with db.transaction() as tx:
        tx.after_commit(lambda: seen.append(names(db)))
        assert seen == []
    assert seen == [["a", "by the callback"]]


def test_callbacks_of_what_is_undone_are_dropped(db: Database) -> None:
    """Of a function that raises, of a block that raises, of a savepoint, of a failed deferred key."""
    seen: list[str] = []

    def fails(tx: Transaction) -> None:
        tx.after_commit(lambda: seen.append("of a function that raises"))
        raise LookupError

    def breaks(tx: Transaction) -> None:
        tx.after_commit(lambda: seen.append("of a broken key"))
        tx.execute(INSERT, ("a",))
        tx.execute("INSERT INTO part (item, later) VALUES (1, 999)")

    with pytest.raises(LookupError):
        db.write(fails)
    with pytest.raises(IntegrityError):
        db.write(breaks)
    with pytest.raises(LookupError), db.transaction() as tx:
        fails(tx)
    with db.transaction() as tx:
        tx.after_commit(lambda: seen.append("kept"))
        with pytest.raises(LookupError), tx.savepoint():
            tx.after_commit(lambda: seen.append("of the outer savepoint"))
            with tx.savepoint():
                tx.after_commit(lambda: seen.append("of the inner savepoint"))
            raise LookupError
        with tx.savepoint():
            tx.after_commit(lambda: seen.append("kept too"))
    assert seen == ["kept", "kept too"]


def test_callbacks_of_a_discarded_run_are_dropped(db: Database) -> None:
    """A request that runs twice, since its transaction was lost, calls back once."""
    seen: list[str] = []
    runs: list[str] = []

    def work(tx: Transaction) -> None:
        runs.append("run")
        tx.after_commit(lambda: seen.append("once"))
        tx.execute(INSERT, ("a",))

    held = Held(db)
    call = Call(lambda: db.write(work))
    held.wait_for(1)
    loses = Call(lambda: db.execute("INSERT OR ROLLBACK INTO item (name) VALUES ('held')"))
    held.wait_for(2)
    held.let_go()
    call.result()
    assert isinstance(loses.error(), IntegrityError)
    assert (runs, seen) == (["run", "run"], ["once"])


def test_a_callback_that_raises_changes_no_outcome(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next one is called."""
    seen: list[str] = []

    def raises() -> None:
        raise LookupError("of a callback")

    def work(tx: Transaction) -> str:
        tx.after_commit(raises)
        tx.after_commit(lambda: seen.append("next"))
        return "done"

    assert db.write(work) == "done"
    assert seen == ["next"]
    assert "of a callback" in caplog.text
    assert "the commit stands" in caplog.text
    with db.transaction() as tx:
        work(tx)
    assert seen == ["next", "next"]


def test_callbacks_of_a_submitted_request_run_before_it_is_told(db: Database) -> None:
    """On a thread without the role: they may write, and what they did is there when the future is done."""
    seen: list[object] = []

    def work(tx: Transaction) -> str:
        tx.execute(INSERT, ("a",))
        tx.after_commit(lambda: seen.append(db.execute(INSERT, ("by the callback",)).changes))
        tx.after_commit(lambda: seen.append(threading.get_ident()))
        return "done"

    held = Held(db)
    future = db.submit(work)
    future.add_done_callback(lambda _future: seen.append("done callback"))
    held.let_go()
    assert future.result(LIMIT_S) == "done"
    assert seen[0] == 1
    assert seen[1] != threading.get_ident()
    wait_until(lambda: seen[2:] == ["done callback"], "the done callback")
    db.execute("DELETE FROM item WHERE name = 'held'")
    assert names(db) == ["a", "by the callback"]


def test_what_is_no_callback_is_refused(db: Database) -> None:
    """And a transaction that is over takes none."""
    with db.transaction() as tx:
        with pytest.raises(ProgrammingError, match="after_commit takes a function"):
            tx.after_commit("later")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(TransactionEnded):
        tx.after_commit(lambda: None)


# --- unsafe_connection


def test_the_unsafe_connection_is_apsw_s_own_with_the_turn(db: Database) -> None:
    """It may do anything, nobody else writes meanwhile, and what it commits is there."""
    with db.unsafe_connection() as connection:
        assert isinstance(connection, apsw.Connection)
        assert connection.get_autocommit()
        waiting = Call(lambda: db.execute(INSERT, ("other",)))
        wait_until(lambda: db.stats().pending == 1, "the other in line")
        with pytest.raises(NestedWrite):
            db.execute(INSERT, ("never",))
        connection.execute("BEGIN; INSERT INTO item (name) VALUES ('raw'); COMMIT")
        assert connection.execute("PRAGMA foreign_keys").get == 1
        assert waiting.running
    waiting.result()
    assert names(db) == ["raw", "other"]


def test_nothing_that_is_done_to_the_unsafe_connection_stays(db: Database) -> None:
    """TEMP tables, attached files, pragmas, an open transaction, a half-read cursor, prepared forbidden statements."""
    forbidden = "SAVEPOINT mine"
    with db.unsafe_connection() as connection:
        connection.execute("CREATE TEMP TABLE item (name)")
        connection.execute("ATTACH ':memory:' AS other")
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA query_only = ON")
        connection.execute(forbidden)
        connection.execute("RELEASE mine")
        connection.execute("PRAGMA query_only = OFF")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO main.item (name) VALUES ('undone')")
        cursor = connection.execute("SELECT name FROM main.item UNION ALL SELECT 'x'")
        next(cursor)
    db.execute(INSERT, ("kept",))
    assert names(db) == ["kept"]
    with pytest.raises(onewriter.ForbiddenStatement):
        db.execute(forbidden)
    with pytest.raises(IntegrityError):
        db.execute("INSERT INTO part (item) VALUES (999)")
    with pytest.raises(apsw.ConnectionClosedError):
        connection.execute("SELECT 1")
    assert db.check() == []


def test_the_unsafe_connection_is_prepared_as_all_are(tmp_path: Path) -> None:
    """`on_connect` is called with it, and an exception in the block leaves the line free."""
    with open_items(tmp_path, Config(on_connect=with_function("answer", _answer))) as db:
        with pytest.raises(LookupError), db.unsafe_connection() as connection:
            assert connection.execute("SELECT answer()").get == 42
            raise LookupError
        db.execute(INSERT, ("after",))
        held = Held(db)
        late = Call(lambda: db.unsafe_connection(timeout_s=0.01).__enter__())
        assert isinstance(late.error(), WriteTimeout)
        held.let_go()
        held.call.result()


# --- vacuum


def test_vacuum_gives_room_back(db: Database) -> None:
    """The file is smaller, its content the same, readers and later writes are well."""
    db.execute_many(INSERT, [(f"{number:0500}",) for number in range(2_000)])
    db.execute("DELETE FROM item WHERE id > 10")
    before = db.query_value("PRAGMA page_count", into=int)
    with db.read_transaction() as snapshot:
        db_names = snapshot.query("SELECT name FROM item", into=str)
        vacuuming = Call(db.vacuum)
        vacuuming.result()
        assert snapshot.query("SELECT name FROM item", into=str) == db_names
    assert db.query_value("PRAGMA page_count", into=int) < before / 2
    db.execute(INSERT, ("after",))
    assert len(names(db)) == 11
    assert db.check() == []


def test_vacuum_waits_for_its_turn_and_for_strangers(db: Database) -> None:
    """Up to the deadline, with an error that says who was in the way; inside a write it is refused."""
    with db.transaction():
        with pytest.raises(NestedWrite):
            db.vacuum()
    held = Held(db)
    assert isinstance(Call(lambda: db.vacuum(timeout_s=0.01)).error(), WriteTimeout)
    held.let_go()
    held.call.result()
    with Stranger(db.path) as other:
        other.run("BEGIN IMMEDIATE")
        with pytest.raises(WriteTimeout) as caught:
            db.vacuum(timeout_s=0.05)
        assert caught.value.held_by == "stranger"
    db.vacuum()
    assert names(db) == ["held"]


def test_who_is_late_behind_a_vacuum_that_has_waited_for_a_stranger_is_told_of_the_vacuum(
    tmp_path: Path,
) -> None:
    """The stranger has left by then."""
    disk, steps = SickVFS("sick-turns"), Steps()

    def rule(what: str, kind: str) -> None:
        if (what, kind) == ("write", "wal"):
            steps.mark("writes")
            steps.wait_for("go")

    with onewriter.open(tmp_path / "a.db", config=Config(vfs=disk.name), migrations=SCHEMA) as db:
        db.execute(INSERT, ("one",))
        with Stranger(db.path) as other:
            other.run("BEGIN IMMEDIATE")
            vacuuming = Call(db.vacuum)
            assert db._core.writer is not None
            connection = db._core.writer.connection
            wait_until(lambda: connection.waits_for_lock, "it waits")
            disk.rule = rule
            other.run("ROLLBACK")
        steps.wait_for("writes")
        with pytest.raises(WriteTimeout) as caught:
            db.execute(INSERT, ("late",), timeout_s=0.02)
        assert caught.value.held_by == "line", str(caught.value)
        steps.mark("go")
        disk.rule = None
        vacuuming.result()


def test_a_database_that_is_only_read_has_no_turns(tmp_path: Path) -> None:
    """Each door says so."""
    open_items(tmp_path, PATIENT).close()
    with onewriter.open(tmp_path / "items.db", read_only=True) as db:
        for call in (
            lambda: db.submit(lambda _tx: None),
            db.transaction,
            db.unsafe_connection,
            db.vacuum,
        ):
            with pytest.raises(onewriter.ReadOnlyDatabase, match="read_only=True"):
                call()


def test_closing_ends_the_watch(tmp_path: Path) -> None:
    """No thread of the library's is left, also where a turn was open past the end; its limit holds until then."""
    db = open_items(tmp_path)
    steps = Steps()

    def holds() -> None:
        with db.transaction() as tx:
            steps.mark("holds")
            steps.wait_for("go")
            tx.execute(INSERT, ("kept",))

    call = Call(holds)
    steps.wait_for("holds")
    db.close(timeout_s=0.01)
    steps.mark("go")
    call.result()
    wait_until(lambda: not _threads(), "the end of all threads")
    with open_items(tmp_path) as again:
        assert names(again) == ["kept"]
        again.submit(lambda _tx: None).result(LIMIT_S)
        again.transaction(hold_s=0.05).__enter__().execute(INSERT, ("undone",))
        wait_until(lambda: len(_threads()) == 2, "both threads")
    assert not _threads()


def _threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("onewriter-")]


def _answer(*_arguments: object) -> int:
    return 42
