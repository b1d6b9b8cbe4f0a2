"""The connection for as long as a block is not over: what the SQL of its transaction goes through (`gates`).

In a forked child the gate is never taken: a thread that the child does not have may have held it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .connection import Connection
from .gates import Gated
from .opened import Closing, OpenBlob, OpenCursor
from .parameters import Params
from .rows import Plain, Row

T = TypeVar("T")


class GatedSource:
    """The reading half."""

    __slots__ = ("_connection", "_gate")

    def __init__(self, gate: Gated, connection: Connection) -> None:
        """Run everything on *connection*, behind *gate*."""
        self._gate = gate
        self._connection = connection

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child, and it is the parent's."""
        return self._connection.inherited

    def check_own(self) -> None:
        """Refuse, in a forked child, what is the parent's."""
        self._connection.check_own()

    def rows(self, sql: str, params: Params) -> list[Row]:
        """Run one statement to its end and return its rows."""
        self._gate.doing = sql
        return self._gate.run(self._connection.rows, sql, params)

    def first(self, sql: str, params: Params) -> Row | None:
        """Run one statement as far as its first row, and return that."""
        self._gate.doing = sql
        return self._gate.run(self._connection.first, sql, params)

    def named_rows(self, sql: str, params: Params) -> tuple[list[Plain], tuple[str, ...]]:
        """Run one statement to its end; return its rows and, where there are any, the names of its columns."""
        self._gate.doing = sql
        return self._gate.run(self._connection.named_rows, sql, params)

    def open_cursor(self, sql: str, params: Params) -> OpenCursor:
        """Begin one statement whose rows are fetched one by one."""
        self._gate.doing = sql
        return self._gate.run(self._connection.open_cursor, sql, params)

    def open_blob(self, table: str, column: str, rowid: int, *, writable: bool) -> OpenBlob:
        """Open one value for reading, or writing, piece by piece."""
        self._gate.doing = f"open_blob({table!r}, {column!r})"
        return self._gate.run(lambda: self._connection.open_blob(table, column, rowid, writable=writable))

    @property
    def opened(self) -> object:
        """What stayed open between two calls; false where nothing did."""
        return self._connection.opened if not self._gate.over else None

    def close_opened(self) -> None:
        """Close what stayed open between two calls; the end of the block has done so too."""
        if not self._connection.inherited:
            self._gate.unless_over(self._connection.close_opened)

    def shut(self, opened: Closing) -> None:
        """Close what stayed open between two calls; the end of the block has done so too."""
        if not self._connection.inherited:
            self._gate.unless_over(opened.close)

    def run(self, work: Callable[[], T]) -> T:
        """Do *work*, a step of what is open."""
        if self._connection.inherited:
            self._connection.check_own()
        return self._gate.run(work)

    @property
    def killed_by(self) -> BaseException | None:
        """What ended the transaction under its user, but for the end of the block, which the next call tells."""
        return self._connection.killed_by if not self._gate.over else None
