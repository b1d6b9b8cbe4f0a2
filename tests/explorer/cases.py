"""Cases: which threads ask the writer for what, under which limits.

Each thread asks for one thing, of these kinds:

    write        a function of two statements              timed            one that may time out while it waits
    execute      one statement, which others may run       timed_execute    one that may time out while it waits
    fails        a function that raises after the first    bad              a statement that fails
    loses        a function that loses the transaction     alone            a function with a commit of its own
    poison       a function for which the commit fails     turn             an interactive transaction
    submit       a function for the background thread      cancelled        one that another thread cancels
    hooked       one with a callback for after the commit  waiting          two, of which one calls back and waits
    timed_submit one that may time out                     timed_turn       one that may time out
    asked        a function for it, of a task              timed_asked      one that may time out
    dropped      one whose task leaves at any moment
    stated       one statement, of a task                  timed_stated     one that may time out
    left         one whose task leaves at any moment       bad_stated       one that fails
    close        close, and wait for the end               timed_close      close, refuse those who wait too long
    stranger     no request: another connection that has the file's lock, and lets it go
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import LiteralString, cast

from onewriter import Config, IntegrityError, Transaction
from onewriter.aio.mailbox import Mailbox
from onewriter.aio.writes import AskedFunction, AskedStatement, AskedWrite, NotWanted
from onewriter.background import Background
from onewriter.connection import Connection
from onewriter.errors import DatabaseClosed, QueueFull, WriteTimeout
from onewriter.futures import WriteFuture
from onewriter.interactive import HeldTransaction
from onewriter.locks import closed_lock, wake_up
from onewriter.presence import Presence
from onewriter.requests import Function, Statement
from onewriter.turns import Turn
from onewriter.watch import Watch
from onewriter.writer import Writer
from tests.explorer import judge
from tests.explorer.fakes import FakeLock
from tests.explorer.judge import STATED, Asked
from tests.explorer.search import at_random, explore, follow
from tests.explorer.store import POISON, Store
from tests.explorer.watched import WatchedDict
from tests.explorer.world import FIRST_IDENT, NAMES, Strike, Thread, World, enter

FOREVER_S = 1e6  # past what ever times out
SOON_S = 1.0
STATEMENTS = frozenset({"execute", "timed_execute", "bad"})
SUBMITTED = frozenset({"submit", "timed_submit", "cancelled", "hooked", "waiting"})
ASKED = frozenset({"asked", "timed_asked", "dropped"}) | STATED


@dataclass(frozen=True)
class Case:
    """What is run.

    Attributes:
        kinds: one for each thread.
        pending_max, batch_max, lead_s: as in `Config`.
        main: which thread stands for the main thread; -1 for none of them.
        strike: the main thread is struck, once, at any point.
        fine: every thread has a point before each access.
    """

    kinds: tuple[str, ...]
    pending_max: int = 100
    batch_max: int = 100
    lead_s: float = FOREVER_S
    main: int = -1
    strike: bool = False
    fine: bool = False

    def __str__(self) -> str:
        """Name it, for the report."""
        more = [f"pending_max={self.pending_max}"] if self.pending_max < 100 else []
        more += [f"batch_max={self.batch_max}"] if self.batch_max < 100 else []
        more += [] if self.lead_s else ["no lead"]
        more += [f"main is {NAMES[self.main]}"] if self.main >= 0 else []
        more += ["struck"] if self.strike else []
        more += ["fine"] if self.fine else []
        return " ".join(["+".join(self.kinds), *more])


class _Dropped(Exception):
    """Its task has left, and hears nothing."""


class _Box:
    """Where the outcome of what was asked comes."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.is_left = False
        self.news = closed_lock()

    def put(self, ticket: object) -> None:
        """Take *ticket*."""
        self.told.append(ticket)

    def forget(self, ticket: object) -> None:
        """Do nothing: who asked looks by himself."""

    def ring(self) -> None:
        """Wake who waits."""
        wake_up(self.news)


class _NoWatch:
    def look_at(self, turn: Turn) -> None:
        """Do nothing."""


class _Failure(Exception):
    """What a function of a test raises."""


class CaseRun:
    """One run of a case."""

    def __init__(self, case: Case) -> None:
        """Make the threads, each at its beginning."""
        world = self.world = World()
        enter(world)
        self.case = case
        if case.main >= 0:
            world.main_ident = FIRST_IDENT + case.main
        store = self.store = Store(world)
        if "stranger" in case.kinds:
            store.stranger = FakeLock()
            store.stranger.acquire()
        self.presence = Presence((0, 0))
        config = Config(
            pending_max=case.pending_max,
            batch_max=case.batch_max,
            lead_s=case.lead_s,
            batch_s=FOREVER_S,
            holder_warn_s=FOREVER_S,
            write_timeout_s=FOREVER_S,
        )
        self.writer = Writer(cast("Connection", store), config, Path("list"), self.presence)
        store.line = self.writer.line
        self.background = Background(self.writer) if (SUBMITTED | ASKED) & set(case.kinds) else None
        if self.background is not None:
            self.background._untold = WatchedDict()
        self.asked: list[Asked] = []
        for number, kind in enumerate(case.kinds):
            fine = case.fine or (case.strike and number == case.main)
            thread = world.spawn(NAMES[number], partial(self._ask, number), fine=fine)
            self.asked.append(Asked(kind, 10 * (number + 1), thread))
        if case.strike:
            world.interrupt(world.threads[case.main])

    def judge(self) -> list[str]:
        """Return what is wrong at the end."""
        return judge.faults(self)

    # --- in the threads

    def _ask(self, number: int) -> None:
        asked = self.asked[number]
        try:
            self._do(asked)
            asked.outcome = "done"
        except (WriteTimeout, QueueFull, DatabaseClosed, CancelledError) as error:
            asked.outcome, asked.error = "refused", error
        except (_Failure, IntegrityError) as error:
            asked.outcome, asked.error = "failed", error
        except Strike:
            asked.outcome = "struck"
        except (_Dropped, NotWanted):
            asked.outcome = "dropped"
        self._hear(asked)

    def _hear(self, asked: Asked) -> None:
        """Look, at the moment at which the outcome is told, whether what it saw is committed."""
        found = self.store.seen.get(asked.first, ())
        if asked.outcome in ("done", "failed") and not set(found) <= set(self.store.kept):
            self.world.faults.append(f"{asked.name} was told of what is not committed: it saw {found}")
        if asked.outcome == "done" and asked.wants and not set(asked.numbers) <= set(self.store.kept):
            self.world.faults.append(f"{asked.name} was told before the commit")
        if asked.outcome == "done" and asked.kind == "hooked" and not asked.called:
            self.world.faults.append(f"{asked.name} was told before its callback was called")

    def _do(self, asked: Asked) -> None:
        kind, first, writer = asked.kind, asked.first, self.writer
        timeout_s = SOON_S if kind.startswith("timed") else FOREVER_S
        if kind == "stranger":
            assert self.store.stranger is not None
            self.store.stranger.release()
        elif kind in ("close", "timed_close"):
            self._close(asked, timeout_s)
        elif kind in STATEMENTS:
            sql = "bad" if kind == "bad" else "first"
            writer.perform(Statement(sql, (first,)), timeout_s, portable=True, alone=False)
        elif kind == "waiting":
            self._submit_two(asked)
        elif kind in SUBMITTED:
            self._submit(asked, timeout_s)
        elif kind in ASKED:
            self._await(asked, timeout_s)
        elif kind in ("turn", "timed_turn"):
            watch = cast("Watch", _NoWatch())
            with HeldTransaction(writer, timeout_s, FOREVER_S, watch, None) as tx:
                self._work(asked)(tx)
        else:
            work = Function(self._work(asked))
            writer.perform(work, timeout_s, portable=False, alone=kind == "alone")

    def _work(self, asked: Asked) -> Callable[[Transaction], object]:
        kind, first = asked.kind, asked.first

        def work(tx: Transaction) -> None:
            tx.execute("first", (first,))
            if kind == "fails":
                raise _Failure
            if kind == "loses":
                tx.execute("kill")
            if kind == "poison":
                tx.execute("then", (POISON,))
            tx.execute("then", (first + 1,))
            if kind == "hooked":
                tx.after_commit(asked.call)

        return work

    def _close(self, asked: Asked, timeout_s: float) -> None:
        now = self.world.threads[asked.thread.number].now
        closed = self.writer.close(now + timeout_s)
        if closed and not self.store.is_closed:
            self.world.faults.append("closed, and the connection is not")
        if self.background is not None:
            self.background.end(now + FOREVER_S)

    def _submit(self, asked: Asked, timeout_s: float) -> None:
        assert self.background is not None
        future = self.background.submit(self._work(asked), timeout_s, alone=False)
        if asked.kind == "cancelled":
            self.world.spawn(f"cancels-{asked.name}", lambda: self._cancel(asked, future))
        try:
            future.result()
        except CancelledError:
            asked.was_cancelled = True
            raise

    def _submit_two(self, asked: Asked) -> None:
        """Submit two, where a callback of the first waits for the second, which is told before its own is called."""
        assert self.background is not None
        submitted, futures = closed_lock(), list[WriteFuture[object]]()

        def wait() -> None:
            submitted.acquire()
            futures[1].result()

        def work(sql: LiteralString, number: int, callback: Callable[[], object], tx: Transaction) -> None:
            tx.execute(sql, (number,))
            tx.after_commit(callback)

        for each in (
            partial(work, "first", asked.first, wait),
            partial(work, "then", asked.first + 1, asked.call),
        ):
            futures.append(self.background.submit(each, FOREVER_S, alone=False))
        submitted.release()
        for future in futures:
            future.result()

    def _await(self, asked: Asked, timeout_s: float) -> None:
        """Do what a task and its loop do: ask, and look into the box each time that it rings."""
        assert self.background is not None
        box = _Box()
        mailbox = cast("Mailbox", box)
        if asked.kind in STATED:
            sql = "bad" if asked.kind == "bad_stated" else "first"
            ticket: AskedWrite = AskedStatement(sql, (asked.first,), timeout_s, self.writer, mailbox)
        else:
            work = AskedFunction(self._work(asked))
            ticket = AskedWrite(work, timeout_s, self.writer, mailbox, alone=False)
        self.background.put(ticket)
        if asked.kind in ("dropped", "left"):
            self.world.spawn(f"drops-{asked.name}", lambda: self._drop(ticket, box))
        while not box.told and not box.is_left:
            box.news.acquire()
        if box.is_left:
            raise _Dropped
        if ticket.error is not None:
            raise ticket.error

    def _drop(self, ticket: AskedWrite, box: _Box) -> None:
        box.is_left = True
        ticket.drop()
        box.ring()

    def _cancel(self, asked: Asked, future: WriteFuture[object]) -> None:
        asked.cancel_said = future.cancel()


def search(case: Case) -> int:
    """Run *case* in every order that matters; return how many that are."""
    return explore(case, lambda: CaseRun(case))


def draw(case: Case, seed: int, runs: int) -> None:
    """Run *case* in *runs* orders drawn from *seed*."""
    at_random(case, lambda: CaseRun(case), seed, runs)


def replay(case: Case, schedule: str) -> None:
    """Run *case* by *schedule*, as a report names it."""
    follow(case, lambda: CaseRun(case), schedule)


__all__ = ["Case", "CaseRun", "Thread", "draw", "replay", "search"]
