"""What a load is: the same work for each contender that can do it, for some seconds at a time.

L1  A contender has its file for all rounds of a load, in a process of its own (`bench.worker`); where the load writes
    much, a new one for each round.
L2  What a call took is measured around the contender's own call alone. A rate counts what came back without an error,
    over the time from the first call's begin to the last one's end: who keeps a thread waiting pays for it.
L3  Who is a `limit` is asked by one thread, however many the load names.
L4  Threads are started and what they need is opened before the first of them begins, and nothing is closed before the
    last of them has ended.
L5  What a contender raises is counted by its text, and its thread goes on; a thread that cannot open it sits the round
    out. A contender that does not come back is cut off: its process ends, and says so.
L6  Where each round has a file of its own, the close counts as part of it: what a contender has left in the WAL is
    moved into the file then, and he who left more has not done more.
"""

from __future__ import annotations

import base64
import itertools
import os
import threading
import time
from abc import ABC, abstractmethod
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, fields
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from bench.contenders import About, Can
from bench.contenders.base import Session
from onewriter.config import Durability
from onewriter.stress.waits import Waits

# For threads to open, and to come back; the longest time-out of a contender is a minute.
LIMIT_S: Final = 90.0
BYTES_MAX: Final = 2**30  # that a round writes which has a file of its own
Call = Callable[[], object]
Round = Callable[[float, float], "Seen"]  # from when on, and for how long
Opened = Callable[[], AbstractContextManager[Session]]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much of what is done.

    Attributes:
        name: its name in tables, in saved results and on the command line.
        part: the kind of work: a key of `bench.loads.WORKS`.
        threads: how many threads, or tasks, of each process do it.
        processes: how many processes share the file.
        durability: of every commit.
        bytes: of one write's own data.
        reads: the share of calls that read.
        rows: how many there are before it begins.
    """

    name: str
    part: str
    threads: int = 1
    processes: int = 1
    durability: Durability = "full"
    bytes: int = 200
    reads: float = 0.0
    rows: int = 0


@dataclass(slots=True, kw_only=True)
class Seen:
    """What one contender did in one round.

    Attributes:
        began, ended: the first call's begin and the last one's end, by the system's monotonic clock.
        done: how many calls came back without an error, by their kind.
        waits: how long each of those took, by their kind.
        bytes: what they stored.
        errors: how many calls failed, by the error.
        rss_bytes: the memory of its process at the end of the round, in which the suite and onewriter are for each.
    """

    began: float
    ended: float
    done: Counter[str] = field(default_factory=Counter[str])
    waits: dict[str, Waits] = field(default_factory=dict[str, Waits])
    bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    rss_bytes: int = 0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began

    def merge(self, other: Seen) -> None:
        """Count what another process, or thread, did in the same round."""
        self.began, self.ended = min(self.began, other.began), max(self.ended, other.ended)
        self.done += other.done
        self.errors += other.errors
        self.bytes += other.bytes
        self.rss_bytes += other.rss_bytes
        for kind, waits in other.waits.items():
            self.waits.setdefault(kind, Waits()).merge(waits)

    def as_json(self) -> Json:
        """Return it as JSON has it."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        found["waits"] = {kind: _packed(waits) for kind, waits in self.waits.items()}
        return found

    @classmethod
    def from_json(cls, found: Json) -> Self:
        """Return what `as_json` made *found* of."""
        return cls(
            began=found["began"],
            ended=found["ended"],
            done=Counter(found["done"]),
            waits={kind: _unpacked(packed) for kind, packed in found["waits"].items()},
            bytes=found["bytes"],
            errors=Counter(found["errors"]),
            rss_bytes=found["rss_bytes"],
        )


def _packed(waits: Waits) -> list[object]:
    encoded, worst_us = waits.__getstate__()
    return [base64.b64encode(encoded).decode(), worst_us]


def _unpacked(packed: list[Any]) -> Waits:
    waits = Waits()
    waits.__setstate__((base64.b64decode(packed[0]), packed[1]))
    return waits


@dataclass(slots=True)
class Part:
    """What one thread, or task, did in a round: as it was measured, so that it takes no time from the others."""

    began: float = 0.0
    ended: float = 0.0
    took: defaultdict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    errors: Counter[str] = field(default_factory=Counter[str])


class Hung(RuntimeError):
    """A contender did not come back; its process is of no use any more."""


class Work(ABC):
    """One kind of work.

    Attributes:
        needs: what a contender must be able to do.
        each: how many things one call does, where a single one is too short to be timed.
        anew: each round has a new file, and at most `BYTES_MAX`: else there would be more than a disk should hold.
    """

    needs: ClassVar[Can]
    each: ClassVar[int] = 1
    anew: ClassVar[bool] = False

    def __init__(self, load: Load, about: About, path: Path) -> None:
        """Have a contender do *load* with the file at *path*."""
        self.load = load
        self.about = about
        self.path = path
        self.rounds = 0

    @classmethod
    def is_for(cls, about: About) -> bool:
        """Whether a contender is asked to do it."""
        return cls.needs in about.can

    @property
    def threads(self) -> int:
        """How many do it (L3)."""
        return 1 if self.about.limit else self.load.threads

    def fill(self) -> None:
        """Make the file, with what is to be in it before; called once for each file."""
        assert not self.load.rows, self.load

    @abstractmethod
    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        """Yield what the thread of this *number* does, call by call, each with its kind."""

    def left(self) -> Iterator[Call]:
        """Yield calls that wait for what was asked for and is not there yet."""
        return iter(())

    def run(self, serve: Callable[[Round], None]) -> None:
        """Have *serve* ask for rounds until there are enough."""
        contender, durability = self.about.contender(), self.load.durability
        if not self.anew:
            with contender.opened(self.path, durability) as opened:
                serve(lambda at, seconds: self.round(opened, at, seconds))
            return

        def round_(at: float, seconds: float) -> Seen:
            self.clear()
            self.fill()
            with contender.opened(self.path, durability) as opened:
                seen = self.round(opened, at, seconds)
                closing = time.monotonic()
            seen.ended += time.monotonic() - closing  # L6
            self.end()
            return seen

        serve(round_)

    def clear(self) -> None:
        """Remove the file, with those beside it that SQLite and a contender made."""
        for old in self.path.parent.glob(f"{self.path.name}*"):
            old.unlink()

    def end(self) -> None:
        """End a round that had a file of its own: others' files are to have the room now."""
        self.clear()

    def round(self, opened: Opened, at: float, seconds: float) -> Seen:
        """Do it for *seconds*, from the moment *at* on, or from when all threads are ready if that is later.

        Raises:
            Hung: a thread did not come back.
        """
        self.rounds += 1
        threads = self.threads
        parts: list[Part] = []
        held: list[int] = []  # memory, when the last has ended and none has closed
        ready, go = threading.Barrier(threads + 1), threading.Event()
        done = threading.Barrier(threads + 1, action=lambda: held.append(rss_bytes()))

        def work(number: int) -> None:
            part = Part()
            parts.append(part)
            with suppress(threading.BrokenBarrierError), ExitStack() as stack:  # L5: the round was given up
                try:
                    session = stack.enter_context(opened())
                    turns, flush = self.turns(session, number), session.flush
                except Exception as error:  # noqa: BLE001 - L5
                    turns, flush = iter(()), bool
                    part.errors[f"not opened: {describe(error)}"] += 1
                ready.wait()
                go.wait()
                self.repeat(turns, seconds, part, flush)
                done.wait()  # L4

        workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(threads)]
        try:
            for worker in workers:
                worker.start()
            ready.wait(LIMIT_S)
            time.sleep(max(0.0, at - time.monotonic()))
            go.set()
            done.wait(seconds + LIMIT_S)
            for worker in workers:
                worker.join(LIMIT_S)
            assert not any(worker.is_alive() for worker in workers), "what it has open is not closed"
        except (RuntimeError, AssertionError) as error:  # of a barrier, and of a thread that cannot start
            raise Hung(
                f"{done.n_waiting} of {threads} threads came back; {error!r}; {self.seen(parts)}"
            ) from None
        return self.seen(parts, *held)

    def repeat(
        self, turns: Iterator[tuple[str, Call]], seconds: float, part: Part, flush: Call = bool
    ) -> None:
        """Take *turns*, on the calling thread, for *seconds*."""
        now, took, errors = time.monotonic, part.took, part.errors
        part.began = now()
        stop = part.began + seconds
        for kind, call in islice(turns, self._calls_max()) if self.anew else turns:
            before = now()
            if before >= stop:
                break
            try:
                call()
            except Exception as error:  # noqa: BLE001 - L5
                errors[describe(error)] += 1
            else:
                took[kind].append(now() - before)
        for call in (*self.left(), flush):
            try:
                call()
            except Exception as error:  # noqa: BLE001 - L5
                errors[describe(error)] += 1
        part.ended = now()

    def seen(self, parts: Sequence[Part], held_bytes: int = 0) -> Seen:
        """Return what the threads of one process did together, which held so much memory; what it holds now if 0."""
        seen = Seen(
            began=min(part.began for part in parts),
            ended=max(part.ended for part in parts),
            rss_bytes=held_bytes or rss_bytes(),
        )
        for part in parts:
            seen.errors += part.errors
            for kind, took in filter(itemgetter(1), part.took.items()):
                seen.done[kind] += len(took) * self.each
                record = seen.waits.setdefault(kind, Waits()).record
                for each in took:
                    record(each)
        seen.bytes = seen.done["write"] * self.load.bytes
        return seen

    def _calls_max(self) -> int:
        return max(1, BYTES_MAX // (self.threads * self.each * self.load.bytes))


def always(kind: str, call: Call) -> Iterator[tuple[str, Call]]:
    """Yield the same *call* for ever."""
    return itertools.repeat((kind, call))


def describe(error: Exception) -> str:
    """Return what *error* is, without what differs from one to the next."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:120]


def rss_bytes() -> int:
    """Return how much memory this process has."""
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
