"""From APSW's exceptions to ours: what went wrong, whose fault it is, and where.

The table is by APSW's class, that is by SQLite's primary result code (https://sqlite.org/rescode.html). No parameter
is ever put in a message. SQLite's own messages name columns and tables; a few of its functions quote what they cannot
parse (a JSON path, a full-text query), and that is left as it is, since the error's cause has it anyway.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from .errors import (
    CannotOpen,
    CorruptDatabase,
    DataError,
    DiskError,
    DiskFull,
    Error,
    ForbiddenStatement,
    IntegrityError,
    MisuseError,
    NotADatabase,
    OperationalError,
    ProgrammingError,
    Ran,
    ReadOnlyDatabase,
    StatementTimeout,
)

_SHOWN_MAX = 200

_CLASSES: dict[type[apsw.Error], type[Error]] = {
    apsw.SQLError: ProgrammingError,
    apsw.BindingsError: ProgrammingError,
    apsw.RangeError: ProgrammingError,
    apsw.MisuseError: ProgrammingError,
    apsw.TooBigError: DataError,
    apsw.InterruptError: StatementTimeout,
    apsw.FullError: DiskFull,
    apsw.IOError: DiskError,
    apsw.CorruptError: CorruptDatabase,
    apsw.NotADBError: NotADatabase,
    apsw.CantOpenError: CannotOpen,
    apsw.PermissionsError: CannotOpen,
    apsw.ReadOnlyError: ReadOnlyDatabase,
    apsw.AuthError: ForbiddenStatement,
    apsw.ThreadingViolationError: MisuseError,
}
# What a VFS written in Python raises has no code but its class.
_PRIMARY: dict[type[apsw.Error], str] = {
    apsw.CantOpenError: "SQLITE_CANTOPEN",
    apsw.CorruptError: "SQLITE_CORRUPT",
    apsw.FullError: "SQLITE_FULL",
    apsw.IOError: "SQLITE_IOERR",
    apsw.PermissionsError: "SQLITE_PERM",
    apsw.ReadOnlyError: "SQLITE_READONLY",
}
_KINDS = {"PRIMARYKEY": "primary_key", "FOREIGNKEY": "foreign_key", "NOTNULL": "not_null"}
# What APSW raises while it binds parameters or reads columns.
_BINDING_ERRORS = (TypeError, OverflowError, UnicodeError, KeyError, ValueError, BufferError)
_OURS = str(Path(__file__).parent)


def is_known(error: BaseException) -> bool:
    """Return whether *error* comes from APSW rather than from a caller's own code that ran inside it.

    A binding error's type does not tell, but where it was raised does: APSW names its C files in the traceback.
    """
    if isinstance(error, apsw.Error):
        return True
    return isinstance(error, _BINDING_ERRORS) and not is_from_outside(error)


def is_from_outside(error: BaseException) -> bool:
    """Return whether *error* was raised by a caller's own code, by where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = trace.tb_frame.f_code.co_filename if trace is not None else ""
    return not where.endswith(".c") and not where.startswith(_OURS)


def translate(error: BaseException, sql: str | None, *, ran: Ran = "rolled_back", where: str = "") -> Error:
    """Return our error for APSW's *error*, raised by the statement *sql*; the caller raises it ``from`` that.

    *where* says which parameter it is, where it comes from one.
    """
    if not isinstance(error, apsw.Error):
        return _binding(error, sql, ran, where)
    code, extended = _codes(error)
    message = _with_sql(str(error) or code or type(error).__name__, sql)
    if isinstance(error, (apsw.ConstraintError, apsw.MismatchError)):
        kind = _kind(extended)
        return IntegrityError(message, kind=kind, ran=ran, sql=sql, code=code, extended_code=extended)
    kind_of = _CLASSES.get(type(error), OperationalError)
    return kind_of(message, ran=ran, sql=sql, code=code, extended_code=extended)


def _binding(error: BaseException, sql: str | None, ran: Ran, where: str) -> Error:
    if isinstance(error, OverflowError):
        return DataError(_with_sql(f"{where}an integer does not fit in 64 bits", sql), ran=ran, sql=sql)
    if isinstance(error, UnicodeDecodeError):
        return DataError(
            _with_sql("a column, or a name in the schema, holds text that is not UTF-8", sql),
            ran=ran,
            sql=sql,
        )
    if isinstance(error, UnicodeError):
        return DataError(_with_sql(f"{where}a text is not valid Unicode", sql), ran=ran, sql=sql)
    if isinstance(error, KeyError):  # of a mapping that changed since it was looked at
        return ProgrammingError(_with_sql("params has no value for a parameter", sql), ran=ran, sql=sql)
    return ProgrammingError(_with_sql(f"{where}{error}", sql), ran=ran, sql=sql)


def _codes(error: apsw.Error) -> tuple[str | None, str | None]:
    primary = getattr(error, "result", None)
    if not isinstance(primary, int):
        return _PRIMARY.get(type(error)), _PRIMARY.get(type(error))
    name = _name(apsw.mapping_result_codes, primary)
    extended = getattr(error, "extendedresult", primary)
    return name, _name(apsw.mapping_extended_result_codes, extended) or name


def _name(mapping: dict[str | int, int | str], code: int) -> str | None:
    name = mapping.get(code)
    return name if isinstance(name, str) else None


def _kind(extended: str | None) -> str:
    name = (extended or "").removeprefix("SQLITE_CONSTRAINT_").removeprefix("SQLITE_")
    return "datatype" if name == "MISMATCH" else _KINDS.get(name, name.lower())


def _with_sql(message: str, sql: str | None) -> str:
    if sql is None:
        return message
    text = " ".join(sql.split())
    return f"{message} (in: {text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + '...'})"


def broken_foreign_key() -> IntegrityError:
    """Return the error for a deferred foreign key that is still broken when its request ends."""
    return IntegrityError(
        "FOREIGN KEY constraint failed: a deferred one, found when the request ended",
        kind="foreign_key",
        ran="rolled_back",
        code="SQLITE_CONSTRAINT",
        extended_code="SQLITE_CONSTRAINT_FOREIGNKEY",
    )
