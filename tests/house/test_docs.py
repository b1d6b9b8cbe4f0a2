"""The documents run: every fenced block of README, CHANGELOG and docs does what it shows.

D1  The `python` blocks of a file run top to bottom as one program, in a folder of their own, warnings as errors.
D2  Then the commands run there too: what follows "$ " in a `console` block, each line of a `sh` block. Of the
    commands that set the project up, or take minutes, it is checked that they exist and know their options.
D3  A block of any other language is in `SHOWN`; a block without a language is an error.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.house import ROOT

DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
SHOWN = {"text", "toml", "sql", "ini", "json", "diff"}
FENCE = re.compile(r"^(?P<indent> *)(?P<mark>```+|~~~+)(?P<language>[^`]*)$")
RUN_S = 100


class Block(NamedTuple):
    """A fenced block: its language, its lines, and the number of the first of these in the document."""

    language: str
    lines: list[str]
    number: int


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks of a document in order."""
    found: list[Block] = []
    opening: re.Match[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opening is None and fence:
            opening = fence
            found.append(Block((fence["language"].split() or [""])[0], [], number + 1))
        elif (
            opening and fence and fence["mark"].startswith(opening["mark"]) and not fence["language"].strip()
        ):
            opening = None
        elif opening:
            found[-1].lines.append(line.removeprefix(opening["indent"]))
    assert opening is None, "a fenced block is not closed"
    return found


def program_of(blocks: list[Block]) -> str:
    """Return the python blocks as one program whose lines have the numbers that they have in the document."""
    lines: list[str] = []
    for block in blocks:
        if block.language == "python":
            lines += [""] * (block.number - 1 - len(lines)) + block.lines
    return "\n".join(lines)


def commands_of(blocks: list[Block]) -> list[str]:
    """Return the commands of the console and sh blocks, those continued by a backslash as one line."""
    found: list[str] = []
    for block in blocks:
        lines = "\n".join(block.lines).replace("\\\n", " ").splitlines()
        if block.language == "console":
            found += [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        elif block.language == "sh":
            found += [line for line in lines if line.strip() and not line.startswith("#")]
    return found


def run_program(program: str, document: str, folder: Path) -> None:
    """Run *program* in *folder*; its traceback names *document* and the line there."""
    (folder / document).parent.mkdir(exist_ok=True)
    (folder / document).write_text(program, encoding="utf-8")
    _run([sys.executable, "-W", "error", document], folder)


def run_command(command: str, folder: Path) -> None:
    """Run a command of a document in *folder*, or check it where it sets the project up."""
    words = shlex.split(command, comments=True)
    match words:
        case ["git", "clone", *_] | ["cd", *_]:
            pass
        case ["pip", "install", *packages] | ["python", "-m", "pip", "install", *packages]:
            _check_extras(packages)
        case [script, *options] if script.removeprefix("./").startswith(("scripts/", ".ci/")):
            assert os.access(ROOT / script, os.X_OK), f"{script} is no command"
            if script.endswith("scripts/stress"):
                _check_options(options)
        case ["onewriter", "stress", *options] | ["python", "-m", "onewriter", "stress", *options]:
            _check_options(options)
        case _:
            _run(["sh", "-euc", command], folder)


def _run(command: list[str], folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONWARNINGS": "error"}
    try:
        subprocess.run(
            command,
            cwd=folder,
            env=environment,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S,
        )
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{shlex.join(command)} ended with {error.returncode}:\n{error.output}", pytrace=False)


def _check_extras(packages: list[str]) -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    named = {
        extra
        for package in packages
        for part in re.findall(r"\[(.*?)\]", package)
        for extra in part.split(",")
    }
    assert named <= known.keys(), f"no such extra: {named - known.keys()}"


def _check_options(options: list[str]) -> None:
    known = set(re.findall(r"--[a-z-]+", _stress_help()))
    named = {option.partition("=")[0] for option in options if option.startswith("--")}
    assert named <= known, f"onewriter stress has no option {named - known}"


@cache
def _stress_help() -> str:
    command = [sys.executable, "-m", "onewriter", "stress", "--help"]
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, timeout=RUN_S
    ).stdout


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_document_runs(document: str, tmp_path: Path) -> None:
    """Each block of the document is run, checked, or of a language that is only shown (D1 to D3)."""
    blocks = blocks_of((ROOT / document).read_text(encoding="utf-8"))
    unknown = [
        f"{document}:{block.number}: {block.language or 'no language'}"
        for block in blocks
        if block.language not in {"python", "console", "sh", *SHOWN}
    ]
    assert not unknown
    if program := program_of(blocks):
        run_program(program, document, tmp_path)
    for command in commands_of(blocks):
        run_command(command, tmp_path)


SAMPLE = """
```python
x = 1
```
- indented:

  ```python
  if x == 1:
      x = 2
  ```

````text
```python
x = 3
```
````

```console
$ echo \\
    one > two
one
$ cat two
```

```sh
# a comment
test -s two
```
"""


def test_blocks_are_found(tmp_path: Path) -> None:
    """Indented blocks, blocks within blocks, lines continued; and all of them run."""
    blocks = blocks_of(SAMPLE)
    assert [block.language for block in blocks] == ["python", "python", "text", "console", "sh"]
    assert commands_of(blocks) == ["echo      one > two", "cat two", "test -s two"]
    run_program(program_of(blocks) + "\nassert x == 2", "README.md", tmp_path)
    for command in commands_of(blocks):
        run_command(command, tmp_path)


@pytest.mark.parametrize(
    "program, words",
    [
        ("\n\n1 / 0", "line 3"),
        ("import warnings\nwarnings.warn('old')", "UserWarning: old"),
    ],
)
def test_a_failing_program_fails(program: str, words: str, tmp_path: Path) -> None:
    """What a document gets wrong is reported with its line."""
    with pytest.raises(pytest.fail.Exception, match=words):
        run_program(program, "docs/page.md", tmp_path)


@pytest.mark.parametrize(
    "command", ["false", "scripts/absent", "pip install 'onewriter[absent]'", "cat absent"]
)
def test_a_failing_command_fails(command: str, tmp_path: Path) -> None:
    """A command that fails, or is none of the project's, is reported."""
    with pytest.raises((pytest.fail.Exception, AssertionError)):
        run_command(command, tmp_path)
