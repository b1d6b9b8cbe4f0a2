"""The endpoints of the OCI Distribution Specification 1.1, in its order, and its errors.

end-1 `test_base`; end-2 `test_a_blob`, `test_a_part_of_a_blob`; end-3 `test_a_manifest`, `test_what_is_not_there`;
end-4a, 5, 6, 13 `test_chunks`, `test_a_stream`, `test_post_and_put`; end-4b `test_at_once`; end-7 `test_a_manifest` and
those about manifests; end-8a, 8b `test_tags_by_pages`; end-9 `test_deleting_manifests`; end-10 `test_deleting_a_blob`;
end-11 `test_mounting`; end-12a, 12b `test_referrers`.
"""

from __future__ import annotations

import json
import re

import pytest

from bench.registry.documents import IMAGE, INDEX
from tests.registry.serving import Served, codes, digest_of, image

LOST = digest_of(b"never pushed")


def test_base(registry: Served) -> None:
    """200, and which protocol it is."""
    answer = registry.ask("GET", "/v2/")
    assert (answer.status, answer.header("Docker-Distribution-API-Version")) == (200, "registry/2.0")
    assert registry.ask("HEAD", "/v2/").status == 200


def test_at_once(registry: Served, name: str) -> None:
    """POST with a digest and the blob: 201, and where it is."""
    content = b"at once"
    answer = registry.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest_of(content)}", content)
    assert (answer.status, answer.header("Docker-Content-Digest")) == (201, digest_of(content))
    assert registry.ask("GET", answer.header("Location")).body == content


def test_post_and_put(registry: Served, name: str) -> None:
    """An upload is begun, and sent whole by PUT; also by another digest than SHA-256, also with nothing in it."""
    for content in (b"whole" * 1000, b""):
        for algorithm in ("sha256", "sha512"):
            digest = digest_of(content, algorithm)
            answer = registry.ask("PUT", f"{registry.begin(name)}?digest={digest}", content)
            assert (answer.status, answer.header("Docker-Content-Digest")) == (201, digest)
            assert registry.ask("GET", f"/v2/{name}/blobs/{digest}").body == content


def test_chunks(registry: Served, name: str) -> None:
    """In order they are taken, each answer says where it ends; out of order they are 416, and change nothing."""
    content = bytes(range(256)) * 20
    location = registry.begin(name)
    assert registry.ask("GET", location).header("Range") == "0-0"
    sent = 0
    for size in (1000, 2000, 3):
        said = {"Content-Range": f"{sent}-{sent + size - 1}"}
        answer = registry.ask("PATCH", location, content[sent : sent + size], said)
        sent += size
        assert (answer.status, answer.header("Range")) == (202, f"0-{sent - 1}")
        location = answer.header("Location")
        for wrong in (
            "0-999",
            f"{sent + 1}-{sent + 10}",
            f"{sent - 1}-{sent + 8}",
            f"bytes {sent}-{sent + 9}",
        ):
            refused = registry.ask("PATCH", location, b"0123456789", {"Content-Range": wrong})
            assert (refused.status, refused.header("Range")) == (416, f"0-{sent - 1}")
            assert codes(refused) == ["BLOB_UPLOAD_INVALID"]
            assert refused.header("Location") == location
        status = registry.ask("GET", location)
        assert (status.status, status.header("Range")) == (204, f"0-{sent - 1}")
    rest = content[sent:]
    target = f"{location}?digest={digest_of(content)}"
    assert registry.ask("PUT", target, rest, {"Content-Range": f"9-{8 + len(rest)}"}).status == 416
    last = {"Content-Range": f"{sent}-{len(content) - 1}"}
    assert registry.ask("PUT", target, rest, last).status == 201
    assert registry.ask("GET", f"/v2/{name}/blobs/{digest_of(content)}").body == content
    assert codes(registry.ask("GET", location)) == ["BLOB_UPLOAD_UNKNOWN"]


def test_a_stream(registry: Served, name: str) -> None:
    """A body without a length, of more than one piece; then PUT without a body."""
    content = b"0123456789abcdef" * 200_000
    location = registry.begin(name)
    pieces = (content[at : at + 100_000] for at in range(0, len(content), 100_000))
    answer = registry.ask("PATCH", location, pieces)
    assert (answer.status, answer.header("Range")) == (202, f"0-{len(content) - 1}")
    assert registry.ask("PUT", f"{location}?digest={digest_of(content)}").status == 201
    assert registry.ask("GET", f"/v2/{name}/blobs/{digest_of(content)}").body == content


def test_cancelling(registry: Served, name: str) -> None:
    """An upload that is given up is not known any more; nor is one to another repository."""
    location = registry.begin(name)
    assert registry.ask("PATCH", location, b"some").status == 202
    elsewhere = location.replace(name, f"{name}-other")
    assert codes(registry.ask("GET", elsewhere)) == ["BLOB_UPLOAD_UNKNOWN"]
    assert registry.ask("DELETE", location).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = registry.ask(method, location)
        assert (answer.status, codes(answer)) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    assert registry.ask("PUT", f"{location}?digest={LOST}").status == 404


def test_wrong_digests(registry: Served, name: str) -> None:
    """A blob of another digest is refused whole; a digest must be one, and be there."""
    for digest in (LOST, digest_of(b"x", "sha512")):
        answer = registry.ask("PUT", f"{registry.begin(name)}?digest={digest}", b"other")
        assert (answer.status, codes(answer)) == (400, ["DIGEST_INVALID"])
        assert registry.ask("GET", f"/v2/{name}/blobs/{digest}").status == 404
    location = registry.begin(name)
    for target in (
        location,
        f"{location}?digest=",
        f"{location}?digest=md5:00",
        f"{location}?digest=sha256:zz",
    ):
        answer = registry.ask("PUT", target, b"x")
        assert (answer.status, codes(answer)) == (400, ["DIGEST_INVALID"])
    assert registry.ask("POST", f"/v2/{name}/blobs/uploads/?digest={LOST}", b"other").status == 400
    assert registry.ask("PUT", f"{location}?digest={digest_of(b'x')}", b"x").status == 201


def test_a_blob(registry: Served, name: str) -> None:
    """HEAD and GET have the same headers; who has it already is told so."""
    content = b"a blob" * 99
    digest = registry.push(name, content)
    target = f"/v2/{name}/blobs/{digest}"
    for method in ("HEAD", "GET"):
        answer = registry.ask(method, target)
        assert answer.status == 200
        assert answer.header("Content-Length") == str(len(content))
        assert answer.header("Docker-Content-Digest") == digest
        assert answer.header("ETag") == f'"{digest}"'
        assert answer.body == (content if method == "GET" else b"")
    assert registry.ask("GET", target, headers={"If-None-Match": f'"{digest}"'}).status == 304
    for method in ("HEAD", "GET"):
        assert registry.ask(method, f"/v2/{name}/blobs/{LOST}").status == 404
        assert registry.ask(method, f"/v2/{name}-other/blobs/{digest}").status == 404  # not its repository


@pytest.mark.parametrize(
    "asked, first, last",
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=2999990-", 2_999_990, 2_999_999),
        ("bytes=-7", 2_999_993, 2_999_999),
        ("bytes=-9999999", 0, 2_999_999),
        ("bytes=1048570-1048585", 1_048_570, 1_048_585),  # across two chunks
        ("bytes=5-99999999", 5, 2_999_999),
    ],
)
def test_a_part_of_a_blob(registry: Served, asked: str, first: int, last: int) -> None:
    """206, and exactly these bytes."""
    content = b"0123456789" * 300_000
    digest = registry.push("test/ranges", content)
    answer = registry.ask("GET", f"/v2/test/ranges/blobs/{digest}", headers={"Range": asked})
    assert (answer.status, answer.header("Content-Range")) == (206, f"bytes {first}-{last}/3000000")
    assert answer.body == content[first : last + 1]


def test_parts_that_are_not_there(registry: Served, name: str) -> None:
    """416 beyond the end; what is no range, or not of this content, gives the whole."""
    digest = registry.push(name, b"0123456789")
    target = f"/v2/{name}/blobs/{digest}"
    for asked in ("bytes=10-", "bytes=99-100", "bytes=-0"):
        answer = registry.ask("GET", target, headers={"Range": asked})
        assert (answer.status, answer.header("Content-Range")) == (416, "bytes */10")
        assert codes(answer) == ["UNSUPPORTED"]
    for asked in ("bytes=5-4", "bytes=-", "lines=1-2", "bytes=0-1,3-4", "bytes=a-b", "bytes=1"):
        answer = registry.ask("GET", target, headers={"Range": asked})
        assert (answer.status, answer.body) == (200, b"0123456789")
    stale = {"Range": "bytes=1-2", "If-Range": '"another"'}
    assert registry.ask("GET", target, headers=stale).body == b"0123456789"


def test_deleting_a_blob(registry: Served, name: str) -> None:
    """It is gone from the repository that gave it up, and from no other; with the last one it is gone."""
    content = f"to be deleted from {name}".encode()
    digest = registry.push(name, content)
    other = f"{name}/other"
    registry.push(other, content)
    assert registry.ask("DELETE", f"/v2/{name}/blobs/{digest}").status == 202
    assert registry.ask("GET", f"/v2/{name}/blobs/{digest}").status == 404
    assert codes(registry.ask("DELETE", f"/v2/{name}/blobs/{digest}")) == ["BLOB_UNKNOWN"]
    assert registry.ask("GET", f"/v2/{other}/blobs/{digest}").body == content
    assert registry.ask("DELETE", f"/v2/{other}/blobs/{digest}").status == 202
    assert not [file for file in registry.files() if file.startswith(digest.partition(":")[2])]
    registry.push(name, content)
    assert registry.ask("GET", f"/v2/{name}/blobs/{digest}").body == content


def test_mounting(registry: Served, name: str) -> None:
    """A blob that another repository has is taken from there; one that it has not is an upload."""
    digest = registry.push(name, f"mounted from {name}".encode())
    target = f"/v2/{name}/new/blobs/uploads/?mount={digest}"
    for asked in (f"{target}&from={name}", target):
        answer = registry.ask("POST", asked)
        assert (answer.status, answer.header("Location")) == (201, f"/v2/{name}/new/blobs/{digest}")
        assert registry.ask("HEAD", answer.header("Location")).status == 200
        assert registry.ask("DELETE", answer.header("Location")).status == 202
    for asked in (
        f"{target}&from={name}-not",
        f"{target}&from=../x",
        target.replace(digest, LOST),
        f"{target}0",
    ):
        answer = registry.ask("POST", asked)
        assert answer.status == 202, asked
        assert registry.ask("GET", answer.header("Location")).status == 204


def test_a_manifest(registry: Served, name: str) -> None:
    """Byte for byte, with its type, by tag and by digest; a tag moves."""
    config = registry.push(name, b"{}")
    first, second = (image(config, annotations={"n": n}) + b"\n \t" for n in ("1", "2"))
    for manifest in (first, second, second):
        answer = registry.tag(name, "latest", manifest)
        assert (answer.status, answer.header("Docker-Content-Digest")) == (201, digest_of(manifest))
        assert registry.ask("GET", answer.header("Location")).body == manifest
    for reference, manifest in (("latest", second), (digest_of(first), first), (digest_of(second), second)):
        for method in ("GET", "HEAD"):
            answer = registry.ask(method, f"/v2/{name}/manifests/{reference}")
            assert (answer.status, answer.header("Content-Type")) == (200, IMAGE)
            assert answer.header("Docker-Content-Digest") == digest_of(manifest)
            assert answer.header("Content-Length") == str(len(manifest))
            assert answer.body == (manifest if method == "GET" else b"")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.example.anything+json",
        "application/json; charset=utf-8",
    ],
)
def test_a_manifest_of_any_type(registry: Served, name: str, media_type: str) -> None:
    """Its type is given back as it came, where the manifest itself does not say another."""
    manifest = b'{"anything": ["at", "all"]}'
    digest = digest_of(manifest, "sha512")
    answer = registry.tag(name, digest, manifest, media_type)
    assert (answer.status, answer.header("Docker-Content-Digest")) == (201, digest)
    answer = registry.ask("GET", f"/v2/{name}/manifests/{digest}")
    assert (answer.header("Content-Type"), answer.body) == (media_type, manifest)


def test_what_a_manifest_refers_to(registry: Served, name: str) -> None:
    """Each blob that is missing is named, and nothing of the manifest is there; layers kept elsewhere may miss."""
    config = registry.push(name, b"{}")
    other = digest_of(b"neither")
    answer = registry.tag(name, "x", image(config, LOST, other, LOST))
    assert (answer.status, codes(answer)) == (404, ["MANIFEST_BLOB_UNKNOWN"] * 2)
    assert [each["detail"]["digest"] for each in json.loads(answer.body)["errors"]] == [LOST, other]
    assert registry.ask("GET", f"/v2/{name}/manifests/x").status == 404
    registry.push(f"{name}/other", b"neither")  # another's is not enough
    assert registry.tag(name, "x", image(config, other)).status == 404
    index = json.dumps({"schemaVersion": 2, "manifests": [{"digest": LOST, "size": 1, "mediaType": IMAGE}]})
    assert codes(registry.tag(name, "x", index.encode(), INDEX)) == ["MANIFEST_BLOB_UNKNOWN"]
    registry.tag(name, "child", child := image(config))
    assert registry.tag(name, "x", index.replace(LOST, digest_of(child)).encode(), INDEX).status == 201
    foreign = {
        "mediaType": "application/x.foreign",
        "digest": LOST,
        "size": 1,
        "urls": ["https://example.net/"],
    }
    assert registry.tag(name, "y", image(config, layers=[foreign])).status == 201


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"no JSON",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"config": 5}',
        b'{"config": {"digest": 5}}',
        b'{"layers": [{"digest": "sha256:../../etc/passwd"}]}',
        b'{"layers": {"a": 1}}',
        b'{"annotations": {"a": 1}}',
        b'{"artifactType": "\\ud800"}',
        b'{"mediaType": "application/another"}',
        b'{"subject": {"digest": "md5:00"}}',
    ],
)
def test_manifests_that_are_none(registry: Served, name: str, manifest: bytes) -> None:
    """400, whatever is wrong, and nothing is stored."""
    answer = registry.tag(name, "x", manifest, "application/vnd.example+json")
    assert (answer.status, codes(answer)) == (400, ["MANIFEST_INVALID"])
    assert registry.ask("GET", f"/v2/{name}/tags/list").status == 404


def test_refused_manifests(registry: Served, name: str) -> None:
    """Too large, of another digest, by a name that is none, without a type."""
    large = b'{"a": "' + b"x" * (4 * 1024 * 1024) + b'"}'
    for body in (large, (large[at : at + 99_999] for at in range(0, len(large), 99_999))):
        answer = registry.ask("PUT", f"/v2/{name}/manifests/x", body, {"Content-Type": IMAGE})
        assert (answer.status, codes(answer)) == (413, ["MANIFEST_INVALID"])
    assert codes(registry.tag(name, LOST, b"{}")) == ["DIGEST_INVALID"]
    for reference in (".x", "a" * 129, "-x"):
        assert codes(registry.tag(name, reference, b"{}")) == ["MANIFEST_INVALID"]
    assert registry.ask("PUT", f"/v2/{name}/manifests/x", b"{}").status == 400


def test_tags_by_pages(registry: Served, name: str) -> None:
    """In lexical order without regard to case, limited by `n`, from `last` on, with a link to the rest."""
    config = registry.push(name, b"{}")
    order = ["1.10", "1.9", "a", "A1", "b", "B", "c_d"]
    order.sort(key=lambda tag: (tag.lower(), tag))
    for tag in reversed(order):
        assert registry.tag(name, tag, image(config)).status == 201
    whole = registry.ask("GET", f"/v2/{name}/tags/list")
    assert json.loads(whole.body) == {"name": name, "tags": order}
    assert not whole.header("Link")
    found: list[str] = []
    following = f"/v2/{name}/tags/list?n=3"
    while following:
        answer = registry.ask("GET", following)
        page = json.loads(answer.body)["tags"]
        assert len(page) <= 3
        found += page
        link = re.fullmatch(r'<(/v2/.*)>; rel="next"', answer.header("Link"))
        following = link[1] if link else ""
    assert found == order
    for query, tags in (
        ("n=0", []),
        ("last=a", order[order.index("a") + 1 :]),
        ("n=1&last=aa", ["b"][:0] or None),
    ):
        answer = registry.ask("GET", f"/v2/{name}/tags/list?{query}")
        assert tags is None or json.loads(answer.body)["tags"] == tags
    for wrong in ("n=-1", "n=x", "n=%00", "n="):
        assert codes(registry.ask("GET", f"/v2/{name}/tags/list?{wrong}")) == ["UNSUPPORTED"]
    assert codes(registry.ask("GET", f"/v2/{name}-not/tags/list")) == ["NAME_UNKNOWN"]


def test_the_catalog(registry: Served, name: str) -> None:
    """Repositories with a manifest, by pages."""
    names = [f"{name}/{letter}" for letter in "abc"]
    for each in names:
        registry.tag(each, "x", b"{}", "application/x+json")
    registry.push(f"{name}/d", b"no image")
    found: list[str] = []
    last = name
    for _ in range(3):
        answer = registry.ask("GET", f"/v2/_catalog?n=1&last={last}")
        found += json.loads(answer.body)["repositories"]
        last = found[-1]
    assert found == names
    assert f"{name}/d" not in json.loads(registry.ask("GET", "/v2/_catalog").body)["repositories"]


def test_deleting_manifests(registry: Served, name: str) -> None:
    """A tag alone leaves the manifest; a digest takes its tags with it."""
    config = registry.push(name, b"{}")
    manifest = image(config)
    for tag in ("a", "b", "c"):
        registry.tag(name, tag, manifest)
    assert registry.ask("DELETE", f"/v2/{name}/manifests/a").status == 202
    assert registry.ask("GET", f"/v2/{name}/manifests/a").status == 404
    assert json.loads(registry.ask("GET", f"/v2/{name}/tags/list").body)["tags"] == ["b", "c"]
    assert registry.ask("DELETE", f"/v2/{name}/manifests/{digest_of(manifest)}").status == 202
    for reference in ("b", "c", digest_of(manifest)):
        assert registry.ask("GET", f"/v2/{name}/manifests/{reference}").status == 404
        assert codes(registry.ask("DELETE", f"/v2/{name}/manifests/{reference}")) == ["MANIFEST_UNKNOWN"]
    assert json.loads(registry.ask("GET", f"/v2/{name}/tags/list").body)["tags"] == []


def test_referrers(registry: Served, name: str) -> None:
    """What is about a manifest, which need not be there: all, or of one type."""
    config = registry.push(name, b"{}")
    subject = {"mediaType": IMAGE, "digest": LOST, "size": 3}
    signature = image(
        config, subject=subject, artifactType="application/x.signature", annotations={"by": "me"}
    )
    plain = image(config, subject=subject)
    for manifest in (signature, plain):
        answer = registry.tag(name, digest_of(manifest), manifest)
        assert (answer.status, answer.header("OCI-Subject")) == (201, LOST)
    answer = registry.ask("GET", f"/v2/{name}/referrers/{LOST}")
    assert (answer.status, answer.header("Content-Type")) == (200, INDEX)
    found = json.loads(answer.body)["manifests"]
    assert found[0] == {
        "mediaType": IMAGE,
        "digest": digest_of(signature),
        "size": len(signature),
        "artifactType": "application/x.signature",
        "annotations": {"by": "me"},
    }
    assert found[1]["artifactType"] == "application/vnd.oci.image.config.v1+json"
    assert not answer.header("OCI-Filters-Applied")
    filtered = registry.ask("GET", f"/v2/{name}/referrers/{LOST}?artifactType=application/x.signature")
    assert filtered.header("OCI-Filters-Applied") == "artifactType"
    assert json.loads(filtered.body)["manifests"] == found[:1]
    nothing = registry.ask("GET", f"/v2/{name}-not/referrers/{LOST}")
    assert (nothing.status, json.loads(nothing.body)["manifests"]) == (200, [])
    assert codes(registry.ask("GET", f"/v2/{name}/referrers/x")) == ["DIGEST_INVALID"]
    registry.ask("DELETE", f"/v2/{name}/manifests/{digest_of(signature)}")
    assert json.loads(registry.ask("GET", f"/v2/{name}/referrers/{LOST}").body)["manifests"] == found[1:]


def test_what_is_not_there(registry: Served, name: str) -> None:
    """404 with the code of what is missing."""
    for target, code in (
        (f"/v2/{name}/manifests/.INVALID_MANIFEST_NAME", "MANIFEST_UNKNOWN"),
        (f"/v2/{name}/manifests/latest", "MANIFEST_UNKNOWN"),
        (f"/v2/{name}/manifests/{LOST}", "MANIFEST_UNKNOWN"),
        (f"/v2/{name}/blobs/{LOST}", "BLOB_UNKNOWN"),
        (f"/v2/{name}/blobs/uploads/{'0' * 32}", "BLOB_UPLOAD_UNKNOWN"),
        (f"/v2/{name}/blobs/uploads/x", "BLOB_UPLOAD_UNKNOWN"),
        (f"/v2/{name}/tags/list", "NAME_UNKNOWN"),
        ("/", "UNSUPPORTED"),
        ("/v1/", "UNSUPPORTED"),
        ("/v2/x", "UNSUPPORTED"),
        (f"/v2/{name}/blobs/", "UNSUPPORTED"),
        ("/v2//tags/list", "UNSUPPORTED"),
    ):
        answer = registry.ask("GET", target)
        assert (answer.status, codes(answer)) == (404, [code]), target


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("POST", "/v2/", "GET, HEAD"),
        ("DELETE", "/v2/x/tags/list", "GET"),
        ("POST", "/v2/x/manifests/y", "GET, HEAD, PUT, DELETE"),
        ("GET", "/v2/x/blobs/uploads/", "POST"),
        ("POST", "/v2/x/blobs/uploads/y", "GET, PATCH, PUT, DELETE"),
        ("PUT", f"/v2/x/blobs/{LOST}", "GET, HEAD, DELETE"),
        ("BREW", "/v2/_catalog", "GET"),
    ],
)
def test_wrong_methods(registry: Served, method: str, path: str, allowed: str) -> None:
    """405, and what is allowed."""
    answer = registry.ask(method, path)
    assert (answer.status, answer.header("Allow"), codes(answer)) == (405, allowed, ["UNSUPPORTED"])
