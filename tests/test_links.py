"""Which symbolic links a path is followed through, and what is changed at its end."""

from __future__ import annotations

import fcntl
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import onewriter
from onewriter import CannotOpen, Config, links
from tests.support.children import NOBODY, child
from tests.support.modes import mode
from tests.support.outside import IS_ROOT, other_user
from tests.support.places import common_folder

needs_another_user = pytest.mark.skipif(not IS_ROOT, reason="needs another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the other user can reach."""
    with common_folder() as made:
        yield made


def test_a_path_is_resolved_as_python_does(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In trees that are drawn, with links of all kinds, what is missing, and steps back."""
    draw = random.Random(seed)
    root = tmp_path.resolve()
    monkeypatch.chdir(root)
    places = [root]
    for number in range(60):
        place = draw.choice(places) / f"n{number}"
        kind = draw.random()
        if kind < 0.4:
            place.mkdir()
            places.append(place)
        elif kind < 0.5:
            place.touch()
        else:
            others = ("..", ".", "../n3", f"n{number - 1}", "absent/x", f"n{number}")
            target = draw.choice([str(draw.choice(places)), *others])
            place.symlink_to(target)
    names = [*(each.name for each in root.rglob("*")), "..", ".", "", "absent"]
    for _ in range(500):
        text = "/".join(draw.choices(names, k=draw.randint(1, 6)))
        try:
            found = links.resolved(text)
        except OSError:  # a circle
            with pytest.raises(OSError, match="symbolic links"):
                os.stat(text)  # noqa: PTH116 - a text
        else:
            assert found == os.path.realpath(text), text


@needs_another_user
def test_a_link_is_followed_by_who_laid_it(folder: Path) -> None:
    """This user's own, the superuser's and that of the folder's owner are; another's is not, and is named."""
    ours = folder / "ours"
    ours.mkdir()
    ours.chmod(0o777)
    (folder / "real").mkdir()
    (folder / "own").symlink_to(folder / "real")
    with other_user():
        (folder / "owner's").symlink_to(folder / "real")
        (ours / "stranger's").symlink_to(folder / "real")
    assert links.resolved(f"{folder}/own/a.db") == f"{folder}/real/a.db"
    assert links.resolved(f"{folder}/owner's/a.db") == f"{folder}/real/a.db"
    for path in (ours / "stranger's", ours / "stranger's" / "a.db"):
        with pytest.raises(
            CannotOpen, match=rf"stranger's: it is a link that belongs to another user .*{NOBODY}"
        ):
            onewriter.open(path)
    assert not any((folder / "real").iterdir())


_FOLLOWS = """
import sys
with onewriter.open(sys.argv[1]) as db:
    print(db.path)
"""


@needs_another_user
def test_the_superuser_s_links_are_followed_by_anybody(folder: Path) -> None:
    """As in a folder of the system's."""
    (folder / "real").mkdir()
    os.chown(folder / "real", NOBODY, NOBODY)
    (folder / "a.db").symlink_to(folder / "real" / "a.db")
    with child(_FOLLOWS, folder / "a.db", user=NOBODY) as other:
        assert other.end().strip() == str(folder / "real" / "a.db")


def test_a_mode_is_changed_by_the_file_alone(tmp_path: Path) -> None:
    """A link's target keeps its own; a folder is changed as a file is."""
    (tmp_path / "file").touch(mode=0o644)
    (tmp_path / "file").chmod(0o644)
    (tmp_path / "link").symlink_to("file")
    links.change_mode(tmp_path.resolve() / "link", lambda _: 0o600)
    assert mode(tmp_path / "file") == 0o644
    links.change_mode(tmp_path.resolve() / "file", lambda has: has & 0o600)
    assert mode(tmp_path / "file") == 0o600


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_no_folder_above_is_come_to_by_a_link(tmp_path: Path) -> None:
    """Whatever is opened or created: the path is said to have been resolved."""
    root = tmp_path.resolve()
    (root / "real" / "below").mkdir(parents=True)
    (root / "link").symlink_to("real")
    for path in (root / "link" / "a", root / "link" / "below" / "a"):
        with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
            links.with_descriptor(os.fstat, path, os.O_CREAT | os.O_RDWR, 0o600)
    assert [each.name for each in (root / "real").rglob("*")] == ["below"]
    links.with_descriptor(os.fstat, root / "real" / "a", os.O_CREAT | os.O_RDWR, 0o600)
    assert (root / "real" / "a").exists()


_IS_LOCKED = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print("locked")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
@pytest.mark.parametrize("by_name", [True, False])
def test_a_change_of_mode_drops_no_lock(tmp_path: Path, by_name: bool) -> None:
    """The descriptor that stands for the file alone has none; closing one that reads drops them all (the other way)."""
    path = tmp_path.resolve() / "file"
    path.touch()
    path.chmod(0o644)
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX)
        if by_name:
            links.change_mode(path, lambda _: 0o600)
            assert mode(path) == 0o600
        else:
            links.with_descriptor(os.fstat, path, os.O_RDONLY)
        told = subprocess.run(
            [sys.executable, "-c", _IS_LOCKED, path], check=True, capture_output=True, text=True
        )
    finally:
        os.close(file)
    assert told.stdout.strip() == ("locked" if by_name else "")


def test_a_turn_file_with_two_names_is_nobody_s(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It may be another's, and is left as it is; writes go on without."""
    (tmp_path / "other").touch()
    (tmp_path / "other").chmod(0o644)
    (tmp_path / "a.db-turn").hardlink_to(tmp_path / "other")
    onewriter.open(tmp_path / "a.db").close()
    assert (tmp_path / "other").read_bytes() == b""
    assert "it has another name too" in caplog.text


@needs_another_user
@pytest.mark.parametrize("side", ["-wal", "-shm", "-journal"])
def test_what_another_user_has_laid_beside_a_database_is_no_part_of_it(folder: Path, side: str) -> None:
    """SQLite would take it for the database's own; where several users write to the database it may be."""
    path = folder / "a.db"
    onewriter.open(path).close()
    with other_user():
        path.with_name(f"a.db{side}").touch(mode=0o600)
    for read_only in (False, True):
        with pytest.raises(CannotOpen, match=rf"a.db{side}, .* belongs to another user \(number {NOBODY}\)"):
            onewriter.open(path, read_only=read_only)
    onewriter.open(path, config=Config(file_mode=0o660)).close()
    path.chmod(0o660)
    path.with_name(f"a.db{side}").touch(mode=0o600)
    os.chown(path.with_name(f"a.db{side}"), NOBODY, NOBODY)
    onewriter.open(path, read_only=True).close()
    path.chmod(0o600)
    path.with_name(f"a.db{side}").touch(mode=0o600)
    os.chown(path.with_name(f"a.db{side}"), NOBODY, NOBODY)
    os.chown(path, NOBODY, NOBODY)
    onewriter.open(path).close()


@needs_another_user
def test_another_user_s_turn_file_is_not_taken(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """He may cut it, and what is mapped and then cut ends the process."""
    with other_user():
        (folder / "a.db-turn").touch(mode=0o600)
    with onewriter.open(folder / "a.db") as db:
        db.execute("CREATE TABLE t (a)")
    assert "it belongs to another user" in caplog.text
    assert (folder / "a.db-turn").read_bytes() == b""
