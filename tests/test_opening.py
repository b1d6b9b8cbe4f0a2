"""Opening a database: what is made, how private it is, what is refused, and that what is refused is left as it was."""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import onewriter
from onewriter import (
    CannotOpen,
    Config,
    CorruptDatabase,
    Database,
    Error,
    Migration,
    MigrationError,
    NestedWrite,
    NotADatabase,
    ProgrammingError,
    ReadOnlyDatabase,
    ReadTimeout,
    WriteTimeout,
    handle,
    presence,
)
from onewriter.config import Durability
from tests.support.children import as_nobody, child
from tests.support.modes import UMASKS, mode, umask
from tests.support.places import common_folder, make_read_only, small_disk
from tests.support.sick_vfs import SickVFS
from tests.support.steps import Call
from tests.support.stranger import Stranger, may_write

every_umask = pytest.mark.parametrize("bits", UMASKS, ids=oct)


def make(path: Path) -> None:
    """Make a database with one table at *path*, closed and in WAL mode."""
    with onewriter.open(path) as db:
        db.execute("CREATE TABLE t (a INTEGER)")


def setting(db: Database, name: str) -> object:
    """Return what the writing connection has for a pragma."""
    return db.write(lambda tx: tx.query_value(onewriter.SQL(f"PRAGMA {name}")))


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of each file in *folder*."""
    return {each.name: (mode(each), each.read_bytes()) for each in folder.iterdir() if each.is_file()}


# --- privacy


@every_umask
def test_all_files_are_private(tmp_path: Path, bits: int) -> None:
    """Database, -wal and -shm have mode 0600 and new folders 0700, whatever the umask."""
    path = tmp_path / "new" / "below" / "a.db"
    with umask(bits), onewriter.open(path) as db:
        db.execute("CREATE TABLE t (a)")
        assert {each.name: mode(each) for each in path.parent.iterdir()} == {
            "a.db": 0o600,
            "a.db-wal": 0o600,
            "a.db-shm": 0o600,
            "a.db-turn": 0o600,
        }
        assert [mode(path.parent), mode(path.parent.parent)] == [0o700, 0o700]


@every_umask
def test_a_mode_for_two_users(tmp_path: Path, bits: int) -> None:
    """Config(file_mode=) is the mode of all files, whatever the umask."""
    path = tmp_path / "a.db"
    with umask(bits), onewriter.open(path, config=Config(file_mode=0o660)) as db:
        db.execute("CREATE TABLE t (a)")
        assert {mode(each) for each in tmp_path.iterdir()} == {0o660}


def test_an_existing_wide_mode_is_narrowed(tmp_path: Path) -> None:
    """That of the files beside it too; here a process died and left them."""
    path = tmp_path / "a.db"
    with Stranger(path) as other:
        other.run("PRAGMA journal_mode = WAL")
        other.run("CREATE TABLE t (a)")
        other.kill()
    (tmp_path / "a.db-turn").touch()
    for each in tmp_path.iterdir():
        each.chmod(0o666)
    with onewriter.open(path) as db:
        assert {each.name: mode(each) for each in tmp_path.iterdir()} == {
            "a.db": 0o600,
            "a.db-wal": 0o600,
            "a.db-shm": 0o600,
            "a.db-turn": 0o600,
        }
        assert db.query("SELECT * FROM t") == []


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    """Only what onewriter creates is its own to make private."""
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide").chmod(0o755)
    make(tmp_path / "wide" / "a.db")
    assert mode(tmp_path / "wide") == 0o755


# --- settings


@pytest.mark.parametrize("durability, synchronous", [("full", 2), ("normal", 1)])
def test_the_settings_of_the_writer(tmp_path: Path, durability: Durability, synchronous: int) -> None:
    """WAL, foreign keys on, synchronous by the durability."""
    with onewriter.open(tmp_path / "a.db", durability=durability) as db:
        assert setting(db, "journal_mode") == "wal"
        assert setting(db, "foreign_keys") == 1
        assert setting(db, "synchronous") == synchronous


def test_on_connect_sees_each_connection_and_cannot_undo_the_settings(tmp_path: Path) -> None:
    """It adds functions to writer and readers; pragmas that it sets are set again."""

    def connect(connection: apsw.Connection) -> None:
        connection.create_scalar_function("twice", _twice)
        connection.execute("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; PRAGMA busy_timeout = 1")

    with onewriter.open(tmp_path / "a.db", config=Config(on_connect=connect)) as db:
        assert db.query_value("SELECT twice(21)") == 42
        assert db.execute("SELECT twice(21)").rows == [(42,)]
        assert [setting(db, "foreign_keys"), setting(db, "synchronous")] == [1, 2]
        with Stranger(
            db.path
        ) as other:  # busy_timeout would have replaced the handler that keeps the deadline
            other.run("BEGIN IMMEDIATE")
            retries = db.stats().busy_retries
            with pytest.raises(WriteTimeout):
                db.execute("CREATE TABLE t (a)", timeout_s=0.05)
            assert db.stats().busy_retries > retries


def _twice(*numbers: object) -> int:
    (number,) = numbers
    assert isinstance(number, int)
    return number * 2


def test_an_error_of_on_connect_is_the_callers_own(tmp_path: Path) -> None:
    """It leaves as it is, and nothing is left open."""

    def connect(_: apsw.Connection) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        onewriter.open(tmp_path / "a.db", config=Config(on_connect=connect))


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%41", "a b", "ä'\"", "a\nb", "-a", "a;b"])
def test_a_strange_name_is_a_name(tmp_path: Path, name: str) -> None:
    """No letter of a file's name has a meaning."""
    for _ in range(2):
        with onewriter.open(tmp_path / name) as db:
            assert db.path == tmp_path.resolve() / name
            db.execute("CREATE TABLE IF NOT EXISTS t (a)")
            assert db.snapshot(tmp_path / "snapshots" / name, overwrite=True).name == name
    assert {each.name for each in tmp_path.iterdir() if each.is_file()} == {name, f"{name}-turn"}


def test_a_link_leads_to_its_file(tmp_path: Path) -> None:
    """One that leads nowhere yet has its file created where it points."""
    (tmp_path / "link.db").symlink_to(tmp_path / "new" / "real.db")
    with onewriter.open(tmp_path / "link.db") as db:
        db.execute("CREATE TABLE t (a)")
        assert db.path == tmp_path.resolve() / "new" / "real.db"
        assert not (tmp_path / "link.db-wal").exists()
        assert (tmp_path / "new" / "real.db-wal").exists()


# --- refusals


GARBAGE = {
    "a text": b"this is a text file, long enough for a header of a database: " * 40,
    "a short text": b"hello",
    "one byte": b"\0",
    "zeros": b"\0" * 8192,
    "a header cut short": b"SQLite format 3\0" + b"\0" * 20,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_database_is_left_as_it_was(tmp_path: Path, content: bytes, read_only: bool) -> None:
    """Its bytes, its mode, nothing beside it; the message names it."""
    path = tmp_path / "a.db"
    path.write_bytes(content)
    path.chmod(0o644)
    with pytest.raises(NotADatabase, match=f"cannot open {path}: file is not a database") as caught:
        onewriter.open(path, read_only=read_only)
    assert caught.value.ran == "no"
    assert everything(tmp_path) == {"a.db": (0o644, content)}


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    """It is what SQLite itself makes at first, and what a process leaves that died a moment after."""
    path = tmp_path / "a.db"
    path.touch(mode=0o644)
    make(path)
    assert mode(path) == 0o600


@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_file_is_refused_untouched(tmp_path: Path, read_only: bool) -> None:
    """The first page is sound and the second is gone: SQLite finds out, and nothing is changed."""
    path = tmp_path / "a.db"
    with Stranger(path) as other:
        other.run("CREATE TABLE t (a)")
    path.write_bytes(path.read_bytes()[:4096])
    before = everything(tmp_path)
    with pytest.raises(CorruptDatabase, match=f"cannot open {path}"):
        onewriter.open(path, read_only=read_only)
    assert {name: content for name, (_, content) in everything(tmp_path).items()} == {
        name: content for name, (_, content) in before.items()
    }


@pytest.mark.parametrize("read_only", [False, True])
def test_a_folder_and_a_pipe_are_refused(tmp_path: Path, read_only: bool) -> None:
    """At once: a pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CannotOpen, match=f"cannot open {tmp_path}: it is a folder"):
        onewriter.open(tmp_path, read_only=read_only)
    with pytest.raises(CannotOpen, match="pipe: it is not a regular file"):
        onewriter.open(tmp_path / "pipe", read_only=read_only)


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    """The message names the path."""
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(CannotOpen, match=f"{tmp_path}/file/a.db"):
        onewriter.open(tmp_path / "file" / "a.db")
    with pytest.raises(CannotOpen, match=f"{tmp_path}/file/b"):
        onewriter.open(tmp_path / "file" / "b" / "a.db")
    assert everything(tmp_path) == {"file": (mode(tmp_path / "file"), b"x")}


def test_a_name_too_long_is_refused(tmp_path: Path) -> None:
    """The system's own reason is told."""
    with pytest.raises(CannotOpen, match="File name too long"):
        onewriter.open(tmp_path / ("a" * 300))


def test_a_name_that_is_not_utf8_makes_no_file(tmp_path: Path) -> None:
    """It is refused before anything is created."""
    with pytest.raises(CannotOpen, match="not UTF-8"):
        onewriter.open(tmp_path / "new" / os.fsdecode(b"\xff.db"))
    assert not list(tmp_path.iterdir())


def test_read_only_creates_nothing(tmp_path: Path) -> None:
    """A missing file is an error that says so; so are migrations."""
    with pytest.raises(CannotOpen, match="there is no such file, and read_only=True creates none"):
        onewriter.open(tmp_path / "new" / "a.db", read_only=True)
    with pytest.raises(ProgrammingError, match="read_only"):
        onewriter.open(tmp_path / "a.db", read_only=True, migrations=[Migration(1, "a", "SELECT 1")])
    assert not list(tmp_path.iterdir())


def test_read_only_reads_and_refuses_to_write(tmp_path: Path) -> None:
    """The mode of the file is not its business."""
    make(tmp_path / "a.db")
    (tmp_path / "a.db").chmod(0o644)
    with onewriter.open(tmp_path / "a.db", read_only=True) as db:
        assert db.query("SELECT * FROM t") == []
        with pytest.raises(ReadOnlyDatabase, match="read_only=True"):
            db.execute("INSERT INTO t VALUES (1)")
    assert mode(tmp_path / "a.db") == 0o644


_BREAKS_OFF = """
import os, sys
import apsw
db = apsw.Connection(sys.argv[1])
db.execute("PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; BEGIN").fetchall()
db.execute("UPDATE t SET a = randomblob(3000)")
os._exit(0)
"""


def test_read_only_beside_a_write_that_was_broken_off(tmp_path: Path) -> None:
    """As by a restore that was killed: it says who can put it right, and how."""
    path = tmp_path / "a.db"
    with onewriter.open(path) as db:
        db.execute("CREATE TABLE t (a)")
        db.execute_many("INSERT INTO t VALUES (?)", [("old" * 1000,)] * 50)
    with child(_BREAKS_OFF, path) as program:
        program.end()
    assert (tmp_path / "a.db-journal").stat().st_size > 0
    with pytest.raises(
        ReadOnlyDatabase, match=r"broken off, and is to be rolled back .* open it once without"
    ):
        onewriter.open(path, read_only=True)
    onewriter.open(path).close()
    with onewriter.open(path, read_only=True) as db:
        assert db.query_value("SELECT count(*) FROM t WHERE a LIKE 'old%'") == 50


_BREAKS_OFF_THE_FIRST = """
import os, sys
import apsw
db = apsw.Connection(sys.argv[1])
db.execute("PRAGMA cache_size = 1; BEGIN; CREATE TABLE t (a)").fetchall()
db.execute("INSERT INTO t VALUES (zeroblob(100000)), (zeroblob(100000))")
os._exit(0)
"""


def test_a_file_whose_first_write_was_broken_off_becomes_a_database(tmp_path: Path) -> None:
    """It has pages, and no name yet, and a journal that takes them back; without that it is somebody's."""
    path = tmp_path / "a.db"
    with child(_BREAKS_OFF_THE_FIRST, path) as program:
        program.end()
    assert path.stat().st_size > 0
    assert not any(path.read_bytes()[:100])
    journal = (tmp_path / "a.db-journal").rename(tmp_path / "aside")
    with pytest.raises(NotADatabase):
        onewriter.open(path)
    journal.rename(tmp_path / "a.db-journal")
    with pytest.raises(ReadOnlyDatabase, match="open it once without read_only"):
        onewriter.open(path, read_only=True)
    with onewriter.open(path) as db:
        assert db.query("SELECT * FROM sqlite_schema") == []
        assert db.check() == []


_AT_THE_LIMIT = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
filling = []
try:
    while True:
        filling.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for spare in range(12):
    for read_only in (False, True):
        try:
            with onewriter.open(sys.argv[1], read_only=read_only) as db:
                db.query("SELECT * FROM t")
            print("open", end=" ")
        except onewriter.CannotOpen as error:
            assert "no file descriptor is left" in str(error), (spare, error)
            print("none", end=" ")
    os.close(filling.pop())
"""


def test_at_the_limit_of_descriptors(tmp_path: Path) -> None:
    """Whichever of its files cannot be opened any more, the message says why."""
    make(tmp_path / "a.db")
    with child(_AT_THE_LIMIT, tmp_path / "a.db") as program:
        told = program.end().split()
    assert told[:4] == ["none"] * 4
    assert told[-2:] == ["open"] * 2


_OPEN = """
import sys
import onewriter
try:
    with onewriter.open(sys.argv[1], read_only=sys.argv[2:] == ["read-only"]) as db:
        print("open", db.query("SELECT * FROM t"))
except onewriter.Error as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that a user without rights of its own may write to."""
    with common_folder() as folder:
        yield folder


def test_a_file_that_may_not_be_written(common: Path) -> None:
    """It is named, and left as it was; it may be read."""
    path = common / "a.db"
    assert "no such table" in as_nobody(_OPEN, path)
    path.chmod(0o400)
    before = everything(common)
    told = as_nobody(_OPEN, path)
    assert told.startswith(f"ReadOnlyDatabase cannot write {path}: permission denied")
    assert everything(common) == before
    assert "no such table" in as_nobody(_OPEN, path, "read-only")


def test_a_file_that_may_not_be_read(common: Path) -> None:
    """The message says that it is the permission."""
    path = common / "a.db"
    as_nobody(_OPEN, path)
    path.chmod(0o000)
    for options in ([], ["read-only"]):
        assert as_nobody(_OPEN, path, *options) == f"CannotOpen cannot open {path}: permission denied\n"


def test_a_folder_that_may_not_be_written(common: Path) -> None:
    """A new file, a new folder and an existing database there: the folder is named."""
    as_nobody(_OPEN, common / "a.db")
    common.chmod(0o500)
    assert as_nobody(_OPEN, common / "b.db").startswith(f"ReadOnlyDatabase cannot create {common / 'b.db'}")
    told = as_nobody(_OPEN, common / "new" / "b.db")
    assert told.startswith(f"ReadOnlyDatabase cannot create the folder {common / 'new'}")
    told = as_nobody(_OPEN, common / "a.db")
    assert told.startswith(f"ReadOnlyDatabase cannot write in the folder {common}")
    told = as_nobody(_OPEN, common / "a.db", "read-only")
    assert told.startswith(f"ReadOnlyDatabase cannot open {common / 'a.db'}")
    assert f"keeps the -shm of a database in WAL mode in {common}, which cannot be written" in told


def test_a_folder_that_may_not_be_entered(common: Path) -> None:
    """The file may be there or not; nobody can tell."""
    common.chmod(0o600)
    told = as_nobody(_OPEN, common / "a.db")
    assert told == f"CannotOpen cannot open {common / 'a.db'}: Permission denied\n"


def test_a_read_only_disk(tmp_path: Path) -> None:
    """A new file and an existing one are refused, with their paths."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        make(disk / "a.db")
        make_read_only(disk)
        with pytest.raises(ReadOnlyDatabase, match=f"cannot write {disk}/a.db: .*read-only file system"):
            onewriter.open(disk / "a.db")
        with pytest.raises(ReadOnlyDatabase, match=f"cannot create {disk}/b.db: Read-only file system"):
            onewriter.open(disk / "b.db")
        with pytest.raises(ReadOnlyDatabase, match=f"cannot create the folder {disk}/new: Read-only"):
            onewriter.open(disk / "new" / "b.db")
        with pytest.raises(Error, match=f"cannot open {disk}/a.db"):
            onewriter.open(disk / "a.db", read_only=True)


@pytest.mark.parametrize(
    "version, refused", [("3.51.2", True), ("3.51.3", False), ("3.7.17", True), ("4.0", False)]
)
def test_an_older_sqlite_is_refused(version: str, refused: bool) -> None:
    """The message says which, why, and what to do."""
    if not refused:
        handle.check_sqlite(version)
        return
    with pytest.raises(
        CannotOpen, match=rf"SQLite {version}, which can corrupt .*3\.51\.3 or newer.*pip install"
    ):
        handle.check_sqlite(version)


def test_an_unknown_vfs_is_refused(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(CannotOpen, match=f"cannot open {tmp_path}/a.db.*vfs"):
        onewriter.open(tmp_path / "a.db", config=Config(vfs="nosuch"))


def test_a_failed_migration_leaves_nothing_open(tmp_path: Path) -> None:
    """The file can be opened, and restored to, as if nobody had come before."""
    path = tmp_path / "a.db"
    with pytest.raises(MigrationError):
        onewriter.open(path, migrations=[Migration(1, "wrong", "bogus")])
    assert not presence.is_open(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.db", "a.db-turn"]
    make(path)


# --- others


def test_a_stranger_with_the_whole_file_is_named(tmp_path: Path) -> None:
    """Opening waits for it up to a deadline, then says who it was; the same for a reader."""
    path = tmp_path / "a.db"
    with Stranger(path) as other:
        other.run("CREATE TABLE t (a)")
        other.run("BEGIN EXCLUSIVE")
        with pytest.raises(WriteTimeout, match=f"cannot open {path}: another connection") as caught:
            onewriter.open(path, config=Config(migrate_timeout_s=0.05))
        assert (caught.value.held_by, caught.value.ran) == ("stranger", "no")
        with pytest.raises(ReadTimeout) as caught_too:
            onewriter.open(path, read_only=True, config=Config(read_timeout_s=0.05))
        assert (caught_too.value.held_by, caught_too.value.ran) == ("stranger", "no")
        if Path("/proc/locks").exists():
            for error in (caught.value, caught_too.value):
                assert error.pid == other.pid
                assert f"process {other.pid} (" in str(error)
        other.run("COMMIT")
    make_again = onewriter.open(path)
    make_again.close()


def test_opening_again_drops_no_lock(tmp_path: Path) -> None:
    """In POSIX a close of any descriptor of a file drops the process's locks; none of these is ours to close.

    this process                    another process
    begins a write
    opens the file again, closes it,
    fails to open it, looks at it
                                    cannot write
    commits
                                    can write
    """
    path = tmp_path / "a.db"
    make(path)
    with onewriter.open(path) as db:
        with db.transaction() as tx:
            tx.execute("INSERT INTO t VALUES (1)")
            assert not may_write(path)
            Call(lambda: _open_and_fail(path)).result()
            assert not may_write(path)
        assert may_write(path)
        assert db.query_value("SELECT count(*) FROM t") == 1


def _open_and_fail(path: Path) -> None:
    for read_only in (True, False):
        with onewriter.open(path, read_only=read_only) as db:
            db.query("SELECT * FROM t")
            db.check()
    with pytest.raises(MigrationError):
        onewriter.open(path, migrations=[Migration(1, "wrong", "")])
    handle.check_database(path, None)
    for source in (path, path.with_name("other.db")):
        with pytest.raises(onewriter.SnapshotError):
            onewriter.restore(source, path)


def test_migrations_inside_a_write_are_refused(tmp_path: Path) -> None:
    """They would wait for the thread that waits for them; opening alone does not."""
    make(tmp_path / "a.db")
    with onewriter.open(tmp_path / "a.db") as db:
        with db.transaction(), pytest.raises(NestedWrite):
            onewriter.open(db.path, migrations=[Migration(1, "one", "SELECT 1")])
        with db.transaction():
            again = onewriter.open(db.path)
        again.close()


_STOP_IN_A_CHECKPOINT = """
import sys
import onewriter
from tests.support.sick_vfs import SickVFS
vfs = SickVFS("slow")
db = onewriter.open(sys.argv[1], config=onewriter.Config(vfs="slow"))
db.execute("CREATE TABLE t (a)")
def rule(what, kind):
    if (what, kind) == ("written", "db"):
        print("first page", flush=True)
        sys.stdin.readline()
vfs.rule = rule
db.execute_many("INSERT INTO t VALUES (zeroblob(?))", [(2000,)] * 2200)  # a checkpoint is due at 1,000 pages
sys.stdin.readline()  # the close's own checkpoint would lock everybody out
"""


def test_a_checkpoint_that_was_cut_short(tmp_path: Path) -> None:
    """A file whose first page tells of more than it has is not damaged: the WAL has the rest.

    this process                        another process
                                        has written the first page in its checkpoint
    opens: the first page is ahead
                                        dies
    opens: the WAL is recovered
    """
    path = tmp_path / "a.db"
    with child(_STOP_IN_A_CHECKPOINT, path) as other:
        other.wait_for("first page")
        assert path.stat().st_size == 4096
        with onewriter.open(path) as db:
            assert db.query_value("SELECT count(*) FROM t") == 2200
        other.kill()
    with onewriter.open(path) as db:
        assert db.query_value("SELECT count(*) FROM t") == 2200
        assert db.check() == []


def test_a_sick_disk_while_opening(tmp_path: Path) -> None:
    """An error of the disk names the path, and nothing stays open."""
    path = tmp_path / "a.db"
    make(path)
    vfs = SickVFS("sick-opening")

    def rule(what: str, kind: str) -> None:
        if (what, kind) == ("read", "db"):
            raise apsw.IOError

    vfs.rule = rule
    with pytest.raises(onewriter.DiskError, match=f"cannot open {path}"):
        onewriter.open(path, config=Config(vfs=vfs.name))
    vfs.rule = None
    with onewriter.open(path, config=Config(vfs=vfs.name)) as db:
        assert db.query("SELECT * FROM t") == []


def test_python_has_no_other_sqlite_loaded() -> None:
    """The tests keep the library's own rule: a second SQLite in this process would drop the first one's locks."""
    assert "_sqlite3" not in sys.modules


def test_a_file_with_two_names_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite keeps a WAL for each name of a file."""
    path = tmp_path / "one.db"
    onewriter.open(path).close()
    assert caplog.messages == []
    (tmp_path / "two.db").hardlink_to(path)
    onewriter.open(path).close()
    assert "2 names" in caplog.text
    assert str(path) in caplog.text
