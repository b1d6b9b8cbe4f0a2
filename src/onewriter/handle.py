"""An open SQLite file: opening it, configuring it, waiting for other connections' locks, closing it.

H1  A handle is used by one thread at a time; the write line or the reader pool sees to it.
H2  SQLite asks our busy handler before it gives up on a lock, and the handler keeps the deadline of the call. The
    moments that do not ask it are retried up to the same deadline: the change to WAL, a schema or a WAL that others
    changed again and again while it was read. All of it is counted, by ``heard``.
H3  Its own statements are compiled with the guard's trust, under texts that no caller's SQL can have (see `guard`).
H4  What is no database is found out before anything is changed.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw

from . import errands, files, forks
from .blockers import shut_out
from .config import Config, Durability
from .contenders import Contender
from .descriptors import Account, accounted
from .errors import (
    CannotOpen,
    Error,
    NotADatabase,
    OperationalError,
    ProgrammingError,
    ReadTimeout,
    WriteTimeout,
)
from .guard import Guard, own
from .links import link_laid
from .parameters import Param, Params, native_value
from .rows import Plain
from .samples import Tally
from .translate import translate

_log = logging.getLogger(__name__)
SQLITE_LEAST: Final = (3, 51, 3)
BUSY: Final = (apsw.BusyError, apsw.LockedError)
# The last two: others came in between too often (https://sqlite.org/rescode.html#protocol, #schema).
LOCKED: Final = (*BUSY, apsw.ProtocolError, apsw.SchemaChangeError)
FIX_SNAPSHOT: Final = own("PRAGMA schema_version")  # the first read of a transaction fixes what it sees

_NAME_BYTES: Final = 16  # "SQLite format 3" (https://sqlite.org/fileformat2.html#magic_header_string)
STEPS: Final = 20_000  # of SQLite's machine between two looks at the clock: a few milliseconds
# Paths are resolved: a link in one was laid since (files, F5; https://sqlite.org/c3ref/c_open_autoproxy.html).
_NOFOLLOW: Final = apsw.SQLITE_OPEN_NOFOLLOW
# The second from a VFS written in Python.
_LINK_LAID: Final = ("SQLITE_CANTOPEN_SYMLINK", "SQLITE_OK_SYMLINK")
_URI: Final = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
# Whoever may only read needs the -shm that a writer makes: without it, or before it has content, he is refused. Where
# writers come and go that is over in a moment; else it lasts, so the wait for it is short.
_PASSING: Final = (apsw.CantOpenError, apsw.ReadOnlyError)
_PASSING_S: Final = 0.25
_POLL_S: Final = 0.001  # constant, since growing pauses let the newest waiter win


def check_sqlite(version: str) -> None:
    """Refuse an SQLite library whose *version* is known to lose data.

    Before 3.51.3 two connections that write or checkpoint at the wrong moment can corrupt a WAL
    (https://sqlite.org/wal.html#walreset).
    """
    if tuple(int(part) for part in version.split(".")) < SQLITE_LEAST:
        least = ".".join(str(part) for part in SQLITE_LEAST)
        msg = (
            f"the installed apsw carries SQLite {version}, which can corrupt a database in WAL mode that several "
            f"connections use; {least} or newer is needed: pip install --upgrade apsw"
        )
        raise CannotOpen(msg)


class Handle:
    """The file at *path*, opened and ready for use.

    It waits up to *deadline* for locks that others hold while it opens.

    Raises:
        CannotOpen, NotADatabase, ReadOnlyDatabase, CorruptDatabase: the message names the path.
        WriteTimeout, ReadTimeout: another connection kept the file locked past *deadline*.
    """

    def __init__(
        self,
        path: Path,
        *,
        config: Config,
        durability: Durability,
        read_only: bool,
        deadline: float,
        immutable: bool = False,
        heard: Tally | None = None,
    ) -> None:
        """Open and configure; closes again what it opened where that fails.

        With *immutable* the file is read as it lies there, without a lock and without a file beside it. *heard* counts
        how often SQLite said busy, for all connections of a database.
        """
        check_sqlite(apsw.sqlite_lib_version())
        self.path = path
        self.inherited = False  # in a forked child: it is the parent's
        self.heard = heard or Tally()  # how often SQLite said busy, and nobody else heard
        self.busy_until = deadline
        # It waits for the write lock, or what was begun last has waited for it in vain: so that those who come to the
        # end of their own time a moment later, before anybody has begun again, are told why.
        self.waits_for_lock = False
        self.at_wait: Callable[[], object] = int  # called again and again while it waits for others' locks
        # What asks other processes before a write transaction, where there is one.
        self.turn: Contender | None = None
        self.stop_at = math.inf  # when the statement that runs is interrupted
        self.hold_until = math.inf  # when any statement is, since the turn that it belongs to is over
        self._guard = Guard(read_only=read_only)
        name, flags = str(path), _URI if read_only else apsw.SQLITE_OPEN_READWRITE
        if immutable:
            name, flags = _immutable(path), _URI
        files.check_sides(path, config.file_mode)
        self._account = Account(path)
        try:
            self._apsw = apsw.Connection(
                name,
                flags=flags | _NOFOLLOW,
                vfs=config.vfs,
                statementcachesize=config.statement_cache_max,
            )
        except (apsw.Error, ValueError) as error:
            self._account.settle()
            raise _opening(error, path) from error
        forks.register_handle(self)
        try:
            self._apsw.set_busy_handler(self._keep_waiting)
            if config.on_connect is not None:
                config.on_connect(self._apsw)
            self._prepare(config, durability)
        except BaseException:
            self.close()
            raise
        # Any: a `cast` around each use, for want of better stubs, would be a call itself, several times a write.
        self._cursor: Any = self._apsw.cursor()

    def _prepare(self, config: Config, durability: Durability) -> None:
        passes_until = time.monotonic() + _PASSING_S
        while True:
            try:
                self._configure(config, durability)
            except LOCKED as error:
                raise self.locked_out("cannot open ") from error
            except apsw.Error as error:
                may_pass = self._guard.read_only and isinstance(error, _PASSING)
                if not may_pass or time.monotonic() >= passes_until or not self.wait_again():
                    raise _opening(error, self.path) from error
            else:
                return

    def _configure(self, config: Config, durability: Durability) -> None:
        self._apsw.set_busy_handler(self._keep_waiting)  # again: a busy_timeout of on_connect replaces it
        run = self._retry  # even a setting may make SQLite read the schema
        run(f"PRAGMA cache_size = -{config.cache_bytes // 1024}")
        run(f"PRAGMA mmap_size = {config.mmap_bytes}")
        if not self._guard.read_only:
            self._use_wal()
            if config.checkpoint == "external":
                self._apsw.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            run("PRAGMA foreign_keys = ON")
            run(f"PRAGMA synchronous = {durability}")
            # Where fsync keeps it in the drive.
            run(f"PRAGMA fullfsync = {'ON' if durability == 'full' else 'OFF'}")
        self._retry(FIX_SNAPSHOT)  # reads the file, so that what is wrong with it is told here
        self._apsw.set_progress_handler(self._overdue, STEPS)
        self._apsw.convert_binding = _converted
        self._apsw.authorizer = self._guard

    def _use_wal(self) -> None:
        mode = self._retry("PRAGMA journal_mode = WAL")
        if mode != "wal":
            msg = f"cannot open {self.path}: its journal mode stays {mode!r}; WAL needs a local file system"
            raise CannotOpen(msg)

    def _retry(self, sql: str) -> object:
        """Run *sql* where SQLite does not ask the busy handler (H2); return its one value."""
        while True:
            try:
                return self._apsw.execute(sql).get
            except LOCKED:
                if not self.wait_again():
                    raise

    def wait_again(self) -> bool:
        """Wait a moment for others' locks; False where the deadline has passed (H2)."""
        self.heard.add()
        if time.monotonic() >= self.busy_until:
            return False
        self.at_wait()
        time.sleep(_POLL_S * (1 + os.urandom(1)[0] / 128))  # so that starters do not march in step
        return True

    def locked_out(self, what: str = "") -> ReadTimeout | WriteTimeout:
        """Return the error for a file that another connection keeps locked; *what* was to be done."""
        return shut_out(self.path, ReadTimeout if self._guard.read_only else WriteTimeout, what)

    # --- callbacks of SQLite, on the thread that uses the handle

    def _keep_waiting(self, _tries: int) -> bool:
        self.heard.add()
        left = self.busy_until - time.monotonic()
        if left <= 0:
            return False
        self.waits_for_lock = True
        if self.turn is not None:
            self.turn.note_lock(waits=True)
        self.at_wait()
        time.sleep(min(_POLL_S, left))
        return True

    def _overdue(self) -> bool:
        now = time.monotonic()
        return now > self.stop_at or now > self.hold_until or errands.is_broken()

    def close(self) -> None:
        """Close; what was open is rolled back. A second call does nothing.

        The last connection's close moves the WAL into the file; what a disk says against that is logged, since nothing
        is lost by it: whoever opens the file next finds the WAL.
        """
        try:
            self._apsw.close(True)  # noqa: FBT003 - APSW takes it by position
        except Exception:  # noqa: BLE001 - a VFS may raise anything
            _log.warning("%s: closing a connection failed", self.path, exc_info=True)
        self._account.settle()

    def is_engaged(self) -> bool:
        """Whether it is in the middle of a write or of another thread's call; asks for no mutex but its own."""
        try:
            return self._apsw.txn_state() == apsw.SQLITE_TXN_WRITE
        except apsw.ConnectionClosedError:
            return False
        except apsw.Error:
            return True

    def shed(self) -> bool:
        """In a forked child: close this copy; False where it `is_engaged`.

        Closing takes no lock and writes nothing, since it makes no checkpoint
        (https://sqlite.org/c3ref/c_dbconfig_defensive.html#sqlitedbconfignockptonclose); the parent's locks are not
        this process's to lose. Undoing a write would change the ``-shm``, which both have in memory.
        """
        if self.is_engaged():
            return False
        try:
            self._apsw.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._apsw.close(True)  # noqa: FBT003 - APSW takes it by position
        except apsw.ConnectionClosedError:
            pass
        except apsw.Error:
            return False
        self._account.settle()
        return True

    # --- for the connection built on it

    def _own(self, sql: str, params: Params = ()) -> list[Plain]:
        self._guard.trusted = True
        try:
            rows: list[Plain] = self._cursor.execute(sql, params).fetchall()
            return rows
        finally:
            self._guard.trusted = False

    def run_unguarded(self, sql: str, params: Params = ()) -> list[Plain]:
        """Run one of the library's own statements, whatever it is; its error is translated like a caller's.

        Raises:
            WriteTimeout, ReadTimeout: outside a transaction, others kept the file locked past ``busy_until``.
        """
        while True:
            try:
                return self._own(own(sql), params)
            except apsw.Error as error:
                if not isinstance(error, LOCKED) or not self._apsw.get_autocommit():
                    raise translate(error, sql) from error
                if not self.wait_again():
                    raise self.locked_out() from error
            except (
                UnicodeDecodeError
            ) as error:  # a damaged name in the schema, which the guard was to be asked about
                raise translate(error, sql) from error

    def _renew_cursor(self) -> None:
        # In this order: an interrupt between the two leaves a cursor that can be used. Closed by code that on_connect
        # gave the connection to, or in the middle of a statement that calls back, there is nothing to renew.
        with suppress(apsw.ConnectionClosedError, apsw.ThreadingViolationError):
            old, self._cursor = self._cursor, self._apsw.cursor()
            old.close(True)  # noqa: FBT003 - APSW takes it by position


def _converted(cursor: apsw.Cursor, place: int, value: object) -> Param:
    """Return what is stored for a parameter of a type that SQLite does not know; APSW asks."""
    name = cursor.bindings_names[place - 1]
    return native_value(value, f":{name}" if name else place)


def check_database(path: Path, vfs: str | None) -> None:
    """Refuse a file that is no SQLite database, without touching it or making a file beside it.

    ``immutable`` takes no lock and makes no ``-shm`` (https://sqlite.org/uri.html#uriimmutable), and SQLite itself
    keeps the file's other locks through the close (files, F1). What the WAL holds is not seen: so a file whose first
    page tells of more pages than it has is not called damaged here. It may be in the middle of a checkpoint, or a
    process may have died in one, and then the WAL has the rest. A file of one byte is empty to SQLite, for the sake of
    an old file system; here it is somebody's.
    """
    if files.size(path) == 1:
        msg = f"cannot open {path}: file is not a database"
        raise NotADatabase(msg, code="SQLITE_NOTADB", extended_code="SQLITE_NOTADB")
    try:
        with accounted(path):
            probe = apsw.Connection(_immutable(path), flags=_URI | _NOFOLLOW, vfs=vfs)
            try:
                probe.execute("PRAGMA schema_version").get  # noqa: B018 - reads the header
            except apsw.CorruptError:
                pass
            except apsw.NotADBError:
                if not _was_being_made(path, vfs):
                    raise
            finally:
                probe.close()
    except (apsw.Error, ValueError) as error:
        raise _opening(error, path) from error


def _was_being_made(path: Path, vfs: str | None) -> bool:
    """Whether the file has a journal beside it, and no name yet; read by SQLite's own means, as it closes it (F1)."""
    if not files.size(files.beside(path, "-journal")):
        return False
    file = apsw.VFSFile(vfs or "", str(path), [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])
    try:
        return not any(file.xRead(_NAME_BYTES, 0))
    finally:
        file.xClose()


def _pass_mutexes() -> None:
    """Take and give up SQLite's static mutexes, as an opening does: open and close what is nobody's (forks, K4)."""
    for name, flags in ((":memory:", apsw.SQLITE_OPEN_READWRITE), (_immutable(Path(os.devnull)), _URI)):
        connection = apsw.Connection(name, flags=flags)
        connection.execute("SELECT count(*), random() FROM sqlite_schema").get  # noqa: B018 - runs it
        connection.close()


forks.register_pass(_pass_mutexes)


def _immutable(path: Path) -> str:
    return _uri(path, "immutable=1")


def existing(path: Path) -> str:
    """Return the name by which a statement of who may only read opens the file at *path*, and never creates it.

    https://sqlite.org/uri.html#urimode
    """
    return _uri(path, "mode=rw")


def _uri(path: Path, option: str) -> str:
    name = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{name}?{option}"


def _opening(error: BaseException, path: Path) -> Error:
    if isinstance(error, ValueError):
        return CannotOpen(f"cannot open {path}: {error}")
    ours = translate(error, None, ran="no")
    if ours.extended_code in _LINK_LAID:
        return link_laid(path)
    reason = str(ours)
    if isinstance(error, (apsw.CantOpenError, apsw.IOError)) and files.has_no_descriptor_left():
        reason += "; no file descriptor is left (ulimit -n, RLIMIT_NOFILE)"
    elif isinstance(error, apsw.CantOpenError) and not files.look_at(path):
        reason = "there is no such file"
    elif ours.extended_code == "SQLITE_READONLY_ROLLBACK":
        reason = (
            "a write to it was broken off, and is to be rolled back by who may write: open it once without "
            "read_only=True"
        )
    elif isinstance(error, (apsw.CantOpenError, apsw.ReadOnlyError)) and not files.may_change(path.parent):
        reason += (
            f"; SQLite keeps the -shm of a database in WAL mode in {path.parent}, which cannot be written"
        )
    kind = CannotOpen if type(ours) in (OperationalError, ProgrammingError) else type(ours)
    return kind(f"cannot open {path}: {reason}", ran="no", code=ours.code, extended_code=ours.extended_code)
