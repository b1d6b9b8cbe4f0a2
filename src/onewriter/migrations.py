"""Migrations: each applied once, in order, whole or not at all, whichever of many starting processes comes first.

M1  The list is checked before anything runs: `migration`.
M2  Each migration has its own transaction, and asks inside it whether it has been applied since.
M3  What is applied is recorded in the table below, to the letter that of the package this one grew out of, so that
    either can go on with the other's file. Checksums lie beside it, in a table of our own.
M4  A migration that is pending is applied, also where a higher one has been; one that the code does not know, or
    that was changed since, is logged and left alone.
M5  With ``rebuild`` foreign keys are off while it runs and are checked before its commit: steps 1, 10 and 12 of
    SQLite's way to change a table (https://sqlite.org/lang_altertable.html#otheralter).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

from . import clock, statements
from .connection import Connection
from .errors import Error, MigrationError, ProgrammingError, Ran, WriteTimeout
from .functions import check_finished, check_function
from .migration import AppliedMigration, Migration, MigrationStatus, check
from .parameters import Params
from .requests import call_back
from .rows import Plain
from .transaction import Transaction
from .turns import Turn
from .writer import Writer

_log = logging.getLogger(__name__)

TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS schema_migrations"
    "(version INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT '', applied_at TEXT NOT NULL DEFAULT '')"
)
_CHECKSUMS: Final = (
    "CREATE TABLE IF NOT EXISTS onewriter_migrations"
    "(version INTEGER PRIMARY KEY, checksum TEXT NOT NULL) STRICT"
)
_HAS_TABLE: Final = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?"
_ORPHANS_SHOWN: Final = 5


def apply(writer: Writer, path: Path, migrations: Iterable[Migration], timeout_s: float) -> None:
    """Apply what is pending of *migrations*, in order; waits up to *timeout_s* for another process's.

    Raises:
        MigrationError: the list is wrong, or one failed; that one left nothing, those before it stay.
        WriteTimeout: another process kept the file past *timeout_s*.
    """
    checked = check(migrations)
    deadline = clock.now() + timeout_s
    callbacks: list[Callable[[], object]] = []
    try:
        with Turn(writer, timeout_s) as connection:
            connection.busy_until = deadline
            state = _compare(connection, checked)
            _warn(path, state)
            for each in checked:
                callbacks += _apply_one(writer, connection, path, each, deadline)
            if (
                state.pending and state.applied and writer.config.optimize
            ):  # a new file has nothing to look at
                connection.optimize()
    finally:  # of those that were committed
        call_back(callbacks, path)


def status(connection: Connection, migrations: Iterable[Migration]) -> MigrationStatus:
    """Compare *migrations* with what the file of *connection* has."""
    return _compare(connection, check(migrations))


def schema_version(connection: Connection) -> int:
    """Return the highest version that was applied, 0 where none was."""
    if not _has(connection, "schema_migrations"):
        return 0
    rows = _ask(connection, "SELECT coalesce(max(version), 0) FROM schema_migrations")
    return cast("int", rows[0][0])


def _ask(connection: Connection, sql: str, params: Params = ()) -> list[Plain]:
    try:
        return connection.run_unguarded(sql, params)
    except ProgrammingError as error:
        msg = f"{connection.path} has a table of migrations that is not of this package: {error}"
        raise MigrationError(msg) from error


def _has(connection: Connection, table: str) -> bool:
    return connection.run_unguarded(_HAS_TABLE, (table,))[0][0] == 1


def _compare(connection: Connection, migrations: Sequence[Migration]) -> MigrationStatus:
    applied: dict[int, AppliedMigration] = {}
    sums: dict[int, str] = {}
    if _has(connection, "schema_migrations"):
        for version, name, at in _ask(
            connection, "SELECT version, name, applied_at FROM schema_migrations ORDER BY version"
        ):
            applied[cast("int", version)] = AppliedMigration(
                version=cast("int", version), name=str(name), applied_at=str(at)
            )
    if _has(connection, "onewriter_migrations"):
        rows = _ask(connection, "SELECT version, checksum FROM onewriter_migrations")
        sums = {cast("int", version): str(checksum) for version, checksum in rows}
    known = {each.version for each in migrations}
    return MigrationStatus(
        applied=tuple(applied.values()),
        pending=tuple(each for each in migrations if each.version not in applied),
        unknown=tuple(each for each in applied.values() if each.version not in known),
        changed=tuple(
            each
            for each in migrations
            if each.version in applied
            and each.version in sums
            and each.checksum() not in (None, sums[each.version])
        ),
    )


def _warn(path: Path, state: MigrationStatus) -> None:
    for each in state.unknown:
        _log.warning("%s: migration %d (%s) is applied but the code has none", path, each.version, each.name)
    for changed in state.changed:
        _log.warning(
            "%s: migration %d (%s) was changed since it was applied", path, changed.version, changed.name
        )


def _apply_one(
    writer: Writer, connection: Connection, path: Path, migration: Migration, deadline: float
) -> list[Callable[[], object]]:
    """Apply *migration* unless it is there, in a transaction of its own (M2); return what it gave to after_commit."""
    if _is_applied(connection, migration):
        return []
    try:
        if migration.rebuild:
            connection.set_foreign_keys(on=False)
        if not connection.take_turn(deadline) or not connection.begin_write(deadline):
            who = writer.locked()
            msg = f"migration {migration.version} ({migration.name}) had no turn: {who}"
            raise WriteTimeout(msg, held_by=who.held_by, pid=who.pid)
        if _is_applied(connection, migration):
            connection.rollback()
            return []
        connection.start_request()
        connection.unlimited()
        callbacks = _run(connection, migration)
        _record(connection, migration)
        _commit(writer, migration)
    except BaseException:
        connection.rollback()
        raise
    finally:
        if migration.rebuild:
            connection.set_foreign_keys(on=True)
    _log.info("%s: applied migration %d (%s)", path, migration.version, migration.name)
    return callbacks


def _is_applied(connection: Connection, migration: Migration) -> bool:
    if not _has(connection, "schema_migrations"):
        return False
    sql = "SELECT 1 FROM schema_migrations WHERE version = ?"
    return bool(_ask(connection, sql, (migration.version,)))


def _run(connection: Connection, migration: Migration) -> list[Callable[[], object]]:
    callbacks: list[Callable[[], object]] = []
    try:
        if isinstance(migration.sql, str):
            for statement in statements.split(migration.sql):
                _run_statement(connection, migration, statement)
        else:
            callbacks = _run_function(connection, migration, migration.sql)
    finally:
        connection.end_request()
    if migration.rebuild:
        _check_foreign_keys(connection, migration)
    return callbacks


def _run_statement(connection: Connection, migration: Migration, statement: statements.Statement) -> None:
    try:
        connection.rows(statement.text, ())
    except Error as error:
        problem = f"failed at line {statement.line}: {error}"
        raise _failure(migration, problem, statement=statement.text, line=statement.line) from error


def _run_function(
    connection: Connection, migration: Migration, work: Callable[[Transaction], object]
) -> list[Callable[[], object]]:
    transaction = Transaction(connection)
    try:
        check_function(work)
        check_finished(work(transaction))
        connection.check_alive()
    except Exception as error:
        statement = error.sql if isinstance(error, Error) else None
        problem = f"failed: {str(error) or type(error).__name__}"
        raise _failure(migration, problem, statement=statement) from error
    finally:
        callbacks = transaction.end()
    return callbacks or []


def _check_foreign_keys(connection: Connection, migration: Migration) -> None:
    try:
        orphans = connection.run_unguarded("PRAGMA foreign_key_check")
    except Error as error:
        raise _failure(migration, f"leaves foreign keys that cannot be checked: {error}") from error
    if orphans:
        shown = ", ".join(
            f"{table!s} row {rowid!s} -> {parent!s}"
            for table, rowid, parent, _key in orphans[:_ORPHANS_SHOWN]
        )
        more = f" and {len(orphans) - _ORPHANS_SHOWN} more" if len(orphans) > _ORPHANS_SHOWN else ""
        raise _failure(migration, f"leaves broken foreign keys: {shown}{more}")


def _record(connection: Connection, migration: Migration) -> None:
    try:
        _write_rows(connection, migration)
    except Error as error:
        raise _failure(migration, f"could not be recorded: {error}") from error


def _write_rows(connection: Connection, migration: Migration) -> None:
    connection.run_unguarded(TABLE)
    connection.run_unguarded(_CHECKSUMS)
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    connection.run_unguarded(
        "INSERT INTO schema_migrations(version, name, applied_at) VALUES (?, ?, ?)",
        (migration.version, migration.name, at),
    )
    checksum = migration.checksum()
    if checksum is not None:
        connection.run_unguarded(
            "INSERT OR REPLACE INTO onewriter_migrations(version, checksum) VALUES (?, ?)",
            (migration.version, checksum),
        )


def _commit(writer: Writer, migration: Migration) -> None:
    try:
        writer.batch.commit_turn()
    except Error as error:
        raise _failure(migration, f"could not be committed: {error}", ran=error.ran) from error


def _failure(
    migration: Migration,
    problem: str,
    *,
    statement: str | None = None,
    line: int | None = None,
    ran: Ran = "rolled_back",
) -> MigrationError:
    msg = f"migration {migration.version} ({migration.name}) {problem}"
    return MigrationError(
        msg, version=migration.version, name=migration.name, statement=statement, line=line, ran=ran
    )
