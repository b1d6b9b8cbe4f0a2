"""Other processes at the same file: forked children, many that start at once, strangers."""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext
from pathlib import Path
from typing import Literal

import pytest

import onewriter
from onewriter import Database, ForkedDatabase, Migration, MisuseError, WriteTimeout, forks
from tests.support.children import child, forked, together
from tests.support.databases import Held
from tests.support.steps import LIMIT_S
from tests.support.stranger import Stranger, may_write

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def make(path: Path) -> Database:
    """Open a database with one table."""
    db = onewriter.open(path)
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
    return db


def test_a_forked_child_may_use_nothing_of_its_parent(tmp_path: Path) -> None:
    """Every call is refused at once; closing does nothing."""
    with make(tmp_path / "a.db") as db:

        def use() -> list[str]:
            told: list[str] = []
            for call in (
                lambda: db.execute("INSERT INTO item (name) VALUES ('child')"),
                lambda: db.write(lambda _: None),
                lambda: db.query("SELECT 1"),
                lambda: db.read(lambda _: None),
                lambda: db.migrate([]),
                db.schema_version,
                lambda: db.snapshot(tmp_path / "s.db"),
                db.check,
                lambda: db.transaction().__enter__(),
            ):
                try:
                    call()
                except ForkedDatabase as error:
                    told.append(error.ran)
            db.close()
            return told

        assert forked(use) == ["no"] * 9
        db.execute("INSERT INTO item (name) VALUES ('parent')")
        assert db.query("SELECT name FROM item") == [("parent",)]
        assert db.check() == []


def test_the_end_of_a_child_changes_nothing(tmp_path: Path) -> None:
    """Also of one that runs Python's own end: the parent keeps its locks and its WAL."""
    with make(tmp_path / "a.db") as db:
        with db.transaction() as tx:
            tx.execute("INSERT INTO item (name) VALUES ('one')")
            pid = os.fork()
            if pid == 0:
                raise SystemExit(_leave(db))
            assert os.waitpid(pid, 0)[1] == 0
            assert not may_write(db.path)
        assert db.query_value("SELECT count(*) FROM item") == 1
        assert db.check() == []


def _leave(db: Database) -> int:
    del db
    import gc  # noqa: PLC0415 - of the child alone

    gc.collect()
    os._exit(0)


_FORK_AND_END = """
import os, sys
import onewriter
db = onewriter.open(sys.argv[1])
db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
db.query("SELECT * FROM item")
if os.fork() == 0:
    sys.exit()
assert os.wait()[1] == 0
print("forked", flush=True)
sys.stdin.readline()
db.execute("INSERT INTO item (name) VALUES ('parent')")
"""


def test_pythons_own_end_in_a_child_closes_no_handle(tmp_path: Path) -> None:
    """The interpreter collects everything then; the file stays the parent's."""
    path = tmp_path / "a.db"
    with child(_FORK_AND_END, path) as other:
        other.wait_for("forked")
        assert (tmp_path / "a.db-wal").stat().st_size > 0
        other.go_on()
        other.end()
    with onewriter.open(path) as db:
        assert db.query("SELECT name FROM item") == [("parent",)]


_FORK_AND_OPEN = """
import os, sys
import onewriter
db = onewriter.open(sys.argv[1])
db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
db.query("SELECT * FROM item")
with db.read_transaction() as tx:
    pid = os.fork()
    if pid == 0:
        with onewriter.open(sys.argv[1]) as mine:
            mine.execute("INSERT INTO item (name) VALUES ('one')")
            with mine.read_transaction() as reading:
                before = reading.query_value("SELECT count(*) FROM item")
                print("opened", flush=True)
                sys.stdin.readline()
                assert reading.query_value("SELECT count(*) FROM item") == before
            mine.execute("INSERT INTO item (name) VALUES ('two')")
        os._exit(0)
db.execute("INSERT INTO item (name) VALUES ('parent')")
db.close()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_child_that_opens_the_file_itself_holds_locks_of_its_own(tmp_path: Path) -> None:
    """SQLite's account of locks, which the child inherits, would have it go without: its WAL was deleted under it.

    child                               parent                          this process
    opens, writes, reads
                                        writes, closes
                                                                        opens, writes, closes: the WAL stays
    reads the same snapshot, writes
    closes
                                                                        finds every write
    """
    path = tmp_path / "a.db"
    with child(_FORK_AND_OPEN, path) as other:
        other.wait_for("opened")
        with onewriter.open(path) as db:
            db.execute("INSERT INTO item (name) VALUES ('other')")
        assert (tmp_path / "a.db-wal").exists()
        other.go_on()
        other.end()
    with onewriter.open(path) as db:
        assert sorted(db.query("SELECT name FROM item", into=str)) == ["one", "other", "parent", "two"]
        assert db.check() == []


_FORKS_WHILE_ANOTHER_LOADS = """
import os, sys, threading, time
from onewriter import futexes
db = onewriter.open(sys.argv[1])
assert "ctypes" not in sys.modules
loads, may_go_on = threading.Event(), threading.Event()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "_ctypes" and threading.current_thread() is other:
            loads.set()
            may_go_on.wait()
sys.meta_path.insert(0, Slow())
other = threading.Thread(target=futexes._futex)  # as whoever waits for another process does
other.start()
loads.wait()
threading.Timer(0.2, may_go_on.set).start()
pid = os.fork()
if pid == 0:
    os._exit(0)
until = time.monotonic() + 10
while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
    time.sleep(0.01)
if ended == (0, 0):
    os.kill(pid, 9)
print("ended" if ended == (pid, 0) else "hangs")
"""


def test_a_child_forked_while_a_thread_loads_what_it_needs_comes_out_of_the_fork(tmp_path: Path) -> None:
    """Python's lock of a module that is half loaded stays locked in the child, where nobody opens it."""
    with child(
        "import warnings; warnings.simplefilter('ignore')\n" + _FORKS_WHILE_ANOTHER_LOADS, tmp_path / "a.db"
    ) as program:
        assert program.end() == "ended\n"


def test_a_child_forked_in_the_middle_of_a_write_may_not_open_the_file(tmp_path: Path) -> None:
    """What it inherited says that the write lock is taken, for ever; another file it may open."""
    with make(tmp_path / "a.db") as db:
        held = Held(db)

        def open_both() -> object:
            with make(tmp_path / "b.db"):
                pass
            onewriter.open(tmp_path / "a.db")
            return "opened"

        with pytest.raises(ForkedDatabase, match="forked while a thread of its parent was writing") as caught:
            forked(open_both)
        assert caught.value.ran == "no"
        held.let_go()
        held.call.result()
        assert (tmp_path / "b.db").exists()
        assert forked(lambda: onewriter.open(tmp_path / "a.db").query("SELECT name FROM item")) == [("held",)]


_FORKS_WITH_A_MUTEX_HELD = """
import os, sys, time
from pathlib import Path
import onewriter
from onewriter import forks, trials
trials.WAIT_S = 0.2
class Stuck:  # as SQLite's close is where a thread of the parent had the mutex of its allocator
    path, inherited = Path("elsewhere"), False
    def is_engaged(self): return False
    def shed(self):
        while True: time.sleep(1)
stuck = Stuck()
db = onewriter.open(sys.argv[1])
forks.register_handle(stuck)
pid = os.fork()
if pid == 0:
    for open in (onewriter.open, lambda path: onewriter.restore("none", path)):
        try:
            open(sys.argv[1])
        except onewriter.ForkedDatabase as error:
            print(error.ran, error, flush=True)
    os._exit(0)
until = time.monotonic() + 10
while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
    time.sleep(0.01)
if ended == (0, 0):
    os.kill(pid, 9)
    print("hangs")
db.execute("CREATE TABLE item (name TEXT)")
"""


def test_a_child_that_would_wait_for_a_mutex_for_ever_is_told_so(tmp_path: Path) -> None:
    """A thread of its parent had it at the fork; nothing that could wait is done in the child itself."""
    with child(_FORKS_WITH_A_MUTEX_HELD, tmp_path / "a.db") as program:
        told = program.end().splitlines()
    assert len(told) == 2
    assert all(each.startswith(f"no cannot open {tmp_path / 'a.db'} in this process") for each in told)
    assert all("while a thread of its parent was inside SQLite" in each for each in told)


_FORKS_IN_THE_FIRST_OPENING = """
import os, sys, threading, time
import apsw, onewriter
from onewriter import forks, trials
trials.WAIT_S = 0.2
forks.register_pass(lambda: time.sleep(100))  # as one is where a thread of the parent had the mutex at the fork
inside, may_go_on = threading.Event(), threading.Event()
def hook(connection):
    inside.set()
    may_go_on.wait(20)
apsw.connection_hooks.append(hook)
opens = threading.Thread(target=lambda: onewriter.open(sys.argv[1]).close())
opens.start()
inside.wait(20)
if os.fork() == 0:
    apsw.connection_hooks.clear()
    try:
        onewriter.open(sys.argv[1] + "-other")
    except onewriter.ForkedDatabase as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
may_go_on.set()
opens.join()
"""


def test_a_child_forked_in_the_middle_of_the_first_opening_tries_too(tmp_path: Path) -> None:
    """It has inherited no handle yet, and the mutexes of who was making one."""
    with child(
        "import warnings; warnings.simplefilter('ignore')\n" + _FORKS_IN_THE_FIRST_OPENING, tmp_path / "a.db"
    ) as program:
        assert "while a thread of its parent was inside SQLite" in program.end()


def test_what_a_signal_handler_raises_in_a_child_that_opens_is_heard(tmp_path: Path) -> None:
    """Not taken for a trial that cannot be made, though a TimeoutError is an OSError."""

    def give_up(_number: int, _frame: object) -> None:
        raise TimeoutError("the program's own")

    def open_it() -> object:
        signal.signal(signal.SIGUSR1, give_up)
        forks.register_pass(lambda: os.kill(os.getppid(), signal.SIGUSR1))  # called in the copy
        try:
            onewriter.open(tmp_path / "a.db")
        except TimeoutError as error:
            return str(error)
        return "opened"

    with onewriter.open(tmp_path / "a.db"):
        assert forked(open_it) == "the program's own"


_FORKS_AND_COUNTS = """
import os, signal, sys
import onewriter
db = onewriter.open(sys.argv[1])
db.execute("CREATE TABLE item (name TEXT)")
def hook():  # as a server's that opens in each child
    os.write(1, b"hook\\n")
    with onewriter.open(sys.argv[1]) as mine:
        mine.execute("INSERT INTO item VALUES ('hook')")
os.register_at_fork(after_in_child=hook)
out = os.fdopen(os.dup(1), "w", buffering=9999)
out.write("buffered\\n")
signal.signal(signal.SIGCHLD, signal.SIG_IGN if sys.argv[2] == "ignored" else signal.SIG_DFL)
pid = os.fork()
if pid == 0:
    with onewriter.open(sys.argv[1]) as mine:
        mine.execute("INSERT INTO item VALUES ('child')")
    os._exit(0)
try:
    assert os.waitpid(pid, 0)[1] == 0
except ChildProcessError:
    pass
print(db.query("SELECT name FROM item", into=str), file=out, flush=True)
"""


@pytest.mark.parametrize("reaping", ["by us", "ignored"])
def test_what_is_tried_before_a_child_opens_runs_nothing_else(tmp_path: Path, reaping: str) -> None:
    """No hook of a fork, no second flush of what was printed; whoever reaps the program's children."""
    with child(_FORKS_AND_COUNTS, tmp_path / "a.db", reaping) as program:
        assert program.end() == "hook\nbuffered\n['hook', 'child']\n"


_FORKS_BESIDE_BUSY_THREADS = """
import os, signal, sys, threading
import onewriter
from onewriter import trials
trials.WAIT_S = 0.2
db = onewriter.open(sys.argv[1], durability="normal")
db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
def work(number):
    while True:
        db.execute("INSERT INTO item (name) VALUES (?)", (str(number),))
        db.query("SELECT * FROM item ORDER BY random() LIMIT 200")
for number in range(6):
    threading.Thread(target=work, args=(number,), daemon=True).start()
seen = set()
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # it ends a thread that waits inside SQLite too
        try:
            onewriter.open(sys.argv[1] + sys.argv[2]).close()
        except onewriter.ForkedDatabase:
            os._exit(1)
        os._exit(0)
    seen.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(seen <= {0, 1} or seen, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("other", ["", "-other"])
def test_children_forked_beside_busy_threads_open_or_are_refused(tmp_path: Path, other: str) -> None:
    """The parent's own file, or another: none of them hangs (it was about one in a hundred)."""
    with child(
        "import warnings; warnings.simplefilter('ignore')\n" + _FORKS_BESIDE_BUSY_THREADS,
        tmp_path / "a.db",
        other,
    ) as program:
        assert program.end() == "True\n"


# --- multiprocessing

CONTEXTS: dict[str, ForkContext | SpawnContext | ForkServerContext] = {
    "fork": multiprocessing.get_context("fork"),
    "spawn": multiprocessing.get_context("spawn"),
    "forkserver": multiprocessing.get_context("forkserver"),
}
MIGRATIONS = (
    Migration(1, "item", "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)"),
    Migration(2, "first", "INSERT INTO item (name) VALUES ('migrated')"),
)


def _open_and_insert(path: Path, name: str) -> None:
    with onewriter.open(path, migrations=MIGRATIONS) as db:
        db.execute("INSERT INTO item (name) VALUES (?)", (name,))
        assert (name,) in db.query("SELECT name FROM item")


def _submit_and_forget(path: Path, name: str) -> None:
    global forgotten  # noqa: PLW0603 - as a worker keeps its database
    forgotten = onewriter.open(path, migrations=MIGRATIONS)
    for number in range(50):
        forgotten.submit(partial(_insert, f"{name} {number}"))


def _insert(name: str, tx: onewriter.Transaction) -> None:
    tx.execute("INSERT INTO item (name) VALUES (?)", (name,))


forgotten: Database | None = None


def _in_children(method: str, work: Callable[[Path, str], None], path: Path) -> None:
    """Do *work* in three children at once, each of which must end well."""
    context = CONTEXTS[method]
    children = [context.Process(target=work, args=(path, f"child {number}")) for number in range(3)]
    for each in children:
        each.start()
    try:
        for each in children:
            each.join(LIMIT_S)
            assert each.exitcode == 0
    finally:
        for each in children:
            each.kill()
            each.join(LIMIT_S)
            each.close()


@pytest.mark.parametrize("method", CONTEXTS)
@pytest.mark.parametrize("when", ["before", "never"])
def test_children_of_multiprocessing_open_for_themselves(
    tmp_path: Path, method: str, when: Literal["before", "never"]
) -> None:
    """All at once, whether or not the parent has the file open; each migration runs once."""
    path = tmp_path / "a.db"
    told = ["child 0", "child 1", "child 2", "migrated"]
    if when == "before":
        with onewriter.open(path, migrations=MIGRATIONS) as db, db.read_transaction():
            _in_children(method, _open_and_insert, path)
            db.execute("INSERT INTO item (name) VALUES ('parent')")
        told.append("parent")
    else:
        _in_children(method, _open_and_insert, path)
    with onewriter.open(path) as db:
        assert sorted(db.query("SELECT name FROM item", into=str)) == told
        assert db.check() == []


@pytest.mark.parametrize("method", CONTEXTS)
def test_what_a_child_of_multiprocessing_submitted_is_done_at_its_end(tmp_path: Path, method: str) -> None:
    """A forked one never comes to Python's own end, where an open database is closed."""
    _in_children(method, _submit_and_forget, tmp_path / "a.db")
    with onewriter.open(tmp_path / "a.db") as db:
        assert db.query_value("SELECT count(*) FROM item") == 1 + 3 * 50


def test_a_database_is_not_sent_to_another_process(tmp_path: Path) -> None:
    """Nor copied; it says what to do instead."""
    with make(tmp_path / "a.db") as db:
        process = CONTEXTS["spawn"].Process(target=id, args=(db,))
        for send in (process.start, lambda: copy.copy(db)):
            with pytest.raises(MisuseError, match="open the file there"):
                send()


# --- a server that forks its workers


def _serve(listener: socket.socket, path: Path, inherited: Database | None) -> None:
    """Answer two requests, each by a write and a read, in a worker; *inherited* is of no use to it."""
    if inherited is not None:
        with pytest.raises(ForkedDatabase):
            inherited.query("SELECT 1")
    with onewriter.open(path) as db:
        for _ in range(2):
            connection, _address = listener.accept()
            with connection:
                db.execute("INSERT INTO item (name) VALUES (?)", (str(os.getpid()),))
                name = db.query_value("SELECT name FROM item ORDER BY id DESC", into=str)
                connection.sendall(name.encode())


@pytest.mark.parametrize("opened_before", [False, True])
def test_a_server_that_forks_its_workers(tmp_path: Path, opened_before: bool) -> None:
    """The parent binds and migrates, each worker opens; a parent that has the database open goes on with its own."""
    path = tmp_path / "a.db"
    parents = onewriter.open(path, migrations=MIGRATIONS)
    if not opened_before:
        parents.close()
    workers: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_S)
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    _serve(listener, path, parents if opened_before else None)
                    status = 0
                finally:
                    os._exit(status)
            workers.append(pid)
        answers: list[str] = []
        for _ in range(2 * len(workers)):
            with socket.create_connection(listener.getsockname(), LIMIT_S) as asked:
                answers.append(asked.recv(100).decode())
            if opened_before:
                parents.execute("INSERT INTO item (name) VALUES ('parent')")
    assert [os.waitpid(pid, 0)[1] for pid in workers] == [0, 0, 0]
    assert len(answers) == 6
    parents.close()
    with onewriter.open(path) as db:
        assert db.query_value("SELECT count(*) FROM item") == 1 + 6 + 6 * opened_before
        assert db.check() == []


# --- many at once

_COUNT = """
import sys, threading
import onewriter
print("ready", flush=True)
sys.stdin.readline()
db = onewriter.open(sys.argv[1], durability="normal", migrations=[
    onewriter.Migration(1, "count", "CREATE TABLE count (n INTEGER NOT NULL); INSERT INTO count VALUES (0)")])
def work():
    for _ in range(25):
        db.execute("UPDATE count SET n = n + 1")
        db.write(lambda tx: tx.execute("UPDATE count SET n = ?", (tx.query_value("SELECT n FROM count") + 1,)))
        db.query("SELECT n FROM count")
for _ in range(3):
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    db.close()
    db = onewriter.open(sys.argv[1], durability="normal")
db.close()
"""


def test_many_processes_lose_no_write_and_hear_of_no_lock(tmp_path: Path) -> None:
    """They open, migrate, write with four threads each, close and open again, all at once."""
    path = tmp_path / "new" / "a.db"
    assert together(_COUNT, 4, path) == [""] * 4
    with onewriter.open(path) as db:
        assert db.query_value("SELECT n FROM count") == 4 * 3 * 4 * 25 * 2
        assert db.check() == []


def test_a_stranger_that_keeps_the_lock_is_named(tmp_path: Path) -> None:
    """Past the deadline nothing ran; readers are not concerned; once it has let go, all is well."""
    with make(tmp_path / "a.db") as db, Stranger(db.path) as other:
        other.run("BEGIN IMMEDIATE")
        other.run("INSERT INTO item (name) VALUES ('stranger')")
        for call in (
            lambda: db.execute("INSERT INTO item (name) VALUES ('one')", timeout_s=0.05),
            lambda: db.write(lambda tx: tx.execute("DELETE FROM item"), timeout_s=0.05),
            lambda: db.transaction(timeout_s=0.05).__enter__(),
        ):
            with pytest.raises(WriteTimeout) as caught:
                call()
            assert (caught.value.held_by, caught.value.ran) == ("stranger", "no")
        assert db.query("SELECT * FROM item") == []
        other.run("COMMIT")
        db.execute("INSERT INTO item (name) VALUES ('two')")
        assert db.query("SELECT name FROM item", into=str) == ["stranger", "two"]


_DIE = """
import sys
import onewriter
db = onewriter.open(sys.argv[1])
db.execute("INSERT INTO item (name) VALUES ('acknowledged')")
with db.transaction() as tx:
    tx.execute("INSERT INTO item (name) VALUES ('not yet')")
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_a_process_that_dies_in_a_write_leaves_what_it_was_told(tmp_path: Path) -> None:
    """And no lock behind."""
    with make(tmp_path / "a.db") as db:
        with child(_DIE, db.path) as other:
            other.wait_for("open")
            other.kill()
        db.execute("INSERT INTO item (name) VALUES ('next')")
        assert db.query("SELECT name FROM item", into=str) == ["acknowledged", "next"]
        assert db.check() == []
