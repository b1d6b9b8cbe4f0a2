"""Schedules for races: each thread marks what it has done and waits for what others have; nobody sleeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
LIMIT_S = 20.0  # of every wait: a schedule that does not come about fails


class Steps:
    """Named moments that threads mark and wait for."""

    def __init__(self) -> None:
        """Begin with none marked."""
        self._marked: set[str] = set()
        self._changed = threading.Condition()

    def mark(self, step: str) -> None:
        """Say that *step* was reached."""
        with self._changed:
            self._marked.add(step)
            self._changed.notify_all()

    def is_marked(self, step: str) -> bool:
        """Whether some thread has marked *step*."""
        with self._changed:
            return step in self._marked

    def wait_for(self, step: str) -> None:
        """Wait until some thread has marked *step*."""
        with self._changed:
            assert self._changed.wait_for(lambda: step in self._marked, LIMIT_S), (
                f"{step!r} was never reached"
            )


class Call(Generic[T_co]):
    """A call on a thread of its own, begun at once."""

    def __init__(self, function: Callable[[], T_co], name: str = "call") -> None:
        """Start *function*."""
        self._function = function
        self._value: T_co
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            self._error = error

    @property
    def running(self) -> bool:
        """Whether it has not returned yet."""
        return self._thread.is_alive()

    @property
    def ident(self) -> int | None:
        """The thread's identifier."""
        return self._thread.ident

    def result(self) -> T_co:
        """Wait for the end and return its value, or raise its error."""
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), f"{self._thread.name} hangs"
        if self._error is not None:
            raise self._error
        return self._value

    def error(self) -> BaseException:
        """Wait for the end and return the error that it raised."""
        try:
            value = self.result()
        except BaseException as error:  # noqa: BLE001 - what was asked for
            return error
        raise AssertionError(f"no error, but {value!r}")


def outcome(call: Call[object]) -> BaseException | None:
    """Return what *call* raised, None where it succeeded; fail where it hangs."""
    try:
        call.result()
    except AssertionError:
        raise
    except BaseException as error:  # noqa: BLE001 - what was asked for
        return error
    return None


def calls(function: Callable[[int], T], number: int) -> list[Call[T]]:
    """Call *function* with 0, 1, 2 ... on *number* threads at once."""
    return [Call(partial(function, index), f"call-{index}") for index in range(number)]


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait until a state that others bring about is there; for states that nobody can mark."""
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.0005)
