"""Locks that an interrupt may leave held, by themselves."""

from __future__ import annotations

import threading

import pytest

from onewriter.locks import holding
from tests.support.steps import Call
from tests.support.strikes import Strike, Striker


def _is_free(lock: threading.RLock) -> bool:
    def take() -> bool:
        if not lock.acquire(blocking=False):
            return False
        lock.release()
        return True

    return Call(take).result()


def test_a_call_within_a_call_leaves_the_lock_to_the_outer_one() -> None:
    """Whatever it raises: a signal handler came in between, and was refused, say."""
    lock = threading.RLock()

    def refused() -> None:
        raise LookupError

    def outer() -> bool:
        with pytest.raises(LookupError):
            holding(lock, refused)
        return _is_free(lock)

    assert holding(lock, outer) is False
    assert _is_free(lock)


def test_an_interrupt_anywhere_leaves_the_lock_free() -> None:
    """At each bytecode, with a call in a call too."""
    lock, number, place = threading.RLock(), 0, "none"
    while place:
        number += 1
        striker = Striker(number)
        raised = striker.run(lambda: holding(lock, lambda: holding(lock, int)))
        place = striker.place
        assert raised is None or isinstance(raised, Strike)
        assert _is_free(lock), place
    assert number > 10
