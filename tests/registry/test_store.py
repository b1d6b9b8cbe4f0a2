"""What two requests, or a kill, could break: each schedule is forced, with the parts that the handlers are made of.

A handler holds what it has seen of an upload (a `Content`) while others go on: an old `Content` is the race.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.registry import contents, documents, images, sweeper
from bench.registry.contents import Content, Moved
from bench.registry.errors import RegistryError
from bench.registry.grammar import Digest
from bench.registry.images import Manifest
from bench.registry.places import Vanished
from bench.registry.ranges import Span
from bench.registry.settings import PlaceName, Settings
from bench.registry.store import Store
from tests.support.steps import Call, Steps

NAME = "test/store"
BODY = b"0123456789" * 100
DIGEST = Digest.of(BODY)


@pytest.fixture(params=["disk", "database"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store whose new contents go to each place in turn."""
    place: PlaceName = request.param
    opened = Store(Settings(root=tmp_path, place=place, dropped_s=0.0))
    yield opened
    opened.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Store]:
    """A store on the disk."""
    opened = Store(Settings(root=tmp_path))
    yield opened
    opened.close()


def uploaded(store: Store, body: bytes = BODY) -> Content:
    """Return an upload that has *body*."""
    upload = contents.begin(store.db, NAME, store.settings.place)
    store.place_of(upload).append(upload, 0, body)
    return contents.look_again(store.db, upload)


def sealed(store: Store) -> Content:
    """Return the content of the blob, which is pushed."""
    upload = uploaded(store)
    store.place_of(upload).seal(NAME, upload, DIGEST)
    return contents.find(store.db, NAME, DIGEST)


def pulled(store: Store, blob: Content | None = None) -> bytes:
    """Return the blob's bytes."""
    blob = blob or contents.find(store.db, NAME, DIGEST)
    return b"".join(store.place_of(blob).read(blob, DIGEST, Span(0, blob.size)))


def swept(store: Store) -> None:
    """Take away what is left over, as a start does."""
    sweeper.sweep(store)
    sweeper.sweep_files(store)


def code(work: Callable[[], object]) -> str:
    """Return the code that *work* is refused with."""
    with pytest.raises(RegistryError) as refused:
        work()
    return refused.value.code


def test_two_append_at_one_place(store: Store) -> None:
    """The second hears where the upload ends, and has changed nothing below that."""
    upload = contents.begin(store.db, NAME, store.settings.place)
    place = store.place_of(upload)
    place.append(upload, 0, BODY)
    for other in (b"x", b"x" * 5000):
        with pytest.raises(Moved) as moved:
            place.append(upload, 0, other)
        assert moved.value.size == len(BODY)
    now = contents.look_again(store.db, upload)
    assert b"".join(place.read_upload(now, DIGEST)) == BODY
    place.seal(NAME, now, DIGEST)
    assert pulled(store) == BODY


def test_it_grows_while_it_is_verified(store: Store) -> None:
    """What was verified is not what is there: no blob is made of it."""
    verified = uploaded(store)
    place = store.place_of(verified)
    place.append(verified, verified.size, b"more")
    with pytest.raises(Moved):
        place.seal(NAME, verified, DIGEST)
    assert code(lambda: contents.find(store.db, NAME, DIGEST)) == "BLOB_UNKNOWN"
    now = contents.look_again(store.db, verified)
    assert b"".join(place.read_upload(now, DIGEST)) == BODY + b"more"
    place.append(now, now.size, b"!")


def test_it_is_finished_twice(store: Store) -> None:
    """The second finds no upload; the blob is as the first made it."""
    verified = uploaded(store)
    place = store.place_of(verified)
    place.seal(NAME, verified, DIGEST)
    assert code(lambda: place.seal(NAME, verified, DIGEST)) == "BLOB_UPLOAD_UNKNOWN"
    assert code(lambda: place.append(verified, verified.size, b"more")) == "BLOB_UPLOAD_UNKNOWN"
    assert code(lambda: place.append(verified, 0, b"again")) == "BLOB_UPLOAD_UNKNOWN"
    swept(store)
    assert pulled(store) == BODY


def test_two_push_the_same(store: Store) -> None:
    """The first one's bytes are the blob, the second's are discarded."""
    first, second = uploaded(store), uploaded(store)
    for each in (first, second):
        store.place_of(each).seal(NAME, each, DIGEST)
    assert contents.find(store.db, NAME, DIGEST).id == first.id
    swept(store)
    assert _held(store) == {first.token}
    assert pulled(store) == BODY


def test_it_is_deleted_while_it_is_pushed_again(store: Store) -> None:
    """The bytes of the old one are taken away late, and are not those of the new one."""
    sealed(store)
    again = uploaded(store)
    old = contents.give_up(store.db, NAME, DIGEST)
    assert old is not None
    store.place_of(again).seal(NAME, again, DIGEST)
    store.place_of(old).discard(old, DIGEST)
    swept(store)
    assert pulled(store) == BODY
    assert _held(store) == {again.token}


def test_it_is_deleted_between_two_links(store: Store) -> None:
    """Who mounts before it is given up keeps it; who comes later cannot have it."""
    sealed(store)
    assert contents.mount(store.db, "test/other", DIGEST, NAME)
    assert contents.give_up(store.db, NAME, DIGEST) is None
    assert not contents.mount(store.db, "test/third", DIGEST, NAME)
    assert contents.mount(store.db, "test/third", DIGEST, "test/other")
    assert contents.give_up(store.db, "test/third", DIGEST) is None
    assert contents.give_up(store.db, "test/other", DIGEST) is not None
    assert not contents.mount(store.db, "test/fourth", DIGEST, None)


def test_a_manifest_and_the_deletion_of_its_layer(store: Store) -> None:
    """Whichever write comes first: a manifest is never stored after its layer is gone."""
    sealed(store)
    body = f'{{"layers": [{{"digest": "{DIGEST}"}}]}}'.encode()
    document = documents.read(body, "application/x+json")
    manifest = Manifest(str(Digest.of(body)), document.media_type, body)
    images.put(store.db, NAME, manifest, document, "before")
    contents.give_up(store.db, NAME, DIGEST)
    assert code(lambda: images.put(store.db, NAME, manifest, document, "after")) == "MANIFEST_BLOB_UNKNOWN"
    assert images.tags(store.db, NAME, None, 9) == ["before"]


def test_it_is_deleted_while_it_is_pulled(store: Store) -> None:
    """A pull that has begun has all bytes; in the database until the chunks are purged."""
    blob = sealed(store)
    pieces = store.place_of(blob).read(blob, DIGEST, Span(0, blob.size))
    if blob.place == "database":
        assert pulled(store, blob) == BODY
    content = contents.give_up(store.db, NAME, DIGEST)
    assert content is not None
    store.place_of(content).discard(content, DIGEST)
    assert b"".join(pieces) == BODY
    swept(store)
    with pytest.raises(Vanished):
        pulled(store, blob)
    assert _held(store) == set()


class Killed(BaseException):
    """What a test ends a request with, where a kill would: no handler catches it."""


def test_killed_between_the_renaming_and_the_row(disk: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The upload is still there, ends where it did, and is finished by asking again; nobody can write to the blob."""
    upload = uploaded(disk)
    _kill_at(monkeypatch, contents, "seal")
    with pytest.raises(Killed):
        disk.disk.seal(NAME, upload, DIGEST)
    monkeypatch.undo()
    assert contents.look(disk.db, NAME, upload.token) == upload
    swept(disk)
    assert code(lambda: disk.disk.append(upload, upload.size, b"more")) == "BLOB_UPLOAD_UNKNOWN"
    assert code(lambda: list(disk.disk.read_upload(upload, Digest.of(b"another")))) == "BLOB_UPLOAD_UNKNOWN"
    assert b"".join(disk.disk.read_upload(upload, DIGEST)) == BODY
    disk.disk.seal(NAME, upload, DIGEST)
    assert pulled(disk) == BODY


def test_killed_before_the_row_of_a_piece(disk: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is behind the durable end is cut off by the next piece, or by the sealing, however long it was."""
    for rest in (b"right", b""):
        upload = uploaded(disk)
        _kill_at(monkeypatch, contents, "grow")
        with pytest.raises(Killed):
            disk.disk.append(upload, upload.size, b"wrong" * 1000)
        monkeypatch.undo()
        upload = contents.look(disk.db, NAME, upload.token)
        assert upload.size == len(BODY)
        if rest:
            disk.disk.append(upload, upload.size, rest)
        whole = contents.look_again(disk.db, upload)
        digest = Digest.of(BODY + rest)
        assert b"".join(disk.disk.read_upload(whole, digest)) == BODY + rest
        disk.disk.seal(NAME, whole, digest)
        path = next((disk.settings.root / "blobs").glob(f"*/*/*-{upload.token}"))
        assert path.read_bytes() == BODY + rest


@pytest.mark.parametrize("moment", ["begun", "written", "sealed", "deleted", "lost"])
def test_what_a_kill_leaves_is_swept(disk: Store, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Files without a row are nobody's; files of uploads and blobs are not touched."""
    kept = sealed(disk)
    going_on = uploaded(disk)
    if moment == "begun":
        upload = contents.begin(disk.db, NAME, "disk")
        contents.drop(disk.db, upload)
        (disk.settings.root / "uploads" / upload.token).write_bytes(b"")
    elif moment == "written":
        contents.drop(disk.db, uploaded(disk))
    elif moment == "sealed":
        upload = uploaded(disk, b"another")
        _kill_at(monkeypatch, contents, "seal")
        with pytest.raises(Killed):
            disk.disk.seal(NAME, upload, Digest.of(b"another"))
        monkeypatch.undo()
        contents.drop(disk.db, upload)
    elif moment == "deleted":
        upload = uploaded(disk, b"another")
        disk.disk.seal(NAME, upload, Digest.of(b"another"))
        contents.give_up(disk.db, NAME, Digest.of(b"another"))
    else:
        upload = uploaded(disk, b"another")
        disk.disk.seal(NAME, upload, Digest.of(b"another"))
        # an appender that comes when the file has its new name, and does not know it
        assert code(lambda: disk.disk.append(replace(upload, size=0), 0, b"late")) == "BLOB_UPLOAD_UNKNOWN"
        contents.give_up(disk.db, NAME, Digest.of(b"another"))
    assert len(_held(disk)) == 3
    assert sweeper.sweep_files(disk) == (2 if moment == "lost" else 1)
    assert _held(disk) == {kept.token, going_on.token}
    assert pulled(disk) == BODY


@pytest.mark.parametrize("is_killed", [False, True])
def test_who_waits_while_it_is_sealed(
    disk: Store, monkeypatch: pytest.MonkeyPatch, *, is_killed: bool
) -> None:
    """An appender that has the file open already finds, with the lock, that it has another name now.

    appender                      sealer
    opens uploads/<token>
                                  locks, renames, writes the row (or is killed before)
    locks, and is refused
    """
    upload = uploaded(disk)
    steps, flock = Steps(), fcntl.flock

    def slow(file: int, operation: int) -> None:
        if threading.current_thread().name == "appender":
            steps.mark("opened")
            steps.wait_for("sealed")
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    appender = Call(lambda: disk.disk.append(upload, upload.size, b"more"), "appender")
    steps.wait_for("opened")
    if is_killed:
        with monkeypatch.context() as killing:
            _kill_at(killing, contents, "seal")
            with pytest.raises(Killed):
                disk.disk.seal(NAME, upload, DIGEST)
    else:
        disk.disk.seal(NAME, upload, DIGEST)
    steps.mark("sealed")
    assert isinstance(appender.error(), RegistryError)
    if is_killed:
        assert contents.look_again(disk.db, upload) == upload
        disk.disk.seal(NAME, upload, DIGEST)
    assert pulled(disk) == BODY
    path = next((disk.settings.root / "blobs").glob("*/*/*"))
    assert path.read_bytes() == BODY


def test_abandoned_uploads(store: Store) -> None:
    """One that has not grown for too long is dropped, one that grew meanwhile is not; blobs are never old."""
    blob = sealed(store)
    old, woken = uploaded(store), uploaded(store)
    now = time.time()
    store.db.execute("UPDATE content SET touched_at = 1000.0")
    assert {each.id for each in contents.abandoned(store.db, now, 9)} == {old.id, woken.id}
    store.place_of(woken).append(woken, woken.size, b"more")
    assert not contents.drop_abandoned(store.db, woken, now - 1000)
    swept(store)
    assert code(lambda: contents.look(store.db, NAME, old.token)) == "BLOB_UPLOAD_UNKNOWN"
    assert contents.look(store.db, NAME, woken.token).size > len(BODY)
    assert _held(store) == {blob.token, woken.token}


def test_chunks_are_purged_a_few_at_a_time(tmp_path: Path) -> None:
    """However many there are."""
    store = Store(Settings(root=tmp_path, place="database", dropped_s=0.0))
    try:
        upload = contents.begin(store.db, NAME, "database")
        for at in range(40):
            store.place_of(upload).append(upload, at, b"x")
        contents.drop(store.db, upload)
        sweeps = 1
        while contents.purge(store.db, time.time()):
            sweeps += 1
        assert sweeps == 1 + 1 + 40 // contents.PURGED
        assert store.db.query_value("SELECT count(*) FROM chunk", into=int) == 0
    finally:
        store.close()


def test_files_are_private(disk: Store) -> None:
    """0600, and folders 0700, whatever the umask."""
    sealed(disk)
    uploaded(disk)
    for path in disk.settings.root.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_a_pull_that_is_never_begun_keeps_no_file(disk: Store) -> None:
    """A client that goes away at once leaves none open."""
    blob = sealed(disk)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        disk.disk.read(blob, DIGEST, Span(0, blob.size))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def _kill_at(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    def kill(*_arguments: object) -> None:
        raise Killed

    monkeypatch.setattr(module, name, kill)


def _held(store: Store) -> set[str]:
    """Return the tokens that have bytes somewhere."""
    files = {path.name.rpartition("-")[2] for path in store.settings.root.glob("*/**/*") if path.is_file()}
    sql = "SELECT token FROM content WHERE EXISTS (SELECT 1 FROM chunk WHERE chunk.content = content.id)"
    return files | set(store.db.query(sql, into=str))
