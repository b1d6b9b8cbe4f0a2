"""The reading half of a database."""

from __future__ import annotations

import contextlib
import sys
from _thread import get_ident
from _thread import start_new_thread as _start_new_thread
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from time import monotonic
from types import CodeType, FrameType
from typing import Any, Final, LiteralString, TypeVar, overload

from typing_extensions import TypeForm

from . import clock, queries
from .blocks import Block
from .config import Config
from .errors import DatabaseClosed, ForkedDatabase, NestedRead
from .functions import check_finished, check_function
from .helpers import apart
from .loans import Loan
from .marks import mark_of_this_thread
from .parameters import Params
from .presence import Presence
from .reader import ReadingConnection
from .readers import Readers
from .rows import Row
from .sources import GatedSource
from .transaction import ReadTransaction
from .values import SQL, Value

T = TypeVar("T")
R = TypeVar("R")
_ROWS: Final = ReadingConnection.rows
_FIRST: Final = ReadingConnection.first_alone


class Reading:
    """What is asked of one file through its pool of readers; the base of `Database`.

    Attributes:
        path: the absolute path of the file, links resolved.
        config: its limits.
    """

    def __init__(self, path: Path, config: Config, presence: Presence, readers: Readers) -> None:
        """Read through *readers*."""
        self.path = path
        self.config = config
        self._presence = presence
        self._writing = presence.writing
        self._readers = readers
        self._homes = readers.homes
        self._holders = readers.holders
        self._count_free = readers.count_free
        self._closed = False
        self._forked = False

    @overload
    def query(
        self, sql: LiteralString | SQL, params: Params = ..., *, timeout_s: float | None = ...
    ) -> list[Row]: ...
    @overload
    def query(
        self,
        sql: LiteralString | SQL,
        params: Params = ...,
        *,
        into: TypeForm[T],
        timeout_s: float | None = ...,
    ) -> list[T]: ...
    def query(
        self,
        sql: LiteralString | SQL,
        params: Params = (),
        *,
        into: TypeForm[T] | None = None,
        timeout_s: float | None = None,
    ) -> list[Row] | list[T]:
        """Return the rows of one statement, each a `Row`, or an *into*.

        *into* is a dataclass, a ``NamedTuple`` or a ``TypedDict``, whose fields are the columns by name, or, where
        there is one column, the type of its values: the guide has what is allowed.

        Waits for a reader, never for a writer. Sees every write that was acknowledged before the call.

        Raises:
            ReadTimeout: no reader came free in time; nothing ran.
            RowMismatch: a row does not fit *into*.
            ForbiddenStatement: the statement would write.
            StatementTimeout: it ran for longer than ``Config.statement_timeout_s`` or ``Config.reader_age_max_s``.
            NestedRead: this thread is writing (ask its transaction), or holds every reader itself.
        """
        if into is None:
            return self._ask(_ROWS, sql, params, timeout_s)

        def ask(source: ReadingConnection, sql: str, params: Params) -> list[Row] | list[T]:
            return queries.all_rows(source, sql, params, into)

        return self._ask(ask, sql, params, timeout_s)

    @overload
    def query_one(
        self, sql: LiteralString | SQL, params: Params = ..., *, timeout_s: float | None = ...
    ) -> Row | None: ...
    @overload
    def query_one(
        self,
        sql: LiteralString | SQL,
        params: Params = ...,
        *,
        into: TypeForm[T],
        timeout_s: float | None = ...,
    ) -> T | None: ...
    def query_one(
        self,
        sql: LiteralString | SQL,
        params: Params = (),
        *,
        into: TypeForm[T] | None = None,
        timeout_s: float | None = None,
    ) -> Row | T | None:
        """Return the first row, or None where there is none; raises as `query`."""
        if into is None:
            return self._ask(_FIRST, sql, params, timeout_s)

        def ask(source: ReadingConnection, sql: str, params: Params) -> Row | T | None:
            return queries.first_row(source, sql, params, into)

        return self._ask(ask, sql, params, timeout_s)

    @overload
    def query_value(
        self, sql: LiteralString | SQL, params: Params = ..., *, timeout_s: float | None = ...
    ) -> Value: ...
    @overload
    def query_value(
        self,
        sql: LiteralString | SQL,
        params: Params = ...,
        *,
        into: TypeForm[T],
        timeout_s: float | None = ...,
    ) -> T: ...
    def query_value(
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

        def ask(source: ReadingConnection, sql: str, params: Params) -> Value | T:
            return queries.one_value(source, sql, params, into)

        return self._ask(ask, sql, params, timeout_s)

    def read(self, work: Callable[[ReadTransaction], T], *, timeout_s: float | None = None) -> T:
        """Run *work* on one snapshot of the database and return its result; raises as `query`.

        *work* may keep the snapshot for ``Config.reader_age_max_s``, as by `read_transaction`.
        """
        check_function(work)
        with self._snapshot(timeout_s, "a read function") as transaction:
            value = work(transaction)
        check_finished(value)
        return value

    def read_transaction(
        self, *, timeout_s: float | None = None
    ) -> contextlib.AbstractContextManager[ReadTransaction]:
        """Open a snapshot of the database for the length of a ``with`` block; raises as `query`.

        The snapshot is fixed at the beginning of the block. While it is open the WAL cannot start over: keep it short.
        Past ``Config.reader_age_max_s`` it is ended, whether a statement runs or not, and the block's next call is a
        `StatementTimeout`; leaving the block raises nothing for that.
        """
        return self._snapshot(timeout_s, "a read transaction")

    @overload
    def stream(
        self, sql: LiteralString | SQL, params: Params = ..., *, timeout_s: float | None = ...
    ) -> contextlib.AbstractContextManager[Iterator[Row]]: ...
    @overload
    def stream(
        self,
        sql: LiteralString | SQL,
        params: Params = ...,
        *,
        into: TypeForm[T],
        timeout_s: float | None = ...,
    ) -> contextlib.AbstractContextManager[Iterator[T]]: ...
    @contextlib.contextmanager
    def stream(
        self,
        sql: LiteralString | SQL,
        params: Params = (),
        *,
        into: TypeForm[T] | None = None,
        timeout_s: float | None = None,
    ) -> Generator[Iterator[Any]]:
        """Iterate over the rows of one statement, one by one, for the length of a ``with`` block; raises as `query`.

        All rows are of one snapshot, and no more than one is in memory. The block keeps one of the readers, and while
        it is open the WAL cannot start over: it may be so for ``Config.reader_age_max_s``, as by `read_transaction`.
        """
        with (
            self._snapshot(timeout_s, sql) as transaction,
            transaction.stream(sql, params, into=into) as rows,
        ):
            yield rows

    # --- inside

    def _ask(
        self,
        ask: Callable[[ReadingConnection, str, Params], R],
        sql: str,
        params: Params,
        timeout_s: float | None,
    ) -> R:
        """Return what *ask* returns, on a reader that is lent for one statement (`readers`, R2, R3)."""
        me = get_ident()
        now = monotonic()
        loan: Loan = (me, now, sql, None)
        try:
            try:
                reader = self._homes.get(me)
                if (
                    reader is None
                    or timeout_s is not None
                    or me in self._writing
                    or self._holders.setdefault(reader, loan) is not loan
                    or reader.connection is None
                ):
                    return self._ask_any(ask, loan, params, timeout_s)
                connection = reader.connection
                connection.asked_at = now
                value = ask(connection, sql, params)
                self._count_free(0.0)
                del self._holders[reader]
                if self._readers.watched:
                    self._readers.look_around(reader)
                return value
            except BaseException:
                self._readers.end(loan)
                raise
        except BaseException:
            try:
                self._readers.end(loan)  # again: an interrupt may have struck as it began (`readers`, R8)
            except BaseException:  # and another one now: nothing is called before the rescue
                self._readers.given_up = loan
                _start_new_thread(apart, ("rescue", self._readers.rescue, loan))
                raise
            raise

    def _ask_any(
        self,
        ask: Callable[[ReadingConnection, str, Params], R],
        loan: Loan,
        params: Params,
        timeout_s: float | None,
    ) -> R:
        """Do what `_ask` does where the thread has no reader at hand."""
        readers = self._readers
        # Outside of another query, what else the thread has for single statements is what two interrupts have left, the
        # second while the first was cleaned up. A thread of its own may be at it this moment: so not by `end`.
        mine = [each for each in self._holders.copy().values() if each[0] == loan[0] and each[3] is None]
        left = [each for each in mine if each is not loan]
        if left and not _is_within_another(self._ask.__code__):
            for each in left:
                readers.rescue(each)
        self._check_not_writing()
        deadline = clock.deadline(timeout_s, self.config.read_timeout_s)
        reader = readers.borrow(loan, deadline)
        value = ask(readers.ready(reader, deadline), loan[2], params)
        readers.give_back(reader)
        return value

    @contextlib.contextmanager
    def _snapshot(self, timeout_s: float | None, what: str) -> Generator[ReadTransaction]:
        deadline = clock.deadline(timeout_s, self.config.read_timeout_s)
        self._check_not_writing()
        block = Block(what, mark_of_this_thread())
        with self._readers.lend(deadline, block) as connection:
            if not connection.begin_read(deadline):
                raise connection.locked_out()
            block.open(connection)
            self._readers.at_block(block.ends_at)
            transaction = ReadTransaction(GatedSource(block, connection))
            try:
                yield transaction
            finally:
                transaction.end()

    def _lend(self, what: str) -> contextlib.AbstractContextManager[ReadingConnection]:
        self._check_not_writing()
        block = Block(what, mark_of_this_thread())
        return self._readers.lend(clock.now() + self.config.read_timeout_s, block)

    def _check_not_writing(self) -> None:
        self._check_usable()
        if self._presence.is_writing():
            msg = "this thread is writing to the same file: ask its transaction (tx.query), which sees what it wrote"
            raise NestedRead(msg)

    def _check_own(self) -> None:
        if self._forked:
            msg = f"{self.path} was opened by the parent process; open it again in each child"
            raise ForkedDatabase(msg)

    def _check_usable(self) -> None:
        self._check_own()
        if self._closed:
            msg = f"{self.path} is closed"
            raise DatabaseClosed(msg)


def _is_within_another(ask: CodeType) -> bool:
    """Whether the calling thread, which is in *ask*, is so a second time: from an SQL function or a signal handler."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - there is no other
    found = 0
    while frame is not None:
        found += frame.f_code is ask
        frame = frame.f_back
    return found > 1
