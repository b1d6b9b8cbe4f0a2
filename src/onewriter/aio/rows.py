"""The rows of one statement, for a task: fetched by a thread in groups, when the group before has been taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Generic, Self, TypeVar, cast

from onewriter import clock

from .sessions import Call, Session

T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")

GROUP_MAX: Final = 256
GROUP_S: Final = 0.002


class _Group:
    """Some rows, and how their reading ended.

    Attributes:
        end: None where there may be more; else what comes after them: the end, or an error.
    """

    def __init__(self, rows: Iterator[object]) -> None:
        """Take rows for a moment."""
        self.end: BaseException | None = None
        self.rows: list[object] = []
        until = clock.now() + GROUP_S
        try:
            for row in rows:
                self.rows.append(row)
                if len(self.rows) >= GROUP_MAX or clock.now() >= until:
                    return
        except StopAsyncIteration as error:  # it would be taken for the end of the rows
            self.end = RuntimeError("the class that a row was to become raised StopAsyncIteration")
            self.end.__cause__ = error
        except Exception as error:  # noqa: BLE001 - it comes after the rows before it
            self.end = error
        else:
            self.end = StopAsyncIteration()


class Rows(AsyncIterator[T_co], Generic[T_co]):
    """An asynchronous iterator, up to the end of its block."""

    def __init__(self, session: Session[Any], rows: Callable[[Any], Iterator[T_co]]) -> None:
        """Iterate over what *rows* returns, given what *session* has open."""
        self._session = session
        self._rows = rows
        self._got: Iterator[object] = iter(())
        self._end: BaseException | None = None
        self._fetching: Call[Any] | None = None  # kept where the task that awaited it was cancelled

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> T_co:
        """Return the next row, which waits for a thread only where none is at hand.

        Cancelled while it waits (by ``wait_for``, say), it loses no row: the next call has it.

        Raises:
            TransactionEnded: the block, or the transaction that it belongs to, has ended.
            StatementTimeout: it took too long, or its snapshot was kept for longer than ``Config.reader_age_max_s``.
            RowMismatch: the row does not fit.
        """
        while True:
            self._session.check()
            for row in self._got:
                return cast("T_co", row)
            if self._end is not None:
                end, self._end = self._end, StopAsyncIteration()
                raise end
            await self._fetch()

    async def _fetch(self) -> None:
        call = self._fetching
        if call is None:
            call = self._fetching = self._session.post(lambda source: _Group(self._rows(source)))
        group: _Group = await asyncio.shield(call.answer)
        if self._fetching is call:  # of several tasks that wait for it the first takes it
            self._fetching = None
            self._got, self._end = iter(group.rows), group.end


class StreamRows(Rows[T_co]):
    """All that its session has open, which ends with it."""

    def __init__(self, session: Session[Iterator[T_co]]) -> None:
        """Iterate over what *session* has open."""
        super().__init__(session, lambda rows: rows)

    def __del__(self) -> None:
        session = getattr(self, "_session", None)
        if session is not None:
            session.abandon()
