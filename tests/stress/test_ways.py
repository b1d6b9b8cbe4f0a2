"""The four ways: what each does with one write, and where the deferred one must fail."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from onewriter.stress import store
from onewriter.stress.raw import Connection
from onewriter.stress.run import run
from onewriter.stress.settings import Settings
from onewriter.stress.sources import find
from onewriter.stress.store import Statements
from onewriter.stress.tally import is_busy, kind_of
from onewriter.stress.ways import WAYS, Deferred, OneLockedConnection, OneWriter, Way

every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.key)


@every_way
def test_a_write_is_a_commit(way: type[Way], tmp_path: Path) -> None:
    """Acknowledged writes are in the file and were committed; what a write that raises did is not in it."""
    database = way(tmp_path / "file.db", "full")
    with database.session() as session:
        session.write(store.start(1, "one"))
        session.write(store.start(3, "three"))
    assert database.commits() == 2
    with database.session() as session, pytest.raises(ZeroDivisionError):
        session.write(_start_and_fail)
    database.close()
    assert _numbers(tmp_path / "file.db") == [1, 3]


@every_way
@pytest.mark.parametrize("durability, synchronous", [("full", 2), ("normal", 1)])
def test_the_settings_are_the_same(way: type[Way], durability: str, synchronous: int, tmp_path: Path) -> None:
    """WAL, foreign keys, the durability and the page cache, in the connection that writes."""
    assert durability in {"full", "normal"}
    database = way(tmp_path / "file.db", "full" if durability == "full" else "normal")
    found: list[object] = []

    def look(tx: Statements) -> None:
        for row in (
            tx.query_one("SELECT journal_mode FROM pragma_journal_mode"),
            tx.query_one("SELECT foreign_keys FROM pragma_foreign_keys"),
            tx.query_one("SELECT synchronous FROM pragma_synchronous"),
            tx.query_one("SELECT cache_size FROM pragma_cache_size"),
        ):
            assert row is not None
            found.append(row[0])

    with database.session() as session:
        session.write(look)
    database.close()
    assert found == ["wal", 1, synchronous, -8192]


def test_deferred_fails_when_another_commits_first(tmp_path: Path) -> None:
    """A transaction that has read cannot write once another has committed; it is told at once.

    one                         other
    BEGIN, reads: its snapshot
                                writes, commits
    writes: BUSY_SNAPSHOT
    """
    database = Deferred(tmp_path / "file.db", "full")
    with database.session() as one, database.session() as other:

        def write(tx: Statements) -> None:
            tx.query_one("SELECT count(*) FROM upload")
            other.write(store.start(2, "the other's"))
            tx.execute("INSERT INTO upload (id, name) VALUES (1, 'mine')")

        with pytest.raises(apsw.BusyError) as caught:
            one.write(write)
        assert kind_of(caught.value) == "SQLITE_BUSY_SNAPSHOT"
        assert is_busy(kind_of(caught.value))
        one.write(store.start(3, "the connection goes on"))
    assert database.commits() == 2
    database.close()
    assert _numbers(tmp_path / "file.db") == [2, 3]


@every_way
def test_a_run_keeps_what_it_acknowledged(way: type[Way], folder: Path, tmp_path: Path) -> None:
    """Sixteen uploaders: each file ends as done or failed, and what is done reads back. Two ways may not fail."""
    sources = find(folder, seed=0)
    result = run(way, tmp_path / "file.db", sources, Settings(), lambda _: None)
    assert len(result.tally.done) + result.tally.failed == len(sources.files)
    assert result.tally.failed == result.tally.busy
    assert (result.audit.lost, result.audit.wrong, result.audit.unsound) == ((), (), ())
    assert result.tally.writes <= result.tally.waits.count
    assert result.tally.growth()[-1][1] == result.tally.writes
    if way in {OneWriter, OneLockedConnection}:
        assert result.tally.failed == 0
        assert result.tally.writes == 15 + 15 + _chunks(folder)
        assert result.audit.blobs == sources.distinct
    assert result.commits == result.tally.writes or (way is OneWriter and result.commits > 0)


def _chunks(folder: Path) -> int:
    return sum(-(-path.stat().st_size // 65_536) for path in folder.rglob("*") if path.is_file())


def _start_and_fail(tx: Statements) -> None:
    store.start(2, "two")(tx)
    raise ZeroDivisionError


def _numbers(path: Path) -> list[object]:
    connection = Connection(path, create=False)
    rows = connection.execute("SELECT id FROM upload ORDER BY id")
    connection.close()
    return [number for (number,) in rows]
