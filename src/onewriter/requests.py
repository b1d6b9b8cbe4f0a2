"""What a caller asks of the write line.

A statement is data, which any thread may run; a function belongs to the thread that asked for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

from .connection import Connection
from .functions import UNFINISHED, check_finished
from .parameters import BINDABLE, Params, copied, each_of, native
from .statements import check_text
from .transaction import Transaction
from .values import plain

_log = logging.getLogger(__name__)


class Request(Protocol):
    """A piece of work inside a write transaction that is open; it neither begins nor ends one.

    Attributes:
        lasts: it may keep the transaction for long: other processes are to see who has the turn.
        text: the statement, where it is nothing but that.
        params: its parameters, where it is run once, for them.
    """

    lasts: bool

    @property
    def text(self) -> str | None:
        """See above."""
        ...

    @property
    def params(self) -> Params | None:
        """See above."""
        ...

    @property
    def callbacks(self) -> object:
        """What `committed` is to call, or None."""
        ...

    def begin(self) -> bool:
        """Return whether it is to be done; asked of what was submitted, before each run: it may be cancelled."""
        ...

    def run(self, connection: Connection) -> object:
        """Do it and return what the caller is to get."""
        ...

    def committed(self, path: Path) -> None:
        """Do, outside the transaction and without the role, what is to be done once it is committed."""
        ...


class _Data:
    """A request that is data alone."""

    __slots__ = ()
    callbacks = None
    lasts = False

    def begin(self) -> bool:
        """Return True: its caller waits for it, and cannot cancel it."""
        return True

    def committed(self, path: Path) -> None:
        """Do nothing more."""


class Statement(_Data):
    """One statement with its parameters."""

    __slots__ = ("params", "text")
    text: str
    params: Params

    def __init__(self, sql: str, params: Params) -> None:
        """Take *sql* and *params*, which another thread may come to run."""
        kind = type(params)
        self.text = sql if type(sql) is str else text_of(sql)
        # Looked at here and not by a call: this is the road of every statement.
        self.params = params if kind is tuple and BINDABLE.issuperset(map(type, params)) else freeze(params)

    def run(self, connection: Connection) -> object:
        """Return its `Result`."""
        return connection.execute(self.text, self.params)


class ManyStatements(_Data):
    """One statement with many rows of parameters."""

    __slots__ = ("_rows", "text")
    text: str
    params = None

    def __init__(self, sql: str, rows: Iterable[Params]) -> None:
        """Copy *rows*: they may be read by another thread, later."""
        self.text = text_of(sql)
        self._rows = [freeze(params) for params in each_of(rows, "rows")]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def run(self, connection: Connection) -> object:
        """Return the `Result` of all together."""
        return connection.execute_many(self.text, self._rows)


class Idle:
    """The work of a ticket whose own thread does it between two calls: only the role is wanted."""

    callbacks = None
    lasts = False
    text = params = None

    def begin(self) -> bool:
        """Return True: only what was submitted can be cancelled."""
        return True

    def run(self, connection: Connection) -> object:
        """Never called: it joins no batch, and no other thread runs it."""
        raise AssertionError(connection)

    def committed(self, path: Path) -> None:
        """Never called either."""
        raise AssertionError(path)


class Function:
    """A caller's function of a `Transaction`."""

    __slots__ = ("_work", "callbacks")
    lasts = False
    text = params = None

    def __init__(self, work: Callable[[Transaction], object]) -> None:
        """Take *work*, which may be run a second time."""
        self._work = work
        self.callbacks: list[Callable[[], object]] | None = None  # of the last run

    @property
    def name(self) -> str:
        """The function's own, as a person finds it."""
        work: object = self._work
        while isinstance(work, partial):
            work = work.func
        module, name = (
            getattr(work, "__module__", None),
            getattr(work, "__qualname__", type(work).__qualname__),
        )
        return f"{module}.{name}" if isinstance(module, str) else str(name)

    def begin(self) -> bool:
        """Return True: its caller waits for it, and cannot cancel it."""
        return True

    def run(self, connection: Connection) -> object:
        """Return what the function returned.

        Where SQLite ended the transaction behind the function's back, and the function went on regardless, what it
        returned means nothing: what ended the transaction is raised.
        """
        transaction = Transaction(connection)
        try:
            value = self._work(transaction)
        finally:
            self.callbacks = transaction.end()
        if connection.unended or connection.killed_by is not None or connection.inherited:
            connection.check_alive()  # the call is spared where all is well
        if type(value) in UNFINISHED:
            check_finished(value)
        return value

    def committed(self, path: Path) -> None:
        """Call what the run that was committed gave to ``after_commit``; for the thread whose function it was."""
        if self.callbacks is not None:
            call_back(self.callbacks, path)


def text_of(sql: str) -> str:
    """Return *sql* as a string of Python's own class; refuse what is no text, here and not where others wait for it."""
    check_text(sql)
    return plain(sql)


def freeze(params: Params) -> Params:
    """Return *params* as plain data, which another thread may read.

    A caller's own classes, that of the container and those of the values, are asked here and now.
    """
    kind = type(params)
    if kind is tuple and BINDABLE.issuperset(map(type, params)):
        return params
    return native(copied(params))


def call_back(callbacks: Iterable[Callable[[], object]], path: Path) -> None:
    """Call each of *callbacks* in order; one that raises is logged. An interrupt is raised when all were called."""
    interrupt: BaseException | None = None
    for callback in callbacks:
        try:
            callback()
        except BaseException as error:  # noqa: BLE001 - it is a caller's
            _log.exception("%s: a callback of after_commit raised; the commit stands", path)
            if not isinstance(error, Exception):
                interrupt = interrupt or error
    if interrupt is not None:
        raise interrupt
