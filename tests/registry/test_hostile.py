"""What no honest client sends: each is answered in the protocol's form, none by a 5xx, and nothing of it is stored."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.registry.serving import LIMIT_S, Served, codes, digest_of

NAMES = (
    "..",
    "../../etc",
    "a/../b",
    "a//b",
    "A",
    "a_",
    "-a",
    "a" * 256,
    "a/%2e%2e/b",
    "%00",
    "a%0ab",
    "%c3%a9",
    "a%5cb",
    "a;b",
    "a/./b",
)


@pytest.mark.parametrize(
    "method, tail", [("GET", "tags/list"), ("PUT", "manifests/x"), ("POST", "blobs/uploads/")]
)
def test_names(registry: Served, method: str, tail: str) -> None:
    """400, before anything else is looked at."""
    for bad in NAMES:
        answer = registry.ask(method, f"/v2/{bad}/{tail}", b"{}" if method != "GET" else None)
        assert (answer.status, codes(answer)) == (400, ["NAME_INVALID"]), bad


@pytest.mark.parametrize(
    "bad",
    [
        "sha256:..%2f..%2f..%2fetc%2fpasswd",
        "sha256:" + "0" * 63,
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 64 + "%0a",
        "sha1:" + "0" * 40,
        ":",
        "x",
        "sha256:" + "0" * 10_000,
    ],
)
def test_digests(registry: Served, name: str, bad: str) -> None:
    """400 or 404; too long a line is 414."""
    for method, target in (
        ("GET", f"/v2/{name}/blobs/{bad}"),
        ("DELETE", f"/v2/{name}/blobs/{bad}"),
        ("POST", f"/v2/{name}/blobs/uploads/?digest={bad}"),
        ("GET", f"/v2/{name}/manifests/{bad}"),
    ):
        answer = registry.ask(method, target)
        assert answer.status in (400, 404, 414), target
        assert codes(answer)[0] in ("DIGEST_INVALID", "MANIFEST_UNKNOWN", "UNSUPPORTED")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: -1",
        b"Content-Length: 1e3",
        b"Content-Length: " + b"9" * 5000,
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Content-Length : 5",
        b"Expect: a miracle",
        b"X: " + b"y" * 20_000,
        b"no colon",
    ],
)
def test_heads(registry: Served, name: str, head: bytes) -> None:
    """4xx as JSON, from the server itself."""
    target = registry.begin(name)
    told = registry.raw(b"PATCH " + target.encode() + b" HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\nhello")
    first, _, body = told.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 4"), told
    assert json.loads(body)["errors"][0]["code"] == "UNSUPPORTED"
    assert registry.ask("GET", target).header("Range") == "0-0"


@pytest.mark.parametrize(
    "line", [b"hello", b"GET", b"GET /v2/ HTTP/9.9", b"\x16\x03\x01\x02\x00\x01\x00", b"get lost HTTP/1.1"]
)
def test_what_is_no_http(registry: Served, line: bytes) -> None:
    """4xx as JSON."""
    told = registry.raw(line + b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 4"), told
    assert b'{"errors": [' in told


def test_huge_lengths(registry: Served, name: str) -> None:
    """413 before a byte is taken."""
    target = registry.begin(name)
    for length in (2**40, 10**30):
        head = f"PATCH {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        with registry.connect(head.encode()) as sock:
            sock.shutdown(socket.SHUT_WR)
            told = b"".join(iter(lambda: sock.recv(65536), b""))
        assert told.startswith(b"HTTP/1.1 413"), told
        assert b"SIZE_INVALID" in told
    assert registry.ask("PUT", f"/v2/{name}/manifests/x", b"", {"Content-Length": str(10**9)}).status == 413


def test_a_body_that_breaks_off(registry: Served, name: str) -> None:
    """What came is kept, and counted; what was to be finished is not."""
    content = b"0123456789"
    target = registry.begin(name)
    head = f"PUT {target}?digest={digest_of(content)} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    _send_and_go(registry, head.encode() + content[:4])
    assert registry.ask("GET", target).header("Range") == "0-3"
    answer = registry.ask(
        "PUT", f"{target}?digest={digest_of(content)}", content[4:], {"Content-Range": "4-9"}
    )
    assert answer.status == 201
    assert registry.ask("GET", f"/v2/{name}/blobs/{digest_of(content)}").body == content


@pytest.mark.parametrize(
    "chunk", [b"zz\r\n", b"-1\r\n", b"5\r\nhello", b"5\r\nhelloXX0\r\n\r\n", b"ffffffffffffffff\r\nx"]
)
def test_broken_chunks(registry: Served, name: str, chunk: bytes) -> None:
    """A stream that breaks its own form is refused, and the upload can go on."""
    target = registry.begin(name)
    head = f"PATCH {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    _send_and_go(registry, head.encode() + chunk)
    assert registry.ask("GET", target).status == 204


def test_lengths_that_differ(registry: Served, name: str) -> None:
    """Between Content-Range and the body."""
    target = registry.begin(name)
    answer = registry.ask("PATCH", target, b"12345", {"Content-Range": "0-9"})
    assert (answer.status, codes(answer)) == (400, ["SIZE_INVALID"])
    for said, status in (("0-2", 413), ("0-9", 400)):
        answer = registry.ask("PATCH", registry.begin(name), iter([b"12", b"345"]), {"Content-Range": said})
        assert (answer.status, codes(answer)) == (status, ["SIZE_INVALID"])
    assert registry.ask("GET", target).header("Range") == "0-0"
    for said in ("5", "-5", "0-", "3-1", "0-99999999999999999999", "0-9/10", "a-b", "0 - 9"):
        assert registry.ask("PATCH", target, b"12345", {"Content-Range": said}).status == 416


def test_a_refused_body(registry: Served, name: str) -> None:
    """A client that sends all before it listens hears why it was refused, and keeps its connection."""
    location = registry.begin(name)
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=LIMIT_S)
    try:
        connection.connect()
        sock = connection.sock
        for _ in range(2):
            connection.request("PATCH", location, b"x" * 5_000_000, {"Content-Range": "7-5000006"})
            response = connection.getresponse()
            assert (response.status, response.read() != b"") == (416, True)
            assert connection.sock is sock
    finally:
        connection.close()


def test_queries(registry: Served, name: str) -> None:
    """Too many fields, or odd ones."""
    answer = registry.ask("GET", "/v2/_catalog?" + "&".join(f"a{n}=1" for n in range(99)))
    assert (answer.status, codes(answer)) == (400, ["UNSUPPORTED"])
    assert registry.ask("GET", "/v2/_catalog?last=%ff%00%ed%a0%80&n=5").status in (200, 400)
    digest = registry.push(name, b"x")
    odd = f"/v2/{name}/referrers/{digest}?artifactType=%00%ff"
    assert json.loads(registry.ask("GET", odd).body)["manifests"] == []


def test_silent_clients(serve: Callable[..., Served]) -> None:
    """Those who stall in their headers, or in a body, are given up, and their threads serve others."""
    registry = serve("--threads", 2, "--stall", 0.3)
    target = registry.begin("test/silent")
    heads = [
        b"GET /v2/ HTTP/1.1\r\nHost:",
        f"PATCH {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1234".encode(),
        b"PUT /v2/test/silent/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1",
    ]
    with ExitStack() as stack:
        sockets = [stack.enter_context(registry.connect(head)) for head in heads]
        assert registry.ask("GET", "/v2/").status == 200
        for sock in sockets:
            while sock.recv(65536):  # until it is closed
                pass
        assert registry.ask("GET", target).header("Range") in ("0-0", "0-3")
    registry.end()


def _send_and_go(registry: Served, sent: bytes) -> None:
    """Send what is not whole, say that nothing more comes, and wait until the server has closed."""
    with registry.connect(sent) as sock:
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
