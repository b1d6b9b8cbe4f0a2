"""One SQLite connection: the few things that are done to the whole file, between transactions."""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from contextlib import suppress
from typing import Final, Literal, Self

import apsw

from . import clock
from .errors import Error, OperationalError, WriteTimeout
from .executor import Executor
from .guard import own
from .handle import LOCKED
from .translate import translate

_OPTIMIZE: Final = own("PRAGMA optimize = 0x10002")  # all tables, since it is the readers that are asked
_OPTIMIZE_S: Final = 0.2  # that a close may take longer for it
_COMMIT: Final = own("COMMIT")
_CHECK: Final = own("PRAGMA integrity_check")
_WRITE_VERSION_AT: Final = 18  # in the file's header
_WAL_VERSION: Final = b"\x02"
_TITLE: Final = "*** in database "
Mode = Literal["PASSIVE", "RESTART", "TRUNCATE"]
_MODES: Final[dict[Mode, int]] = {
    "PASSIVE": apsw.SQLITE_CHECKPOINT_PASSIVE,
    "RESTART": apsw.SQLITE_CHECKPOINT_RESTART,
    "TRUNCATE": apsw.SQLITE_CHECKPOINT_TRUNCATE,
}


class Upkeep(Executor):
    """An executor that looks after its file."""

    def page_bytes(self) -> int:
        """Return the size of a page."""
        size = self.run_unguarded("PRAGMA page_size")[0][0]
        assert isinstance(size, int)
        return size

    def is_in_wal_mode(self) -> bool:
        """Whether the file's header says so; what is opened as immutable takes it for another mode.

        Read by SQLite's own means (files, F1). https://sqlite.org/fileformat2.html#file_format_version_numbers
        """
        flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0]
        try:
            file = apsw.VFSFile("", str(self.path), flags)
            try:
                return file.xRead(1, _WRITE_VERSION_AT) == _WAL_VERSION
            finally:
                file.xClose()
        except apsw.Error as error:
            raise translate(error, None) from error

    def take_turn(self, deadline: float) -> bool:
        """Have the turn among processes until the write role is free; False where it did not come by *deadline*.

        For what may last, so that others see who it is that they wait for; also where nobody else is there yet.
        """
        return self.turn is None or self.turn.take(deadline)

    def wal_state(self) -> tuple[int, int] | None:
        """Return how many pages the WAL holds, and how many of them are in the database already.

        None where another connection was writing it down this very moment: not even a look is free of SQLITE_BUSY.

        Raises:
            Error: SQLite cannot tell.
        """
        try:
            return self._apsw.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
        except LOCKED:
            return None
        except apsw.Error as error:
            raise translate(error, None) from error

    def limit_wal(self, bytes_: int) -> None:
        """Have the file of the WAL cut to *bytes_* when this connection is the first to commit after it started over.

        https://sqlite.org/pragma.html#pragma_journal_size_limit
        """
        self.run_unguarded(f"PRAGMA journal_size_limit = {bytes_}")

    def checkpoint(self, mode: Mode) -> tuple[int, int] | None:
        """Move what the WAL holds into the database, without waiting for anybody; return as `wal_state`.

        None where another connection was in the way (https://sqlite.org/c3ref/wal_checkpoint_v2.html).

        Raises:
            Error: it failed, whatever a VFS raised.
        """
        # RESTART and TRUNCATE ask the busy handler while they have the write lock: so it must not wait.
        self.busy_until = 0.0
        try:
            return self._apsw.wal_checkpoint("main", _MODES[mode])
        except LOCKED:
            self.heard.add()
            return None
        except apsw.Error as error:
            raise translate(error, None) from error
        except Exception as error:
            msg = f"{self.path}: the checkpoint failed: {error}"
            raise OperationalError(msg) from error

    def optimize(self) -> None:
        """Have SQLite bring its planner's statistics up to date, where it thinks that worth it; nobody is waited for.

        It looks at a bounded part of each index (https://sqlite.org/pragma.html#pragma_optimize).
        """
        self.busy_until = 0.0
        self.stop_at = clock.now() + _OPTIMIZE_S
        # It is an offer: another connection may be in the way, the disk full, the time over, a name damaged.
        with suppress(apsw.Error, UnicodeDecodeError):
            self._own(_OPTIMIZE)
        self.stop_at = clock.NEVER

    def vacuum(self, deadline: float) -> bool:
        """Build the file anew without its free pages; False where another connection kept it locked past *deadline*.

        For who has the turn. https://sqlite.org/lang_vacuum.html
        """
        self.busy_until = deadline
        try:
            self.run_unguarded("VACUUM")
        except WriteTimeout:
            return False
        return True

    def use_pages_of(self, bytes_: int) -> None:
        """Give the pages of this database, which is new and empty, another size; in WAL mode SQLite does not.

        https://sqlite.org/pragma.html#pragma_page_size
        """
        if self.page_bytes() != bytes_:
            for sql in ("PRAGMA journal_mode = DELETE", f"PRAGMA page_size = {bytes_}", "VACUUM"):
                self.run_unguarded(sql)
            self.use_wal()

    def integrity(self) -> tuple[list[str], Error | None]:
        """Return what SQLite finds wrong with the file, one problem each, and the error that ended its search, if any.

        What it has told before that stands: it gives up at the first page that it cannot go on from.
        https://sqlite.org/pragma.html#pragma_integrity_check

        Raises:
            WriteTimeout, ReadTimeout: others kept the file locked past ``busy_until``.
        """
        told: list[str] = []
        ended_by: Error | None = None
        while True:
            try:
                self._guard.trusted = True
                for row in self._cursor.execute(_CHECK):
                    told += str(row[0]).splitlines()  # those of all trees are one text, below a title
                break
            except LOCKED as error:
                told.clear()
                if not self.wait_again():
                    raise self.locked_out() from error
            except (apsw.Error, UnicodeDecodeError) as error:
                ended_by = translate(error, "PRAGMA integrity_check")
                break
            finally:
                self._guard.trusted = False
        found = [line for line in told if not line.startswith(_TITLE)]
        return [] if found == ["ok"] else found, ended_by

    def backup_from(self, source: Self) -> None:
        """Replace this database's whole content by *source*'s, in one transaction.

        https://sqlite.org/backup.html

        Raises:
            Error: it failed; with ``ran`` "unknown" where the commit did, which may have been made all the same.
        """
        at_commit = False
        try:
            backup = self._apsw.backup("main", source._apsw, "main")
            try:
                while not backup.done:
                    backup.step(-1)
            finally:
                at_commit = backup.page_count > 0 == backup.remaining
                backup.finish()  # not by `with`, which makes a SystemError of what a VFS raises
        except apsw.Error as error:
            raise translate(error, None, ran="unknown" if at_commit else "rolled_back") from error

    def set_aside_wal(self) -> bool:
        """Leave WAL mode, which only the file's one connection can; False where another has it open.

        https://sqlite.org/wal.html#persistence_of_wal_mode
        """
        self._own("PRAGMA locking_mode = EXCLUSIVE")  # so that nobody comes in between
        try:
            mode = self._own("PRAGMA journal_mode = DELETE")[0][0]
            self._own("BEGIN EXCLUSIVE")  # takes the lock, and keeps it
            self._own(_COMMIT)
        except LOCKED:
            return False
        except apsw.Error as error:
            raise translate(error, None) from error
        return mode == "delete"

    def use_wal(self) -> None:
        """Go back to WAL mode and to sharing the file."""
        try:
            self._own("PRAGMA locking_mode = NORMAL")
            self._guard.trusted = True
            self._use_wal()
        except LOCKED as error:
            raise self.locked_out() from error
        except apsw.Error as error:
            raise translate(error, None) from error
        finally:
            self._guard.trusted = False
