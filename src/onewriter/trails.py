"""What became of a request on its way: how long it waited and for whom, how long it ran, which commit it shared.

Only databases that somebody follows have trails (``Config.telemetry``, ``Config.slow_request_s``): the classes that
make them (`tracing`, `traced`) take the place of the plain ones when such a database is opened, and nothing on the road
of a request asks whether anybody follows it.

T1  A trail begins when a call asks for something, and ends once, with what came of it. Where the caller waits on a
    thread, both are on that thread; else (`submitted`) it ends on the thread that tells the outcome.
T2  What listens harms nobody: what it raises is logged. It may be called with the write role, by a thread that is
    refused whatever it would ask of the file; so it must not wait.
T3  Nothing is logged with the write role: a log's handler may hold its lock while it waits for that. Another thread
    does it then, once a second at most.
"""

from __future__ import annotations

import _thread
import logging
import threading
from collections.abc import Generator, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, cast, runtime_checkable

from . import clock, errands
from .helpers import apart
from .marks import my_name
from .values import plain

_log = logging.getLogger(__name__)
_COMPLAINS_S: Final = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class SharedCommit:
    """One commit, by `clock.now`.

    Attributes:
        opened_at: when its transaction began.
        began_at: when the COMMIT itself did.
        ended_at: when it was made.
        size: how many requests shared it.
    """

    opened_at: float
    began_at: float
    ended_at: float
    size: int


class Trail:
    """The way of one request; times by `clock.now`.

    Attributes:
        path: the database.
        name: what was asked for: the first word of a statement in capitals, ``write``, ``transaction``, ``snapshot``...
        text: the statement, where it is one.
        function: the qualified name of the caller's function, where it is one.
        rows: of how many rows of parameters, where the statement was run for many.
        has_params: whether the statement was given parameters.
        who: the name of the thread, or of the task, that asked.
        reads: it asked for a reader, and not for the write turn.
        submitted: nobody waits for it on a thread (T1).
        asked_at: when.
        began_at: when its work began; None as long as it has not.
        ended_at: when its outcome was known.
        worked_s: how long its own work took, all runs of it.
        runs: how often it ran.
        commit: the one that carried it.
        blame: who kept it waiting, where that is known and somebody wants to know.
        error: what it raised.
        span: whatever the listener keeps of it.
        outer: the trail that was `CURRENT` before it.
    """

    # Defaults in the class: most trails need few of them.
    submitted = False
    text: str | None = None
    function: str | None = None
    rows: int | None = None
    has_params = False
    began_at: float | None = None
    ended_at: float | None = None
    worked_s = 0.0
    runs = 0
    commit: SharedCommit | None = None
    blame = ""
    error: BaseException | None = None
    span: Any = None
    outer: Trail | None = None

    def __init__(self, path: Path, name: str, who: str, *, reads: bool) -> None:
        """Begin it now."""
        self.path = path
        self.name = name
        self.who = who
        self.reads = reads
        self.asked_at = clock.now()

    @property
    def waited_s(self) -> float:
        """How long it waited for its turn, or for a reader; up to its end where that never came."""
        until = self.began_at if self.began_at is not None else self.ended_at
        return max(0.0, (clock.now() if until is None else until) - self.asked_at)

    @property
    def took_s(self) -> float:
        """How long it took in all; up to now where it has not ended."""
        return (clock.now() if self.ended_at is None else self.ended_at) - self.asked_at

    def begin(self) -> None:
        """Note that its work begins, again perhaps."""
        self.runs += 1
        if self.began_at is None:
            self.began_at = clock.now()


@runtime_checkable
class Listener(Protocol):
    """Who follows the requests of a database. Its methods must not wait, and not use the database (T2)."""

    def opened(self, database: Watched) -> None:
        """Take note of *database*, which is open until its ``closed``; keep it weakly."""
        ...

    def asked(self, trail: Trail) -> None:
        """Take note of *trail*, which begins."""
        ...

    def committed(self, commit: SharedCommit, trails: Sequence[Trail]) -> None:
        """Take note of a *commit*, and of those that shared it and are followed; none of them has ended."""
        ...

    def ended(self, trail: Trail) -> None:
        """Take note of *trail*, which has ended."""
        ...


class Watched(Protocol):
    """A database, as far as one who follows it looks at it."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        ...

    def stats(self) -> Any:  # noqa: ANN401 - its `Stats`, of which nothing is known up here
        """Return its numbers."""
        ...


CURRENT: Final[ContextVar[Trail | None]] = ContextVar("onewriter.trail", default=None)
"""The trail of the call that the calling thread is in, until its ticket has it."""

ASKED_AT: Final[ContextVar[float | None]] = ContextVar("onewriter.asked_at", default=None)
"""Since when a task waits for the thread that asks in its place."""


class Trails:
    """The trails of one database, for those who listen."""

    def __init__(self, path: Path, listeners: Sequence[Listener]) -> None:
        """Tell *listeners*."""
        self._path = path
        self._listeners = listeners
        self._complained_at = (
            -clock.NEVER
        )  # with the role (T3); two threads may write it, and one complains too much

    def new(self, name: str, *, reads: bool = False) -> Trail:
        """Return a trail of the calling thread's; `enter` begins it."""
        me = threading.get_ident()
        return Trail(self._path, name, errands.who_has(me) or my_name(), reads=reads)

    def enter(self, trail: Trail) -> None:
        """Begin *trail*, which says by now what was asked for: it is `CURRENT` until `leave`."""
        if (since := ASKED_AT.get()) is not None:
            trail.asked_at = since
            ASKED_AT.set(None)  # what it asks for next, it asks for itself
        trail.outer = CURRENT.get()
        CURRENT.set(trail)
        self.begin(trail)

    def leave(self, trail: Trail, error: BaseException | None = None) -> None:
        """End *trail*, which raised *error*."""
        # Not by a token: a block may be left in another context than it was entered in.
        CURRENT.set(trail.outer)
        trail.outer = None
        trail.error = error
        self.end(trail)

    @contextmanager
    def follow(self, name: str, *, reads: bool = False, text: str | None = None) -> Generator[Trail]:
        """Follow a call of the calling thread, for the length of a block."""
        trail = self.new(name, reads=reads)
        trail.text = text
        try:
            self.enter(trail)
            yield trail
        except BaseException as error:
            self.leave(trail, error)
            raise
        self.leave(trail)

    def begin(self, trail: Trail) -> None:
        """Tell that *trail* begins; it says by now what was asked for."""
        for listener in self._listeners:
            try:
                listener.asked(trail)
            except Exception:  # noqa: BLE001 - T2
                _log.exception("%s: what follows requests raised", self._path)

    def committed(self, commit: SharedCommit, trails: Sequence[Trail]) -> None:
        """Tell of *commit*, which carried *trails*."""
        for trail in trails:
            trail.commit = commit
        for listener in self._listeners:
            try:
                listener.committed(commit, trails)
            except Exception as error:  # noqa: BLE001 - T2
                self._complain_apart(error)

    def end(self, trail: Trail) -> None:
        """Tell that *trail* has ended; a second time does nothing."""
        if trail.ended_at is not None:
            return
        trail.ended_at = clock.now()
        for listener in self._listeners:
            try:
                listener.ended(trail)
            except Exception as error:  # noqa: BLE001 - T2
                if trail.submitted:
                    self._complain_apart(error)
                else:
                    _log.exception("%s: what follows requests raised", self._path)
        trail.error = None  # no cycle through the traceback

    def _complain_apart(self, error: Exception) -> None:
        """Log what a listener raised, where the role may be here (T3)."""
        now = clock.now()
        if now - self._complained_at >= _COMPLAINS_S:
            self._complained_at = now
            text = "%s: what follows requests raised; the commit stands"
            log = partial(_log.error, text, self._path, exc_info=error)
            _thread.start_new_thread(apart, ("listener", log))

    def opened(self, database: Watched) -> None:
        """Tell that *database* is open."""
        for listener in self._listeners:
            try:
                listener.opened(database)
            except Exception:  # noqa: BLE001 - T2
                _log.exception("%s: what follows requests raised", self._path)


def text_of(sql: object) -> str | None:
    """Return the text of a statement that was not looked at yet, None where it is none; runs no code of a caller's."""
    return cast("str", plain(sql)) if issubclass(type(sql), str) else None


def are_given(params: object) -> bool:
    """Whether there are parameters, of which nothing is known yet; runs no code of a caller's."""
    return len(cast("Sized", params)) > 0 if type(params) in _CONTAINERS else True


def name_of(sql: str | None) -> str:
    """Return the first word of a statement, in capitals; OTHER where it is none that SQLite knows.

    https://sqlite.org/lang.html
    """
    words = sql.split(None, 1) if sql is not None else []
    word = words[0].upper() if words else ""
    return word if word in _WORDS else "OTHER"


_CONTAINERS: Final = frozenset({tuple, list, dict})
_WORDS: Final = frozenset(
    {"ALTER", "ANALYZE", "CREATE", "DELETE", "DROP", "EXPLAIN", "INSERT", "PRAGMA", "REINDEX", "REPLACE"}
    | {"SELECT", "UPDATE", "VALUES", "WITH"}
)
