"""Every error that onewriter raises.

Each says through ``ran`` what became of the work:

``"no"``           nothing ran; trying again is safe.
``"rolled_back"``  it ran, and nothing of it is in the file.
``"unknown"``      it may or may not be in the file (see `OutcomeUnknown`).

Names follow PEP 249. Errors that SQLite reported carry ``sql``, ``code`` and ``extended_code``
(https://sqlite.org/rescode.html) and have the APSW error as their cause. No message holds a parameter's value.
"""

from __future__ import annotations

from typing import Final, Literal

Ran = Literal["no", "rolled_back", "unknown"]
HeldBy = Literal["line", "process", "stranger"]
_QUOTED_MAX: Final = 200


class Error(Exception):
    """The base of all errors of this library.

    Attributes:
        ran: what became of the work: ``no`` (nothing ran), ``rolled_back`` or ``unknown``.
        sql: the statement that failed, or None.
        code: SQLite's primary result code by name, such as ``SQLITE_CONSTRAINT``, or None.
        extended_code: the extended one, such as ``SQLITE_CONSTRAINT_UNIQUE``, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        ran: Ran = "no",
        sql: str | None = None,
        code: str | None = None,
        extended_code: str | None = None,
    ) -> None:
        """Say *message*; the rest is data for the program."""
        super().__init__(message)
        self.ran: Ran = ran
        self.sql = sql
        self.code = code
        self.extended_code = extended_code


class ProgrammingError(Error):
    """The program is wrong: its SQL, its parameters, a limit it set."""


class RowMismatch(ProgrammingError):
    """A row does not fit the type that ``into`` asked for; the message has both sides.

    Attributes:
        missing: names that the type wants and the row has no column for.
        surplus: columns of the row that the type has no field for.
        column: the column whose value does not fit, or None where the names do not.
        expected: the type that was expected there.
        got: the type that was found, or ``NULL``.
    """

    def __init__(
        self,
        message: str,
        *,
        missing: tuple[str, ...] = (),
        surplus: tuple[str, ...] = (),
        column: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        ran: Ran = "no",
        sql: str | None = None,
        code: str | None = None,
        extended_code: str | None = None,
    ) -> None:
        """Say *message*, and what does not fit."""
        super().__init__(message, ran=ran, sql=sql, code=code, extended_code=extended_code)
        self.missing = missing
        self.surplus = surplus
        self.column = column
        self.expected = expected
        self.got = got


class MisuseError(ProgrammingError):
    """The library was used in a way that can never work."""


class NestedWrite(MisuseError):
    """A write was asked for by a thread that is writing already; use its transaction."""


class NestedRead(MisuseError):
    """A read was asked for where it would see the wrong data or wait for itself."""


class DatabaseClosed(MisuseError):
    """The database was closed."""


class ForkedDatabase(MisuseError):
    """The database was opened by the parent process; open it again in the child."""


class TransactionEnded(MisuseError):
    """The transaction is over: its block ended, or SQLite rolled it back."""


class WrongThread(MisuseError):
    """A transaction was used by another thread than the one it was made for."""


class ForbiddenStatement(MisuseError):
    """A statement that would take the connection out of the library's hands."""


class DataError(Error):
    """A value that SQLite cannot hold: too big, past 64 bits, or text that is not Unicode."""


class IntegrityError(Error):
    """A constraint was broken.

    Attributes:
        kind: ``unique``, ``primary_key``, ``foreign_key``, ``not_null``, ``check``, ``trigger``, ``datatype``,
            ``rowid``, or another of SQLite's names in lower case.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "constraint",
        ran: Ran = "rolled_back",
        sql: str | None = None,
        code: str | None = None,
        extended_code: str | None = None,
    ) -> None:
        """Say *message* and which *kind* of constraint it was."""
        super().__init__(message, ran=ran, sql=sql, code=code, extended_code=extended_code)
        self.kind = kind


class OperationalError(Error):
    """The world would not have it: locks, limits, disks, files."""


class _Held(OperationalError):
    """A wait that ended for who held the thing waited for."""

    def __init__(
        self,
        message: str,
        *,
        held_by: HeldBy = "line",
        pid: int | None = None,
        ran: Ran = "no",
        sql: str | None = None,
        code: str | None = None,
        extended_code: str | None = None,
    ) -> None:
        """Say *message*, and who was in the way."""
        super().__init__(message, ran=ran, sql=sql, code=code, extended_code=extended_code)
        self.held_by: HeldBy = held_by
        self.pid = pid


class WriteTimeout(_Held, TimeoutError):
    """The write's turn did not come in time. Nothing ran: retrying is safe.

    Attributes:
        held_by: ``line`` (other requests of this process), ``process`` (another process that uses onewriter)
            or ``stranger`` (a lock on the file that is not of this line).
        pid: the process that held it, where that is known.
    """


class ReadTimeout(_Held, TimeoutError):
    """No reader came free in time. Nothing ran: retrying is safe. Attributes as in `WriteTimeout`."""


class QueueFull(_Held):
    """``Config.pending_max`` requests wait already, and `submit` waits for nothing. Nothing ran: retrying is safe."""


class StatementTimeout(OperationalError):
    """The request's work inside SQLite took longer than ``Config.statement_timeout_s`` and was rolled back.

    Or a read kept its snapshot for longer than ``Config.reader_age_max_s``, be it at work or not.
    """


class OutcomeUnknown(OperationalError):
    """The commit's sync failed: the work may or may not survive. Read the data before trying again."""


class CannotOpen(OperationalError):
    """The file cannot be opened; the message names it and says why."""


class DiskFull(OperationalError):
    """The disk, or the limit set on the file's size, is full. The work was rolled back."""


class DiskError(OperationalError):
    """The operating system reported an I/O error. The work was rolled back."""


class ReadOnlyDatabase(OperationalError):
    """The database, or the place it lies in, cannot be written."""


class CorruptDatabase(OperationalError):
    """The file's content is damaged; `Database.check` lists what is wrong."""


class NotADatabase(OperationalError):
    """The file is not an SQLite database. It was left as it is."""


class MigrationError(Error):
    """A migration cannot be applied, or the list of migrations is wrong.

    Attributes:
        version: the migration's version, or None where the list as a whole is wrong.
        name: its name.
        statement: the statement that failed, or None.
        line: the line of the script, counted from 1, that the statement begins on, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        version: int | None = None,
        name: str | None = None,
        statement: str | None = None,
        line: int | None = None,
        ran: Ran = "no",
    ) -> None:
        """Say *message*, and which migration and which statement of it."""
        super().__init__(message, ran=ran, sql=statement)
        self.version = version
        self.name = name
        self.statement = statement
        self.line = line


class SnapshotError(Error):
    """A snapshot could not be made or restored; nothing half-made was left behind."""


def quoted(value: object) -> str:
    """Return *value* as a message shows it; whatever it is, that raises nothing, and is not long."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a caller's own class, or a number of more digits than Python prints
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _QUOTED_MAX else f"{text[:_QUOTED_MAX]}..."


def cut_history(error: BaseException, outer: BaseException) -> None:
    """Take *outer*, which the holder was handling, out of the history of *error*, which is another's."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if link.__context__ is outer:
            link.__context__ = None
        link = link.__cause__ or link.__context__
