"""The moments at which SQLite refuses without waiting, or tells of locks by other names than busy.

Each is brought about by another process that holds precisely what is in the way. Whatever asks meanwhile waits, up to
its deadline, is counted in ``Stats.busy_retries``, and hears of nothing.
"""

# pyright: reportUnknownMemberType=false
# (APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.)

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import onewriter
from onewriter import Config, Database, Migration, ReadTimeout, WriteTimeout
from onewriter.guard import Guard
from onewriter.samples import Tally
from tests.support.children import NOBODY, Child, child
from tests.support.databases import names, open_items
from tests.support.places import common_folder
from tests.support.shm import CHECKPOINTER, READERS, keeping, recovering
from tests.support.steps import Call, Steps
from tests.support.stranger import Refused, Stranger

INSERT = "INSERT INTO item (name) VALUES (?)"
SHORT = Config(write_timeout_s=0.05, read_timeout_s=0.05, migrate_timeout_s=0.05)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database with one row, and one reader open."""
    with open_items(tmp_path, Config()) as opened:
        opened.execute(INSERT, ("before",))
        assert names(opened) == ["before"]
        yield opened


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Marks "busy" when a connection of this process has been told so."""
    steps, add = Steps(), Tally.add

    def add_and_mark(tally: Tally) -> None:
        add(tally)
        steps.mark("busy")

    monkeypatch.setattr(Tally, "add", add_and_mark)
    return steps


def _open(db: Database, *, read_only: bool = False, config: Config | None = None) -> int:
    with onewriter.open(db.path, read_only=read_only, config=config or db.config) as again:
        return again.stats().busy_retries


def _unsafe(db: Database) -> object:
    with db.unsafe_connection() as connection:
        return connection.execute("SELECT count(*) FROM item").get


def _block(db: Database) -> object:
    with db.transaction() as tx:
        return tx.execute(INSERT, ("now",))


# What is asked, and whether the connection that hears of the lock is a database's own or opened for a while.
CALLS: dict[str, Callable[[Database], object]] = {
    "execute": lambda db: db.execute(INSERT, ("now",)),
    "write": lambda db: db.write(lambda tx: tx.execute(INSERT, ("now",))),
    "transaction": _block,
    "query": names,
    "read": lambda db: db.read(lambda tx: tx.query("SELECT * FROM item")),
    "schema_version": lambda db: db.schema_version(),
    "migrate": lambda db: db.migrate([Migration(2, "more", "CREATE TABLE more (a)")]),
    "vacuum": lambda db: db.vacuum(),
    "unsafe_connection": _unsafe,
    "check": lambda db: db.check(),
    "snapshot": lambda db: db.snapshot(db.path.with_name("snapshot.db")),
}


@pytest.mark.parametrize("asked", CALLS)
def test_whatever_is_asked_waits_for_a_recovery_and_is_counted(
    db: Database, heard: Steps, asked: str
) -> None:
    """Also on a connection that is opened for the call alone.

    this process            another process
                            recovers the WAL
    asks, hears "busy"
                            has done
    is answered
    """
    before = db.stats().busy_retries
    with recovering(db.path) as other:
        call = Call(lambda: CALLS[asked](db))
        heard.wait_for("busy")
        other.go_on()
        call.result()
    assert db.stats().busy_retries > before
    assert db.check() == []


@pytest.mark.parametrize("read_only", [False, True])
def test_opening_waits_for_a_recovery_and_is_counted(db: Database, heard: Steps, read_only: bool) -> None:
    """The count of a database begins with its opening."""
    with recovering(db.path) as other:
        call = Call(lambda: _open(db, read_only=read_only))
        heard.wait_for("busy")
        other.go_on()
        assert call.result() > 0


@pytest.mark.parametrize("asked", CALLS)
def test_a_recovery_that_does_not_end_is_a_time_out(tmp_path: Path, asked: str) -> None:
    """Nothing ran, and no "locked" of SQLite's is told, in `check` neither as an error nor as damage."""
    with open_items(tmp_path, SHORT) as db:
        db.execute(INSERT, ("before",))
        with recovering(db.path) as other:
            with pytest.raises((WriteTimeout, ReadTimeout)) as caught:
                CALLS[asked](db)
            assert (caught.value.held_by, caught.value.ran) == ("stranger", "no")
            for read_only, kind in ((False, WriteTimeout), (True, ReadTimeout)):
                with pytest.raises(kind, match=f"cannot open {db.path}") as late:
                    _open(db, read_only=read_only, config=SHORT)
                assert "not of onewriter" not in str(late.value), "it is"
                if Path("/proc/locks").exists():
                    assert late.value.pid == other.process.pid
            other.go_on()
            other.end()
        assert names(db) == ["before"]


def test_who_finds_no_place_among_the_readers_tries_again(db: Database, tmp_path: Path) -> None:
    """SQLite gives up by itself, after ten seconds, with SQLITE_PROTOCOL, and asks nobody.

    https://sqlite.org/rescode.html#protocol

    this process                            another process
                                            has every place of the readers
    calls, past their deadline by then:
    are told that it is a stranger's lock
    calls with more time: try again
                                            has done
    are answered
    """
    (tmp_path / "two").mkdir()  # a file of its own: the writes of one take turns
    short: list[Callable[[], object]] = [
        lambda: two.execute(INSERT, ("never",), timeout_s=0.05),
        lambda: two.query("SELECT 1 FROM item", timeout_s=0.05),
        lambda: _open(db, config=SHORT),
        lambda: _open(db, read_only=True, config=SHORT),
    ]
    long: list[Callable[[], object]] = [
        lambda: db.execute(INSERT, ("now",)),
        lambda: db.query("SELECT 1 FROM item"),
        lambda: _open(db),
    ]
    with (
        open_items(tmp_path / "two") as two,
        keeping(two.path, *READERS),
        keeping(db.path, *READERS) as other,
    ):
        waiting = [Call(each) for each in long]
        errors = [call.error() for call in [Call(each) for each in short]]
        assert [type(error) for error in errors] == [WriteTimeout, ReadTimeout] * 2
        assert {getattr(error, "held_by", None) for error in errors} == {"stranger"}
        assert two.stats().busy_retries >= 2
        other.go_on()
        for call in waiting:
            call.result()
    assert names(db) == ["before", "now"]


# --- the first opening


def test_the_change_to_wal_waits_for_a_stranger(tmp_path: Path, heard: Steps) -> None:
    """It needs the whole file, and SQLite does not wait for that.

    this process                another process
                                writes, in rollback mode
    opens, hears "busy"
                                commits
    is open, in WAL mode
    """
    path = tmp_path / "a.db"
    with Stranger(path) as other:
        other.run("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
        other.run("BEGIN IMMEDIATE")
        other.run(INSERT, "stranger")
        call = Call(lambda: onewriter.open(path))
        heard.wait_for("busy")
        other.run("COMMIT")
        with call.result() as db:
            assert names(db) == ["stranger"]
            assert db.query_value("PRAGMA journal_mode") == "wal"
            assert db.stats().busy_retries > 0


# --- the last close

_CLOSES = """
import sys
import onewriter
from tests.support.sick_vfs import SickVFS
vfs = SickVFS("slow")
db = onewriter.open(sys.argv[1], config=onewriter.Config(vfs="slow"))
db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
db.execute("INSERT INTO item (name) VALUES ('theirs')")
def rule(what, kind):
    if (what, kind) == ("delete", "wal"):
        vfs.rule = None
        print("closing", flush=True)
        sys.stdin.readline()
vfs.rule = rule
db.close()
"""


@pytest.mark.parametrize("read_only", [False, True])
def test_opening_waits_for_the_last_close_of_another(tmp_path: Path, heard: Steps, read_only: bool) -> None:
    """It has the whole file while it deletes the WAL.

    this process                another process
                                closes: is about to delete the WAL
    opens, hears "busy"
                                deletes the WAL
    is open, and finds all
    """
    path = tmp_path / "a.db"
    with child(_CLOSES, path) as other:
        other.wait_for("closing")
        call = Call(lambda: onewriter.open(path, read_only=read_only))
        heard.wait_for("busy")
        other.go_on()
        with call.result() as db:
            other.end()
            assert names(db) == ["theirs"]
            assert db.stats().busy_retries > 0
            assert db.check() == []


_MAY_ONLY_READ = """
import sys
from onewriter.guard import Guard
from onewriter.samples import Tally
add = Tally.add
def add_and_mark(tally):
    add(tally)
    if tally.count == 1:
        print("busy", flush=True)
Tally.add = add_and_mark
with onewriter.open(sys.argv[1], read_only=True) as db:
    print(*db.query_value("SELECT name FROM item"), db.stats().busy_retries > 0, sep="", flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a folder that one user may write and another only read")
def test_who_may_only_read_waits_a_moment_for_a_writer() -> None:
    """He cannot make the ``-shm``; one that is there a moment later is as good.

    this process                another process, which may not write the folder
                                opens: there is no -shm
    opens
                                is open, and reads
    """
    config = Config(file_mode=0o644)
    with common_folder() as folder:
        path = folder / "a.db"
        with onewriter.open(path, config=config) as db:
            db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
            db.execute(INSERT, ("a",))
        folder.chmod(0o755)
        os.chown(folder, 0, 0)
        other = Child(_MAY_ONLY_READ, path, user=NOBODY)
        try:
            other.wait_for("busy")
            with onewriter.open(path, config=config):
                assert other.end() == "aTrue\n"
        finally:
            other.kill()


# --- a schema that changes


def test_a_schema_that_another_changes_between_two_statements(db: Database) -> None:
    """Reader and writer have compiled both statements, and compile them anew.

    this process                        another process
    queries, inserts
                                        adds a column with a default
    queries, inserts, by the same texts
                                        drops the table, makes another
    queries, inserts, by the same texts
    """
    sql = "SELECT * FROM item ORDER BY id"
    db.execute(INSERT, ("a",))
    assert [tuple(row) for row in db.query(sql)] == [(1, "before", 0), (2, "a", 0)]
    with Stranger(db.path) as other:
        other.run("ALTER TABLE item ADD COLUMN more TEXT DEFAULT 'more'")
        assert dict(db.query(sql)[0])["more"] == "more"
        db.execute(INSERT, ("b",))
        other.run("DROP TABLE item")
        other.run("CREATE TABLE item (name TEXT, id INTEGER PRIMARY KEY)")
        assert db.query(sql) == []
        db.execute(INSERT, ("c",))
        assert [dict(row) for row in db.query(sql)] == [{"name": "c", "id": 1}]


@pytest.mark.parametrize("times", [1, 60])
def test_a_schema_that_another_changes_at_each_compilation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """SQLite compiles anew fifty times, then gives up with SQLITE_SCHEMA: the call goes on, with the newest schema.

    https://sqlite.org/rescode.html#schema
    """
    changes = 0
    with open_items(tmp_path) as db, Stranger(db.path) as other:
        db.execute(INSERT, ("a",))
        retries, asked = db.stats().busy_retries, Guard.__call__

        def ask_and_change(guard: Guard, action: int, name: str | None, *rest: str | None) -> int:
            nonlocal changes
            if name == "item" and changes < times:  # SQLite asks while it compiles
                changes += 1
                other.run(f"CREATE TABLE new_{changes} (a)")
            return asked(guard, action, name, *rest)

        monkeypatch.setattr(Guard, "__call__", ask_and_change)
        assert db.query("SELECT name FROM item", into=str) == ["a"]
        assert changes == times
        assert (db.stats().busy_retries > retries) == (times > 50)


# --- a snapshot that is no longer the newest


def test_a_write_that_reads_first_has_the_newest_snapshot(db: Database) -> None:
    """A transaction takes the write lock as it begins: nobody comes between what it reads and what it writes.

    this process                another process
    begins, reads
                                cannot begin to write
    writes, commits
                                writes
    begins, reads that
    """
    with Stranger(db.path) as other:
        with db.transaction() as tx:
            assert tx.query_value("SELECT count(*) FROM item") == 1
            with pytest.raises(Refused, match="locked"):
                other.run("BEGIN IMMEDIATE")
            tx.execute(INSERT, ("mine",))
        other.run(INSERT, "theirs")
        assert db.write(lambda tx: tx.query("SELECT name FROM item", into=str)) == [
            "before",
            "mine",
            "theirs",
        ]


# --- a checkpoint of another's


def test_writes_go_on_while_another_process_has_the_checkpoint(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The WAL is left to that one; it is no failure, and nothing to log."""
    with keeping(db.path, CHECKPOINTER):
        db.execute_many("INSERT INTO item (name) VALUES (printf('%5000d', ?))", [(n,) for n in range(2_000)])
        db.vacuum()
    assert db.query_value("SELECT count(*) FROM item") == 2_001
    assert db.stats().busy_retries > 0
    assert caplog.messages == []
