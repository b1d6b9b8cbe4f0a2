"""Ctrl-C in the main thread: the line goes on, and nothing is half-done. Each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WAITING = """
import signal, threading
import onewriter
from tests.support.databases import Held, names, open_items
from tests.support.steps import Call

with open_items({folder!r}) as db:
    held = Held(db)
    def interrupt():
        held.wait_for(1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    interrupting = Call(interrupt)
    try:
        {call}
    except KeyboardInterrupt:
        print("interrupted")
    interrupting.result()
    after = Call(lambda: db.execute("INSERT INTO item (name) VALUES ('after')"))
    held.wait_for(1)
    held.let_go()
    held.call.result()
    after.result()
    print(names(db))
"""

WORKING = """
import signal, threading
import onewriter
from tests.support.databases import names, open_items
from tests.support.steps import Call

with open_items({folder!r}) as db:
    def work(tx):
        tx.execute("INSERT INTO item (name) VALUES ('undone')")
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        for _ in range(10_000_000):
            pass
    try:
        {call}
    except KeyboardInterrupt:
        print("interrupted")
    Call(lambda: db.execute("INSERT INTO item (name) VALUES ('after')")).result()
    print(names(db))
"""

STATEMENT = """
import signal, threading
import onewriter
from onewriter import Config
from tests.support.databases import names, open_items
from tests.support.steps import Call, wait_until

with open_items({folder!r}, Config()) as db:
    def interrupt():
        wait_until(lambda: db._core.writer.line.holder, "the role")
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    long = Call(interrupt)
    try:
        db.execute(
            "INSERT INTO item (name) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000) "
            "SELECT 'n' || i FROM n WHERE i % 1000000 = 0"
        )
    except KeyboardInterrupt:
        print("interrupted")
    long.result()
    Call(lambda: db.execute("INSERT INTO item (name) VALUES ('after')")).result()
    print(names(db)[-1], db.stats().pending, db.check())
"""


# A shell has what it starts in the background ignore Ctrl-C, and that is inherited.
MINDFUL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def _run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MINDFUL + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "call",
    [
        "db.execute(\"INSERT INTO item (name) VALUES ('never')\")",
        "db.write(lambda tx: tx.execute(\"INSERT INTO item (name) VALUES ('never')\"))",
        "db.transaction().__enter__()",
    ],
    ids=["execute", "write", "transaction"],
)
def test_a_wait_that_is_interrupted_leaves_the_line(tmp_path: Path, call: str) -> None:
    """Nothing of it runs, and those behind it are served."""
    output = _run(
        WAITING.format(folder=tmp_path, call=call).replace("PosixPath", "__import__('pathlib').Path")
    )
    assert output.splitlines() == ["interrupted", "['held', 'after']"]


@pytest.mark.parametrize(
    "call",
    ["db.write(work)", "db.write(work, alone=True)", "with db.transaction() as tx: work(tx)"],
    ids=["write", "alone", "transaction"],
)
def test_a_function_that_is_interrupted_is_undone(tmp_path: Path, call: str) -> None:
    """The interrupt is its exception like any other, and the role goes on."""
    output = _run(
        WORKING.format(folder=tmp_path, call=call).replace("PosixPath", "__import__('pathlib').Path")
    )
    assert output.splitlines() == ["interrupted", "['after']"]


def test_an_interrupt_during_a_statement_ends_it_or_comes_after_it(tmp_path: Path) -> None:
    """It is raised once SQLite returns; the line is free and the file sound."""
    output = _run(STATEMENT.format(folder=tmp_path).replace("PosixPath", "__import__('pathlib').Path"))
    assert output.splitlines() == ["interrupted", "after 0 []"]
