"""Which SQL a caller may run: the authorizer of a connection.

SQLite asks it while a statement is compiled (https://sqlite.org/c3ref/set_authorizer.html). It is set once a
connection, since setting it expires every prepared statement, and consults a flag instead.

A1  A caller's SQL never begins, ends or nests a transaction, attaches a file, changes a setting of the connection, or
    leaves a TEMP object on it: all that belongs to the write line or the pool.
A2  A reader's SQL changes nothing, TEMP tables included. Its connection is read-only, so SQLite itself refuses to
    change the file; virtual tables (R-tree) compile statements that write as they open, so these may be compiled.
A3  APSW caches compiled statements by their text and does not ask again. So the library's own statements carry a
    secret that no caller's text has: see `own`.
"""

from __future__ import annotations

import os
from typing import Final

import apsw

_SECRET: Final = os.urandom(8).hex()
SAVEPOINT: Final = f"onewriter_{_SECRET}"

_ADVICE = {
    "BEGIN": "a transaction is open already; db.transaction() and db.write() make one",
    "COMMIT": "leave the block or return from the function to commit",
    "ROLLBACK": "raise an exception to roll back, or use tx.savepoint()",
    "SAVEPOINT": "use tx.savepoint()",
    "RELEASE": "use tx.savepoint()",
    "ATTACH": "one Database is one file; open the other one with onewriter.open() (VACUUM attaches one too: "
    "db.snapshot() makes a compact copy)",
    "DETACH": "one Database is one file",
    "load_extension": "load it in Config(on_connect=...)",
}
# Pragmas that only tell something, whatever their argument.
_TELLING = frozenset(
    {
        "collation_list",
        "compile_options",
        "database_list",
        "foreign_key_check",
        "foreign_key_list",
        "function_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "module_list",
        "pragma_list",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
    }
)
# Pragmas that act even without an argument.
_ACTING = frozenset({"incremental_vacuum", "optimize", "shrink_memory", "wal_checkpoint"})
# Pragmas whose change is a part of the transaction, or ends with it.
_TRANSACTIONAL = frozenset({"application_id", "user_version"})
_CREATES_TEMP = frozenset(
    {
        apsw.SQLITE_CREATE_TEMP_INDEX,
        apsw.SQLITE_CREATE_TEMP_TABLE,
        apsw.SQLITE_CREATE_TEMP_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_VIEW,
    }
)
_SCHEMA_TABLES = frozenset({"sqlite_master", "sqlite_temp_master"})
_TRUE = frozenset({"on", "true", "yes"})
_READS = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE})
_TEMP_PRAGMA: Final = "a pragma of the schema temp would change the connection for all"
WOULD_WRITE: Final = "it would write; writes go through db.execute() or db.write()"


def own(sql: str) -> str:
    """Return *sql* as a text that no caller can have (A3)."""
    return f"{sql} /*{_SECRET}*/"


class Guard:
    """The authorizer of one connection; only the thread that uses the connection touches it."""

    __slots__ = ("asked", "deferred", "read_only", "refused", "trusted")

    def __init__(self, *, read_only: bool) -> None:
        """Guard a reader's connection where *read_only*, else the writer's."""
        self.read_only = read_only
        self.trusted = False  # while the library's own statements are compiled
        self.refused = ""  # what was refused last, and what to do instead
        self.deferred = False  # a caller has used defer_foreign_keys: it must be reset after each request
        self.asked = True  # a caller's text was compiled, perhaps for a changed schema: see `executor`, N7

    def __call__(
        self, action: int, one: str | None, two: str | None, schema: str | None, _by: str | None
    ) -> int:
        """Answer SQLite's question, and keep the reason of a refusal."""
        if self.trusted:
            return apsw.SQLITE_OK
        self.asked = True
        if action in _READS:
            return apsw.SQLITE_OK
        refused = self._refusal(action, one or "", two, schema)
        if refused is None:
            return apsw.SQLITE_OK
        self.refused = refused
        return apsw.SQLITE_DENY

    def _refusal(self, action: int, one: str, two: str | None, schema: str | None) -> str | None:
        if action == apsw.SQLITE_TRANSACTION:
            return _refuse(one)
        if action == apsw.SQLITE_SAVEPOINT:
            return (
                None if (two or "").startswith(SAVEPOINT) else _refuse("SAVEPOINT" if one == "BEGIN" else one)
            )
        if action in (apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH):
            return _refuse("ATTACH" if action == apsw.SQLITE_ATTACH else "DETACH")
        if action == apsw.SQLITE_FUNCTION:
            return _refuse("load_extension") if two == "load_extension" else None
        if action == apsw.SQLITE_PRAGMA:
            return self._pragma(one.lower(), two) if schema != "temp" or two is None else _TEMP_PRAGMA
        # "CREATE TABLE temp.x" has the code of an ordinary table: that a TEMP object is written down tells of it.
        if action in _CREATES_TEMP or (
            action == apsw.SQLITE_INSERT and schema == "temp" and one in _SCHEMA_TABLES
        ):
            return "a TEMP object would outlive its request and shadow what others use: use WITH, or a table"
        if self.read_only and schema == "temp":
            return WOULD_WRITE
        return None

    def _pragma(self, name: str, argument: str | None) -> str | None:
        if name in _TELLING or (argument is None and name not in _ACTING):
            return None
        if name == "defer_foreign_keys" and not self.read_only:
            # Turning it off forgets the keys that are broken: https://sqlite.org/pragma.html#pragma_defer_foreign_keys
            if not _is_true(argument or ""):
                return "PRAGMA defer_foreign_keys is turned off at the end of the request, once its keys were checked"
            self.deferred = True
            return None
        if name in _TRANSACTIONAL and not self.read_only:
            return None
        return f"PRAGMA {name} would change the connection for all; see Config for its settings"


def _refuse(what: str) -> str:
    return f"{what} is not for callers: {_ADVICE.get(what, 'it would change the connection for all')}"


def _is_true(argument: str) -> bool:
    """Whether SQLite takes *argument* for a truth (https://sqlite.org/pragma.html#syntax), without doubt."""
    return argument.lower() in _TRUE or (argument.isdecimal() and int(argument) != 0)
