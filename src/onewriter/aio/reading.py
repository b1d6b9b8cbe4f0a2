"""The reading half of a database, for tasks of asyncio."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final, LiteralString, TypeVar, cast, overload

from typing_extensions import TypeForm

from onewriter import database as sync
from onewriter import transaction as sync_transaction
from onewriter.functions import check_function
from onewriter.parameters import Params
from onewriter.requests import freeze
from onewriter.rows import Row
from onewriter.values import SQL, Value

from .blocks import ReadBlock, StreamBlock
from .desk import Desk
from .mailbox import outcome
from .transaction import ReadTransaction

T = TypeVar("T")
_AT_ONCE_S: Final = (
    0.01  # that a job may have waited for a thread, and its reader is asked for as if it had not
)


class Reading:
    """What tasks ask of one file through its pool of readers; the base of `Database`."""

    def __init__(self, database: sync.Database, desk: Desk) -> None:
        """Ask *database*, through *desk*."""
        self._sync = database
        self._desk = desk

    @overload
    async def query(
        self, sql: LiteralString | SQL, params: Params = ..., *, timeout_s: float | None = ...
    ) -> list[Row]: ...
    @overload
    async def query(
        self,
        sql: LiteralString | SQL,
        params: Params = ...,
        *,
        into: TypeForm[T],
        timeout_s: float | None = ...,
    ) -> list[T]: ...
    async def query(
        self,
        sql: LiteralString | SQL,
        params: Params = (),
        *,
        into: TypeForm[T] | None = None,
        timeout_s: float | None = None,
    ) -> list[Row] | list[T]:
        """Return the rows of one statement, each a `Row`, or an *into*; see `onewriter.Database.query`.

        Waits for a reader, never for a writer. Sees every write that was acknowledged before the call.

        Raises:
            ReadTimeout: no reader came free in time; nothing ran.
            RowMismatch: a row does not fit *into*.
            ForbiddenStatement: the statement would write.
            StatementTimeout: it ran for longer than ``Config.statement_timeout_s`` or ``Config.reader_age_max_s``.
            NestedRead: this task has a write transaction open (ask that), or holds every reader itself.
        """
        if into is None:
            return cast("list[Row]", await self._ask(self._sync.query, sql, params, timeout_s))
        return cast("list[T]", await self._ask(partial(self._sync.query, into=into), sql, params, timeout_s))

    @overload
    async def query_one(
        self, sql: LiteralString | SQL, params: Params = ..., *, timeout_s: float | None = ...
    ) -> Row | None: ...
    @overload
    async def query_one(
        self,
        sql: LiteralString | SQL,
        params: Params = ...,
        *,
        into: TypeForm[T],
        timeout_s: float | None = ...,
    ) -> T | None: ...
    async def query_one(
        self,
        sql: LiteralString | SQL,
        params: Params = (),
        *,
        into: TypeForm[T] | None = None,
        timeout_s: float | None = None,
    ) -> Row | T | None:
        """Return the first row, or None where there is none; raises as `query`."""
        if into is None:
            return cast("Row | None", await self._ask(self._sync.query_one, sql, params, timeout_s))
        ask = partial(self._sync.query_one, into=into)
        return cast("T | None", await self._ask(ask, sql, params, timeout_s))

    @overload
    async def query_value(
        self, sql: LiteralString | SQL, params: Params = ..., *, timeout_s: float | None = ...
    ) -> Value: ...
    @overload
    async def query_value(
        self,
        sql: LiteralString | SQL,
        params: Params = ...,
        *,
        into: TypeForm[T],
        timeout_s: float | None = ...,
    ) -> T: ...
    async def query_value(
        self,
        sql: LiteralString | SQL,
        params: Params = (),
        *,
        into: TypeForm[T] | None = None,
        timeout_s: float | None = None,
    ) -> Value | T:
        """Return the one value of the first row; raises as `query`.

        Raises:
            RowMismatch: there is no row (unless *into* takes None), or more than one column, or another type.
        """
        if into is None:
            return cast("Value", await self._ask(self._sync.query_value, sql, params, timeout_s))
        return cast("T", await self._ask(partial(self._sync.query_value, into=into), sql, params, timeout_s))

    async def read(
        self, work: Callable[[sync_transaction.ReadTransaction], T], *, timeout_s: float | None = None
    ) -> T:
        """Run *work*, a plain function, on one snapshot of the database and return its result.

        It runs on a thread that reads, in a copy of the task's context; raises as `query`.
        """
        check_function(work)
        context = contextvars.copy_context()
        job = self._desk.read(
            lambda left_s: self._sync.read(work, timeout_s=left_s), timeout_s, "a read function", context
        )
        return cast("T", await outcome(job))

    def read_transaction(
        self, *, timeout_s: float | None = None
    ) -> AbstractAsyncContextManager[ReadTransaction]:
        """Open a snapshot of the database for the length of an ``async with`` block; raises as `query`.

        It keeps a reader and, past ``Config.reader_age_max_s``, is ended, as by `onewriter.Database.read_transaction`.
        """
        return ReadBlock(
            self._desk,
            lambda left_s: self._sync.read_transaction(timeout_s=left_s),
            timeout_s,
            "the read transaction",
            "a read transaction",
        )

    @overload
    def stream(
        self, sql: LiteralString | SQL, params: Params = ..., *, timeout_s: float | None = ...
    ) -> AbstractAsyncContextManager[AsyncIterator[Row]]: ...
    @overload
    def stream(
        self,
        sql: LiteralString | SQL,
        params: Params = ...,
        *,
        into: TypeForm[T],
        timeout_s: float | None = ...,
    ) -> AbstractAsyncContextManager[AsyncIterator[T]]: ...
    def stream(
        self,
        sql: LiteralString | SQL,
        params: Params = (),
        *,
        into: TypeForm[T] | None = None,
        timeout_s: float | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """Iterate over the rows of one statement for the length of an ``async with`` block; raises as `query`.

        All rows are of one snapshot. They are fetched by a thread in groups, when the group before has been taken: for
        two milliseconds at most, and not more than 256 rows. The block keeps a reader, as `read_transaction` does.
        """
        params = freeze(params)

        def open_(left_s: float) -> Any:  # noqa: ANN401 - of whatever type the rows are
            if into is None:
                return self._sync.stream(sql, params, timeout_s=left_s)
            return self._sync.stream(sql, params, into=into, timeout_s=left_s)

        return StreamBlock[Any](self._desk, open_, timeout_s, "the stream", sql)

    # --- inside

    async def _ask(
        self,
        ask: Callable[..., object],
        sql: LiteralString | SQL,
        params: Params,
        timeout_s: float | None,
    ) -> object:
        params = freeze(params)
        default_s = self._sync.config.read_timeout_s

        def work(left_s: float) -> object:
            if timeout_s is None and left_s > default_s - _AT_ONCE_S:
                return ask(sql, params)  # the short way through the readers, which has no deadline of its own
            return ask(sql, params, timeout_s=left_s)

        job = self._desk.read(work, timeout_s, sql)
        return await outcome(job)
