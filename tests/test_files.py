"""The files of a database: their permissions, names that are refused, and how a finished file gets its name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onewriter import CannotOpen, ProgrammingError, drafts, files
from tests.support.children import as_nobody
from tests.support.modes import UMASKS, mode, umask
from tests.support.places import common_folder
from tests.support.steps import calls

every_umask = pytest.mark.parametrize("bits", UMASKS, ids=oct)


# --- names


@pytest.mark.parametrize("path", ["", ":memory:", "file:x.db", "file::memory:?cache=shared", "a\0b"])
def test_a_name_that_is_no_file_is_refused(path: str) -> None:
    """Names with a meaning of their own for SQLite, or for nobody, are a mistake of the program."""
    with pytest.raises(ProgrammingError, match=r"the path|not supported"):
        files.real_path(path)


@pytest.mark.parametrize("path", [b"x.db", 5, None, Path, object()])
def test_a_path_is_a_text_or_a_path(path: object) -> None:
    """Anything else is refused by the name of its type."""
    with pytest.raises(ProgrammingError, match="must be a str or a Path"):
        files.real_path(path)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_path_is_made_absolute_and_links_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite keeps the -wal beside the real file, and so do we."""
    real = tmp_path.resolve() / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(tmp_path)
    assert files.real_path("link/a.db") == real / "a.db"
    assert files.real_path("./file:a.db") == tmp_path.resolve() / "file:a.db"


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """SQLite takes UTF-8 only; the message can be printed all the same."""
    with pytest.raises(CannotOpen, match="not UTF-8") as caught:
        files.real_path(tmp_path / os.fsdecode(b"\xff.db"))
    assert str(caught.value).isprintable()


def test_a_name_that_ends_in_a_slash_is_a_folder(tmp_path: Path) -> None:
    """It would otherwise become a file without the slash."""
    with pytest.raises(CannotOpen, match="names a folder"):
        files.real_path(f"{tmp_path}/data/")


# --- folders


@every_umask
def test_new_folders_are_private(tmp_path: Path, bits: int) -> None:
    """Every folder that is created has mode 0700, whatever the umask; they are returned from the top."""
    below = tmp_path / "a" / "b" / "c"
    with umask(bits):
        made = files.make_folder(below)
    assert made == (tmp_path / "a", tmp_path / "a" / "b", below)
    assert [mode(folder) for folder in made] == [0o700] * 3


def test_folders_that_exist_are_left_alone(tmp_path: Path) -> None:
    """The mode of a folder that was not created here is its owner's business."""
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide").chmod(0o755)
    assert files.make_folder(tmp_path / "wide") == ()
    files.make_folder(tmp_path / "wide" / "new")
    assert mode(tmp_path / "wide") == 0o755


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    """The message names the file that is in the way."""
    (tmp_path / "file").touch()
    with pytest.raises(CannotOpen, match=r"/file: there is a file of that name"):
        files.make_folder(tmp_path / "file" / "a")
    with pytest.raises(CannotOpen, match=r"there is a file of that name"):
        files.make_folder(tmp_path / "file")


def test_a_folder_that_another_process_makes_meanwhile_is_taken(tmp_path: Path) -> None:
    """Whoever comes second finds it there: no error, and it is not called its own."""
    made = [
        each
        for call in calls(lambda _: files.make_folder(tmp_path / "a" / "b" / "c"), 8)
        for each in call.result()
    ]
    assert sorted(made) == [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]


def test_new_folders_go_again_with_what_failed(tmp_path: Path) -> None:
    """Those that were made for it, as far as they are empty; not those that were there."""
    (tmp_path / "old").mkdir()
    with pytest.raises(ZeroDivisionError), files.folder_for(tmp_path / "old" / "a" / "b" / "file"):
        (tmp_path / "old" / "a" / "other").touch()
        raise ZeroDivisionError
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a", "old", "other"]


# --- files


@every_umask
@pytest.mark.parametrize("wanted", [0o600, 0o660], ids=oct)
def test_a_new_file_has_its_mode(tmp_path: Path, bits: int, wanted: int) -> None:
    """The umask takes nothing from it and adds nothing to it."""
    with umask(bits):
        assert files.create(tmp_path / "a", wanted)
    assert mode(tmp_path / "a") == wanted


def test_a_file_that_exists_is_not_created(tmp_path: Path) -> None:
    """Nor opened: only its absence is acted upon."""
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "a").chmod(0o644)
    assert not files.create(tmp_path / "a", 0o600)
    assert (tmp_path / "a").read_bytes() == b"content"
    assert mode(tmp_path / "a") == 0o644


def test_a_mode_is_narrowed_and_never_widened(tmp_path: Path) -> None:
    """The file and those beside it lose what the mode does not have, and gain nothing."""
    modes = {"a": 0o666, "a-wal": 0o644, "a-shm": 0o400, "b": 0o777}
    for name, before in modes.items():
        (tmp_path / name).touch()
        (tmp_path / name).chmod(before)
    files.narrow(tmp_path / "a", 0o660)
    assert {name: mode(tmp_path / name) for name in modes} == {
        "a": 0o660,
        "a-wal": 0o640,
        "a-shm": 0o400,
        "b": 0o777,
    }


_NARROW = """
import sys
from pathlib import Path
from onewriter import CannotOpen, files
try:
    files.narrow(Path(sys.argv[1]), 0o600)
except CannotOpen as error:
    print(error)
"""


@pytest.mark.parametrize("side", files.SIDES)
def test_what_a_link_beside_it_leads_to_is_left_as_it_is(tmp_path: Path, side: str) -> None:
    """Whoever may write in the folder could else have any file's mode changed by who opens the database."""
    (tmp_path / "a").touch(mode=0o600)
    victim = tmp_path / "victim"
    victim.touch()
    victim.chmod(0o644)
    (tmp_path / f"a{side}").symlink_to(victim)
    files.narrow(tmp_path / "a", 0o600)
    assert mode(victim) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file of another user")
def test_a_mode_that_cannot_be_narrowed_is_told(tmp_path: Path) -> None:
    """A file of another user that is too wide is refused, with the way out."""
    with common_folder() as folder:
        (folder / "a").touch()
        (folder / "a").chmod(0o666)
        told = as_nobody(_NARROW, folder / "a")
    assert f"cannot make {folder / 'a'} private" in told
    assert "Config(file_mode=" in told


_CREATE = """
import sys
from pathlib import Path
from onewriter import Error, files
for call in (lambda path: files.make_folder(path / "x"), lambda path: files.create(path / "x", 0o600)):
    try:
        call(Path(sys.argv[1]))
    except Error as error:
        print(type(error).__name__, error)
"""


def test_a_folder_without_permission_is_named() -> None:
    """Neither a folder nor a file can be made there; the place cannot be written."""
    with common_folder() as folder:
        folder.chmod(0o500)
        told = as_nobody(_CREATE, folder).splitlines()
    assert told == [
        f"ReadOnlyDatabase cannot create the folder {folder / 'x'}: Permission denied",
        f"ReadOnlyDatabase cannot create {folder / 'x'}: Permission denied",
    ]


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """A folder, a pipe, a path through a file, a circle of links: each by its name."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(CannotOpen, match="it is a folder"):
        files.look_at(tmp_path)
    with pytest.raises(CannotOpen, match=r"pipe: it is not a regular file"):
        files.look_at(tmp_path / "pipe")
    with pytest.raises(CannotOpen, match=r"file/a: Not a directory"):
        files.look_at(tmp_path / "file" / "a")
    with pytest.raises(CannotOpen, match=r"circle: Too many levels"):
        files.look_at(tmp_path / "circle")
    assert files.look_at(tmp_path / "absent") is None


# --- putting in place


def test_a_finished_file_gets_its_name(tmp_path: Path) -> None:
    """Under the name it had while it was made it is gone, with all beside it."""
    with drafts.unfinished(tmp_path / "a", 0o600) as made:
        assert mode(made.path) == 0o600
        made.path.write_bytes(b"new")
        files.beside(made.path, "-journal").touch()
        drafts.put_in_place(made, tmp_path / "a", overwrite=False)
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_name_that_is_taken_stays_so(tmp_path: Path) -> None:
    """Also where it was taken a moment ago, and also by a link that leads nowhere."""
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError), drafts.unfinished(tmp_path / "a", 0o600) as made:
        drafts.put_in_place(made, tmp_path / "a", overwrite=False)
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_name_is_taken_over_when_asked(tmp_path: Path) -> None:
    """With overwrite the old file is replaced in one step."""
    (tmp_path / "a").write_bytes(b"old")
    with drafts.unfinished(tmp_path / "a", 0o600) as made:
        made.path.write_bytes(b"new")
        drafts.put_in_place(made, tmp_path / "a", overwrite=True)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_without_hard_links_a_file_gets_its_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have none: then it is renamed, and still never over another."""

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    for _ in range(2):
        with drafts.unfinished(tmp_path / "a", 0o600) as made:
            if (tmp_path / "a").exists():
                with pytest.raises(FileExistsError):
                    drafts.put_in_place(made, tmp_path / "a", overwrite=False)
            else:
                drafts.put_in_place(made, tmp_path / "a", overwrite=False)
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
