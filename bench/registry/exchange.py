"""One request and its answer, as the handlers see them.

X1  A body is read piece by piece; no more than one piece of it is in memory.
X2  A body that ends too early, or stalls, is told apart from one that is whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qs

from bench.registry.errors import RegistryError, size_invalid, unsupported, upload_invalid

Environ: TypeAlias = "Mapping[str, Any]"
_FIELDS_MAX = 20


class Input(Protocol):
    """What a WSGI server gives to read a body by (PEP 3333)."""

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes; less at the end only."""
        ...


class BodyCut(Exception):
    """The client went away, or fell silent, in the middle of its body.

    Attributes:
        rest: what had come since the last whole piece.
    """

    def __init__(self, error: RegistryError, rest: bytes) -> None:
        """*error* is what the client would be told, if it still listened."""
        super().__init__(str(error))
        self.error = error
        self.rest = rest


class Request:
    """What was asked."""

    def __init__(self, environ: Environ) -> None:
        """Read it from *environ* (PEP 3333).

        Raises:
            RegistryError: the query cannot be read.
        """
        self._environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.path: str = environ["PATH_INFO"]
        try:
            self._query = parse_qs(
                environ.get("QUERY_STRING", ""), keep_blank_values=True, max_num_fields=_FIELDS_MAX
            )
        except ValueError as error:
            raise unsupported(f"the query cannot be read: {error}") from error

    @property
    def is_head(self) -> bool:
        """Whether the answer is to have no body."""
        return self.method == "HEAD"

    def query(self, name: str) -> str | None:
        """Return the first value of a field of the query, None where it is absent."""
        values = self._query.get(name)
        return values[0] if values else None

    def header(self, name: str) -> str | None:
        """Return a header, None where it is absent."""
        key = name.upper().replace("-", "_")
        prefixed = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        value: str | None = self._environ.get(prefixed)
        return value or None

    @property
    def length(self) -> int | None:
        """The body's length as it was said; None where it comes without one (``Transfer-Encoding: chunked``)."""
        said = self.header("Content-Length")
        if said is not None:
            if not (said.isascii() and said.isdigit()):
                raise size_invalid(f"Content-Length is no number: {said[:40]!r}")
            return int(said)
        return None if "chunked" in (self.header("Transfer-Encoding") or "").lower() else 0

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield the body in pieces of *size* bytes, the last one shorter, none of them empty (X1).

        Raises:
            BodyCut: it ended before its length, or the connection did (X2).
        """
        body: Input = self._environ["wsgi.input"]
        length = self.length
        left = length
        while left is None or left > 0:
            wanted = size if left is None else min(size, left)
            piece = _read(body, wanted)
            if left is not None:
                left -= len(piece)
                if len(piece) < wanted:
                    raise BodyCut(
                        size_invalid(f"the body ended {left} bytes before the {length} it was to have"), piece
                    )
            if piece:
                yield piece
            if len(piece) < wanted:
                return

    def whole(self, most: int, too_long: RegistryError) -> bytes:
        """Return the body, or raise *too_long* where it has more than *most* bytes."""
        length = self.length
        if length is not None and length > most:
            raise too_long
        parts: list[bytes] = []
        room = most
        try:
            for piece in self.pieces(64 * 1024):
                room -= len(piece)
                if room < 0:
                    raise too_long
                parts.append(piece)
        except BodyCut as cut:
            raise cut.error from cut
        return b"".join(parts)

    def drain(self, most: int) -> None:
        """Read what is left of the body, up to *most* bytes, and forget it.

        For an answer that is an error: a client that sends all before it listens would else find its connection
        broken, and never hear the answer.
        """
        if (self.length or 0) > most:
            return
        body: Input = self._environ["wsgi.input"]
        with suppress(BodyCut):
            while most > 0 and (piece := _read(body, 64 * 1024)):
                most -= len(piece)


def _read(body: Input, size: int) -> bytes:
    try:
        return body.read(size)
    except (
        Exception
    ) as error:  # the connection, or a chunk that is none: each server has errors of its own for it
        reason = (
            "the client fell silent" if isinstance(error, BlockingIOError) else f"the body broke off: {error}"
        )
        raise BodyCut(upload_invalid(reason), b"") from error


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered.

    Attributes:
        status: of HTTP.
        headers: all of them but ``Content-Length`` where *body* is bytes.
        body: bytes, or pieces; what has a ``close`` is closed by the server.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    body: bytes | Iterable[bytes] = b""


def as_json(
    value: object, media_type: str = "application/json", headers: Iterable[tuple[str, str]] = ()
) -> Response:
    """Answer 200 with *value*."""
    return Response(200, [("Content-Type", media_type), *headers], json.dumps(value).encode())
