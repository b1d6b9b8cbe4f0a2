"""The files of a database: private from their first byte, and never opened behind SQLite's back.

F1  No descriptor of a database file that SQLite may have open is ever closed by us: in POSIX, closing *any*
    descriptor of a file drops all locks that the process holds on it, SQLite's too
    (https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
    A database is created with ``O_EXCL``; one that exists is only looked at with ``stat`` and changed with ``chmod``.
F2  A file or folder that is made here has its mode before it has content, whatever the umask.
F3  A folder that was there before is left as it is.
F4  What is created is made durable in its folder, so that a loss of power cannot take the file's name away.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from itertools import tee
from pathlib import Path
from typing import cast

from .errors import CannotOpen, ProgrammingError, ReadOnlyDatabase

_log = logging.getLogger(__name__)
_start_new_thread = _thread.start_new_thread

_FOLDER_MODE = 0o700
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
TURN = "-turn"  # see `turnfile`
SIDES = ("-wal", "-shm", "-journal", TURN)
_LOGS = ("-wal", "-journal")
_DESCRIPTORS = "/proc/self/fd"


def real_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of the file that *path* leads to, links resolved; it need not exist.

    SQLite puts the ``-wal`` beside the real file too. Names with a meaning of their own for SQLite are refused.
    """
    text = _text(path)
    if not text or "\0" in text:
        msg = f"the path {text!r} names no file"
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
        real = os.path.realpath(text, strict=False)
    except OSError as error:
        raise cannot(Path(text), error) from error
    try:
        real.encode()
    except UnicodeEncodeError as error:
        msg = f"cannot open {real!a}: its name is not UTF-8, which SQLite needs"
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
    if os.path.lexists(folder):
        try:
            is_folder = folder.is_dir()
        except OSError as error:
            raise cannot(folder, error) from error
        if is_folder:
            return ()
        msg = f"cannot create the folder {folder}: there is a file of that name"
        raise CannotOpen(msg)
    above = make_folder(folder.parent)
    try:
        folder.mkdir(mode=_FOLDER_MODE)
        folder.chmod(_FOLDER_MODE)  # a umask may have taken bits of the owner's too
    except FileExistsError:
        return above  # made by another process since; F3
    except OSError as error:
        kind = ReadOnlyDatabase if error.errno in _UNWRITABLE else CannotOpen
        msg = f"cannot create the folder {folder}: {error.strerror}"
        raise kind(msg) from error
    sync_folder(folder.parent)
    return (*above, folder)


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


def create(path: Path, mode: int) -> bool:
    """Create an empty file with *mode* where there is none (F1, F2); return whether it was made here."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    narrow_it = partial(os.fchmod, mode=mode)
    try:
        _with_descriptor(narrow_it, path, flags, mode)  # F1: made just now and empty, so nobody has it open
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in _UNWRITABLE:
            msg = f"cannot create {path}: {error.strerror}"
            raise ReadOnlyDatabase(msg) from error
        raise cannot(path, error) from error
    sync_folder(path.parent)
    return True


def _with_descriptor(use: Callable[[int], object], path: Path, flags: int, mode: int = 0) -> None:
    """Open *path*, call *use*, which is C to its end, with the descriptor, and close that.

    All of it is one call into C, in which no signal handler runs: an interrupt that came between would leave the
    descriptor open, or have it closed at some moment when SQLite has the file open (F1).
    """
    paths = iter((path,))
    opened, again = tee(map(os.open, paths, (flags,), (mode,)))
    try:
        deque(zip(map(use, opened), map(os.close, again), strict=True), maxlen=0)
    except BaseException:
        deque(paths, maxlen=0)  # what was not opened before is not opened any more
        deque(map(os.close, again), maxlen=0)  # where it was opened, and could not be used
        raise


def look_at(path: Path) -> os.stat_result | None:
    """Return the state of the file at *path*, None where there is none; refuse what is no regular file."""
    try:
        state = path.stat()
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
    for each in _with_sides(path):
        try:
            state = each.lstat()
            if stat.S_ISLNK(state.st_mode):
                continue  # not ours, nor what it leads to: neither SQLite nor `turnfile` follows one
            has = stat.S_IMODE(state.st_mode)
            if has & ~mode & 0o777:
                each.chmod(has & mode)
        except FileNotFoundError:
            continue
        except OSError as error:
            msg = (
                f"cannot make {each} private: {error.strerror}. "
                f"Its mode must have no more than {mode:#o}; Config(file_mode=...) allows another"
            )
            raise CannotOpen(msg) from error


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
    except FileNotFoundError:
        return 0
    except OSError as error:
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
        _with_descriptor(os.fsync, folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make the content of the file at *path* durable. Never for a database that may be open (F1)."""
    _with_descriptor(os.fsync, path, os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def unfinished(target: Path, mode: int) -> Generator[Path]:
    """Yield an empty private file beside *target*, to be filled and given its name; nothing of it is left behind."""
    path = target.with_name(f".{target.name}.{os.urandom(6).hex()}.part")
    try:
        try:
            create(path, mode)
            yield path
        finally:
            _remove(path)
    except BaseException:
        try:
            _remove(path)  # again, since an interrupt may have struck as it began
        except BaseException:  # and another one now: nothing is called before this
            _start_new_thread(_try_to_remove, (path,))
            raise
        raise


def _try_to_remove(path: Path) -> None:
    """Do as `_remove` on a bare thread, on which nothing is to be logged."""
    for each in _with_sides(path):
        with contextlib.suppress(OSError):
            each.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Remove the file and those beside it; what cannot be is logged: it makes no failure of what was done."""
    for each in _with_sides(path):
        try:
            each.unlink(missing_ok=True)
        except OSError as error:
            if not is_of_the_system(error):
                raise
            _log.warning("cannot remove %s: %s", each, error.strerror)


def _with_sides(path: Path) -> tuple[Path, ...]:
    return (path, *(beside(path, side) for side in SIDES))


def put_in_place(made: Path, target: Path, *, overwrite: bool) -> None:
    """Give the finished file *made* the name *target*, whole or not at all.

    Raises:
        FileExistsError: *target* exists and *overwrite* is false.
    """
    sync_file(made)
    if overwrite:
        made.replace(target)
    else:
        _name_once(made, target)
    sync_folder(target.parent)


def _name_once(made: Path, target: Path) -> None:
    try:
        os.link(made, target, follow_symlinks=False)  # unlike a rename it never replaces
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        made.rename(target)


def is_of_the_system(error: OSError) -> bool:
    """Whether the system says it; else it is a signal handler's, a TimeoutError say, and none of ours."""
    return error.errno is not None


def cannot(path: Path, error: OSError) -> CannotOpen:
    """Return why *path* cannot be opened, by what the system says; raises what a signal handler raised."""
    if not is_of_the_system(error):
        raise error
    return CannotOpen(f"cannot open {path}: {error.strerror or error}")
