"""A client of the protocol that comes back when its connection does not hold.

K1  A refused or broken connection is no answer: what it was for is asked about, or sent, again.
K2  A 5xx is an answer, and a broken promise; so is any that the protocol does not have for what was asked.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bench.registry.load.ledger import Ledger

PATIENCE_S = 60.0  # a server that does not come back in that time is a failure
_PAUSE_S = 0.1
_ANSWER_S = 60.0
_SERVERS_FAULT = 500


class Lost(Exception):
    """The connection was refused, or broke before the answer was whole."""


class Broken(Exception):
    """A promise was broken; the ledger has it."""


class Answer(NamedTuple):
    """An answer, whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def header(self, name: str) -> str:
        """Return a header, empty where it is absent."""
        return self.headers.get(name, "")


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | Iterable[bytes] | None,
    headers: Mapping[str, str] | None,
) -> tuple[Answer, bool]:
    """Ask once by *connection*; return the whole answer, and whether the server keeps the connection.

    An iterable body is sent chunk by chunk, without a length.
    """
    is_stream = body is not None and not isinstance(body, bytes)
    connection.request(method, target, body, dict(headers or {}), encode_chunked=is_stream)
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read()), not response.will_close


class Client:
    """One connection at a time to one server; used by one thread."""

    def __init__(self, port: int, ledger: Ledger) -> None:
        """Connect when something is asked."""
        self._port = port
        self._ledger = ledger
        self._connection: http.client.HTTPConnection | None = None

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask once; an iterable body is sent chunk by chunk, without a length.

        Raises:
            Lost: no whole answer came (K1).
            Broken: the answer is a 5xx (K2).
        """
        connection = self._connection or http.client.HTTPConnection(
            "127.0.0.1", self._port, timeout=_ANSWER_S
        )
        self._connection = None
        try:
            answer, is_kept = exchange(connection, method, target, body, headers)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._ledger.count(lost=1)
            raise Lost(f"{method}: {type(error).__name__}: {error}") from error
        if is_kept:
            self._connection = connection
        else:
            connection.close()
        self._ledger.answered(answer.status)
        if answer.status >= _SERVERS_FAULT:
            raise self.broken(
                f"{method} {target.partition('?')[0][:60]}: {answer.status} {answer.body[:200]!r}"
            )
        return answer

    def insist(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask until there is an answer; for what may be asked twice. Raises `Broken`."""
        patience = Patience(self)
        while True:
            try:
                return self.ask(method, target, body, headers)
            except Lost as lost:
                patience.wait(lost)

    def broken(self, what: str) -> Broken:
        """Return the error of a broken promise, which the ledger keeps."""
        self._ledger.broke(what)
        return Broken(what)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Patience:
    """Waits a little after each lost connection, and not for ever."""

    def __init__(self, client: Client) -> None:
        """Begin now."""
        self._client = client
        self._deadline = time.monotonic() + PATIENCE_S

    def wait(self, lost: Lost) -> None:
        """Wait; raises `Broken` where the server has been gone for too long."""
        if time.monotonic() > self._deadline:
            raise self._client.broken(f"the server did not come back in {PATIENCE_S:.0f} s: {lost}")
        time.sleep(_PAUSE_S)
