"""The interactive transaction, and the one door to SQLite itself: what a turn is taken for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from . import clock
from .connection import Connection
from .errors import MisuseError
from .parameters import Params
from .requests import call_back
from .results import Result
from .sources import GatedSource
from .transaction import Transaction
from .turns import Turn
from .watch import Watch
from .writer import Writer

if TYPE_CHECKING:
    import apsw


class TurnSource(GatedSource):
    """The connection for as long as a turn is not over; what a `Transaction` of it goes through."""

    __slots__ = ()

    def execute(self, sql: str, params: Params) -> Result:
        """Run one statement to its end and say what it did."""
        return self._gate.run(self._connection.execute, sql, params)

    def execute_many(self, sql: str, many: Iterable[Params]) -> Result:
        """Run one statement once for each of *many*."""
        return self._gate.run(self._connection.execute_many, sql, many)

    def killer(self) -> BaseException | None:
        """Return what ended the transaction under its user, but for the end of the turn, which the next call tells."""
        return self._gate.unless_over(self._connection.killer)

    def save_within(self) -> str:
        """Set a savepoint, and return its name."""
        return self._gate.run(self._connection.save_within)

    def release(self, name: str) -> None:
        """Keep what was done since the savepoint *name*."""
        self._gate.run(self._connection.release, name)

    def go_back(self, name: str) -> None:
        """Undo what was done since the savepoint *name*; the turn's end has undone it too."""
        self._gate.unless_over(self._connection.go_back, name)


class HeldTransaction:
    """An interactive transaction: a context manager that gives the calling thread a `Transaction` of its own.

    It is committed at the end of the block, and rolled back where the block raises.
    """

    def __init__(self, writer: Writer, timeout_s: float, hold_s: float, watch: Watch, owner: object) -> None:
        """Wait for the turn up to *timeout_s* seconds, and keep it for *hold_s* at most; *owner* lives as long."""
        self._owner = owner
        self._writer = writer
        self._timeout_s = timeout_s
        self._hold_s = hold_s
        self._watch = watch
        self._turn: Turn | None = None
        self._transaction: Transaction | None = None

    def __enter__(self) -> Transaction:
        writer = self._writer
        if self._turn is not None:
            raise MisuseError("a transaction block is entered once: call db.transaction() again")
        deadline = clock.now() + self._timeout_s
        turn = self._turn = Turn(writer, self._timeout_s)
        turn.begins = True
        try:
            connection = turn.__enter__()
            writer.take_turn(deadline)
            if not writer.batch.open(deadline):
                raise writer.locked()
            connection.start_request()
            turn.hold_until = connection.hold_until = turn.since + self._hold_s
            self._watch.look_at(turn)
            self._transaction = Transaction(TurnSource(turn, connection))
            return self._transaction
        except BaseException:
            turn.leave(commit=False)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or roll back where the block raised.

        Raises:
            TransactionEnded: it had been held too long, or SQLite had rolled it back.
            OutcomeUnknown: the commit's sync failed.
        """
        turn, transaction = self._turn, self._transaction
        assert turn is not None, "not entered"
        assert transaction is not None, "not entered"
        commit, callbacks = False, None
        try:
            callbacks = transaction.end()
            commit = kind is None
        finally:
            turn.leave(commit=commit)
        if kind is None and callbacks is not None:
            call_back(callbacks, self._writer.path)


class UnsafeConnection:
    """A turn, outside any transaction, with an APSW connection that nothing guards: a context manager.

    The connection is a new one, closed at the end of the block. So nothing that is done to it (TEMP tables, attached
    files, pragmas, hooks, half-read cursors) can reach another request.
    """

    def __init__(
        self,
        writer: Writer,
        timeout_s: float,
        connect: Callable[[float], Connection],
        watch: Watch,
        owner: object,
    ) -> None:
        """Wait for the turn up to *timeout_s* seconds, and open the connection with *connect*, given a deadline.

        *owner* lives as long.
        """
        self._owner = owner
        self._turn = Turn(writer, timeout_s)
        self._writer = writer
        self._timeout_s = timeout_s
        self._connect = connect
        self._watch = watch
        self._connection: Connection | None = None

    def __enter__(self) -> apsw.Connection:
        if self._turn.is_entered:
            raise MisuseError(
                "the block of an unsafe connection is entered once: call db.unsafe_connection() again"
            )
        deadline = clock.now() + self._timeout_s
        try:
            self._turn.__enter__()
            self._writer.take_turn(deadline)
            self._watch.look_at(self._turn)
            self._connection = self._connect(deadline)
            return self._connection.unguarded(self._writer.config.write_timeout_s)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection, which rolls back what it has open, and give the turn up."""
        try:
            if self._connection is not None and not self._connection.inherited:
                self._connection.close()
                self._writer.batch.note_growth()
        finally:
            self._turn.leave(commit=False)
