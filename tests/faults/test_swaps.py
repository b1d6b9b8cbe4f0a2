"""Another user swaps a name while a database is opened, copied or restored: nothing outside is touched or widened.

He may write in the folder, and is no one else's friend. At each moment at which the library or SQLite asks the system
for a name, the name is swapped right before: for a link, another file, a folder, or nothing. A longer run draws more
of what is swapped for what: ``--soak=400`` passes a hundred times over all moments.

What is not defended: a pipe that comes into the place of a file in the moment between the look at it and SQLite's own
opening of it, which waits for a writer then; and in a folder that another user may rename (he may write in the folder
above it), the moment between SQLite's look for links in the path and its opening of it.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import pytest

import onewriter
from onewriter import Config, Database, Error, drafts, files, handle, links
from tests.support.outside import IS_ROOT, NAME, SNAPSHOT, Ground, ground, other_user
from tests.support.steps import Call, outcome
from tests.support.swaps import FOLDER_LINK, PUTS, Moments, MomentVFS, Put, pipe

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs another user")

VFS: Final = "moments"
CONFIG: Final = Config(migrate_timeout_s=2.0, read_timeout_s=2.0, write_timeout_s=2.0, readers_max=1)
SIDES: Final = ("", "-wal", "-shm", "-journal", "-turn")


class Scene(NamedTuple):
    """What is done, with what there is before, and the names that somebody swaps meanwhile.

    Attributes:
        work: what is done, with which limits; it is given the database where that is *opened* before.
        names: what is swapped; ``part`` is the file that a snapshot is made in.
        exists: there is a database.
        copied: there is one at the destination too.
        opened: the database is open already.
        mode: the database's.
    """

    work: Callable[[Ground, Config, Database | None], object]
    names: tuple[str, ...]
    exists: bool = True
    copied: bool = False
    opened: bool = False
    mode: int = 0o600


def _write(where: Ground, config: Config, _db: Database | None) -> None:
    with onewriter.open(where.path, config=config) as db:
        db.execute("CREATE TABLE IF NOT EXISTS mine (secret TEXT)")
        db.execute("INSERT INTO mine VALUES ('more')")
        db.query("SELECT * FROM mine")


def _read(where: Ground, config: Config, _db: Database | None) -> None:
    with onewriter.open(where.path, config=config, read_only=True) as db:
        db.query("SELECT * FROM mine")


def _snapshot(where: Ground, _config: Config, db: Database | None) -> None:
    assert db is not None
    db.snapshot(where.copy)


def _overwrite(where: Ground, _config: Config, db: Database | None) -> None:
    assert db is not None
    db.snapshot(where.copy, overwrite=True)


def _restore(where: Ground, config: Config, _db: Database | None) -> None:
    onewriter.restore(where.path, where.copy, config)


_OF_DATABASE: Final = tuple(f"{NAME}{side}" for side in SIDES)
_OF_COPY: Final = (SNAPSHOT, f"{SNAPSHOT}-wal", f"{SNAPSHOT}-journal", "part", "part-journal")
SCENES: Final = {
    "new": Scene(_write, _OF_DATABASE, exists=False),
    "existing": Scene(_write, _OF_DATABASE),
    "wide": Scene(_write, _OF_DATABASE, mode=0o644),
    "read-only": Scene(_read, _OF_DATABASE),
    "snapshot": Scene(_snapshot, _OF_COPY, opened=True),
    "overwrite": Scene(_overwrite, _OF_COPY, copied=True, opened=True),
    "restore": Scene(_restore, (*_OF_COPY, NAME)),
    "replace": Scene(_restore, (*_OF_COPY, NAME), copied=True),
}


class Stage(NamedTuple):
    """Where it is done, and the VFS that tells of SQLite's part."""

    where: Ground
    vfs: MomentVFS


@pytest.fixture
def stage() -> Iterator[Stage]:
    """The two folders, one of which another user may write; the logs that the cases make are not shown."""
    vfs = MomentVFS(VFS)
    logging.disable(logging.CRITICAL)
    try:
        with ground() as where:
            yield Stage(where, vfs)
    finally:
        logging.disable(logging.NOTSET)
        vfs.unregister()


class Case(NamedTuple):
    """One call that was made while a name was swapped.

    Attributes:
        place: what was about to be asked of the system; empty where the call ended before the moment came.
        error: what the call raised.
        complaints: what is not as it should be.
    """

    place: str
    error: BaseException | None
    complaints: list[str]


def swapped(
    stage: Stage, scene: Scene, moment: int, act: Callable[[], object], vfs: str | None = VFS
) -> Case:
    """Have the other user *act* at the *moment* of what is done in *scene*; of SQLite's, with *vfs*."""
    where, config = stage.where, replace(CONFIG, vfs=vfs)
    _set(where, scene)

    def acts() -> None:
        with other_user():
            act()

    moments = Moments(moment, acts)
    db = onewriter.open(where.path, config=config) if scene.opened else None
    try:
        with moments.watched(stage.vfs):
            error = outcome(Call(lambda: scene.work(where, config, db)))
        complaints = [*where.touched(), *(where.wide() if scene.mode == 0o600 else ())]
    finally:
        if db is not None:
            db.close()
    if error is not None and not isinstance(error, Error):
        complaints.append(f"it raised {error!r}")
    if where.touched():
        where.restore()
    return Case(moments.place, error, complaints)


def _set(where: Ground, scene: Scene) -> None:
    """Make what there is before."""
    where.clear()
    if scene.exists:
        with onewriter.open(where.path) as made:
            made.execute("CREATE TABLE mine (secret TEXT)")
            made.execute("INSERT INTO mine VALUES ('secret')")
        where.path.chmod(scene.mode)
    if scene.copied:
        shutil.copyfile(where.path, where.copy)
        where.copy.chmod(0o600)


def put_there(stage: Stage, scene: Scene, moment: int, *, name: str, put: Put, vfs: str | None = VFS) -> Case:
    """Have the other user put something in the place of *name*."""

    def act() -> None:
        path = _named(stage.where, name)
        if path is not None:
            put(path, stage.where)

    case = swapped(stage, scene, moment, act, vfs)
    copy = stage.where.copy
    if name == "part" and case.error is None and copy.exists() and copy.stat().st_uid != os.geteuid():
        case.complaints.append("the copy that was made is another user's")
    return case


def _named(where: Ground, name: str) -> Path | None:
    """Return the path of *name*; None where there is no such file at this moment."""
    if not name.startswith("part"):
        return where.common / name
    part = next((each for each in where.common.glob(".*.part")), None)
    return None if part is None else part.with_name(part.name + name.removeprefix("part"))


@pytest.mark.parametrize("scene", SCENES)
def test_a_name_swapped_at_any_moment_harms_nobody(
    stage: Stage, scene: str, seed: int, pytestconfig: pytest.Config
) -> None:
    """At each one, with a name and something in its place that are drawn."""
    draw = random.Random(f"{seed} {scene}")
    soak_s: float | None = pytestconfig.getoption("--soak")
    for _ in range(max(1, int((soak_s or 0.0) / 4))):
        moment, place = 0, "none"
        while place:
            moment += 1
            name, put = draw.choice(SCENES[scene].names), draw.choice(list(PUTS))
            case = put_there(
                stage, SCENES[scene], moment, name=name, put=PUTS[put], vfs=draw.choice((VFS, None))
            )
            place = case.place
            assert case.complaints == [], (moment, place, name, put, case.error)
        assert moment > 10


@pytest.mark.parametrize("scene", SCENES)
def test_a_folder_swapped_for_a_link_harms_nobody(stage: Stage, scene: str) -> None:
    """At each moment but those inside SQLite's own opening."""
    moment, place = 0, "none"
    while place:
        moment += 1
        case = swapped(
            stage, SCENES[scene], moment, lambda: FOLDER_LINK(stage.where.common, stage.where), None
        )
        place = case.place
        assert case.complaints == [], (moment, place, case.error)
    assert moment > 10


@pytest.mark.parametrize("scene", SCENES)
def test_what_lies_there_before_is_not_followed_either(stage: Stage, scene: str) -> None:
    """Whatever another user has put in the place of each name: also a pipe, at which nobody waits."""
    for name in SCENES[scene].names:
        for kind, put in {**PUTS, "pipe": pipe}.items():
            if not name.startswith("part"):
                case = put_there(stage, SCENES[scene], 1, name=name, put=put, vfs=None)
                assert case.complaints == [], (name, kind, case.error)


# --- each defence is needed


def _links_in_the_path(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(handle, "_NOFOLLOW", 0)


def _anybody(_owner: int, _folder: int) -> bool:
    return True


def _unseen(_made: drafts.Draft, _state: os.stat_result) -> None:
    pass


def _links_of_others(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(links, "_may_follow", _anybody)


def _modes(patch: pytest.MonkeyPatch) -> None:
    def by_name(path: Path, change: Callable[[int], int]) -> os.stat_result:
        state = path.stat()
        path.chmod(change(state.st_mode & 0o777))
        return state

    patch.setattr(files, "change_mode", by_name)


def _folders(patch: pytest.MonkeyPatch) -> None:
    def by_name(use: Callable[[int], object], path: Path, flags: int, mode: int = 0) -> os.stat_result:
        return links._opened(use, str(path), flags, mode, None)[1]

    patch.setattr(files, "with_descriptor", by_name)


def _a_second_look(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drafts, "_check_is", _unseen)


@pytest.mark.parametrize(
    "without, scene, name, put",
    [
        (_links_in_the_path, "existing", NAME, "link to a database"),
        (_links_of_others, "existing", NAME, "link to a database"),
        (_modes, "wide", NAME, "link to a database"),
        (_folders, "new", "", "link to a folder"),
        (_a_second_look, "snapshot", "part", "file"),
    ],
)
def test_a_defence_that_is_taken_away_is_missed(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    *,
    without: Callable[[pytest.MonkeyPatch], None],
    scene: str,
    name: str,
    put: str,
) -> None:
    """At some moment or other the judge complains."""
    without(monkeypatch)
    moment, case = 0, Case("none", None, [])
    while case.place and not case.complaints:
        moment += 1
        case = put_there(stage, SCENES[scene], moment, name=name, put=PUTS[put], vfs=None)
    assert case.complaints != []
