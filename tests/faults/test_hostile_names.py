"""Any text in the place of a file's name: it is a file, or it is refused; nothing waits, nothing else is touched."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

import onewriter
from onewriter import Config, Error
from tests.support.hostile import attempt
from tests.support.places import in_memory
from tests.support.steps import Call, outcome

CONFIG: Final = Config(migrate_timeout_s=1.0, read_timeout_s=1.0, write_timeout_s=1.0)
PARTS: Final = (
    *(
        "a",
        "a.db",
        "-wal",
        "-journal",
        "-shm",
        "-turn",
        ".part",
        ".",
        "..",
        "...",
        " ",
        "~",
        "*",
        "?",
        "#",
        "%",
        "%00",
    ),
    *(
        "file:",
        "file:a.db?mode=memory",
        ":memory:",
        "?vfs=unix-none",
        "&",
        ";",
        "'",
        '"',
        "\\",
        "\\x00",
        "//",
        "/",
    ),
    *(
        "\n",
        "\r",
        "\t",
        "\x1b[2J",
        "\x7f",
        "\x01",
        "\u202e",
        "\ufeff",
        "é",
        "e\u0301",
        "\U0001f600",
        "\udcff",
        "\ud800",
    ),
    *("x" * 100, "x" * 240, "x" * 250, "x" * 255, "x" * 256, "y" * 5_000, "z/" * 200, "\0"),
)
SYSTEM: Final = (
    *("/", "//", "/.", "/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/stdin", "/dev/fd/0", "/dev"),
    *(
        "/proc",
        "/proc/self/mem",
        "/proc/self/maps",
        "/proc/self/environ",
        "/proc/self/fd/0",
        "/proc/self/exe",
    ),
    *(
        "/proc/self/cmdline",
        "/proc/1/mem",
        "/proc/kmsg",
        "/proc/sys/kernel/hostname",
        "/sys/kernel/mm/ksm/run",
    ),
    *(
        "/proc/self/fd/999999",
        "/proc/self/cwd",
        "/proc/self/root",
        "/proc/self/attr/current",
        "/proc/nonsense",
    ),
)
KINDS: Final = (
    "nothing",
    "empty",
    "text",
    "one byte",
    "folder",
    "pipe",
    "socket",
    "link",
    "loop",
    "database",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where relative names lead; it has one of each kind of file."""
    with in_memory(tmp_path / "disk") as disk:
        below = disk / "below"
        below.mkdir()
        with monkeypatch.context() as patch:
            patch.chdir(below)
            yield below
        _clear(below)


def _clear(below: Path) -> None:
    for each in sorted(below.rglob("*"), reverse=True):  # deeper than `shutil.rmtree` may go
        each.rmdir() if each.is_dir() and not each.is_symlink() else each.unlink()


def _make(kind: str, path: Path) -> None:
    if kind == "empty":
        path.touch()
    elif kind in ("text", "one byte"):
        path.write_text("some text, and no database\n" * 100 if kind == "text" else "x")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, 0o140600)
    elif kind == "link":
        path.symlink_to("elsewhere.db")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "database":
        onewriter.open(path).close()


def _use(path: str) -> None:
    with onewriter.open(path, config=CONFIG) as db:
        db.execute("CREATE TABLE IF NOT EXISTS t (a)")
        db.query("SELECT * FROM t")
    with onewriter.open(path, config=CONFIG, read_only=True) as db:
        db.query("SELECT * FROM t")


def _all(path: str, source: Path) -> None:
    """Do with the name what can be done with one, each within the limit of a call."""
    for name, work in (
        ("open", lambda: _use(path)),
        ("read", lambda: onewriter.open(path, config=CONFIG, read_only=True).close()),
        ("snapshot", lambda: _snapshot(source, path)),
        ("restore to", lambda: onewriter.restore(source, path, CONFIG)),
        ("restore from", lambda: onewriter.restore(path, source.with_name("restored.db"), CONFIG)),
    ):
        error = outcome(Call(lambda: attempt(work, (name, path))))  # noqa: B023 - ended in this turn
        assert error is None, (name, path, error)


def _snapshot(source: Path, path: str) -> None:
    with onewriter.open(source, config=CONFIG) as db:
        db.snapshot(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A database elsewhere."""
    path = tmp_path.resolve() / "source.db"
    with onewriter.open(path) as db:
        db.execute("CREATE TABLE t (a)")
    return path


def test_any_name_is_a_file_or_refused(folder: Path, source: Path, seed: int) -> None:
    """Parts of names in any order, relative and absolute."""
    draw = random.Random(seed)
    names = [*PARTS, *("".join(draw.choices(PARTS, k=draw.randint(2, 4))) for _ in range(15))]
    for name in names:
        if ".." not in name and not name.startswith("/"):
            _all(name, source)
            _all(f"{folder}/{name}", source)
    with onewriter.open(source) as db:
        assert db.check() == []


@pytest.mark.parametrize("name", SYSTEM)
def test_a_file_of_the_system_s_is_refused(source: Path, name: str) -> None:
    """And no one waits at it. To read, one whose size is 0 is an empty database, as SQLite has it."""
    works: tuple[Callable[[], object], ...] = (
        lambda: onewriter.open(name, config=CONFIG),
        lambda: _snapshot(source, name),
        lambda: onewriter.restore(source, name, CONFIG),
    )
    for work in works:
        error = outcome(Call(work))
        assert isinstance(error, Error), (name, error)
    error = outcome(Call(lambda: onewriter.open(name, config=CONFIG, read_only=True).close()))
    assert isinstance(error, Error) or Path(name).stat().st_size == 0, (name, error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["", "-wal", "-shm", "-journal", "-turn"])
def test_any_kind_of_file_is_used_or_refused(folder: Path, source: Path, kind: str, side: str) -> None:
    """In the place of the database, of what is beside it, and of a folder above."""
    if not side:
        _make(kind, folder / "above")
        _all(str(folder / "above" / "a.db"), source)
    for exists in (False, True) if side else (False,):
        path = folder / f"a{exists}.db"
        if exists:
            onewriter.open(path).close()
            path.with_name(f"{path.name}-turn").unlink()
        _make(kind, path.with_name(path.name + side))
        _all(str(path), source)
