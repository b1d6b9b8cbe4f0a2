"""Names and symbolic links: which links a path is followed through, and how no other file is changed for one.

K1  The links of a path are resolved once, when it is given. Later its names are what they are: a link that has taken
    the place of one is refused, not followed (files, F5).
K2  A link is followed where it belongs to this user, to the superuser, or to the owner of the folder that it lies in.
    Others who may write in a folder could else have any file opened and changed. Linux has that rule for folders such
    as /tmp, but for those who open a link, not for those who read where it leads
    (https://docs.kernel.org/admin-guide/sysctl/fs.html#protected-symlinks).
K3  A mode is changed by a descriptor that stands for the file alone (``O_PATH``), not by a name that may lead elsewhere
    by then. Closing such a descriptor drops no locks (files, F1).
K4  A file or a folder is created, and opened, in a folder that was come to name by name, none of which may be a link:
    what becomes of the folders above meanwhile does not matter. Only SQLite opens by the whole path, having looked for
    links in it a moment before.
"""

# Texts all the way: a Path would make another name of some.
# ruff: noqa: PTH101, PTH109, PTH115, PTH116, PTH117, PTH118, PTH120, PTH206

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import tee
from pathlib import Path
from typing import Final, TypeVar

from .errors import CannotOpen

T = TypeVar("T")
_FOLLOWED_MAX: Final = 40  # as Linux does
SUPERUSER: Final = 0  # the superuser's number
DESCRIPTORS: Final = "/proc/self/fd"


def resolved(text: str) -> str:
    """Return the absolute path that *text* leads to, every link of it resolved; no name of it need exist.

    Raises:
        CannotOpen: it leads through a link that is not followed (K2).
        OSError: it leads through too many, or the current folder is gone.
    """
    if sys.platform == "win32":
        return os.path.realpath(text)
    real = os.sep if os.path.isabs(text) else os.getcwd()
    names, followed = text.split(os.sep)[::-1], 0
    while names:
        name = names.pop()
        if name in ("", os.curdir):
            continue
        if name == os.pardir:
            real = os.path.dirname(real)
            continue
        step = os.path.join(real, name)
        target = _target(step, real)
        if target is None:
            real = step
            continue
        followed += 1
        if followed > _FOLLOWED_MAX:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), text)
        real = os.sep if os.path.isabs(target) else real
        names += target.split(os.sep)[::-1]
    return real


def _target(path: str, folder: str) -> str | None:
    """Return where the link at *path*, in *folder*, leads; None where there is none."""
    try:
        state = os.lstat(path)
        if not stat.S_ISLNK(state.st_mode):
            return None
        target = os.readlink(path)
        after, owner = os.lstat(path), os.stat(folder).st_uid
    except OSError as error:
        if error.errno is None:  # a signal handler's
            raise
        return None  # whoever opens it is told why
    if not os.path.samestat(state, after):
        raise CannotOpen(f"cannot open {path}: it is being replaced this moment")
    if not _may_follow(state.st_uid, owner):
        raise CannotOpen(
            f"cannot open {path}: it is a link that belongs to another user (number {state.st_uid}), in a folder that "
            "is not that user's: give the path that it leads to"
        )
    return target


def link_laid(path: Path) -> CannotOpen:
    """Return the error for a resolved *path* in which a link has taken the place of a name (K1)."""
    return CannotOpen(f"cannot open {path}: a link has taken the place of a name in it since it was resolved")


def _may_follow(owner: int, owner_of_folder: int) -> bool:
    return owner in (os.geteuid(), SUPERUSER, owner_of_folder)


def with_descriptor(use: Callable[[int], object], path: Path, flags: int, mode: int = 0) -> os.stat_result:
    """Open *path*, call *use*, which is C to its end, with the descriptor, and close that; return the file's state.

    All of it is one call into C, in which no signal handler runs: an interrupt that came between would leave the
    descriptor open, or have it closed at some moment when SQLite has the file open (files, F1).
    """
    if path == path.parent:
        return _opened(use, str(path), flags, mode, None)[1]
    return in_folder(path, lambda name, folder: _opened(use, name, flags, mode, folder)[1])


def in_folder(path: Path, use: Callable[[str, int | None], T]) -> T:
    """Call *use* with the name of *path* and a descriptor of its folder, which was come to by no link (K4).

    Where the system has no such descriptors it is the whole path, and None.
    """
    if sys.platform != "linux":
        return use(str(path), None)
    # Nothing but this expression has the folder: it is closed when that is left, by whatever.
    return next(map(use, (path.name,), map(select.epoll.fileno, (_folder(path.parent),))))


if sys.platform == "linux":

    def _folder(path: Path) -> select.epoll:
        """Open the folder at *path*, name by name."""
        folder = _owned(os.sep, None)
        try:
            for name in path.parts[1:]:
                folder = _owned(name, folder.fileno())
        except OSError:
            folder.close()  # now, however long the exception is kept
            raise
        return folder

    def _owned(name: str, folder: int | None) -> select.epoll:
        """Open one folder for an object that closes it; no interrupt comes between.

        For which `select.epoll` does: it is made in C of whatever descriptor it is given.
        """
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return next(map(select.epoll.fromfd, map(partial(os.open, dir_fd=folder), (name,), (flags,))))


def _opened(
    use: Callable[[int], T], name: str, flags: int, mode: int, folder: int | None
) -> tuple[T, os.stat_result]:
    """Do what `with_descriptor` does, for a *name* in *folder*; return also what *use* does."""
    names = iter((name,))
    opened, looked_at, again = tee(map(partial(os.open, dir_fd=folder), names, (flags,), (mode,)), 3)
    try:
        done = zip(map(use, opened), map(os.fstat, looked_at), map(os.close, again), strict=True)
        used, state, _closed = deque(done, maxlen=1)[0]
    except BaseException:
        deque(names, maxlen=0)  # what was not opened before is not opened any more
        deque(map(os.close, again), maxlen=0)  # where it was opened, and could not be used
        raise
    return used, state


def change_mode(path: Path, change: Callable[[int], int]) -> os.stat_result:
    """Give the file or folder at *path* the mode that *change* makes of its own; return what it was, or is.

    A link is left as it is, and so is what it leads to (K1, K3).
    """
    if sys.platform == "linux":
        use = partial(_change_opened, path, change)
        return with_descriptor(use, path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    else:  # noqa: RET505 - or a checker for one system would not see that the other is another
        state = path.lstat()
        if not stat.S_ISLNK(state.st_mode):
            follow = os.chmod not in os.supports_follow_symlinks
            path.chmod(change(stat.S_IMODE(state.st_mode)), follow_symlinks=follow)
        return state


def _change_opened(path: Path, change: Callable[[int], int], descriptor: int) -> None:
    """Do it by the *descriptor*, which says which file it is; by *path* where the system does not list descriptors."""
    state = os.fstat(descriptor)
    wanted = change(stat.S_IMODE(state.st_mode))
    if stat.S_ISLNK(state.st_mode) or wanted == stat.S_IMODE(state.st_mode):
        return
    listed = f"{DESCRIPTORS}/{descriptor}"
    os.chmod(listed if os.path.lexists(listed) else path, wanted)
