"""One file, opened more than once in a process: by the library, by APSW, by another SQLite, by a plain ``open``."""

# pyright: reportUnknownMemberType=false
# (APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.)

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import apsw
import pytest

import onewriter
from onewriter import MisuseError, NestedRead, NestedWrite, Transaction, files
from onewriter.descriptors import accounted, check_alone
from tests.support.children import child, forked
from tests.support.databases import names, open_items
from tests.support.steps import Call, Steps, calls
from tests.support.stranger import Stranger, may_write

INSERT = "INSERT INTO item (name) VALUES (?)"
lists_descriptors = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="the system does not list a process's descriptors"
)


def insert(tx: Transaction, name: str) -> None:
    """Insert one row."""
    tx.execute(INSERT, (name,))


def test_two_databases_of_one_file_lose_no_write(tmp_path: Path) -> None:
    """Eight threads each; every row that was acknowledged is seen by both, at once, and is there in the end."""
    with open_items(tmp_path) as one, open_items(tmp_path) as two:

        def work(number: int) -> list[str]:
            mine, other = (one, two) if number % 2 else (two, one)
            told: list[str] = []
            for turn in range(40):
                name = f"{number}-{turn}"
                if turn % 2:
                    mine.execute(INSERT, (name,))
                else:
                    mine.write(partial(insert, name=name))
                told.append(name)
                assert other.query_value("SELECT count(*) FROM item WHERE name = ?", (name,)) == 1
            return told

        told = [name for call in calls(work, 16) for name in call.result()]
        assert len(told) == 16 * 40
        assert sorted(names(one)) == sorted(names(two)) == sorted(told)
        assert one.check() == []


def test_what_is_nested_is_so_across_both(tmp_path: Path) -> None:
    """The checks belong to the file: a write inside the other's write would wait for itself."""
    with open_items(tmp_path) as one, open_items(tmp_path) as two:
        for mine, other in ((one, two), (two, one)):
            with mine.transaction():
                for write in (other.execute, partial(other.execute_many, rows=[()])):
                    with pytest.raises(NestedWrite):
                        write("INSERT INTO item DEFAULT VALUES")
                with pytest.raises(NestedWrite):
                    other.submit(id)
                with pytest.raises(NestedRead):
                    names(other)
            with mine.read_transaction() as tx:
                other.execute(INSERT, ("later",))
                assert tx.query("SELECT * FROM item") == []  # its own snapshot
            other.execute("DELETE FROM item")


def test_closing_one_leaves_the_locks_of_the_other(tmp_path: Path) -> None:
    """In POSIX a close drops the locks of the whole process; SQLite keeps the descriptor back instead.

    this process: one        this process: two        another process
    begins a write
                             reads, closes
                                                      cannot write
    commits
    begins a read
                             opens, writes, closes
                                                      empties the WAL as far as it can
    reads the same
    """
    with open_items(tmp_path) as one:
        two = open_items(tmp_path)
        with one.transaction() as tx:
            tx.execute(INSERT, ("a",))
            Call(lambda: names(two)).result()
            Call(two.close).result()
            assert not may_write(one.path)
        assert may_write(one.path)
        with one.read_transaction() as reading:
            assert reading.query("SELECT name FROM item", into=str) == ["a"]
            with open_items(tmp_path) as three:
                three.execute(INSERT, ("b",))
            with Stranger(one.path) as other:
                assert other.run("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 1  # the reader is in its way
            assert reading.query("SELECT name FROM item", into=str) == ["a"]
        assert names(one) == ["a", "b"]
        assert one.check() == []


# --- beside other means: what is seen

_BESIDE = """
import sqlite3, sys
path = sys.argv[1]
db = onewriter.open(path)
db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
db.close()

other = sqlite3.connect(path)
other.execute("INSERT INTO item (name) VALUES ('sqlite3')")
other.commit()
for call in (lambda: onewriter.open(path), lambda: onewriter.open(path, read_only=True),
             lambda: onewriter.restore(sys.argv[2], path)):
    try:
        call()
    except onewriter.MisuseError as error:
        print(error.ran, "sqlite3" in str(error), path in str(error), flush=True)
other.execute("INSERT INTO item (name) VALUES ('it goes on')")
other.commit()
other.close()

with onewriter.open(path) as db:
    db.execute("INSERT INTO item (name) VALUES ('onewriter')")
other = sqlite3.connect(path)
print([name for name, in other.execute("SELECT name FROM item")], other.execute("PRAGMA integrity_check").fetchone())
other.close()
"""


@lists_descriptors
def test_beside_the_standard_librarys_sqlite3_one_comes_after_the_other(tmp_path: Path) -> None:
    """At the same time they are refused, and what is open is left as it is; one after the other all is well."""
    with open_items(tmp_path) as db:
        taken = db.snapshot(tmp_path / "snapshot.db")
    with child(_BESIDE, tmp_path / "a.db", taken) as other:
        assert other.end().splitlines() == [
            *["no True True"] * 3,
            "['sqlite3', 'it goes on', 'onewriter'] ('ok',)",
        ]


@lists_descriptors
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR], ids=["read", "write"])
def test_a_plain_open_of_the_file_is_refused_until_it_is_closed(tmp_path: Path, flags: int) -> None:
    """By whichever name; the message has the descriptor."""
    make(tmp_path / "a.db")
    (tmp_path / "link.db").symlink_to("a.db")
    descriptor = os.open(tmp_path / "a.db", flags)
    try:
        for path in (tmp_path / "a.db", tmp_path / "link.db"):
            with pytest.raises(
                MisuseError, match=rf"a\.db: .* by descriptor {descriptor}, .* Close it first"
            ):
                onewriter.open(path)
    finally:
        os.close(descriptor)
    onewriter.open(tmp_path / "a.db").close()


_INHERITS = """
try:
    onewriter.open(sys.argv[1])
except onewriter.MisuseError as error:
    print("refused", error.ran)
"""


@lists_descriptors
def test_a_descriptor_of_the_parents_is_one_like_any_other(tmp_path: Path) -> None:
    """A program that was started with the file as its standard input would drop the locks by closing that."""
    make(tmp_path / "a.db")
    with (tmp_path / "a.db").open("rb") as file:
        command = [sys.executable, "-c", f"import sys, onewriter{_INHERITS}", str(tmp_path / "a.db")]
        done = subprocess.run(command, stdin=file, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "refused no\n"


# --- what is never refused


def make(path: Path) -> None:
    """Make a database with one row."""
    with onewriter.open(path) as db:
        db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
        db.execute(INSERT, ("a",))


def test_apsws_own_connections_are_no_strangers(tmp_path: Path) -> None:
    """They have the same SQLite: idle, attached, in the middle of a statement of another thread, closed."""
    path, steps = tmp_path / "a.db", Steps()
    make(path)

    def pause(*_: object) -> int:
        steps.mark("busy")
        steps.wait_for("go")
        return 1

    def open_and_close() -> None:
        with onewriter.open(path) as db:
            assert names(db) == ["a"]

    idle = apsw.Connection(str(path))
    idle.execute("SELECT * FROM item").get  # noqa: B018
    open_and_close()
    idle.close()
    with_attached = apsw.Connection("")
    with_attached.execute("ATTACH ? AS other", (str(path),))
    open_and_close()
    with_attached.close()
    at_work = apsw.Connection(str(path))
    at_work.create_scalar_function("pause", pause)
    call = Call(lambda: at_work.execute("SELECT pause() FROM item").get)
    steps.wait_for("busy")
    open_and_close()
    steps.mark("go")
    call.result()
    at_work.close()
    open_and_close()
    assert files.descriptors_of(path) == set()


def test_what_the_library_has_open_is_no_stranger(tmp_path: Path) -> None:
    """A database, readers that were closed while others are open, a probe, a snapshot of the file's own."""
    path = tmp_path / "a.db"
    make(path)
    with onewriter.open(path) as db:
        for _ in range(3):  # SQLite keeps what these had open, as long as the first has locks
            with onewriter.open(path) as again, again.read_transaction():
                assert names(again) == ["a"]
        check_alone(path)
        db.snapshot(tmp_path / "b.db")
    with accounted(path):
        descriptor = os.open(path, os.O_RDONLY)  # as a connection that is being opened
        check_alone(path)
        os.close(descriptor)
    onewriter.restore(tmp_path / "b.db", path)
    make(tmp_path / "new.db")
    check_alone(tmp_path / "absent.db")


def test_opening_and_closing_at_once_on_many_threads_is_never_refused(tmp_path: Path) -> None:
    """None has the file open for long: what one has open is always accounted for when another looks."""
    path = tmp_path / "a.db"
    make(path)

    def work(number: int) -> None:
        for turn in range(12):
            with onewriter.open(path, read_only=(number + turn) % 3 == 0) as db:
                assert names(db) == ["a"]

    for call in calls(work, 8):
        call.result()


@lists_descriptors
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_not_refused_for_what_its_parent_had(tmp_path: Path) -> None:
    """It sheds that first; what its parent had by other means it has too."""
    path = tmp_path / "a.db"
    make(path)

    def insert_one() -> list[str]:
        with onewriter.open(path) as mine:
            mine.execute(INSERT, ("child",))
            return names(mine)

    with onewriter.open(path) as db, db.read_transaction():
        assert forked(insert_one) == ["a", "child"]
        db.execute(INSERT, ("parent",))
    assert forked(insert_one) == ["a", "child", "parent", "child"]
    with path.open("rb"), pytest.raises(MisuseError):
        forked(insert_one)


def test_nothing_is_refused_where_the_system_lists_no_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: there it is for the documentation to say."""
    make(tmp_path / "a.db")
    monkeypatch.setattr(files, "_DESCRIPTORS", str(tmp_path / "absent"))
    descriptor = os.open(tmp_path / "a.db", os.O_RDONLY)
    onewriter.open(tmp_path / "a.db").close()
    os.close(descriptor)
