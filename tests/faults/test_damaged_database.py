"""A database file with bits, bytes or sectors that came back wrong: an error that says so, or the right rows.

D1 to D3: see `judge_at_rest`. What SQLite cannot know to be wrong, a row's own content, is told apart by where the
damage lies (`layout`), and only there may rows be others without a word.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

import onewriter
from onewriter import CorruptDatabase, Database
from onewriter.cli import app
from tests.support.databases import PATIENT, in_line
from tests.support.examination import Findings, examine_at_rest
from tests.support.examiner import (
    Base,
    damage_from_outside,
    draw_at_rest,
    examiner,
    harm,
    judge_at_rest,
    make_base,
)
from tests.support.flips import Flip
from tests.support.layout import Place
from tests.support.steps import outcome

FLIPS: Final = 45  # of each sweep; `tests.support.sweep` makes any number


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A database that was closed."""
    return make_base(tmp_path_factory.mktemp("base"), "none")


@pytest.fixture
def folder(base: Base, tmp_path: Path) -> Path:
    """Where databases are examined, with the snapshot of the sound one."""
    (tmp_path / "first.db").write_bytes(base.snapshot)
    return tmp_path


def test_the_base_has_a_bit_of_everything(base: Base) -> None:
    """Each kind of place is there."""
    assert base.layout is not None
    assert set(base.layout.places) == set(Place)


def test_damage_at_rest(base: Base, folder: Path, seed: int) -> None:
    """Opened, asked, written in all ways, migrated, copied: never a crash, a hang, or nonsense without a word."""
    drawn, complaints = random.Random(seed), list[str]()
    with examiner(folder) as examining:
        for number in range(FLIPS):
            flip = draw_at_rest(drawn, base)
            found = examining.examine({"": flip.apply(base.files[""])})
            complaints += [f"{number}, {flip}: {each}" for each in judge_at_rest(base, flip, found)]
    assert not complaints, "\n".join(complaints)


def test_damage_while_it_is_open(base: Base, folder: Path, seed: int) -> None:
    """What was read before may be right still; the rest is as if it had come before the opening."""
    drawn, complaints = random.Random(seed), list[str]()
    with examiner(folder) as examining:
        for number in range(FLIPS // 3):
            flip = draw_at_rest(drawn, base)
            found = examining.examine_live(base.files, "", flip)
            complaints += [f"{number}, {flip}: {each}" for each in judge_at_rest(base, flip, found)]
    assert not complaints, "\n".join(complaints)


def test_the_command_tells_of_any_damage(base: Base, tmp_path: Path, seed: int) -> None:
    """`onewriter check` has a status, a line for each problem, and no traceback, whatever the file holds."""
    drawn, path = random.Random(seed), tmp_path / "a.db"
    for number in range(FLIPS // 2):
        flip = draw_at_rest(drawn, base)
        for each in tmp_path.iterdir():
            each.unlink()
        path.write_bytes(flip.apply(base.files[""]))
        done = CliRunner().invoke(app, ["check", str(path), "--json"])
        where = f"{number}, {flip}: {done.exit_code} {done.output} {done.exception!r}"
        told = json.loads(done.stdout)
        assert (done.exit_code, bool(told["problems"])) in {(0, False), (1, True), (2, False)}, where
        assert told["sound"] is {0: True, 1: False, 2: None}[done.exit_code], where
        assert not [each for each in told["problems"] if len(each.splitlines()) != 1], where


# --- by hand


def overwrite_at(path: Path, at: int, put: bytes) -> None:
    """Write *put* into a file that nobody of this process has open."""
    content = path.read_bytes()
    path.write_bytes(content[:at] + put + content[at + len(put) :])


PAGE: Final = 4096
TABLES: Final = onewriter.Migration(
    1, "two tables", "CREATE TABLE good (a TEXT); CREATE TABLE bad (a TEXT); INSERT INTO bad VALUES ('x')"
)


@pytest.fixture
def half_damaged(tmp_path: Path) -> Path:
    """A database of two tables, the page of one of which is garbage."""
    path = tmp_path / "a.db"
    with onewriter.open(path, migrations=[TABLES]) as db:
        root = db.query_value("SELECT rootpage FROM sqlite_schema WHERE name = 'bad'", into=int)
    overwrite_at(path, (root - 1) * PAGE, b"\xaa" * PAGE)
    return path


def test_who_meets_no_damage_hears_nothing_of_it(half_damaged: Path) -> None:
    """Of four requests that share a commit one comes to the damaged page: it alone fails, and nothing of it stays."""

    def good(name: str) -> Callable[[], object]:
        return lambda: db.execute("INSERT INTO good VALUES (?)", (name,))

    def both(tx: onewriter.Transaction) -> None:
        tx.execute("INSERT INTO good VALUES ('with bad')")
        tx.execute("INSERT INTO bad VALUES ('y')")

    with onewriter.open(half_damaged, config=PATIENT) as db:
        outcomes = [
            outcome(call) for call in in_line(db, good("1"), lambda: db.write(both), good("2"), good("3"))
        ]
        assert [type(each) for each in outcomes] == [type(None), CorruptDatabase, type(None), type(None)]
        assert db.query("SELECT a FROM good", into=str) == ["1", "2", "3"]
        with pytest.raises(CorruptDatabase):
            db.query("SELECT a FROM bad")
        assert db.check() != []
        assert db.stats().pending == 0


def test_each_problem_is_listed_for_itself(half_damaged: Path) -> None:
    """One a line, without SQLite's title; those that it told before it gave up stand."""
    with onewriter.open(half_damaged) as db:
        problems = db.check()
    assert [each for each in problems if each.startswith("Tree ")]
    assert "malformed" in problems[-1]
    assert not [each for each in problems if "\n" in each or each.startswith("***")], problems


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """A name in the schema has a byte that is not UTF-8: what comes to it is a `DataError`, a close says nothing."""
    path = tmp_path / "a.db"
    with onewriter.open(path, migrations=[TABLES]) as db:
        db.execute("CREATE INDEX some_index ON good (a)")
    path.write_bytes(path.read_bytes().replace(b"some_index", b"some_\xffndex"))
    with onewriter.open(path) as db:
        for call in (
            lambda: db.query("SELECT a FROM good WHERE a > 1"),
            lambda: db.query("SELECT name FROM sqlite_schema"),
            db.vacuum,
        ):
            with suppress(onewriter.DataError):
                call()
        with suppress(onewriter.SnapshotError):
            db.snapshot(tmp_path / "s.db")
        db.check()
        db.migrate([TABLES, onewriter.Migration(2, "more", "CREATE TABLE more (a)")])
    assert db.closed


def test_the_first_page_is_lost_while_it_is_open(half_damaged: Path) -> None:
    """`check` lists that, though no further connection can be opened."""
    with onewriter.open(half_damaged) as db:
        damage_from_outside(half_damaged, Flip("zeros", 0, bytes(PAGE)))
        assert db.check() == [f"cannot open {half_damaged}: file is not a database"]


# --- the judge itself


def test_the_judge_sees_what_check_keeps_quiet(base: Base, folder: Path) -> None:
    """A pointer to a cell is another: were `check` to find nothing of it, that would be a complaint."""
    assert base.layout is not None
    at = base.layout.at(Place.INDEX)[7]
    flip = Flip("byte", at, bytes([base.files[""][at] ^ 1]))
    with examiner(folder) as examining:
        found = examining.examine({"": flip.apply(base.files[""])})
    assert found.problems
    assert judge_at_rest(base, flip, found) == []
    found.problems = []
    assert "D2" in "".join(judge_at_rest(base, flip, found))


def _unsound(db: Database, dest: Path, *, overwrite: bool, **_: object) -> Path:
    taken = _snapshot(db, dest, overwrite=overwrite)
    overwrite_at(taken, 39, b"\x01")  # so many pages are free, says the header
    return taken


def _forgets(db: Database, *_: object) -> None:
    pass


def _raises(*_: object, **__: object) -> None:
    raise ValueError("planted")


_snapshot = Database.snapshot


@pytest.mark.parametrize(
    "fault, told",
    [
        (("snapshot", _unsound), "the snapshot is sound: "),
        (("execute_many", _forgets), "'new 1' was acknowledged and is lost"),
        (("vacuum", _raises), "ValueError: planted"),
        (("query_one", _raises), "ValueError: planted"),
    ],
)
def test_planted_faults_are_seen(
    base: Base,
    folder: Path,
    fault: tuple[str, Callable[..., object]],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A snapshot that is not sound, a lost write, exceptions of another kind: each is found in a sound database."""
    monkeypatch.setattr(Database, *fault)
    path, found = folder / "a.db", Findings()
    path.write_bytes(base.files[""])
    examine_at_rest(path, found)
    assert [each for each in (*found.strange, *found.wrong) if told in each], found


@pytest.mark.parametrize(
    "program, told",
    [("os.kill(os.getpid(), 11)", "it died: -11"), ("time.sleep(60)", "it hangs")],
)
def test_a_crash_and_a_hang_are_seen(
    base: Base, folder: Path, program: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the examining process, or keeps it, is told; the next database has a new one."""
    monkeypatch.setattr("tests.support.examiner.LIMIT_S", 1.0)
    with examiner(folder) as examining:
        monkeypatch.setattr("tests.support.examiner.COMMAND", ("-c", f"import os, time; input(); {program}"))
        found = examining.examine(base.files)
        assert told in found.strange[0]
        monkeypatch.undo()
        assert not harm(examining.examine(base.files), base.sound)
