"""Attacks on the promises: what once broke one, and what was tried and did not."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, overload

import apsw
import pytest

import onewriter
from onewriter import (
    Config,
    Database,
    DatabaseClosed,
    ForkedDatabase,
    IntegrityError,
    NestedRead,
    NestedWrite,
    OutcomeUnknown,
    ProgrammingError,
    StatementTimeout,
    Transaction,
    WriteTimeout,
    presence,
)
from tests.support.children import child, forked
from tests.support.databases import PATIENT, Held, names, open_items
from tests.support.sick_vfs import SickVFS
from tests.support.steps import Call, Steps, outcome, wait_until
from tests.support.stranger import Stranger

UNNAMED = "INSERT INTO item (name) VALUES (NULL)"
NAMED = "INSERT INTO item (name) VALUES (?)"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database whose batches close only when the line is empty."""
    with open_items(tmp_path) as opened:
        yield opened


def _insert(db: Database, name: str) -> Call[object]:
    return Call(lambda: db.execute(NAMED, (name,)), name)


# --- the limit of a statement's time, which the library's own statements must not meet


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database where SQLite looks at the clock in every statement, not once in some thousand."""
    monkeypatch.setattr("onewriter.handle.STEPS", 2)
    with open_items(tmp_path, Config(statement_timeout_s=0.5)) as opened:
        yield opened


def test_a_pause_between_writes_interrupts_nobody(watched: Database) -> None:
    """After a quiet time longer than `statement_timeout_s` BEGIN is not overdue, nor left open for all who follow."""
    watched.execute(UNNAMED)
    time.sleep(0.6)
    for _ in range(4):
        watched.execute(UNNAMED)
    assert watched.query_value("SELECT count(*) FROM item", into=int) == 5


def test_a_pause_inside_a_write_does_not_interrupt_its_commit(watched: Database) -> None:
    """The limit is of the request's own work inside SQLite: a function may take its time and be committed."""

    def pauses(tx: Transaction) -> None:
        tx.execute(UNNAMED)
        time.sleep(0.6)

    watched.write(pauses)
    assert watched.query_value("SELECT count(*) FROM item", into=int) == 1


def test_a_pause_between_reads_interrupts_nobody(watched: Database) -> None:
    """A reader that was idle for long begins its next transaction like the first."""
    watched.read(lambda tx: tx.query("SELECT 1"))
    time.sleep(0.6)
    for _ in range(4):
        assert watched.read(lambda tx: tx.query("SELECT 1", into=int)) == [1]


# --- the role survives whatever strikes its holder


@pytest.mark.parametrize("times", [1, 1_000])
def test_a_commit_that_raises_anything_leaves_nobody_waiting(tmp_path: Path, times: int) -> None:
    """A hook of on_connect raises in COMMIT, once or always: every member hears of it, and the role lives on."""
    left = [0]

    def hook() -> bool:
        if left[0] > 0:
            left[0] -= 1
            raise ValueError("not of SQLite")
        return False

    config = Config(
        batch_s=60.0,
        lead_s=60.0,
        write_timeout_s=3.0,
        on_connect=lambda connection: connection.set_commit_hook(hook),
    )
    with open_items(tmp_path, config) as db:
        held = Held(db)
        calls: dict[str, Call[object]] = {"held": held.call}
        for name in ("a", "b"):
            calls[name] = _insert(db, name)
            held.wait_for(len(calls) - 1)
        calls["alone"] = Call(lambda: db.write(lambda tx: tx.execute(NAMED, ("alone",)), alone=True))
        held.wait_for(3)
        calls["c"] = _insert(db, "c")
        held.wait_for(4)
        left[0] = times
        held.let_go()
        done = [name for name, call in calls.items() if outcome(call) is None]
        left[0] = 0
        db.execute(NAMED, ("next",))
        assert names(db) == [*done, "next"]


def test_a_failure_of_the_library_s_holder_tells_whom_it_serves(tmp_path: Path) -> None:
    """What raises while a batch is begun for another is that other's to hear, and not a silence for ever."""
    with open_items(tmp_path, Config(batch_s=0.0, lead_s=60.0, write_timeout_s=3.0)) as db:
        held = Held(db)
        calls = [_insert(db, "a")]
        held.wait_for(1)
        assert db._core.writer is not None
        connection = db._core.writer.connection
        begin = connection.begin_write
        failures = iter([True])

        def fails_once(deadline: float) -> bool:
            if next(failures, False):
                raise OSError("of a VFS written in Python")
            return begin(deadline)

        connection.begin_write = fails_once  # type: ignore[method-assign]
        held.let_go()
        outcome(held.call)
        for call in calls:
            outcome(call)
        db.execute(NAMED, ("next",))
        assert names(db)[-1] == "next"


# --- savepoints that are not ended in order


def test_a_savepoint_left_open_does_not_save_a_failure(db: Database) -> None:
    """A member that raises while a generator of its own holds a savepoint open is undone as a whole."""

    def guilty(tx: Transaction) -> None:
        def half() -> Iterator[None]:
            with tx.savepoint():
                yield

        tx.execute(NAMED, ("undone",))
        held_open = half()
        next(held_open)
        raise LookupError(held_open)

    held = Held(db)
    call = Call(lambda: db.write(guilty))
    held.wait_for(1)
    after = _insert(db, "after")
    held.wait_for(2)
    held.let_go()
    assert isinstance(call.error(), LookupError)
    after.result()
    assert names(db) == ["held", "after"]


def test_a_savepoint_that_ends_late_does_not_undo_another_s_part(db: Database) -> None:
    """Where savepoints end out of order, nothing is lost in silence: the write fails, or all of it is there."""

    def work(tx: Transaction) -> None:
        abandoned = tx.savepoint()
        abandoned.__enter__()
        tx.execute(NAMED, ("first",))
        with tx.savepoint():
            tx.execute(NAMED, ("second",))
            with suppress(GeneratorExit):
                abandoned.__exit__(GeneratorExit, GeneratorExit(), None)  # as the garbage collector does
            tx.execute(NAMED, ("third",))

    with suppress(onewriter.Error):
        db.write(work)
    assert names(db) in ([], ["first", "second", "third"])


# --- what one request leaves on the connection


def test_a_temporary_table_does_not_swallow_the_writes_of_others(db: Database) -> None:
    """It would hide the real one, and an acknowledged row would be gone with the connection."""
    with suppress(onewriter.Error):
        db.execute("CREATE TEMP TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
    db.execute(NAMED, ("acknowledged",))
    assert names(db) == ["acknowledged"]


def test_a_temporary_trigger_does_not_undo_the_writes_of_others(db: Database) -> None:
    """It would live as long as the connection, unseen by other processes."""
    with suppress(onewriter.Error):
        db.execute(
            "CREATE TEMP TRIGGER gone AFTER INSERT ON main.item BEGIN DELETE FROM main.item WHERE id = new.id; END"
        )
    db.execute(NAMED, ("acknowledged",))
    assert names(db) == ["acknowledged"]


def test_an_error_does_not_carry_another_caller_s(db: Database) -> None:
    """A statement that a holder ran while it handled an exception of its own tells nothing of that."""
    steps = Steps()

    def handles() -> None:
        try:
            raise LookupError("secret of another")
        except LookupError:
            with suppress(ZeroDivisionError), db.transaction():
                steps.mark("in")
                steps.wait_for("go")
                raise ZeroDivisionError from None

    holder = Call(handles)
    steps.wait_for("in")
    call = Call(lambda: db.execute("INSERT INTO item (size) VALUES (-1)"))
    wait_until(lambda: db.stats().pending == 1, "one in line")
    steps.mark("go")
    holder.result()
    error: BaseException | None = call.error()
    assert isinstance(error, IntegrityError)
    seen: list[BaseException] = []
    while error is not None:
        seen.append(error)
        error = error.__cause__ or error.__context__
    assert [each for each in seen if isinstance(each, (LookupError, ZeroDivisionError))] == []


class _Lazy(Sequence[str]):
    """Parameters that are code: they note the thread that asks for them."""

    def __init__(self) -> None:
        self.asked: set[int] = set()

    def __len__(self) -> int:
        return 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        self.asked.add(threading.get_ident())
        if index == 0:
            return "lazy"
        raise IndexError


@pytest.mark.parametrize("many", [False, True])
def test_parameters_that_are_code_run_on_their_caller_s_thread(db: Database, many: bool) -> None:
    """A sequence of the caller's own class is never asked by the holder."""
    params = _Lazy()
    held = Held(db)
    call = Call(lambda: db.execute_many(NAMED, [params]) if many else db.execute(NAMED, params))
    held.wait_for(1)
    held.let_go()
    call.result()
    assert params.asked == {call.ident}
    assert names(db) == ["held", "lazy"]


def test_rows_may_ask_the_transaction_that_takes_them(db: Database) -> None:
    """The iterator given to `tx.execute_many` reads and writes through the same transaction."""

    def work(tx: Transaction) -> None:
        def rows() -> Iterator[tuple[str]]:
            for index in range(2):
                tx.execute(NAMED, (f"side{index}",))
                yield (f"row{tx.query_value('SELECT count(*) FROM item', into=int)}",)

        tx.execute_many(NAMED, rows())

    db.write(work)
    there = names(db)  # in which order is the library's to say: it may copy the rows first
    assert len(there) == 4
    assert {"side0", "side1"} < set(there)


# --- deadlines


def test_a_lost_batch_waits_for_a_stranger_once_and_together(tmp_path: Path) -> None:
    """Members that run again share one deadline, and nobody waits for a lock on another's behalf."""
    limit_s = 1.0
    config = Config(batch_s=60.0, lead_s=60.0, write_timeout_s=limit_s)
    with open_items(tmp_path, config) as db, Stranger(db.path) as stranger:
        lost: list[float] = []

        def culprit(tx: Transaction) -> None:
            try:
                tx.execute("INSERT OR ROLLBACK INTO item (name) VALUES ('held')")
            finally:
                stranger.run("BEGIN IMMEDIATE")
                lost.append(time.monotonic())

        told: list[float] = []

        def watch(call: Call[object]) -> BaseException | None:
            error = outcome(call)
            told.append(time.monotonic())
            return error

        held = Held(db)
        calls: list[Call[object]] = [held.call, _insert(db, "a")]
        held.wait_for(1)
        calls.append(Call(lambda: db.write(culprit)))
        held.wait_for(2)
        watches = [Call(partial(watch, call)) for call in calls]
        held.let_go()
        errors = [each.result() for each in watches]
        stranger.run("ROLLBACK")
        assert all(isinstance(error, WriteTimeout) for error in errors)
        assert max(told) - lost[0] < 1.9 * limit_s
        assert names(db) == []


_RECOVERS = """
import fcntl, os, sys
shm = os.open(sys.argv[1] + "-shm", os.O_RDWR)
for byte in (120, 122):  # the locks of a writer and of a recovery: https://sqlite.org/walformat.html#locks
    fcntl.lockf(shm, fcntl.LOCK_EX, 1, byte)
header = os.pread(shm, 96, 0)
os.pwrite(shm, bytes(96), 0)
print("recovers", flush=True)
sys.stdin.readline()
os.pwrite(shm, header, 0)
for byte in (120, 122):
    fcntl.lockf(shm, fcntl.LOCK_UN, 1, byte)
"""


def test_a_query_waits_for_a_recovery_until_its_deadline(db: Database) -> None:
    """Another process recovers the WAL: a reader that has been open for long waits, and hears no "locked"."""
    db.execute(NAMED, ("a",))
    assert db.query("SELECT 1", timeout_s=0.0) == [(1,)]  # the reader is opened, with a deadline that is past
    with child(_RECOVERS, db.path) as other:
        other.wait_for("recovers")
        before = db.stats().busy_retries
        call = Call(lambda: names(db))
        wait_until(lambda: not call.running or db.stats().busy_retries > before, "the wait for the recovery")
        other.go_on()
        assert call.result() == ["a"]


# --- closing


def test_close_inside_a_read_is_told_at_once(tmp_path: Path) -> None:
    """It would wait for its own reader until the deadline."""
    with open_items(tmp_path, Config(write_timeout_s=5.0)) as db:
        started = time.monotonic()
        with db.read_transaction(), pytest.raises(NestedRead):
            db.close()
        assert time.monotonic() - started < 2.5


def test_those_refused_at_close_have_each_an_error_of_their_own(tmp_path: Path) -> None:
    """One exception raised by several threads would mix their tracebacks."""
    db = open_items(tmp_path)
    held = Held(db)
    calls = [_insert(db, "a")]
    held.wait_for(1)
    calls.append(_insert(db, "b"))
    held.wait_for(2)
    db.close(timeout_s=0)
    errors = [call.error() for call in calls]
    assert all(isinstance(error, DatabaseClosed) for error in errors)
    assert errors[0] is not errors[1]
    held.let_go()
    held.call.result()


def test_an_interrupted_close_can_be_ended(tmp_path: Path) -> None:
    """The second call closes what the first left, and the file counts as closed."""
    db = open_items(tmp_path)
    held = Held(db)

    def interrupt(*_: object) -> NoReturn:
        raise InterruptedError

    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:

        def strike() -> None:
            wait_until(lambda: db.closed, "the close")
            signal.pthread_kill(main, signal.SIGUSR1)

        striker = Call(strike)
        with pytest.raises(InterruptedError):
            db.close()
        striker.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    held.let_go()
    held.call.result()
    db.close()
    assert not presence.is_open(db.path)


def test_a_write_that_outlives_its_database_is_still_a_write(tmp_path: Path) -> None:
    """After close(timeout_s=0) the file is opened anew: a write inside the old write is told at once."""
    old = open_items(tmp_path)
    opened: list[Database] = []
    steps = Steps()

    def work(tx: Transaction) -> None:
        tx.execute(NAMED, ("old",))
        steps.mark("in")
        steps.wait_for("opened")
        with pytest.raises(NestedWrite):
            opened[0].execute(NAMED, ("nested",), timeout_s=0.5)

    call = Call(lambda: old.write(work))
    steps.wait_for("in")
    old.close(timeout_s=0)
    with onewriter.open(old.path) as new:
        opened.append(new)
        steps.mark("opened")
        call.result()
        assert names(new) == ["old"]


# --- forks


def test_a_forked_child_cannot_use_its_parent_s_transaction(db: Database) -> None:
    """It is on the parent's connection."""
    with db.transaction() as tx:
        tx.execute(NAMED, ("parent",))
        with pytest.raises(ForkedDatabase):
            forked(lambda: tx.execute(NAMED, ("child",)))
    with db.read_transaction() as reading, pytest.raises(ForkedDatabase):
        forked(lambda: reading.query("SELECT 1"))
    assert names(db) == ["parent"]


def test_a_forked_child_cannot_commit_its_parent_s_transaction(db: Database) -> None:
    """It leaves the block before the parent does, which then rolls back: nothing is in the file."""
    with pytest.raises(LookupError), ExitStack() as stack:
        tx = stack.enter_context(db.transaction())
        tx.execute(NAMED, ("parent",))
        with suppress(onewriter.Error):  # however it is told there
            forked(stack.close)
        raise LookupError
    assert names(db) == []
    assert db.check() == []


def test_a_forked_child_is_refused_the_numbers_too(db: Database) -> None:
    """A lock that another thread held at the fork stays locked for ever in the child."""
    db.query("SELECT 1")

    def ask() -> object:
        signal.alarm(5)
        return db.stats()

    with db._readers._lock, pytest.raises(ForkedDatabase):
        forked(ask)


# --- arguments


def test_what_is_no_text_is_named_even_where_it_has_no_hash(db: Database) -> None:
    """A list is no SQL, and no other exception type leaves the library."""
    loose: Any = db
    for run in (loose.execute, loose.query):
        with pytest.raises(ProgrammingError, match="sql must be"):
            run(["SELECT 1"])


def test_a_timeout_past_every_float_is_named(db: Database) -> None:
    """As an infinite one is."""
    with pytest.raises(ProgrammingError, match="timeout_s"):
        db.execute("SELECT 1", timeout_s=10**400)


# --- disks that fail at the commit


def _after_a_crash(db: Database, folder: Path) -> list[str]:
    """Return the names that a recovery finds: in a copy of the file and its WAL as they lie there."""
    folder.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{db.path}{suffix}", folder / f"copy.db{suffix}")
    with onewriter.open(folder / "copy.db") as copy:
        assert copy.check() == []
        return names(copy)


@pytest.fixture(scope="module")
def sick() -> SickVFS:
    """A file system that fails on command."""
    return SickVFS("sick-attacks")


def _fails(
    what: str, kind: str, error: type[apsw.Error], *, after: int = 0, times: int = 1
) -> Callable[[str, str], object]:
    """Return a rule by which *times* of the *what* of a *kind* fail, after so many."""
    counted = [0]

    def rule(asked: str, of: str) -> None:
        if (asked, of) == (what, kind):
            counted[0] += 1
            if after < counted[0] <= after + times:
                raise error

    return rule


def test_a_full_disk_at_the_sync_is_not_taken_for_a_roll_back(tmp_path: Path, sick: SickVFS) -> None:
    """The frames are whole when the sync fails: only a commit that takes their place makes a failure plain."""
    sick.rule = None
    with open_items(tmp_path, Config(vfs=sick.name)) as db:
        assert db._core.writer is not None
        db._core.writer.connection._apsw.wal_checkpoint()  # so that the log starts over: its head is synced by itself
        sick.rule = _fails("sync", "wal", apsw.FullError, after=1, times=1_000)
        with pytest.raises(onewriter.OperationalError) as caught:
            db.execute(NAMED, ("a",))
        sick.rule = None
        survived = _after_a_crash(db, tmp_path / "crash")
        assert isinstance(caught.value, OutcomeUnknown) or survived == []


def test_a_commit_that_failed_in_python_is_not_taken_for_a_roll_back(tmp_path: Path, sick: SickVFS) -> None:
    """A VFS written in Python raises what it likes at the sync: the frames may be there all the same."""

    def rule(asked: str, of: str) -> None:
        if (asked, of) == ("sync", "wal"):
            sick.rule = None
            raise OSError("not APSW's")

    sick.rule = None
    with open_items(tmp_path, Config(vfs=sick.name)) as db:
        sick.rule = rule
        with pytest.raises((onewriter.Error, OSError)) as caught:
            db.execute(NAMED, ("a",))
        survived = _after_a_crash(db, tmp_path / "crash")
        assert isinstance(caught.value, OutcomeUnknown) or survived == []


def test_a_checkpoint_that_fails_is_no_failure_of_the_commit(tmp_path: Path, sick: SickVFS) -> None:
    """What was committed is acknowledged, and nobody runs again, when the checkpoint that follows fails."""
    sick.rule = None
    with open_items(tmp_path, Config(batch_s=60.0, lead_s=60.0, vfs=sick.name)) as db:
        db.execute("CREATE TABLE big (data BLOB)")
        for _ in range(30):  # more than the 1,000 pages after which SQLite checkpoints
            held = Held(db, name=os.urandom(4).hex())
            call = Call(lambda: db.execute("INSERT INTO big VALUES (zeroblob(300000))"))
            held.wait_for(1)
            sick.rule = _fails("sync", "db", apsw.IOError)
            held.let_go()
            assert outcome(held.call) is None
            assert outcome(call) is None
            sick.rule = None
        assert db.query_value("SELECT count(*) FROM big", into=int) == 30
        assert db.stats().reruns == 0


@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
@pytest.mark.parametrize("what", ["write", "written", "sync"])
def test_a_failing_log_keeps_every_word_given(
    tmp_path: Path, sick: SickVFS, what: str, error: type[apsw.Error]
) -> None:
    """Done is there once, also after a crash; rolled back is never there: whichever operation fails, however often."""
    logged: list[str] = []
    for after in range(5):
        for times in (1, 2, 3):
            sick.rule = None
            folder = tmp_path / f"{after}-{times}"
            with open_items(folder, Config(batch_s=60.0, lead_s=60.0, vfs=sick.name)) as db:
                held = Held(db)
                calls: dict[str, Call[object]] = {"held": held.call}
                for name in ("a", "b", "c"):
                    calls[name] = _insert(db, name)
                    held.wait_for(len(calls) - 1)
                sick.rule = _fails(what, "wal", error, after=after, times=times)
                held.let_go()
                errors = {name: outcome(call) for name, call in calls.items()}
                sick.rule = None
                for there in (names(db), _after_a_crash(db, folder / "crash")):
                    for name, failure in errors.items():
                        if failure is None:
                            assert there.count(name) == 1
                        elif not isinstance(failure, OutcomeUnknown):
                            assert isinstance(failure, onewriter.Error)
                            assert name not in there
                        logged.append(type(failure).__name__)
                db.execute(NAMED, ("later",))
                assert names(db)[-1] == "later"
    assert "NoneType" in logged


class _Hostile(Exception):
    """An exception that answers no question about itself."""

    def __str__(self) -> str:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError


@pytest.mark.parametrize(
    "error",
    [
        SystemExit,
        KeyboardInterrupt,
        GeneratorExit,
        StopIteration,
        TimeoutError,
        _Hostile,
        partial(StatementTimeout, "not SQLite's"),
        partial(OutcomeUnknown, "not SQLite's"),
    ],
)
def test_whatever_a_function_raises_is_its_own(db: Database, error: Callable[[], BaseException]) -> None:
    """Shared or alone, in a batch that is lost: the very exception comes back, and the neighbours are committed."""
    raised = error()

    def work(tx: Transaction) -> NoReturn:
        tx.execute(NAMED, ("undone",))
        raise raised

    held = Held(db)
    calls: list[Call[object]] = [Call(lambda: db.write(work))]
    held.wait_for(1)
    calls.append(_insert(db, "b"))
    held.wait_for(2)
    calls.append(Call(lambda: db.write(work, alone=True)))
    held.wait_for(3)
    calls.append(Call(lambda: db.execute("INSERT OR ROLLBACK INTO item (name) VALUES ('held')")))
    held.wait_for(4)
    held.let_go()
    held.call.result()
    assert calls[0].error() is raised
    calls[1].result()
    assert calls[2].error() is raised
    assert isinstance(calls[3].error(), IntegrityError)
    assert names(db) == ["held", "b"]


def test_a_reader_that_cannot_be_opened_gives_its_place_back(tmp_path: Path) -> None:
    """on_connect fails more often than there are readers, also for one who waited; then it works."""
    fails = [False]

    def on_connect(_connection: apsw.Connection) -> None:
        if fails[0]:
            raise LookupError

    config = Config(readers_max=1, batch_s=PATIENT.batch_s, on_connect=on_connect)
    with open_items(tmp_path, config) as db:
        fails[0] = True
        for _ in range(3):
            with pytest.raises(LookupError):
                db.query("SELECT 1")
        fails[0] = False
        with db.read_transaction():
            waiter = Call(lambda: db.query("SELECT 1"))
            wait_until(lambda: len(db._readers._waiting) == 1, "one in the queue")
        assert waiter.result() == [(1,)]
        assert db.stats().readers_lent == 0
