"""Trials: what ends in a copy of the process, and what does not."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType

import pytest

from onewriter import trials
from tests.support.children import forked
from tests.support.steps import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def hang() -> None:
    """Never end."""
    while True:
        signal.pause()


def test_what_ends_is_told_so_however_it_ends() -> None:
    """Also with an error, which would be heard here; nothing that was done in the copy is seen."""
    done: list[int] = []
    assert trials.ends(lambda: done.append(1))
    assert trials.ends(lambda: done[0])
    assert done == []
    assert not trials.is_under_way()


def test_what_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """After two tries, and nothing is left of them."""
    monkeypatch.setattr(trials, "WAIT_S", 0.1)
    reading, writing = os.pipe()

    def work() -> None:
        os.write(writing, b".")
        hang()

    assert not trials.ends(work)
    os.close(writing)
    assert os.read(reading, 9) == b".."
    assert os.read(reading, 9) == b""  # all who had the other end are gone
    os.close(reading)


def test_a_copy_whose_maker_is_killed_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, though nothing of Python runs in it."""
    monkeypatch.setattr(trials, "WAIT_S", 0.3)
    reading, writing = os.pipe()

    def work() -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        os.write(writing, b".")
        hang()

    maker = os.fork()
    if maker == 0:
        try:
            trials.ends(work)
        finally:
            os._exit(1)
    os.close(writing)
    assert os.waitpid(maker, 0)[1] == signal.SIGKILL
    assert os.read(reading, 9) == b"."
    assert os.read(reading, 9) == b""
    os.close(reading)


def test_what_crashes_has_not_ended() -> None:
    """It would crash here too."""
    assert not trials.ends(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_a_signal_waits_for_the_trial() -> None:
    """It breaks nothing off, here or in the copy, and its handler is called afterwards."""
    heard: list[int] = []

    def note(_number: int, _frame: FrameType | None) -> None:
        heard.append(os.getpid())
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, note)
    try:
        with pytest.raises(InterruptedError):
            trials.ends(lambda: os.kill(os.getppid(), signal.SIGUSR1))
        assert heard == [os.getpid()]
        assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_child_that_another_thread_forks_meanwhile_is_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on with its own, and knows nothing of the trial."""
    begun, may_go_on = threading.Event(), threading.Event()
    fork = os.fork

    def slow() -> int:
        if threading.current_thread() is other:
            begun.set()
            may_go_on.wait(10)
        return fork()

    monkeypatch.setattr(os, "fork", slow)
    told: list[bool] = []
    other = threading.Thread(target=lambda: told.append(trials.ends(lambda: None)))
    other.start()
    assert begun.wait(10)
    assert forked(trials.is_under_way) is False
    may_go_on.set()
    other.join(10)
    assert told == [True]


def test_a_handler_that_raises_leaves_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another thread gets the signal Python calls it all the same, on the main thread."""
    copies: list[int] = []
    fork = os.fork

    def noted() -> int:
        copies.append(fork())
        return copies[-1]

    def note(_number: int, _frame: FrameType | None) -> None:
        raise InterruptedError

    def work() -> None:
        os.kill(os.getppid(), signal.SIGUSR1)
        hang()

    monkeypatch.setattr(os, "fork", noted)
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    before = signal.signal(signal.SIGUSR1, note)
    try:
        with pytest.raises(InterruptedError):
            trials.ends(work)
    finally:
        signal.signal(signal.SIGUSR1, before)
        over.set()
        other.join()
    wait_until(lambda: not any(map(_is_there, copies)), "it was ended")


def _is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
