"""What an open transaction of a task is in the line, and what an open read is for the crew."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from onewriter import clock, errands
from onewriter.connection import Connection
from onewriter.transaction import Transaction
from onewriter.writer import Writer

from .crew import Job
from .holds import Hold
from .mailbox import Mailbox
from .sessions import RolledBack, Session
from .writes import AskedWrite, InContext, NotWanted

S = TypeVar("S")


class Held(InContext):
    """The request of an open transaction: the background thread is in it from its opening to its end."""

    lasts = True
    text = params = None
    asked: AskedWrite  # set once, before it is put in line

    def __init__(self, session: Session[Transaction], hold_s: float, warn_s: float, path: Path) -> None:
        """Serve *session* for *hold_s* seconds at most."""
        self.callbacks: list[Callable[[], object]] | None = None
        self._context = contextvars.copy_context()
        self._session = session
        self._hold_s = hold_s
        self._warn_s = warn_s
        self._path = path

    def run(self, connection: Connection) -> None:
        """Serve the calls of its block."""
        if self.dropped:
            raise NotWanted
        hold = Hold(self._path, self.asked, self._hold_s, self._warn_s)
        transaction = Transaction(connection)
        connection.hold_until = hold.until
        try:
            self._session.serve(transaction, self.asked, hold)
        finally:
            errands.end()
            connection.hold_until = clock.NEVER
            self.callbacks = transaction.end()
            self._session.forget_parts()
        if not self._session.commits:
            raise RolledBack
        connection.check_alive()


class HeldWrite(AskedWrite):
    """An open transaction in line. Its answer says that it is open."""

    def __init__(
        self, session: Session[Transaction], work: Held, timeout_s: float, writer: Writer, box: Mailbox
    ) -> None:
        """Have *work*, which serves *session*, done."""
        super().__init__(work, timeout_s, writer, box, alone=True)
        self._session = session

    def _settle(self, error: BaseException | None) -> None:
        self._session.ended(error)
        super()._settle(error)

    def be_lost(self) -> None:
        """Call what is to be called, and note the end."""
        self._session.at_end()
        super().be_lost()

    def drop(self) -> None:
        """Leave the line, or have the transaction rolled back that was opened meanwhile."""
        super().drop()
        self._session.abandon()


class OpenRead(Job):
    """An open read on the crew. Its answer says that it is open."""

    def __init__(  # noqa: PLR0917 - as the job that it is
        self,
        session: Session[S],
        open_: Callable[[float], AbstractContextManager[S]],
        until: float,
        box: Mailbox,
        late: Callable[[float], BaseException | None],
        context: contextvars.Context | None = None,
    ) -> None:
        """Serve *session* with what *open_* opens in *context*, given the seconds that are left up to *until*."""

        def work(left_s: float) -> None:
            try:
                with open_(left_s) as source:
                    session.serve(source, self)
            finally:
                session.forget_parts()

        super().__init__(work, until, box, late, context)
        self._session = session

    def arrive(self) -> None:
        """Take note of the end."""
        self._session.ended(self.error)
        super().arrive()

    def be_lost(self) -> None:
        """Note the end."""
        self._session.at_end()

    def drop(self) -> None:
        """Have it not begun, or ended where it was opened meanwhile."""
        super().drop()
        self._session.abandon()

    def give_up(self) -> BaseException | None:
        """Have it not begun, past its deadline, or ended where a thread comes to it at the same moment."""
        error = super().give_up()
        if error is not None:
            self._session.abandon()
        return error
