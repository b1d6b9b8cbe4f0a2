"""Imports flow one way: a module imports only from its own row of `LAYERS` or from one above.

L1  Every module of the package has its place in `LAYERS`; a new one is put there by hand.
L2  No import points down the list, wherever it stands in the file: an import within a function, or for the type
    checker alone, ties two modules together as well. Nor do modules of one row import each other in a circle.
L3  APSW is known to the modules in `KNOW_APSW` alone. Others may name its types for the type checker.
L4  `line` knows no SQLite, not even through what it imports.
L5  The commands are users of the library like any other: they import the public package.
L6  Nothing imports the standard library's `sqlite3`: a second SQLite in the process drops the locks of the first.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.house import ROOT

PACKAGE = "onewriter"
SOURCE = ROOT / "src" / PACKAGE

# From what everything may use down to what nothing may use. "__init__" is `import onewriter` itself; "stress" and
# "commands" stand for all modules of their folders. A module that the design plans may have its place before it exists.
LAYERS = (
    ("errors",),
    ("values", "config", "clock", "samples", "locks", "shared", "errands", "marks", "helpers", "trails"),
    ("counts",),
    ("trials", "links"),
    ("files", "presence", "forks", "exits", "gates", "blocks", "loans"),
    ("futexes", "drafts"),
    ("turnfile",),
    ("roll",),
    ("contenders",),
    ("blockers", "lookout"),
    ("guard", "statements", "translate", "descriptors"),
    ("rows", "converters"),
    ("functions",),
    ("results", "nets"),
    ("changes",),
    ("observer",),
    ("kinds", "parameters"),
    ("shapes",),
    ("makers",),
    ("mapping",),
    ("opened",),
    ("handle",),
    ("executor",),
    ("upkeep",),
    ("connection",),
    ("reader", "lent", "custody", "sources", "recording"),
    ("queries", "streams", "blobs"),
    ("transaction",),
    ("tickets", "requests", "futures", "migration"),
    ("places",),
    ("line", "turn"),
    ("refusals",),
    ("checkpoints",),
    ("batch",),
    ("slow",),
    ("writer", "readers"),
    ("tracing",),
    ("turns", "background"),
    ("watch", "observers"),
    ("interactive", "migrations", "snapshots"),
    ("core", "stats", "reading", "filestatus"),
    ("telemetry", "observing"),
    ("database",),
    ("traced",),
    ("opening",),
    ("aio",),
    ("__init__",),
    ("stress", "commands"),
    ("cli",),
    ("__main__",),
)
# `connection`, what it is made of, and the ways that the stress command compares with (they are APSW by design).
KNOW_APSW = {
    "descriptors",
    "guard",
    "translate",
    "handle",
    "executor",
    "upkeep",
    "connection",
    "recording",
    "opened",
    "stress",
}
KNOW_NO_SQLITE = {"tickets", "places", "line"}
PUBLIC_ONLY = {"stress", "commands"}
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}


class Import(NamedTuple):
    """An import statement: *importer* asks for *target* ("apsw", "onewriter.files", ...)."""

    importer: str
    target: str
    place: str
    typing_only: bool

    @property
    def outside(self) -> str:
        """The top-level package that is imported."""
        return self.target.partition(".")[0]

    @property
    def own(self) -> str | None:
        """The module of this package that is imported, as `LAYERS` names it."""
        first, _, rest = self.target.partition(".")
        return (rest.split(".")[0] or "__init__") if first == PACKAGE else None


def modules_of(source: Path) -> dict[Path, str]:
    """Return the name in `LAYERS` of each module below *source*."""
    paths = [(path, path.relative_to(source)) for path in sorted(source.rglob("*.py"))]
    return {path: relative.parts[0] if len(relative.parts) > 1 else relative.stem for path, relative in paths}


def imports_of(path: Path, importer: str, source: Path) -> Iterator[Import]:
    """Yield the imports of one file, relative ones made absolute."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = (PACKAGE, *path.relative_to(source).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            # `from . import files` imports a module, `from . import Config` a name of the package.
            targets = [f"{base}.{alias.name}" for alias in node.names] if base == PACKAGE else [base]
            targets = [target if _is_module(target, source) else base for target in targets]
        else:
            continue
        for target in targets:
            yield Import(importer, target, f"{path.name}:{node.lineno}", id(node) in typing_only)


def _is_module(target: str, source: Path) -> bool:
    place = source.joinpath(*target.split(".")[1:])
    return place.is_dir() or place.with_suffix(".py").exists()


def faults(source: Path) -> list[str]:
    """Return what breaks a rule below *source*, in words."""
    modules = modules_of(source)
    found = [
        f"L1: {path.name} has no place in LAYERS of tests/house/test_layers.py: put {module!r} in the highest row "
        "that stands below all it imports, and into KNOW_APSW only if the connection alone uses it"
        for path, module in modules.items()
        if module not in RANK
    ]
    imports = [each for path, module in modules.items() for each in imports_of(path, module, source)]
    known = [each for each in imports if each.importer in RANK]
    for each in known:
        found += _faults_of(each)
    return [*found, *_circles(known), *_taints(known)]


def _faults_of(each: Import) -> Iterator[str]:
    where = f"{each.place}: {each.importer} imports {each.target}"
    if each.outside == "sqlite3":
        yield f"L6: {where}; APSW brings the only SQLite"
    if each.outside == "apsw" and each.importer not in KNOW_APSW and not each.typing_only:
        yield f"L3: {where}; ask the connection instead"
    own = each.own
    if own is None or own not in RANK or own == each.importer:
        return
    if RANK[own] > RANK[each.importer]:
        yield f"L2: {where}, which stands lower in LAYERS"
    if each.importer in PUBLIC_ONLY and own != "__init__":
        yield f"L5: {where}; a user has `import {PACKAGE}` only"


def _circles(imports: list[Import]) -> Iterator[str]:
    for layer in LAYERS:
        circle = [module for module in layer if module in _reach(module, imports, layer)]
        if circle:
            yield f"L2: {' and '.join(circle)} import each other in a circle"


def _taints(imports: list[Import]) -> Iterator[str]:
    for module in sorted(KNOW_NO_SQLITE):
        reached = {module} | _reach(module, imports, RANK)
        tainted = reached & KNOW_APSW
        apsw = [each for each in imports if each.outside == "apsw" and each.importer in reached]
        tainted |= {each.importer for each in apsw if not each.typing_only or each.importer == module}
        if tainted:
            yield f"L4: {module} must know no SQLite, and comes to it through {', '.join(sorted(tainted))}"


def _reach(start: str, imports: list[Import], within: Iterable[str]) -> set[str]:
    """Return what *start* comes to by imports among the modules *within*."""
    reached: set[str] = set()
    waiting = {start}
    while waiting:
        module = waiting.pop()
        needs = {each.own for each in imports if each.importer == module and each.own != module}
        waiting |= (new := set(within) & needs - reached)
        reached |= new
    return reached


def test_imports_flow_one_way() -> None:
    """The package keeps the rules L1 to L6."""
    assert not (found := faults(SOURCE)), "\n".join(found)


@pytest.mark.parametrize(
    "module, text, rules",
    [
        ("errors.py", "from .database import Database", "L2 L4"),
        ("errors.py", "from onewriter.database import Database", "L2 L4"),
        ("errors.py", "from . import database", "L2 L4"),
        ("errors.py", "def late():\n    from onewriter import database", "L2 L4"),
        (
            "errors.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .files import look",
            "L2",
        ),
        ("files.py", "from onewriter import Config", "L2"),
        ("config.py", "from . import values", "L2"),
        ("config.py", "import apsw.ext", "L3"),
        ("line.py", "from . import connection", "L4"),
        ("line.py", "from .transaction import Transaction", "L4"),
        ("stress/ways.py", "from onewriter.database import Database", "L5"),
        ("stress/ways.py", "from ..files import look", "L5"),
        ("database.py", "from sqlite3 import connect", "L6"),
        ("brand_new.py", "", "L1"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, module: str, text: str, rules: str) -> None:
    """The test of the test: each rule, broken in a small package, is named, and no other."""
    _plant(tmp_path, {module: text})
    found = faults(tmp_path)
    assert {each.partition(": ")[0] for each in found} == set(rules.split()), found


def test_what_is_allowed_is_allowed(tmp_path: Path) -> None:
    """Imports up the list, sideways without a circle, APSW's types for the checker, the public package in stress."""
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import apsw"
    public = "import apsw\nimport onewriter\nfrom onewriter import Config\nfrom . import report"
    _plant(tmp_path, {"config.py": typed, "stress/ways.py": public, "cli.py": "from .stress import ways"})
    assert not faults(tmp_path)


def _plant(source: Path, changes: dict[str, str]) -> None:
    texts = {
        "__init__.py": "from .database import Database",
        "errors.py": "",
        "values.py": "from . import config",
        "config.py": "",
        "files.py": "from .errors import Error",
        "connection.py": "import apsw\nfrom .files import look",
        "transaction.py": "from .connection import Connection",
        "line.py": "from .errors import Error",
        "database.py": "from . import line, transaction",
        "stress/__init__.py": "",
        "stress/report.py": "",
        "stress/ways.py": "",
    }
    for name, text in (texts | changes).items():
        path = source / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
