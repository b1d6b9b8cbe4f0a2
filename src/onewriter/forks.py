"""What a forked child has of its parent's databases: objects that refuse all use, and handles to be shed.

K1  A child never uses an inherited SQLite handle: that would corrupt the file. Nor does its end, or the garbage
    collector, close one (https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_).
K2  A child that opens a database of its own sheds the inherited handles first. SQLite keeps one account of locks a
    file and process, which the child has inherited; the locks themselves it has not. A new handle would take the
    account's word for them: seen was a child without locks, whose parent, at its close, deleted the WAL under it, and
    with it a write that the child had been told was committed.
K3  A handle that was in the middle of a write, or of a call of another thread, cannot be shed: the child may not open
    that file at all.
K4  A mutex of SQLite's that a thread of the parent had at the fork (its allocator's, say) is never given up in the
    child. Shedding and opening pass them all, and would wait for ever, with the interpreter's lock held. So before
    anything is shed it is tried in a copy of the child (`trials`): where that does not come to its end, the child may
    open no database at all. What passed once has passed for good, since no thread that is here now ends in there. It
    is tried too where there is nothing to shed: the thread may have been at the first opening of them all.

Shedding waits until the child opens something: a child that only goes on to another program never comes near SQLite's
mutexes.
"""

from __future__ import annotations

import importlib
import os
import threading
import weakref
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from . import errands, files, presence, trials
from .errors import ForkedDatabase
from .locks import holding
from .shared import all_of


class Forkable(Protocol):
    """An object that holds handles of SQLite."""

    def disown(self) -> list[object]:
        """In a forked child: refuse all use, and return what must be kept and never closed there."""
        ...


class Inheritable(Protocol):
    """One handle of SQLite."""

    path: Path
    inherited: bool  # set in the child

    def is_engaged(self) -> bool:
        """In a forked child: whether this copy cannot be shed (K3); waits for nothing."""
        ...

    def shed(self) -> bool:
        """In a forked child: close this copy without touching the file or any lock; False where that cannot be done."""
        ...


_lock = threading.RLock()  # a signal handler may come back in: to shed twice does no harm
_open: weakref.WeakSet[Forkable] = weakref.WeakSet()
_handles: weakref.WeakSet[Inheritable] = weakref.WeakSet()
_inherited: list[Inheritable] = []  # guarded by _lock
_is_tried = False  # whether shedding is known to come to its end in this process (K4); guarded by _lock
_passes: list[Callable[[], object]] = []  # what passes the mutexes that an opening passes
_users: list[Collection[object]] = []  # what has SQLite open, or is about to, before it is a handle and after
_was_used = False  # whether there was any of them when this process, or one that it comes from, was forked


def register(holder: Forkable) -> None:
    """Have *holder* disowned in every child that is forked while it lives."""
    _open.add(holder)


def register_handle(handle: Inheritable) -> None:
    """Have *handle* shed in every child that is forked while it lives and opens a database itself."""
    _handles.add(handle)


def register_pass(passes: Callable[[], object]) -> None:
    """Have *passes*, which takes and gives up the mutexes that an opening does, called where that is tried (K4)."""
    _passes.append(passes)


def register_users(users: Collection[object]) -> None:
    """Have a child that opens a database try first whether it can, if *users* was not empty at the fork (K4)."""
    _users.append(users)


def shed_inherited(path: Path) -> None:
    """Before *path* is opened: rid this process of what a fork has left it of the parent's handles (K2).

    Raises:
        ForkedDatabase: one of that file cannot be shed (K3), or nothing can be opened in this process (K4).
    """
    if holding(_lock, _is_stuck, path):
        msg = (
            f"cannot open {path} in this process: it was forked while a thread of its parent was writing to that file; "
            "fork before the parent opens it, or start the child with 'spawn'"
        )
        raise ForkedDatabase(msg)


def _is_stuck(path: Path) -> bool:
    # Asked before, since this answer is at hand, and neither needs the trial nor changes by it.
    if (_inherited or _was_used) and not any(
        handle.path == path and handle.is_engaged() for handle in _inherited
    ):
        _try_first(path)
        _inherited[:] = [handle for handle in _inherited if not handle.shed()]
    return any(handle.path == path for handle in _inherited)


def _try_first(path: Path) -> None:
    """Refuse to go on where shedding, and opening *path* after it, would wait for ever (K4)."""
    global _is_tried  # noqa: PLW0603 - it belongs to the process
    if _is_tried:
        return
    if trials.is_under_way():
        msg = f"cannot open {path} in a hook of a fork that is made to try whether this process can open a database"
        raise ForkedDatabase(msg)
    try:
        _is_tried = trials.ends(_shed_all)
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and not files.is_of_the_system(error):
            raise
        msg = (
            f"cannot open {path} in this process: it was forked from one that had a database open, and whether it "
            f"would hang for that cannot be tried: {error}"
        )
        raise ForkedDatabase(msg) from error
    if not _is_tried:
        msg = (
            f"cannot open {path} in this process: it was forked while a thread of its parent was inside SQLite, and "
            "would wait for that thread for ever; fork before the parent opens a database, or start the child with "
            "'spawn'"
        )
        raise ForkedDatabase(msg)


def _shed_all() -> None:
    for handle in _inherited:
        handle.shed()
    for passes in _passes:
        passes()


def _before_fork() -> None:
    """Load what the child will need: there it would wait for ever for a thread that was in the middle of loading it."""
    if _open or _handles:
        importlib.import_module("ctypes")  # a process with an open database alone has to pay for it


def _after_fork() -> None:
    global _lock, _is_tried, _was_used  # noqa: PLW0603 - of the parent, another thread of which may have held it
    _lock = threading.RLock()
    _is_tried = False
    _was_used = _was_used or any(_users)
    presence.forget_all()
    errands.forget_all()
    holders = [holder.disown() for holder in all_of(_open)]
    handles = all_of(_handles)
    _open.clear()
    _handles.clear()
    for handle in handles:
        handle.inherited = True
    _inherited.extend(handles)
    if holders or handles:
        _keep_for_ever((holders, handles))


def _keep_for_ever(inherited: object) -> None:
    """Give *inherited* a reference that nothing takes back: the interpreter's own end would close what it holds."""
    import ctypes  # noqa: PLC0415 - loaded by `_before_fork`

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
