"""The turn among processes as an onlooker sees it, who takes no part (`contenders` has the rules).

V1  Looking takes no lock, writes nothing, and waits for nobody but a thread of this process that is opening or closing
    a database.
V2  Where this process takes part, it looks through the descriptor that it has: closing another of the side file would
    drop its own turn (`turnfile`, I1). Its own locks the system does not tell it of; what it has it knows.
V3  A place counts only while its lock is there: what the dead have left on the page is passed over.
V4  It is one moment's truth, and not one moment's picture: a turn lasts for some milliseconds, and a look for less.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from . import files
from .contenders import beside_own
from .roll import PLACE_BYTE, Entry, Roll, entries
from .turnfile import Unusable, locker, looked_at

_Locker: TypeAlias = Callable[[int], int | None]  # of a byte: the other process that has it locked


@dataclass(frozen=True, slots=True)
class Waiter:
    """A process that waits for the turn, or has it: its number, None where it cannot be seen; for how many seconds."""

    pid: int | None
    for_s: float | None


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn at one moment.

    Attributes:
        holder: who has it.
        waits_for_lock: whether that one waits itself, for a lock on the database that is not of this library.
        waiting: who waits for it, longest first.
        members: the processes that take part, in the order of their numbers; None: some that cannot be seen.
    """

    holder: Waiter | None = None
    waits_for_lock: bool = False
    waiting: tuple[Waiter, ...] = ()
    members: tuple[int | None, ...] = ()


def look(path: Path) -> Turn:
    """Return who has the turn of the database at *path*, and who waits; nobody, where there is no side file.

    Raises:
        Unusable, OSError, CannotOpen: it cannot be looked at.
    """
    side = files.beside(path, files.TURN)
    state = files.look_at(side)
    if state is None:
        return Turn()
    if not files.is_trusted(state, path, 0):
        raise Unusable(f"{side} belongs to another user")
    return beside_own((state.st_dev, state.st_ino), partial(_look, side))


def _look(side: Path, own: Roll | None, places: frozenset[int], has_it: int | None) -> Turn:
    if own is not None:  # V2
        return _turn(entries(bytes(own.mapping)), own.locker, places, has_it)
    seen = looked_at(side, _look_apart)
    if seen is None:
        raise Unusable(f"{side} holds something else")
    return seen


def _look_apart(file: io.FileIO, page: bytes) -> Turn:
    return _turn(entries(page), partial(locker, file), frozenset(), None)


def _turn(listed: list[Entry], locker: _Locker, places: frozenset[int], has_it: int | None) -> Turn:
    alive: list[tuple[Entry, int | None]] = []
    for each in listed:
        pid = os.getpid() if each.place in places else locker(PLACE_BYTE + each.place)
        if pid is not None:  # V3
            alive.append((each, pid or None))
    owner = locker(0) if has_it is None else os.getpid()
    holding = next(
        (
            each
            for each, pid in alive
            if owner is not None
            and each.since
            and (each.place == has_it or (has_it is None and pid == owner))
        ),
        None,
    )
    waits = sorted(((each.wants, pid) for each, pid in alive if each.wants), key=lambda each: each[0])
    seen = {pid for _, pid in alive}
    return Turn(
        holder=None
        if owner is None
        else Waiter(owner or None, None if holding is None else _seconds(holding.since)),
        waits_for_lock=holding is not None and holding.waits_for_lock,
        waiting=tuple(Waiter(pid, _seconds(since)) for since, pid in waits),
        members=(*sorted(pid for pid in seen if pid is not None), *([None] if None in seen else ())),
    )


def _seconds(since: int) -> float | None:
    """Return how long ago that was; None where it was before the system was started anew."""
    passed = time.monotonic_ns() - since
    return passed / 1e9 if passed >= 0 else None
