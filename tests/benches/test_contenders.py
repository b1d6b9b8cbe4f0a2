"""Each contender does what the suite believes of it: else a comparison with it says nothing.

What it acknowledged is looked for from another process, while it still has the file open: two SQLites of one process
that open the same file drop each other's locks.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from bench import contenders
from bench.contenders import About, Can
from bench.contenders.base import Rows, Session, Statements, TaskSession
from onewriter.config import Durability
from tests.benches import each_of
from tests.house import ROOT

CREATE = "CREATE TABLE small (id INTEGER PRIMARY KEY, body TEXT NOT NULL)"
INSERT = "INSERT INTO small (body) VALUES (?)"
LEVELS: dict[Durability, int] = {"full": 2, "normal": 1}
LIMIT_S = 30.0

LOOK = """
import json, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
found = [body for body, in connection.execute("SELECT body FROM small ORDER BY id")]
print(json.dumps([found, *connection.execute("PRAGMA journal_mode").fetchone()]))
"""
WRITE = """
import pathlib, sys
from bench import contenders
with contenders.ALL[sys.argv[1]].contender().opened(pathlib.Path(sys.argv[2]), "normal") as opened:
    with opened() as session:
        for number in range(20):
            session.execute("INSERT INTO small (body) VALUES (?)", (str(number),))
"""
PEERS = (
    "aiosqlite",
    "aiosqlitepool",
    "apsw.aio",
    "datasette",
    "peewee",
    "playhouse",
    "sqlalchemy",
    "sqlite3",
)
IMPORT = (
    f"import sys, bench.contenders, bench.loads; print([name for name in {PEERS} if name in sys.modules])"
)

Use = Callable[[Session], object]
UseOfATask = Callable[[TaskSession], Awaitable[object]]


def who_can(ability: Can) -> pytest.MarkDecorator:
    """Run a test with each that is no limit and has the *ability*."""
    return each_of(each for each in contenders.ALL.values() if ability in each.can and not each.limit)


def run(code: str, *given: str) -> str:
    """Return what *code* prints in a process of its own."""
    command = [sys.executable, "-c", code, *given]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, cwd=ROOT
    ).stdout


def bodies(path: Path) -> list[str]:
    """Return what the file has, as the plain standard library reads it in another process, with WAL."""
    found, mode = json.loads(run(LOOK, str(path)))
    assert mode == "wal"
    return cast("list[str]", found)


def in_session(about: About, path: Path, use: Use, durability: Durability = "full") -> None:
    """Call *use* with the access of a thread to a file that has a table."""
    with about.contender().opened(path, durability) as opened, opened() as session:
        session.execute(CREATE, ())
        use(session)


def in_task(about: About, path: Path, use: UseOfATask, durability: Durability = "full") -> None:
    """Await *use* with the access of a task to a file that has a table."""

    async def main() -> None:
        async with (
            asyncio.timeout(LIMIT_S),
            about.contender().opened_for_tasks(path, durability) as opened,
            opened() as session,
        ):
            await session.execute(CREATE, ())
            await use(session)

    asyncio.run(main())


def test_no_library_is_imported_before_its_contender() -> None:
    """Nobody's memory and time has another's library in it."""
    assert run(IMPORT).strip() == "[]"


@each_of(contenders.ALL.values())
def test_its_facts_are_facts(about: About) -> None:
    """Its library is there, and has a version."""
    assert about.contender().version()
    assert run(f"import {about.library}") == ""
    assert about is contenders.ALL[about.key]
    assert about.can


@who_can(Can.EXECUTE)
def test_a_statement_is_committed_when_it_returns(about: About, tmp_path: Path) -> None:
    """And one that fails raises, and leaves nothing."""
    path = tmp_path / "a.db"

    def use(session: Session) -> None:
        session.execute(INSERT, ("one",))
        with pytest.raises(Exception, match=r"NOT NULL|not null"):
            session.execute(INSERT, (None,))
        assert bodies(path) == ["one"]
        session.execute(INSERT, ("two",))

    in_session(about, path, use)
    assert bodies(path) == ["one", "two"]


@who_can(Can.WRITE)
def test_a_function_is_a_transaction(about: About, tmp_path: Path) -> None:
    """It is all there, or nothing of it is."""
    path = tmp_path / "a.db"

    def both(tx: Statements) -> object:
        tx.execute(INSERT, ("one",))
        tx.execute(INSERT, ("two",))
        [[count]] = tx.query("SELECT count(*) FROM small", ())
        return count

    def half(tx: Statements) -> None:
        tx.execute(INSERT, ("three",))
        tx.execute(INSERT, (None,))

    def use(session: Session) -> None:
        assert session.write(both) == 2
        with pytest.raises(Exception, match=r"NOT NULL|not null"):
            session.write(half)
        assert bodies(path) == ["one", "two"]

    in_session(about, path, use)


@who_can(Can.QUERY)
def test_a_query_returns_rows(about: About, tmp_path: Path) -> None:
    """What was written a moment ago is in them."""

    def use(session: Session) -> None:
        session.execute(INSERT, ("one",))
        assert _plain(session.query("SELECT id, body FROM small WHERE id = ?", (1,))) == [(1, "one")]

    in_session(about, tmp_path / "a.db", use)


@who_can(Can.MANY)
def test_many_are_one_transaction(about: About, tmp_path: Path) -> None:
    """All are there, or none is."""
    path = tmp_path / "a.db"

    def use(session: Session) -> None:
        session.many(INSERT, [("one",), ("two",)])
        with pytest.raises(Exception, match=r"NOT NULL|not null"):
            session.many(INSERT, [("three",), (None,)])
        assert bodies(path) == ["one", "two"]

    in_session(about, path, use)


@who_can(Can.SUBMIT)
def test_what_is_submitted_is_committed_when_its_outcome_is_there(about: About, tmp_path: Path) -> None:
    """Its result is waited for."""
    path = tmp_path / "a.db"

    def use(session: Session) -> None:
        session.submit(lambda tx: tx.execute(INSERT, ("one",))).result()
        assert bodies(path) == ["one"]

    in_session(about, path, use)


@who_can(Can.TASKS)
def test_a_task_does_the_same(about: About, tmp_path: Path) -> None:
    """A statement is committed when it returns; one that fails raises, and leaves nothing; many tasks do no harm."""
    path = tmp_path / "a.db"

    async def use(session: TaskSession) -> None:
        await session.execute(INSERT, ("one",))
        with pytest.raises(Exception, match=r"NOT NULL|not null"):
            await session.execute(INSERT, (None,))
        assert bodies(path) == ["one"]
        assert _plain(await session.query("SELECT id, body FROM small WHERE id = ?", (1,))) == [(1, "one")]
        await asyncio.gather(*(session.execute(INSERT, ("more",)) for _ in range(20)))

    in_task(about, path, use)
    assert bodies(path) == ["one", *["more"] * 20]


@who_can(Can.PROCESSES)
def test_processes_share_a_file(about: About, tmp_path: Path) -> None:
    """What each of them acknowledged is there."""
    path = tmp_path / "a.db"

    def use(session: Session) -> None:
        command = [sys.executable, "-c", WRITE, about.key, str(path)]
        others = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
        session.execute(INSERT, ("one",))
        assert [each.wait(LIMIT_S) for each in others] == [0, 0]

    in_session(about, path, use)
    assert sorted(bodies(path)) == sorted(["one", *map(str, range(20)), *map(str, range(20))])


@pytest.mark.parametrize("durability", LEVELS)
@who_can(Can.QUERY)
def test_the_durability_is_what_was_asked_for(about: About, durability: Durability, tmp_path: Path) -> None:
    """As the connection says that writes."""

    def use(session: Session) -> None:
        if Can.WRITE in about.can:
            found = session.write(lambda tx: tx.query("PRAGMA synchronous", ()))
        else:
            found = session.query("PRAGMA synchronous", ())  # which this one sends to its thread that writes
        assert _plain(cast("Rows", found)) == [(LEVELS[durability],)]

    in_session(about, tmp_path / "a.db", use, durability)


@pytest.mark.parametrize("durability", LEVELS)
@each_of(each for each in contenders.ALL.values() if Can.TASKS in each.can and "onewriter" not in each.key)
def test_the_durability_of_tasks_too(about: About, durability: Durability, tmp_path: Path) -> None:
    """As the connection says that writes; onewriter's has the same settings as for threads."""

    async def use(session: TaskSession) -> None:
        if about.key == "datasette":  # whose other connections only read
            found = cast("Rows", list(cast("Rows", await session.execute("PRAGMA synchronous", ()))))
        else:
            found = await session.query("PRAGMA synchronous", ())
        assert _plain(found) == [(LEVELS[durability],)]

    in_task(about, tmp_path / "a.db", use, durability)


@each_of(each for each in contenders.ALL.values() if each.limit and each.key != "synced")
def test_a_limit_has_written_all_in_the_end(about: About, tmp_path: Path) -> None:
    """It commits late, but it commits."""
    path = tmp_path / "a.db"

    def use(session: Session) -> None:
        for number in range(300):
            session.execute(INSERT, (str(number),))
        session.write(lambda tx: tx.execute(INSERT, ("last",)))
        session.flush()
        assert bodies(path) == [*map(str, range(300)), "last"]

    in_session(about, path, use)


def test_a_plain_file_has_its_bytes(tmp_path: Path) -> None:
    """The limit that has no database writes what it is given."""
    path = tmp_path / "a"
    with contenders.ALL["synced"].contender().opened(path, "full") as opened, opened() as session:
        session.execute(INSERT, ("one",))
        session.execute(INSERT, ("two",))
    assert path.read_bytes() == b"('one',)('two',)"


def _plain(rows: Rows) -> list[tuple[object, ...]]:
    return [tuple(row) for row in rows]
