"""docs/threads.md has every module that could share something among threads, and no field that is not there.

H1  A module that imports what threads are made of, or share things by, has a row.
H2  A row names modules that exist, and every field that it names stands in one of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.house import ROOT

SOURCE = ROOT / "src" / "onewriter"
PAGE = ROOT / "docs" / "threads.md"
SHARING = frozenset({"threading", "_thread", "deque", "OrderedDict", "SimpleQueue", "WeakSet", "lru_cache"})
APART = ("stress", "shared.py")  # a user of the library; what the page is about
CODE = re.compile(r"`([\w/]+)`")
NAME = re.compile(r"\w+")


class Row(NamedTuple):
    """A row of the table: its modules, and what is named in the column of the fields."""

    modules: list[str]
    fields: list[str]


def rows_of(page: str) -> list[Row]:
    """Return the rows of the table whose first column is "module"."""
    lines = iter(page.splitlines())
    for line in lines:
        if line.startswith("| module |"):
            break
    next(lines)
    found: list[Row] = []
    for line in lines:
        if not line.startswith("|"):
            break
        modules, fields, *_ = line.strip("|").split("|")
        found.append(Row(CODE.findall(modules), CODE.findall(fields)))
    return found


def faults(source: Path, page: str) -> Iterator[str]:
    """Yield what breaks a rule, in words."""
    rows = rows_of(page)
    named = {module for row in rows for module in row.modules}
    paths = {str(path.relative_to(source).with_suffix("")): path for path in source.rglob("*.py")}
    for module, path in sorted(paths.items()):
        if module not in named and not _is_apart(path, source) and _shares(path):
            yield f"H1: {module} imports {', '.join(sorted(_shares(path)))}, and has no row"
    for row in rows:
        if missing := [module for module in row.modules if module not in paths]:
            yield f"H2: there is no module {', '.join(missing)}"
            continue
        words = {word for module in row.modules for word in NAME.findall(paths[module].read_text("utf-8"))}
        yield from (f"H2: {row.modules} has no {field}" for field in row.fields if field not in words)


def _is_apart(path: Path, source: Path) -> bool:
    return path.relative_to(source).parts[0] in APART


def _shares(path: Path) -> set[str]:
    """Return what *path* uses of `SHARING`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found & SHARING


def test_the_page_has_every_module() -> None:
    """The package and the page keep the rules H1 and H2."""
    assert not (found := list(faults(SOURCE, PAGE.read_text(encoding="utf-8")))), "\n".join(found)


@pytest.mark.parametrize(
    "module, text, rules",
    [
        ("fresh.py", "import threading", ["H1"]),
        ("fresh.py", "from _thread import get_ident", ["H1"]),
        ("fresh.py", "import collections\nqueue = collections.deque()", ["H1"]),
        ("fresh.py", "from collections import deque", ["H1"]),
        ("stress/fresh.py", "import threading", []),
        ("fresh.py", "import os", []),
        ("line.py", "import threading\nclass Line:\n    other = 1", ["H2"]),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, module: str, text: str, rules: list[str]) -> None:
    """The test of the test."""
    page = "| module | fields | written by | kept by |\n|---|---|---|---|\n| `line` | `holder` | | |\n\ntext"
    for name, content in ({"line.py": "import threading\nholder = None"} | {module: text}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert [each.partition(":")[0] for each in faults(tmp_path, page)] == rules


def test_a_row_of_nothing_is_found(tmp_path: Path) -> None:
    """A module that was renamed."""
    page = "| module | fields | written by | kept by |\n|---|---|---|---|\n| `gone` | | | |\n"
    assert list(faults(tmp_path, page)) == ["H2: there is no module gone"]
