"""Checkpoints: a thread keeps the WAL short, and no commit waits for more than its pause (`checkpoints`, C1 to C7)."""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import apsw
import pytest

import onewriter
from onewriter import (
    Config,
    Database,
    DiskFull,
    ForbiddenStatement,
    NestedWrite,
    ReadOnlyDatabase,
    checkpoints,
    clock,
    presence,
)
from onewriter.checkpoints import PASS_PAGES, QUIET_S, Checkpointer
from onewriter.files import size
from onewriter.upkeep import Mode, Upkeep
from onewriter.writer import Writer
from tests.support.children import child, forked, together
from tests.support.places import small_disk
from tests.support.sick_vfs import SickVFS, fail
from tests.support.steps import LIMIT_S, Call, Steps, calls, wait_until
from tests.support.stranger import Stranger
from tests.support.strikes import Strike, Striker

T = TypeVar("T")
KIB = 1024
LIMIT = 256 * KIB
SMALL = Config(wal_bytes_max=LIMIT)
EXTERNAL = replace(SMALL, checkpoint="external")
INSERT = "INSERT INTO body (bytes) VALUES (zeroblob(?))"


@pytest.fixture(scope="module")
def _vfs() -> SickVFS:
    return SickVFS("sick-checkpoints")


@pytest.fixture
def sick(_vfs: SickVFS) -> Iterator[SickVFS]:
    """A file system that fails, or waits, on command."""
    _vfs.rule = None
    yield _vfs
    _vfs.rule = None


def make(folder: Path, config: Config = SMALL) -> Database:
    """Open a database with one table."""
    db = onewriter.open(folder / "a.db", config=config)
    db.execute("CREATE TABLE IF NOT EXISTS body (id INTEGER PRIMARY KEY, bytes BLOB)")
    return db


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database whose WAL is to stay within 256 KiB."""
    with make(tmp_path) as opened:
        yield opened


def wal(db: Database) -> Path:
    """Return where the WAL is."""
    return db.path.with_name(db.path.name + "-wal")


def fill(db: Database, bytes_: int, each: int = 4 * KIB) -> None:
    """Write so many bytes, in commits of *each*."""
    for _ in range(max(1, bytes_ // each)):
        db.execute(INSERT, (each,))


def write_until(db: Database, true: Callable[[], bool], what: str) -> None:
    """Go on writing until a state is there that others bring about meanwhile."""
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline, f"never came: {what}"
        db.execute(INSERT, (4 * KIB,))


def mover(db: Database) -> Checkpointer:
    """Return what moves the WAL."""
    found = db._core._checkpointer
    assert found is not None
    return found


def is_mover() -> bool:
    """Whether the calling thread is one that moves a WAL."""
    return threading.current_thread().name.startswith("onewriter-checkpoint")


@contextmanager
def pinned(db: Database, name: str = "the pinning thread") -> Generator[Steps]:
    """Have another thread keep the snapshot of now for a block, or until "go" is marked."""
    steps = Steps()

    def read() -> None:
        with db.read_transaction() as tx:
            tx.query("SELECT count(*) FROM body")
            steps.mark("reads")
            steps.wait_for("go")

    reader = Call(read, name)
    steps.wait_for("reads")
    try:
        yield steps
    finally:
        steps.mark("go")
        reader.result()


@contextmanager
def stopped(db: Database, sick: SickVFS) -> Generator[Steps]:
    """Have the thread that moves the WAL stop in the middle of a pass, for a block or until "go" is marked."""
    steps = Steps()

    def rule(asked: str, kind: str) -> None:
        if (asked, kind) == ("write", "db") and is_mover():
            steps.mark("inside")
            steps.wait_for("go")

    sick.rule = rule
    try:
        write_until(db, lambda: steps.is_marked("inside"), "a pass")
        yield steps
    finally:
        steps.mark("go")
        sick.rule = None


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """What the log says of checkpoints, with certain words in it."""
    caplog.set_level(logging.WARNING, "onewriter")

    def with_words(words: str = "") -> list[str]:
        return [
            record.getMessage()
            for record in list(caplog.records)
            if record.name.startswith("onewriter") and words in record.getMessage()
        ]

    return with_words


def spy(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, note: Callable[..., object]) -> None:
    """Have *note* told of each call of a method, with what the method is given."""
    original: Callable[..., object] = getattr(owner, name)

    def noted(*given: Any, **more: Any) -> object:  # noqa: ANN401 - whatever the method takes
        note(*given)
        return original(*given, **more)

    monkeypatch.setattr(owner, name, noted)


# --- it starts over, and is cut


@pytest.mark.parametrize("page_bytes", [512, 4096, 65536])
def test_it_starts_over_under_steady_writes_and_reads(tmp_path: Path, seed: int, page_bytes: int) -> None:
    """Two threads write and two read without a pause: the file never has twice the limit."""
    limit = (1 if page_bytes < 65536 else 3) * 1024 * KIB
    config = Config(
        wal_bytes_max=limit,
        on_connect=lambda connection: connection.pragma("page_size", page_bytes),
    )
    with make(tmp_path, config) as db:
        assert db.query_value("PRAGMA page_size") == page_bytes
        written = _write_and_read(db, seed, total=8 * limit)
        assert db.query_value("SELECT count(*) FROM body", into=int) == written.count
        assert db.check() == []
    assert written.peak < 2 * limit
    assert not wal(db).exists()


class _Written:
    count = peak = 0


def _write_and_read(db: Database, seed: int, total: int, *more: Database) -> _Written:
    """Write *total* bytes by two threads for each database, while two read."""
    written = _Written()
    done = Steps()

    def write(number: int) -> int:
        drawn, left, count = random.Random(seed + number), total // 2, 0
        through = (db, *more)[number % (1 + len(more))]
        while left > 0:
            chosen = drawn.choice((100, 4 * KIB, 20 * KIB))
            through.execute(INSERT, (chosen,))
            left -= chosen + 4 * KIB
            count += 1
            written.peak = max(written.peak, size(wal(db)))
        return count

    def read(number: int) -> None:
        drawn = random.Random(-seed - number)
        while not done.is_marked("done"):
            with db.read_transaction() as tx:
                tx.query("SELECT max(id) FROM body")
                if drawn.random() < 0.1:
                    tx.query("SELECT sum(length(bytes)) FROM body WHERE id % 7 = 0")

    readers = calls(read, 2)
    try:
        written.count = sum(call.result() for call in calls(write, 2))
    finally:
        done.mark("done")
        for reader in readers:
            reader.result()
    return written


def test_a_file_opened_twice_is_looked_after_by_both(tmp_path: Path, seed: int) -> None:
    """Two lines, two threads that move: each gets out of the other's way, and nobody hears of it."""
    limit = 1024 * KIB
    config = Config(wal_bytes_max=limit)
    with make(tmp_path, config) as one, make(tmp_path, config) as two:
        written = _write_and_read(one, seed, 8 * limit, two)
        assert one.query_value("SELECT count(*) FROM body", into=int) == written.count
        assert one.check() == []
    assert written.peak < 2 * limit
    assert not wal(one).exists()


_PROCESS = """
import sys, threading
from pathlib import Path
from onewriter import Config
limit = int(sys.argv[2])
done = threading.Event()
def read():
    while not done.is_set():
        db.query("SELECT max(id) FROM body")
with onewriter.open(sys.argv[1], config=Config(wal_bytes_max=limit)) as db:
    reader = threading.Thread(target=read)
    reader.start()
    print("ready", flush=True)
    sys.stdin.readline()
    peak = 0
    for _ in range(200):
        db.execute("INSERT INTO body (bytes) VALUES (zeroblob(8192))")
        peak = max(peak, Path(sys.argv[1] + "-wal").stat().st_size)
    done.set()
    reader.join()
print(peak)
"""


def test_several_processes_keep_it_short_together(tmp_path: Path) -> None:
    """Each has its thread; no write of any fails, and the file never has twice the limit."""
    limit = 1024 * KIB
    with make(tmp_path) as db:
        path = db.path
    peaks = [int(printed) for printed in together(_PROCESS, 3, path, limit)]
    assert max(peaks) < 2 * limit
    with onewriter.open(path) as db:
        assert db.query_value("SELECT count(*) FROM body", into=int) == 600
        assert db.check() == []


def test_a_quiet_one_is_cut_to_nothing(db: Database) -> None:
    """Nobody writes any more: the room on the disk is given back."""
    fill(db, LIMIT // 2)
    assert size(wal(db)) > 0
    wait_until(lambda: size(wal(db)) == 0, "a WAL of nothing")
    assert db.stats().wal_bytes == 0
    db.execute(INSERT, (1,))


def test_a_short_one_keeps_its_room(tmp_path: Path) -> None:
    """What is written next is written over it: a quarter of the limit is not worth the cut."""
    with make(tmp_path, Config(wal_bytes_max=4 * LIMIT)) as db:
        checkpointer = db._core._checkpointer
        assert checkpointer is not None
        fill(db, LIMIT // 8)
        assert 0 < size(wal(db)) <= LIMIT
        assert checkpointer._cut_when_quiet() == clock.NEVER
        assert size(wal(db)) > 0
        fill(db, LIMIT)  # each commit writes more than its bytes
        assert checkpointer._cut_when_quiet() < clock.NEVER


def test_one_that_is_not_quiet_is_not_cut(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file keeps its room while it is needed again at once."""
    cuts: list[float] = []
    commits: list[float] = []

    def note(_self: Upkeep, mode: Mode) -> None:
        if mode == "TRUNCATE":
            cuts.append(time.monotonic())

    spy(monkeypatch, Upkeep, "checkpoint", note)
    until = time.monotonic() + 2.5 * QUIET_S
    while time.monotonic() < until:
        db.execute(INSERT, (8 * KIB,))
        commits.append(time.monotonic())
        time.sleep(0.002)  # so that there is no page left to move most of the time
    too_early = [
        at for at in cuts if any(at - 0.9 * QUIET_S < commit < at - 0.1 * QUIET_S for commit in commits)
    ]
    assert not too_early
    wait_until(lambda: bool(cuts), "the cut of a quiet one")


def test_a_transaction_larger_than_the_limit(db: Database) -> None:
    """It is written whole; then the file is cut to the limit, though writes go on."""
    db.execute_many(INSERT, [(100 * KIB,)] * 40)
    assert size(wal(db)) > 10 * LIMIT
    write_until(db, lambda: size(wal(db)) <= LIMIT, "a WAL within the limit")


def _vacuum(db: Database) -> None:
    db.vacuum()


def _grow_by_unsafe_connection(db: Database) -> None:
    with db.unsafe_connection() as connection:
        connection.execute("INSERT INTO body (bytes) SELECT randomblob(100000) FROM body LIMIT 20")


@pytest.mark.parametrize("grow", [_vacuum, _grow_by_unsafe_connection])
def test_what_is_no_commit_of_the_line_is_looked_after(
    db: Database, grow: Callable[[Database], None]
) -> None:
    """VACUUM writes the whole file to the WAL, and nobody writes afterwards."""
    fill(db, 8 * LIMIT, 64 * KIB)
    db.close()
    with onewriter.open(db.path, config=SMALL) as again:  # its thread has not been started yet
        grow(again)
        assert size(wal(db)) > LIMIT
        wait_until(lambda: size(wal(db)) == 0, "a WAL of nothing")


def test_a_count_of_pages_that_begins_anew_is_noticed(db: Database) -> None:
    """SQLite tells it in 31 bits: in the life of a service it comes to its end."""
    assert db._core.writer is not None
    batch = db._core.writer.batch
    batch._looked_at, batch._looks_at = 2**31 - 10, 2.0**31
    fill(db, 3 * LIMIT)
    assert size(wal(db)) < 2 * LIMIT


# --- a reader that keeps it


def test_a_reader_that_keeps_it_is_named_once(db: Database, told: Callable[[str], list[str]]) -> None:
    """The WAL grows past its limit; when the reader has left, it is short again while writes go on."""
    with pinned(db):
        write_until(db, lambda: bool(told("cannot start over")), "a word in the log")
        fill(db, 2 * LIMIT)
        assert size(wal(db)) > 2 * LIMIT
        (text,) = told("cannot start over")
        assert "the pinning thread" in text
        assert str(db.path) in text
    write_until(db, lambda: size(wal(db)) <= LIMIT, "a WAL within the limit")
    assert len(told("")) == 1
    with pinned(db, "another thread"):
        write_until(db, lambda: len(told("cannot start over")) > 1, "a word of the other")
    assert "another thread" in told("cannot start over")[1]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has which lock")
def test_a_process_that_keeps_it_is_named(db: Database, told: Callable[[str], list[str]]) -> None:
    """By its number: it is the only one that can be asked to leave."""
    with Stranger(db.path) as other:
        other.run("BEGIN")
        other.run("SELECT count(*) FROM body")
        write_until(db, lambda: bool(told("cannot start over")), "a word in the log")
        assert f"process {other.pid}" in told("cannot start over")[0]
        other.run("COMMIT")
        write_until(db, lambda: size(wal(db)) <= LIMIT, "a WAL within the limit")


def test_a_long_file_is_cut_by_and_by(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """No commit pays for all of what a reader has let it grow."""
    monkeypatch.setattr(checkpoints, "CUT_BYTES", 4 * LIMIT)
    with pinned(db):
        fill(db, 40 * LIMIT, 64 * KIB)
    sizes = [size(wal(db))]
    assert sizes[0] > 40 * LIMIT

    def is_short() -> bool:
        sizes.append(size(wal(db)))
        return sizes[-1] <= LIMIT

    write_until(db, is_short, "a WAL within the limit")
    cuts = [before - after for before, after in pairwise(sizes) if after < before]
    assert len(cuts) >= 10
    assert max(cuts) <= 5 * LIMIT
    # Nothing is left that would cut the next long file at once.
    write_until(db, lambda: db.execute("PRAGMA journal_size_limit").rows == [(-1,)], "no limit")


def test_pauses_for_a_reader_that_stays_get_rare(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to twice the limit there is one a sixteenth of it; past that the clock decides, and not the commits."""
    pauses: list[float] = []

    def note(_self: Checkpointer, _until: float) -> None:
        pauses.append(time.monotonic())

    spy(monkeypatch, Checkpointer, "_pause", note)
    with pinned(db):
        write_until(db, lambda: size(wal(db)) > 3 * LIMIT, "a long WAL")
        assert 1 <= len(pauses) <= 3 * 16
        pauses.clear()
        started, before = time.monotonic(), size(wal(db))
        for _ in range(200):
            db.execute(INSERT, (8 * KIB,))
        took_s, grown = time.monotonic() - started, size(wal(db)) - before
        assert grown > 4 * LIMIT
        assert len(pauses) <= 2 + took_s / 0.25


def test_no_commit_waits_for_a_reader(db: Database) -> None:
    """Pauses are held and end in vain; no one comes back for want of the reader."""
    with pinned(db) as steps:
        fill(db, 4 * LIMIT)
        assert not steps.is_marked("go")
    assert db.query_value("SELECT count(*) FROM body", into=int) == 4 * LIMIT // (4 * KIB)


def test_without_readers_it_starts_over_long_before_its_limit(tmp_path: Path) -> None:
    """After each pass that has moved everything: so the file keeps its size, which is what makes commits quick."""
    with make(tmp_path, Config()) as db:
        writer = db._core.writer
        assert writer is not None
        for _ in range(12):
            fill(db, 4 * KIB * KIB, each=16 * KIB)
            # The thread may be late on a busy machine, and what is tested here is not its speed.
            writer.batch.note_growth()
            wait_until(lambda: _left(writer) == 0, "a pass that moved all")
        assert size(wal(db)) < Config().wal_bytes_max // 2


def _left(writer: Writer) -> int:
    """Return how many pages the WAL holds that are not in the database."""
    state = writer.connection.wal_state()
    return PASS_PAGES if state is None else state[0] - state[1]


# --- a commit never waits for the disk of a checkpoint


@pytest.mark.parametrize("pause_s", [0, 0.01])
def test_a_commit_returns_while_a_pass_is_stopped_inside_the_disk(
    tmp_path: Path, sick: SickVFS, pause_s: float
) -> None:
    """The thread is in a call that does not end; the pauses do, and the commits go on."""
    config = replace(SMALL, vfs=sick.name, checkpoint_pause_s=pause_s)
    with make(tmp_path, config) as db:
        with stopped(db, sick) as steps:
            before = db.query_value("SELECT count(*) FROM body", into=int)
            with db.transaction() as tx:
                tx.execute(INSERT, (2 * LIMIT,))
            writers = calls(lambda _: fill(db, LIMIT // 4), 4)
            for writer in writers:
                writer.result()
            assert db.query_value("SELECT count(*) FROM body", into=int) == before + 1 + LIMIT // (4 * KIB)
            assert db.checkpoint(timeout_s=0.05) is False  # it is at it, and nobody is waited for
            assert not steps.is_marked("go")
        wait_until(lambda: size(wal(db)) == 0, "a WAL of nothing")


def test_without_a_pause_no_writer_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`checkpoint_pause_s=0`: the thread moves what it can, and never has the writers wait."""
    untils: list[float] = []

    def note(_self: Checkpointer, until: float) -> None:
        untils.append(until - time.monotonic())

    spy(monkeypatch, Checkpointer, "_pause", note)
    with make(tmp_path, replace(SMALL, checkpoint_pause_s=0.0)) as db:
        fill(db, 4 * LIMIT)
        assert untils
        assert max(untils) <= 0
        wait_until(lambda: size(wal(db)) == 0, "a WAL of nothing")


# --- it fails


def _is_told(told: Callable[[str], list[str]], times: int) -> bool:
    return len(told("a checkpoint failed")) >= times


@pytest.mark.parametrize(
    "what, error",
    [("write", apsw.IOError), ("sync", apsw.IOError), ("write", apsw.FullError), ("sync", OSError)],
)
def test_a_checkpoint_that_fails_is_told_and_tried_again(
    tmp_path: Path, sick: SickVFS, told: Callable[[str], list[str]], what: str, error: type[apsw.Error]
) -> None:
    """No commit fails for it; the log has it once, and once more when it had worked in between."""
    with make(tmp_path, replace(SMALL, vfs=sick.name)) as db:
        for times in (1, 2):
            sick.rule = fail(what, "db", error)
            write_until(db, partial(_is_told, told, times), "a word in the log")
            fill(db, 2 * LIMIT)
            assert len(told("a checkpoint failed")) == times
            sick.rule = None
            wait_until(lambda: size(wal(db)) == 0, "a WAL of nothing")
        assert db.check() == []


@pytest.mark.parametrize("error", [apsw.IOError, OSError])
def test_a_disk_that_fails_at_the_last_close_loses_nothing(
    tmp_path: Path, sick: SickVFS, told: Callable[[str], list[str]], error: type[apsw.Error]
) -> None:
    """It is logged; whoever opens the file next finds the WAL."""
    db = make(tmp_path, replace(SMALL, vfs=sick.name))
    fill(db, 2 * LIMIT)
    sick.rule = fail("write", "db", error)
    db.execute(INSERT, (5,))
    db.close()
    sick.rule = None
    assert told("closing a connection failed")
    assert size(wal(db)) > 0
    with make(tmp_path) as db:
        assert db.query_value("SELECT count(*) FROM body WHERE length(bytes) = 5") == 1
        assert db.check() == []


# Has the write lock, and has written a half of the WAL's state down (https://sqlite.org/walformat.html#the_wal_index_header).
_HALF_WRITTEN = """
import mmap, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
with open(sys.argv[1] + "-shm", "r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
    before = shared[8]
    shared[8] = before ^ 1
    print("half", flush=True)
    sys.stdin.readline()
    shared[8] = before
    print("whole", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the page is mapped as Linux has it")
def test_a_state_that_another_is_writing_down_is_no_failure(
    db: Database, told: Callable[[str], list[str]]
) -> None:
    """SQLite says busy to a mere look then: it is looked at again, and nobody hears of it."""
    assert db._core.writer is not None
    connection = db._core.writer.connection
    fill(db, LIMIT // 2)
    mover(db).nudge()
    wait_until(lambda: mover(db)._connection is not None, "the thread's connection")
    with child(_HALF_WRITTEN, db.path) as other:
        other.wait_for("half")
        assert connection.wal_state() is None
        mover(db).look(connection)
        mover(db)._pause(time.monotonic() + 0.05)
        mover(db).nudge()
        other.go_on()
        other.wait_for("whole")
    assert not told("")
    wait_until(lambda: size(wal(db)) == 0, "a WAL of nothing")


def test_a_disk_that_gets_full(tmp_path: Path) -> None:
    """The WAL fills it while a reader stays; with room again, and the reader gone, all is moved and cut."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(2 * KIB * KIB))
        with make(disk) as db:
            acknowledged = 0
            with pinned(db), pytest.raises(DiskFull):
                while True:
                    db.execute(INSERT, (20 * KIB,))
                    acknowledged += 1
            with suppress(DiskFull):
                db.execute(INSERT, (20 * KIB,))
                acknowledged += 1
            ballast.unlink()
            wait_until(lambda: size(wal(db)) == 0, "a WAL of nothing")
            assert db.query_value("SELECT count(*) FROM body") == acknowledged
            assert db.check() == []


def test_a_thread_that_cannot_be_started(
    db: Database, told: Callable[[str], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Commits stand all the same; it is told once, whatever the log does, and tried again."""
    before = threading.stack_size(2**46)  # more than there is
    try:
        fill(db, 3 * LIMIT)
    finally:
        threading.stack_size(before)
    assert len(told("cannot be looked after")) == 1
    assert len(told("")) == 1
    write_until(db, lambda: size(wal(db)) <= LIMIT, "a WAL within the limit")


def test_a_thread_that_never_could_be_started(tmp_path: Path) -> None:
    """Closing ends the WAL without it. A log's handler that raises makes no failure of a commit either."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError(record.getMessage())

    log, handler = logging.getLogger("onewriter.checkpoints"), Broken()
    db = make(tmp_path)
    before = threading.stack_size(2**46)
    log.addHandler(handler)
    try:
        fill(db, 3 * LIMIT)
        db.vacuum()
        assert db.checkpoint() is True
        db.execute(INSERT, (1,))
        db.close()
    finally:
        log.removeHandler(handler)
        threading.stack_size(before)
    assert not wal(db).exists()
    assert not presence.is_open(db.path)


# --- closing


def test_closing_waits_for_a_pass(tmp_path: Path, sick: SickVFS) -> None:
    """It drains: no thread is left, no connection, no WAL."""
    db = make(tmp_path, replace(SMALL, vfs=sick.name))
    with stopped(db, sick) as steps:
        closing = Call(db.close, "closing")
        wait_until(mover(db)._helper.has_ended, "close at the thread's end")
        assert closing.running
        steps.mark("go")
        closing.result()
    assert not wal(db).exists()
    assert not presence.is_open(db.path)
    assert mover(db).is_over


def test_closing_gives_up_at_its_deadline(tmp_path: Path, sick: SickVFS) -> None:
    """The pass ends later, by itself, and so do the thread, its connection and the file's presence."""
    db = make(tmp_path, replace(SMALL, vfs=sick.name))
    with stopped(db, sick):
        db.close(timeout_s=0.0)
        assert presence.is_open(db.path)  # for whoever would replace the file
    wait_until(lambda: not presence.is_open(db.path), "the end of the thread")
    assert not wal(db).exists()


def test_closing_while_a_reader_stays(db: Database) -> None:
    """Nothing waits for it past the deadline; what it kept in the WAL is there for who opens the file next."""
    with pinned(db):
        fill(db, 3 * LIMIT)
        db.close(timeout_s=0.0)
        wait_until(lambda: mover(db).is_over, "the end of the thread")
    db.close()
    assert not presence.is_open(db.path)
    with onewriter.open(db.path) as again:
        assert again.query_value("SELECT count(*) FROM body", into=int) == 3 * LIMIT // (4 * KIB)
    assert not wal(db).exists()


# --- interrupts and forks


def test_ctrl_c_in_a_pause(tmp_path: Path, sick: SickVFS) -> None:
    """The commit stands, the interrupt is raised though the pause is long, and the line goes on."""
    limit = 4096 * KIB  # so that nobody pauses before the thread has stopped
    config = Config(wal_bytes_max=limit, vfs=sick.name, checkpoint_pause_s=10 * LIMIT_S)
    with make(tmp_path, config) as db:
        with stopped(db, sick) as steps:
            main = threading.main_thread().ident
            assert main is not None
            assert mover(db)._asked is None

            def interrupt() -> None:
                wait_until(lambda: mover(db)._asked is not None, "a pause")
                signal.pthread_kill(main, signal.SIGINT)

            other = Call(interrupt, "interrupter")
            with pytest.raises(KeyboardInterrupt):
                db.execute(INSERT, (limit + 5,))
            other.result()
            steps.mark("go")
        assert db.query_value("SELECT count(*) FROM body WHERE length(bytes) = ?", (limit + 5,)) == 1
        Call(lambda: db.execute(INSERT, (1,))).result()
        db.execute(INSERT, (1,))
        assert not db._presence.is_writing()


class _InCheckpoints(Striker):
    """Strikes in the module of the checkpoints alone."""

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ANN401 - Python's own signature
        if Path(frame.f_code.co_filename).name == "checkpoints.py":
            return super()._enter(frame, event, argument)
        return None


def test_the_pause_may_be_interrupted_anywhere(tmp_path: Path) -> None:
    """At each bytecode of it: what was committed stands, and everybody writes on."""
    with make(tmp_path, replace(SMALL, checkpoint_pause_s=0.002)) as db, pinned(db):
        assert db._core.writer is not None
        batch = db._core.writer.batch
        fill(db, LIMIT)
        number, place = 0, "none"
        while place:
            number += 1
            mover(db)._pause_log, mover(db)._pause_at, batch._looks_at = 0, 0.0, 0.0
            striker = _InCheckpoints(number)
            raised = striker.run(partial(db.execute, INSERT, (number,)))
            assert raised is None or isinstance(raised, Strike), (striker.place, repr(raised))
            del raised
            place = striker.place
            Call(lambda: db.execute(INSERT, (0,))).result()
            db.execute(INSERT, (0,))
            assert db.query_value("SELECT count(*) FROM body WHERE length(bytes) = ?", (number,)) == 1, place
        assert number > 50


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_pass(tmp_path: Path, sick: SickVFS) -> None:
    """It waits for the call of SQLite's to end (C7): so the child may open the file, and the parent goes on."""
    with make(tmp_path, replace(SMALL, vfs=sick.name)) as db:
        with stopped(db, sick) as steps:
            # Hooks are run in the reverse order: this one comes first.
            os.register_at_fork(before=lambda: steps.mark("go"))

            def work() -> int:
                with onewriter.open(db.path) as mine:
                    mine.execute(INSERT, (77,))
                    return mine.query_value("SELECT count(*) FROM body", into=int)

            before = db.query_value("SELECT count(*) FROM body", into=int)
            assert forked(work) == before + 1
        assert db.query_value("SELECT count(*) FROM body WHERE length(bytes) = 77") == 1
        wait_until(lambda: size(wal(db)) == 0, "a WAL of nothing")
        assert db.check() == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_in_the_middle_of_the_last_close(tmp_path: Path, sick: SickVFS) -> None:
    """The thread's own, which moves what is left: the fork waits for it too."""
    steps = Steps()

    def rule(asked: str, kind: str) -> None:
        if (asked, kind) == ("write", "db") and is_mover():
            steps.mark("inside")
            steps.wait_for("go")

    db = make(tmp_path, replace(SMALL, vfs=sick.name))
    mover(db).nudge()
    wait_until(lambda: mover(db)._moved > 0, "the thread's connection")
    db.execute(INSERT, (1,))  # too little for a pass, or a cut
    sick.rule = rule
    closing = Call(db.close, "closing")
    steps.wait_for("inside")
    os.register_at_fork(before=lambda: steps.mark("go"))

    def work() -> int:
        with onewriter.open(db.path) as mine:
            mine.execute(INSERT, (77,))
            return mine.query_value("SELECT count(*) FROM body", into=int)

    assert forked(work) == 2
    closing.result()
    with onewriter.open(db.path) as again:
        assert again.query_value("SELECT count(*) FROM body", into=int) == 2
        assert again.check() == []


# --- a tool that owns the checkpoints


def _state(db: Database) -> tuple[int, int]:
    assert db._core.writer is not None
    state = db._core.writer.connection.wal_state()
    assert state is not None
    return state


def test_external_moves_nothing(tmp_path: Path) -> None:
    """Neither while it is open, however long the WAL gets, nor at the last close; no thread is started for it."""
    with make(tmp_path, EXTERNAL) as db:
        fill(db, 3 * LIMIT)
        db.query("SELECT count(*) FROM body")
        with db.unsafe_connection() as connection:
            connection.execute(INSERT, (1,))
        assert not any(each.name.startswith("onewriter-checkpoint") for each in threading.enumerate())
        pages, moved = _state(db)
        assert pages > LIMIT // 4096
        assert moved == 0
        assert db.check() == []
    kept = size(wal(db))
    assert kept > 3 * LIMIT
    with onewriter.open(db.path, read_only=True) as db:
        assert db.query_value("SELECT count(*) FROM body", into=int) == 3 * LIMIT // (4 * KIB) + 1
    assert size(wal(db)) == kept


_EXTERNAL = """
import sys
from onewriter import Config
with onewriter.open(sys.argv[1], config=Config(checkpoint="external")) as db:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(100):
        db.execute("INSERT INTO body (bytes) VALUES (zeroblob(4096))")
print("closed")
"""


def test_external_in_two_processes(tmp_path: Path) -> None:
    """Whichever closes last leaves the WAL as it is."""
    with make(tmp_path, EXTERNAL) as db:
        path = db.path
    together(_EXTERNAL, 2, path)
    assert size(wal(db)) > 200 * 4096
    with make(tmp_path, EXTERNAL) as db:
        assert db.query_value("SELECT count(*) FROM body", into=int) == 200
        assert _state(db)[1] == 0


def test_external_may_be_moved_by_hand(tmp_path: Path) -> None:
    """`checkpoint()` is asked for, so it is done."""
    with make(tmp_path, EXTERNAL) as db:
        fill(db, 2 * LIMIT)
        assert db.checkpoint() is True
        assert size(wal(db)) == 0


@pytest.mark.parametrize("exists", [False, True])
def test_external_restores_a_file_without_a_wal(tmp_path: Path, exists: bool) -> None:
    """What is made is whole by itself, and no tool owns it yet."""
    with make(tmp_path, EXTERNAL) as db:
        fill(db, LIMIT)
        snapshot = db.snapshot(tmp_path / "snapshot.db")
    dest = db.path if exists else tmp_path / "restored.db"
    onewriter.restore(snapshot, dest, EXTERNAL)
    assert not dest.with_name(dest.name + "-wal").exists()
    with onewriter.open(dest, config=EXTERNAL) as restored:
        assert restored.query_value("SELECT count(*) FROM body", into=int) == LIMIT // (4 * KIB)


# As Litestream does: a read transaction is always open, so that nobody else starts the WAL over; it is ended for the
# moment of its own checkpoint, before which a row is written, so that there is a frame to begin again from.
_TOOL = """
import sqlite3, sys, threading
tool = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
keeper = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
tool.execute("CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
keeper.execute("BEGIN")
keeper.execute("SELECT * FROM _litestream_seq").fetchall()
print("ready", flush=True)
most = 0
while not stop.wait(0.02):
    tool.execute("INSERT INTO _litestream_seq VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET seq = seq + 1")
    keeper.execute("ROLLBACK")
    busy, pages, moved = tool.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    keeper.execute("BEGIN")
    keeper.execute("SELECT * FROM _litestream_seq").fetchall()
    most = max(most, moved)
print(most)
"""


def test_beside_a_tool_that_owns_the_checkpoints(tmp_path: Path) -> None:
    """Another process reads all the time and moves the WAL itself: neither hears of the other."""
    with make(tmp_path, EXTERNAL) as db, child(_TOOL, db.path) as tool:
        tool.wait_for("ready")
        writers = calls(lambda _: fill(db, 2 * LIMIT), 2)
        for writer in writers:
            writer.result()
        tool.go_on()
        assert int(tool.end()) > 0
        assert db.query_value("SELECT count(*) FROM body", into=int) == 4 * LIMIT // (4 * KIB)
        assert db.check() == []


# --- by hand


def test_a_checkpoint_by_hand(db: Database) -> None:
    """True: the WAL is empty; of nothing too."""
    fill(db, LIMIT // 2)
    assert db.checkpoint() is True
    assert size(wal(db)) == 0
    assert db.checkpoint(timeout_s=0.0) is True


def test_a_checkpoint_by_hand_lets_others_write_while_a_reader_stays(db: Database) -> None:
    """It keeps asking up to its deadline, and keeps the role for moments only; False where the reader stayed."""
    fill(db, LIMIT // 8)
    with pinned(db) as steps:
        db.execute(INSERT, (1,))
        waiting = Call(lambda: db.checkpoint(timeout_s=10 * LIMIT_S), "checkpoint")
        fill(db, LIMIT)
        assert waiting.running
        assert db.checkpoint(timeout_s=0.5) is False
        steps.mark("go")
        assert waiting.result() is True


def test_a_checkpoint_by_hand_moves_by_the_way_what_a_reader_kept(tmp_path: Path, sick: SickVFS) -> None:
    """Others wait for little of it: not for the pages that could not be moved before the role was taken."""
    config = replace(EXTERNAL, vfs=sick.name, checkpoint_pause_s=LIMIT_S)
    with make(tmp_path, config) as db:
        assert db._core.writer is not None
        line = db._core.writer.line
        counted = {True: 0, False: 0}

        def rule(asked: str, kind: str) -> None:
            if (asked, kind) == ("write", "db"):
                counted[db._presence.is_writing()] += 1

        with pinned(db) as steps:
            fill(db, 3 * PASS_PAGES * 4 * KIB, 400 * KIB)
            sick.rule = rule
            tries = [0]

            def leave() -> None:
                while tries[0] < 3:
                    wait_until(lambda: line.holder is not None, "the role taken")
                    tries[0] += 1
                steps.mark("go")

            leaving = Call(leave, "leaving")
            assert db.checkpoint(timeout_s=10 * LIMIT_S) is True
            leaving.result()
        sick.rule = None
        assert counted[False] > 2 * PASS_PAGES
        assert counted[True] <= PASS_PAGES


def test_a_checkpoint_by_hand_where_it_cannot_be(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a write it would wait for itself; of a read-only database there is nothing to move."""
    asked: list[Mode] = []

    def note(_self: Upkeep, mode: Mode) -> None:
        asked.append(mode)

    with db.transaction() as tx:
        tx.execute(INSERT, (1,))
        spy(monkeypatch, Upkeep, "checkpoint", note)
        with pytest.raises(NestedWrite):
            db.checkpoint()
        assert not asked  # it is told before anything was done
    with onewriter.open(db.path, read_only=True) as reading, pytest.raises(ReadOnlyDatabase):
        reading.checkpoint()
    with db.read_transaction() as snapshot:
        snapshot.query("SELECT count(*) FROM body")
        db.execute(INSERT, (1,))
        assert db.checkpoint(timeout_s=0.05) is False
    db.close()
    with pytest.raises(onewriter.DatabaseClosed):
        db.checkpoint()


@pytest.mark.parametrize(
    "sql", ["PRAGMA wal_checkpoint", "PRAGMA journal_size_limit = 1", "PRAGMA wal_autocheckpoint = 5"]
)
def test_callers_do_not_change_it(db: Database, sql: str) -> None:
    """The WAL is everybody's; to ask is allowed."""
    with pytest.raises(ForbiddenStatement):
        db.execute(onewriter.SQL(sql))
    assert db.execute("PRAGMA journal_size_limit").rows == [(-1,)]
    assert db.execute("PRAGMA wal_autocheckpoint").rows == [(0,)]
