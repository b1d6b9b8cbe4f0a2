"""A connection of the pool: outside a transaction, each statement is a request of its own.

The road of a plain query is kept short here: the time that the statement may take is set by who borrowed the
connection, and what an error leaves is cleaned up by who gives it back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from . import clock, converters
from .connection import Connection
from .errors import Error, StatementTimeout
from .handle import LOCKED
from .parameters import Params
from .rows import Plain, Row

T = TypeVar("T")
_log = logging.getLogger(__name__)


class ReadingConnection(Connection):
    """A read-only connection.

    Its methods raise `ReadTimeout` where another connection, not of onewriter, kept the file locked past the deadline.
    """

    # When the request began: who asks for one statement sets this, and nothing else. 0 until the first.
    asked_at = 0.0
    _limit = (0.0, 0.0)  # when another request began that named its deadline, and that
    _begun = False

    def begin_request(self, deadline: float) -> None:
        """Forget what was before; wait for others' locks up to *deadline*."""
        self.start_request()
        self.asked_at = clock.now()
        self._limit = (self.asked_at, deadline)

    def begin_read(self, deadline: float) -> bool:
        """Begin a read transaction and fix its snapshot, which may grow old from now on; False as `Connection`'s."""
        begun = super().begin_read(deadline)
        self.hold_until = clock.now() + self._reader_age_max_s
        return begun

    def wait_again(self) -> bool:
        """Wait a moment for others' locks; False where the deadline has passed."""
        self._set_limits()
        return super().wait_again()

    def _keep_waiting(self, tries: int) -> bool:
        self._set_limits()
        return super()._keep_waiting(tries)

    def _overdue(self) -> bool:
        self._set_limits()
        return super()._overdue()

    def _set_limits(self) -> None:
        """Outside a transaction, have the limits counted from the request's beginning; asked when something lasts."""
        if not self._begun and self.asked_at:
            self.stop_at = self.asked_at + self._statement_timeout_s
            self.hold_until = self.asked_at + self._reader_age_max_s
            asked_at, deadline = self._limit
            self.busy_until = deadline if asked_at == self.asked_at else self.asked_at + self._read_timeout_s

    def too_old(self) -> str:
        """Say that the read has kept its snapshot for too long."""
        return (
            f"{self.path}: the read was ended, since it had been open for longer than Config.reader_age_max_s "
            f"({self._reader_age_max_s:.3g} s) and kept the WAL from starting over: read in several shorter ones, or "
            "allow more"
        )

    def rows(self, sql: str, params: Params) -> list[Row]:
        """Run one statement to its end and return its rows."""
        return super().rows(sql, params) if self._begun else self._at_once(self._rows, sql, params)

    def first(self, sql: str, params: Params) -> Row | None:
        """Run one statement as far as its first row, and return that."""
        return super().first(sql, params) if self._begun else self.first_alone(sql, params)

    def first_alone(self, sql: str, params: Params) -> Row | None:
        """Do what `first` does outside a transaction: this is the road of a point read."""
        try:
            shape = self._shapes.get(sql)
            if shape is None or not isinstance(params, tuple) or converters.wary:
                return self._at_once(self._first, sql, params)
            # From here on as `_first`, for a statement that is known.
            cursor = self._cursor.execute(sql, params)
            row: Plain | None = cursor.fetchone()
            if row is None:
                return None
            if self._guard.asked:
                shape = self._describe(sql, cursor)
            if cursor.fetchone() is not None:
                self._renew_cursor()
            return shape(row)
        except LOCKED:
            return self._at_once(self._first, sql, params)
        except BaseException as error:  # noqa: BLE001 - told apart there
            self._fail(error, sql, params)

    def named_rows(self, sql: str, params: Params) -> tuple[list[Plain], tuple[str, ...]]:
        """Run one statement to its end; return its rows and, where there are any, the names of its columns."""
        return (
            super().named_rows(sql, params) if self._begun else self._at_once(self._named_rows, sql, params)
        )

    def _ours(self, error: BaseException, sql: object, params: Params) -> BaseException:
        ours = super()._ours(error, sql, params)
        if isinstance(ours, StatementTimeout) and self.hold_until < min(self.stop_at, clock.now()):
            msg = f"{self.too_old()} (in: {sql})"
            return StatementTimeout(
                msg, ran=ours.ran, sql=ours.sql, code=ours.code, extended_code=ours.extended_code
            )
        return ours

    def _at_once(self, fetch: Callable[[str, Params], T], sql: str, params: Params) -> T:
        params = self._check(sql, params)
        while True:
            try:
                return fetch(sql, params)
            except LOCKED as error:
                self._renew_cursor()
                if not self.wait_again():
                    raise self.locked_out() from error
            except BaseException as error:  # noqa: BLE001 - told apart there
                self._fail(error, sql, params)


class Reader:
    """One place of the pool.

    Attributes:
        connection: None until it is needed; touched by who has the reader.
        stay_until: until when the thread whose home it is may keep others waiting (R5).
    """

    __slots__ = ("connection", "home_of", "lent_at", "stay_until")

    def __init__(self) -> None:
        """Begin without a connection."""
        self.connection: ReadingConnection | None = None
        self.stay_until = 0.0
        self.lent_at = 0.0  # where it was handed over: later than the loan was made
        self.home_of = 0

    def clean(self) -> None:
        """Make sure that nothing is open on the connection, or close it (`readers`, R6); for who has the reader."""
        connection = self.connection
        if connection is None or connection.inherited:
            return
        try:
            connection.close_opened()
            if not connection.is_broken and not connection.unended and connection.is_idle():
                return
            connection.recover()
            if not connection.is_broken and connection.is_idle():
                return
        except Error:
            _log.warning("%s: a reader could not be cleaned and was closed", connection.path, exc_info=True)
        except BaseException:  # a signal handler's
            self.discard()
            raise
        self.discard()

    def discard(self) -> None:
        """Close the connection; for who has the reader."""
        connection = self.connection
        if connection is not None and not connection.inherited:
            connection.close()
            self.connection = None
