"""What a task's block is given: the calls of a `onewriter.Transaction`, awaited.

Any task of its loop may use it; calls are served one by one, in their order.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, LiteralString, TypeVar, overload

from typing_extensions import TypeForm

from onewriter import transaction as sync
from onewriter.parameters import Params
from onewriter.requests import freeze
from onewriter.results import Result
from onewriter.rows import Row
from onewriter.values import SQL, Value

from .blobs import Blob
from .rows import Rows
from .sessions import Session

T = TypeVar("T")


class ReadTransaction:
    """One snapshot of the database: all its reads see the same state."""

    def __init__(self, session: Session[Any]) -> None:
        """Made by the library, for one block."""
        self._session = session

    def __del__(self) -> None:
        session = getattr(self, "_session", None)
        if session is not None:
            session.abandon()

    @overload
    async def query(self, sql: LiteralString | SQL, params: Params = ...) -> list[Row]: ...
    @overload
    async def query(
        self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T]
    ) -> list[T]: ...
    async def query(
        self, sql: LiteralString | SQL, params: Params = (), *, into: TypeForm[T] | None = None
    ) -> list[Row] | list[T]:
        """Return the rows of one statement, each a `Row`, or an *into*; see `onewriter.ReadTransaction.query`.

        Raises:
            TransactionEnded: its block has ended, or it was ended with it.
            WrongThread: it is another event loop's.
        """
        params = freeze(params)
        if into is None:
            return await self._session.ask(lambda tx: tx.query(sql, params))
        return await self._session.ask(lambda tx: tx.query(sql, params, into=into))

    @overload
    async def query_one(self, sql: LiteralString | SQL, params: Params = ...) -> Row | None: ...
    @overload
    async def query_one(
        self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T]
    ) -> T | None: ...
    async def query_one(
        self, sql: LiteralString | SQL, params: Params = (), *, into: TypeForm[T] | None = None
    ) -> Row | T | None:
        """Return the first row, or None where there is none; raises as `query`."""
        params = freeze(params)
        if into is None:
            return await self._session.ask(lambda tx: tx.query_one(sql, params))
        return await self._session.ask(lambda tx: tx.query_one(sql, params, into=into))

    @overload
    async def query_value(self, sql: LiteralString | SQL, params: Params = ...) -> Value: ...
    @overload
    async def query_value(
        self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T]
    ) -> T: ...
    async def query_value(
        self, sql: LiteralString | SQL, params: Params = (), *, into: TypeForm[T] | None = None
    ) -> Value | T:
        """Return the one value of the first row; raises as `query`."""
        params = freeze(params)
        if into is None:
            return await self._session.ask(lambda tx: tx.query_value(sql, params))
        return await self._session.ask(lambda tx: tx.query_value(sql, params, into=into))

    @overload
    def stream(
        self, sql: LiteralString | SQL, params: Params = ...
    ) -> AbstractAsyncContextManager[AsyncIterator[Row]]: ...
    @overload
    def stream(
        self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T]
    ) -> AbstractAsyncContextManager[AsyncIterator[T]]: ...
    @asynccontextmanager
    async def stream(
        self, sql: LiteralString | SQL, params: Params = (), *, into: TypeForm[T] | None = None
    ) -> AsyncGenerator[AsyncIterator[Any]]:
        """Iterate over the rows of one statement for the length of an ``async with`` block; raises as `query`.

        Rows are fetched in groups, when the ones before have been taken: for two milliseconds at most, and not more
        than 256.
        """
        params = freeze(params)
        part = await self._session.enter(lambda tx: tx.stream(sql, params, into=into))
        try:
            yield Rows(self._session, lambda _tx: part.value)
        finally:
            await self._session.undo(part)

    async def open_blob(self, table: str, column: str, rowid: int, *, writable: bool = False) -> Blob:
        """Open one value as a file whose methods are awaited; see `onewriter.ReadTransaction.open_blob`."""
        blob = await self._session.call(lambda tx: tx.open_blob(table, column, rowid, writable=writable))
        return Blob(self._session, blob)


class Transaction(ReadTransaction):
    """One write transaction. What it does is committed, whole, when its block has ended."""

    def __init__(self, session: Session[sync.Transaction]) -> None:
        """Made by the library, for one block."""
        super().__init__(session)

    async def execute(self, sql: LiteralString | SQL, params: Params = ()) -> Result:
        """Run one statement; see `Result` for what it returns. Raises as `query`."""
        params = freeze(params)
        return await self._session.call(lambda tx: tx.execute(sql, params))

    async def execute_many(self, sql: LiteralString | SQL, rows: Iterable[Params]) -> Result:
        """Run one statement once for each of *rows*, which are copied first; where one fails, none of them is done."""
        copied = [freeze(params) for params in rows]
        return await self._session.call(lambda tx: tx.execute_many(sql, copied))

    async def script(self, script: LiteralString | SQL) -> None:
        """Run every statement of *script* in order; see `onewriter.Transaction.script`."""
        await self._session.call(lambda tx: tx.script(script))

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        """Make a block of its own inside the transaction: where it raises, only its part is undone. They nest.

        A savepoint holds what all tasks do while it is open: use it from one task at a time. A write that runs when its
        task is cancelled is interrupted, for which SQLite may end the whole transaction.
        """
        part = await self._session.enter(lambda tx: tx.savepoint())
        try:
            yield
        except BaseException:
            await self._session.undo(part)
            raise
        else:
            await self._session.keep(part)

    async def after_commit(self, callback: Callable[[], object]) -> None:
        """Have *callback* called on the event loop, without arguments, once what this transaction did is committed.

        It is called before the block is left, in the context in which that was entered. See
        `onewriter.Transaction.after_commit`.
        """
        await self._session.call(lambda tx: tx.after_commit(callback))
