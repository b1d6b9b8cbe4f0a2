"""The commands as somebody runs them: processes, their lines, their exit status, what they leave behind."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import pytest

import onewriter
from onewriter import Migration
from tests.support.commands import Done, command
from tests.support.modes import mode

Run: TypeAlias = Callable[..., Done]
SCRIPTS: Final = {
    "0001_items.sql": "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, data BLOB);",
    "0002_rows.sql": "INSERT INTO item VALUES (1, 'one', x'00ff'), (2, NULL, NULL);",
}
COMMANDS: Final = ("check", "migrate", "snapshot", "restore", "query")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command with the given arguments, in the test's own folder."""
    return partial(command, tmp_path)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder of two migrations."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for name, text in SCRIPTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def path(tmp_path: Path, scripts: Path) -> Path:
    """A database that has had both."""
    onewriter.open(tmp_path / "a.db", migrations=Migration.from_dir(scripts)).close()
    return tmp_path / "a.db"


def failed(done: Done, status: int, *words: str) -> None:
    """Check that it ended so, with one line of complaint that has *words*."""
    assert done.returncode == status, (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("onewriter ")
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_each_has_help_with_an_example_and_its_exit_status(run: Run, name: str) -> None:
    """And a mistake in its arguments is status 2, without a traceback."""
    done = run(name, "--help")
    assert done.returncode == 0
    assert f"Example: onewriter {name} " in " ".join(done.stdout.split())
    assert "exit status" in done.stdout
    done = run(name, "--surprise")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


# --- migrate


def test_migrate(run: Run, scripts: Path, tmp_path: Path) -> None:
    """A dry run makes nothing; the first run says of each when it is applied, the next has nothing to do."""
    done = run("migrate", "new.db", scripts, "--dry-run")
    assert (done.returncode, done.stdout) == (0, "pending: 0001_items\npending: 0002_rows\n")
    assert not (tmp_path / "new.db").exists()
    done = run("migrate", "new.db", scripts)
    assert done.returncode == 0
    assert [each.split(" in ")[0] for each in done.stdout.splitlines()] == [
        "applied 0001_items",
        "applied 0002_rows",
    ]
    assert mode(tmp_path / "new.db") == 0o600
    done = run("migrate", "new.db", scripts)
    assert (done.returncode, done.stdout, done.stderr) == (0, "new.db is up to date\n", "")


def test_migrate_tells_json(run: Run, path: Path, scripts: Path) -> None:
    """Also of what is applied and has no file, and of what was changed."""
    (scripts / "0003_more.sql").write_text("INSERT INTO item VALUES (3, 'three', NULL)")
    (scripts / "0002_rows.sql").write_text("INSERT INTO item VALUES (9, 'nine', NULL)")
    (scripts / "0001_items.sql").unlink()
    told = {"file": str(path), "unknown": ["0001_items"], "changed": ["0002_rows"]}
    assert json.loads(run("migrate", path, scripts, "--dry-run", "--json").stdout) == told | {
        "pending": ["0003_more"]
    }
    assert json.loads(run("migrate", path, scripts, "--json").stdout) == told | {"applied": ["0003_more"]}
    done = run("migrate", path, scripts)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "applied, and there is no file for it: 0001_items",
        "changed since it was applied: 0002_rows",
    ]


def test_a_migration_that_fails(run: Run, path: Path, scripts: Path) -> None:
    """Is status 1, and names the statement; those before it stay. What cannot be read is status 2."""
    (scripts / "0003_good.sql").write_text("CREATE TABLE good (a)")
    (scripts / "0004_bad.sql").write_text("CREATE TABLE bad (a);\nINSERT INTO nowhere VALUES (1);")
    done = run("migrate", path, scripts)
    failed(done, 1, "migration 4 (bad) failed at line 2: no such table: nowhere", "run this again")
    with onewriter.open(path) as db:
        assert db.schema_version() == 3
    failed(run("migrate", path, "missing"), 2, "cannot read the migrations in missing")
    done = run("migrate", path, scripts.parent / "missing", "--json")
    failed(done, 2)
    assert json.loads(done.stdout)["error"] in done.stderr


# --- snapshot and restore


def test_snapshot_and_restore(run: Run, path: Path, tmp_path: Path) -> None:
    """Beside a program that has the database open."""
    with onewriter.open(path) as db:
        done = run("snapshot", path, "s.db", "--verify")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{tmp_path / 's.db'}: ")
        failed(run("snapshot", path, "s.db"), 2, "exists; choose another name, or pass overwrite=True")
        told = json.loads(run("snapshot", path, "s.db", "--overwrite", "--json").stdout)
        assert told == {
            "file": str(path),
            "snapshot": str(tmp_path / "s.db"),
            "bytes": (tmp_path / "s.db").stat().st_size,
            "removed": [],
        }
        failed(run("restore", "s.db", path), 2, "another process has it open")
        assert db.check() == []
    assert run("restore", "s.db", path).returncode == 0
    done = run("restore", "s.db", "b.db", "--json")
    assert json.loads(done.stdout)["file"] == str(tmp_path / "b.db")
    with onewriter.open(tmp_path / "b.db") as db:
        assert db.query_value("SELECT count(*) FROM item", into=int) == 2
    failed(run("restore", "missing.db", "c.db"), 2, "there is no snapshot")
    failed(run("snapshot", "missing.db", "c.db"), 2, "give the path of a database")


def test_the_last_few_are_kept(run: Run, path: Path, tmp_path: Path) -> None:
    """What has another name is left."""
    folder = tmp_path / "backups"
    folder.mkdir()
    others = {"a-notes.db", "a-20261129T101112Z.db", "b-20261129T101112000000Z.db", "a.db"}
    for name in others:
        (folder / name).touch()
    made = [
        Path(json.loads(run("snapshot", path, folder, "--keep", "2", "--json").stdout)["snapshot"])
        for _ in range(4)
    ]
    assert {each.name for each in folder.iterdir()} == others | {each.name for each in made[-2:]}
    done = run("snapshot", path, folder, "--keep", "1")
    assert done.stdout.splitlines()[1:] == [f"removed {each}" for each in made[-2:]]
    assert run("snapshot", path, folder, "--keep", "0").returncode == 2


# --- query


def test_query_prints_a_table(run: Run, path: Path) -> None:
    """NULL is told from the text."""
    done = run("query", path, "SELECT id, name, data FROM item ORDER BY id")
    assert done.returncode == 0
    lines = [line for line in done.stdout.splitlines() if "NULL" in line or "one" in line]
    assert [[cell.strip() for cell in line.strip("│").split("│")] for line in lines] == [
        ["1", "one", "00ff"],
        ["2", "NULL", "NULL"],
    ]
    assert run("query", path, "SELECT 1 WHERE 0").stdout == "no rows\n"


def test_query_prints_json_and_csv(run: Run, path: Path) -> None:
    """With parameters that are numbers, null, or texts."""
    sql = "SELECT id, name, data FROM item WHERE id >= ? AND ? IS NOT id AND 'x' = ? ORDER BY id"
    arguments = (path, sql, "--param", "1", "--param", "null", "--param", "x")
    rows = [{"id": 1, "name": "one", "data": "00ff"}, {"id": 2, "name": None, "data": None}]
    assert json.loads(run("query", *arguments, "--json").stdout) == rows
    assert json.loads(run("query", *arguments, "--format", "json").stdout) == rows
    printed = run("query", *arguments, "--format", "csv").stdout
    assert list(csv.reader(printed.splitlines())) == [
        ["id", "name", "data"],
        ["1", "one", "00ff"],
        ["2", "", ""],
    ]
    assert json.loads(run("query", path, "SELECT 1 WHERE 0", "--json").stdout) == []
    assert run("query", path, "SELECT 1 WHERE 0", "--format", "csv").stdout == ""
    typed = run(
        "query",
        path,
        "SELECT typeof(?), typeof(?), typeof(?)",
        "--param",
        '"1"',
        "--param",
        "1.5",
        "--param",
        "true",
        "--format",
        "csv",
    )
    assert typed.stdout.splitlines()[1] == "text,real,text"


@pytest.mark.parametrize(
    "sql, word",
    [
        ("DELETE FROM item", "only reads"),
        ("PRAGMA journal_mode = DELETE", "only reads"),
        ("SELECT nowhere", "no such column: nowhere"),
        ("SELECT 1; SELECT 2", "mend the statement"),
        ("SELECT ?", "--param"),
    ],
)
def test_query_only_reads(run: Run, path: Path, sql: str, word: str) -> None:
    """Whatever is wrong is one line."""
    failed(run("query", path, sql), 2, word)
    with onewriter.open(path) as db:
        assert db.query_value("SELECT count(*) FROM item", into=int) == 2


def test_who_reads_may_have_enough(path: Path) -> None:
    """A pipe that is closed is no error."""
    sql = "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n LIMIT 100000) SELECT a FROM n"
    arguments = [sys.executable, "-m", "onewriter", "query", str(path), sql, "--format", "csv"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"a\r\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
