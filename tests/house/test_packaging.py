"""What is published: a wheel and an sdist that come out the same each time, and work where nothing else is installed.

P1  Built twice, from two copies of the tree, at two times and under two umasks, they are the same to the byte; and the
    wheel that is built of the sdist is that of the tree.
P2  The metadata is valid, its classifiers are known, and each extra asks for what the code of it imports.
P3  In an environment of its own, with the wheel and what it requires, README's first program runs.
"""

from __future__ import annotations

import ast
import email
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from trove_classifiers import classifiers

from tests.house import ROOT
from tests.house.test_docs import blocks_of

LIMIT_S = 100
TREE = ("src", "tests", "bench", "scripts", "docs")
LATER = {"_typeshed", "annotationlib"}  # of the type checker; of a Python that is newer than some
EXTRAS = {"cli", "otel", "report", "stress", "bench"}


def run(command: Iterable[object], folder: Path, **environment: str) -> str:
    """Run *command* in *folder*, and return what it printed; fail with that where it failed."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def copied(folder: Path, umask: int) -> Path:
    """Copy the tree to *folder*, as somebody with another *umask* has it."""
    for name in TREE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("onewriter-"):
            shutil.copy(path, folder)
    for path in folder.rglob("*"):
        path.chmod(path.stat().st_mode & ~umask)
        os.utime(path, (1_600_000_000, 1_600_000_000 + umask))
    return folder


def built(source: Path, dest: Path, *what: str) -> dict[str, Path]:
    """Build *what* of *source* into *dest* with the pinned backend, and return it by the ends of its names."""
    run([sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", dest, source], source.parent)
    return {
        "".join(each.suffixes[-2:]) if each.suffix == ".gz" else each.suffix: each for each in dest.iterdir()
    }


def digests(paths: dict[str, Path]) -> dict[str, tuple[str, str]]:
    """Return the name and the digest of each."""
    return {kind: (path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for kind, path in paths.items()}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "tree").mkdir()
    return built(copied(folder / "tree", 0o022), folder / "dist", "--wheel", "--sdist")


def test_they_come_out_the_same_each_time(packages: dict[str, Path], tmp_path: Path) -> None:
    """P1: from another place, with other times and modes; and the wheel also of the sdist."""
    (tmp_path / "elsewhere").mkdir()
    again = built(copied(tmp_path / "elsewhere", 0o077), tmp_path / "dist", "--wheel", "--sdist")
    assert set(packages) == {".whl", ".tar.gz"}
    assert digests(again) == digests(packages)
    with tarfile.open(packages[".tar.gz"]) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("onewriter-*")
    of_sdist = built(unpacked, tmp_path / "of sdist", "--wheel")
    assert digests(of_sdist)[".whl"] == digests(packages)[".whl"]


def test_they_hold_what_they_should(packages: dict[str, Path]) -> None:
    """The wheel the package, typed, with its licence, and nothing else; the sdist what the tests need as well."""
    with zipfile.ZipFile(packages[".whl"]) as wheel:
        names = set(wheel.namelist())
        modes = {each.external_attr >> 16 & 0o7777 for each in wheel.infolist()}
    source = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    package = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    others = {
        path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.*") if path.is_file()
    }
    assert (
        source | {"onewriter/py.typed"} <= package <= {each for each in others if "__pycache__" not in each}
    )
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert modes == {0o644}
    with tarfile.open(packages[".tar.gz"]) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert {
        "tests/conftest.py",
        "bench/run.py",
        "scripts/test",
        "docs/guide.md",
        "requirements-dev.txt",
    } <= held
    assert not any("__pycache__" in name or name.startswith((".cache", ".venv", ".git/")) for name in held)


def test_the_metadata_is_right(packages: dict[str, Path]) -> None:
    """P2."""
    with zipfile.ZipFile(packages[".whl"]) as wheel:
        (name,) = (each for each in wheel.namelist() if each.endswith("/METADATA"))
        text = wheel.read(name)
        (scripts,) = (each for each in wheel.namelist() if each.endswith("/entry_points.txt"))
        assert "onewriter = onewriter.__main__:main" in wheel.read(scripts).decode()
    told = Metadata.from_email(text, validate=True)
    assert set(told.classifiers or ()) <= set(classifiers)
    assert "Typing :: Typed" in (told.classifiers or ())
    assert told.license_expression == "MIT"
    assert str(told.requires_python) == ">=3.11"
    assert told.description_content_type == "text/markdown"
    assert email.message_from_bytes(text).get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    plain = [each for each in told.requires_dist or () if each.marker is None]
    assert {each.name for each in plain} == {"apsw", "typing-extensions"}
    assert set(told.provides_extra or ()) == EXTRAS


def _extra_of(path: Path) -> str:
    """Return which extra a module belongs to; "" where that is the library itself."""
    if path.parent.name == "stress":
        return "stress"
    if path.parent.name == "commands" or path.name == "cli.py":
        return "cli"
    return "otel" if path.name == "telemetry.py" else ""


@pytest.mark.parametrize("extra", ["", "cli", "otel", "stress"])
def test_what_is_imported_is_asked_for(extra: str) -> None:
    """P2: by the extra, or by the library itself."""
    needed, known = _required(extra), metadata.packages_distributions()
    missing: set[str] = set()
    for path in (ROOT / "src" / "onewriter").rglob("*.py"):
        names = _imported(path) if _extra_of(path) == extra else set[str]()
        for name in names - sys.stdlib_module_names - {"onewriter"} - LATER:
            given = {each.lower().replace("_", "-") for each in known.get(name, [name])}
            if not given & needed:
                missing.add(f"{path.name}: {name}")
    assert not missing


def _imported(path: Path) -> set[str]:
    """Return the packages that a module imports, wherever in it, its own apart."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            found.add(node.module.partition(".")[0])
    return found


def _required(extra: str) -> set[str]:
    """Return the names of what the library requires, and *extra*, with the extras that this names."""
    found: set[str] = set()
    for text in metadata.requires("onewriter") or ():
        each = Requirement(text)
        if each.marker is None or each.marker.evaluate({"extra": extra}):
            if each.name == "onewriter":
                for inner in each.extras:
                    found |= _required(inner)
            found.add(each.name.lower())
    return found


def test_it_works_where_nothing_else_is_installed(packages: dict[str, Path], tmp_path: Path) -> None:
    """P3: and the command says which extra it needs."""
    venv.create(tmp_path / "venv", symlinks=True, with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(run([python, "-c", "import site; print(site.getsitepackages()[0])"], tmp_path).strip())
    for name in ("apsw", "typing-extensions"):  # as pip would lay them, without asking a registry for them
        _lay(name, site)
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    run([*pip, "install", "--no-index", packages[".whl"]], tmp_path)
    run([*pip, "check"], tmp_path)
    assert run([*pip, "list", "--format", "freeze"], tmp_path).count("==") <= 5  # with pip's own
    first = next(
        each
        for each in blocks_of((ROOT / "README.md").read_text(encoding="utf-8"))
        if each.language == "python"
    )
    program = "\n".join([*first.lines, "print(onewriter.__file__)"])
    (tmp_path / "first.py").write_text(program, encoding="utf-8")
    assert str(site) in run([python, "-W", "error", "first.py"], tmp_path)
    command = subprocess.run(
        [tmp_path / "venv" / "bin" / "onewriter", "check", "data/registry.db"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert command.returncode == 2
    assert "which is not installed: pip install" in command.stderr
    assert len(command.stderr.splitlines()) == 1


def _lay(name: str, site: Path) -> None:
    """Copy the files of an installed distribution to *site*."""
    for each in metadata.files(name) or ():
        if ".." not in each.parts and "__pycache__" not in each.parts:
            target = site / each
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(each.locate(), target)
