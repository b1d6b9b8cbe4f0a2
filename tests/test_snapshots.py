"""Snapshots and the way back: complete or absent, private, checked, and nothing left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import cast

import apsw
import pytest

import onewriter
from onewriter import Config, Database, MisuseError, ProgrammingError, SnapshotError, snapshots
from onewriter.connection import Connection
from onewriter.snapshots import Progress
from tests.support.children import as_nobody, child
from tests.support.modes import UMASKS, mode, umask
from tests.support.places import common_folder, small_disk
from tests.support.sick_vfs import SickVFS
from tests.support.steps import Call, Steps
from tests.support.stranger import Stranger

ROWS = 300  # of 4,000 bytes each


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database of more than a megabyte."""
    with onewriter.open(tmp_path / "data" / "a.db") as opened:
        fill(opened)
        yield opened


def fill(db: Database) -> None:
    """Give *db* its table and rows."""
    db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB, c INTEGER)")
    db.execute("CREATE INDEX i ON t (c)")
    db.execute_many("INSERT INTO t VALUES (?, zeroblob(4000), 0)", [(number,) for number in range(ROWS)])


def make(path: Path, rows: int = 1) -> Path:
    """Make a closed database with *rows* short rows."""
    with onewriter.open(path) as db:
        db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB, c INTEGER)")
        db.execute_many("INSERT INTO t (c) VALUES (?)", [(number,) for number in range(rows)])
    return path


def rows_of(path: Path) -> int:
    """Return how many rows a stranger finds in the file at *path*, which it finds sound."""
    with Stranger(path) as other:
        assert other.run("PRAGMA integrity_check") == [["ok"]]
        count = other.run("SELECT count(*) FROM t")[0][0]
        assert isinstance(count, int)
        return count


def names(folder: Path) -> set[str]:
    """Return the names in *folder*, but for turn files, which are beside every database that was opened."""
    return {each.name for each in folder.iterdir() if not each.name.endswith("-turn")}


def refused(db: Database, dest: Path, *, overwrite: bool = False) -> str:
    """Return the message with which a snapshot is refused."""
    with pytest.raises(SnapshotError) as caught:
        db.snapshot(dest, overwrite=overwrite)
    return str(caught.value)


# --- making one


@pytest.mark.parametrize("bits", UMASKS, ids=oct)
def test_a_snapshot_is_private_from_its_first_byte(db: Database, tmp_path: Path, bits: int) -> None:
    """File 0600 and new folders 0700, whatever the umask; looked at while it is made and afterwards."""
    dest = tmp_path / "new" / "below" / "s.db"
    seen: set[int] = set()

    def look(_done: int, _total: int) -> None:
        seen.update(mode(each) for each in dest.parent.iterdir())

    with umask(bits):
        assert db.snapshot(dest, progress=look) == dest.resolve()
    assert seen == {0o600}
    assert [mode(dest), mode(dest.parent), mode(dest.parent.parent)] == [0o600, 0o700, 0o700]
    assert names(dest.parent) == {"s.db"}
    assert rows_of(dest) == ROWS


def test_a_snapshot_has_the_mode_of_the_configuration(tmp_path: Path) -> None:
    """That for two users too."""
    with umask(0o077), onewriter.open(tmp_path / "a.db", config=Config(file_mode=0o640)) as db:
        db.execute("CREATE TABLE t (a)")
        assert mode(db.snapshot(tmp_path / "s.db")) == 0o640


def test_progress_is_told_in_pages(db: Database, tmp_path: Path) -> None:
    """It rises to the whole, and the last call says so."""
    told: list[tuple[int, int]] = []
    db.snapshot(tmp_path / "s.db", progress=lambda done, total: told.append((done, total)))
    pages = db.query_value("PRAGMA page_count")
    assert told[-1] == (pages, pages)
    assert {total for _, total in told} == {pages}
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_snapshot_is_made_while_a_write_is_open(db: Database, tmp_path: Path) -> None:
    """It has what was committed, and does not wait for the rest."""
    with db.transaction() as tx:
        tx.execute("DELETE FROM t")
        Call(lambda: db.snapshot(tmp_path / "s.db")).result()
    assert rows_of(tmp_path / "s.db") == ROWS
    assert db.query("SELECT * FROM t") == []


def test_writers_go_on_while_a_snapshot_is_made(db: Database, tmp_path: Path) -> None:
    """It is the state of one moment: the two rows that each write changes together are equal in it.

    snapshot                        writer
    is in the middle
                                    100 commits
    goes on
    """
    steps = Steps()

    def hold(_done: int, _total: int) -> None:
        steps.mark("in the middle")
        steps.wait_for("written")

    making = Call(lambda: db.snapshot(tmp_path / "s.db", progress=hold))
    steps.wait_for("in the middle")
    for _ in range(100):
        db.execute("UPDATE t SET c = c + 1 WHERE a IN (0, 299)")
    assert making.running
    steps.mark("written")
    making.result()
    with onewriter.open(tmp_path / "s.db", read_only=True) as copy:
        first, last = copy.query("SELECT c FROM t WHERE a IN (0, 299)", into=int)
        assert first == last
    assert db.query("SELECT c FROM t WHERE a IN (0, 299)", into=int) == [100, 100]


@pytest.mark.parametrize("content", [b"", b"precious"])
def test_a_file_that_exists_is_not_touched(db: Database, tmp_path: Path, content: bytes) -> None:
    """Unless it was asked for; the message says how."""
    dest = tmp_path / "s.db"
    dest.write_bytes(content)
    assert refused(db, dest) == f"{dest} exists; choose another name, or pass overwrite=True to replace it"
    assert dest.read_bytes() == content
    db.snapshot(dest, overwrite=True)
    assert rows_of(dest) == ROWS
    assert mode(dest) == 0o600
    assert names(tmp_path) == {"data", "s.db"}


def test_a_file_that_appears_meanwhile_is_not_touched(db: Database, tmp_path: Path) -> None:
    """It was not there when the snapshot began."""
    dest = tmp_path / "s.db"
    with pytest.raises(SnapshotError, match="exists"):
        db.snapshot(dest, progress=lambda _done, _total: dest.write_bytes(b"precious"))
    assert dest.read_bytes() == b"precious"
    assert names(tmp_path) == {"data", "s.db"}


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_log_beside_the_target_is_refused(db: Database, tmp_path: Path, suffix: str) -> None:
    """SQLite would take it for the snapshot's own and apply it; it is found also where it appears meanwhile."""
    dest, log = tmp_path / "s.db", tmp_path / f"s.db{suffix}"
    log.write_bytes(b"x" * 100)
    for overwrite in (False, True):
        assert f"{log} is beside it" in refused(db, dest, overwrite=overwrite)
    log.unlink()
    with pytest.raises(SnapshotError, match="is beside it"):
        db.snapshot(dest, progress=lambda _done, _total: log.touch())
    assert names(tmp_path) == {"data", log.name}


def test_a_target_that_is_a_database_in_use_is_refused(db: Database, tmp_path: Path) -> None:
    """This one itself, another of this process, and one of another process; with overwrite too."""
    assert "its own database" in refused(db, db.path, overwrite=True)
    other_path = make(tmp_path / "b.db")
    with onewriter.open(other_path):
        assert "this process has it open" in refused(db, other_path, overwrite=True)
    with Stranger(other_path) as other:
        other.run("SELECT * FROM t")
        assert "is open or was not closed" in refused(db, other_path, overwrite=True)
        assert other.run("SELECT count(*) FROM t") == [[1]]


def test_a_target_that_cannot_be_is_refused(db: Database, tmp_path: Path) -> None:
    """A folder, a pipe, a path through a file: by their names, and nothing is left."""
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for dest, message in (
        (tmp_path, "it is a folder"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "file" / "s.db", "file/s.db"),
        (tmp_path / "file" / "new" / "s.db", "file/new/s.db: Not a directory"),
        (tmp_path / ("s" * 300), "File name too long"),
        (tmp_path / os.fsdecode(b"\xff"), "not UTF-8"),
    ):
        assert message in refused(db, dest, overwrite=True)
    for wrong in ("", ":memory:", 5):
        with pytest.raises(ProgrammingError):
            db.snapshot(wrong)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert names(tmp_path) == {"data", "file", "pipe"}


_SNAPSHOT = """
import sys
import onewriter
with onewriter.open(sys.argv[1]) as db:
    try:
        db.snapshot(sys.argv[2])
    except onewriter.Error as error:
        print(type(error).__name__, error)
"""


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The message names the place."""
    with common_folder() as folder:
        (folder / "closed").mkdir(mode=0o555)
        for dest in (folder / "closed" / "s.db", folder / "closed" / "new" / "s.db"):
            told = as_nobody(_SNAPSHOT, folder / "a.db", dest)
            assert told.startswith(
                f"SnapshotError cannot make the snapshot {dest} of {folder / 'a.db'}: cannot create"
            )
            assert "Permission denied" in told


def test_a_full_disk_leaves_nothing(db: Database, tmp_path: Path) -> None:
    """Neither a half-made file nor the folder that was made for it."""
    with small_disk(tmp_path / "disk", "512k") as disk:
        assert "database or disk is full" in refused(db, disk / "new" / "s.db")
        assert names(disk) == set()
    assert db.query_value("SELECT count(*) FROM t") == ROWS


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, OSError, SnapshotError])
def test_an_error_of_the_callers_progress_leaves_as_itself(
    db: Database, tmp_path: Path, error: type[BaseException]
) -> None:
    """The snapshot is given up, and nothing is left behind."""
    mine = error("mine")

    def stop(_done: int, _total: int) -> None:
        raise mine

    with pytest.raises(error) as caught:
        db.snapshot(tmp_path / "new" / "s.db", progress=stop)
    assert caught.value is mine
    assert names(tmp_path) == {"data"}
    db.snapshot(tmp_path / "s.db")


def test_a_progress_function_that_would_only_begin_is_refused(db: Database, tmp_path: Path) -> None:
    """And what is no function."""

    async def later(_done: int, _total: int) -> None: ...

    with pytest.raises(MisuseError, match="progress takes a plain function"):
        db.snapshot(tmp_path / "s.db", progress=later)
    with pytest.raises(ProgrammingError, match="not int"):
        db.snapshot(tmp_path / "s.db", progress=cast("Progress", 1))
    assert names(tmp_path) == {"data"}


def test_a_snapshot_that_is_not_sound_is_not_kept(tmp_path: Path) -> None:
    """The copy has what is wrong with its source, and the check finds it: a NULL where its table has none."""
    path = tmp_path / "a.db"
    with Stranger(path) as other:
        other.run("CREATE TABLE t (a)")
        other.run("INSERT INTO t VALUES (NULL)")
        other.run("PRAGMA writable_schema = ON")
        other.run("UPDATE sqlite_schema SET sql = 'CREATE TABLE t (a NOT NULL)'")
    with onewriter.open(path) as db:
        assert "is not sound: NULL value in t.a" in refused(db, tmp_path / "new" / "s.db")
        assert not (tmp_path / "new").exists()
        assert db.check() == ["NULL value in t.a"]


def test_rows_without_their_parents_are_kept(tmp_path: Path) -> None:
    """A foreign key that leads nowhere is listed by `check`, and no reason to have no backup."""
    path = tmp_path / "a.db"
    with Stranger(path) as other:
        other.run("CREATE TABLE t (a INTEGER PRIMARY KEY REFERENCES t (a))")
        other.run("CREATE TABLE child (a REFERENCES t (a))")
        other.run("INSERT INTO child VALUES (5)")
    with onewriter.open(path) as db:
        db.snapshot(tmp_path / "s.db")
        assert db.check() == ["child row 1: no such row in t"]
    onewriter.restore(tmp_path / "s.db", tmp_path / "b.db")
    assert rows_of(tmp_path / "b.db") == 0


def test_a_damaged_source_gives_no_snapshot(tmp_path: Path) -> None:
    """A page of garbage in its middle: the error has the cause, and nothing is left."""
    path = make(tmp_path / "a.db", 3000)
    damage(path)
    with onewriter.open(path) as db:
        assert "malformed" in refused(db, tmp_path / "s.db")
        assert db.check() != []
    assert names(tmp_path) == {"a.db"}


def damage(path: Path) -> None:
    """Fill a page in the middle of the closed file at *path* with garbage."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 4096 // 2 * 4096
    content[middle : middle + 4096] = b"\xaa" * 4096
    path.write_bytes(bytes(content))


_SLOW_SNAPSHOT = """
import sys
import onewriter
def stop(done, total):
    print("in the middle", flush=True)
    sys.stdin.readline()
with onewriter.open(sys.argv[1]) as db:
    db.snapshot(sys.argv[2], progress=stop)
"""


def test_a_process_killed_in_the_middle_leaves_no_target(db: Database, tmp_path: Path) -> None:
    """What it may leave is private, and named so that nobody takes it for the snapshot."""
    dest = tmp_path / "snapshots" / "s.db"
    with child(_SLOW_SNAPSHOT, db.path, dest) as other:
        other.wait_for("in the middle")
        other.kill()
    left = list(dest.parent.iterdir())
    assert [(each.name.startswith(".s.db."), each.suffix, mode(each)) for each in left] == [
        (True, ".part", 0o600)
    ]
    db.snapshot(dest)
    assert rows_of(dest) == ROWS


# --- the way back


def test_a_snapshot_is_restored_to_a_new_place(db: Database, tmp_path: Path) -> None:
    """Checked, in WAL mode, private; the snapshot is as it was, with nothing beside it."""
    snapshot = db.snapshot(tmp_path / "s.db")
    before = snapshot.read_bytes()
    dest = tmp_path / "new" / "b.db"
    with umask(0):
        assert onewriter.restore(snapshot, dest) == dest.resolve()
    assert [mode(dest), mode(dest.parent)] == [0o600, 0o700]
    assert names(dest.parent) == {"b.db"}
    with Stranger(dest) as other:
        assert other.run("PRAGMA journal_mode") == [["wal"]]
    assert rows_of(dest) == ROWS
    assert snapshot.read_bytes() == before
    assert names(tmp_path) == {"data", "new", "s.db"}


def test_a_database_that_nobody_uses_is_replaced(db: Database, tmp_path: Path) -> None:
    """The same file stays, its wide mode is narrowed, and it can be opened at once."""
    snapshot = db.snapshot(tmp_path / "s.db")
    dest = make(tmp_path / "b.db", 5)
    dest.chmod(0o644)
    number = dest.stat().st_ino
    onewriter.restore(snapshot, dest)
    assert (dest.stat().st_ino, mode(dest), rows_of(dest)) == (number, 0o600, ROWS)
    with onewriter.open(dest) as restored:
        restored.execute("DELETE FROM t")
        assert restored.check() == []
    assert names(tmp_path) == {"data", "s.db", "b.db"}


@pytest.mark.parametrize("page_bytes", [512, 65536])
def test_pages_of_another_size(tmp_path: Path, page_bytes: int) -> None:
    """Pages of any size are restored, to a new place and to a database of ordinary ones."""
    path = tmp_path / "a.db"
    with Stranger(path) as other:
        other.run(f"PRAGMA page_size = {page_bytes}")
        other.run("CREATE TABLE t (a)")
    with onewriter.open(path) as db:
        db.execute("INSERT INTO t VALUES (1)")
        snapshot = db.snapshot(tmp_path / "s.db")
    for dest in (tmp_path / "new.db", make(tmp_path / "b.db", 5)):
        onewriter.restore(snapshot, dest)
        with onewriter.open(dest) as restored:
            assert restored.query_value("PRAGMA page_size") == page_bytes
            assert restored.query_value("PRAGMA journal_mode") == "wal"
            assert restored.query("SELECT a FROM t") == [(1,)]


def test_a_database_with_a_wal_of_a_dead_process_is_replaced(db: Database, tmp_path: Path) -> None:
    """Its WAL does not come back over the restored content."""
    snapshot = db.snapshot(tmp_path / "s.db")
    dest = make(tmp_path / "b.db")
    with Stranger(dest) as other:
        other.run("DELETE FROM t")
        other.kill()
    assert (tmp_path / "b.db-wal").stat().st_size > 0
    onewriter.restore(snapshot, dest)
    assert rows_of(dest) == ROWS


@pytest.mark.parametrize("statement", ["SELECT 1 FROM t", "BEGIN IMMEDIATE"])
def test_a_database_in_use_is_not_replaced(tmp_path: Path, statement: str) -> None:
    """By another process, that has it open and does nothing, or is writing."""
    snapshot, dest = make(tmp_path / "s.db", 5), make(tmp_path / "b.db")
    dest.chmod(0o644)
    with Stranger(dest) as other:
        other.run(statement)
        with pytest.raises(SnapshotError, match=f"cannot restore {dest}"):
            onewriter.restore(snapshot, dest)
        assert mode(dest) == 0o644
        assert other.run("SELECT count(*) FROM t") == [[1]]
    assert rows_of(dest) == 1


_HOLD = """
import sys
import onewriter
with onewriter.open(sys.argv[1]) as db:
    print("open", flush=True)
    sys.stdin.readline()
    print(db.query_value("SELECT count(*) FROM t"))
"""


def test_a_database_that_onewriter_has_open_is_not_replaced(tmp_path: Path) -> None:
    """In this process, or idle in another; once closed it is."""
    snapshot, dest = make(tmp_path / "s.db", 5), make(tmp_path / "b.db")
    with onewriter.open(dest), pytest.raises(SnapshotError, match="this process has it open; close it first"):
        onewriter.restore(snapshot, dest)
    with child(_HOLD, dest) as other:
        other.wait_for("open")
        with pytest.raises(SnapshotError, match="another process has it open"):
            onewriter.restore(snapshot, dest)
        other.go_on()
        assert other.end() == "1\n"
    onewriter.restore(snapshot, dest)
    assert rows_of(dest) == 5


def test_a_bad_snapshot_changes_nothing(tmp_path: Path) -> None:
    """Damaged, no database, missing, a folder: with or without a target."""
    damaged = make(tmp_path / "damaged.db", 3000)
    damage(damaged)
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no database at all, but long enough" * 100)
    dest = make(tmp_path / "b.db")
    before = dest.read_bytes()
    for snapshot, message in (
        (damaged, "damaged.db is not sound"),
        (garbage, "garbage: file is not a database"),
        (tmp_path / "missing", "there is no snapshot .*/missing"),
        (tmp_path, "it is a folder"),
    ):
        for target in (dest, tmp_path / "new" / "c.db"):
            with pytest.raises(SnapshotError, match=message):
                onewriter.restore(snapshot, target)
    assert dest.read_bytes() == before
    assert names(tmp_path) == {"damaged.db", "garbage", "b.db"}


def test_a_bad_target_is_refused(tmp_path: Path) -> None:
    """A folder, what is no database, the snapshot itself under either of its names, a log without its database."""
    snapshot = make(tmp_path / "s.db")
    (tmp_path / "link.db").hardlink_to(snapshot)
    (tmp_path / "garbage").write_bytes(b"precious" * 100)
    (tmp_path / "log.db-wal").touch()
    for dest, message in (
        (tmp_path, "it is a folder"),
        (tmp_path / "garbage", "file is not a database"),
        (snapshot, "from itself"),
        (tmp_path / "link.db", "from itself"),
        (tmp_path / "log.db", "log.db-wal is beside it"),
    ):
        with pytest.raises(SnapshotError, match=message):
            onewriter.restore(snapshot, dest)
    assert (tmp_path / "garbage").read_bytes() == b"precious" * 100
    with pytest.raises(ProgrammingError):
        onewriter.restore("", snapshot)
    with pytest.raises(ProgrammingError, match="config must be a Config"):
        onewriter.restore(snapshot, tmp_path / "x", {})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_snapshot_in_wal_mode_gets_nothing_beside_it(tmp_path: Path) -> None:
    """One that was opened meanwhile, or a plain copy of a database: reading it leaves no file."""
    snapshot = make(tmp_path / "s.db", 7)
    onewriter.restore(snapshot, tmp_path / "b.db")
    assert rows_of(tmp_path / "b.db") == 7
    assert names(tmp_path) == {"s.db", "b.db"}


def test_a_copy_with_its_wal_is_restored_whole(tmp_path: Path) -> None:
    """What lies in the -wal beside the snapshot belongs to it."""
    path = make(tmp_path / "a.db")
    with Stranger(path) as other:
        other.run("INSERT INTO t (c) VALUES (1)")
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", tmp_path / f"copy.db{suffix}")
    onewriter.restore(tmp_path / "copy.db", tmp_path / "b.db")
    assert rows_of(tmp_path / "b.db") == 2


_SLOW_RESTORE = """
import sys
import onewriter
from tests.support.sick_vfs import SickVFS
vfs = SickVFS("slow")
written = 0
def rule(what, kind):
    global written
    written += (what, kind) == ("written", "db")
    if written == int(sys.argv[3]):
        print("in the middle", flush=True)
        sys.stdin.readline()
vfs.rule = rule
onewriter.restore(sys.argv[1], sys.argv[2], onewriter.Config(vfs="slow"))
print("in the middle")
"""


@pytest.mark.parametrize("writes", [1, 2, 50, 250, 290])
@pytest.mark.parametrize("exists", [True, False])
def test_a_process_killed_in_a_restore(db: Database, tmp_path: Path, writes: int, exists: bool) -> None:
    """The target is what it was or what it was to become, after SQLite's own recovery."""
    snapshot = db.snapshot(tmp_path / "s.db")
    folder = tmp_path / "target"
    dest = folder / "b.db"
    if exists:
        make(dest, 5)
    with child(_SLOW_RESTORE, snapshot, dest, writes) as other:
        other.wait_for("in the middle")
        other.kill()
    assert {mode(each) for each in folder.iterdir()} <= {0o600}
    if exists:
        with onewriter.open(dest) as opened:
            assert opened.query_value("SELECT count(*) FROM t") in {5, ROWS}
            assert opened.check() == []
    else:
        assert not dest.exists()
    onewriter.restore(snapshot, dest)
    assert rows_of(dest) == ROWS


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("on", [False, True], ids=["once", "from then on"])
def test_a_restored_file_that_the_disk_does_not_take_is_no_database(
    db: Database, tmp_path: Path, on: bool, mode: str
) -> None:
    """Each sync fails in its turn: the file is whole or absent, though its last close only logs what the disk says."""
    snapshot = db.snapshot(tmp_path / "s.db")
    with Stranger(snapshot) as other:
        other.run(f"PRAGMA journal_mode = {mode}")
    sick = SickVFS("sick-restore")
    refused = 0
    for failing in count(1):
        syncs = count(1)

        def rule(what: str, _of: str, failing: int = failing, syncs: Iterator[int] = syncs) -> None:
            if what == "sync" and ((number := next(syncs)) == failing or (on and number > failing)):
                raise apsw.IOError

        sick.rule = rule
        try:
            onewriter.restore(snapshot, tmp_path / "b.db", Config(vfs="sick-restore"))
        except SnapshotError:
            refused += 1
            assert names(tmp_path) == {"data", "s.db"}
        else:
            assert rows_of(tmp_path / "b.db") == ROWS
            (tmp_path / "b.db").unlink()
            if next(syncs) <= failing:
                break
    assert refused >= 2


def test_a_file_that_is_taken_away_is_not_made_anew(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would give it a mode of its own; so would another user be let in who only has to remove a name."""
    real, seen = snapshots._fill, list[bool]()

    def fills(connection: Connection, made: Path, progress: Progress | None) -> None:
        made.unlink()
        try:
            real(connection, made, progress)
        finally:
            seen.append(made.exists())

    monkeypatch.setattr(snapshots, "_fill", fills)
    for progress in (None, print):
        with pytest.raises(SnapshotError, match="unable to open"):
            db.snapshot(tmp_path / "copy.db", progress=progress)
    assert seen == [False, False]
    assert not (tmp_path / "copy.db").exists()
