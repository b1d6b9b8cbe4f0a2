"""Snapshots: a copy of the database as one file, made while writers go on; and the way back.

S1  A snapshot is complete or absent: it is made beside its target under another name, checked, made durable, and
    only then given its name.
S2  It is private from its first byte: the file is created with its mode and then filled
    (https://sqlite.org/lang_vacuum.html#vacuuminto takes an empty file and keeps its mode). Where that was taken away
    meanwhile SQLite makes no other one.
S3  A file that exists is not touched unless that was asked for; what is refused or fails leaves nothing behind.
S4  A restored database is the snapshot's content, checked, in WAL mode. A database that exists is replaced inside one
    transaction of SQLite's, never by swapping the file: whoever opens it meanwhile waits or is refused, and cannot go
    on with a file that has lost its name.
S5  No file is given a name that has another's ``-wal`` or ``-journal`` beside it: SQLite would apply that to it.

A process that is killed on the way can leave a private file ``.<name>.<random>.part``, and its ``-journal``; they may
be deleted when no snapshot to that name is under way. The next snapshot does not do it, since it cannot know that: the
maker's number says nothing to another container, age nothing of a check that takes hours or of another machine's clock,
and a lock is lost where SQLite, which opens and closes that file itself, has its locks of the same kind (NFS).
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Final

from . import clock, drafts, files, forks, presence
from .config import Config, check_config
from .connection import Connection
from .descriptors import check_alone
from .errors import CannotOpen, Error, ProgrammingError, ReadTimeout, SnapshotError, WriteTimeout, quoted
from .functions import check_progress
from .handle import check_database, existing

_log = logging.getLogger(__name__)
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
    if progress is not None:
        check_progress(progress)
    try:
        with _told_as(f"cannot make the snapshot {_text(dest)} of {connection.path}"):
            target = files.real_path(dest)
            _check_target(target, connection.path, overwrite=overwrite)
            with files.folder_for(target), drafts.unfinished(target, config.file_mode) as made:
                _fill(connection, made.path, progress)
                _check_content(made.path, config)
                _put_in_place(made, target, overwrite=overwrite)
    except _Stopped as stopped:
        raise stopped.error from stopped.error.__cause__
    return target


def restore(
    snapshot: str | os.PathLike[str], dest: str | os.PathLike[str], config: Config | None = None
) -> Path:
    """Make *dest* a database with the content of *snapshot*, checked, in WAL mode, private; return its path.

    A database at *dest* that nobody has open is replaced, whole or not at all; folders that are missing are created.

    Raises:
        SnapshotError: *snapshot* is missing or not sound, or *dest* is in use or no database; *dest* is as it was, or
            with ``ran`` "unknown", where the disk failed at the very end, replaced.
    """
    config = check_config(config)
    with _told_as(f"cannot restore {_text(dest)} from {_text(snapshot)}"):
        source, target = files.real_path(snapshot), files.real_path(dest)
        forks.shed_inherited(target)
        check_alone(target)
        if files.look_at(source) is None:
            msg = f"there is no snapshot {source}"
            raise SnapshotError(msg)
        files.check_readable(source)
        exists = files.look_at(target) is not None
        if source == target or (exists and source.samefile(target)):
            msg = f"cannot restore {target} from itself"
            raise SnapshotError(msg)
        _check_content(source, config)
        if exists:
            _replace(source, target, config)
        else:
            with files.folder_for(target), drafts.unfinished(target, config.file_mode) as made:
                _copy(source, made.path, config)
                _put_in_place(made, target, overwrite=False)
    return target


def _text(path: object) -> str:
    return str(path) if isinstance(path, Path) else path if type(path) is str else quoted(path)


@contextlib.contextmanager
def _told_as(what: str) -> Generator[None]:
    """Raise what fails in the block as a SnapshotError that begins with *what*; wrong arguments stay what they are."""
    try:
        yield
    except (Error, OSError) as error:
        is_of_arguments = isinstance(error, ProgrammingError) and error.code is None
        if isinstance(error, SnapshotError) or is_of_arguments:
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        msg = f"{what}: {reason}"
        raise SnapshotError(msg) from error


def problems(connection: Connection) -> list[str]:
    """Return what SQLite finds wrong with the file of *connection*; empty where it is sound.

    https://sqlite.org/pragma.html#pragma_integrity_check
    """
    found = _damage(connection)
    try:
        return found + _orphans(connection)
    except (ReadTimeout, WriteTimeout):
        raise  # it could not be looked at, which says nothing of what is in it
    except Error as error:
        return [*found, str(error)]


def _damage(connection: Connection) -> list[str]:
    found, ended_by = connection.integrity()
    return found if ended_by is None else [*found, str(ended_by)]


def _orphans(connection: Connection) -> list[str]:
    orphans = connection.run_unguarded("PRAGMA foreign_key_check")
    return [f"{table!s} row {rowid!s}: no such row in {parent!s}" for table, rowid, parent, _key in orphans]


def _check_target(target: Path, source: Path, *, overwrite: bool) -> None:
    if target == source:
        msg = f"a snapshot cannot replace its own database {source}"
        raise SnapshotError(msg)
    if files.look_at(target) is not None:
        if not overwrite:
            raise _exists(target)
        if presence.is_open(target):
            msg = f"cannot replace {target}: this process has it open as a database"
            raise SnapshotError(msg)
    _check_alone(target)


def _check_alone(target: Path) -> None:
    """Refuse a name with another file's log beside it (S5)."""
    log = files.log_beside(target)
    if log is not None:
        msg = (
            f"cannot write {target}: {log} is beside it, so a database of that name is open or was not closed; "
            "close it, or choose another name"
        )
        raise SnapshotError(msg)


def _put_in_place(made: drafts.Draft, target: Path, *, overwrite: bool) -> None:
    _check_alone(target)
    try:
        drafts.put_in_place(made, target, overwrite=overwrite)
    except FileExistsError:
        raise _exists(target) from None


def _exists(target: Path) -> SnapshotError:
    return SnapshotError(f"{target} exists; choose another name, or pass overwrite=True to replace it")


class _Stopped(Exception):
    """The caller's progress function raised *error*."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def _fill(connection: Connection, made: Path, progress: Progress | None) -> None:
    if progress is None:
        connection.run_unguarded("VACUUM INTO ?", (existing(made),))
        return
    page_size = _number(connection, "PRAGMA page_size")
    total = _number(connection, "PRAGMA page_count")
    raised: list[BaseException] = []
    so_far = 0

    def report(done: int | None = None) -> bool:
        nonlocal so_far
        try:
            with contextlib.suppress(CannotOpen):  # what keeps it from being looked at is SQLite's to tell
                so_far = min(total, files.size(made) // page_size) if done is None else done
            progress(so_far, total)
        except BaseException as error:  # noqa: BLE001 - told once SQLite has cleaned up
            raised.append(error)
        return bool(raised)

    connection.set_progress(report)
    try:
        connection.run_unguarded("VACUUM INTO ?", (existing(made),))
    except Error:
        if not raised:
            raise
    finally:
        connection.set_progress(None)
    if raised or report(total):
        raise _Stopped(raised[0])


def _number(connection: Connection, sql: str) -> int:
    value = connection.run_unguarded(sql)[0][0]
    assert isinstance(value, int)
    return value


def _check_content(path: Path, config: Config) -> None:
    """Refuse a file that is no sound database.

    A row whose foreign key leads nowhere is no damage: who has such rows needs backups too.
    """
    check_database(path, config.vfs)
    connection = _connect_source(path, config)
    try:
        found = _damage(connection)
    except Error as error:  # others keep it locked
        found = [str(error)]
    finally:
        connection.close()
    if found:
        more = f" and {len(found) - _SHOWN_MAX} more" if len(found) > _SHOWN_MAX else ""
        msg = f"{path} is not sound: {'; '.join(found[:_SHOWN_MAX])}{more}"
        raise SnapshotError(msg, ran="rolled_back")


def _copy(source_path: Path, made: Path, config: Config) -> None:
    with_wal = _connect(made, config)
    try:
        _pour(source_path, with_wal, config, new=True)
        with_wal.use_wal()
        with_wal.checkpoint("TRUNCATE")  # as the close would, which tells nobody why it could not
    finally:
        with_wal.close()
    # The close leaves there what the disk does not take, and only logs that.
    if files.log_beside(made) is not None:
        msg = f"cannot make {made}: the disk did not take all of it; the log has what it said"
        raise SnapshotError(msg, ran="rolled_back")


def _replace(source_path: Path, target: Path, config: Config) -> None:
    if presence.is_open(target):
        msg = f"cannot restore {target}: this process has it open; close it first"
        raise SnapshotError(msg)
    check_database(target, config.vfs)
    files.check_writable(target)
    connection = _connect(target, config)
    try:
        if not connection.set_aside_wal():
            msg = f"cannot restore {target}: another process has it open"
            raise SnapshotError(msg)
        files.narrow(target, config.file_mode)
        _pour_over(source_path, connection, config)
        try:
            connection.use_wal()
        except Error as error:  # it is replaced, and whoever opens it does this too
            _log.warning("%s is restored, but not in WAL mode until it is opened: %s", target, error)
    finally:
        connection.close()


def _pour_over(source_path: Path, into: Connection, config: Config) -> None:
    """Do what `_pour` does where there is something that may be lost by it."""
    try:
        _pour(source_path, into, config)
    except Error as error:
        if error.ran != "unknown":
            raise
        msg = f"{into.path} is replaced, or as it was: the disk failed at the commit: {error}"
        raise SnapshotError(msg, ran="unknown") from error


def _pour(source_path: Path, into: Connection, config: Config, *, new: bool = False) -> None:
    source = _connect_source(source_path, config)
    try:
        if new:
            into.use_pages_of(source.page_bytes())
        into.backup_from(source)
    finally:
        source.close()


def _connect(path: Path, config: Config) -> Connection:
    deadline = clock.now() + _RESTORE_WAIT_S
    config = replace(config, checkpoint="auto")  # what is made here is whole without a WAL
    return Connection(path, config=config, durability="full", read_only=False, deadline=deadline)


def _connect_source(path: Path, config: Config) -> Connection:
    """Read the finished file *path*: without a lock or a file beside it, unless a log there has a part of it."""
    return Connection(
        path,
        config=config,
        durability="full",
        read_only=True,
        deadline=clock.now() + _RESTORE_WAIT_S,
        immutable=files.log_beside(path) is None,
    )
