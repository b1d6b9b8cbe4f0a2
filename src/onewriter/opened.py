"""What stays open between two calls: a statement that is read row by row, a value that is read piece by piece.

Each belongs to one connection, and every step of it goes through `Steps.step`, which keeps the request's limit of time,
translates errors, and finds out whether SQLite has ended the transaction.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import apsw

from .errors import Error, MisuseError, TransactionEnded
from .parameters import Params
from .rows import Plain

T = TypeVar("T")


class Closing(Protocol):
    """What is open.

    Attributes:
        writes: half-read or half-written, it is in the way of a savepoint.
    """

    writes: bool

    def close(self) -> None:
        """Close it; a second time does nothing."""
        ...


class Steps(Protocol):
    """The connection.

    Attributes:
        inherited: this is a forked child, and it is the parent's.
    """

    inherited: bool

    def step(self, work: Callable[[], T], sql: str, params: Params = ...) -> T:
        """Do *work* inside SQLite, for the statement *sql*."""
        ...

    def forget(self, opened: Closing, /) -> None:
        """Note that *opened* has been closed."""
        ...


class Holding(Protocol):
    """Where the steps of what is open are done: a connection, or a turn that may be over."""

    def run(self, work: Callable[[], T], /) -> T:
        """Do *work* on the connection."""
        ...

    def shut(self, opened: Closing, /) -> None:
        """Close *opened*, if the end of the transaction has not done so."""
        ...


def names_of(cursor: apsw.Cursor) -> tuple[str, ...]:
    """Return the names of the columns of the statement that *cursor* reads."""
    return tuple([column[0] for column in cursor.get_description()])


def _closed(steps: Steps, thing: Any) -> bool:  # noqa: ANN401 - APSW's
    """Close *thing*; False where it has to stay open.

    In a forked child it is the parent's. Where its own connection is at work at this moment (a finalizer, in the middle
    of a statement), it is closed with the transaction.
    """
    if steps.inherited:
        return False
    try:
        if hasattr(thing, "close"):  # rows that were read before are a plain iterator
            thing.close(True)  # noqa: FBT003 - APSW takes it by position
    except apsw.ThreadingViolationError:
        return False
    return True


class OpenCursor:
    """A statement that has begun; its rows are fetched one by one.

    Attributes:
        names: the names of its columns; empty where it has no row.
    """

    def __init__(self, steps: Steps, cursor: Any, sql: str) -> None:  # noqa: ANN401 - as `Handle._cursor`
        """Use *cursor*, which is nobody else's."""
        self._steps = steps
        self._cursor: Any = cursor  # None once it is closed
        self._sql = sql
        self._ended = False
        self.writes = False
        self.names: tuple[str, ...] = ()

    def begin(self, params: Params) -> None:
        """Run the statement up to its first row; to its end, if it writes: half-read, it would prevent the commit."""
        cursor = self._cursor.execute(self._sql, params)
        try:
            self.names = names_of(cursor)
        except apsw.ExecutionCompleteError:
            return  # it has no row
        if not cursor.is_readonly:
            self._cursor = iter(cursor.fetchall())
            cursor.close()

    def fetch(self) -> Plain | None:
        """Return the next row, None after the last.

        Raises:
            TransactionEnded: it was closed.
        """
        if self._cursor is None:
            msg = "the stream is over; its rows cannot be read after its block, or its transaction, has ended"
            raise TransactionEnded(msg)
        if self._ended:
            return None
        try:
            row: Plain | None = self._steps.step(self._next, self._sql)
        except Error as error:
            if error.code != "SQLITE_ABORT":
                raise
            msg = f"the stream's tables were changed in a savepoint that was undone: begin it again (in: {self._sql})"
            raise MisuseError(
                msg, sql=self._sql, code=error.code, extended_code=error.extended_code
            ) from error
        self._ended = row is None
        return row

    def _next(self) -> Plain | None:
        row: Plain | None = next(self._cursor, None)
        return row

    def close(self) -> None:
        """Close it; a second time does nothing."""
        if self._cursor is not None and _closed(self._steps, self._cursor):
            self._cursor = None
            self._steps.forget(self)


class OpenBlob:
    """One value, whose bytes are read and written in place (https://sqlite.org/c3ref/blob_open.html).

    Attributes:
        size: its length in bytes, which stays what it is.
        writable: whether it can be written.
    """

    def __init__(self, steps: Steps, what: str, *, writable: bool) -> None:
        """Say *what* it is in errors."""
        self._steps = steps
        self._what = what
        self._blob: Any = None
        self._expired = False
        self.size = 0
        self.writable = self.writes = writable

    def begin(self, blob: apsw.Blob) -> None:
        """Use *blob*, which is nobody else's."""
        self._blob = blob
        self.size = blob.length()

    def read_into(self, place: int, buffer: memoryview) -> None:
        """Fill *buffer* with the bytes from *place* on, which must be there.

        Raises:
            MisuseError: the row was changed or deleted since.
            TransactionEnded: it was closed.
        """

        def read() -> None:
            self._blob.seek(place)
            self._blob.read_into(buffer)

        self._step(read)

    def write(self, place: int, data: memoryview) -> None:
        """Put *data* in the place of the bytes from *place* on, which must be there; raises as `read_into`."""

        def write() -> None:
            self._blob.seek(place)
            self._blob.write(data)

        self._step(write)

    def _step(self, work: Callable[[], None]) -> None:
        if self._blob is None:
            msg = f"{self._what} is over: its transaction, or the savepoint that it was opened in, has ended"
            raise TransactionEnded(msg)
        if self._expired:
            raise self._changed()
        try:
            self._steps.step(work, self._what)
        except Error as error:
            if error.code != "SQLITE_ABORT":
                raise
            self._expired = True
            raise self._changed() from error

    def _changed(self) -> MisuseError:
        msg = f"{self._what}: its row was changed or deleted, or undone, since it was opened: open it again"
        return MisuseError(msg, code="SQLITE_ABORT", extended_code="SQLITE_ABORT")

    def close(self) -> None:
        """Close it; a second time does nothing."""
        if self._blob is None:
            self._steps.forget(self)
        elif _closed(self._steps, self._blob):
            self._blob = None
            self._steps.forget(self)
