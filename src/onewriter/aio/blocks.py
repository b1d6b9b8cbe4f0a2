"""Blocks of a task that keep something open: what `async with` enters and leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic, TypeVar

from onewriter import transaction as sync
from onewriter.errors import MisuseError

from .crew import Job
from .desk import Desk
from .mailbox import Asker
from .rows import StreamRows
from .sessions import Session
from .transaction import ReadTransaction, Transaction
from .writes import AskedWrite

T = TypeVar("T")
S = TypeVar("S")


class _Block(Generic[S, T]):
    """A block that is entered once."""

    _session: Session[S] | None = None
    _asker: Asker | None = None
    _given: T | None = (
        None  # kept, since it ends the session with itself, and the block may not have named it
    )

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def _make(self) -> tuple[Session[S], AskedWrite | Job]:
        """Return what is to be kept open, and the letter that is to be put in line for it."""
        raise AssertionError(self)

    def _open(self, session: Session[S]) -> T:
        """Return what the block is given."""
        raise AssertionError(session)

    async def __aenter__(self) -> T:
        if self._session is not None:
            raise MisuseError("the block of a transaction or stream is entered once: make another one")
        session, asked = self._make()
        self._session, self._asker = session, asked.asker
        try:
            self._desk.ask(asked)
            await asked.answer
            given = self._given = self._open(session)
        except BaseException:
            asked.drop()
            raise
        return given

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session = self._session
        assert session is not None, "not entered"
        try:
            if self._can_wait(kind):
                await session.leave(commit=kind is None)
        finally:
            session.abandon()  # which does nothing more where it was left

    def _can_wait(self, kind: type[BaseException] | None) -> bool:
        """Whether anything can be awaited still: not where the task is being destroyed, and not in a forked child."""
        if self._desk.is_forked:
            return False
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop runs: what came of that may have taken the place of `GeneratorExit`
            return False
        if kind is not GeneratorExit:
            return True
        # Where the task that entered it runs, an asynchronous generator of its is closed, which can await.
        return task is not None and self._asker is not None and self._asker() is task


class WriteBlock(_Block[sync.Transaction, Transaction]):
    """A write transaction, committed at the end of its block, and rolled back where that raises."""

    def __init__(self, desk: Desk, timeout_s: float | None, hold_s: float | None) -> None:
        """Wait for the turn up to *timeout_s* seconds, and keep it for *hold_s* at most."""
        super().__init__(desk)
        self._timeout_s = timeout_s
        self._hold_s = hold_s

    def _make(self) -> tuple[Session[sync.Transaction], AskedWrite | Job]:
        return self._desk.hold(self._timeout_s, self._hold_s)

    def _open(self, session: Session[sync.Transaction]) -> Transaction:
        return Transaction(session)


class _ReadingBlock(_Block[S, T]):
    """A read that is kept open."""

    def __init__(
        self,
        desk: Desk,
        open_: Callable[[float], AbstractContextManager[S]],
        timeout_s: float | None,
        what: str,
        sql: str,
    ) -> None:
        """Wait for a reader up to *timeout_s* seconds; *open_* opens it then."""
        super().__init__(desk)
        self._keep = open_
        self._timeout_s = timeout_s
        self._what = what
        self._sql = sql

    def _make(self) -> tuple[Session[S], AskedWrite | Job]:
        return self._desk.keep(self._keep, self._timeout_s, self._what, self._sql)


class ReadBlock(_ReadingBlock[sync.ReadTransaction, ReadTransaction]):
    """A snapshot, for the length of its block."""

    def _open(self, session: Session[sync.ReadTransaction]) -> ReadTransaction:
        return ReadTransaction(session)


class StreamBlock(_ReadingBlock[Iterator[T], AsyncIterator[T]]):
    """The rows of one statement, for the length of its block."""

    def _open(self, session: Session[Iterator[T]]) -> AsyncIterator[T]:
        return StreamRows(session)
