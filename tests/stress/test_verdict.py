"""The verdict, on databases that were really damaged between the last upload and the reading back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import LiteralString

import apsw
import pytest

import onewriter
from onewriter.stress import command, store
from onewriter.stress.raw import Connection
from onewriter.stress.run import Result, run
from onewriter.stress.settings import Settings
from onewriter.stress.sources import find
from onewriter.stress.tally import is_busy, kind_of
from onewriter.stress.verdict import judge
from onewriter.stress.ways import Durability, OneWriter, Way


def _delete_a_chunk(path: Path) -> None:
    _damage(
        path,
        "DELETE FROM chunk WHERE number = 1 AND upload_id = (SELECT min(upload_id) FROM chunk WHERE number = 2)",
    )


def _flip_bytes(path: Path) -> None:
    _damage(
        path,
        "UPDATE chunk SET content = zeroblob(length(content)) WHERE rowid = (SELECT min(rowid) FROM chunk)",
    )


def _cut_a_blob_short(path: Path) -> None:
    _damage(path, "DELETE FROM chunk WHERE rowid = (SELECT rowid FROM chunk ORDER BY number DESC LIMIT 1)")


def _drop_a_blob(path: Path) -> None:
    _damage(path, "DELETE FROM blob WHERE digest = (SELECT digest FROM upload WHERE name = 'a/b/0.bin')")


def _drop_an_upload(path: Path) -> None:
    _damage(path, "UPDATE upload SET digest = NULL WHERE name = 'empty'")


def _swap_two_uploads(path: Path) -> None:
    _damage(
        path,
        "UPDATE upload SET digest = (SELECT digest FROM upload WHERE name = 'empty') WHERE name = 'a/b/0.bin'",
    )


def _store_twice(path: Path) -> None:
    _damage(
        path,
        "INSERT INTO chunk SELECT id, 0, x'00' FROM upload WHERE digest IS NOT NULL "
        "AND id NOT IN (SELECT upload_id FROM blob) LIMIT 1",
    )


def _damage_an_index(path: Path) -> None:
    # As a torn page would: the index loses a row that the table still has.
    _damage(
        path,
        "PRAGMA writable_schema = ON; "
        "UPDATE sqlite_schema SET rootpage = "
        "(SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_blob_1') "
        "WHERE name = 'sqlite_autoindex_chunk_1'",
    )


def _overwrite_the_file(path: Path) -> None:
    path.write_bytes(b"no database at all " * 1000)


def _damage(path: Path, sql: LiteralString) -> None:
    connection = Connection(path, create=False)
    connection.execute(sql)
    connection.close()


DAMAGE: dict[Callable[[Path], None], str] = {
    _delete_a_chunk: r"1 blob wrong: a/b/6\.bin: chunk 1 is missing",
    _flip_bytes: r"blobs? wrong: .*: reads back as [0-9a-f]{64} instead of [0-9a-f]{64}",
    _cut_a_blob_short: r"1 blob wrong: a/b/6\.bin: has \d+ bytes instead of \d+",
    _drop_a_blob: r"1 acknowledged upload lost: a/b/0\.bin; the file is not sound: "
    r"foreign keys: 1 of upload name no blob",
    _drop_an_upload: r"1 acknowledged upload lost: empty",
    _swap_two_uploads: r"1 blob wrong: a/b/0\.bin: kept under e3b0c442\w+, its content has \w+",
    _store_twice: r"the file is not sound: stored twice: 1 finished uploads keep chunks of their own",
    _damage_an_index: r"the file is not sound: ",
    _overwrite_the_file: r"the file is not sound: cannot be (?:opened|read): .*not a database",
}


def _damaged(damage: Callable[[Path], None]) -> type[Way]:
    class Damaged(OneWriter):
        def __init__(self, path: Path, durability: Durability) -> None:
            super().__init__(path, durability)
            self._path = path

        def close(self) -> None:
            """Close the database, then damage it."""
            super().close()
            damage(self._path)

    return Damaged


@pytest.mark.parametrize("damage, words", DAMAGE.items(), ids=[damage.__name__ for damage in DAMAGE])
def test_damage_is_found_and_named(
    damage: Callable[[Path], None], words: str, folder: Path, tmp_path: Path
) -> None:
    """Each damage to a file that was sound fails the run, in words that say what is wrong with what."""
    verdict = judge(_run(_damaged(damage), folder, tmp_path))
    assert not verdict.passed
    assert verdict.sentence.startswith("onewriter FAILED: ")
    assert re.search(words, verdict.sentence), verdict.sentence


def test_without_damage_it_passes(folder: Path, tmp_path: Path) -> None:
    """The test of the tests above."""
    verdict = judge(_run(OneWriter, folder, tmp_path))
    assert verdict.passed
    assert verdict.sentence == (
        'onewriter passed: 15 of 15 uploads done, none failed, none heard "database is locked", '
        "and every blob reads back with its digest."
    )


def test_a_failed_upload_fails_the_run(folder: Path, tmp_path: Path) -> None:
    """Here the number of one upload is taken, so that its first write breaks a constraint."""

    class Taken(OneWriter):
        def __init__(self, path: Path, durability: Durability) -> None:
            super().__init__(path, durability)
            with self.session() as session:
                session.write(store.start(3, "was here first"))

    verdict = judge(_run(Taken, folder, tmp_path))
    assert verdict.reasons == ("1 upload failed (SQLITE_CONSTRAINT_PRIMARYKEY 1)",)


def test_a_busy_error_fails_the_run(folder: Path, tmp_path: Path) -> None:
    """A stranger holds the write lock for the whole run: onewriter's own word for busy counts as busy."""

    class Blocked(OneWriter):
        def __init__(self, path: Path, durability: Durability) -> None:
            super().__init__(path, durability)
            self._db.close()
            self._db = onewriter.open(
                path, durability=durability, config=onewriter.Config(write_timeout_s=0.05)
            )
            self._commits_before = 0
            self._stranger = Connection(path)
            self._stranger.execute("BEGIN IMMEDIATE")

        def close(self) -> None:
            """Let go."""
            self._stranger.close()
            super().close()

    verdict = judge(_run(Blocked, folder, tmp_path))
    assert verdict.reasons == (
        '15 writes heard "database is locked"',
        "15 uploads failed (WriteTimeout 15)",
    )


def test_the_exit_status_is_the_verdict(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same damage through the command: status 1, the sentence on the screen and in the report."""
    monkeypatch.setattr(command, "WAYS", (_damaged(_drop_an_upload),))
    report = tmp_path / "report.html"
    request = command.Request(
        folder=folder,
        uploaders=2,
        chunk_bytes=65_536,
        durability="normal",
        report=report,
        keep=tmp_path / "kept",
        ways="onewriter",
        seed=0,
        processes=1,
    )
    assert command.stress(request) == 1
    said = "onewriter FAILED: 1 acknowledged upload lost: empty."
    assert said in capsys.readouterr().out
    assert said in report.read_text(encoding="utf-8")


def test_the_kinds_of_errors() -> None:
    """What is busy, in SQLite's words and in onewriter's, and what is not."""
    kinds = {
        kind_of(error): is_busy(kind_of(error))
        for error in (
            onewriter.WriteTimeout("late"),
            onewriter.ReadTimeout("late", extended_code="SQLITE_BUSY"),
            onewriter.QueueFull("full"),
            onewriter.OperationalError("busy", code="SQLITE_BUSY", extended_code="SQLITE_BUSY_RECOVERY"),
            onewriter.DiskFull("full", extended_code="SQLITE_FULL"),
            apsw.ThreadingViolationError("two at once"),
            apsw.exception_for(apsw.SQLITE_LOCKED_SHAREDCACHE),
            apsw.exception_for(apsw.SQLITE_BUSY),
        )
    }
    assert kinds == {
        "WriteTimeout": True,
        "ReadTimeout": True,
        "QueueFull": False,
        "SQLITE_BUSY_RECOVERY": True,
        "SQLITE_FULL": False,
        "ThreadingViolationError": False,
        "SQLITE_LOCKED_SHAREDCACHE": True,
        "SQLITE_BUSY": True,
    }


def _run(way: type[Way], folder: Path, tmp_path: Path) -> Result:
    return run(way, tmp_path / "file.db", find(folder, seed=0), Settings(uploaders=4), lambda _: None)
