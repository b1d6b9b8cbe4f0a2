"""The load driver: a short run of each kind, and that it finds what it is there to find.

`--soak` makes the runs longer.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import onewriter
from bench.registry.load.audit import audit
from bench.registry.load.client import Broken, Client, Lost
from bench.registry.load.images import Blob, Image, images
from bench.registry.load.ledger import Ledger
from bench.registry.load.pusher import Pusher, Upload
from bench.registry.store import database_of
from tests.registry.serving import Served, run_module
from tests.support.steps import wait_until

SMALL = 50_000


def _load(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_module("bench.registry.load", *arguments, limit_s=110)


def _seconds(request: pytest.FixtureRequest) -> float:
    soak: float | None = request.config.getoption("--soak")
    return (soak or 4.0) / 2


@pytest.mark.parametrize("blobs, processes", [("disk", 2), ("database", 1)])
def test_a_short_run(
    blobs: str, processes: int, tmp_path: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """32 uploads at a time, and a kill in the middle: no 5xx, every byte right."""
    seconds = _seconds(request)
    told = tmp_path / "told.json"
    done = _load(
        *("--blobs", blobs, "--processes", processes, "--kills", 1, "--seconds", seconds),
        *("--seed", seed, "--bytes-max", 2_000_000, "--folder", tmp_path / "all", "--json", told),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(told.read_text(encoding="utf-8"))
    assert (figures["answers_5xx"], figures["failures"], figures["kills"]) == (0, [], 1)
    assert figures["images"] == figures["pulled_manifests"] > 0
    assert figures["connections_lost"] > 0
    assert "byte for byte" in done.stdout


def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    """Status 2, and why."""
    (tmp_path / "registry").write_text("in the way")
    done = _load("--folder", tmp_path, "--seconds", 1)
    assert done.returncode == 2
    assert done.stderr.startswith("load: the server did not start: registry: cannot serve folder")


@pytest.fixture
def pushed(registry: Served, name: str) -> Ledger:
    """What was acknowledged of a few images that are the test's own."""
    ledger = Ledger()
    pusher = Pusher(1, registry.port, ledger, seed=zlib.crc32(name.encode()), bytes_max=SMALL)
    pusher.start()
    wait_until(lambda: ledger.tally.images >= 3, "three images")
    pusher.end()
    pusher.join()
    return ledger


def test_a_sound_one_is_found_sound(registry: Served, pushed: Ledger) -> None:
    """The test of the tests below."""
    found = audit(registry.port, pushed, lambda _done, _of: None)
    assert pushed.failures == []
    assert found.manifests == pushed.tally.images
    assert found.blobs >= 2 * found.manifests


@pytest.mark.parametrize(
    "fault, words",
    [
        ("a byte", "a blob has another digest than its name"),
        ("a blob", "an acknowledged blob is answered 404"),
        ("a tag", "a list of tags lacks 1"),
        ("a manifest", "an acknowledged manifest is answered 404"),
        ("another manifest", "a manifest is not as it was pushed"),
    ],
)
def test_what_is_lost_is_found(registry: Served, pushed: Ledger, fault: str, words: str) -> None:
    """By the audit, in words."""
    image = pushed.pushed[0]
    base = f"/v2/{image.repository}"
    if fault == "a byte":
        _change_a_byte(registry.root, image.config.digest)
    elif fault == "a blob":
        assert registry.ask("DELETE", f"{base}/blobs/{image.config.digest}").status == 202
    elif fault == "a tag":
        assert registry.ask("DELETE", f"{base}/manifests/{image.tag}").status == 202
    elif fault == "a manifest":
        assert registry.ask("DELETE", f"{base}/manifests/{image.digest}").status == 202
    else:
        assert registry.tag(image.repository, image.tag, image.manifest + b"\n").status == 201
    audit(registry.port, pushed, lambda _done, _of: None)
    assert any(words in failure for failure in pushed.failures), pushed.failures
    assert not pushed.is_sound


def _change_a_byte(root: Path, digest: str) -> None:
    for path in (root / "blobs").glob(f"*/*/{digest.partition(':')[2]}-*"):
        path.write_bytes(b"x" + path.read_bytes()[1:])
    with onewriter.open(database_of(root)) as db:
        db.execute(
            "UPDATE chunk SET body = CAST(x'78' || substr(body, 2) AS BLOB) WHERE start = 0 "
            "AND content = (SELECT content FROM blob WHERE digest = ?)",
            (digest,),
        )


@contextmanager
def _answering(status: int, headers: dict[str, str]) -> Generator[int]:
    """A server that answers everything alike; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_PUT = do_POST = do_PATCH = do_HEAD = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_a_5xx_is_a_failure() -> None:
    """Any, whatever was asked."""
    ledger = Ledger()
    with _answering(503, {}) as port:
        client = Client(port, ledger)
        with pytest.raises(Broken, match="503"):
            client.insist("GET", "/v2/")
        client.close()
    assert len(ledger.failures) == 1


@pytest.mark.parametrize(
    "status, headers, words",
    [
        (404, {}, "404 where 202 was due"),
        (202, {"Location": "/here", "Range": "0-0"}, "a chunk was accepted, but ends"),
        (201, {}, "201 where 202 was due"),
        (200, {"Content-Length": "7"}, "another size"),
    ],
)
def test_answers_that_are_not_due(status: int, headers: dict[str, str], words: str) -> None:
    """A chunk that is not counted, an upload that cannot be begun, a blob that is another."""
    ledger = Ledger()
    with _answering(status, headers) as port:
        client = Client(port, ledger)
        upload = Upload(client, ledger, "x", Blob(1, 5_000), random.Random(1))
        upload._way = "chunks"
        upload._is_shaken = status == 200
        with pytest.raises(Broken, match=words):
            upload.run()
        client.close()


def test_a_refused_connection_is_no_answer() -> None:
    """It is lost, and counted as that."""
    with _answering(200, {}) as port:
        pass
    ledger = Ledger()
    with pytest.raises(Lost):
        Client(port, ledger).ask("GET", "/v2/")
    assert ledger.is_sound
    assert ledger.tally.lost == 1


def test_images_repeat_by_their_seed() -> None:
    """And share layers among pushers."""
    first, again, other = (
        [next(it) for _ in range(20)]
        for it in (images(7, 1, SMALL), images(7, 1, SMALL), images(7, 2, SMALL))
    )
    assert first == again
    assert [image.manifest for image in first] == [image.manifest for image in again]
    assert _layers(first) & _layers(other)
    assert all(1_000 <= blob.size <= SMALL for image in first for blob in image.blobs)


def _layers(several: list[Image]) -> set[Blob]:
    return {layer for image in several for layer in image.layers}
