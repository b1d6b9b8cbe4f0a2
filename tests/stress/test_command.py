"""``onewriter stress`` as somebody runs it: a process, its output, its exit status, what it leaves behind."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from onewriter.cli import app
from onewriter.stress.ways import WAYS

from .conftest import SOURCE, Stress, environment

ESCAPE = "\x1b"


def test_a_whole_run(stress: Stress, folder: Path, tmp_path: Path) -> None:
    """All four ways: plain lines and a table, a report in the current folder, nothing else, status 0."""
    done = stress("--from", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert ESCAPE not in done.stdout
    assert "\r" not in done.stdout
    assert max(map(len, done.stdout.splitlines()[3:])) <= 80
    for way in WAYS:
        assert f"{way.title}: uploading" in done.stdout
    assert re.search(r"│ uploads done +│ +15 │ +15 │ +\d+ │ +\d+ │", done.stdout)
    assert "onewriter passed: 15 of 15 uploads done" in done.stdout.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["onewriter-stress.html"]


def test_what_is_asked_for(stress: Stress, folder: Path, tmp_path: Path) -> None:
    """A choice of ways, a place for the report, databases that are kept; onewriter runs in any case, and first."""
    done = stress(
        "--from", folder, "--ways", "locked", "--report", "page.html", "--keep", "kept/here", "--uploaders", "3",
        "--chunk", "1000", "--durability", "normal", "--seed", "5",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.index("onewriter: uploading") < done.stdout.index("one locked connection: uploading")
    assert "deferred" not in done.stdout
    kept = {path.name for path in (tmp_path / "kept/here").iterdir()}
    assert {"onewriter.db", "locked.db"} <= kept
    assert not [name for name in kept if name.endswith("-wal")]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "3 threads upload 15 files" in page
    assert "normal: a commit survives a crash of the process" in page
    again = stress("--from", folder, "--ways", "locked", "--keep", "kept/here")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "onewriter stress: --keep kept/here: onewriter.db is there already\n"


def test_json_is_all_that_is_printed(stress: Stress, folder: Path, tmp_path: Path) -> None:
    """One object, with what the table has; a mistake is one too, beside the line of complaint."""
    done = stress("--from", folder, "--ways", "locked", "--processes", "2", "--uploaders", "3", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["passed"] is True
    assert (told["files"], told["processes"], told["uploaders"]) == (15, 2, 3)
    assert told["report"] == "onewriter-stress.html"
    assert (tmp_path / told["report"]).exists()
    ours, theirs = told["ways"]
    assert (ours["way"], theirs["way"]) == ("onewriter", "locked")
    assert (ours["uploads_done"], ours["uploads_failed"], ours["busy_errors"]) == (15, 0, 0)
    assert (ours["blobs_lost"], ours["blobs_wrong"], ours["problems"]) == (0, 0, [])
    assert 0 < ours["commits"] <= ours["writes"]
    assert 0 < ours["write_p50_s"] <= ours["write_p99_s"] <= ours["write_max_s"]
    assert sum(share["uploads_done"] for share in ours["processes"]) == 15
    done = stress("--from", "nowhere", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout) == {"error": "--from nowhere: no such folder"}
    assert done.stderr == "onewriter stress: --from nowhere: no such folder\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--from", "nowhere"], "--from nowhere: no such folder"),
        (["--from", "file"], "--from file: not a folder"),
        (["--from", "nothing"], "--from nothing: holds no file that can be read"),
        (["--processes", "0"], "--processes 0: must be from 1 to 64"),
        (["--processes", "65"], "--processes 65: must be from 1 to 64"),
        (["--from", "some", "--processes", "2"], "--processes 2: more than there are files (1)"),
        (["--uploaders", "0"], "--uploaders 0: must be from 1 to 1,024"),
        (["--uploaders", "9999"], "--uploaders 9999: must be from 1 to 1,024"),
        (["--chunk", "0"], "--chunk 0: must be from 1 to 268,435,456"),
        (["--durability", "some"], "--durability some: must be full or normal"),
        (
            ["--ways", "locked,fast"],
            "--ways fast: choose from onewriter, locked, deferred, immediate",
        ),
        (["--report", "nowhere/page.html"], "--report nowhere/page.html: there is no folder nowhere"),
        (["--report", "nothing"], "--report nothing: is a folder"),
        (["--from", "some", "--keep", "file"], "--keep file: File exists"),
    ],
)
def test_bad_input(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake is one line on standard error and status 2, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    for name in ("file", "some/file"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "nothing").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, ["stress", *arguments])
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"onewriter stress: {message}\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_value_that_is_no_number(stress: Stress) -> None:
    """The option is named on standard error; status 2, no traceback."""
    done = stress("--uploaders", "many")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--uploaders" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_that_cannot_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up at the very end: the table and the verdict are there all the same, and status 2."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onewriter.stress.report.write", full)
    page = str(tmp_path / "page.html")
    done = CliRunner().invoke(app, ["stress", "--from", str(folder), "--ways", "onewriter", "--report", page])
    assert done.exit_code == 2
    assert "onewriter passed" in done.stdout
    assert done.stderr == f"onewriter stress: --report {page}: No space left on device\n"


def test_an_interrupt_ends_it_cleanly(tmp_path: Path) -> None:
    """Ctrl-C in the middle of an upload: status 130, one line, no database left, no traceback."""
    command = [sys.executable, "-m", "onewriter", "stress"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line == "onewriter: uploading\n":
                process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
    assert (process.returncode, errors) == (130, "onewriter stress: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_there_is_a_bar(folder: Path, tmp_path: Path) -> None:
    """On a terminal the same run draws bars, and the same table."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "onewriter", "stress", "--from", str(folder), "--ways", "onewriter"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path, TERM="xterm", COLUMNS="80"), stdout=theirs
    ) as process:
        os.close(theirs)
        shown = b"".join(_read(ours)).decode()
    os.close(ours)
    assert process.returncode == 0
    assert ESCAPE in shown
    assert "15/15" in shown
    assert "onewriter: uploading" not in shown


def _read(terminal: int) -> Iterator[bytes]:
    with suppress(OSError):  # what Linux says at the end of a terminal
        while piece := os.read(terminal, 65_536):
            yield piece


# What is installed beside Python's own library; what these need themselves comes with them.
BARE = ("apsw", "typing-extensions")
CLI = (*BARE, "typer", "rich")


@pytest.mark.parametrize(
    "installed, arguments, missing, extra",
    [
        (BARE, (), "typer", "cli"),
        (BARE, ("status", "a.db"), "typer", "cli"),
        (BARE, ("stress",), "typer", "stress"),
        (CLI, ("stress",), "jinja2", "stress"),
        (CLI, ("top", "http://127.0.0.1:1/metrics"), "prometheus_client", "cli"),
    ],
)
def test_a_missing_extra_is_named(
    installed: tuple[str, ...], arguments: tuple[str, ...], missing: str, extra: str, tmp_path: Path
) -> None:
    """Without what a command needs: one line that says what to install, and status 2."""
    done = _run_with_only(installed, tmp_path, "-m", "onewriter", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f'onewriter: this command needs {missing}, which is not installed: pip install "onewriter[{extra}]"\n'
    )


def test_the_help_stays_light(tmp_path: Path) -> None:
    """With nothing but the extra `cli`, every help page is there, with an example."""
    done = _run_with_only(CLI, tmp_path, "-m", "onewriter", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "stress" in done.stdout
    done = _run_with_only(CLI, tmp_path, "-m", "onewriter", "stress", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Example: onewriter stress --from" in done.stdout
    assert ESCAPE not in done.stdout


def test_the_library_needs_no_extra(tmp_path: Path) -> None:
    """`import onewriter` is content with its two dependencies."""
    done = _run_with_only(BARE, tmp_path, "-c", "import onewriter")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _run_with_only(
    installed: tuple[str, ...], tmp_path: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run Python without its site-packages (-S), but for the packages named."""
    packages = tmp_path / "packages"
    packages.mkdir(exist_ok=True)
    for name in _with_needs(installed):
        for file in metadata.files(name) or ():
            if file.parts[0] != ".." and not (packages / file.parts[0]).exists():
                place = Path(str(metadata.distribution(name).locate_file(file.parts[0])))
                (packages / file.parts[0]).symlink_to(place)
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONPATH=f"{SOURCE}{os.pathsep}{packages}"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _with_needs(installed: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = set(installed)
    while waiting:
        name = waiting.pop()
        found.add(name)
        needs = [Requirement(each) for each in metadata.requires(name) or ()]
        waiting |= {
            need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})
        } - found
    return found
