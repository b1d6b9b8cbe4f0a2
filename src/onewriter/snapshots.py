"""Snapshots: a copy of the database as one file, made while writers go on; and the way back.

S1  A snapshot is complete or absent: it is made beside its target under another name, checked, made durable, and
    only then given its name.
S2  It is private from its first byte: the file is created with its mode and then filled
    (https://sqlite.org/lang_vacuum.html#vacuuminto takes an empty file and keeps its mode).
S3  A file that exists is not touched unless that was asked for; what is refused or fails leaves nothing behind.
S4  A restored database is the snapshot's content, checked, in WAL mode. A database that exists is replaced inside one
    transaction of SQLite's, never by swapping the file: whoever opens it meanwhile waits or is refused, and cannot go
    on with a file that has lost its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import clock, files, presence
from .config import Config
from .connection import Connection
from .errors import Error, OperationalError, SnapshotError
from .handle import check_database

Progress = Callable[[int, int], object]
_RESTORE_WAIT_S: Final = 5.0
_SHOWN_MAX: Final = 5


def make(
    connection: Connection,
    dest: str | os.PathLike[str],
    config: Config,
    *,
    overwrite: bool,
    progress: Progress | None,
) -> Path:
    """Write what *connection* sees now to *dest* and return its path. *connection* is the caller's own, and idle.

    Raises:
        SnapshotError: it could not be made, or is not sound; *dest* is as it was.
    """
    target = files.real_path(dest)
    _check_target(target, connection.path, overwrite=overwrite)
    files.make_folder(target.parent)
    try:
        with files.unfinished(target, config.file_mode) as made:
            _fill(connection, made, progress)
            _check_content(made, config)
            files.put_in_place(made, target, overwrite=overwrite)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        msg = f"cannot write the snapshot {target}: {error.strerror or error}"
        raise SnapshotError(msg) from error
    except Error as error:
        if isinstance(error, SnapshotError):
            raise
        msg = f"cannot make the snapshot {target} of {connection.path}: {error}"
        raise SnapshotError(msg) from error
    return target


def restore(
    snapshot: str | os.PathLike[str], dest: str | os.PathLike[str], config: Config | None = None
) -> Path:
    """Make *dest* a database with the content of *snapshot*, checked, in WAL mode, private; return its path.

    A database at *dest* that nobody has open is replaced, whole or not at all; folders that are missing are created.

    Raises:
        SnapshotError: *snapshot* is missing or not sound, or *dest* is in use or no database; *dest* is as it was.
    """
    config = config or Config()
    source_path, target = files.real_path(snapshot), files.real_path(dest)
    if source_path == target:
        msg = f"cannot restore {target} from itself"
        raise SnapshotError(msg)
    try:
        if files.look_at(source_path) is None:
            msg = f"there is no snapshot {source_path}"
            raise SnapshotError(msg)
        _check_content(source_path, config)
        files.make_folder(target.parent)
        if files.look_at(target) is None:
            with files.unfinished(target, config.file_mode) as made:
                _copy(source_path, made, config)
                files.put_in_place(made, target, overwrite=False)
        else:
            _replace(source_path, target, config)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        msg = f"cannot restore {target}: {error.strerror or error}"
        raise SnapshotError(msg) from error
    except Error as error:
        if isinstance(error, SnapshotError):
            raise
        msg = f"cannot restore {target} from {source_path}: {error}"
        raise SnapshotError(msg) from error
    return target


def problems(connection: Connection) -> list[str]:
    """Return what SQLite finds wrong with the file of *connection*; empty where it is sound.

    https://sqlite.org/pragma.html#pragma_integrity_check
    """
    try:
        found = [str(row[0]) for row in connection.run_unguarded("PRAGMA integrity_check")]
        orphans = connection.run_unguarded("PRAGMA foreign_key_check")
    except OperationalError as error:
        return [str(error)]
    found = [] if found == ["ok"] else found
    return found + [
        f"{table!s} row {rowid!s}: no such row in {parent!s}" for table, rowid, parent, _key in orphans
    ]


def _check_target(target: Path, source: Path, *, overwrite: bool) -> None:
    if target == source:
        msg = f"a snapshot cannot replace its own database {source}"
        raise SnapshotError(msg)
    if target.is_dir():
        msg = f"cannot write the snapshot {target}: it is a folder; give the path of a file in it"
        raise SnapshotError(msg)
    if target.exists():
        if not overwrite:
            raise _exists(target)
        if presence.is_open(target):
            msg = f"cannot replace {target}: this process has it open as a database"
            raise SnapshotError(msg)


def _exists(target: Path) -> SnapshotError:
    return SnapshotError(f"{target} exists; choose another name, or pass overwrite=True to replace it")


def _fill(connection: Connection, made: Path, progress: Progress | None) -> None:
    connection.unlimited()
    if progress is None:
        connection.run_unguarded("VACUUM INTO ?", (str(made),))
        return
    page_size = _number(connection, "PRAGMA page_size")
    total = _number(connection, "PRAGMA page_count")
    raised: list[BaseException] = []

    def report() -> bool:
        try:
            progress(min(total, made.stat().st_size // page_size), total)
        except BaseException as error:  # noqa: BLE001 - told once SQLite has cleaned up
            raised.append(error)
        return bool(raised)

    connection.set_progress(report)
    try:
        connection.run_unguarded("VACUUM INTO ?", (str(made),))
    except Error:
        if raised:
            raise raised[0] from None
        raise
    finally:
        connection.set_progress(None)
    progress(total, total)


def _number(connection: Connection, sql: str) -> int:
    value = connection.run_unguarded(sql)[0][0]
    assert isinstance(value, int)
    return value


def _check_content(path: Path, config: Config) -> None:
    """Refuse a file that is no sound database. It is nobody's yet, or a finished snapshot: it has no WAL."""
    check_database(path, config.vfs)
    connection = _connect(path, config, read_only=True)
    try:
        found = problems(connection)
    finally:
        connection.close()
    if found:
        more = f" and {len(found) - _SHOWN_MAX} more" if len(found) > _SHOWN_MAX else ""
        msg = f"{path} is not sound: {'; '.join(found[:_SHOWN_MAX])}{more}"
        raise SnapshotError(msg, ran="rolled_back")


def _copy(source_path: Path, made: Path, config: Config) -> None:
    with_wal = _connect(made, config, read_only=False)
    try:
        _pour(source_path, with_wal, config)
        with_wal.use_wal()
    finally:
        with_wal.close()


def _replace(source_path: Path, target: Path, config: Config) -> None:
    if presence.is_open(target):
        msg = f"cannot restore {target}: this process has it open; close it first"
        raise SnapshotError(msg)
    check_database(target, config.vfs)
    files.narrow(target, config.file_mode)
    connection = _connect(target, config, read_only=False)
    try:
        if not connection.set_aside_wal():
            msg = f"cannot restore {target}: another process has it open"
            raise SnapshotError(msg)
        _pour(source_path, connection, config)
        connection.use_wal()
    finally:
        connection.close()


def _pour(source_path: Path, into: Connection, config: Config) -> None:
    source = _connect(source_path, config, read_only=True)
    try:
        into.backup_from(source)
    finally:
        source.close()


def _connect(path: Path, config: Config, *, read_only: bool) -> Connection:
    return Connection(
        path, config=config, durability="full", read_only=read_only, deadline=clock.now() + _RESTORE_WAIT_S
    )
