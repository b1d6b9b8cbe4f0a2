"""``scripts/bench`` as somebody runs it: a process, its results, its report, its exit status."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import results
from tests.house import ROOT, project_files
from tests.support.steps import wait_until

LIMIT_S = 100
SHORT = ("--rounds", "1", "--seconds", "0.05")


def _environment(root: Path = ROOT) -> dict[str, str]:
    """Return one that does not tell of the run of tests that this is part of."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return plain | {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}


def _bench(*arguments: object, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=root,
        env=_environment(root),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_a_run_is_shown_saved_and_reported(tmp_path: Path) -> None:
    """With the machine, the versions and the commit; nothing else is left."""
    saved, page, folder = tmp_path / "run.json", tmp_path / "run.html", tmp_path / "files"
    folder.mkdir()
    done = _bench(
        *("small-4-full", "processes-2", "tasks-100-full", "--contenders", "onewriter,locked,apsw-immediate"),
        *("--json", saved, "--report", page, "--folder", folder, *SHORT),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"locked +[\d,]+ +1\.00", done.stdout)
    assert str(saved) in done.stdout
    assert str(page) in done.stdout
    assert list(folder.iterdir()) == []
    found = results.read(saved)
    assert found.loads == ["small-4-full", "tasks-100-full", "processes-2"]
    assert set(found.at("small-4-full")) == {"onewriter", "locked", "apsw-immediate"}
    assert set(found.at("processes-2")) == {"onewriter", "apsw-immediate"}
    assert found.at("small-4-full")["onewriter"].per_s > 0
    assert found.versions()["onewriter"].startswith("onewriter ")
    about = found.about
    assert {"commit", "changed", "python", "sqlite", "cores", "processor", "file_system", "rounds"} <= set(
        about
    )
    assert json.loads(saved.read_text(encoding="utf-8"))["machine_info"]
    assert "small-4-full" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("nothing",), "no load is called nothing; there are small, upload"),
        (("--contenders", "nobody", "import"), "no contender is called nobody; there are onewriter"),
        (("--against", "no-such-thing", "import"), "no-such-thing names no commit of this repository"),
        (("--against", "HEAD", "--rounds", "2", "import"), "--against needs --rounds of 3 at least"),
        (("--against", "HEAD", "--contenders", "locked", "import"), "leave --contenders out"),
        (("submit", "--contenders", "locked"), "none of these contenders can do any of these loads"),
        (("import", "--json", "/sys"), "/sys is a folder: name a file in it"),
        (("import", "--folder", "/sys"), "/sys"),
    ],
)
def test_what_is_not_there_is_named(arguments: tuple[str, ...], words: str) -> None:
    """With what there is."""
    done = _bench(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """No process, and no file but the results of the turns that had ended."""
    saved = tmp_path.parent / f"interrupted-{number}.json"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "bench", "small-16-full", "--contenders", "onewriter,locked"),
            *("--seconds", "1", "--rounds", "60", "--folder", str(tmp_path), "--json", str(saved)),
        ],
        cwd=ROOT,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(list(tmp_path.rglob("bench.db-wal"))) == 2, "both contenders have begun")
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, complaint = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, complaint
    assert "Traceback" not in complaint
    assert list(tmp_path.iterdir()) == []
    found = results.read(saved)
    assert found.about["interrupted"] is True
    assert found.at("small-16-full")
    with pytest.raises(ProcessLookupError):
        for _ in range(200):
            os.killpg(process.pid, 0)
            time.sleep(0.01)


STRUCK = """
import threading

from bench.__main__ import main

start = threading.Timer.start


def struck(timer):
    start(timer)
    raise KeyboardInterrupt


threading.Timer.start = struck
main()
"""


def test_an_interrupt_at_the_start_of_a_wait_ends_the_run(tmp_path: Path) -> None:
    """Nobody then waits for the watch over how long an answer may take, which nobody can call off any more."""
    done = subprocess.run(
        [*(sys.executable, "-c", STRUCK, "small-1-full", "--folder", str(tmp_path), *SHORT)],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (130, False), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own, with the sources and the suite as they are here, in one commit."""
    root = tmp_path_factory.mktemp("clone")
    for path in project_files():
        if path.relative_to(ROOT).parts[0] in ("src", "bench"):
            copy = root / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(root))
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "all")):
        subprocess.run([*git, *command], check=True, timeout=LIMIT_S)
    return root


def test_what_has_not_changed_is_not_slower(clone: Path, tmp_path: Path) -> None:
    """Beside itself: the commit of an earlier run, which its results name."""
    earlier = tmp_path / "earlier.json"
    done = _bench("small-1-normal", "--contenders", "onewriter", "--json", earlier, *SHORT, root=clone)
    assert done.returncode == 0, done.stdout + done.stderr
    done = _against(clone, tmp_path, str(earlier))
    says = {0: "no load is slower than the noise explains", 4: "cannot tell: take more --rounds"}
    assert says[done.returncode] in done.stdout, done.stdout + done.stderr
    commit = results.read(earlier).about["commit"]
    assert results.read(tmp_path / "run.json").at("small-1-normal").keys() == {
        "onewriter",
        f"onewriter@{commit[:9]}",
        "onewriter again",
    }


def test_what_no_commit_has_cannot_be_measured_again(clone: Path, tmp_path: Path) -> None:
    """Sources that were changed when the earlier run was made are said to be gone."""
    earlier = tmp_path / "earlier.json"
    about = {"commit": "0" * 40, "changed": True}
    earlier.write_text(json.dumps({"run": about, "benchmarks": []}), encoding="utf-8")
    done = _against(clone, tmp_path, str(earlier))
    assert done.returncode == 2
    assert "was measured with sources that no commit has" in done.stderr
    earlier.write_text("{}", encoding="utf-8")
    done = _against(clone, tmp_path, str(earlier))
    assert done.returncode == 2
    assert "has no results of scripts/bench" in done.stderr


def test_a_planted_slow_down_is_found(clone: Path, tmp_path: Path) -> None:
    """200 microseconds of sleep for each who enters the line; the load is named, and the report says so."""
    line = clone / "src" / "onewriter" / "line.py"
    text = line.read_text(encoding="utf-8")
    take = "    def take(self, ticket: Ticket[W]) -> bool:\n"
    docstring = '        """Give *ticket* the role if it is free."""\n'
    assert take + docstring in text
    planted = text.replace(take + docstring, f"{take}{docstring}        __import__('time').sleep(0.0002)\n")
    line.write_text(planted, encoding="utf-8")
    try:
        done = _against(clone, tmp_path, "HEAD")
    finally:
        line.write_text(text, encoding="utf-8")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"small-1-normal: 0\.\d\d of onewriter@\w+'s rate, slower \(beyond", done.stdout)
    assert "slower" in (tmp_path / "run.html").read_text(encoding="utf-8")
    assert any(
        each["load"] == "small-1-normal" for each in results.read(tmp_path / "run.json").about["verdicts"]
    )


def _against(clone: Path, tmp_path: Path, earlier: str) -> subprocess.CompletedProcess[str]:
    return _bench(
        *("small-1-normal", "--against", earlier, "--rounds", "5", "--seconds", "0.1"),
        *("--json", tmp_path / "run.json", "--report", tmp_path / "run.html"),
        root=clone,
    )
