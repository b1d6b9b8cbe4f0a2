"""Pushes images, each blob in one of the protocol's ways.

P1  What the server has acknowledged of an upload is never less than before, also after a kill.
P2  An upload that was begun is there until it is finished: where it is not known any more, its blob is.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from bench.registry.documents import IMAGE
from bench.registry.load.client import Answer, Broken, Client, Lost, Patience
from bench.registry.load.images import REPOSITORIES, Blob, Image, images
from bench.registry.load.ledger import Ledger

Way: TypeAlias = Literal["at once", "whole", "chunks", "stream"]
WAYS: Final[tuple[Way, ...]] = ("at once", "whole", "chunks", "stream")
_STREAMED: Final = 32 * 1024
_OK, _CREATED, _ACCEPTED, _NO_CONTENT = 200, 201, 202, 204
_NOT_FOUND, _OUT_OF_ORDER = 404, 416
_MOUNTED_OFTEN = 0.3


class Upload:
    """One blob on its way."""

    def __init__(
        self, client: Client, ledger: Ledger, repository: str, blob: Blob, drawn: random.Random
    ) -> None:
        """Send nothing yet."""
        self._client = client
        self._ledger = ledger
        self._base = f"/v2/{repository}/blobs/"
        self._blob = blob
        self._content = blob.content()
        self._drawn = drawn
        self._way: Way = drawn.choice(WAYS)
        self._chunk = drawn.randint(max(1, blob.size // 6), blob.size)
        self._location: str | None = None
        self._offset = 0
        self._acknowledged = 0
        self._is_shaken = False  # something was lost: the server is to be asked

    def run(self) -> None:
        """Push it to its end, whatever happens to the server. Raises `Broken`."""
        patience, began = Patience(self._client), time.monotonic()
        while True:
            try:
                if self._is_there() or self._step():
                    break
                patience = Patience(self._client)
            except Lost as lost:
                self._is_shaken = True
                patience.wait(lost)
        self._ledger.acknowledged_blob(self._blob.size, time.monotonic() - began)

    def _is_there(self) -> bool:
        """Ask where the upload ends, after something was lost; say whether it is no upload any more, but a blob."""
        if not self._is_shaken:
            return False
        if self._location is None:
            return self._exists()
        answer = self._client.ask("GET", self._location)
        if answer.status == _NOT_FOUND:
            if self._exists():
                return True  # the answer to what finished it was lost
            raise self._client.broken("an upload that was acknowledged is not known any more")  # P2
        self._expect(answer, _NO_CONTENT)
        self._take_position(answer)
        self._is_shaken = False
        if self._offset:
            self._ledger.count(resumed=1, spared=self._offset)
        return False

    def _exists(self) -> bool:
        answer = self._client.ask("HEAD", self._base + self._blob.digest)
        if answer.status == _OK and answer.header("Content-Length") != str(self._blob.size):
            raise self._client.broken("a blob has another size than was pushed")
        return answer.status == _OK

    def _step(self) -> bool:
        """Send the next part; say whether that finished it."""
        digest = f"digest={self._blob.digest}"
        if self._location is None:
            if self._way == "at once":
                self._expect(
                    self._client.ask("POST", f"{self._base}uploads/?{digest}", self._content), _CREATED
                )
                return True
            answer = self._expect(self._client.ask("POST", f"{self._base}uploads/"), _ACCEPTED)
            self._location, self._offset, self._is_shaken = answer.header("Location"), 0, False
        if self._offset < self._blob.size and self._way in ("chunks", "stream"):
            return self._send()
        rest = self._content[self._offset :]
        headers = self._range(len(rest)) if self._offset and rest else {}
        answer = self._client.ask("PUT", f"{self._location}?{digest}", rest, headers)
        return self._judge(answer, _CREATED)

    def _send(self) -> bool:
        rest = self._content[self._offset :]
        if self._way == "chunks":
            rest = rest[: self._chunk]
            answer = self._client.ask("PATCH", str(self._location), rest, self._range(len(rest)))
        else:
            answer = self._client.ask("PATCH", str(self._location), _streamed(rest))
        due = self._offset + len(rest)
        if self._judge(answer, _ACCEPTED):
            self._take_position(answer)
            if self._offset != due:
                raise self._client.broken(f"a chunk was accepted, but ends {due - self._offset} bytes before")
        return False

    def _judge(self, answer: Answer, wanted: int) -> bool:
        """Say whether *answer* is what was *wanted*; where the upload ends elsewhere it is asked about again."""
        if answer.status == _OUT_OF_ORDER:
            self._is_shaken = True
            return False
        self._expect(answer, wanted)
        return True

    def _expect(self, answer: Answer, status: int) -> Answer:
        if answer.status != status:
            raise self._client.broken(
                f"{answer.status} where {status} was due ({self._way}): {answer.body[:200]!r}"
            )
        return answer

    def _range(self, size: int) -> dict[str, str]:
        return {"Content-Range": f"{self._offset}-{self._offset + size - 1}"}

    def _take_position(self, answer: Answer) -> None:
        last = int(answer.header("Range").partition("-")[2])
        offset = 0 if last == 0 else last + 1  # "0-0" is an empty upload: no blob here has a single byte
        if offset < self._acknowledged:
            raise self._client.broken(
                f"{self._acknowledged - offset} acknowledged bytes of an upload are gone"
            )  # P1
        self._offset = self._acknowledged = offset
        self._location = answer.header("Location") or self._location


def _streamed(content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), _STREAMED):
        yield content[at : at + _STREAMED]


class Pusher(threading.Thread):
    """Pushes one image after the other until it is told to end; finishes the last one."""

    def __init__(self, number: int, port: int, ledger: Ledger, seed: int, bytes_max: int) -> None:
        """Start with ``start()``."""
        super().__init__(name=f"pusher {number}", daemon=True)
        self._ledger = ledger
        self._client = Client(port, ledger)
        self._images = images(seed, number, bytes_max)
        self._drawn = random.Random(f"{seed} {number} ways")
        self._ended = threading.Event()

    def end(self) -> None:
        """Have it end after its image."""
        self._ended.set()

    def run(self) -> None:
        """Push."""
        try:
            while not self._ended.is_set():
                try:
                    self._push(next(self._images))
                except Broken:
                    continue  # the ledger has it; the next image is pushed all the same
        except Exception as error:  # noqa: BLE001 - a mistake of the driver's must not pass for a good run
            self._ledger.broke(f"the driver failed: {type(error).__name__}: {error}")
        finally:
            self._client.close()

    def _push(self, image: Image) -> None:
        for blob in image.blobs:
            self._push_blob(image.repository, blob)
        target = f"/v2/{image.repository}/manifests/{image.tag}"
        answer = self._client.insist("PUT", target, image.manifest, {"Content-Type": IMAGE})
        if answer.status != _CREATED or answer.header("Docker-Content-Digest") != image.digest:
            raise self._client.broken(f"a manifest was answered {answer.status}: {answer.body[:200]!r}")
        self._ledger.acknowledged(image)

    def _push_blob(self, repository: str, blob: Blob) -> None:
        found = self._client.insist("HEAD", f"/v2/{repository}/blobs/{blob.digest}")
        if found.status == _OK:
            self._ledger.count(there=1)
        elif self._drawn.random() < _MOUNTED_OFTEN and self._is_mounted(repository, blob):
            self._ledger.count(mounted=1)
        else:
            Upload(self._client, self._ledger, repository, blob, self._drawn).run()

    def _is_mounted(self, repository: str, blob: Blob) -> bool:
        source = f"load/repository-{self._drawn.randrange(REPOSITORIES)}"
        target = f"/v2/{repository}/blobs/uploads/?mount={blob.digest}&from={source}"
        answer = self._client.insist("POST", target)
        if answer.status == _ACCEPTED:  # an upload instead, which is not wanted
            self._client.insist("DELETE", answer.header("Location"))
        elif answer.status != _CREATED:
            raise self._client.broken(f"a mount was answered {answer.status}: {answer.body[:200]!r}")
        return answer.status == _CREATED
