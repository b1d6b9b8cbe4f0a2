"""The registry as a WSGI application (PEP 3333).

A1  Whatever a handler raises is answered in the protocol's form; what is our own mistake is logged with its traceback.
A2  An error of the library's says by its type whether asking again helps: a time-out is 503, a full disk 507.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import Final, TypeAlias

import onewriter
from bench.registry import errors, routes
from bench.registry.errors import RegistryError
from bench.registry.exchange import Environ, Request, Response
from bench.registry.settings import Settings
from bench.registry.store import Store
from bench.registry.sweeper import Sweeper

StartResponse: TypeAlias = "Callable[[str, list[tuple[str, str]]], object]"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_log = logging.getLogger("registry")


class App:
    """One worker's registry; made after the fork, by `close` ended."""

    def __init__(self, settings: Settings) -> None:
        """Open the folder; raises as `Store`."""
        self.store = Store(settings)
        self._sweeper = Sweeper(self.store)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        response = self._answer(environ)
        headers, body = response.headers, response.body
        if isinstance(body, bytes):
            if response.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
                headers = [*headers, ("Content-Length", str(len(body)))]
            body = (body,) if body and environ["REQUEST_METHOD"] != "HEAD" else ()
        start_response(f"{response.status} {HTTPStatus(response.status).phrase}", headers)
        return body

    def close(self) -> None:
        """End the sweeper, and close the database."""
        self._sweeper.end()
        self.store.close()

    def _answer(self, environ: Environ) -> Response:
        try:
            request = Request(environ)
        except RegistryError as error:
            return _as_response(error)
        try:
            return routes.answer(self.store, request)
        except RegistryError as error:
            told = error
        except Exception as error:  # noqa: BLE001 - A1
            told = _translated(error)
        with suppress(RegistryError):  # a length that is none
            request.drain(self.store.settings.drain_bytes_max)
        return _as_response(told)


def _translated(error: Exception) -> RegistryError:
    """Return what a client is told of *error* (A2)."""
    if isinstance(error, onewriter.DiskFull) or (isinstance(error, OSError) and error.errno in _NO_ROOM):
        _log.error("no room: %s", error)
        return errors.no_room()
    match error:
        case onewriter.WriteTimeout() | onewriter.ReadTimeout() | onewriter.OutcomeUnknown():
            _log.error("too busy: %s", error)
            return errors.busy("the registry is too busy, or its disk too slow")
        case onewriter.DatabaseClosed():
            return errors.busy("the registry is being ended")
        case _:
            _log.error("a request failed", exc_info=error)
            return errors.unknown_failure()


def _as_response(error: RegistryError) -> Response:
    return Response(error.status, [("Content-Type", "application/json"), *error.headers], error.body())
