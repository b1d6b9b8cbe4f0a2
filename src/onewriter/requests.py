"""What a caller asks of the write line.

A statement is data, which any thread may run; a function belongs to the thread that asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from .connection import Connection
from .errors import ProgrammingError
from .transaction import Transaction
from .values import Params, freeze


class Request(Protocol):
    """A piece of work inside a write transaction that is open; it neither begins nor ends one."""

    def run(self, connection: Connection) -> object:
        """Do it and return what the caller is to get."""
        ...


class Statement:
    """One statement with its parameters."""

    __slots__ = ("_params", "_sql")

    def __init__(self, sql: str, params: Params) -> None:
        """Take *sql* and *params*, which another thread may come to run."""
        self._sql = sql
        self._params = freeze(params)

    def run(self, connection: Connection) -> object:
        """Return its `Result`."""
        return connection.execute(self._sql, self._params)


class ManyStatements:
    """One statement with many rows of parameters."""

    __slots__ = ("_rows", "_sql")

    def __init__(self, sql: str, rows: Iterable[Params]) -> None:
        """Copy *rows*: they may be read by another thread, later."""
        self._sql = sql
        self._rows = [freeze(params) for params in rows]

    def run(self, connection: Connection) -> object:
        """Return the `Result` of all together."""
        return connection.execute_many(self._sql, self._rows)


class Function:
    """A caller's function of a `Transaction`."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[[Transaction], object]) -> None:
        """Take *work*, which may be run a second time."""
        self._work = work

    def run(self, connection: Connection) -> object:
        """Return what the function returned.

        Where SQLite ended the transaction behind the function's back, and the function went on regardless, what it
        returned means nothing: what ended the transaction is raised.
        """
        transaction = Transaction(connection)
        try:
            value = self._work(transaction)
        finally:
            transaction.end()
        connection.check_alive()
        return value


def check_function(work: object) -> None:
    """Refuse what cannot be called with a transaction."""
    if not callable(work):
        msg = f"work must be a function of a transaction, not {type(work).__name__}"
        raise ProgrammingError(msg)
