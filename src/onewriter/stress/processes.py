"""Several processes that upload into one file at the same time: started, let go together, followed to their ends.

Q1  All begin at the same moment: when each has the file open, or has been given up.
Q2  Each end has a reason: the work is done, it broke and says how, or it was killed, by others or by us.
Q3  Nothing is waited for without a limit. A worker that is not ready in time, or in which no write ends for long, is
    killed, and the others go on: what was acknowledged to them is to be there at the end all the same.
Q4  However the run ends, by Ctrl-C too, no worker is left.

A thread of ours listens to each worker; its words are worked on by the thread that called.
"""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import TypeAlias, cast

from .crew import LOOK_S
from .progress import OnProgress, Progress
from .settings import Settings
from .sources import Source
from .tally import Acknowledged, Tally
from .ways import Way
from .worker import Broke, Ended, Go, Going, News, Ready, Task

_PROGRAM = (
    "import sys; arguments, sys.path[:] = sys.argv[1:3], sys.argv[3:]; "
    "from onewriter.stress.worker import run; run(*arguments)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a worker is waited for.

    Attributes:
        start_s: from its start until it has the file open.
        still_s: during which at least one of its writes should end, or the file be closed.
        end_s: from the request to stop until it has ended by itself.
    """

    start_s: float = 120.0
    still_s: float = 120.0
    end_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One process's share of the work, and what became of it.

    Attributes:
        number: of the process, from 1.
        files: how many files it was given.
        tally: what became of uploads and writes; of a process that was lost, what it had told until then.
        commits: transactions that it committed, as far as is known.
        uploaded_s: from the common start until its last file was dealt with, or it was lost.
        closed_s: the same until it had closed the file.
        lost: what became of a process that did not end well ("was ended by SIGKILL"); empty where it did.
        trace: its traceback where it has one.
    """

    number: int
    files: int
    tally: Tally
    commits: int
    uploaded_s: float
    closed_s: float
    lost: str
    trace: str


def upload_together(
    way: type[Way],
    path: Path,
    files: Sequence[Source],
    settings: Settings,
    on_progress: OnProgress,
    *,
    limits: Limits | None = None,
) -> tuple[Share, ...]:
    """Upload *files* into the database at *path*, which is there, by as many processes as *settings* say.

    File by file they go to one process after the other. Waits until all processes have ended, and calls *on_progress*
    on the calling thread meanwhile, several times a second. An interrupt stops the processes and is raised when none
    is left.
    """
    limits = limits or Limits()
    news: _Inbox = queue.SimpleQueue()
    crew: list[_Worker] = []
    try:
        with _interrupts_held_back():
            for number in range(settings.processes):
                task = Task(way, path, files[number :: settings.processes], settings)
                crew.append(_Worker(number + 1, task, news))
        return _Run(crew, news, on_progress, limits).follow()
    finally:
        _dismiss(crew, limits.end_s)  # Q4


class _Over:
    """A worker's last news: it has ended, with this status."""

    def __init__(self, status: int) -> None:
        self.status = status


_Inbox: TypeAlias = "queue.SimpleQueue[tuple[_Worker, News | _Over]]"


class _Worker:
    """A process at work, as its parent sees it. Used by the parent's one thread, but for `_listen`."""

    def __init__(self, number: int, task: Task, inbox: _Inbox) -> None:
        self.number = number
        self.files = len(task.files)
        self.done: list[Acknowledged] = []
        self.failed = 0
        self.ready = self.over = False
        self.ended: Ended | None = None
        self.lost = self.trace = ""
        self.lost_s = 0.0
        self.alive_s = time.perf_counter()  # when it last gave a sign of life
        self._calls = 0
        orders, self._orders = Pipe(duplex=False)
        self._news, news = Pipe(duplex=False)
        with orders, news:  # ours end with the block, so that its end is heard, and only its own
            ends = (orders.fileno(), news.fileno())
            self._process = subprocess.Popen(  # noqa: S603 - this Python, with a program of ours
                [sys.executable, "-c", _PROGRAM, *map(str, ends), *sys.path],
                pass_fds=ends,
                stdin=subprocess.DEVNULL,
            )
        self._listener = threading.Thread(target=self._listen, args=(task, inbox), name=f"worker-{number}")
        self._listener.start()

    def _listen(self, task: Task, inbox: _Inbox) -> None:
        try:
            self._orders.send(task)  # here: a worker that does not read it holds up nobody else
            while True:
                inbox.put((self, cast("News", self._news.recv())))
        except (EOFError, OSError):
            pass
        except BaseException:  # a mistake of ours, such as a task that cannot be pickled
            self._process.kill()
            raise
        finally:
            inbox.put((self, _Over(self._process.wait())))

    def go(self, started_s: float) -> None:
        """Let it begin. It is ready, so its listener is done with the pipe."""
        try:
            self._orders.send(Go(started_s))
        except OSError:
            return  # it has just died, which its listener tells
        self.alive_s = started_s

    def hear(self, message: News | _Over) -> None:
        """Take note of what it told."""
        now_s = time.perf_counter()
        match message:
            case Ready():
                self.ready, self.alive_s = True, now_s
            case Going(done, failed, calls):
                self.done += done
                self.failed = failed
                if calls != self._calls:
                    self._calls, self.alive_s = calls, now_s
            case Ended():
                self.ended, self.alive_s = message, now_s
                self.done, self.failed = message.tally.done, message.tally.failed
            case Broke(error, trace):
                self.lost, self.trace = f"broke: {error}", trace
                self.lost_s = self.alive_s = now_s
            case _Over(status=status):
                self.over = True
                if not self.lost and (status or self.ended is None):  # Q2
                    self.lost, self.lost_s = _end_of(status), now_s

    def give_up(self, reason: str) -> None:
        """Kill it, for *reason*, or for one that is known already: it broke, and cannot end."""
        if not self.lost:
            self.lost, self.lost_s = reason, time.perf_counter()
        self._process.kill()

    def dismiss(self) -> None:
        """Have it stop after the write that it is in; at once where it has not begun."""
        if not self.ready:
            self._process.kill()
        elif not self._orders.closed:
            self._orders.close()

    def gone(self, limit_s: float) -> bool:
        """Wait for its end, *limit_s* seconds at most, and tell whether it came."""
        self._listener.join(limit_s)
        if self._listener.is_alive():
            return False
        self._orders.close()
        self._news.close()
        return True

    def kill(self) -> None:
        """End it as nothing can catch."""
        self._process.kill()

    def share(self, started_s: float) -> Share:
        """Return what it did; it is over."""
        if self.ended and not self.lost:
            tally, commits = self.ended.tally, self.ended.commits
            uploaded_s, closed_s = self.ended.uploaded_s, self.ended.closed_s
        else:
            tally, commits = Tally(done=self.done, failed=self.failed), 0
            uploaded_s = closed_s = max(0.0, self.lost_s - started_s)
        return Share(
            number=self.number,
            files=self.files,
            tally=tally,
            commits=commits,
            uploaded_s=uploaded_s,
            closed_s=closed_s,
            lost=self.lost,
            trace=self.trace,
        )


class _Run:
    """The workers of one run, from their start to the last one's end."""

    def __init__(
        self, crew: Sequence[_Worker], inbox: _Inbox, on_progress: OnProgress, limits: Limits
    ) -> None:
        self._crew = crew
        self._inbox = inbox
        self._on_progress = on_progress
        self._limits = limits

    def follow(self) -> tuple[Share, ...]:
        """Let all go together, wait for each one's end, and return what they did."""
        while any(not (worker.ready or worker.over) for worker in self._crew):
            self._look(self._limits.start_s, f"was not ready within {self._limits.start_s:g} s")
        started_s = time.perf_counter()
        for worker in self._crew:
            if not worker.over:
                worker.go(started_s)  # Q1
        while any(not worker.over for worker in self._crew):
            self._look(self._limits.still_s, f"hung: no write ended for {self._limits.still_s:g} s")
        return tuple(worker.share(started_s) for worker in self._crew)

    def _look(self, limit_s: float, reason: str) -> None:
        """Take in the news of a moment, and give up who has not given a sign of life for *limit_s* seconds (Q3)."""
        next_s = time.perf_counter() + LOOK_S
        while (left_s := next_s - time.perf_counter()) > 0:
            try:
                worker, message = self._inbox.get(timeout=left_s)
            except queue.Empty:
                break
            worker.hear(message)
            if not isinstance(message, Going):
                break  # somebody may be waiting for just this
        for worker in self._crew:
            if not worker.over and time.perf_counter() - worker.alive_s > limit_s:
                worker.give_up(reason)
        self._on_progress(
            Progress(
                sum(len(worker.done) for worker in self._crew), sum(worker.failed for worker in self._crew)
            )
        )


def _dismiss(crew: Sequence[_Worker], end_s: float) -> None:
    """Leave no worker: ask, wait, kill. A second interrupt shortens the wait."""
    deadline_s = time.perf_counter() + end_s
    try:
        for worker in crew:
            worker.dismiss()
        for worker in crew:
            worker.gone(max(0.0, deadline_s - time.perf_counter()))
    finally:
        for worker in crew:
            if not worker.gone(0):
                worker.kill()
                worker.gone(end_s)


def _end_of(status: int) -> str:
    if status >= 0:
        return f"ended with status {status} before its time"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"was ended by signal {-status}"


@contextmanager
def _interrupts_held_back() -> Generator[None]:
    """Hold Ctrl-C back during the block, and for good in the processes that it starts: they inherit the mask.

    A terminal sends it to every process of the command. One that is just starting has no handler yet, and would die
    with a traceback; a parent in the middle of starting one would forget it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
