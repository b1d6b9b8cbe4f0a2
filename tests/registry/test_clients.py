"""Stock clients push and pull, where they are installed: skopeo (containers/image) and docker's own."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from bench.registry.documents import IMAGE, INDEX
from tests.registry.serving import LIMIT_S, Served, digest_of

needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
needs_docker = pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"


class Layout:
    """An OCI image layout, made by hand (https://github.com/opencontainers/image-spec, image-layout.md)."""

    def __init__(self, folder: Path, *, layers: int) -> None:
        """Write one with an image of *layers* layers, tagged ``one``."""
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        tars = [_tar(number) for number in range(layers)]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": self.add(json.dumps(config).encode(), _CONFIG),
            "layers": [self.add(gzip.compress(tar, mtime=0), _LAYER) for tar in tars],
        }
        tagged = self.add(json.dumps(manifest).encode(), IMAGE)
        tagged["annotations"] = {"org.opencontainers.image.ref.name": "one"}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [tagged]}
        (folder / "index.json").write_text(json.dumps(index))

    def add(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Write a blob, and return its descriptor."""
        digest = digest_of(content)
        (self.folder / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _tar(number: int) -> bytes:
    told = io.BytesIO()
    with tarfile.open(fileobj=told, mode="w") as tar:
        content = hashlib.sha512(str(number).encode()).digest() * (20_000 * (number + 1))
        member = tarfile.TarInfo(f"file-{number}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return told.getvalue()


def _run(*words: object) -> str:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _blobs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "blobs" / "sha256").iterdir()}


@needs_skopeo
def test_skopeo(registry: Served, name: str, tmp_path: Path) -> None:
    """An image is pushed, looked at, copied from repository to repository, pulled as it was, and deleted."""
    layout = Layout(tmp_path / "pushed", layers=3)
    remote = f"docker://127.0.0.1:{registry.port}/{name}"
    insecure = ("--src-tls-verify=false", "--dest-tls-verify=false")
    policy = ("skopeo", "--insecure-policy")
    _run(*policy, "copy", *insecure, f"oci:{layout.folder}:one", f"{remote}:one")
    told = json.loads(_run(*policy, "inspect", "--tls-verify=false", f"{remote}:one"))
    assert (told["RepoTags"], len(told["Layers"])) == (["one"], 3)
    _run(*policy, "copy", *insecure, f"{remote}:one", f"{remote}/copied:two")  # mounts its layers
    _run(*policy, "copy", *insecure, f"{remote}/copied:two", f"oci:{tmp_path / 'pulled'}:one")
    assert _blobs(tmp_path / "pulled") == _blobs(layout.folder)
    listed = json.loads(_run(*policy, "list-tags", "--tls-verify=false", f"{remote}/copied"))
    assert listed["Tags"] == ["two"]
    _run(*policy, "delete", "--tls-verify=false", f"{remote}:one")
    assert registry.ask("GET", f"/v2/{name}/manifests/one").status == 404


@needs_skopeo
def test_skopeo_in_dockers_format(registry: Served, name: str, tmp_path: Path) -> None:
    """The same image as Docker's schema 2, and back."""
    layout = Layout(tmp_path / "pushed", layers=2)
    remote = f"docker://127.0.0.1:{registry.port}/{name}:two"
    policy = ("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false")
    _run(*policy, "--format", "v2s2", f"oci:{layout.folder}:one", remote)
    answer = registry.ask("GET", f"/v2/{name}/manifests/two")
    assert answer.header("Content-Type") == "application/vnd.docker.distribution.manifest.v2+json"
    _run(*policy, remote, f"dir:{tmp_path / 'pulled'}")
    layers = [json.loads(answer.body)["layers"][number]["digest"].partition(":")[2] for number in (0, 1)]
    for layer in layers:
        assert (tmp_path / "pulled" / layer).read_bytes() == _blobs(layout.folder)[layer]


@needs_skopeo
@needs_docker
def test_docker_manifest(
    registry: Served, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's client, which needs no daemon for this, reads a manifest, and makes and pushes a list of them."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    layout = Layout(tmp_path / "pushed", layers=1)
    remote = f"127.0.0.1:{registry.port}/{name}"
    copy = ("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "--format", "v2s2")
    _run(*copy, f"oci:{layout.folder}:one", f"docker://{remote}:amd64")
    told = json.loads(_run("docker", "manifest", "inspect", "--insecure", f"{remote}:amd64"))
    assert told["schemaVersion"] == 2
    _run("docker", "manifest", "create", "--insecure", f"{remote}:list", f"{remote}:amd64")
    _run("docker", "manifest", "push", "--insecure", f"{remote}:list")
    pushed = json.loads(registry.ask("GET", f"/v2/{name}/manifests/list").body)
    assert len(pushed["manifests"]) == 1
