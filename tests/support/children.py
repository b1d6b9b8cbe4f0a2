"""Other processes: a Python program with onewriter, several that start together, and a forked child."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from tests.support.stranger import LIMIT_S

NOBODY = 65534
ROOT = Path(__file__).parents[2]


# Another user may not be able to run this Python, so the program becomes that user when all is loaded.
_PRELUDE = """
import os
import onewriter
onewriter.open  # loads what another user may not read
user = {0}
if user is not None:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
"""


class Child:
    """A Python program that runs in a process of its own; it marks its steps by printing lines."""

    def __init__(self, program: str, *arguments: object, user: int | None = None) -> None:
        """Start *program* with *arguments* as its ``sys.argv[1:]``."""
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _PRELUDE.format(user) + program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def wait_for(self, mark: str) -> None:
        """Return once it has printed the line *mark*; a child that ends first fails the test."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == mark:
                return
        assert self.process.stderr is not None
        message = f"the child ended before {mark!r}: {self.process.stderr.read()}"
        raise AssertionError(message)

    def go_on(self) -> None:
        """Let it read one line."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """Kill it, as nothing can catch, and wait for its end."""
        self.process.kill()
        self.process.communicate(timeout=LIMIT_S)

    def end(self) -> str:
        """Wait for its end, which must be a good one, and return what it printed."""
        try:
            printed, complaint = self.process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        assert self.process.returncode == 0, complaint
        return printed


@contextmanager
def child(program: str, *arguments: object, user: int | None = None) -> Generator[Child]:
    """A `Child` for the length of a block; one that is still running at its end is killed."""
    started = Child(program, *arguments, user=user)
    try:
        yield started
    finally:
        started.kill()


def together(program: str, count: int, *arguments: object) -> list[str]:
    """Run *program* in *count* processes; each prints ``ready`` and waits for a line, then all are let go at once."""
    children = [Child(program, *arguments) for _ in range(count)]
    try:
        for each in children:
            each.wait_for("ready")
        for each in children:
            each.go_on()
        return [each.end() for each in children]
    finally:
        for each in children:
            each.kill()


def as_nobody(program: str, *arguments: object) -> str:
    """Run *program* as a user who may do nothing special, which the one who runs the tests may already be."""
    return Child(program, *arguments, user=NOBODY if os.geteuid() == 0 else None).end()


def forked(work: Callable[[], object]) -> object:
    """Run *work* in a forked child and return what it returned, or raise what it raised."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _answer(work, writing)
    os.close(writing)
    try:
        told = _read_all(reading)
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    outcome = pickle.loads(told)
    if isinstance(outcome, BaseException):
        raise outcome
    return cast("object", outcome)


def _answer(work: Callable[[], object], writing: int) -> None:
    try:
        try:
            told = work()
        except BaseException as error:  # noqa: BLE001 - it is raised in the parent
            told = error
        os.write(writing, pickle.dumps(told))
    finally:
        os._exit(0)


def _read_all(reading: int) -> bytes:
    told = b""
    while select.select([reading], [], [], LIMIT_S)[0]:
        part = os.read(reading, 65536)
        if not part:
            break
        told += part
    return told
