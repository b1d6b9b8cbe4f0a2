"""The documents run: every fenced block of README, CHANGELOG and docs does what it shows.

D1  The `python` blocks of a file run top to bottom as one program, in a folder of their own, warnings as errors.
D2  Then the commands run there too: what follows "$ " in a `console` block, each line of a `sh` block. Of the
    commands that set the project up, or take minutes, it is checked that they exist and know their options.
D3  A block of any other language is in `SHOWN`; a block without a language is an error.
D4  A block with a title (```python title="name.py") is a file of that name, and no part of the program: it is written
    when the commands before it have run, whatever its language. A later one with the same name takes its place.
D5  What a page of `SHOW_ALL` shows below a command is what that prints, but for numbers, and where a path begins.
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
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)
SHOWN = {"text", "toml", "sql", "ini", "json", "diff"}
FENCE = re.compile(r"^(?P<indent> *)(?P<mark>```+|~~~+)(?P<language>[^`]*)$")
TITLE = re.compile(r'title="([^"]+)"')
SHOW_ALL = ("docs/tutorial.md", "docs/howto/")
NUMBER = re.compile(r"[0-9][0-9,.]*")
PLACE = re.compile(r"(?<!\S)/\S*/")
RUN_S = 100


class Block(NamedTuple):
    """A fenced block: its language, its lines, the number of the first of these in the document, and its title."""

    language: str
    lines: list[str]
    number: int
    title: str | None


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks of a document in order."""
    found: list[Block] = []
    opening: re.Match[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opening is None and fence:
            opening = fence
            title = TITLE.search(fence["language"])
            language = (fence["language"].split() or [""])[0]
            found.append(Block(language, [], number + 1, title and title[1]))
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
        if block.language == "python" and not block.title:
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
    write_file(folder / document, program)
    _run([sys.executable, "-W", "error", document], folder)


def write_file(path: Path, text: str) -> None:
    """Write *text* to *path*, in whatever folder that is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run_rest(blocks: list[Block], folder: Path, *, compared: bool = False) -> None:
    """Write the files and run the commands in the order of the document (D2, D4), and compare what is printed (D5)."""
    for block in blocks:
        if block.title:
            write_file(folder / block.title, "\n".join(block.lines) + "\n")
            continue
        printed = [run_command(command, folder) for command in commands_of([block])]
        if compared and block.language == "console":
            lines = "\n".join(block.lines).replace("\\\n", " ").splitlines()
            shown = [line for line in lines if not line.startswith("$ ")]
            assert _without_numbers("\n".join(shown)) == _without_numbers("".join(printed))


def _without_numbers(text: str) -> list[str]:
    """Return the words of each line without what may differ from one run to the next."""
    return [" ".join(NUMBER.sub("0", PLACE.sub("", line)).split()) for line in text.strip().splitlines()]


def run_command(command: str, folder: Path) -> str:
    """Run a command of a document in *folder* and return what it prints, or check it where it sets the project up."""
    words = shlex.split(command, comments=True)
    match words:
        case ["git", "clone", *_] | ["cd", *_] | ["python3", "-m", "venv", _] | [".", ".venv/bin/activate"]:
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
            return _run(["sh", "-euc", command], folder)
    return ""


def _run(command: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONWARNINGS": "error"}
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S,
        ).stdout
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
    run_rest(blocks, tmp_path, compared=document.startswith(SHOW_ALL))


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

```text title="folder/three"
first
```

```console
$ grep first folder/three
first
$ echo "/some/where/name: 12,345 bytes, 3 pages"
/elsewhere/name: 1 bytes, 20 pages
```

```text title="folder/three"
second
```

```console
$ grep second folder/three
second
```
"""


def test_blocks_are_found(tmp_path: Path) -> None:
    """Indented blocks, blocks within blocks, lines continued, files; and all of them run."""
    blocks = blocks_of(SAMPLE)
    assert [block.language for block in blocks[:6]] == ["python", "python", "text", "console", "sh", "text"]
    assert [block.title for block in blocks[4:7]] == [None, "folder/three", None]
    assert commands_of(blocks)[:3] == ["echo      one > two", "cat two", "test -s two"]
    run_program(program_of(blocks) + "\nassert x == 2", "README.md", tmp_path)
    run_rest(blocks, tmp_path, compared=True)


def test_what_is_shown_wrongly_is_found(tmp_path: Path) -> None:
    """A page that shows another word, or a line too few, fails (D5)."""
    for shown in ("two", "one\ntwo", ""):
        blocks = blocks_of(f"```console\n$ echo one\n{shown}\n```")
        with pytest.raises(AssertionError):
            run_rest(blocks, tmp_path, compared=True)
        run_rest(blocks, tmp_path)


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
