"""Which files are uploaded, and in which order."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from onewriter.stress.sources import BadInput, SourceUnreadable, find, standard_library


def test_every_file_is_found_once(folder: Path) -> None:
    """All files below the folder, with their size and digest, numbered without a gap."""
    sources = find(folder, seed=0)
    paths = {path for path in folder.rglob("*") if path.is_file()}
    assert {source.path for source in sources.files} == paths
    assert sorted(source.number for source in sources.files) == list(range(15))
    assert sources.distinct == 12
    assert sources.total_bytes == sum(path.stat().st_size for path in paths)
    for source in sources.files:
        assert source.digest == hashlib.sha256(source.path.read_bytes()).hexdigest()


def test_the_seed_gives_the_order(folder: Path) -> None:
    """The same seed, the same order; another, another."""
    assert find(folder, seed=1) == find(folder, seed=1)
    assert find(folder, seed=1).files != find(folder, seed=2).files


def test_the_standard_library_is_the_default() -> None:
    """Its modules are there; what was installed beside it and what Python compiled are not."""
    sources = find(None, seed=0)
    names = {source.name for source in sources.files}
    assert sources.folder == standard_library()
    assert {"os.py", "json/__init__.py"} <= names
    assert not [name for name in names if "__pycache__" in name or "site-packages" in name]


def test_what_cannot_be_read_is_counted_and_left_out(tmp_path: Path) -> None:
    """A link to nowhere is counted; a pipe, which would never end, is no file at all."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    sources = find(tmp_path, seed=0)
    assert [source.name for source in sources.files] == ["file"]
    assert sources.unreadable == 1


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """A file name may be any bytes; it is shown with those escaped."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).write_text("text")
    (source,) = find(tmp_path, seed=0).files
    assert source.name == "caf\\xe9"
    assert b"".join(source.chunks(3)) == b"text"


def test_a_file_that_goes_says_so(tmp_path: Path) -> None:
    """Reading it is a `SourceUnreadable` with its name, and no OSError."""
    path = tmp_path / "file"
    path.write_text("text")
    (source,) = find(tmp_path, seed=0).files
    path.unlink()
    with pytest.raises(SourceUnreadable, match=r"^file: No such file or directory$"):
        list(source.chunks(4))


@pytest.mark.parametrize(
    "name, message",
    [("nowhere", "no such folder"), ("file", "not a folder"), ("nothing", "holds no file that can be read")],
)
def test_a_bad_folder(name: str, message: str, tmp_path: Path) -> None:
    """Each has its message, with the path."""
    (tmp_path / "file").touch()
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BadInput, match=rf"^--from .*{name}: {message}$"):
        find(tmp_path / name, seed=0)
