"""Small rules that no linter keeps."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import ROOT, project_files

SOURCE = ROOT / "src" / "onewriter"
LINES_MAX = 400
TEXT = {".py", ".md", ".toml", ".txt", ".sh", ".cfg", ".ini", ".yml", ".yaml", ".json", ".html", ".sql", ""}

# Written in pieces, so that this file does not find itself.
UNFINISHED = re.compile(
    r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "NotImplemented" + "Error")) + r")\b"
)
BARE_IGNORE = re.compile(r"#\s*(?:type|pyright): " + r"ignore(?!\[)|#\s*no" + r"qa(?!:)")
MACHINE = re.compile(
    r"(?<![\w.])/(?:" + "|".join(("ro" + "ot", "ho" + "me", "wo" + "rk", "op" + "t", "Us" + "ers")) + r")/\w"
)
REGISTRY = re.compile(
    "|".join((r"py" + r"pi\.org", r"python" + r"hosted", r"npm" + r"js\.", r"index" + r"-url"))
)

sources = pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE))
)


@sources
def test_a_module_is_short(path: Path) -> None:
    """A module past the limit holds two nouns: split it."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_MAX


@sources
def test_public_names_have_docstrings(path: Path) -> None:
    """Every public module, class, function and method states its contract, but for overloads of one that does."""
    missing = [
        f"{path.name}:{line} {name}"
        for line, name in _undocumented(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not missing


def _undocumented(tree: ast.Module) -> Iterator[tuple[int, str]]:
    if not ast.get_docstring(tree):
        yield 1, "(the module)"
    yield from _undocumented_in(tree.body)


def _undocumented_in(body: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    for node in body:
        if not isinstance(
            node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) or node.name.startswith("_"):
            continue
        exempt = any(
            "overload" in ast.unparse(each) or ".setter" in ast.unparse(each) for each in node.decorator_list
        )
        if not (exempt or ast.get_docstring(node)):
            yield node.lineno, node.name
        if isinstance(node, ast.ClassDef):
            yield from _undocumented_in(node.body)


def test_nothing_is_left_unfinished() -> None:
    """The package has no note of work to do, and no ignore that hides more than it names."""
    assert not _found(UNFINISHED, SOURCE.rglob("*.py"))
    assert not _found(BARE_IGNORE, (path for path in project_files() if path.suffix == ".py"))


def test_no_machine_is_named() -> None:
    """No file names a folder of one machine, or the host of a package registry."""
    files = [path for path in project_files() if path.suffix in TEXT]
    assert files
    assert not _found(MACHINE, files)
    assert not _found(REGISTRY, files)


def _found(pattern: re.Pattern[str], paths: Iterator[Path] | list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize(
    "pattern, text",
    [
        (UNFINISHED, "# TO" + "DO: later"),
        (UNFINISHED, "raise NotImplemented" + "Error"),
        (BARE_IGNORE, "x = 1  # type: " + "ignore"),
        (BARE_IGNORE, "x = 1  # no" + "qa"),
        (MACHINE, 'open("/ho' + 'me/somebody/file")'),
        (REGISTRY, "--index" + "-url=something"),
    ],
)
def test_the_patterns_find(pattern: re.Pattern[str], text: str) -> None:
    """The test of the test."""
    assert pattern.search(text)


@pytest.mark.parametrize(
    "pattern, text",
    [
        (BARE_IGNORE, "x = 1  # type: ignore[no-any-return]"),
        (BARE_IGNORE, "x = 1  # noqa: BLE001"),
        (MACHINE, "docs/work/plan.md, https://example.net/opt/x"),
    ],
)
def test_the_patterns_spare(pattern: re.Pattern[str], text: str) -> None:
    """What is allowed is not found."""
    assert not pattern.search(text)


def test_every_requirement_is_pinned() -> None:
    """requirements-dev.txt names one version of each package, in the one spelling."""
    lines = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert not [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9A-Za-z.]*", pin)]
    assert len({pin.partition("==")[0] for pin in pins}) == len(pins)


def test_extras_are_the_promised_ones() -> None:
    """`pip install onewriter[cli]` and its like keep working."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cli", "report", "stress", "bench"} <= project["optional-dependencies"].keys()
    assert {re.split("[<>=]", each)[0] for each in project["dependencies"]} == {"apsw", "typing-extensions"}
