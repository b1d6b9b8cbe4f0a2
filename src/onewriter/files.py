"""The files of a database: private from their first byte, and never opened behind SQLite's back.

F1  No descriptor of a database file that SQLite may have open is ever closed by us: in POSIX, closing *any*
    descriptor of a file drops all locks that the process holds on it, SQLite's too
    (https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
    A database is created with ``O_EXCL``; one that exists is only looked at with ``stat`` and changed with ``chmod``.
F2  A file or folder that is made here has its mode before it has content, whatever the umask.
F3  A folder that was there before is left as it is.
F4  What is created is made durable in its folder, so that a loss of power cannot take the file's name away.
F5  A path that was resolved is not resolved again: what a link that has taken the place of a name meanwhile leads to is
    neither changed nor opened (see `links`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import cast

from .errors import CannotOpen, ProgrammingError, ReadOnlyDatabase, quoted
from .links import DESCRIPTORS as _DESCRIPTORS
from .links import SUPERUSER, change_mode, in_folder, link_laid, resolved, with_descriptor

_FOLDER_MODE = 0o700
_OTHERS_WRITE = 0o022
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
TURN = "-turn"  # see `turnfile`
SIDES = ("-wal", "-shm", "-journal", TURN)
_LOGS = ("-wal", "-journal")


def real_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of the file that *path* leads to, links resolved; it need not exist.

    SQLite puts the ``-wal`` beside the real file too. Names with a meaning of their own for SQLite are refused, and
    links that another user has laid (`links`).
    """
    text = _text(path)
    if not text or "\0" in text:
        msg = f"the path {quoted(text)} names no file"
        raise ProgrammingError(msg)
    if text.endswith(os.sep):
        msg = f"cannot open {text}: it names a folder; give the path of a file in it"
        raise CannotOpen(msg)
    if text == ":memory:" or text.startswith("file:"):
        msg = (
            f"{text!r} is not supported: each connection would have a database of its own. "
            "Give the path of a file; for a throw-away one, a file in a temporary folder"
        )
        raise ProgrammingError(msg)
    try:
        real = resolved(text)
        real.encode()
    except OSError as error:
        raise cannot(Path(text), error) from error
    except UnicodeEncodeError as error:
        msg = f"cannot open {text!a}: its name is not UTF-8, which SQLite needs"
        raise CannotOpen(msg) from error
    return Path(real)


def _text(path: object) -> str:
    try:
        text = os.fspath(cast("str | os.PathLike[str]", path))
    except TypeError:
        text = None
    if isinstance(text, str):
        return text
    msg = f"the path must be a str or a Path, not {type(path).__name__}"
    raise ProgrammingError(msg)


def make_folder(folder: Path) -> tuple[Path, ...]:
    """Create *folder* and those above it that are missing, each with mode 0700 (F2, F3); return what was made here."""
    missing: list[Path] = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = folder.parent
    _check_folder(folder)
    return tuple(each for each in reversed(missing) if _make_folder(each))


def _make_folder(folder: Path) -> bool:
    """Create *folder*; False where another process has made it since (F3)."""
    try:
        in_folder(folder, lambda name, above: os.mkdir(name, _FOLDER_MODE, dir_fd=above))
        state = change_mode(folder, lambda _: _FOLDER_MODE)  # a umask may have taken bits of the owner's too
    except FileExistsError:
        _check_folder(folder)
        return False
    except OSError as error:
        if not is_of_the_system(error):
            raise
        kind = ReadOnlyDatabase if error.errno in _UNWRITABLE else CannotOpen
        msg = f"cannot create the folder {folder}: {error.strerror}"
        raise kind(msg) from error
    if stat.S_ISLNK(state.st_mode):  # by now (F5)
        raise link_laid(folder)
    sync_folder(folder.parent)
    return True


def _check_folder(folder: Path) -> None:
    try:
        state = folder.lstat()
    except OSError as error:
        raise cannot(folder, error) from error
    if not stat.S_ISDIR(state.st_mode):  # nor a link, which would have been resolved (F5)
        msg = f"cannot create the folder {folder}: there is a file of that name"
        raise CannotOpen(msg)


@contextlib.contextmanager
def folder_for(path: Path) -> Generator[None]:
    """Create what is missing of the folders of *path*; where the block raises they go again, if they are empty."""
    made = make_folder(path.parent)
    try:
        yield
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def create(path: Path, mode: int) -> os.stat_result | None:
    """Create an empty file with *mode* where there is none (F1, F2); return its state, or None where one was there."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    narrow_it = partial(os.fchmod, mode=mode)
    try:
        state = with_descriptor(
            narrow_it, path, flags, mode
        )  # F1: empty and just made, so nobody has it open
    except FileExistsError:
        return None
    except OSError as error:
        if error.errno in _UNWRITABLE:
            msg = f"cannot create {path}: {error.strerror}"
            raise ReadOnlyDatabase(msg) from error
        raise cannot(path, error) from error
    sync_folder(path.parent)
    return state


def look_at(path: Path) -> os.stat_result | None:
    """Return the state of the file at *path*, None where there is none; refuse what is no regular file."""
    try:
        state = path.lstat()
        if stat.S_ISLNK(state.st_mode):  # F5
            path.stat()  # a circle of links is told as such
            raise link_laid(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot(path, error) from error
    if stat.S_ISDIR(state.st_mode):
        msg = f"cannot open {path}: it is a folder; give the path of a file in it"
        raise CannotOpen(msg)
    if not stat.S_ISREG(state.st_mode):
        msg = f"cannot open {path}: it is not a regular file"
        raise CannotOpen(msg)
    return state


def narrow(path: Path, mode: int) -> None:
    """Take from the file at *path*, and from those beside it, the permissions that *mode* does not have."""
    for each in with_sides(path):
        try:
            state = each.lstat()
            # What is no file is not ours: neither SQLite nor `turnfile` takes it, or follows a link.
            if stat.S_ISREG(state.st_mode) and stat.S_IMODE(state.st_mode) & ~mode & 0o777:
                change_mode(each, lambda has: has & mode)
        except FileNotFoundError:
            continue
        except OSError as error:
            if not is_of_the_system(error):
                raise
            msg = (
                f"cannot make {each} private: {error.strerror}. "
                f"Its mode must have no more than {mode:#o}; Config(file_mode=...) allows another"
            )
            raise CannotOpen(msg) from error


def check_sides(path: Path, mode: int) -> None:
    """Refuse the database at *path*, private by its *mode*, where what SQLite keeps beside it is no file, or another's.

    SQLite opens a ``-journal`` without a look, and would wait for ever for who writes into a pipe; and it makes what
    stands in a ``-wal`` or ``-journal`` a part of the database, whoever wrote that.
    """
    for side in (beside(path, suffix) for suffix in (*_LOGS, "-shm")):
        try:
            state = side.lstat()
        except OSError as error:
            if not is_of_the_system(error):
                raise
            continue  # there is none, in most cases; else SQLite says so
        if not stat.S_ISREG(state.st_mode):
            msg = f"cannot open {path}: {side}, where SQLite keeps a part of it, is not a regular file"
            raise CannotOpen(msg)
        if not is_trusted(state, path, mode):
            msg = (
                f"cannot open {path}: {side}, where SQLite keeps a part of it, belongs to another user (number "
                f"{state.st_uid}); remove it if it is not the database's, or allow others by Config(file_mode=...)"
            )
            raise CannotOpen(msg)


def is_trusted(state: os.stat_result, path: Path, mode: int) -> bool:
    """Whether a file beside the database at *path* is this user's, the superuser's or the database's owner's.

    Where *mode*, or the mode that the database has, lets others write to it, it may be anybody's.
    """
    if sys.platform == "win32" or mode & _OTHERS_WRITE or state.st_uid in (os.geteuid(), SUPERUSER):
        return True
    with contextlib.suppress(FileNotFoundError):
        database = path.lstat()
        return bool(state.st_uid == database.st_uid or database.st_mode & _OTHERS_WRITE)
    return False


def beside(path: Path, suffix: str) -> Path:
    """Return the path of the side file of *path* that ends in *suffix*."""
    return path.with_name(path.name + suffix)


def log_beside(path: Path) -> Path | None:
    """Return the ``-wal`` or ``-journal`` beside *path*: SQLite would apply it to whatever has that name.

    https://sqlite.org/howtocorrupt.html#_mispairing_database_files_and_hot_journals_
    """
    logs = (beside(path, suffix) for suffix in _LOGS)
    return next((log for log in logs if os.path.lexists(log)), None)


def size(path: Path) -> int:
    """Return the size of the file at *path* in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):  # nor is there one of such a name
            return 0
        raise cannot(path, error) from error


def is_same(one: Path, other: Path) -> bool:
    """Return whether both paths lead to the same file, which exists."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def descriptors_of(path: Path) -> set[int]:
    """Return this process's descriptors of the file at *path*; none where the system lists none (Linux does)."""
    found: set[int] = set()
    try:
        wanted = path.stat()
        with os.scandir(_DESCRIPTORS) as entries:
            listed = [int(entry.name) for entry in entries]
    except OSError:
        return found
    for descriptor in listed:
        with contextlib.suppress(OSError):  # closed since
            if os.path.samestat(os.fstat(descriptor), wanted):
                found.add(descriptor)
    return found


def place_of(file: tuple[int, int]) -> Path | None:
    """Return where *file* (device, inode), which this process has open, is by now; None where nothing tells."""
    with contextlib.suppress(OSError), os.scandir(_DESCRIPTORS) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # closed since, or the file is deleted
                state = os.fstat(int(entry.name))
                if (state.st_dev, state.st_ino) == file:
                    place = Path(entry.path).readlink()
                    return place if os.path.samestat(place.stat(), state) else None
    return None


def has_no_descriptor_left() -> bool:
    """Return whether nothing can be opened now, since this process, or the system, is at its limit of descriptors."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def check_readable(path: Path) -> None:
    """Refuse a file that this process may not read."""
    if not _may(path, os.R_OK):
        msg = f"cannot open {path}: permission denied"
        raise CannotOpen(msg)


def check_writable(path: Path) -> None:
    """Refuse a file, or a folder around it, that this process may not write."""
    if not _may(path, os.W_OK):
        msg = f"cannot write {path}: permission denied, or a read-only file system"
        raise ReadOnlyDatabase(msg)
    if not may_change(path.parent):
        msg = f"cannot write in the folder {path.parent}, where SQLite keeps the -wal and -shm files of {path.name}"
        raise ReadOnlyDatabase(msg)


def may_change(folder: Path) -> bool:
    """Return whether this process may create files in *folder*."""
    return _may(folder, os.W_OK | os.X_OK)


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* durable (F4); a file system that cannot is left to its own ways."""
    with contextlib.suppress(OSError):
        with_descriptor(os.fsync, folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make the content of the file at *path* durable. Never for a database that may be open (F1)."""
    with_descriptor(os.fsync, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def with_sides(path: Path) -> tuple[Path, ...]:
    """Return *path* and those beside it."""
    return (path, *(beside(path, side) for side in SIDES))


def is_of_the_system(error: OSError) -> bool:
    """Whether the system says it; else it is a signal handler's, a TimeoutError say, and none of ours."""
    return error.errno is not None


def cannot(path: Path, error: OSError) -> CannotOpen:
    """Return why *path* cannot be opened, by what the system says; raises what a signal handler raised."""
    if not is_of_the_system(error):
        raise error
    return CannotOpen(f"cannot open {path}: {error.strerror or error}")
