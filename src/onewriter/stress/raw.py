"""SQLite as it comes: an APSW connection with nothing of onewriter between.

APSW's stubs name a type that Python 3.11 does not have, which makes every parameter and row unknown to pyright; this
module says once what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import LiteralString, Protocol, cast

import apsw

from .store import Value

_Row = tuple[Value, ...]


class _Cursor(Protocol):
    def fetchall(self) -> list[_Row]: ...


class _Apsw(Protocol):
    in_transaction: bool

    def execute(self, statements: str, bindings: Sequence[Value], /) -> _Cursor: ...
    def set_busy_timeout(self, milliseconds: int, /) -> None: ...
    def close(self) -> None: ...


class Connection:
    """One connection to the database at *path*; it makes the file unless told not to."""

    def __init__(self, path: Path, *, create: bool = True, busy_timeout_ms: int = 0) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
        self._apsw = cast("_Apsw", apsw.Connection(str(path), flags=flags))
        self._apsw.set_busy_timeout(busy_timeout_ms)

    def execute(self, sql: LiteralString, params: Sequence[Value] = (), /) -> list[_Row]:
        """Run *sql* and return all its rows: a statement that was read halfway would keep its snapshot."""
        return self._apsw.execute(sql, params).fetchall()

    def query_one(self, sql: LiteralString, params: Sequence[Value] = (), /) -> _Row | None:
        """Return the first row, or None."""
        rows = self.execute(sql, params)
        return rows[0] if rows else None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._apsw.in_transaction

    def close(self) -> None:
        """Close the connection."""
        self._apsw.close()
