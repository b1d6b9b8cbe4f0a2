"""``onewriter check`` as somebody runs it: a process, its lines, its exit status, what it leaves behind."""

# APSW's stub leaves the type of a bound buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import pytest
from typer.testing import CliRunner

import onewriter
from onewriter import Migration
from onewriter.cli import app
from tests.support.children import NOBODY, Child
from tests.support.commands import Done, command
from tests.support.places import common_folder
from tests.support.stranger import Stranger

SCHEMA: Final = Migration(
    1,
    "items",
    """
    CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, size INTEGER NOT NULL);
    CREATE INDEX item_name ON item (name);
    CREATE TABLE part (item INTEGER REFERENCES item (id));
    INSERT INTO item (name, size) VALUES ('one', 1), ('two', 2);
    """,
)
PAGE: Final = 4096
Run: TypeAlias = Callable[..., Done]


@pytest.fixture
def check(tmp_path: Path) -> Run:
    """Run ``onewriter check`` with the given arguments, in the test's own folder."""
    return partial(command, tmp_path, "check")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sound database that nobody has open."""
    path = tmp_path / "a.db"
    onewriter.open(path, migrations=[SCHEMA]).close()
    return path


def root_of(path: Path, name: str) -> int:
    """Return the first page of a table or an index."""
    with onewriter.open(path) as db:
        return db.query_value("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,), into=int)


def overwrite(path: Path, page: int, put: bytes) -> None:
    """Write *put* over the beginning of a page."""
    at = (page - 1) * PAGE
    content = path.read_bytes()
    path.write_bytes(content[:at] + put + content[at + len(put) :])


def test_a_sound_database(check: Run, path: Path) -> None:
    """One line, status 0; also while somebody has it open and writes."""
    done = check(path.name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.db is sound\n", "")
    with onewriter.open(path) as db, db.transaction() as tx:
        tx.execute("DELETE FROM item")
        assert check(path.name).returncode == 0
    done = check("--json", path.name)
    told: dict[str, object] = {"file": "a.db", "sound": True, "problems": [], "advice": []}
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, told, "")


def test_nothing_is_changed(check: Run, path: Path) -> None:
    """Not the database, nor the WAL that a process has left that was killed; SQLite makes a -shm beside it."""
    with Stranger(path) as other:
        other.run("INSERT INTO item (name, size) VALUES ('three', 3)")
        other.kill()
    wal = path.with_name("a.db-wal")
    before = path.read_bytes(), wal.read_bytes()
    assert wal.stat().st_size > PAGE
    assert check(path.name).returncode == 0
    assert (path.read_bytes(), wal.read_bytes()) == before


def test_a_damaged_database(check: Run, path: Path) -> None:
    """A line for each problem, then what to do; status 1."""
    overwrite(path, root_of(path, "item"), b"\xaa" * PAGE)
    done = check(path.name)
    assert (done.returncode, done.stderr) == (1, "")
    first, *rest = done.stdout.splitlines()
    assert first == "a.db is not sound:"
    problems, advice = rest[: rest.index("What to do:")], rest[rest.index("What to do:") + 1 :]
    assert problems
    assert all(each.startswith("  ") for each in problems)
    words = "\n".join(advice)
    for word in (
        "Stop",
        "a.db-wal",
        "onewriter restore SNAPSHOT a.db",
        ".recover",
        "recovery.html",
        "howtocorrupt.html",
        "disk",
    ):
        assert word in words
    assert [each.split()[0] for each in advice] == ["1.", "2.", "3.", "4."]
    done = check(path.name, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr, told["sound"]) == (1, "", False)
    assert [f"  {each}" for each in told["problems"]] == problems
    assert [f"  {number}. {each}" for number, each in enumerate(told["advice"], 1)] == advice
    assert len(done.stdout.splitlines()) == 1


def test_the_advice_can_be_followed(check: Run, path: Path, tmp_path: Path) -> None:
    """The damaged files moved away, the snapshot is restored to their place, and is sound."""
    with onewriter.open(path) as db:
        snapshot = db.snapshot(tmp_path / "good.db")
    overwrite(path, 2, b"\xaa" * PAGE)
    assert check(path.name).returncode == 1
    (tmp_path / "away").mkdir()
    for each in tmp_path.glob("a.db*"):
        each.rename(tmp_path / "away" / each.name)
    onewriter.restore(snapshot, path)
    assert check(path.name).returncode == 0


def test_only_an_index_is_wrong(check: Run, path: Path) -> None:
    """Then it can be made anew, and the advice says so."""
    with onewriter.open(path) as db, db.unsafe_connection() as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX item_name ON item (size)' WHERE name = 'item_name'"
        )
    done = check(path.name)
    assert done.returncode == 1
    assert "REINDEX" in done.stdout
    with onewriter.open(path) as db, db.unsafe_connection() as connection:
        connection.execute("REINDEX")
    assert check(path.name).returncode == 0


def test_only_rows_are_wrong(check: Run, path: Path) -> None:
    """A row whose foreign key leads nowhere is no damage: the advice is another."""
    with Stranger(path) as other:
        other.run("INSERT INTO part VALUES (77)")
    done = check(path.name)
    assert done.returncode == 1
    assert "part row 1: no such row in item" in done.stdout
    assert "Mend the rows" in done.stdout
    assert ".recover" not in done.stdout


def test_a_schema_that_cannot_be_read(check: Run, path: Path) -> None:
    """No connection can be opened: that is the problem that is listed, with status 1."""
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CREATE TABLE item", b"CREATE TABLE ((((", 1))
    done = check(path.name)
    assert (done.returncode, done.stderr) == (1, "")
    assert "malformed" in done.stdout


@pytest.mark.parametrize(
    "name, words",
    [
        ("absent.db", "there is no such file"),
        ("folder", "it is a folder"),
        ("text", "file is not a database"),
        ("pipe", "it is not a regular file"),
        ("", "it is a folder"),
        (":memory:", "not supported"),
        ("no\nname", "there is no such file"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_cannot_be_looked_at(
    name: str, words: str, options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line on standard error, with what to do, status 2, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("a letter to nobody " * 100)
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    done = CliRunner().invoke(app, ["check", name, *options])
    assert (done.exit_code, done.exception and type(done.exception)) == (2, SystemExit)
    assert done.stderr.startswith("onewriter check: ")
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert "; " in done.stderr
    assert sorted(tmp_path.iterdir()) == before
    if options:
        told = json.loads(done.stdout)
        assert (told["sound"], f"onewriter check: {told['error']}\n") == (None, done.stderr)
    else:
        assert done.stdout == ""


@pytest.mark.parametrize("arguments", [(), ("a.db", "b.db"), ("--jsom", "a.db")])
def test_bad_usage(check: Run, arguments: tuple[str, ...]) -> None:
    """Status 2, one line on standard error that says where help is."""
    done = check(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("onewriter check: ")
    assert done.stderr.endswith("; see onewriter check --help\n")
    assert len(done.stderr.splitlines()) == 1


_AS_NOBODY = """
import contextlib, io, os, sys
from pathlib import Path
from onewriter.commands.check import check
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({0})
    os.setuid({0})
complaint = io.StringIO()
with contextlib.redirect_stderr(complaint):
    status = check(Path(sys.argv[1]), json=False)
print(status, complaint.getvalue())
"""


@pytest.mark.parametrize(
    "mode, words",
    [(0o000, "permission denied"), (0o644, "which cannot be written; do it as a user who may write there")],
)
def test_a_file_of_somebody_else(mode: int, words: str) -> None:
    """Status 2 where it may not be read, or where SQLite could keep no -shm beside it."""
    with common_folder() as folder:
        path = folder / "a.db"
        onewriter.open(path, migrations=[SCHEMA]).close()
        path.chmod(mode)
        os.chown(folder, os.geteuid(), -1)
        folder.chmod(0o555)
        status, _, complaint = Child(_AS_NOBODY.format(NOBODY), path).end().partition(" ")
        assert status == "2"
        assert complaint.startswith("onewriter check: ")
        assert words in complaint
        folder.chmod(0o755)


def test_the_help(check: Run) -> None:
    """With an example."""
    done = check("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Example: onewriter check data/registry.db" in done.stdout
