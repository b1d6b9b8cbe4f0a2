"""What a user's type checker says about the public names: right programs pass, wrong ones are refused line by line.

Every `ok_*.py` beside this file passes mypy and pyright, both strict. In every `bad_*.py` a line that ends in
"# error: both", "# error: mypy" or "# error: pyright" is refused by the checkers named, and no other line is.
(mypy takes any `str` for a `LiteralString`, so an SQL text that is put together is refused by pyright alone.)
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.house import ROOT

HERE = Path(__file__).parent
SAMPLES = sorted([*HERE.glob("ok_*.py"), *HERE.glob("bad_*.py")])
MARK = re.compile(r"# error: (both|mypy|pyright)$")
RUN_S = 110


class Fault(NamedTuple):
    """A line that a checker refuses, and its words."""

    file: str
    line: int
    words: str

    @property
    def place(self) -> tuple[str, int]:
        """Where it is."""
        return self.file, self.line


def of_mypy() -> set[Fault]:
    """Return the errors that mypy finds in the samples."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", "--no-pretty"]
    output = _output([*command, *map(str, SAMPLES)], "mypy")
    lines = [re.fullmatch(r"(.+?):(\d+): error: (.+)", line) for line in output.splitlines()]
    return {Fault(Path(match[1]).name, int(match[2]), match[3]) for match in lines if match}


def of_pyright() -> set[Fault]:
    """Return the errors that pyright finds in the samples."""
    # A project of its own: ours excludes the bad samples.
    project = HERE / "pyrightconfig.json"
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    output = _output([*command, "--project", str(project)], "pyright")
    return {
        Fault(Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["message"])
        for each in json.loads(output)["generalDiagnostics"]
        if each["severity"] == "error"
    }


def _output(command: list[str], name: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=RUN_S)
    assert done.returncode in {0, 1}, f"{name} failed: {done.stdout}{done.stderr}"
    return done.stdout


def expected(checker: str) -> set[tuple[str, int]]:
    """Return the lines that are marked for *checker*."""
    return {
        (path.name, number)
        for path in SAMPLES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (mark := MARK.search(line)) and mark[1] in {"both", checker}
    }


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_checker_refuses_the_marked_lines_alone(checker: str) -> None:
    """A checker's errors in the samples are the marked ones: none is missing, none is more."""
    assert SAMPLES
    found = of_mypy() if checker == "mypy" else of_pyright()
    marked = expected(checker)
    unmarked = [
        f"{each.file}:{each.line}: {each.words}" for each in sorted(found) if each.place not in marked
    ]
    assert not unmarked, "\n".join([f"{checker} refuses lines that are not marked:", *unmarked])
    missing = [f"{file}:{line}" for file, line in sorted(marked - {each.place for each in found})]
    assert not missing, "\n".join([f"{checker} takes lines that are marked:", *missing])


def test_good_samples_mark_no_error() -> None:
    """A sample of right use has no line that a checker refuses."""
    marked = expected("mypy") | expected("pyright")
    assert not [file for file, _ in marked if file.startswith("ok_")]
