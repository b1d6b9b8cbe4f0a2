"""The registry as a service: started, killed, ended, started twice, served by many."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from bench.registry import contents
from bench.registry.grammar import Digest
from bench.registry.settings import Settings
from bench.registry.store import Store, database_of
from tests.registry.serving import LIMIT_S, Served, codes, digest_of, image, run_module
from tests.support.places import small_disk
from tests.support.steps import Call, calls, wait_until

NAME = "test/service"
PIECE = 1024 * 1024


def _command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_module("bench.registry", *arguments)


def _command_of(arguments: list[object]) -> subprocess.CompletedProcess[str]:
    return _command(*arguments)


@pytest.mark.parametrize("place, processes", [("disk", 1), ("database", 2)])
def test_killed_in_the_middle_of_an_upload(
    serve: Callable[..., Served], place: str, processes: int, seed: int
) -> None:
    """The client is told where its upload ends, durably, and goes on from there; what was acknowledged is there."""
    content = random.Random(seed).randbytes(5 * PIECE + 123)
    registry = serve("--blobs", place, "--processes", processes)
    before = registry.push(NAME, b"acknowledged before")
    location = registry.begin(NAME)
    head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    with registry.connect(head.encode(), content[: 3 * PIECE + 456]):
        wait_until(lambda: _end(registry, location) >= 3 * PIECE, "three pieces stored")
        registry.push(NAME, b"who is waited for holds nobody up")
        registry.kill()
    registry.start()
    end = _end(registry, location)
    assert end == 3 * PIECE
    target = f"{location}?digest={digest_of(content)}"
    wrong = {"Content-Range": f"0-{len(content) - 1}"}
    assert registry.ask("PUT", target, content, wrong).status == 416
    assert (
        registry.ask("PUT", target, content[end:], {"Content-Range": f"{end}-{len(content) - 1}"}).status
        == 201
    )
    assert registry.ask("GET", f"/v2/{NAME}/blobs/{digest_of(content)}").body == content
    assert registry.ask("GET", f"/v2/{NAME}/blobs/{before}").body == b"acknowledged before"
    registry.end()
    assert registry.tracebacks() == 0, registry.log.read_text()


def _end(registry: Served, location: str) -> int:
    last = int(registry.ask("GET", location).header("Range").partition("-")[2])
    return last + 1 if last else 0


def test_a_worker_is_killed(serve: Callable[..., Served]) -> None:
    """Its master starts another, which opens the database for itself."""
    registry = serve("--processes", 2)
    digest = registry.push(NAME, b"kept")
    wait_until(lambda: len(_workers(registry)) == 2, "two workers")
    workers = _workers(registry)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(_workers(registry) - workers) == 2, "two other workers")
    assert registry.ask("GET", f"/v2/{NAME}/blobs/{digest}").body == b"kept"
    registry.push(NAME, b"and more")
    registry.end()


def _workers(registry: Served) -> set[int]:
    told = Path(f"/proc/{registry.pid}/task/{registry.pid}/children").read_text(encoding="ascii")
    return {int(pid) for pid in told.split()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end(serve: Callable[..., Served], number: signal.Signals) -> None:
    """What is at work is finished, nothing new begins, and the status is 0; Ctrl-C goes to all processes at once."""
    registry = serve("--processes", 2)
    location, content = registry.begin(NAME), b"0123456789" * (PIECE // 8)
    target = f"{location}?digest={digest_of(content)}"
    head = f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    with registry.connect(head.encode() + content[:PIECE]) as sock:
        wait_until(lambda: _end(registry, location) == PIECE, "the request is at work")
        if number == signal.SIGINT:
            os.killpg(registry.pid, number)
        else:
            os.kill(registry.pid, number)
        wait_until(lambda: not _listens(registry), "it listens no more")
        sock.sendall(content[PIECE:])
        told = sock.recv(65536)
    assert told.startswith(b"HTTP/1.1 201 "), told
    registry.end()
    assert registry.tracebacks() == 0, registry.log.read_text()
    assert not database_of(registry.root).with_name("registry.db-wal").exists()  # it was closed by the last
    store = Store(Settings(root=registry.root))
    try:
        digest = Digest.parse(digest_of(content))
        assert contents.find(store.db, NAME, digest).size == len(content)
    finally:
        store.close()


def _listens(registry: Served) -> bool:
    try:
        socket.create_connection(("127.0.0.1", registry.port), timeout=1.0).close()
    except OSError:
        return False
    return True


def test_mistakes(serve: Callable[..., Served], tmp_path: Path) -> None:
    """One line that says what was wrong, status 2, no traceback."""
    registry = serve()
    file, database = tmp_path / "file", tmp_path / "not-ours"
    file.write_text("text")
    database.mkdir()
    (database / "registry.db").write_text("this is no database, and long enough to be read as one" * 100)
    wrong: list[tuple[list[object], str]] = [
        (
            ["--root", tmp_path / "x", "--port", registry.port],
            f"port {registry.port}: Address already in use",
        ),
        (["--root", file, "--port", 0], f"folder {file}: "),
        (["--root", file / "below", "--port", 0], f"folder {file / 'below'}: "),
        (["--root", database, "--port", 0], f"{database}"),
        (["--root", "/proc/nothing", "--port", 0], "/proc/nothing"),
    ]
    usage: list[list[object]] = [["--port", 1], ["--root", tmp_path, "--port", "x"], ["--nonsense"]]
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(_command_of, [each for each, _ in wrong] + usage))
    for done, (_, words) in zip(told, wrong, strict=False):
        assert (done.returncode, done.stdout) == (2, ""), done
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith("registry: cannot serve ")
        assert words in done.stderr
    for done in told[len(wrong) :]:
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()
    assert registry.ask("GET", "/v2/").status == 200
    registry.end()


def test_two_servers_at_one_folder(serve: Callable[..., Served], tmp_path: Path) -> None:
    """Whatever each keeps its blobs in: what one stores the other serves, and an upload goes on at either."""
    first = serve("--blobs", "disk")
    second = Served(tmp_path, "--blobs", "database", "--processes", 2)
    second.start()
    try:
        content = b"x" * (2 * PIECE) + b"y" * 1000
        for here, there in ((first, second), (second, first)):
            digest = here.push(f"{NAME}/{here.port}", content[here.port % 100 :])
            assert there.ask("HEAD", f"/v2/{NAME}/{here.port}/blobs/{digest}").status == 200
            location = here.begin(NAME)
            begun = f"{here.port}".encode()
            assert here.ask("PATCH", location, begun).status == 202
            assert (
                there.ask("PATCH", location, content, {"Content-Range": f"0-{len(content) - 1}"}).status
                == 416
            )
            assert there.ask("PATCH", location, content).status == 202
            digest = digest_of(begun + content)
            assert here.ask("PUT", f"{location}?digest={digest}").status == 201
            assert there.tag(NAME, f"t{here.port}", image(digest)).status == 201
            assert here.ask("GET", f"/v2/{NAME}/manifests/t{here.port}").body == image(digest)
            assert there.ask("GET", f"/v2/{NAME}/blobs/{digest}").body == begun + content
        second.end()
    finally:
        second.kill()
    first.end()


def test_connections_are_spread(serve: Callable[..., Served]) -> None:
    """Over the workers, though each is kept for as long as its client likes."""
    registry = serve("--processes", 2)
    wait_until(lambda: len(_workers(registry)) == 2, "two workers")
    with ExitStack() as stack:
        for _ in range(24):
            sock = stack.enter_context(registry.connect(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"))
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        kept = [_sockets(pid) for pid in _workers(registry)]
    assert min(kept) >= 6, kept
    registry.end()


def _sockets(pid: int) -> int:
    """Return how many a worker has, beside the one that listens."""
    opened = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115
    return sum(each.startswith("socket:") for each in opened) - 1


def test_what_was_abandoned(serve: Callable[..., Served]) -> None:
    """It is dropped at the start after it has become too old, with its bytes."""
    registry = serve()
    location = registry.begin(NAME)
    assert registry.ask("PATCH", location, b"some").status == 202
    digest = registry.push(NAME, b"a blob")
    registry.end()
    again = serve("--abandoned", 0.001)
    wait_until(lambda: again.ask("GET", location).status == 404, "it is dropped")
    assert again.ask("GET", f"/v2/{NAME}/blobs/{digest}").status == 200
    wait_until(lambda: not list((again.root / "uploads").iterdir()), "its file is gone")
    again.end()


def test_a_full_disk(tmp_path: Path, place: str) -> None:
    """507 in the protocol's form; what was acknowledged is there, and once there is room all goes on."""
    with small_disk(tmp_path / "disk", "12m") as disk:
        registry = Served(disk, "--blobs", place)
        registry.log = tmp_path / "server.log"
        registry.start()
        try:
            before = registry.push(NAME, b"before" * 1000)
            large = b"x" * (16 * PIECE)
            target = f"/v2/{NAME}/blobs/uploads/?digest={digest_of(large)}"
            answer = registry.ask("POST", target, large)
            assert (answer.status, codes(answer)) == (507, ["UNKNOWN"]), registry.log.read_text()
            assert registry.ask("GET", f"/v2/{NAME}/blobs/{before}").body == b"before" * 1000
            assert registry.ask("HEAD", f"/v2/{NAME}/blobs/{digest_of(large)}").status == 404
            if place == "disk":  # in the database its chunks are purged by the next sweep
                assert registry.push(NAME, b"after" * 1000)
            registry.end()
        finally:
            registry.kill()
        assert registry.tracebacks() == 0, registry.log.read_text()


def test_memory_is_bounded(registry: Served, name: str) -> None:
    """A blob of 64 MiB is streamed in, verified and streamed out by a worker that grows by less than that."""
    registry.push(name, b"it is up")
    (worker,) = _workers(registry)
    piece = random.Random(name).randbytes(PIECE)
    digest = digest_of(piece * 64)
    before = _peak_bytes(worker)
    location = registry.begin(name)
    assert registry.ask("PATCH", location, (piece for _ in range(64))).status == 202
    assert registry.ask("PUT", f"{location}?digest={digest}").status == 201
    assert digest_of(registry.ask("GET", f"/v2/{name}/blobs/{digest}").body) == digest
    assert _peak_bytes(worker) - before < 40 * PIECE


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_the_same_blob_by_sixteen(registry: Served, name: str) -> None:
    """All are acknowledged, one content is kept."""
    content = f"by sixteen {name}".encode() * 50_000
    digests = [call.result() for call in calls(lambda number: registry.push(f"{name}/{number}", content), 16)]
    assert set(digests) == {digest_of(content)}
    for number in range(16):
        assert registry.ask("GET", f"/v2/{name}/{number}/blobs/{digests[0]}").body == content
    hexadecimal = digests[0].partition(":")[2]
    assert len([file for file in registry.files() if file.startswith(hexadecimal)]) in (0, 1)


def test_two_finish_one_upload(registry: Served, name: str) -> None:
    """Both send the rest at once: one is acknowledged, the other told that it is out of order, or too late."""
    content = f"finished twice {name}".encode() * 1000
    for _ in range(5):
        location = registry.begin(name)
        half = len(content) // 2
        assert registry.ask("PATCH", location, content[:half]).status == 202
        target, rest = f"{location}?digest={digest_of(content)}", content[half:]
        said = {"Content-Range": f"{half}-{len(content) - 1}"}
        put = partial(registry.ask, "PUT", target, rest, said)
        answers = [call.result() for call in (Call(put), Call(put))]
        statuses = sorted(answer.status for answer in answers)
        assert statuses[0] == 201, answers
        assert statuses[1] in (404, 416), answers
        assert registry.ask("GET", f"/v2/{name}/blobs/{digest_of(content)}").body == content


def test_pushed_deleted_and_pulled_at_once(registry: Served, name: str, seed: int) -> None:
    """Some push one blob, others delete it, others pull it: no 5xx, no wrong byte, and in the end it is there."""
    content = random.Random(seed).randbytes(300_000)
    digest = digest_of(content)
    target = f"/v2/{name}/blobs/{digest}"

    def work(number: int) -> set[int]:
        drawn, statuses = random.Random(f"{seed} {number}"), set[int]()
        for _ in range(15):
            match drawn.randrange(3):
                case 0:
                    answer = registry.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", content)
                case 1:
                    answer = registry.ask("DELETE", target)
                case _:
                    answer = registry.ask("GET", target)
                    assert answer.status == 404 or answer.body == content
            statuses.add(answer.status)
        return statuses

    statuses = set[int]().union(*(call.result() for call in calls(work, 6)))
    assert statuses <= {200, 201, 202, 404}
    assert registry.push(name, content) == digest
    assert registry.ask("GET", target).body == content


def test_deleted_while_it_is_pulled(registry: Served, name: str) -> None:
    """A client that is slow to take a blob gets all of it."""
    content = random.Random(name).randbytes(24 * PIECE)
    digest = registry.push(name, content)
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=LIMIT_S)
    try:
        connection.request("GET", f"/v2/{name}/blobs/{digest}")
        response = connection.getresponse()
        first = response.read(10)
        assert registry.ask("DELETE", f"/v2/{name}/blobs/{digest}").status == 202
        assert first + response.read() == content
    finally:
        connection.close()
    assert registry.ask("GET", f"/v2/{name}/blobs/{digest}").status == 404
