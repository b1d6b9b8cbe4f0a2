"""The registry on gunicorn's threaded workers.

W1  The folder is opened, migrated and closed before there are workers, so that a mistake is told before; each worker
    opens it for itself after the fork, and closes it when its last request has ended.
W2  SIGTERM and Ctrl-C end all alike: no new connections, what is at work is finished, status 0.
W3  A client that stalls is given up, in its headers as in its body: the sockets have time-outs of the system's own.
    Nor does the thread that accepts wait for one that is to be closed, which gunicorn's own way of closing does.
W4  Connections are spread over the workers, which gunicorn leaves to who is awake first: a kept one stays where it is.
W5  A request that is no HTTP is answered in the protocol's form as well.
"""

# gunicorn has no types.
# mypy: disable-error-code="import-untyped, misc, no-any-unimported"
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUntypedBaseClass=false

from __future__ import annotations

import signal
import socket
import struct
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.http import errors as refusals
from gunicorn.workers.gthread import ThreadWorker

from bench.registry.app import App
from bench.registry.errors import as_body
from bench.registry.settings import Settings
from bench.registry.store import Store

_BACKLOG: Final = 2048
_LINGER_S: Final = 1.0
_LATER_S: Final = 0.000_2
_LATEST_S: Final = 0.005
_STATUS: Final = {
    refusals.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    refusals.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    refusals.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}


class Worker(ThreadWorker):
    """A worker that treats Ctrl-C as SIGTERM (W2), and speaks JSON to who speaks no HTTP (W5)."""

    def init_signals(self) -> None:
        """See gunicorn; a terminal sends Ctrl-C to the workers too."""
        super().init_signals()
        signal.signal(signal.SIGINT, self.handle_exit)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, if no other worker has; the more this one has, the later it tries (W4)."""
        if self.cfg.workers > 1:
            time.sleep(min(self.nr_conns * _LATER_S, _LATEST_S))
        super().accept(listener)

    def handle(self, conn: Any) -> Any:  # noqa: ANN401
        """Serve one request; where its connection is to be closed, wait here for the client to take the answer (W3)."""
        kept = super().handle(conn)
        if kept is False:
            _linger(conn.sock)
        return kept

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:  # noqa: ANN401
        """Answer what could not be read as a request."""
        own = refusals.InvalidResponseHeader  # pyright: ignore[reportAttributeAccessIssue] - it knows an older one
        if isinstance(exc, own) or not isinstance(exc, refusals.ParseException):
            super().handle_error(req, client, addr, exc)
            return
        status = next((_STATUS[kind] for kind in _STATUS if isinstance(exc, kind)), HTTPStatus.BAD_REQUEST)
        body = as_body("UNSUPPORTED", f"this is no request: {str(exc)[:200]}")
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with suppress(OSError):
            client.sendall(head.encode() + body)


class _Arbiter(Arbiter):
    def handle_int(self) -> None:
        """Ctrl-C, as SIGTERM (W2)."""
        self.handle_term()


class Server(BaseApplication):
    """Listens when it is made; `run` serves until it is told to end."""

    def __init__(self, settings: Settings, port: int) -> None:
        """Bind *port* of the loopback address, 0 for a free one, and look whether the folder can be served (W1).

        Raises:
            OSError: the port is taken, or the folder cannot be used.
            onewriter.Error: the database cannot be opened.
        """
        self._settings = settings
        self._app: App | None = None
        self.socket = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        self.port: int = self.socket.getsockname()[1]
        try:
            settings.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _limit_waits(self.socket, settings.stall_s)
            Store(settings).close()
        except BaseException:
            self.socket.close()
            raise
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's settings."""
        chosen = {
            "bind": f"fd://{self.socket.fileno()}",
            "worker_class": Worker,
            "workers": self._settings.processes,
            "threads": self._settings.threads,
            "worker_connections": self._settings.threads + 1000,
            "keepalive": self._settings.keepalive_s,
            "graceful_timeout": int(self._settings.grace_s),
            "timeout": 120,  # of a worker whose main thread, which only accepts, does not show that it lives
            "errorlog": "-",
            "loglevel": "warning",
            "control_socket_disable": True,
            "when_ready": self._say_ready,
            "worker_exit": self._close,
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> App:
        """Open the registry; called in each worker, after the fork (W1)."""
        self._app = App(self._settings)
        return self._app

    def run(self) -> None:
        """Serve; ends by `SystemExit`."""
        _Arbiter(self).run()

    def _close(self, _arbiter: object, _worker: object) -> None:
        if self._app is not None:
            self._app.close()

    def _say_ready(self, _arbiter: object) -> None:
        settings = self._settings
        workers = (
            f"{settings.processes} process{'es' * (settings.processes > 1)} of {settings.threads} threads"
        )
        print(
            f"http://127.0.0.1:{self.port}/ blobs: {settings.place}, {workers}, in {settings.root}",
            flush=True,
        )


def _limit_waits(listener: socket.socket, stall_s: float) -> None:
    """Have every connection that *listener* accepts give up a read or a write that waits too long (W3).

    gunicorn sets its sockets to wait without end, so the time-out is the system's: socket(7), SO_RCVTIMEO; accepted
    sockets inherit it. A read that runs into it is a BlockingIOError.
    """
    seconds = int(stall_s)
    value = struct.pack("ll", seconds, int((stall_s - seconds) * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        listener.setsockopt(socket.SOL_SOCKET, option, value)


def _linger(sock: socket.socket) -> None:
    """Let the client read what it was sent, and go, before its socket is closed (RFC 9112, section 9.6)."""
    deadline = time.monotonic() + _LINGER_S
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            if not sock.recv(65536):
                break
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RD)  # so that gunicorn's own lingering finds the end at once


def serve(settings: Settings, port: int) -> None:
    """Serve until told to end; ends by `SystemExit`. Raises as `Server`."""
    Server(settings, port).run()
