"""A file that is made beside its target under another name, and is given that when it is finished."""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from . import files
from .errors import CannotOpen

_log = logging.getLogger(__name__)
_start_new_thread = _thread.start_new_thread


class Draft(NamedTuple):
    """A file that is not finished yet.

    Attributes:
        path: its name, which others do not know.
        state: of the file that was made under it.
    """

    path: Path
    state: os.stat_result


@contextlib.contextmanager
def unfinished(target: Path, mode: int) -> Generator[Draft]:
    """Yield an empty private file beside *target*, to be filled and given its name; nothing of it is left behind."""
    path = target.with_name(f".{target.name}.{os.urandom(6).hex()}.part")
    try:
        try:
            state = files.create(path, mode)
            if state is None:
                raise FileExistsError(path)
            yield Draft(path, state)
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
    for each in files.with_sides(path):
        with contextlib.suppress(OSError):
            each.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Remove the file and those beside it; what cannot be is logged: it makes no failure of what was done."""
    for each in files.with_sides(path):
        try:
            each.unlink(missing_ok=True)
        except OSError as error:
            if not files.is_of_the_system(error):
                raise
            _log.warning("cannot remove %s: %s", each, error.strerror)


def put_in_place(made: Draft, target: Path, *, overwrite: bool) -> None:
    """Give the finished file *made* the name *target*, whole or not at all.

    Raises:
        FileExistsError: *target* exists and *overwrite* is false.
        CannotOpen: another file has taken the place of the one that was made.
    """
    _check_is(made, made.path.lstat())
    files.sync_file(made.path)
    if overwrite:
        made.path.replace(target)
    else:
        _name_once(made.path, target)
    _check_named(made, target)
    files.sync_folder(target.parent)


def _check_named(made: Draft, target: Path) -> None:
    """Refuse *target* where another file was given that name a moment before."""
    try:
        state = target.lstat()
    except OSError as error:  # it was given, whatever the system says of it now
        if not files.is_of_the_system(error):
            raise
    else:
        _check_is(made, state)


def _check_is(made: Draft, state: os.stat_result) -> None:
    if not os.path.samestat(state, made.state):
        raise CannotOpen(
            f"{made.path} is not the file any more that was made there: somebody has replaced it"
        )


def _name_once(made: Path, target: Path) -> None:
    try:
        os.link(made, target, follow_symlinks=False)  # unlike a rename it never replaces
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        made.rename(target)
