"""Requests of `asking` as a real database is asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from onewriter import SQL, Database, DatabaseClosed, NestedWrite, Result, Transaction
from tests.support.asking import Besides, Many, Outcome, Request, Script, label, play
from tests.support.model import Content, Effect, Insert, Statement, read_content


class RealTransaction:
    """A real transaction, with the model's methods."""

    def __init__(self, transaction: Transaction, db: Database, called: list[int]) -> None:
        """Callbacks write their tags into *called*."""
        self._transaction = transaction
        self._db = db
        self._called = called
        self.savepoint = transaction.savepoint

    def execute(self, statement: Statement) -> Effect:
        """Run one statement."""
        return _effect(self._transaction.execute(SQL(statement.sql), statement.params), statement)

    def execute_many(self, rows: Sequence[Insert]) -> Effect:
        """Run one statement for each of *rows*, which are of one kind."""
        done = self._transaction.execute_many(SQL(rows[0].sql), (each.params for each in rows))
        return Effect([*done.rows], done.changes)

    def script(self, script: Script) -> None:
        """Run one text of several statements."""
        self._transaction.script(SQL(script.sql))

    def look(self) -> Content:
        """Return all that the transaction sees."""
        return read_content(self._transaction.query)

    def nest(self) -> None:
        """Write by the database's own door; one that is being closed says that first."""
        try:
            self._db.execute("DELETE FROM item")
        except DatabaseClosed as error:
            raise NestedWrite("closed besides") from error

    def after_commit(self, tag: int) -> None:
        """Have *tag* told, by a callback that may read: it is called outside the write."""

        def callback() -> None:
            with suppress(DatabaseClosed):
                self._db.query("SELECT 1")
            self._called.append(tag)

        self._transaction.after_commit(callback)


class Asked:
    """A request that is made of a real database."""

    def __init__(self, db: Database, request: Request) -> None:
        """Ask nothing yet."""
        self.request = request
        self.trace: list[object] = []  # of the last run
        self.called: list[int] = []
        self._db = db

    def ask(self, timeout_s: float | None = None) -> None:
        """Make the request and wait for its outcome; raises what it raises."""
        db, steps = self._db, self.request.steps
        match self.request.door:
            case "execute":
                (statement,) = steps
                assert not isinstance(statement, Besides)
                done = db.execute(SQL(statement.sql), statement.params, timeout_s=timeout_s)
                self.trace.append(_effect(done, statement))
            case "execute_many":
                (many,) = steps
                assert isinstance(many, Many)
                rows = [each.params for each in many.rows]
                done = db.execute_many(SQL(many.rows[0].sql), rows, timeout_s=timeout_s)
                self.trace.append(Effect([*done.rows], done.changes))
            case "block":
                with db.transaction(timeout_s=timeout_s) as tx:
                    self._work(tx)
            case _:
                db.write(self._work, timeout_s=timeout_s, alone=self.request.is_alone)

    def submit(self, timeout_s: float | None = None) -> Future[None]:
        """Make the request, and return the future of its outcome."""
        return self._db.submit(self._work, timeout_s=timeout_s)

    def outcome(self, error: BaseException | None) -> Outcome:
        """Return what came of it, given its *error*."""
        return Outcome(None if error is None else label(error), self.trace, self.called)

    def _work(self, tx: Transaction) -> None:
        self.trace.clear()
        steps, swallows = self.request.steps, self.request.swallows
        play(steps, RealTransaction(tx, self._db, self.called), self.trace, swallows=swallows)


def _effect(done: Result, statement: Statement) -> Effect:
    inserted = isinstance(statement, Insert) and done.changes > 0
    return Effect([*done.rows], done.changes, done.last_insert_rowid if inserted else 0)
