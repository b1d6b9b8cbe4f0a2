"""Opening a database: its folder, its file, its connections, its migrations, in this order."""

from __future__ import annotations

import _thread
import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from . import clock, contenders, files, forks, presence
from .config import Config, Durability, check_config, check_durability
from .connection import Connection
from .database import Database
from .descriptors import check_alone
from .errors import CannotOpen, MisuseError, NestedWrite, ProgrammingError
from .handle import check_database
from .helpers import apart
from .locks import holding, is_mine
from .migration import Migration
from .migration import check as check_migrations
from .samples import Tally
from .traced import database_of

_log = logging.getLogger(__name__)
_start_new_thread = _thread.start_new_thread


def open(  # noqa: A001 - `onewriter.open` is what a user writes
    path: str | os.PathLike[str],
    *,
    config: Config | None = None,
    durability: Durability = "full",
    migrations: Iterable[Migration] = (),
    read_only: bool = False,
) -> Database:
    """Open the database at *path*, and create it where it is missing; apply what is pending of *migrations*.

    Folders that are missing are created with mode 0700, the file with 0600; a wider mode of a file that exists is
    narrowed (``Config(file_mode=...)``). Waits up to ``Config.migrate_timeout_s`` for other processes that open or
    migrate at the same time.

    Args:
        path: a file's path; ``:memory:`` and ``file:`` names are refused.
        config: the limits; `Config` has the defaults.
        durability: ``full`` syncs each commit, so that it survives a loss of power; ``normal`` survives a crash of
            the process (https://sqlite.org/pragma.html#pragma_synchronous).
        migrations: in ascending order.
        read_only: open no writing connection; the file must exist.

    Raises:
        CannotOpen, NotADatabase, ReadOnlyDatabase, CorruptDatabase: the file was left as it is; the message names it.
        WriteTimeout: another connection kept the file locked past ``Config.migrate_timeout_s``.
        MisuseError: this process has the file open by other means, whose close would drop our locks.
        MigrationError: see `Database.migrate`.
    """
    config = check_config(config)
    durability = check_durability(durability)
    checked = check_migrations(migrations)
    if read_only and checked:
        msg = "migrations need a database that is opened for writing, not read_only=True"
        raise ProgrammingError(msg)
    real = files.real_path(path)
    deadline = clock.now() + config.migrate_timeout_s
    forks.shed_inherited(real)
    check_alone(real)
    if checked and presence.is_writing(real):
        msg = f"{real}: this thread is writing to the file, and its migrations would wait for it; leave the write first"
        raise NestedWrite(msg)
    _prepare(real, config, read_only=read_only)
    heard = Tally()
    if read_only:
        _try_reader(real, config, durability, heard)
        return database_of(real, config, durability, None, heard)
    connection = Connection(
        real, config=config, durability=durability, read_only=False, deadline=deadline, heard=heard
    )
    try:
        # Again: SQLite gives what it makes beside a database the mode of what has its name at that moment.
        files.narrow(real, config.file_mode)
        contenders.join(real, config.file_mode, connection)
        database = database_of(real, config, durability, connection, heard)
    except BaseException:
        try:
            _abandon(connection)
        except BaseException:  # an interrupt struck here too: nothing is called before this
            _start_new_thread(apart, ("rescue", _abandon, connection))
            raise
        raise
    try:
        if checked:
            database.migrate(checked)
    except BaseException as error:
        database.__exit__(type(error), error, None)  # it keeps quiet of what an interrupt has left open
        raise
    return database


def _abandon(connection: Connection) -> None:
    """Close what was opened for a database that there will not be; a second time does nothing."""
    connection.close()
    if connection.turn is not None:
        connection.turn.leave()


def _try_reader(path: Path, config: Config, durability: Durability, heard: Tally) -> None:
    """Open a reader and close it, so that what is wrong with the file is told now, not by the first query."""
    deadline = clock.now() + config.read_timeout_s
    Connection(
        path, config=config, durability=durability, read_only=True, deadline=deadline, heard=heard
    ).close()


_opening = threading.RLock()  # re-entrant so that it can be told whose it is, and for `holding`


def _prepare(path: Path, config: Config, *, read_only: bool) -> None:
    """Make sure that a database may be opened at *path*, and that it is private before SQLite sees it."""
    if read_only:
        if files.look_at(path) is None:
            msg = f"cannot open {path}: there is no such file, and read_only=True creates none"
            raise CannotOpen(msg)
        files.check_readable(path)
        check_database(path, config.vfs)
        return
    if is_mine(_opening):
        msg = f"cannot open {path}: a signal handler or a finalizer asks for it in the middle of another opening"
        raise MisuseError(msg)
    if not holding(_opening, _made_or_checked, path, config):  # so that no other thread has it open meanwhile
        _warn_of_links(path)


def _made_or_checked(path: Path, config: Config) -> bool:
    """Create the file where it is missing, and return True; or see that it may be opened, and narrow it."""
    if files.look_at(path) is None:
        files.make_folder(path.parent)
        if files.create(path, config.file_mode):
            return True
    files.check_readable(path)
    check_database(path, config.vfs)
    files.check_writable(path)
    files.narrow(path, config.file_mode)
    return False


def _warn_of_links(path: Path) -> None:
    """Say so where the file has another name: SQLite keeps a WAL for each name, and two of them destroy each other.

    https://sqlite.org/howtocorrupt.html#_multiple_links_to_the_same_file
    """
    state = files.look_at(path)
    if state is not None and state.st_nlink > 1:
        _log.warning(
            "%s has %d names (hard links): a process that opens it by another one loses data, its own and yours",
            path,
            state.st_nlink,
        )


def _after_fork() -> None:
    global _opening  # noqa: PLW0603 - another thread of the parent may have held it
    _opening = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
