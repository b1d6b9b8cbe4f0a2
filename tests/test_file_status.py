"""What `onewriter.status` sees of a file: who has the turn, who waits, who reads. Nobody is disturbed by it."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from unittest.mock import ANY

import pytest

import onewriter
from onewriter import Config, FileStatus, Migration, contenders, lookout
from onewriter.locks import is_mine
from tests.support.children import Child, as_nobody, child, forked
from tests.support.members import take_place
from tests.support.places import common_folder, make_read_only, small_disk
from tests.support.steps import LIMIT_S, wait_until
from tests.support.stranger import Stranger

SCRIPTS: Final = (
    Migration(1, "items", "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)"),
    Migration(2, "rows", "INSERT INTO item (name) VALUES ('one'), ('two')"),
)
LONG_AGO_S: Final = 60.0
tells_locks = pytest.mark.skipif(
    not Path("/proc/locks").exists(), reason="the system does not tell who has a lock"
)

HOLDS = """
import sys
with onewriter.open(sys.argv[1]) as db, db.transaction() as tx:
    tx.execute("INSERT INTO item (name) VALUES ('held')")
    print("holds", flush=True)
    sys.stdin.readline()
"""
WAITS = """
import sys
with onewriter.open(sys.argv[1]) as db:
    print("opened", flush=True)
    db.execute("INSERT INTO item (name) VALUES ('waited')")
"""
READS = """
import sys
with onewriter.open(sys.argv[1], read_only=True) as db, db.read_transaction() as tx:
    tx.query("SELECT count(*) FROM item")
    print("reads", flush=True)
    sys.stdin.readline()
"""
ABANDONS = """
import sys
db = onewriter.open(sys.argv[1])
db.execute("INSERT INTO item (name) VALUES ('abandoned')")
os._exit(0)
"""
LOOKS = """
import sys
seen = onewriter.status(sys.argv[1])
print(seen.content and (sorted(seen.content.tables), seen.content.is_whole), seen.problem is None)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database that nobody has open, and that was not written lately."""
    path = tmp_path / "a.db"
    onewriter.open(path, migrations=SCRIPTS).close()
    age(path)
    return path


def age(path: Path) -> None:
    """Have it not written lately."""
    then = time.time() - LONG_AGO_S
    os.utime(path, (then, then))


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return what would tell of a change."""
    states = {each.name: each.stat() for each in folder.iterdir()}
    return {name: (state.st_mtime_ns, state.st_size, state.st_ino) for name, state in states.items()}


def pids(of: tuple[onewriter.ProcessInfo, ...]) -> set[int | None]:
    """Return their numbers."""
    return {each.pid for each in of}


@contextmanager
def holding(path: Path) -> Generator[Child]:
    """Another process that has the turn."""
    with child(HOLDS, path) as other:
        other.wait_for("holds")
        yield other


def waiting(path: Path, pid: int) -> FileStatus:
    """Return what is seen once the process *pid* waits."""
    seen: list[FileStatus] = []

    def waits() -> bool:
        seen.append(onewriter.status(path, content=False))
        return pid in pids(seen[-1].waiting)

    wait_until(waits, "it waits")
    return seen[-1]


# --- a file that nobody has open


def test_a_file_that_nobody_has_open(path: Path) -> None:
    """Its content is told; nothing is made beside it, and nothing of it changes."""
    before = listing(path.parent)
    seen = onewriter.status(path, count_rows=True, migrations=(*SCRIPTS[1:], Migration(3, "new", "SELECT 1")))
    assert listing(path.parent) == before
    held = seen.content
    assert held is not None
    assert seen.problem is None
    assert held.is_whole
    assert (seen.path, seen.file_bytes, seen.wal_bytes) == (path, path.stat().st_size, 0)
    assert (held.page_bytes * held.pages, held.free_pages) == (seen.file_bytes, 0)
    assert (held.journal_mode, held.user_version, held.application_id) == ("wal", 0, 0)
    assert held.tables == {"item": 2, "onewriter_migrations": 2, "schema_migrations": 2}
    assert held.schema_version == 2
    assert [each.name for each in held.applied] == ["items", "rows"]
    assert held.migrations is not None
    assert [each.version for each in held.migrations.pending] == [3]
    assert [each.version for each in held.migrations.unknown] == [1]
    assert (seen.turn, seen.writing, seen.stranger, seen.turn_problem) == (None, None, None, None)
    assert (seen.waiting, seen.writers, seen.readers, seen.others) == ((), (), (), ())
    held = onewriter.status(path).content
    assert held is not None
    assert held.tables["item"] is None
    assert held.migrations is None


def test_what_sqlite_says_of_it(tmp_path: Path) -> None:
    """Numbers of its own, free pages, a journal mode that is not WAL, names that need quotes."""
    path = tmp_path / "a.db"
    with Stranger(path) as other:
        other.run("PRAGMA user_version = 7")
        other.run("PRAGMA application_id = 42")
        other.run('CREATE TABLE "a ""table" (a)')
        other.run('INSERT INTO "a ""table" VALUES (zeroblob(50000))')
        other.run('DELETE FROM "a ""table"')
        other.run("CREATE TABLE schema_migrations (version TEXT)")  # another package's
        for _ in range(2):  # as it lies there, and like any reader: it was written a moment ago
            held = onewriter.status(path, count_rows=True, migrations=SCRIPTS).content
            age(path)
            assert held is not None
            assert (held.journal_mode, held.user_version, held.application_id) == ("rollback", 7, 42)
            assert held.free_pages > 10
            assert held.tables == {'a "table': 0, "schema_migrations": 0}
            assert (held.schema_version, held.applied, held.migrations) == (None, (), None)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.db"]


def test_an_empty_file(tmp_path: Path) -> None:
    """Is a database without tables."""
    (tmp_path / "a.db").touch()
    held = onewriter.status(tmp_path / "a.db").content
    assert held is not None
    assert (held.pages, held.tables, held.schema_version) == (0, {}, 0)
    assert [each.name for each in tmp_path.iterdir()] == ["a.db"]


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """With an error that names it; it is left as it is, and nothing is waited for."""
    text, pipe = tmp_path / "a.txt", tmp_path / "pipe"
    text.write_text("this is no database, but a text of more than one line\n" * 20)
    os.mkfifo(pipe)
    for kind, path, word in (
        (onewriter.NotADatabase, text, "file is not a database"),
        (onewriter.CannotOpen, pipe, "not a regular file"),
        (onewriter.CannotOpen, Path(os.devnull), "not a regular file"),
        (onewriter.CannotOpen, tmp_path, "it is a folder"),
        (onewriter.CannotOpen, tmp_path / "missing.db", "no such file"),
        (onewriter.CannotOpen, text / "a.db", "Not a directory"),
    ):
        with pytest.raises(kind, match=word) as caught:
            onewriter.status(path)
        assert str(path) in str(caught.value)
    assert {each.name for each in tmp_path.iterdir()} == {"a.txt", "pipe"}


def test_one_that_may_not_be_read() -> None:
    """Is refused."""
    with common_folder() as folder:
        path = folder / "a.db"
        onewriter.open(path).close()
        path.chmod(0)
        told = as_nobody(
            "import sys\ntry: onewriter.status(sys.argv[1])\nexcept onewriter.CannotOpen as e: print(e)", path
        )
        if os.geteuid() == 0:
            path.chmod(0o600)  # it is root's
        assert "permission denied" in told


def test_a_damaged_one_is_told(path: Path) -> None:
    """Its content is None, with the problem; the rest is there all the same."""
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 2000)
    seen = onewriter.status(path)
    assert seen.content is None
    assert seen.problem is not None
    assert "malformed" in seen.problem
    assert seen.file_bytes == path.stat().st_size


# --- the WAL of a process that died


def test_what_a_dead_process_left(path: Path) -> None:
    """It is read like any reader does; nobody has the turn, whatever the dead has left on the page."""
    with holding(path) as other:
        other.process.send_signal(signal.SIGKILL)
        other.process.wait(LIMIT_S)
    child_of = Child(ABANDONS, path)
    child_of.end()
    seen = onewriter.status(path, count_rows=True)
    assert seen.wal_bytes > 0
    assert seen.content is not None
    assert (seen.content.tables["item"], seen.content.is_whole) == (3, True)
    assert (seen.turn, seen.waiting, seen.writers, seen.writing) == (None, (), (), None)
    with onewriter.open(path) as db:  # all is still there
        assert db.query_value("SELECT count(*) FROM item", into=int) == 3


def test_a_folder_that_cannot_be_written() -> None:
    """What the WAL holds is missing where SQLite cannot make its -shm, and it is said so."""
    with common_folder() as folder:
        path = folder / "a.db"
        onewriter.open(path, migrations=SCRIPTS).close()
        Child(ABANDONS, path).end()
        (folder / "a.db-shm").unlink()
        for each in folder.iterdir():
            each.chmod(0o644)
        folder.chmod(0o555)
        try:
            told = as_nobody(LOOKS, path)
        finally:
            folder.chmod(0o755)
    assert told == "(['item', 'onewriter_migrations', 'schema_migrations'], False) False\n"


@pytest.mark.parametrize("read_only", [False, True])
def test_a_full_disk(tmp_path: Path, read_only: bool) -> None:
    """Likewise; and one that takes no writes."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        path = disk / "a.db"
        onewriter.open(path, migrations=SCRIPTS).close()
        Child(ABANDONS, path).end()
        (disk / "a.db-shm").unlink()
        with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))
        if read_only:
            make_read_only(disk)
        seen = onewriter.status(path, count_rows=True)
        assert seen.content is not None
        assert not seen.content.is_whole
        assert seen.content.tables["item"] == 2
        assert seen.problem is not None


# --- a file in use


@tells_locks
def test_who_has_the_turn_and_who_waits(path: Path) -> None:
    """And who reads, in real processes; the look waits for none of them.

    holder           waiter           reader
    has the turn
                     waits
                                      reads
    gives
                     writes
    """
    with holding(path) as holder, child(WAITS, path) as waiter, child(READS, path) as reader:
        waiter.wait_for("opened")
        reader.wait_for("reads")
        began = time.monotonic()
        seen = waiting(path, waiter.process.pid)
        passed = time.monotonic() - began
        assert seen.turn is not None
        assert (seen.turn.pid, seen.turn.for_s is not None) == (holder.process.pid, True)
        assert seen.turn.for_s is not None
        assert 0 < seen.turn.for_s < LIMIT_S
        assert seen.turn.command is not None
        assert seen.turn.command.split()[1] == "-W"
        assert len(seen.turn.command) <= 200
        (first,) = seen.waiting
        assert first.for_s is not None
        assert first.for_s <= passed + LIMIT_S
        assert pids(seen.writers) == {holder.process.pid, waiter.process.pid}
        assert pids(seen.others) == {reader.process.pid}
        assert seen.writing is not None
        assert seen.writing.pid == holder.process.pid
        assert seen.stranger is None
        assert not seen.turn_waits_for_lock
        held = onewriter.status(path, count_rows=True).content
        assert held is not None
        assert (held.tables["item"], held.is_whole) == (2, True)  # what is held is not committed
        holder.go_on()
        holder.end()
        waiter.end()
        seen = onewriter.status(path, count_rows=True)
        assert seen.content is not None
        assert seen.content.tables["item"] == 4
        assert (seen.turn, seen.waiting, seen.writing, seen.writers) == (None, (), None, ())
        assert pids(seen.others) == {reader.process.pid}
        reader.go_on()
        reader.end()
    assert onewriter.status(path).others == ()


@tells_locks
def test_a_reader_that_keeps_the_wal(path: Path) -> None:
    """Is named; one that has nothing but the file open is not."""
    with onewriter.open(path) as db:
        db.execute("INSERT INTO item (name) VALUES ('three')")  # now the WAL holds something
        with child(READS, path) as reader:
            reader.wait_for("reads")
            seen = onewriter.status(path)
            assert pids(seen.readers) == {reader.process.pid}
            assert pids(seen.others) == {reader.process.pid}
            assert pids(seen.writers) == {os.getpid()}
            reader.go_on()
            reader.end()


@tells_locks
def test_a_stranger_that_has_the_lock(path: Path) -> None:
    """Is told from the processes of onewriter; and that who has the turn waits for him."""
    # Opened here first, or the waiter would be alone, and need no turn.
    with Stranger(path) as other, onewriter.open(path), child(WAITS, path) as waiter:
        other.run("BEGIN IMMEDIATE")
        waiter.wait_for("opened")

        def waits() -> bool:
            return onewriter.status(path, content=False).turn_waits_for_lock

        wait_until(waits, "it waits for the lock")
        seen = onewriter.status(path)
        assert seen.stranger is not None
        assert seen.stranger.pid == other.pid
        assert seen.turn is not None
        assert seen.turn.pid == waiter.process.pid
        other.run("ROLLBACK")
        waiter.end()
        assert onewriter.status(path).stranger is None


@tells_locks
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_stranger_that_has_the_whole_file(tmp_path: Path, mode: str) -> None:
    """The content is read as it lies there, after half a second, and said not to be whole."""
    path = tmp_path / "a.db"
    with Stranger(path) as other:
        other.run(f"PRAGMA journal_mode = {mode}")
        other.run("PRAGMA locking_mode = EXCLUSIVE")
        other.run("CREATE TABLE item (name)")
        other.run("BEGIN EXCLUSIVE")
        other.run("INSERT INTO item VALUES (1)")
        began = time.monotonic()
        seen = onewriter.status(path)
        assert time.monotonic() - began < LIMIT_S / 4
        assert seen.stranger is not None
        assert seen.stranger.pid == other.pid
        assert seen.problem is not None
        assert seen.content is None or not seen.content.is_whole
        other.run("ROLLBACK")


# --- from within


def test_looking_from_within_keeps_the_turn(path: Path) -> None:
    """What this process has, it still has after any number of looks: the turn, its place, SQLite's locks."""
    with onewriter.open(path) as db, child(WAITS, path) as other:
        with db.transaction() as tx:
            tx.execute("INSERT INTO item (name) VALUES ('three')")
            other.wait_for("opened")
            for _ in range(20):
                seen = waiting(path, other.process.pid)
                assert onewriter.status(path).content is not None
                assert seen.turn is not None
                assert seen.turn.pid == os.getpid()
            with Stranger(path) as stranger, pytest.raises(Exception, match="database is locked"):
                stranger.run("BEGIN IMMEDIATE")
            assert pids(waiting(path, other.process.pid).writers) == {os.getpid(), other.process.pid}
            with child(HOLDS, path) as third:  # it must not come in between
                waiting(path, third.process.pid)
        other.end()
        names = db.query("SELECT name FROM item WHERE id > 2 ORDER BY id", into=str)
        assert names == ["three", "waited"]


def test_two_contenders_of_this_process(path: Path) -> None:
    """Which of them has the turn does not matter: it is this process, and it is there once."""
    first, second = take_place(path), take_place(path)
    try:
        assert first.take(time.monotonic() + LIMIT_S)
        seen = onewriter.status(path)
        assert seen.turn is not None
        assert seen.turn.pid == os.getpid()
        assert len(seen.writers) == 1
        first.give()
        assert onewriter.status(path).turn is None
    finally:
        first.leave()
        second.leave()


def test_a_side_file_that_is_none(path: Path) -> None:
    """Is told, and the rest is there."""
    side = path.with_name("a.db-turn")
    side.write_bytes(b"something else")
    seen = onewriter.status(path)
    assert seen.turn_problem is not None
    assert "holds something else" in seen.turn_problem
    assert seen.content is not None
    side.unlink()
    os.mkfifo(side)
    seen = onewriter.status(path)
    assert seen.turn_problem is not None
    assert "not a regular file" in seen.turn_problem
    side.unlink()
    seen = onewriter.status(path)
    assert (seen.turn, seen.turn_problem) == (None, None)
    assert not side.exists()


def test_of_a_database_open_elsewhere_in_this_process(path: Path) -> None:
    """By another SQLite: its locks would go, so it is refused as an opening is; the rest can be looked at."""
    with path.open("rb"):
        with pytest.raises(onewriter.MisuseError, match="Close it first"):
            onewriter.status(path)
        assert onewriter.status(path, content=False).content is None


def test_with_a_mode_for_others(tmp_path: Path) -> None:
    """A side file that others may write too is looked at all the same."""
    path = tmp_path / "a.db"
    with onewriter.open(path, config=Config(file_mode=0o660)):
        assert len(onewriter.status(path).writers) == 1


def test_nobody_opens_a_page_while_one_is_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since closing the look's descriptor would drop the new turn: each waits for the other."""
    looks: list[bool] = []
    look_apart = lookout._look_apart

    def looking(file: io.FileIO, page: bytes) -> lookout.Turn:
        looks.append(is_mine(contenders._lock))
        return look_apart(file, page)

    monkeypatch.setattr(lookout, "_look_apart", looking)
    assert onewriter.status(path).turn_problem is None
    assert looks == [True]
    assert not is_mine(contenders._lock)
    with contenders._lock:  # a signal handler has come in the middle of an opening
        seen = onewriter.status(path)
    assert seen.turn_problem == "it is being opened or closed this moment"
    assert seen.content is not None
    assert looks == [True]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_in_a_forked_child(path: Path) -> None:
    """The child sees its parent's turn, which is not its own, and the parent still has it."""
    with onewriter.open(path) as db, db.transaction() as tx:
        tx.execute("INSERT INTO item (name) VALUES ('three')")
        seen = forked(lambda: onewriter.status(path, content=False))
        assert isinstance(seen, FileStatus)
        assert seen.turn is not None
        assert (seen.turn.pid, pids(seen.writers)) == (os.getpid(), {os.getpid()})
        with child(HOLDS, path) as other:
            waiting(path, other.process.pid)
            assert onewriter.status(path).turn == replace(seen.turn, for_s=ANY)
