"""What a caller's function is given: a view of one transaction that ends with it.

X1  A transaction is used by the thread it was made for, and not after its end.
X2  Once SQLite has ended it behind our back (connection, N3), every further call is refused: it would otherwise
    commit by itself.
X3  Nothing of APSW is handed out.
X4  Callbacks for after the commit are kept in their order; those of a savepoint that is undone are dropped with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, LiteralString, Protocol, TypeVar, overload

from typing_extensions import TypeForm

from . import queries, statements, streams
from .blobs import Blob, check_place
from .errors import TransactionEnded, WrongThread
from .functions import check_callback
from .mapping import check_into
from .parameters import Params, each_of
from .queries import Source
from .results import Result
from .rows import Row
from .values import SQL, Value

T = TypeVar("T")


class WritingSource(Source, Protocol):
    """What a write transaction is run through."""

    def execute(self, sql: str, params: Params, /) -> Result:
        """Run one statement to its end and say what it did."""
        ...

    def execute_many(self, sql: str, many: Iterable[Params], /) -> Result:
        """Run one statement once for each of *many*."""
        ...

    def killer(self) -> BaseException | None:
        """Find out what ended the transaction under its user, if anything did."""
        ...

    def save_within(self) -> str:
        """Set a savepoint, and return its name."""
        ...

    def release(self, name: str, /) -> None:
        """Keep what was done since the savepoint *name*."""
        ...

    def go_back(self, name: str, /) -> None:
        """Undo what was done since the savepoint *name*."""
        ...


def _ended(killer: BaseException) -> TransactionEnded:
    msg = f"SQLite rolled the whole transaction back, so nothing more can be done in it: {killer}"
    error = TransactionEnded(msg, ran="rolled_back")
    error.__cause__ = killer
    return error


class ReadTransaction:
    """One snapshot of the database: all its reads see the same state."""

    __slots__ = ("_ended", "_source", "_thread")

    def __init__(self, source: Source) -> None:
        """Made by the library, for the calling thread."""
        self._source = source
        self._thread = threading.get_ident()
        self._ended = False

    @overload
    def query(self, sql: LiteralString | SQL, params: Params = ...) -> list[Row]: ...
    @overload
    def query(self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T]) -> list[T]: ...
    def query(
        self, sql: LiteralString | SQL, params: Params = (), *, into: TypeForm[T] | None = None
    ) -> list[Row] | list[T]:
        """Return the rows of one statement, each a `Row`, or an *into*; see `Database.query`.

        Raises:
            RowMismatch: a row does not fit *into*.
            TransactionEnded: its block or function has ended, or SQLite has rolled it back.
            WrongThread: it is another thread's.
            StatementTimeout: it ran too long, or a read has kept its snapshot for longer than
                ``Config.reader_age_max_s``.
        """
        return queries.all_rows(self._use(), sql, params, into)

    @overload
    def query_one(self, sql: LiteralString | SQL, params: Params = ...) -> Row | None: ...
    @overload
    def query_one(self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T]) -> T | None: ...
    def query_one(
        self, sql: LiteralString | SQL, params: Params = (), *, into: TypeForm[T] | None = None
    ) -> Row | T | None:
        """Return the first row, or None where there is none; further rows are dropped."""
        return queries.first_row(self._use(), sql, params, into)

    @overload
    def query_value(self, sql: LiteralString | SQL, params: Params = ...) -> Value: ...
    @overload
    def query_value(self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T]) -> T: ...
    def query_value(
        self, sql: LiteralString | SQL, params: Params = (), *, into: TypeForm[T] | None = None
    ) -> Value | T:
        """Return the one value of the first row.

        Raises:
            RowMismatch: there is no row (unless *into* takes None), or more than one column, or another type.
        """
        return queries.one_value(self._use(), sql, params, into)

    @overload
    def stream(
        self, sql: LiteralString | SQL, params: Params = ...
    ) -> AbstractContextManager[Iterator[Row]]: ...
    @overload
    def stream(
        self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T]
    ) -> AbstractContextManager[Iterator[T]]: ...
    @overload
    def stream(
        self, sql: LiteralString | SQL, params: Params = ..., *, into: TypeForm[T] | None
    ) -> AbstractContextManager[Iterator[Row] | Iterator[T]]: ...
    @contextmanager
    def stream(
        self, sql: LiteralString | SQL, params: Params = (), *, into: TypeForm[T] | None = None
    ) -> Generator[Iterator[Any]]:
        """Iterate over the rows of one statement, one by one, for the length of a ``with`` block.

        What the transaction writes meanwhile to the tables that are read may or may not be seen by the rows to come
        (https://sqlite.org/isolation.html). A statement that writes (``RETURNING``) is run to its end first, and its
        rows are kept.

        Raises as `query`.
        """
        source = self._use()
        if into is not None:
            check_into(into)
        opened = source.open_cursor(sql, params)
        try:
            yield streams.rows(source, opened, sql, into)
        finally:
            if threading.get_ident() == self._thread:  # the collector may end it on another one: see `end`
                source.shut(opened)

    def open_blob(self, table: str, column: str, rowid: int, *, writable: bool = False) -> Blob:
        """Open the value in *column* of the row *rowid* of *table* as a raw file, up to the end of the transaction.

        Use it as a context manager, to close it before. It is read and written in place
        (https://sqlite.org/c3ref/blob_open.html); only a `Transaction` can write. A table without rowids or with
        generated columns, a view, and a number or NULL cannot be opened, nor an indexed column for writing. While it is
        open for writing no savepoint can begin; one that ends closes it.

        Raises:
            ProgrammingError: there is no such row, column or table, or it cannot be opened.
            ForbiddenStatement: *writable*, in a read.
        """
        source = self._use()
        check_place(table, column, rowid, writable=writable)
        opened = source.open_blob(table, column, rowid, writable=writable)
        return Blob(source, opened, f"{table}.{column} of row {rowid}")

    def end(self) -> list[Callable[[], object]] | None:
        """Refuse all further use. The library calls this when the function or the block has ended."""
        self._ended = True
        if self._source.opened:
            self._source.close_opened()
        return None

    def _use(self) -> Source:
        """Return what the SQL of one call goes through (X1)."""
        self._check()
        if self._source.killed_by is not None:
            raise _ended(self._source.killed_by)
        return self._source

    def _check(self) -> None:
        if self._ended:
            msg = "the transaction is over; it cannot be used after its function or block has ended"
            raise TransactionEnded(msg)
        if self._source.inherited:
            self._source.check_own()
        if threading.get_ident() != self._thread:
            msg = "a transaction belongs to the thread it was made for; give each thread a read or a write of its own"
            raise WrongThread(msg)


class Transaction(ReadTransaction):
    """One write transaction. What it does is committed, whole, after its function or block has ended."""

    __slots__ = ("_callbacks", "_writes")

    def __init__(self, source: WritingSource) -> None:
        """Made by the library, for the calling thread."""
        self._source = self._writes = source  # all here, since each write makes one
        self._thread = threading.get_ident()
        self._ended = False
        self._callbacks: list[Callable[[], object]] | None = None

    def execute(self, sql: LiteralString | SQL, params: Params = ()) -> Result:
        """Run one statement; see `Result` for what it returns."""
        source = self._writes
        if (
            self._ended
            or source.inherited
            or source.killed_by is not None
            or threading.get_ident() != self._thread
        ):
            self._use()  # which says what is wrong: the call is spared where nothing is
        return source.execute(sql, params)

    def execute_many(self, sql: LiteralString | SQL, rows: Iterable[Params]) -> Result:
        """Run one statement once for each of *rows*; where one fails, none of them is done."""
        self._use()
        copied = list(each_of(rows, "rows"))  # they may ask this transaction, whose cursor is then in use
        with self.savepoint():
            return self._use().execute_many(sql, copied)

    def script(self, script: LiteralString | SQL) -> None:
        """Run every statement of *script* in order; their rows are dropped.

        Raises:
            Error: a statement failed; its ``sql`` is that statement. Those before it stay done: roll back by letting
                the error leave the function, or by a savepoint around this call.
        """
        statements.check_text(script)
        for text, _line in statements.split(script):
            self._use().rows(text, ())

    @contextmanager
    def savepoint(self) -> Generator[None]:
        """Make a block of its own inside the transaction: where it raises, only its part is undone. They nest."""
        kept = len(self._callbacks or ())
        name = self._use().save_within()
        try:
            yield
        except BaseException:
            if self._callbacks is not None:
                del self._callbacks[kept:]  # X4
            if not self._ended and self._writes.killer() is None:
                self._use().go_back(name)
            raise
        else:
            self._use().release(name)

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Have *callback* called, without arguments, once what this transaction did is committed.

        Callbacks run in the order in which they were given, outside the transaction and its turn, so that they may
        write: on the thread that called `write` or entered the block, or on a background thread for `submit`, before
        the outcome is told. They are dropped where the transaction, its run of the function, or the savepoint in which
        they were given is rolled back. One that raises is logged, and changes no outcome.
        """
        self._check()
        check_callback(callback)
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)

    def end(self) -> list[Callable[[], object]] | None:
        """Refuse all further use, and return what is to be called after the commit. For the library."""
        self._ended = True
        if self._source.opened:
            self._source.close_opened()
        return self._callbacks

    def _use(self) -> WritingSource:
        source = self._writes
        if self._ended or source.inherited or threading.get_ident() != self._thread:
            self._check()
        killer = source.killed_by
        if killer is not None:
            raise _ended(killer)
        return source
