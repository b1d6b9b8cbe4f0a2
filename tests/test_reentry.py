"""A user's code that runs where nobody expects it: hooks inside SQLite, signal handlers, log handlers, finalizers."""

# pyright: reportUnknownMemberType=false
# (APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.)

from __future__ import annotations

import logging
import random
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import apsw
import pytest

import onewriter
from onewriter import Config, Database, MisuseError, Transaction, presence
from tests.support.databases import SCHEMA, Held, names, open_items
from tests.support.sick_vfs import SickVFS, fail
from tests.support.steps import LIMIT_S, Call, Steps, calls, wait_until
from tests.support.strikes import Strike, Striker

INSERT = "INSERT INTO item (name) VALUES (?)"


class Tracing:
    """A hook of on_connect that hears of the end of every statement, as a log of slow ones does, and may raise."""

    def __init__(self) -> None:
        """Raise nothing yet."""
        self.error: type[BaseException] | None = None

    def __call__(self, connection: apsw.Connection) -> None:
        """Set the hook."""
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._ended, id="tracing")

    def _ended(self, event: dict[str, object]) -> None:
        if self.error is not None and str(event.get("sql", "")).startswith("COMMIT"):
            error, self.error = self.error, None
            raise error


@pytest.mark.parametrize("alone", [True, False])
def test_a_hook_that_raises_after_the_commit_changes_nothing(tmp_path: Path, alone: bool) -> None:
    """The commit stands: nobody is run again, and nobody is told a failure for what is in the file."""
    tracing = Tracing()
    with open_items(tmp_path, Config(on_connect=tracing, batch_s=60.0)) as db:
        done: list[Call[object]] = []
        if alone:
            tracing.error = ValueError
            done.append(Call(lambda: db.execute(INSERT, ("lone",))))
        else:
            held = Held(db)
            for name in ("a", "b"):
                done.append(Call(lambda name=name: db.execute(INSERT, (name,))))  # type: ignore[misc]
                held.wait_for(len(done))
            tracing.error = ValueError
            held.let_go()
            held.call.result()
        for call in done:
            call.result()
        assert tracing.error is None, "the hook has raised"
        assert names(db) == (["lone"] if alone else ["held", "a", "b"])
        assert db.stats().reruns == 0


def test_an_interrupt_inside_such_a_hook_is_told_and_changes_nothing(tmp_path: Path) -> None:
    """It strikes the main thread when the commit it makes for others is done: they are acknowledged, once."""
    tracing = Tracing()
    with open_items(tmp_path, Config(on_connect=tracing, batch_s=60.0)) as db:
        held = Held(db)
        other = Call(lambda: db.execute(INSERT, ("other",)))
        held.wait_for(1)

        def lets_go() -> None:
            held.wait_for(2)
            held.let_go()

        tracing.error = Strike
        letting = Call(lets_go)
        with pytest.raises(Strike):
            db.write(lambda tx: tx.execute(INSERT, ("mine",)))
        for call in (letting, held.call, other):
            call.result()
        assert names(db) == ["held", "other", "mine"]


def test_a_read_that_fails_on_the_disk_ends_its_transaction(tmp_path: Path) -> None:
    """SQLite has given up the snapshot: what comes after is refused, not read from a newer one."""
    vfs = SickVFS("sick-reentry")
    try:
        with onewriter.open(
            tmp_path / "items.db", config=Config(vfs=vfs.name, cache_bytes=64 * 1024), migrations=SCHEMA
        ) as db:
            db.execute_many(INSERT, [(f"{number:0900}",) for number in range(500)])
            with db.read_transaction() as tx:
                assert tx.query_value("SELECT count(*) FROM part", into=int) == 0
                db.execute("INSERT INTO part (item) VALUES (1)")
                vfs.rule = lambda asked, _of: (
                    fail(asked, _of, apsw.IOError)(asked, _of) if asked == "read" else None
                )
                with pytest.raises(onewriter.DiskError):
                    tx.query("SELECT sum(length(name)) FROM item")
                vfs.rule = None
                with pytest.raises(onewriter.TransactionEnded):
                    tx.query_value("SELECT count(*) FROM part", into=int)
            assert db.query_value("SELECT count(*) FROM part", into=int) == 1
            with db.read_transaction() as tx:
                assert tx.query_value("SELECT count(*) FROM part", into=int) == 1
    finally:
        vfs.unregister()


# --- handlers of logs


class _Writes(logging.Handler):
    """Keeps a log in the very database that it tells of."""

    def __init__(self, db: Database) -> None:
        super().__init__()
        self._db = db
        self.refused: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._db.execute(INSERT, (record.getMessage()[:20],), timeout_s=LIMIT_S)
        except onewriter.Error as error:
            self.refused.append(error)


def test_a_log_in_the_same_database_does_not_stop_the_watch(tmp_path: Path) -> None:
    """It would wait for the turn that the watch is to end: it is refused at once, and the turn ends in time."""
    with open_items(tmp_path, Config(holder_warn_s=0.02)) as db:
        handler = _Writes(db)
        logging.getLogger("onewriter").addHandler(handler)
        try:
            block = db.transaction(hold_s=0.1)
            block.__enter__()
            Call(lambda: db.execute(INSERT, ("other",), timeout_s=LIMIT_S)).result()
            with pytest.raises(onewriter.TransactionEnded):
                block.__exit__(None, None, None)
        finally:
            logging.getLogger("onewriter").removeHandler(handler)
        assert any(isinstance(error, MisuseError) for error in handler.refused)
        assert "other" in names(db)


# --- signal handlers that call back in


@contextmanager
def _alarms(handler: Callable[[], object], seed: int) -> Generator[None]:
    """Call *handler* on this thread, at short and uneven distances."""
    drawn = random.Random(seed)

    def struck(_signal: int, _frame: object) -> None:
        try:
            handler()
        finally:
            signal.setitimer(signal.ITIMER_REAL, drawn.uniform(1e-4, 2e-3))

    before = signal.signal(signal.SIGALRM, struck)
    signal.setitimer(signal.ITIMER_REAL, 1e-3)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("what", ["query", "execute", "submit"])
def test_a_signal_handler_may_call_back_in(tmp_path: Path, seed: int, what: str) -> None:
    """It is served, or refused at once as misuse; nothing that it interrupted is harmed, and nobody waits for it."""
    with open_items(tmp_path, Config(readers_max=2)) as db:
        refused = served = 0

        def handler() -> None:
            nonlocal refused, served
            try:
                if what == "query":
                    db.query("SELECT 1", timeout_s=LIMIT_S)
                elif what == "execute":
                    db.execute(INSERT, (None,), timeout_s=LIMIT_S)
                else:
                    db.submit(lambda tx: tx.execute(INSERT, (None,)))
                served += 1
            except MisuseError:
                refused += 1

        stop = threading.Event()

        def other(number: int) -> int:
            count = 0
            while not stop.is_set():
                db.execute(INSERT, (f"{number}-{count}",), timeout_s=LIMIT_S)
                db.query("SELECT 1", timeout_s=LIMIT_S)
                count += 1
            return count

        others = calls(other, 2)
        with _alarms(handler, seed):
            for number in range(600):
                db.query("SELECT count(*) FROM item", timeout_s=LIMIT_S)
                db.submit(lambda tx, n=number: tx.execute(INSERT, (f"submitted-{n}",)))  # type: ignore[misc]
                db.execute(INSERT, (f"main-{number}",), timeout_s=LIMIT_S)
        stop.set()
        counts = sum(call.result() for call in others)
        db.submit(lambda _tx: None).result(LIMIT_S)
        assert refused + served > 0
        there = db.query_value("SELECT count(*) FROM item WHERE name IS NOT NULL", into=int)
        assert there == counts + 2 * 600
        assert db.stats().readers_lent == 0


def test_closing_in_a_signal_handler_that_interrupted_a_write_is_refused(tmp_path: Path) -> None:
    """Also where the write only waits for its turn: the role would come to the thread that waits for the end."""
    refused: list[BaseException] = []
    with open_items(tmp_path) as db:
        held = Held(db)

        def handler(_signal: int, _frame: object) -> None:
            try:
                db.close()
            except MisuseError as error:
                refused.append(error)
            held.let_go()

        before = signal.signal(signal.SIGUSR1, handler)
        try:

            def alarm() -> None:
                held.wait_for(1)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

            alarming = Call(alarm)
            db.execute(INSERT, ("mine",))
            alarming.result()
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert len(refused) == 1
        assert names(db) == ["held", "mine"]


def test_a_caller_at_the_end_of_its_stack_harms_nobody(tmp_path: Path) -> None:
    """RecursionError may come at any depth of the library: what was acknowledged is there, and the line goes on."""
    acknowledged: list[str] = []
    struck = 0

    def block(db: Database, name: str) -> None:
        with db.transaction() as tx:
            tx.execute(INSERT, (name,))

    doors: list[Callable[[Database, str], object]] = [
        lambda db, name: db.execute(INSERT, (name,)),
        lambda db, name: db.write(lambda tx: tx.execute(INSERT, (name,))),
        lambda db, name: db.submit(lambda tx: tx.execute(INSERT, (name,))).result(LIMIT_S),
        block,
    ]

    def deep(depth: int, call: Callable[[], object]) -> object:
        return deep(depth - 1, call) if depth else call()

    with open_items(tmp_path) as db:

        def on_a_thread_of_its_own() -> None:
            nonlocal struck
            for depth in range(sys.getrecursionlimit() - 80, sys.getrecursionlimit()):
                for number, door in enumerate(doors):
                    name = f"{depth}-{number}"
                    try:
                        deep(depth, lambda door=door, name=name: door(db, name))  # type: ignore[misc]
                    except RecursionError:
                        struck += 1
                    else:
                        acknowledged.append(name)

        Call(on_a_thread_of_its_own).result()
        Call(lambda: db.execute(INSERT, ("after",))).result()
        assert struck > 0
        assert acknowledged
        assert set(acknowledged) <= set(names(db))
        assert db.stats().pending == 0
        assert db.check() == []


# --- migrations and the rest


def test_a_migration_that_is_interrupted_leaves_foreign_keys_on(tmp_path: Path, seed: int) -> None:
    """At places all over a rebuild, others each run: no orphan can be written afterwards."""
    with open_items(tmp_path) as db:
        number, place = seed % 11, "none"
        migration = onewriter.Migration(2, "rebuild", "UPDATE item SET size = size", rebuild=True)
        while place:
            number += 11
            striker = Striker(number)
            raised = striker.run(lambda: db.migrate([*SCHEMA, migration]))
            assert raised is None or isinstance(raised, Strike), (striker.place, repr(raised))
            del raised
            place = striker.place
            with pytest.raises(onewriter.IntegrityError):
                db.execute("INSERT INTO part (item) VALUES (999)")
            db.execute("DELETE FROM schema_migrations WHERE version = 2")


def test_a_migration_may_not_be_a_coroutine_function_and_calls_back(tmp_path: Path) -> None:
    """What would do nothing is not recorded as applied; what a migration gives to after_commit is called."""
    seen: list[int] = []

    async def nothing(tx: Transaction) -> None:
        tx.execute("DELETE FROM item")

    with open_items(tmp_path) as db:
        with pytest.raises(onewriter.MigrationError, match="plain function"):
            db.migrate([*SCHEMA, onewriter.Migration(2, "lazy", nothing)])
        assert db.schema_version() == 1
        work = onewriter.Migration(
            2, "calls", lambda tx: tx.after_commit(lambda: seen.append(db.schema_version()))
        )
        db.migrate([*SCHEMA, work])
        assert seen == [2]


def test_a_straggler_s_end_closes_the_file_for_good(tmp_path: Path) -> None:
    """After a close that ran out of time nobody need call it again."""
    db = open_items(tmp_path)
    steps = Steps()

    def holds() -> None:
        with db.transaction():
            steps.mark("holds")
            steps.wait_for("go")

    call = Call(holds)
    steps.wait_for("holds")
    db.close(timeout_s=0.01)
    assert presence.is_open(db.path)
    steps.mark("go")
    call.result()
    wait_until(lambda: not presence.is_open(db.path), "the end")


class _Loud(str):
    """A text whose class has code of its own, and notes who runs it."""

    __slots__ = ()
    seen: list[int] = []  # noqa: RUF012 - one for all

    def __hash__(self) -> int:
        self.seen.append(threading.get_ident())
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        self.seen.append(threading.get_ident())
        return super().__eq__(other)


def test_texts_of_a_caller_s_own_class_are_not_asked_on_another_s_thread(tmp_path: Path) -> None:
    """Neither the SQL nor the names of its parameters."""
    with open_items(tmp_path) as db:
        held = Held(db)
        name = _Loud("name")
        sql = cast("onewriter.SQL", _Loud("INSERT INTO item (name) VALUES (:name)"))
        call = Call(lambda: db.execute(sql, {name: "a"}))
        held.wait_for(1)
        held.let_go()
        call.result()
        held.call.result()
        assert set(_Loud.seen) <= {call.ident, threading.get_ident()}
        assert names(db) == ["held", "a"]
