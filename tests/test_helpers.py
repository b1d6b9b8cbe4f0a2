"""Threads of the library's own, by themselves: how they begin and end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from onewriter import clock, helpers
from onewriter.helpers import Helper
from tests.support.steps import LIMIT_S, Steps


class _LateEvent(threading.Event):
    """What Python sets when a thread has begun, a moment after the thread has its identifier."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def set(self) -> None:
        self._steps.mark("named")
        self._steps.wait_for("go")
        super().set()


def test_a_thread_that_is_about_to_begin_is_waited_for() -> None:
    """It has its identifier a moment before Python lets it be joined.

    the helper's thread     this thread
    has its identifier
                            ends the helper: not by this deadline
    has begun
                            ends the helper
    """
    steps, done = Steps(), list[str]()

    def work() -> float:
        done.append("done")
        return clock.NEVER

    helper = Helper("helper", work)
    helper._thread._started = _LateEvent(steps)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
    helper.start()
    steps.wait_for("named")
    assert not helper.end(clock.now())
    steps.mark("go")
    assert helper.end(clock.now() + LIMIT_S)
    assert done


def test_a_burst_starts_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call would make another that starts it, until it has begun: hundreds, where the system may have no room."""
    starters: list[Callable[[], object]] = []

    def start_new_thread(call: Callable[[], object], _arguments: tuple[()]) -> None:
        starters.append(call)

    monkeypatch.setattr(helpers, "_AGAIN_S", LIMIT_S)
    monkeypatch.setattr(helpers, "_thread", SimpleNamespace(start_new_thread=start_new_thread))
    helper = Helper("helper", lambda: clock.NEVER)
    for _ in range(100):
        helper.start()
    (starter,) = starters
    starter()
    assert helper.end(clock.now() + LIMIT_S)


def test_a_thread_that_the_system_refuses_is_started_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody may ask for it again: a future that is its to tell would wait for ever."""
    done, refusals = Steps(), [RuntimeError(), RuntimeError()]

    def work() -> float:
        done.mark("works")
        return clock.NEVER

    helper = Helper("helper", work)
    start = helper._thread.start

    def refuses() -> None:
        if refusals:
            raise refusals.pop()
        start()

    monkeypatch.setattr(helper._thread, "start", refuses)
    helper.start()
    done.wait_for("works")
    assert helper.end(clock.now() + LIMIT_S)
