"""What can be seen of a database file from outside, without disturbing those who use it.

O1  Nothing is written, and no turn or lock that others could wait for is taken: others' locks are asked after.
O2  Its content is read as it lies there, without a lock or a file beside it, while nobody has written since the WAL
    was last empty. Else it is read like any reader, and where that cannot be (the file is locked as a whole, SQLite
    cannot make its ``-shm``), as it lies there all the same, and it is told that the rest is missing.
O3  It waits for others for ``_WAIT_S`` at most.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from . import blockers, clock, files, forks, lookout
from . import migrations as migrating
from .config import Config
from .connection import Connection
from .descriptors import check_alone
from .errors import CannotOpen, Error, MigrationError, NotADatabase, ProgrammingError
from .handle import check_database
from .lookout import Waiter
from .migration import AppliedMigration, Migration, MigrationStatus
from .migration import check as check_migrations
from .turnfile import Unusable

_WAIT_S: Final = 0.5
_TABLES: Final = (
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 7) != 'sqlite_' ORDER BY name"
)
_TICK_NS: Final = 100_000_000  # two changes within less may have the same time
_COMMAND_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInfo:
    """A process that uses a database file.

    Attributes:
        pid: its number; None where it cannot be seen from here, in another container.
        command: its command line, up to 200 characters; None where the system does not tell (Linux does).
        for_s: for how many seconds it has had the turn, or has waited for it; None where that does not apply, or cannot
            be told.
    """

    pid: int | None
    command: str | None
    for_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """What a database file holds, in one snapshot of it.

    Attributes:
        page_bytes: the size of a page.
        pages: how many pages it has.
        free_pages: how many of them are free; `Database.vacuum` gives them back.
        journal_mode: ``wal``, or ``rollback`` for every other, which the file does not tell apart
            (https://sqlite.org/fileformat2.html#file_format_version_numbers).
        user_version: SQLite's number for the program's own use (https://sqlite.org/pragma.html#pragma_user_version).
        application_id: SQLite's number for the kind of file (https://sqlite.org/pragma.html#pragma_application_id).
        schema_version: the highest migration that was applied, 0 where none was; None where its ``schema_migrations``
            is another package's.
        applied: the migrations that were applied, in ascending order.
        migrations: how those that were asked about compare with these; None where none were, or where that cannot be
            told.
        tables: the names of its tables in alphabetical order, with the number of rows where that was asked for; None
            where it was not, or where a table cannot be read (a virtual table whose module is not loaded).
        is_whole: whether it is all that was committed; False where what the WAL holds could not be read.
    """

    page_bytes: int
    pages: int
    free_pages: int
    journal_mode: str
    user_version: int
    application_id: int
    schema_version: int | None
    applied: tuple[AppliedMigration, ...]
    migrations: MigrationStatus | None
    tables: Mapping[str, int | None]
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStatus:
    """A database file at one moment, seen from outside.

    Who has which lock is what the system tells (Linux does; elsewhere the processes that are not of onewriter, and
    readers, are not seen).

    Attributes:
        path: its absolute path, links resolved.
        file_bytes: the size of the file.
        wal_bytes: the size of its ``-wal``, 0 where there is none.
        content: what it holds; None where that was not asked for, or could not be read.
        problem: why not, or why not all of it; None where nothing is missing.
        turn: who has the write turn among the processes of onewriter. One that is alone needs none, and has none.
        turn_waits_for_lock: whether that one waits itself, for a lock that somebody else has on the database.
        turn_problem: why the turn could not be looked at; None where it was.
        waiting: who waits for the turn, longest first.
        writers: the processes that have it open for writing through onewriter.
        writing: who has SQLite's write lock, or has locked the whole file.
        readers: who reads what the WAL holds, and so keeps it from starting over.
        others: who else has it open: through onewriter to read alone, or through another library or program.
    """

    path: Path
    file_bytes: int
    wal_bytes: int
    content: FileContent | None
    problem: str | None
    turn: ProcessInfo | None
    turn_waits_for_lock: bool
    turn_problem: str | None
    waiting: tuple[ProcessInfo, ...]
    writers: tuple[ProcessInfo, ...]
    writing: ProcessInfo | None
    readers: tuple[ProcessInfo, ...]
    others: tuple[ProcessInfo, ...]

    @property
    def stranger(self) -> ProcessInfo | None:
        """Who has SQLite's write lock, if it is none of *writers*: onewriter can wait for it, and not queue it."""
        known = {each.pid for each in self.writers}
        return None if self.writing is None or self.writing.pid in known else self.writing


def status(
    path: str | os.PathLike[str],
    *,
    content: bool = True,
    count_rows: bool = False,
    migrations: Iterable[Migration] | None = None,
) -> FileStatus:
    """Return what can be seen of the database at *path*, whoever has it open, also this process.

    Nothing is written or made, but for the ``-shm`` that SQLite needs to read a WAL which a process has left at its
    death. It waits for others for half a second at most; counting rows takes as long as it takes.

    Args:
        path: a file's path, as for `open`.
        content: read what it holds, too; without it SQLite does not open the file, and *migrations* are not compared.
        count_rows: count the rows of each table, which reads all of it.
        migrations: compare them with what was applied.

    Raises:
        CannotOpen, NotADatabase: there is no such file, it is none of SQLite's, or may not be read.
        MisuseError: this process has the file open by other means; see `open`.
        MigrationError: the list of *migrations* is wrong.
    """
    real = files.real_path(path)
    listed = None if migrations is None else check_migrations(migrations)
    if files.look_at(real) is None:
        msg = f"cannot open {real}: there is no such file"
        raise CannotOpen(msg)
    files.check_readable(real)
    turn, turn_problem = _turn(real)
    locks = blockers.locks_of(real)
    held: FileContent | None = None
    problem: str | None = None
    if content:
        forks.shed_inherited(real)
        check_alone(real)
        check_database(real, None)
        held, problem = _content(real, listed, count_rows=count_rows)
    own = set(turn.members)
    return FileStatus(
        path=real,
        file_bytes=files.size(real),
        wal_bytes=files.size(files.beside(real, "-wal")),
        content=held,
        problem=problem,
        turn=None if turn.holder is None else _waiter(turn.holder),
        turn_waits_for_lock=turn.waits_for_lock,
        turn_problem=turn_problem,
        waiting=tuple(map(_waiter, turn.waiting)),
        writers=tuple(map(_process, turn.members)),
        writing=None if locks.writing is None else _process(locks.writing),
        readers=tuple(map(_process, locks.reading)),
        others=tuple(_process(pid) for pid in locks.using if pid not in own),
    )


# --- who


def _turn(path: Path) -> tuple[lookout.Turn, str | None]:
    try:
        return lookout.look(path), None
    except (Unusable, CannotOpen) as error:
        return lookout.Turn(), str(error)
    except OSError as error:
        if not files.is_of_the_system(error):
            raise
        return lookout.Turn(), f"{files.beside(path, files.TURN)}: {error.strerror}"


def _waiter(waiter: Waiter) -> ProcessInfo:
    return _process(waiter.pid, waiter.for_s)


def _process(pid: int | None, for_s: float | None = None) -> ProcessInfo:
    return ProcessInfo(pid=pid, command=None if pid is None else _command(pid), for_s=for_s)


def _command(pid: int) -> str | None:
    """Return the command line of the process, where the system tells; of one that has none (a zombie), its name."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        text = " ".join(words.split()) or Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
        return text if len(text) <= _COMMAND_MAX else f"{text[: _COMMAND_MAX - 1]}…"
    return None


# --- what


def _content(
    path: Path, listed: tuple[Migration, ...] | None, *, count_rows: bool
) -> tuple[FileContent | None, str | None]:
    """Return what the file holds, and what is missing (O2)."""
    before = _state(path)
    if before is not None:
        with suppress(Error):
            seen = _read(path, listed, count_rows=count_rows, immutable=True, is_whole=True)
            if _state(path) == before:
                return seen, None  # nobody has written meanwhile
    try:
        return _read(path, listed, count_rows=count_rows, immutable=False, is_whole=True), None
    except NotADatabase:
        raise
    except Error as error:
        problem = str(error)
    try:
        return _read(path, listed, count_rows=count_rows, immutable=True, is_whole=False), problem
    except Error:
        return None, problem


def _state(path: Path) -> tuple[int, int] | None:
    """Return what changes when the file does; None where others are at work, or may just have been."""
    if any(files.size(files.beside(path, suffix)) for suffix in ("-wal", "-journal")):
        return None
    state = files.look_at(path)
    if state is None or time.time_ns() - state.st_mtime_ns < _TICK_NS:
        return None
    return state.st_mtime_ns, state.st_size


def _read(
    path: Path,
    listed: tuple[Migration, ...] | None,
    *,
    count_rows: bool,
    immutable: bool,
    is_whole: bool,
) -> FileContent:
    deadline = clock.now() + _WAIT_S
    connection = Connection(
        path, config=Config(), durability="full", read_only=True, deadline=deadline, immutable=immutable
    )
    with closing(connection):
        connection.unlimited()
        if not connection.begin_read(deadline):
            raise connection.locked_out()
        compared = _compared(connection, listed or ())
        pages = _number(connection, "PRAGMA page_count")
        return FileContent(
            page_bytes=connection.page_bytes(),
            pages=pages,
            free_pages=_number(connection, "PRAGMA freelist_count"),
            journal_mode="wal" if pages and connection.is_in_wal_mode() else "rollback",
            user_version=_number(connection, "PRAGMA user_version"),
            application_id=_number(connection, "PRAGMA application_id"),
            schema_version=None
            if compared is None
            else max((each.version for each in compared.applied), default=0),
            applied=compared.applied if compared else (),
            migrations=None if listed is None else compared,
            tables=_tables(connection, count_rows=count_rows),
            is_whole=is_whole,
        )


def _compared(connection: Connection, listed: tuple[Migration, ...]) -> MigrationStatus | None:
    """Compare *listed* with what was applied; None where the table is one that only has the same name."""
    try:
        compared = migrating.status(connection, listed)
    except MigrationError:
        return None
    return compared if all(type(each.version) is int for each in compared.applied) else None


def _number(connection: Connection, sql: str) -> int:
    return cast("int", connection.run_unguarded(sql)[0][0])


def _tables(connection: Connection, *, count_rows: bool) -> dict[str, int | None]:
    names = [str(name) for (name,) in connection.run_unguarded(_TABLES)]
    return {name: _rows(connection, name) if count_rows else None for name in names}


def _rows(connection: Connection, table: str) -> int | None:
    quoted = table.replace('"', '""')
    try:
        return _number(connection, f'SELECT count(*) FROM "{quoted}"')  # noqa: S608 - a name of its own schema
    except ProgrammingError:
        return None
