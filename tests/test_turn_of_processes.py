"""The turn among real processes: who is named, who dies or stops, what becomes of the side file.

What has the turn in another process is a child that marks its steps; `Watcher` looks at the page from here.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

import onewriter
from onewriter import Config, Database, WriteTimeout, contenders
from onewriter.contenders import Contender
from onewriter.writer import Writer
from tests.support.children import ROOT, Child, as_nobody, child
from tests.support.databases import Held
from tests.support.members import take_place
from tests.support.places import common_folder, small_disk
from tests.support.steps import LIMIT_S, Call, Steps, wait_until
from tests.support.stranger import Stranger
from tests.support.strikes import Strike, Striker

INSERT = "INSERT INTO item (name) VALUES (?)"
WANTS = 248  # words of the page
SOON_S = 0.05
BYTECODES_MAX = 50_000
tells_locks = pytest.mark.skipif(
    not Path("/proc/locks").exists(), reason="the system does not tell who has a lock"
)


@contextmanager
def opened(path: Path) -> Generator[Database]:
    """Open a database with one table."""
    with onewriter.open(path, durability="normal") as db:
        db.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, name TEXT)")
        yield db


def names(db: Database) -> list[str]:
    """Return what is in the table, in the order of coming."""
    return db.query("SELECT name FROM item ORDER BY id", into=str)


@contextmanager
def contender(path: Path) -> Generator[Contender]:
    """One more who may write to *path*, without a database."""
    joined = take_place(path)
    try:
        yield joined
    finally:
        joined.leave()


def count_waiting(looks: Contender) -> int:
    """Return how many are said to wait."""
    return sum(map(bool, looks._page.numbers(WANTS, 120)))


def late(call: Callable[[], object]) -> WriteTimeout:
    """Return the time-out of *call*."""
    with pytest.raises(WriteTimeout) as caught:
        call()
    assert caught.value.ran == "no"
    return caught.value


# --- who is named

_IN_A_BLOCK = """
import sys
db = onewriter.open(sys.argv[1], durability="normal")
with db.transaction() as tx:
    tx.execute("INSERT INTO item (name) VALUES ('child')")
    print("holds", flush=True)
    sys.stdin.readline()
db.close()
"""
_WORK = """
import sys
def work(tx):
    tx.execute("INSERT INTO item (name) VALUES ('child')")
    print("holds", flush=True)
    sys.stdin.readline()
"""
_IN_A_FUNCTION = f"""{_WORK}
db = onewriter.open(sys.argv[1], durability="normal")
db.write(work)
db.close()
"""
_IN_A_MIGRATION = f"""{_WORK}
onewriter.open(sys.argv[1], migrations=[onewriter.Migration(1, "slow", work)]).close()
"""


@pytest.mark.parametrize(
    "program", [_IN_A_BLOCK, _IN_A_FUNCTION, _IN_A_MIGRATION], ids=["block", "function", "migration"]
)
def test_another_process_is_named(tmp_path: Path, program: str) -> None:
    """Its number, and for how long it has kept the turn; each call keeps its own deadline, that of 0 too."""
    with opened(tmp_path / "a.db") as db:
        with child(program, db.path) as other:
            other.wait_for("holds")
            for timeout_s in (0.0, SOON_S):
                for call in (
                    lambda: db.execute(INSERT, ("late",), timeout_s=timeout_s),  # noqa: B023 - called at once
                    lambda: db.write(lambda tx: tx.execute(INSERT, ("late",)), timeout_s=timeout_s),  # noqa: B023
                    lambda: db.transaction(timeout_s=timeout_s).__enter__(),  # noqa: B023
                    lambda: db.unsafe_connection(timeout_s=timeout_s).__enter__(),  # noqa: B023
                ):
                    error = late(call)
                    assert (error.held_by, error.pid) == ("process", other.process.pid), str(error)
                    assert f"process {other.process.pid} (" in str(error)
                    assert "has kept the file's write turn for " in str(error)
            other.go_on()
            other.end()
        db.execute(INSERT, ("parent",))
        assert names(db) == ["child", "parent"]


@tells_locks
def test_a_process_that_began_while_it_was_alone_is_named(tmp_path: Path) -> None:
    """It has no turn, and SQLite's lock: the system tells whose that is, and the page that it is one of us."""
    path = tmp_path / "a.db"
    with opened(path):
        pass
    with child(_IN_A_FUNCTION, path) as other:
        other.wait_for("holds")
        with onewriter.open(path) as db:
            error = late(lambda: db.execute(INSERT, ("late",), timeout_s=SOON_S))
            assert (error.held_by, error.pid) == ("process", other.process.pid), str(error)
            with contender(path) as second:  # behind us, who wait for the other
                waits = Call(lambda: late(lambda: db.execute(INSERT, ("late",), timeout_s=1.0)))
                wait_until(lambda: _waits_for_lock(second), "it has the turn, and waits for the lock")
                holder = second.holder()
                assert holder is not None
                assert holder.pid == os.getpid()
                assert waits.result().pid == other.process.pid
            other.go_on()
            other.end()
            db.execute(INSERT, ("parent",))
            assert names(db) == ["child", "parent"]


def _waits_for_lock(looks: Contender) -> bool:
    holder = looks.holder()
    return holder is not None and holder.waits


@pytest.mark.parametrize("alone", [True, False])
def test_another_database_of_the_process_is_its_line(tmp_path: Path, alone: bool) -> None:
    """Also where it began to write before the other was opened, and so has no turn."""
    if alone and not Path("/proc/locks").exists():
        pytest.skip("the system does not tell who has a lock")
    path, steps = tmp_path / "a.db", Steps()

    def work(tx: onewriter.Transaction) -> None:
        tx.execute(INSERT, ("first",))
        steps.mark("holds")
        steps.wait_for("go")

    with opened(path) as first:
        held = Call(lambda: first.write(work)) if alone else None
        if held:
            steps.wait_for("holds")
        with onewriter.open(path) as second:
            if held is None:
                held = Call(lambda: first.write(work))
                steps.wait_for("holds")
            error = late(lambda: second.execute(INSERT, ("late",), timeout_s=SOON_S))
            assert (error.held_by, error.pid) == ("line", os.getpid()), str(error)
            assert "another database object of this process" in str(error)
            steps.mark("go")
            held.result()
            second.execute(INSERT, ("second",))
            assert names(first) == ["first", "second"]


@pytest.mark.parametrize("alone", [True, False])
def test_a_stranger_is_named_and_a_short_one_is_not_noticed(tmp_path: Path, alone: bool) -> None:
    """Past the deadline; where it lets go before, the write is made."""
    with opened(tmp_path / "a.db") as db, Stranger(db.path) as other:
        company = None if alone else take_place(db.path)
        other.run("BEGIN IMMEDIATE")
        error = late(lambda: db.execute(INSERT, ("late",), timeout_s=SOON_S))
        assert (error.held_by, "which is not of onewriter" in str(error)) == ("stranger", True)
        if Path("/proc/locks").exists():
            assert error.pid == other.pid
            assert f"process {other.pid} (" in str(error)
        waits = Call(lambda: db.execute(INSERT, ("one",)))
        wait_until(lambda: db.stats().busy_retries > 1000 or _waits(db), "it waits")
        other.run("COMMIT")
        waits.result()
        assert names(db) == ["one"]
        if company is not None:
            company.leave()


@pytest.mark.parametrize("held_by", ["stranger", "process"])
def test_all_who_come_to_the_end_of_their_time_together_are_told_who_it_was(
    tmp_path: Path, held_by: str
) -> None:
    """Not the first alone, which had the role: those behind it too, who have it for a moment only, or never."""
    with ExitStack() as stack:
        db = stack.enter_context(opened(tmp_path / "a.db"))
        if held_by == "stranger":
            stack.enter_context(Stranger(db.path)).run("BEGIN IMMEDIATE")
        else:
            stack.enter_context(child(_IN_A_BLOCK, db.path)).wait_for("holds")
        calls = [
            Call(call)
            for _ in range(4)
            for call in (
                lambda: late(lambda: db.execute(INSERT, ("late",), timeout_s=SOON_S)),
                lambda: late(lambda: db.write(lambda tx: tx.execute(INSERT, ("late",)), timeout_s=SOON_S)),
                lambda: late(lambda: db.transaction(timeout_s=SOON_S).__enter__()),
                lambda: late(db.submit(lambda tx: tx.execute(INSERT, ("late",)), timeout_s=SOON_S).result),
            )
        ]
        assert [call.result().held_by for call in calls] == [held_by] * 16


def test_who_is_late_as_a_block_has_just_come_to_the_turn_is_told_who_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block has the role, and has not asked for the lock yet, which the one before it has waited for in vain.

    one write          the block             another write
    waits, is late
                       has the role
                                             is late: the stranger
                       asks for the lock: is late
    """
    steps, take = Steps(), Writer.take_turn

    def taken(self: Writer, deadline: float) -> None:
        steps.mark("has the role")
        steps.wait_for("go")
        take(self, deadline)

    with opened(tmp_path / "a.db") as db, Stranger(db.path) as other:
        other.run("BEGIN IMMEDIATE")
        assert late(lambda: db.execute(INSERT, ("late",), timeout_s=SOON_S)).held_by == "stranger"
        monkeypatch.setattr(Writer, "take_turn", taken)
        block = Call(lambda: late(lambda: db.transaction(timeout_s=SOON_S).__enter__()))
        steps.wait_for("has the role")
        assert late(lambda: db.execute(INSERT, ("late",), timeout_s=SOON_S)).held_by == "stranger"
        steps.mark("go")
        assert block.result().held_by == "stranger"


def test_a_stranger_that_has_left_is_not_named_again(tmp_path: Path) -> None:
    """Who is late behind a block of this process is told so, though the last write had waited for a lock in vain."""
    with opened(tmp_path / "a.db") as db:
        with Stranger(db.path) as other:
            other.run("BEGIN IMMEDIATE")
            assert late(lambda: db.execute(INSERT, ("late",), timeout_s=SOON_S)).held_by == "stranger"
        with db.unsafe_connection():
            behind = Call(lambda: late(lambda: db.execute(INSERT, ("late",), timeout_s=SOON_S)))
            assert behind.result().held_by == "line"


def _waits(db: Database) -> bool:
    assert db._core.writer is not None
    return db._core.writer.connection.waits_for_lock


_WRITE_ONE = """
import sys
db = onewriter.open(sys.argv[1], durability="normal")
print("ready", flush=True)
sys.stdin.readline()
db.execute("INSERT INTO item (name) VALUES (?)", (sys.argv[2],))
print("done", flush=True)
sys.stdin.readline()
db.close()
"""


def test_a_process_that_waits_for_a_stranger_is_not_blamed(tmp_path: Path) -> None:
    """It has the turn, but it is the stranger who keeps both waiting."""
    with (
        opened(tmp_path / "a.db") as db,
        contender(db.path) as looks,
        child(_WRITE_ONE, db.path, "child") as other,
        Stranger(db.path) as stranger,
    ):
        other.wait_for("ready")
        stranger.run("BEGIN IMMEDIATE")
        other.go_on()
        wait_until(lambda: _waits_for_lock(looks), "the child waits for the stranger")
        error = late(lambda: db.execute(INSERT, ("late",), timeout_s=SOON_S))
        assert error.held_by == "stranger", str(error)
        assert f"process {other.process.pid} (" in str(error)
        assert "is before this one, and waits for it too" in str(error)
        if Path("/proc/locks").exists():
            assert error.pid == stranger.pid
        stranger.run("ROLLBACK")
        other.wait_for("done")
        db.execute(INSERT, ("parent",))
        assert names(db) == ["child", "parent"]


def test_who_waits_before_us_is_named_between_two_turns(tmp_path: Path) -> None:
    """Nobody has the lock at that moment; it is no stranger all the same."""
    with opened(tmp_path / "a.db") as db, contender(db.path) as other:
        place, words = other._place, other.words
        words[WANTS + place] = 1
        words[368 + place] = time.monotonic_ns()
        error = late(lambda: db.execute(INSERT, ("late",), timeout_s=0.0))
        assert (error.held_by, error.pid) == ("line", os.getpid()), str(error)
        other.give()
        db.execute(INSERT, ("one",), timeout_s=0.0)


# --- who dies, or is stopped

_FORK_IN_A_BLOCK = """
import os, sys, time
db = onewriter.open(sys.argv[1], durability="normal")
db.execute("INSERT INTO item (name) VALUES ('acknowledged')")
with db.transaction() as tx:
    tx.execute("INSERT INTO item (name) VALUES ('not yet')")
    if len(sys.argv) > 2:
        pid = os.fork()
        if pid == 0:
            os.closerange(0, 3)  # whoever started the parent waits for their end
            time.sleep(600)
        with open(sys.argv[2], "w") as file: file.write(str(pid))
    print("holds", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("forks", [False, True])
def test_a_killed_holder_delays_nobody(tmp_path: Path, forks: bool) -> None:
    """Under a second, also where it had forked a child that lives on; what it was told is there, and no more."""
    told = tmp_path / "pid"
    try:
        with opened(tmp_path / "a.db") as db, contender(db.path) as looks:
            with child(_FORK_IN_A_BLOCK, db.path, *([told] if forks else [])) as other:
                other.wait_for("holds")
                waits = Call(lambda: db.execute(INSERT, ("next",)))
                wait_until(lambda: count_waiting(looks) == 1, "it waits")
                began = time.monotonic()
                other.process.kill()
                waits.result()
                assert time.monotonic() - began < 1.0
                other.process.wait(LIMIT_S)
            assert names(db) == ["acknowledged", "next"]
            assert db.check() == []
    finally:
        if forks:
            os.kill(int(told.read_text()), signal.SIGKILL)


def test_a_killed_waiter_is_cleared_away(tmp_path: Path) -> None:
    """The next has the turn though its deadline is now, and finds nobody said to wait."""
    with opened(tmp_path / "a.db") as db, contender(db.path) as looks:
        with child(_WRITE_ONE, db.path, "child") as other:
            other.wait_for("ready")
            with db.transaction() as tx:
                other.go_on()
                wait_until(lambda: count_waiting(looks) == 1, "the child waits")
                other.kill()
                tx.execute(INSERT, ("one",))
            wait_until(lambda: count_waiting(looks) == 1, "what it wrote is still there")
            time.sleep(contenders._ASK_NS / 1e9)  # it is as good as alive for so long
            db.execute(INSERT, ("two",), timeout_s=0.0)
            assert count_waiting(looks) == 0
        assert names(db) == ["one", "two"]


def test_a_stopped_waiter_is_passed_over_and_goes_on(tmp_path: Path) -> None:
    """It keeps its place in the queue, and nobody waits for it; continued, it writes."""
    with opened(tmp_path / "a.db") as db, contender(db.path) as looks:
        with child(_WRITE_ONE, db.path, "child") as other:
            other.wait_for("ready")
            with db.transaction():
                other.go_on()
                wait_until(lambda: count_waiting(looks) == 1, "the child waits")
                other.process.send_signal(signal.SIGSTOP)
                time.sleep(contenders._PASS_NS / 1e9)  # for so long it is waited for
            for number in range(20):
                db.execute(INSERT, (f"{number}",), timeout_s=0.0)
            assert count_waiting(looks) == 1
            other.process.send_signal(signal.SIGCONT)
            other.wait_for("done")
            assert count_waiting(looks) == 0
        assert names(db) == [*map(str, range(20)), "child"]


# --- the side file


def _missing(_side: Path) -> None:
    """Leave it out."""


def _wide(side: Path) -> None:
    side.touch()
    side.chmod(0o666)


def _link(side: Path) -> None:
    (side.parent / "elsewhere").touch()
    side.symlink_to(side.parent / "elsewhere")


def _dangling(side: Path) -> None:
    side.symlink_to(side.parent / "nowhere")


def _folder(side: Path) -> None:
    side.mkdir()


def _pipe(side: Path) -> None:
    os.mkfifo(side)


def _garbage(side: Path) -> None:
    side.write_bytes(random.Random(1).randbytes(4096))


def _text(side: Path) -> None:
    side.write_text("notes")


def _longer(side: Path) -> None:
    side.write_bytes(bytes(4096) + b"x")


def _zeros(side: Path) -> None:
    side.write_bytes(bytes(100))


def _cut(side: Path) -> None:
    with contender(side.with_name("a.db")):
        pass
    os.truncate(side, 512)


def _noise(side: Path) -> None:
    with contender(side.with_name("a.db")):
        pass
    content = side.read_bytes()
    side.write_bytes(content[:16] + random.Random(2).randbytes(len(content) - 16))


GOOD = (_missing, _wide, _zeros, _cut, _noise)
BAD = (_link, _dangling, _folder, _pipe, _garbage, _text, _longer)


@pytest.mark.parametrize("make", [*GOOD, *BAD])
@pytest.mark.parametrize("is_new", [True, False])
def test_whatever_the_side_file_is_writes_go_on(
    tmp_path: Path, make: Callable[[Path], None], is_new: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What is somebody else's is left as it is, and one sentence is logged; what is ours is mended."""
    path, side = tmp_path / "a.db", tmp_path / "a.db-turn"
    if not is_new:
        with opened(path):
            pass
        side.unlink()
    make(side)
    before = side.read_bytes() if side.is_file() else None
    with opened(path) as db:
        with child(_WRITE_ONE, path, "child") as other:
            other.wait_for("ready")
            db.execute(INSERT, ("parent",))
            other.go_on()
            other.wait_for("done")
        assert names(db) == ["parent", "child"]
        if make in GOOD:
            assert (side.stat().st_size, side.stat().st_mode & 0o777) == (8192, 0o600)
            assert caplog.messages == []
        else:
            assert len(caplog.messages) == 1
            assert caplog.messages[0].startswith(f"{side} cannot be used, so that processes")
            assert (side.read_bytes() if side.is_file() else None) == before
        assert db.check() == []


def test_a_full_disk_has_no_room_for_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is written whole or not at all; with room again, the next to open has it."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        path, side = disk / "a.db", disk / "a.db-turn"
        with child(_WRITE_ONE, path, "nothing") as other:  # its SQLite has the -shm open
            with opened(path) as db:
                db.execute(INSERT, ("one",))
            other.wait_for("ready")
            side.unlink()
            filler = disk / "filler"
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            with onewriter.open(path) as db:
                (message,) = caplog.messages
                assert message.startswith(f"{side} cannot be used")
                assert message.endswith("No space left on device")
                filler.unlink()
                db.execute(INSERT, ("two",))
                caplog.clear()
                with onewriter.open(path) as again:
                    again.execute(INSERT, ("three",))
                    assert caplog.messages == []
                    assert side.stat().st_size == 8192
                assert names(db) == ["one", "two", "three"]


_WRITE_LOGGED = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
with onewriter.open(sys.argv[1]) as db:
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
    db.execute("INSERT INTO item (name) VALUES ('one')")
    print(db.query("SELECT name FROM item", into=str))
"""


def test_a_side_file_that_may_not_be_written(tmp_path: Path) -> None:
    """Of another user, or of a mode that somebody gave it."""
    with common_folder() as folder:
        side = folder / "a.db-turn"
        side.touch(mode=0o400)
        if os.geteuid() == 0:
            shutil.chown(side, 65534, 65534)
        printed = as_nobody(_WRITE_LOGGED, folder / "a.db").splitlines()
    assert printed == [
        f"{side} cannot be used, so that processes that write to the database wait in no order: Permission denied",
        "['one']",
    ]


def test_a_platform_without_its_locks(tmp_path: Path) -> None:
    """There SQLite's own locks decide, which is said once a database."""
    program = f"import sys; sys.modules['fcntl'] = None; import onewriter{_WRITE_LOGGED}"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.db")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    first, *rest = done.stdout.splitlines()
    assert first.endswith("wait in no order: this platform has no locks that tell who has them"), done.stderr
    assert rest == ["['one']"]
    assert not (tmp_path / "a.db-turn").exists()


def test_all_places_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One more database writes all the same, and the next who comes when one has left has its place."""
    path = tmp_path / "a.db"
    many = [take_place(path) for _ in range(120)]
    with opened(path) as db:
        db.execute(INSERT, ("one",))
        assert [message.rpartition(": ")[2] for message in caplog.messages] == [
            "120 databases have it open already"
        ]
        for each in many[1:]:
            each.leave()
        with onewriter.open(path) as second:
            second.execute(INSERT, ("two",))
            assert len(caplog.messages) == 1
        assert names(db) == ["one", "two"]
    assert many[0] is not None
    many[0].leave()


def test_a_copied_folder_has_a_turn_of_its_own(tmp_path: Path) -> None:
    """What the copy's page says of who waits and who holds is about others."""
    (tmp_path / "one").mkdir()
    path, copy = tmp_path / "one" / "a.db", tmp_path / "two" / "a.db"
    with opened(path) as db, contender(path) as other:
        assert other.take(0.0)
        waits = Call(lambda: db.execute(INSERT, ("later",)))
        wait_until(lambda: count_waiting(other) == 1, "it waits")
        # By another process: to close a file here would drop this process's locks on it.
        subprocess.run(["cp", "-r", str(path.parent), str(copy.parent)], check=True)
        with onewriter.open(copy) as copied:
            copied.execute(INSERT, ("in the copy",), timeout_s=1.0)
            with onewriter.open(copy) as again:
                again.execute(INSERT, ("in the copy too",), timeout_s=1.0)
            assert names(copied) == ["in the copy", "in the copy too"]
        assert waits.running
        other.give()
        waits.result()
        assert names(db) == ["later"]


def test_a_moved_folder_keeps_its_turn(tmp_path: Path) -> None:
    """Who opens the file at its new place finds the page that those have who opened it at the old one."""
    (tmp_path / "one").mkdir()
    path, moved = tmp_path / "one" / "a.db", tmp_path / "two" / "a.db"
    with opened(path) as db:
        with contender(path) as looks:
            path.parent.rename(moved.parent)
            with child(_IN_A_BLOCK, moved) as other:
                other.wait_for("holds")
                holder = looks.holder()
                assert holder is not None
                assert holder.pid == other.process.pid
                waits = Call(lambda: db.execute(INSERT, ("parent",)))
                wait_until(lambda: count_waiting(looks) == 1, "it waits")
                other.go_on()
                other.end()
                waits.result()
        moved.parent.rename(path.parent)
        assert names(db) == ["child", "parent"]


@pytest.mark.parametrize("how", ["its folder moved", "another put in its place"])
def test_another_file_of_the_name_is_not_taken_for_it(tmp_path: Path, how: str) -> None:
    """Whatever opens one more connection refuses, and neither file has anything of the other."""
    path, others = tmp_path / "one" / "a.db", tmp_path / "other" / "a.db"
    with opened(others) as other:
        other.execute(INSERT, ("other",))
        other.snapshot(tmp_path / "other.db")
    with opened(path) as db:
        db.execute(INSERT, ("ours",))
        if how == "its folder moved":
            path.parent.rename(tmp_path / "moved")
            others.parent.rename(path.parent)
        else:
            (tmp_path / "other.db").replace(path)
        before = path.read_bytes()
        for ask in (
            lambda: names(db),
            db.check,
            db.checkpoint,
            lambda: db.snapshot(tmp_path / "snapshot.db"),
            lambda: db.unsafe_connection().__enter__(),
        ):
            with pytest.raises(onewriter.Error, match="names another file than the one that was opened"):
                ask()
        db.execute(INSERT, ("ours too",))
        if how == "its folder moved":
            _check_told_of(tmp_path / "moved" / "a.db", db)
    assert path.read_bytes() == before
    assert not (tmp_path / "snapshot.db").exists()
    if how == "its folder moved":
        with opened(tmp_path / "moved" / "a.db") as db:
            assert names(db) == ["ours", "ours too"]
        with opened(path) as db:
            assert names(db) == ["other"]


def _check_told_of(place: Path, db: onewriter.Database) -> None:
    """What *db* says of its file, which is at *place* by now, is of that file, whether or not another has its name."""
    wal = place.with_name("a.db-wal").stat().st_size
    assert db.stats().wal_bytes == wal > 0
    with pytest.raises(onewriter.CannotOpen, match=f"which is {place} now; close .* open it again there"):
        db.check()
    db.path.parent.rename(place.parent.with_name("away"))
    assert db.stats().wal_bytes == wal
    with pytest.raises(
        onewriter.CannotOpen, match=f"no such file any more; .* is {place} now; .* again there"
    ):
        db.check()
    place.parent.with_name("away").rename(db.path.parent)


def test_a_deleted_side_file_costs_no_write(tmp_path: Path) -> None:
    """Who opens later has another page; SQLite's lock is what decides."""
    path = tmp_path / "a.db"
    count = 50
    with opened(path) as db, child(_MANY, path, "a", count) as first:
        first.wait_for("ready")
        (tmp_path / "a.db-turn").unlink()
        with child(_MANY, path, "b", count) as second:
            second.wait_for("ready")
            for each in (first, second):
                each.go_on()
            for number in range(count):
                db.execute(INSERT, (f"{number}",))
            for each in (first, second):
                each.end()
        assert db.query_value("SELECT count(DISTINCT name) FROM item") == 5 * count  # two threads each
        assert (tmp_path / "a.db-turn").exists()


_MANY = """
import os, sys, threading
_, path, name, count, *threads = sys.argv
db = onewriter.open(path, durability="normal")
print("ready", flush=True)
sys.stdin.readline()
def work(number):
    for index in range(int(count)):
        row = f"{name}-{number}-{index}"
        if index % 3:
            db.execute("INSERT INTO item (name) VALUES (?)", (row,))
        elif index % 2:
            db.write(lambda tx: tx.execute("INSERT INTO item (name) VALUES (?)", (row,)))
        else:
            with db.transaction() as tx:
                tx.execute("INSERT INTO item (name) VALUES (?)", (row,))
        os.write(1, f"{row}\\n".encode())
workers = [threading.Thread(target=work, args=(number,)) for number in range(int(threads[0]) if threads else 2)]
for worker in workers: worker.start()
for worker in workers: worker.join()
db.close()
"""


# --- who holds it


def test_a_snapshot_holds_up_nobody(tmp_path: Path) -> None:
    """It is made while another has the turn."""
    with opened(tmp_path / "a.db") as db, contender(db.path) as other:
        db.execute(INSERT, ("one",))
        assert other.take(0.0)
        db.snapshot(tmp_path / "b.db")
    assert not (tmp_path / "b.db-turn").exists()
    with onewriter.open(tmp_path / "b.db") as copy:
        assert names(copy) == ["one"]


def test_a_line_that_is_empty_gives_the_turn_up(tmp_path: Path) -> None:
    """After a commit that several shared, as after one alone: nobody else waits for who has nothing to write."""
    with opened(tmp_path / "a.db") as db, contender(db.path) as other:
        for _ in range(5):
            held = Held(db)
            calls = [Call(lambda: db.execute(INSERT, ("one",))), Call(lambda: db.write(lambda _tx: None))]
            held.wait_for(len(calls))
            assert not other.take(0.0)
            held.let_go()
            for call in (held.call, *calls):
                call.result()
            assert db._core.writer is not None
            line = db._core.writer.line
            wait_until(lambda: line.holder is None, "the role is free")  # noqa: B023 - called at once
            assert other.take(0.0)
            other.give()


def test_what_lasts_has_the_turn_also_where_it_is_alone(tmp_path: Path) -> None:
    """So that whoever comes meanwhile sees whom to wait for; at its end it is free."""
    path = tmp_path / "a.db"
    with opened(path) as db:
        blocks = (db.transaction, db.unsafe_connection)
        for block in blocks:
            with block():
                with contender(path) as newcomer:
                    holder = newcomer.holder()
                    assert holder is not None
                    assert holder.pid == os.getpid()
                    assert not newcomer.take(0.0)
            with contender(path) as newcomer:
                assert newcomer.take(0.0)


def test_vacuum_waits_for_its_turn(tmp_path: Path) -> None:
    """And leaves it free."""
    with opened(tmp_path / "a.db") as db, contender(db.path) as other:
        assert other.take(0.0)
        waits = Call(db.vacuum)
        wait_until(lambda: count_waiting(other) == 1, "it waits")
        other.give()
        waits.result()
        assert other.take(0.0)


# --- interrupts


TURN = tuple(f"Contender.{name}" for name in ("ready", "take", "_wait", "_try", "_resume", "rest", "give"))


@pytest.mark.parametrize("kind", ["execute", "block"])
@pytest.mark.parametrize("step", [1, 17])
def test_a_write_that_waits_for_its_turn_may_be_interrupted_anywhere(
    tmp_path: Path, kind: str, step: int, seed: int
) -> None:
    """Another has the turn and lets it go: then all write on, and the turn is free.

    Each bytecode of the turn itself, and every seventeenth of the whole call.
    """

    def block() -> None:
        with db.transaction() as tx:
            tx.execute(INSERT, ("mine",))

    with opened(tmp_path / "a.db") as db, contender(db.path) as other:
        call = block if kind == "block" else lambda: db.execute(INSERT, ("mine",))
        for number in range(1 + seed % step, BYTECODES_MAX, step):
            assert other.take(time.monotonic() + LIMIT_S)
            done: list[None] = []
            giver = Call(lambda: _give_when_wanted(db, other, done), "giver")  # noqa: B023 - it ends in this round
            striker = Striker(number, within=TURN if step == 1 else None)
            raised = striker.run(call)
            assert raised is None or isinstance(raised, Strike), (striker.place, repr(raised))
            del raised
            done.append(None)
            giver.result()
            assert other.take(time.monotonic() + LIMIT_S), striker.place
            assert other.holder() is None
            other.give()
            Call(lambda: db.execute(INSERT, ("another's",))).result()
            db.execute(INSERT, ("after",))
            assert other.take(0.0), striker.place
            other.give()
            assert count_waiting(other) == 0, striker.place
            found = names(db)
            assert found in (["another's", "after"], ["mine", "another's", "after"]), striker.place
            db.execute("DELETE FROM item")
            if not striker.place:
                assert number > 200
                assert found[0] == "mine"
                return
    raise AssertionError("the call never ended")


def _give_when_wanted(db: Database, other: Contender, done: list[None]) -> None:
    assert db._core.writer is not None
    turn = db._core.writer.turn
    assert turn is not None
    wait_until(lambda: bool(turn.waits_since or done), "it is wanted")
    other.give()


# --- all of it


class Writers:
    """Processes that write, each with three threads, and tell of each row once it is acknowledged."""

    def __init__(self, path: Path, number: int, count: int) -> None:
        """Start them; they begin together."""
        self.all = [Child(_MANY, path, f"c{index}", count, 3) for index in range(number)]
        for each in self.all:
            each.wait_for("ready")
        self._told = [Call(partial(each.process.communicate, "go\n")) for each in self.all]

    @property
    def running(self) -> bool:
        """Whether any of them still is."""
        return any(call.running for call in self._told)

    def kill(self, pid: int | None) -> bool:
        """Kill the one of that number; False where there is none."""
        found = [each for each in self.all if each.process.pid == pid and each.process.poll() is None]
        for each in found:
            each.process.kill()
        return bool(found)

    def acknowledged(self) -> set[str]:
        """Wait for their end, and return what they have told."""
        return {name for call in self._told for name in call.result()[0].splitlines()}

    def end(self) -> None:
        """Kill what is left."""
        for each in self.all:
            each.process.kill()
        for call in self._told:
            call.result()
        for each in self.all:
            each.process.wait(LIMIT_S)


def test_nothing_acknowledged_is_lost_where_holders_are_killed(tmp_path: Path, seed: int) -> None:
    """Whoever has the turn at some moment is killed, twice; the others go on within a second."""
    chance = random.Random(seed)
    path, killed = tmp_path / "a.db", 0
    with opened(path) as db, contender(path) as looks:
        writers = Writers(path, 3, count=200)
        try:
            for _ in range(2):
                time.sleep(chance.uniform(0.0, 0.05))
                began = -1.0
                while began < 0 and writers.running:
                    holder = looks.holder()
                    if holder is not None and writers.kill(holder.pid):
                        began = time.monotonic()
                        db.execute(INSERT, ("here",))
                        assert time.monotonic() - began < 1.0
                        killed += 1
            acknowledged = writers.acknowledged()
            assert sorted(each.process.wait(LIMIT_S) for each in writers.all) == [-9, -9, 0]
        finally:
            writers.end()
        found = [name for name in names(db) if name != "here"]
        assert (killed, len(acknowledged) >= 3 * 200) == (2, True)
        assert acknowledged <= set(found)
        assert len(found) == len(set(found))
        assert len(set(found) - acknowledged) <= 3 * killed  # committed, and killed before it said so
        assert db.check() == []


def test_the_processes_share_the_time(tmp_path: Path) -> None:
    """Each writes all along: none is done before another has had a part."""
    path, count = tmp_path / "a.db", 100
    with opened(path) as db:
        children = [Child(_MANY, path, f"c{number}", count) for number in range(3)]
        try:
            for each in children:
                each.wait_for("ready")
            for each in children:
                each.go_on()
            for each in children:
                each.end()
        finally:
            for each in children:
                each.kill()
        order = [name.partition("-")[0] for name in names(db)]
        firsts = {name: order.index(name) for name in set(order)}
        first_done = min(len(order) - order[::-1].index(name) for name in firsts)
        assert len(firsts) == 3
        assert max(firsts.values()) < first_done


def test_the_log_is_quiet_where_all_is_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said of turns."""
    caplog.set_level(logging.DEBUG)
    with opened(tmp_path / "a.db"), onewriter.open(tmp_path / "a.db", config=Config()) as db:
        db.execute(INSERT, ("one",))
    assert caplog.messages == []
