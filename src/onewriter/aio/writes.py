"""Writes that a task waits for: in the same line as all others, done by the background thread.

A write is a ticket of the background thread's seat, and waits outside where the line is full, as a thread would. Its
states are a ticket's (`tickets`). What is added:

A1  It has begun when the thread has the role for it and asks `begin`. Dropped before, it is not run.
A2  Once it has begun it ends by itself: its commit stands, and callbacks of ``after_commit`` are called, though nobody
    hears its outcome.
A3  Callbacks are called on the loop, in the context in which the write was asked for, before its outcome is told.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from onewriter import clock, errands
from onewriter.connection import Connection
from onewriter.helpers import apart
from onewriter.parameters import BINDABLE, Params
from onewriter.requests import Function, ManyStatements, Request, call_back, freeze, text_of
from onewriter.tickets import Ticket
from onewriter.transaction import Transaction
from onewriter.writer import Writer

from .mailbox import HAND_OVER_S, Letter, Mailbox, name_of, settle


class Wanted(Request, Protocol):
    """A request whose task may leave before it is begun."""

    dropped: bool
    task: asyncio.Task[Any] | None  # set before it is put in line


class AskedWrite(Letter, Ticket[Request]):
    """One write in line."""

    patient = True
    has_called = has_arrived = False

    def __init__(self, work: Wanted, timeout_s: float, writer: Writer, box: Mailbox, *, alone: bool) -> None:
        """Have *work* done; its outcome comes by *box*."""
        super().__init__(work, timeout_s, portable=False, alone=alone)
        self._wanted = work
        # The thread may be about to come to it, from the one before. Behind others it is told in time by that thread.
        self.until = self.deadline + HAND_OVER_S
        self.box = self._mailbox = box
        self._writer = writer

    def arrive(self) -> None:
        """Call what is to be called after the commit, and tell the outcome (A3)."""
        if self.has_arrived:
            return  # an interrupt of who told it may have had it told twice (`line`, L7)
        error = self.error
        try:
            if error is None and self.work.callbacks is not None and not self.has_called:
                self.has_called = True
                self.work.committed(self._writer.path)
        finally:
            self._settle(error)
            self.has_arrived, self.error = True, None  # no cycle through the traceback

    def _settle(self, error: BaseException | None) -> None:
        if error is not None:
            settle(self.answer, None, error)
        elif not self.answer.done():  # as `settle` does, which would be one call more for each write
            self.answer.set_result(self.value)

    def be_lost(self) -> None:
        """Call what is to be called after the commit, on a thread of its own, unless it has arrived."""
        if self.has_called:
            return  # told twice, as above
        self.has_called = True
        if self.error is None and self.work.callbacks is not None:
            apart("callbacks", self.work.committed, self._writer.path)

    def drop(self) -> None:
        """Leave the line if that can be; else it ends by itself (A1, A2)."""
        self.dropped = self._wanted.dropped = True
        self._leave()

    def _leave(self) -> None:
        self._mailbox.forget(self)
        self._writer.withdraw(self)

    def give_up(self) -> BaseException | None:
        """Leave the line, past the deadline."""
        return self._writer.late(self) if self._writer.line.leave(self) else None


class NotWanted(Exception):
    """Undoes the beginning of a write whose task has left while another process had the file's turn."""


class Asked:
    """A request that is done unless its task has left (A1)."""

    dropped = False
    task: asyncio.Task[Any] | None = None

    def begin(self) -> bool:
        """Return whether it is wanted still."""
        return not self.dropped


class InContext(Asked):
    """One whose callbacks are called in the context in which it was asked for (A3)."""

    callbacks: list[Callable[[], object]] | None
    _context: contextvars.Context

    def committed(self, path: Path) -> None:
        """Call what the run that was committed gave to ``after_commit``."""
        if self.callbacks is not None:
            self._context.run(call_back, self.callbacks, path)


class AskedStatement(AskedWrite):
    """One statement in line: request, ticket and letter in one object, which is sooner made than two."""

    portable = alone = lasts = False
    callbacks = None
    text: str
    params: Params

    def __init__(self, sql: str, params: Params, timeout_s: float, writer: Writer, box: Mailbox) -> None:
        """Have *sql* done with *params*; its outcome comes by *box*."""
        # Written out, and not by the bases' own: this is the road of most writes.
        kind = type(params)
        self.text = sql if type(sql) is str else text_of(sql)
        self.params = params if kind is tuple and BINDABLE.issuperset(map(type, params)) else freeze(params)
        self.entered_at = now = clock.now()
        self.deadline = until = now + timeout_s
        self.until = until + HAND_OVER_S
        self.box = self._mailbox = box
        self._writer = writer

    @property
    def work(self) -> Request:  # type: ignore[override]  # nobody sets it
        """Itself."""
        return self

    def begin(self) -> bool:
        """Return whether it is wanted still (A1)."""
        return not self.dropped

    def run(self, connection: Connection) -> object:
        """Return its `Result`."""
        if self.dropped:
            raise NotWanted
        return connection.execute(self.text, self.params)

    def committed(self, path: Path) -> None:
        """Do nothing more."""

    def arrive(self) -> None:
        """Tell the outcome; a second time does nothing."""
        if self.error is not None:
            self._settle(self.error)
            self.error = None  # no cycle through the traceback
        elif not self.answer.done():
            self.answer.set_result(self.value)

    def drop(self) -> None:
        """Leave the line if that can be; else it ends by itself (A1, A2)."""
        self.dropped = True
        self._leave()


class AskedStatements(Asked, ManyStatements):
    """One statement with many rows of parameters."""

    def run(self, connection: Connection) -> object:
        """Return the `Result` of all together."""
        if self.dropped:
            raise NotWanted
        return super().run(connection)


class AskedFunction(InContext, Function):
    """A function, run by the background thread in the context of the task that asked."""

    broken = False  # once it runs, it runs to its end (A2)

    def __init__(self, work: Callable[[Transaction], object]) -> None:
        """Take *work*, and the calling context."""
        super().__init__(work)
        self._context = contextvars.copy_context()

    @property
    def who(self) -> str:
        """The name of its task."""
        return name_of(self.task)

    def run(self, connection: Connection) -> object:
        """Return what the function returned, in its context."""
        if self.dropped:
            raise NotWanted
        errands.begin(self)
        try:
            return self._context.run(super().run, connection)
        finally:
            errands.end()
