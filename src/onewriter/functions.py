"""What a caller may give to be called: functions that have done their work when they return."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import AsyncGeneratorType, CodeType, CoroutineType, FunctionType
from typing import Final

from .errors import MisuseError, ProgrammingError

_LAZY: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
UNFINISHED: Final = frozenset({AsyncGeneratorType, CoroutineType})
_ADVICE: Final = (
    "a coroutine or generator function does its work after it has returned, when the transaction is over: give a plain "
    "function; collect a generator's rows in a list, and await before or after the write, not in it"
)
_LATER_ADVICE: Final = (
    "after_commit takes a plain function, not a coroutine or generator function, which would only begin when it is "
    "called: have the function start a task, or await after the write"
)

_PROGRESS_ADVICE: Final = (
    "progress takes a plain function of the pages done and the pages in all, not a coroutine or generator function, "
    "which would only begin when it is called: have the function start a task"
)
_OBSERVER_ADVICE: Final = (
    "observe takes a plain function, not a coroutine or generator function, which would only begin when it is called: "
    "tasks have `async for changes in db.observe(...)` of onewriter.aio"
)


def check_function(work: object) -> None:
    """Refuse what cannot be called with a transaction, and what would only begin its work when called."""
    _check_plain(work, "work must be a function of a transaction", _ADVICE)


def check_callback(callback: object) -> None:
    """Refuse what cannot be called without arguments after a commit, and what would only begin then."""
    _check_plain(callback, "after_commit takes a function without arguments", _LATER_ADVICE)


def check_progress(progress: object) -> None:
    """Refuse what cannot be called with the pages done and the pages in all, and what would only begin then."""
    wants = "progress takes a function of the pages done and the pages in all"
    _check_plain(progress, wants, _PROGRESS_ADVICE)


def check_observer(callback: object) -> None:
    """Refuse what cannot be called with what has changed, and what would only begin then."""
    _check_plain(callback, "observe takes a function of what has changed", _OBSERVER_ADVICE)


def _check_plain(given: object, wants: str, advice: str) -> None:
    if not callable(given):
        raise ProgrammingError(f"{wants}, not {type(given).__name__}")
    if _is_lazy(given):
        raise MisuseError(advice)


def _is_lazy(work: Callable[..., object]) -> bool:
    if type(work) is FunctionType:
        return bool(work.__code__.co_flags & _LAZY)
    inner = inspect.unwrap(work.func if isinstance(work, partial) else work)
    called = inner if inspect.isroutine(inner) else getattr(inner, "__call__", inner)  # noqa: B004 - which kind
    code = getattr(called, "__code__", None)
    return isinstance(code, CodeType) and bool(code.co_flags & _LAZY)


def check_finished(value: object) -> None:
    """Refuse a coroutine that a function returned: its work would begin when the transaction is over."""
    if type(value) in UNFINISHED:
        close = getattr(value, "close", None)
        if close is not None:
            close()  # it has not begun, and Python would complain of that
        raise MisuseError(_ADVICE, ran="rolled_back")
