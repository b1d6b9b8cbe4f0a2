"""The commands as somebody runs them: processes, their lines, their exit status, what they leave behind."""

from __future__ import annotations

import csv
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import pytest

import onewriter
from onewriter import Migration
from onewriter.cli import app
from onewriter.commands.telling import line
from tests.support.children import NOBODY, child
from tests.support.commands import Done, command, environment, inside
from tests.support.modes import mode
from tests.support.places import common_folder

Run: TypeAlias = Callable[..., Done]
SCRIPTS: Final = {
    "0001_items.sql": "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, data BLOB);",
    "0002_rows.sql": "INSERT INTO item VALUES (1, 'one', x'00ff'), (2, NULL, NULL);",
}
COMMANDS: Final = ("check", "status", "migrate", "snapshot", "restore", "query", "top", "stress")


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
    assert done.stderr.startswith("onewriter")
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_each_has_help_with_an_example_and_its_exit_status(run: Run, name: str) -> None:
    """And a mistake in its arguments is status 2, without a traceback."""
    done = run(name, "--help")
    assert done.returncode == 0
    assert f"Example: onewriter {name} " in " ".join(done.stdout.split())
    assert "exit status" in done.stdout
    assert "--json" in done.stdout
    failed(run(name, "--surprise"), 2, f"onewriter {name}: No such option: --surprise", f"{name} --help")


def test_every_command_is_looked_at_here(run: Run) -> None:
    """And without any, the help is shown."""
    known = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    assert known == set(COMMANDS)
    done = run()
    assert (done.returncode, done.stderr) == (2, "")
    assert all(name in done.stdout for name in COMMANDS)
    failed(run("chek", "a.db"), 2, "No such command 'chek'", "onewriter --help")
    failed(run("status"), 2, "Missing argument 'FILE'")


def test_the_version(run: Run) -> None:
    """Which a report of a bug begins with."""
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"onewriter {onewriter.__version__}\n", "")


READING: Final = (("check",), ("status",), ("snapshot", "s.db"), ("restore", "s.db"), ("query", "SELECT 1"))


@pytest.mark.parametrize("arguments", READING, ids=lambda each: each[0])
def test_what_cannot_be_found_is_told_in_the_words_of_the_shell(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No argument of a Python function is in it, and what to do is said once."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    name, *rest = arguments
    for file in ("absent.db", "folder"):
        assert inside(monkeypatch, name, file, *rest, "--json") == 2
        told, complaint = capsys.readouterr()
        assert complaint == f"onewriter {name}: {json.loads(told)['error']}\n"
        assert ("there is no" if file == "absent.db" else "it is a folder") in complaint
        assert "=True" not in complaint
        assert complaint.count("give the path") <= 1


_AS_NOBODY: Final = """
import os, sys
from onewriter import cli
cli.run()  # loads what it needs while that may be read
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({0})
    os.setuid({0})
sys.argv[2] = "a.db"
print("status", cli.run())
"""


@pytest.mark.parametrize("arguments", READING, ids=lambda each: each[0])
def test_whether_a_file_may_be_read_is_for_the_command_to_say(arguments: tuple[str, ...]) -> None:
    """The parser would look by itself, and say neither why nor that in JSON."""
    name, *rest = arguments
    with common_folder() as folder:
        onewriter.open(folder / "a.db").close()
        (folder / "a.db").chmod(0)
        script = [sys.executable, "-c", _AS_NOBODY.format(NOBODY), name, "absent.db", *rest, "--json"]
        done = subprocess.run(
            script, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=60
        )
    _, told, status = done.stdout.splitlines()
    assert status == "status 2", done
    assert "permission denied" in json.loads(told)["error"].lower()


# --- migrate


def test_migrate_from_the_wrong_place(run: Run, path: Path, scripts: Path, tmp_path: Path) -> None:
    """The arguments the other way round are refused; a folder without scripts is told."""
    failed(run("migrate", scripts, path), 2, "a.db is a file: give the database first")
    (tmp_path / "empty").mkdir()
    done = run("migrate", "new.db", "empty", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "new.db is up to date\n")
    assert done.stderr == "there are no migrations (0001_initial_schema.sql) in empty\n"


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
        failed(run("snapshot", path, "s.db"), 2, "exists; choose another name, or give --overwrite")
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


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("arguments", [("snapshot", "a.db", "out/s.db"), ("restore", "a.db", "out/r.db")])
def test_a_signal_to_end_leaves_nothing_half_made(
    tmp_path: Path, arguments: tuple[str, ...], name: str
) -> None:
    """A time limit, or a shutdown, would else leave a hidden file as large as the database each time."""
    with onewriter.open(tmp_path / "a.db", durability="normal") as db:
        db.execute("CREATE TABLE large (data BLOB)")
        db.execute_many("INSERT INTO large VALUES (zeroblob(?))", [(5_000_000,)] * 10)
    (tmp_path / "out").mkdir()
    status, printed, complaint = ended_in_the_middle(tmp_path, arguments, signal.Signals[name])
    for _ in range(10):
        if status != 0:
            break
        next((tmp_path / "out").iterdir()).unlink()  # it was faster than the signal
        status, printed, complaint = ended_in_the_middle(tmp_path, arguments, signal.Signals[name])
    assert (status, printed) == (128 + signal.Signals[name], ""), complaint
    assert complaint == f"onewriter {arguments[0]}: ended by {name}\n"
    assert list((tmp_path / "out").iterdir()) == []


def ended_in_the_middle(
    folder: Path, arguments: tuple[str, ...], number: signal.Signals
) -> tuple[int, str, str]:
    """Run a command in *folder*, send the signal once it has begun a file in ``out``; return what came of it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "onewriter", *arguments],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        deadline = time.monotonic() + 30
        while process.poll() is None and not any((folder / "out").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(number)
        printed, complaint = process.communicate(timeout=60)
    return process.returncode, printed, complaint


def test_a_file_is_no_folder_to_keep_them_in(run: Run, path: Path) -> None:
    """And is left as it is."""
    content = path.read_bytes()
    failed(run("snapshot", path, path, "--keep", "3"), 2, "is no folder: with --keep give the folder")
    assert path.read_bytes() == content


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


def test_json_of_what_json_has_no_room_for(run: Run, path: Path) -> None:
    """Infinity is a number that every parser takes; of two columns of one name none is lost without a word."""

    def refuse(word: str) -> object:
        raise ValueError(word)  # Infinity and NaN are Python's own

    done = run(
        "query", path, "SELECT 1e999 AS high, -1e999 AS low, 'Infinity' AS text, 1.5 AS real", "--json"
    )
    assert json.loads(done.stdout, parse_constant=refuse) == [
        {"high": float("inf"), "low": float("-inf"), "text": "Infinity", "real": 1.5}
    ]
    done = run("query", path, "SELECT id, 2 AS id FROM item", "--json")
    failed(done, 2, "two columns are named id")
    assert set(json.loads(done.stdout)) == {"file", "error"}
    assert run("query", path, "SELECT 1 AS a, 2 AS a", "--format", "csv").stdout.splitlines() == [
        "a,a",
        "1,2",
    ]


def test_json_that_fails_on_the_way(run: Run, path: Path) -> None:
    """The list is ended, and the error is an object behind it."""
    rows = "SELECT abs(n) AS n FROM (SELECT 1 AS n UNION ALL SELECT -9223372036854775808)"
    done = run("query", path, rows, "--json")
    failed(done, 2, "integer overflow")
    listed, error = done.stdout.splitlines()
    assert json.loads(listed) == [{"n": 1}]
    assert "integer overflow" in json.loads(error)["error"]


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


# --- status

HOLDS: Final = """
import sys
with onewriter.open(sys.argv[1]) as db, db.transaction() as tx:
    tx.execute("INSERT INTO item (name) VALUES ('held')")
    print("holds", flush=True)
    sys.stdin.readline()
"""


def test_status(run: Run, path: Path, scripts: Path) -> None:
    """In lines, and as JSON; with what a folder of migrations has beyond it, and with rows."""
    (scripts / "0003_more.sql").write_text("SELECT 1")
    (scripts / "0002_rows.sql").write_text("SELECT 2")
    (scripts / "0001_items.sql").unlink()
    done = run("status", path, "--dir", scripts, "--rows")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()[1:]]
    told = dict(line for line in lines if len(line) == 2)
    assert done.stdout.splitlines()[0] == str(path)
    assert told["WAL"] == "0 bytes"
    assert told["schema"].startswith("version 2: 0002_rows, applied ")
    assert told["tables"] == "item (2 rows), onewriter_migrations (2 rows), schema_migrations (2 rows)"
    assert (told["pending"], told["changed"]) == ("0003_more", "0002_rows")
    assert "no file for   0001_items" in done.stdout
    done = run("status", path, "--dir", scripts, "--json")
    seen = json.loads(done.stdout)
    assert set(seen) == {
        "file", "bytes", "wal_bytes", "content", "problem", "turn", "turn_waits_for_lock", "turn_problem",
        "waiting", "writing", "stranger", "writers", "readers", "others",
    }  # fmt: skip
    assert set(seen["content"]) == {
        "is_whole", "page_bytes", "pages", "free_pages", "journal_mode", "user_version", "application_id",
        "schema_version", "applied", "tables", "pending", "unknown", "changed",
    }  # fmt: skip
    assert (seen["file"], seen["bytes"]) == (str(path), path.stat().st_size)
    assert seen["content"]["pending"] == ["0003_more"]
    assert seen["content"]["tables"]["item"] is None
    assert (seen["turn"], seen["waiting"], seen["writers"]) == (None, [], [])


def test_status_while_a_writer_has_the_turn(run: Run, path: Path) -> None:
    """It says which process, and waits for nobody."""
    with child(HOLDS, path) as holder:
        holder.wait_for("holds")
        seen = json.loads(run("status", path, "--json").stdout)
        assert seen["turn"]["pid"] == holder.process.pid
        assert seen["turn"]["for_s"] > 0
        assert [each["pid"] for each in seen["writers"]] == [holder.process.pid]
        assert seen["content"]["is_whole"]
        done = run("status", path)
        assert done.returncode == 0
        assert f"turn          process {holder.process.pid} (" in done.stdout
        holder.go_on()
        holder.end()


def test_status_of_what_is_none(run: Run, path: Path, tmp_path: Path) -> None:
    """One line and status 2; of a damaged file what can be seen, and status 1."""
    (tmp_path / "text.db").write_text("no database\n" * 99)
    failed(run("status", "text.db"), 2, "file is not a database", "onewriter check")
    failed(run("status", "missing.db"), 2, "there is no such file")
    failed(run("status", path, "--dir", "missing"), 2, "cannot read the migrations in missing")
    done = run("status", "missing.db", "--json")
    failed(done, 2)
    assert json.loads(done.stdout)["error"] in done.stderr
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 2000)
    done = run("status", path)
    assert done.returncode == 1
    assert "not seen      cannot open" in done.stdout


def test_what_others_have_named_controls_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table, a file, the command line of a process: whatever its name would do."""
    assert line("\x1b[2J\nred") == "\\x1b[2J red"
    path = tmp_path / "\x1b[31mred\n.db"
    with onewriter.open(path) as db:
        db.execute('CREATE TABLE "\x1b]0;title\x07" (a)')
        db.execute("CREATE TABLE item (name)")
    with child(f"# \x1b[2J\n{HOLDS}", path) as holder:
        holder.wait_for("holds")
        for words in (
            ("status",),
            ("top", "--count", "1", "--interval", "0.1"),
            ("check",),
            ("query", "SELECT no"),
        ):
            inside(monkeypatch, words[0], path, *words[1:])
            assert "\x1b" not in "".join(capsys.readouterr())


# --- whatever is given

OPERANDS: Final = (
    "folder", "pipe", "/dev/null", "/dev/full", "/dev/zero", "", "-", ".", "/", "text", "text/a.db", "missing.db",
    "nowhere/a.db", os.fsdecode(b"\xff\xfe.db"), "x" * 300, "x" * 5000, "file:a.db", ":memory:", "http://127.0.0.1:1/",
    "https://", "http://[", "ftp://a/b", "99999999999999999999", "-1", "nan", "--", "a.db", "\x1b[2J", "loop",
)  # fmt: skip
OPTIONS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "check": ((), ("--json",)),
    "status": ((), ("--json",), ("--rows",), ("--dir", "folder"), ("--dir", "pipe"), ("--dir", "")),
    "migrate": (("folder",), ("pipe", "--json"), ("text", "--dry-run"), ("",), ("/dev/null",)),
    "snapshot": (
        ("copy.db",), ("folder",), ("pipe", "--overwrite"), ("text", "--keep", "1"), ("folder", "--keep", "9" * 30),
        ("nowhere", "--keep", "x"), ("/dev/null", "--json"),
    ),
    "restore": (("copy.db",), ("folder", "--json"), ("pipe",), ("/dev/full",), ("",)),
    "query": (
        ("SELECT 1",), ("",), ("SELECT ?", "--param", "9" * 40), ("SELECT ?", "--param", "[" * 9000), ("\0x",),
        ("SELECT 1", "--format", "xml"), ("SELECT zeroblob(1)", "--json"), ("SELECT ?", "--param", "NaN"),
    ),
    "top": (
        ("--count", "1", "--interval", "0.1"), ("--count", "0"), ("--count", "1", "--interval", "nan"),
        ("--count", "1", "--interval", "1e999", "--json"), ("--count", "9" * 40, "--interval", "-1"),
    ),
    "stress": (
        ("--from", "folder"), ("--from", "pipe", "--json"), ("--seed", "x"), ("--uploaders", "9" * 40),
        ("--report", "folder"), ("--keep", "text", "--from", "folder"), ("--chunk", "-1", "--json"),
    ),
}  # fmt: skip
_DRAWN_EACH: Final = 1


def test_whatever_is_given_is_answered_or_refused(
    tmp_path: Path, seed: int, pytestconfig: pytest.Config
) -> None:
    """Never a traceback, never a wait: folders, pipes, devices, names that are none, numbers too large.

    Some are drawn anew each time; ``--faults 0`` takes every one.
    """
    lay_out(tmp_path)
    cases = [
        (name, *(() if name == "stress" else (operand,)), *options)
        for name, choices in OPTIONS.items()
        for operand in OPERANDS
        for options in choices
        if not any("\0" in each for each in options)
    ]
    drawn = random.Random(seed)
    faults: int | None = pytestconfig.getoption("--faults")
    for name in OPTIONS:
        of_name = sorted({each for each in cases if each[0] == name})
        for case in of_name if faults == 0 else drawn.sample(of_name, min(_DRAWN_EACH, len(of_name))):
            done = command(tmp_path, *case)
            told = (case, done.returncode, done.stdout[-500:], done.stderr)
            assert "Traceback" not in done.stderr, told
            assert done.returncode in (0, 1, 2), told
            assert len(done.stderr.splitlines()) <= 1 or case[0] == "migrate", told
            assert done.returncode != 2 or done.stderr.startswith("onewriter "), told
            if "--json" in case and done.returncode != 2:
                json.loads(done.stdout)


def lay_out(folder: Path) -> None:
    """Make what the operands name."""
    (folder / "folder").mkdir()
    (folder / "text").write_text("a text, and no database\n" * 10)
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    onewriter.open(folder / "a.db").close()


@pytest.mark.parametrize(
    "arguments", [("--help",), ("status", "a.db"), ("query", "a.db", "SELECT 1"), ("check", "a.db")]
)
def test_where_nothing_can_be_printed(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A full disk behind standard output is told in one line, and not status 0; closed streams are no failure."""
    onewriter.open(tmp_path / "a.db").close()
    line = shlex.join([sys.executable, "-m", "onewriter", *arguments])
    for redirected, statuses in ((">/dev/full", {1, 2}), (">&-", {0}), ("<&- >&- 2>&-", {0})):
        done = subprocess.run(
            ["sh", "-c", f"{line} {redirected}"],
            cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode in statuses, (redirected, done)
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == (1 if redirected == ">/dev/full" else 0)
