"""The watch on leftovers and the seed of tests/conftest.py, tried on small tests of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import ROOT

LEAKS_A_FILE = "def test_it(tmp_path):\n    sys.kept = (tmp_path / 'kept').open('w')"
LEAKS_A_THREAD = "def test_it():\n    threading.Thread(target=threading.Event().wait, daemon=True).start()"


@pytest.mark.parametrize(
    "body, words",
    [
        (LEAKS_A_FILE, "the test left files open: .*/kept"),
        (LEAKS_A_THREAD, "the test left threads running: .*Thread-"),
        ("def test_it(seed):\n    assert seed != 7", "--seed=7 'test_sample.py::test_it'"),
    ],
)
def test_a_fault_is_reported(body: str, words: str, tmp_path: Path) -> None:
    """What a test leaves behind fails it, and a failing random test says how to repeat it."""
    code, output = _pytest(tmp_path, body)
    assert code == 1, output
    assert re.search(words, output), output


@pytest.mark.parametrize(
    "body",
    [
        f"@pytest.mark.leaves_behind('on purpose')\n{LEAKS_A_FILE}",
        "def test_it():\n    threading.Thread(target=time.sleep, args=(0.2,)).start()",
        "def test_it(seed):\n    assert seed == 7",
    ],
)
def test_the_innocent_pass(body: str, tmp_path: Path) -> None:
    """A marked test, a thread that is about to end, a given seed."""
    code, output = _pytest(tmp_path, body)
    assert code == 0, output


def _pytest(folder: Path, body: str) -> tuple[int, str]:
    conftest = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    (folder / "conftest.py").write_text(re.sub("LEAVE_S = .*", "LEAVE_S = 0.5", conftest))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = leaves_behind")
    (folder / "test_sample.py").write_text(f"import pytest, sys, threading, time\n{body}\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--seed=7", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr
