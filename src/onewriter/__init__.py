"""SQLite for multithreaded Python services: many readers, one writer, and no ``database is locked``."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # type checkers know the name; `typing` takes longer to load than this module
if TYPE_CHECKING:
    from . import aio, converters
    from .blobs import Blob
    from .changes import Changes, TableChanges
    from .config import Config
    from .database import Database
    from .errors import (
        CannotOpen,
        CorruptDatabase,
        DatabaseClosed,
        DataError,
        DiskError,
        DiskFull,
        Error,
        ForbiddenStatement,
        ForkedDatabase,
        IntegrityError,
        MigrationError,
        MisuseError,
        NestedRead,
        NestedWrite,
        NotADatabase,
        OperationalError,
        OutcomeUnknown,
        ProgrammingError,
        QueueFull,
        ReadOnlyDatabase,
        ReadTimeout,
        RowMismatch,
        SnapshotError,
        StatementTimeout,
        TransactionEnded,
        WriteTimeout,
        WrongThread,
    )
    from .filestatus import FileContent, FileStatus, ProcessInfo, status
    from .migration import AppliedMigration, Migration, MigrationStatus
    from .observer import Observation
    from .opening import open
    from .parameters import Param, Params
    from .results import Result
    from .rows import Row
    from .samples import Spread
    from .snapshots import restore
    from .stats import Stats
    from .transaction import ReadTransaction, Transaction
    from .values import SQL, Value

__version__ = "0.1.0"

__all__ = [
    "SQL",
    "AppliedMigration",
    "Blob",
    "CannotOpen",
    "Changes",
    "Config",
    "CorruptDatabase",
    "DataError",
    "Database",
    "DatabaseClosed",
    "DiskError",
    "DiskFull",
    "Error",
    "FileContent",
    "FileStatus",
    "ForbiddenStatement",
    "ForkedDatabase",
    "IntegrityError",
    "Migration",
    "MigrationError",
    "MigrationStatus",
    "MisuseError",
    "NestedRead",
    "NestedWrite",
    "NotADatabase",
    "Observation",
    "OperationalError",
    "OutcomeUnknown",
    "Param",
    "Params",
    "ProcessInfo",
    "ProgrammingError",
    "QueueFull",
    "ReadOnlyDatabase",
    "ReadTimeout",
    "ReadTransaction",
    "Result",
    "Row",
    "RowMismatch",
    "SnapshotError",
    "Spread",
    "StatementTimeout",
    "Stats",
    "TableChanges",
    "Transaction",
    "TransactionEnded",
    "Value",
    "WriteTimeout",
    "WrongThread",
    "aio",
    "converters",
    "open",
    "restore",
    "status",
]

# Where the names come from that `errors` does not have.
_HOMES = {
    "AppliedMigration": "migration",
    "Blob": "blobs",
    "Changes": "changes",
    "Config": "config",
    "Database": "database",
    "FileContent": "filestatus",
    "FileStatus": "filestatus",
    "Migration": "migration",
    "MigrationStatus": "migration",
    "Observation": "observer",
    "Param": "parameters",
    "Params": "parameters",
    "ProcessInfo": "filestatus",
    "ReadTransaction": "transaction",
    "Result": "results",
    "Row": "rows",
    "SQL": "values",
    "Spread": "samples",
    "Stats": "stats",
    "TableChanges": "changes",
    "Transaction": "transaction",
    "Value": "values",
    "open": "opening",
    "restore": "snapshots",
    "status": "filestatus",
}
_MODULES = frozenset({"aio", "converters"})


if not TYPE_CHECKING:  # or type checkers would take every name for one that is there

    def __getattr__(name: str) -> object:
        """Load what is asked for at its first use (https://peps.python.org/pep-0562/).

        Who imports the library and uses nothing of it, as a command's ``--help`` does not, does not wait for SQLite,
        and who does not use tasks not for asyncio.
        """
        if name in __all__ and name not in _MODULES:
            home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
            found = globals()[name] = getattr(home, name)
            return found
        module = f"{__name__}.{name}"
        if not name.startswith("_"):
            try:
                return importlib.import_module(module)
            except ModuleNotFoundError as error:
                if error.name != module:
                    raise
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)

    def __dir__() -> list[str]:
        """Return the public names, loaded or not."""
        return sorted({*globals(), *__all__})
