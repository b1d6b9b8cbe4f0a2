"""What an uploader counts as done, as failed, and as neither."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from onewriter.stress.audit import audit
from onewriter.stress.measures import notes
from onewriter.stress.raw import Connection
from onewriter.stress.run import run
from onewriter.stress.settings import Settings
from onewriter.stress.sources import Source, find
from onewriter.stress.store import Statements
from onewriter.stress.uploader import Uploader
from onewriter.stress.verdict import judge
from onewriter.stress.ways import Deferred, OneWriter, Session

T = TypeVar("T")


class Before:
    """A session that has something done before one of its writes, counted from 1."""

    def __init__(self, session: Session, write: int, act: Callable[[], object]) -> None:
        self._session = session
        self._left = write
        self._act = act

    def write(self, work: Callable[[Statements], T]) -> T:
        self._left -= 1
        if not self._left:
            self._act()
        return self._session.write(work)


def _uploader(stop: threading.Event | None = None) -> Uploader:
    return Uploader(deque(), chunk_bytes=4, stop=stop or threading.Event(), started_s=0)


def _source(folder: Path, content: bytes) -> Source:
    folder.mkdir()
    (folder / "file").write_bytes(content)
    return find(folder, seed=0).files[0]


def test_a_failed_write_fails_the_upload(tmp_path: Path) -> None:
    """The second write of a deferred uploader meets a lock: the upload has failed, once, and is not tried again."""
    uploader, path = _uploader(), tmp_path / "file.db"
    way = Deferred(path, "full")
    stranger = Connection(path)
    with way.session() as session:
        blocked = Before(session, 2, lambda: stranger.execute("BEGIN IMMEDIATE"))
        uploader.upload(blocked, _source(tmp_path / "in", b"eight by"))
    stranger.close()
    way.close()
    assert (uploader.tally.done, uploader.tally.failed) == ([], 1)
    assert uploader.tally.errors == {"SQLITE_BUSY": 1}
    assert (uploader.tally.busy, uploader.tally.writes, uploader.tally.waits.count) == (1, 1, 2)


def test_a_file_that_goes_is_nobodys_failure(tmp_path: Path) -> None:
    """Deleted before its first byte was read: not done, not failed, and not lost either."""
    source = _source(tmp_path / "in", b"content")
    uploader = _uploader()
    way = OneWriter(tmp_path / "file.db", "full")
    source.path.unlink()
    with way.session() as session:
        uploader.upload(session, source)
    way.close()
    assert (uploader.tally.done, uploader.tally.failed, uploader.tally.ended) == ([], 0, 1)
    assert uploader.tally.unreadable == ["file: No such file or directory"]
    assert audit(tmp_path / "file.db", uploader.tally.done).lost == ()


def test_a_file_that_changes_is_not_a_wrong_blob(tmp_path: Path) -> None:
    """Rewritten after it was looked at: it is held against the bytes that were sent, and marked as changed."""
    source, uploader = _source(tmp_path / "in", b"before"), _uploader()
    source.path.write_bytes(b"afterwards")
    way = OneWriter(tmp_path / "file.db", "full")
    with way.session() as session:
        uploader.upload(session, source)
    way.close()
    (done,) = uploader.tally.done
    assert done.changed
    assert done.size == 10
    found = audit(tmp_path / "file.db", uploader.tally.done)
    assert (found.blobs, found.lost, found.wrong) == (1, (), ())


def test_what_changed_is_noted(tmp_path: Path) -> None:
    """The person who ran it is told of files that did not hold still, and that nobody is to blame."""
    for name in ("goes", "changes", "stays"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    sources = find(tmp_path / "in", seed=0)
    (tmp_path / "in" / "goes").unlink()
    (tmp_path / "in" / "changes").write_text("changed")
    result = run(OneWriter, tmp_path / "file.db", sources, Settings(), lambda _: None)
    assert notes(result) == [
        "1 file(s) changed after the run began; each is held against the bytes sent",
        "1 file(s) could no longer be read; nobody's failure",
    ]
    verdict = judge(result)
    assert verdict.passed
    assert "2 of 3 uploads done (1 could no longer be read from the source)" in verdict.sentence


def test_a_stop_counts_nothing(tmp_path: Path) -> None:
    """Ctrl-C between two writes ends the upload as neither done nor failed."""
    stop = threading.Event()
    uploader = _uploader(stop)
    way = OneWriter(tmp_path / "file.db", "full")
    with way.session() as session:
        uploader.upload(Before(session, 2, stop.set), _source(tmp_path / "in", b"eight by"))
    way.close()
    assert (uploader.tally.ended, uploader.tally.writes) == (0, 2)


def test_an_uploader_that_breaks_ends_the_run(tmp_path: Path) -> None:
    """A mistake of ours in one thread is raised where the run was begun; no thread is left, the file is closed."""

    class Broken(OneWriter):
        key = "broken"

        def commits(self) -> int:
            """Never asked."""
            pytest.fail("the run went on")

    def boom(_: object) -> None:
        raise ZeroDivisionError

    _source(tmp_path / "in", b"content")
    with pytest.raises(ZeroDivisionError):
        run(Broken, tmp_path / "file.db", find(tmp_path / "in", seed=0), Settings(), boom)
