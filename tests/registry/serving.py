"""A registry that is being served, and the shortest way to ask it something."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from bench.registry.documents import IMAGE
from bench.registry.load.client import Answer, exchange
from bench.registry.load.fleet import Fleet
from tests.house import ROOT

LIMIT_S = 30.0
_numbers = count()


def run_module(name: str, *arguments: object, limit_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Run the module *name* of this project, as ``python -m`` does, for *limit_s* seconds at most."""
    return subprocess.run(
        [sys.executable, "-m", name, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


class Served(Fleet):
    """A server of a test's own; asked by a connection each."""

    def __init__(self, folder: Path, *options: object) -> None:
        """Serve ``registry`` in *folder*, from `start` on."""
        super().__init__(folder / "registry", folder / "server.log", *options)
        self.root = folder / "registry"

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask once, and return the whole answer; an iterable body has no length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        try:
            return exchange(connection, method, target, body, headers)[0]
        finally:
            connection.close()

    def raw(self, *parts: bytes, until_close: bool = True) -> bytes:
        """Send bytes as they are, and return what comes back until the server closes, or for the first time."""
        with self.connect(*parts) as sock:
            told = b""
            while piece := sock.recv(65536):
                told += piece
                if not until_close:
                    break
            return told

    def connect(self, *parts: bytes) -> socket.socket:
        """Connect, and send bytes as they are."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT_S)
        for part in parts:
            sock.sendall(part)
        return sock

    def push(self, name: str, content: bytes) -> str:
        """Push a blob at once, and return its digest."""
        digest = digest_of(content)
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", content)
        assert answer.status == 201, answer
        return digest

    def begin(self, name: str) -> str:
        """Begin an upload, and return where it is."""
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/")
        assert answer.status == 202, answer
        return answer.header("Location")

    def tag(self, name: str, tag: str, manifest: bytes, media_type: str = IMAGE) -> Answer:
        """Push a manifest."""
        return self.ask("PUT", f"/v2/{name}/manifests/{tag}", manifest, {"Content-Type": media_type})

    def files(self) -> list[str]:
        """Return the names of all files of uploads and blobs."""
        return sorted(path.name for path in self.root.glob("*/**/*") if path.is_file())


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of *content*."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def new_name() -> str:
    """Return the name of a repository that no other test uses."""
    return f"test/n{os.getpid()}-{next(_numbers)}"


def codes(answer: Answer) -> list[str]:
    """Return the codes of an error, which must be in the protocol's form."""
    assert answer.header("Content-Type") == "application/json", answer
    said: Any = json.loads(answer.body)
    assert list(said) == ["errors"]
    assert all(each["code"] and each["message"] for each in said["errors"])
    return [each["code"] for each in said["errors"]]


def image(config: str, *layers: str, **more: object) -> bytes:
    """Return a manifest of these blobs, which all have the digests given and a size of no matter."""
    layer = "application/vnd.oci.image.layer.v1.tar"
    said = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": layer, "digest": each, "size": 2} for each in layers],
        **more,
    }
    return json.dumps(said).encode()
