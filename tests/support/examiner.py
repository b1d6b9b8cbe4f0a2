"""Damaged databases, one after the other, given to a process that examines each (`examination`).

E1  The examining process may die or hang: that is a finding of that damage, and the next is given to a new one.
E2  Nobody but that process opens the files while it has them: what is damaged live is written from outside.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.support.children import ROOT, child
from tests.support.damaged import PAGE_BYTES, trees
from tests.support.examination import ERROR, LIMIT_S, Findings
from tests.support.flips import HOWS, Flip, draw
from tests.support.layout import CONTENT, Layout, Place

Wal = Literal["none", "filled", "moved"]  # "moved": its pages are in the database too
How = Literal["live", "reading"]
COMMAND: tuple[str, ...] = ("-W", "error", "-X", "faulthandler", "-m", "tests.support.examination")
FILES: Final = ("", "-wal", "-shm")
# What may be said of content that `check` finds nothing wrong with: text that is no text, a value of another type, a
# name that is another (the schema is content too), a value whose last page ends in the middle, or that is longer by its
# type than its row is.
OF_CONTENT: Final = frozenset(
    f"{ERROR}{name}"
    for name in ("DataError", "RowMismatch", "ProgrammingError", "DiskError", "CorruptDatabase")
)
# What may be said of damage at all; what a time-out, a lock or a full disk is said with, may not.
FITTING: Final = frozenset(
    {
        "CannotOpen",
        "CorruptDatabase",
        "DataError",
        "DiskError",  # a read came back short
        "IntegrityError",
        "MigrationError",
        "NotADatabase",
        "ProgrammingError",
        "ReadOnlyDatabase",
        "RowMismatch",
        "SnapshotError",
    }
)


@dataclass(frozen=True)
class Base:
    """A sound database, as its files lie there.

    Attributes:
        files: by the ends of their names.
        layout: of the database, where it has no log.
        sound: what an examination finds in it.
        snapshot: one of it, with what that wrote.
    """

    files: dict[str, bytes]
    layout: Layout | None
    sound: Findings
    snapshot: bytes


class Examiner:
    """Has databases examined, in *folder*."""

    def __init__(self, folder: Path) -> None:
        """Start no process yet."""
        self._path = folder / "a.db"
        self._complaints = folder / "complaints.txt"
        self._process: subprocess.Popen[str] | None = None
        self.examined = 0

    def examine(self, files: Mapping[str, bytes]) -> Findings:
        """Return what is found in the database that has *files*."""
        self._lay(files)
        return self._findings(lambda: self._ask(f"rest {self._path}"))

    def examine_live(self, files: Mapping[str, bytes], end: str, flip: Flip, how: How = "live") -> Findings:
        """Return what is found where the file that ends in *end* is damaged when the database is open."""
        self._lay(files)

        def ask() -> str:
            answer = self._ask(f"{how} {self._path}")
            if answer == "opened":
                damage_from_outside(Path(f"{self._path}{end}"), flip)
                answer = self._ask("go on")
            return answer

        return self._findings(ask)

    def _lay(self, files: Mapping[str, bytes]) -> None:
        for each in self._path.parent.glob("*.db*"):
            if each.name != "first.db":
                each.unlink()
        for end, content in files.items():
            Path(f"{self._path}{end}").write_bytes(content)

    def _findings(self, ask: Callable[[], str]) -> Findings:
        self.examined += 1
        try:
            return Findings(**json.loads(ask()))
        except _Lost as lost:
            self.close()
            return Findings(strange=[str(lost)])

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=LIMIT_S)
            self._process = None

    def _ask(self, line: str) -> str:
        if self._process is None:
            with self._complaints.open("w") as complaints:
                self._process = subprocess.Popen(
                    [sys.executable, *COMMAND],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    text=True,
                    cwd=ROOT,
                )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], LIMIT_S)[0]:
            raise _Lost(f"it hangs: {self._complaints.read_text()}")
        answer = process.stdout.readline()
        if not answer:
            raise _Lost(f"it died: {process.wait(LIMIT_S)}: {self._complaints.read_text()}")
        return answer.strip()


class _Lost(Exception):
    """The examining process died, or hangs."""


def damage_from_outside(path: Path, flip: Flip) -> None:
    """Damage a file that another process has open, in place."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        if flip.how == "cut":
            os.ftruncate(descriptor, flip.at)
        else:
            os.pwrite(descriptor, flip.put, flip.at)
    finally:
        os.close(descriptor)


@contextmanager
def examiner(folder: Path) -> Generator[Examiner]:
    """An `Examiner` for the length of a block."""
    examining = Examiner(folder)
    try:
        yield examining
    finally:
        examining.close()


_BUILD = """
import sys
from pathlib import Path
from tests.support.damaged import build, units_in_order
fills = sys.argv[2] != "none"
db = build(Path(sys.argv[1]), keeps_wal=fills)
if fills:
    units_in_order(db)
    if sys.argv[2] == "moved":
        with db.unsafe_connection() as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    print("built", flush=True)
    sys.stdin.readline()
db.close()
print("built", flush=True)
"""


def make_base(folder: Path, wal: Wal) -> Base:
    """Make a sound database in *folder*, without a *wal*, or as a process leaves it that is killed."""
    path, with_wal = folder / "base.db", wal != "none"
    with child(_BUILD, path, wal) as building:
        building.wait_for("built")
        building.kill()
    files = {end: Path(f"{path}{end}").read_bytes() for end in FILES if Path(f"{path}{end}").exists()}
    assert ("-wal" in files) == with_wal
    layout = None if with_wal else Layout(files[""], trees(path))
    with examiner(folder) as examining:
        sound = examining.examine(files)
        snapshot = (folder / "snapshot.db").read_bytes()
    assert not (told := harm(sound, sound)), told
    return Base(files, layout, sound, snapshot)


def draw_at_rest(drawn: random.Random, base: Base) -> Flip:
    """Draw a damage of the database: of all kinds of places as many, though most bytes are content."""
    assert base.layout is not None
    within = base.layout.at(drawn.choice(list(Place)))
    return draw(drawn, base.files[""], drawn.choice(HOWS), within)


def is_found(found: Findings) -> bool:
    """Whether the database could not be opened, or `check` has found something."""
    return bool(found.problems) or "open to read" in found.errors or "open" in found.errors


def differing(found: Findings, sound: Findings) -> list[str]:
    """Return the questions that were answered by other rows than in the sound database."""
    return [
        name
        for name, answer in found.answers.items()
        if not answer.startswith(ERROR) and answer != sound.answers[name]
    ]


def harm(found: Findings, sound: Findings) -> list[str]:
    """Return all that differs from a *sound* database."""
    failed = [f"{step}: {' '.join(error)}" for step, error in found.errors.items()]
    return [*found.strange, *found.wrong, *found.problems, *failed, *differing(found, sound)]


def unfitting(found: Findings) -> list[str]:
    """Return what may not be, whatever is damaged; an error must fit."""
    odd = {step: error for step, error in found.errors.items() if error[0] not in FITTING}
    return [*found.strange, *map(str, odd.items())]


def judge_at_rest(base: Base, flip: Flip, found: Findings) -> list[str]:
    """Judge the damage of a database without a log; return the complaints.

    D1  What is in no page's use harms nothing.
    D2  What is not a row's own content is found, or leaves all rows as they were.
    D3  Where `check` finds nothing, errors speak of content: see `OF_CONTENT`.
    """
    complaints = [*unfitting(found), *untold(found)]
    others = [*differing(found, base.sound), *failing(found)]
    if not others or is_found(found):
        return complaints
    places = places_of(base, flip)
    if places == {Place.DEAD}:
        complaints.append(f"D1: others than before: {others}")
    if not places & CONTENT:
        named = ", ".join(sorted(place.name for place in places))
        complaints.append(f"D2: check found nothing of {named}, but others than before: {others}")
    return complaints


def failing(found: Findings) -> dict[str, str]:
    """Return the questions that were answered by errors."""
    return {name: answer for name, answer in found.answers.items() if answer.startswith(ERROR)}


def untold(found: Findings) -> list[str]:
    """Return what speaks of damage that `check` has found nothing of (D3)."""
    if is_found(found):
        return []
    odd = {name: answer for name, answer in failing(found).items() if answer not in OF_CONTENT}
    return [*found.wrong, *(f"D3: check found nothing, but {name}: {answer}" for name, answer in odd.items())]


def places_of(base: Base, flip: Flip) -> set[Place]:
    """Return what the bytes are for that are others; a file that has lost whole pages has lost its structure."""
    assert base.layout is not None
    content = base.files[""]
    loses_pages = flip.how == "cut" and len(content) - flip.at >= PAGE_BYTES
    return {Place.PAGE} if loses_pages else base.layout.places_of(flip.changed(content))
