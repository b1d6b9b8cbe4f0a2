"""SQLite for multithreaded Python services: many readers, one writer, and no ``database is locked``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from . import aio

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
    "aio",
    "converters",
    "open",
    "restore",
]


if not TYPE_CHECKING:  # or type checkers would take every name for one that is there

    def __getattr__(name: str) -> object:
        """Load `onewriter.aio` at its first use: asyncio takes longer to load than all of this."""
        if name == "aio":
            return importlib.import_module("onewriter.aio")
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
