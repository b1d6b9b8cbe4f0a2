"""What runs in each process of several that upload into one file, and what it is told and tells.

```text
 parent                          worker
 starts it, Task        ---->
                        <----    Ready            the file is open
 (all are ready) Go     ---->    uploads
                        <----    Going, ten times a second
                        <----    Ended            all is done, and the file closed
```

K1  Each opens the file by itself, in an interpreter of its own: nothing is inherited but two pipes.
K2  Ctrl-C is the parent's business: SIGINT is blocked here from the first instruction on (`processes` sees to that).
K3  The end of the parent's pipe means stop, whether the parent gave up or died; so no worker outlives its parent for
    longer than the write that it is in.
K4  Whatever breaks here is told in words, as `Broke`; a worker that says nothing more has been killed, or has crashed.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias, cast

from .crew import upload
from .settings import Settings
from .sources import Source
from .tally import Acknowledged, Tally
from .ways import Way


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is to do: upload *files* into the database at *path*, which is there, through *way*."""

    way: type[Way]
    path: Path
    files: Sequence[Source]
    settings: Settings


@dataclass(frozen=True, slots=True)
class Go:
    """All are ready: begin. *started_s* is the `perf_counter` of the parent, whose clock is the whole system's."""

    started_s: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The file is open."""


@dataclass(frozen=True, slots=True)
class Going:
    """How far it has come.

    Attributes:
        done: the uploads that were acknowledged since the last message.
        failed: how many have failed so far.
        calls: how many writes have ended so far, one way or another; a sign of life.
    """

    done: tuple[Acknowledged, ...]
    failed: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """All is done.

    Attributes:
        tally: what became of uploads and writes.
        commits: transactions that this process committed.
        uploaded_s: seconds from the common start until its last file was dealt with.
        closed_s: the same until it had closed the file.
    """

    tally: Tally
    commits: int
    uploaded_s: float
    closed_s: float


@dataclass(frozen=True, slots=True)
class Broke:
    """It gave up: the error in a line, and its traceback."""

    error: str
    trace: str


News: TypeAlias = Ready | Going | Ended | Broke


class _ParentGone(Exception):
    """Nobody listens any more."""


def main(orders: Connection, news: Connection) -> int:
    """Do the `Task` that comes through *orders*, tell *news* of it, and return the exit status."""
    try:
        task = cast("Task", _hear(orders))
        try:
            _tell(news, _work(task, orders, news))
        except _ParentGone:
            raise
        except Exception as error:  # noqa: BLE001 - it is the parent who shows it
            _tell(
                news, Broke("".join(traceback.format_exception_only(error)).strip(), traceback.format_exc())
            )
    except _ParentGone:
        return 1
    return 0


def _work(task: Task, orders: Connection, news: Connection) -> Ended:
    way = task.way(task.path, task.settings.durability)
    try:
        _tell(news, Ready())
        started_s = cast("Go", _hear(orders)).started_s
        stop = threading.Event()
        threading.Thread(target=_stop_at_the_end_of, args=(orders, stop), name="leash", daemon=True).start()
        reporter = _Reporter(news, task.settings.uploaders)
        tally = upload(
            way, task.files, task.settings, started_s=started_s, stop=stop, on_look=reporter.report
        )
        uploaded_s = time.perf_counter() - started_s
        commits = way.commits()
    finally:
        way.close()
    closed_s = time.perf_counter() - started_s
    return Ended(tally=tally, commits=commits, uploaded_s=uploaded_s, closed_s=closed_s)


class _Reporter:
    """Tells of the uploads as they are done: what was acknowledged is known even if this process is killed."""

    def __init__(self, news: Connection, uploaders: int) -> None:
        self._news = news
        self._told = [0] * uploaders

    def report(self, tallies: Sequence[Tally]) -> None:
        done: list[Acknowledged] = []
        for place, tally in enumerate(tallies):
            new = tally.done[self._told[place] :]
            self._told[place] += len(new)
            done += new
        failed = sum(tally.failed for tally in tallies)
        _tell(self._news, Going(tuple(done), failed, sum(tally.waits.count for tally in tallies)))


def _stop_at_the_end_of(orders: Connection, stop: threading.Event) -> None:
    try:
        _hear(orders)
    except _ParentGone:
        stop.set()  # K3


def _hear(orders: Connection) -> object:
    try:
        return cast("object", orders.recv())
    except (EOFError, OSError):
        raise _ParentGone from None


def _tell(news: Connection, message: News) -> None:
    try:
        news.send(message)
    except OSError:
        raise _ParentGone from None


def run(orders: str, news: str) -> None:
    """Be a worker: the arguments are the descriptors of its two pipes. Ends the process."""
    sys.exit(
        main(Connection(int(orders), writable=False), Connection(int(news), readable=False)),
    )
