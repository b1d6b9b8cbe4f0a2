"""SQLite for multithreaded Python services: many readers, one writer, and no ``database is locked``."""

from . import converters
from .blobs import Blob
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
from .migrations import AppliedMigration, Migration, MigrationStatus
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
    "Config",
    "CorruptDatabase",
    "DataError",
    "Database",
    "DatabaseClosed",
    "DiskError",
    "DiskFull",
    "Error",
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
    "OperationalError",
    "OutcomeUnknown",
    "Param",
    "Params",
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
    "Transaction",
    "TransactionEnded",
    "Value",
    "WriteTimeout",
    "WrongThread",
    "converters",
    "open",
    "restore",
]
