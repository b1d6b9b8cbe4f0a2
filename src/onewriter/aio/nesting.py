"""Whether one task waits for another, so that it would wait for itself.

What a task awaits is not part of asyncio's documented interface, so all of it is asked for politely: where the answer
is not there, nobody is said to wait, and a call that can never have its turn ends at its deadline.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Iterator
from types import CellType, FunctionType
from typing import Any, TypeGuard, cast


def waits_for(waiter: asyncio.Task[Any], task: asyncio.Task[Any]) -> bool:
    """Whether *waiter* awaits the end of *task*, itself or through others, at this moment.

    Also through ``wait_for`` (which on Python 3.11 makes a task of what it is given), ``gather``, ``wait``, ``shield``
    and a ``TaskGroup`` whose block has ended.
    """
    seen: set[int] = set()
    left: list[asyncio.Future[Any]] = [task]
    while left:
        future = left.pop()
        if future is waiter:
            return True
        if id(future) not in seen:
            seen.add(id(future))
            left.extend(_told_by(future))
    return False


def waits_with_time_limit(waiter: asyncio.Task[Any], task: asyncio.Task[Any]) -> bool:
    """Whether *waiter* awaits *task* by ``wait_for``, which on Python 3.11 made a task of the call it was given."""
    limits: list[Any] = [each for each in _callbacks(task) if isinstance(each, functools.partial)]
    return any(waiter in _told_by(future) for each in limits for future in _futures(each.args))


def _callbacks(future: asyncio.Future[Any]) -> list[Any]:
    return [
        each for each, _context in cast("list[tuple[Any, Any]]", getattr(future, "_callbacks", None) or ())
    ]


def _told_by(future: asyncio.Future[Any]) -> Iterator[asyncio.Future[Any]]:
    """Yield the tasks and futures that hear when *future* is done."""
    for callback in _callbacks(future):
        if isinstance(callback, functools.partial):
            yield from _futures(callback.args)
        elif isinstance(callback, FunctionType):
            yield from _futures(map(_content, callback.__closure__ or ()))
        else:
            owner = getattr(callback, "__self__", None)
            if getattr(owner, "_on_completed_fut", None) is not None:  # a TaskGroup that waits
                owner = getattr(owner, "_parent_task", None)
            yield from _futures((owner,))


def _futures(found: Iterable[object]) -> Iterator[asyncio.Future[Any]]:
    return (each for each in found if _is_future(each))


def _is_future(thing: object) -> TypeGuard[asyncio.Future[Any]]:
    return isinstance(thing, asyncio.Future)


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None
