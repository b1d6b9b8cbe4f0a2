"""Cases of the pool of readers: which threads ask for what, with how many readers.

query    one statement           timed    one that may time out while it waits
twice    two, one after another  block    a read transaction with a statement
nested   a read transaction with a query beside it, which needs another reader
close    close, and wait for the end
watch    find that the snapshots of all blocks are too old, twice
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from onewriter import Config, blocks, clock, custody, loans, marks, reading
from onewriter import readers as pools
from onewriter.errors import DatabaseClosed, NestedRead, ReadTimeout, StatementTimeout, TransactionEnded
from onewriter.parameters import Params
from onewriter.presence import Presence
from onewriter.reader import ReadingConnection
from onewriter.readers import Readers
from onewriter.reading import Reading
from onewriter.rows import Row
from tests.explorer.library import faked, now_of_thread, start_new_thread, threading_of
from tests.explorer.search import at_random, explore, follow
from tests.explorer.watched import Watched, WatchedDict
from tests.explorer.world import FIRST_IDENT, NAMES, Strike, Thread, Touch, World, enter, here

FOREVER_S = 1e6
SOON_S = 1.0
_STRUCK = ((), ("struck",), ("struck twice",), ("struck three times",))


@dataclass(frozen=True)
class LendingCase:
    """What is run.

    Attributes:
        kinds: one for each thread.
        readers_max: as in `Config`.
        strikes: how often the first thread is struck, at any point.
        looks: waiters look around by themselves, as they do from time to time.
    """

    kinds: tuple[str, ...]
    readers_max: int = 1
    strikes: int = 0
    looks: bool = False

    def __str__(self) -> str:
        """Name it, for the report."""
        more = [f"{self.readers_max} readers"] if self.readers_max > 1 else []
        return " ".join(["+".join(self.kinds), *more, *_STRUCK[self.strikes]])


class _Waiter(loans.Waiter):
    """A place in the queue, with a dictionary, so that its attributes can be watched."""

    def __init__(self, loan: loans.Loan) -> None:
        super().__init__(loan)
        self.run = cast("LendingRun", here().run)
        self.run.queued.append(self)


class _Served(Watched[object]):
    """Who was served, in which order."""

    def __set__(self, thing: object, value: object) -> None:
        super().__set__(thing, value)
        if value is not None and isinstance(thing, _Waiter) and thing not in thing.run.served:
            thing.run.served.append(thing)


class Connection:
    """A connection that tells where two threads use it at once, or use it when it is closed."""

    path = Path("pool")
    inherited = False
    unended = False
    is_broken = False
    opened = None
    killed_by = None

    def __init__(self, world: World) -> None:
        """Be open, with nothing begun."""
        self._world = world
        self._key = world.new_key()
        self._user: Thread | None = None
        self._begun = False
        self.is_closed = False
        self.busy_until = self.stop_at = 0.0
        self.hold_until = 0.0

    @contextmanager
    def _use(self) -> Generator[None]:
        me = self._world.current
        assert me is not None, "a logical thread"
        if self._user is not None or self.is_closed:
            self._world.faults.append(
                f"{me.name} uses a connection that {self._user and self._user.name} uses"
            )
        self._user = me
        try:
            self._world.point()
            self._world.touch(self._key, Touch.WRITE)  # two uses never commute
            yield
        finally:
            self._user = None

    def first(self, _sql: str, _params: object) -> Row:
        """Read."""
        with self._use():
            return Row((1,))

    def begin_request(self, _deadline: float) -> None:
        """Do nothing."""

    def begin_read(self, _deadline: float) -> bool:
        """Begin."""
        with self._use():
            self._begun = True
            return True

    def is_idle(self) -> bool:
        """Whether nothing is begun."""
        return not self._begun

    def recover(self) -> None:
        """Roll back."""
        self.rollback()

    def rollback(self) -> None:
        """Roll back."""
        with self._use():
            self._begun = False

    def too_old(self) -> str:
        """Say so."""
        return "too old"

    def close_opened(self) -> None:
        """Do nothing."""

    def check_own(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close."""
        if not self.is_closed:
            with self._use():
                self.is_closed = True


class LendingRun:
    """One run of a case."""

    def __init__(self, case: LendingCase) -> None:
        """Make the threads, each at its beginning."""
        world = self.world = World()
        enter(world)
        world.run = self
        self.case = case
        self.connections: list[Connection] = []
        self.queued: list[_Waiter] = []
        self.served: list[_Waiter] = []
        self.outcomes: dict[str, str] = {}
        if case.strikes:
            world.main_ident = FIRST_IDENT
        self.pool = Readers(self._connect, case.readers_max, Path("pool"))
        self.pool.holders, self.pool.homes = WatchedDict(), WatchedDict()
        config = Config(read_timeout_s=FOREVER_S, readers_max=case.readers_max)
        self.reading = Reading(Path("pool"), config, Presence((0, 0)), self.pool)
        for number, kind in enumerate(case.kinds):
            fine = case.strikes > 0 and number == 0
            thread = world.spawn(NAMES[number], partial(self._ask, NAMES[number], kind), fine=fine)
            thread.api = SimpleNamespace(mark=marks.Mark(thread.name))
        if case.strikes:
            world.interrupt(world.threads[0], case.strikes)

    def judge(self) -> list[str]:
        """Return what is wrong at the end."""
        return list(self._faults())

    # --- in the threads

    def _connect(self, _deadline: float) -> ReadingConnection:
        self.connections.append(Connection(self.world))
        return cast("ReadingConnection", self.connections[-1])

    def _ask(self, name: str, kind: str) -> None:
        try:
            self._do(kind)
            self.outcomes[name] = "done"
        except (ReadTimeout, DatabaseClosed, NestedRead, StatementTimeout, TransactionEnded) as error:
            self.outcomes[name] = type(error).__name__
        except Strike:
            self.outcomes[name] = "struck"

    def _do(self, kind: str) -> None:
        if kind == "close":
            self.reading._closed = True
            if not self.pool.close(FOREVER_S):
                self.world.faults.append("close returned, and a reader is lent")
        elif kind == "watch":
            for _ in range(2):
                for loan in self.pool.loans():
                    block = loan[3]
                    if block is not None and not block.over and block.ends_at < FOREVER_S:
                        block.expire()
        elif kind == "block":
            with self.reading.read_transaction() as tx:
                tx.query_one("SELECT 1")
        elif kind == "nested":
            with self.reading.read_transaction():
                self._query(FOREVER_S)
        else:
            for _ in range(2 if kind == "twice" else 1):
                self._query(SOON_S if kind == "timed" else FOREVER_S)

    def _query(self, timeout_s: float) -> None:
        self.reading._ask(_first, "SELECT 1", (), timeout_s if timeout_s < FOREVER_S else None)

    # --- at the end

    def _faults(self) -> Iterator[str]:
        for number, kind in enumerate(self.case.kinds):
            outcome = self.outcomes.get(NAMES[number])
            allowed = {"struck"} if self.world.threads[number].was_struck else self._allowed(kind)
            if outcome not in allowed:
                yield f"{NAMES[number]} ({kind}) was told {outcome}, not {' or '.join(sorted(allowed))}"
        if self.pool._lent():
            yield f"left lent: {self.pool._lent()}"
        if self.pool._waiting:
            yield f"left waiting: {list(self.pool._waiting)}"
        if any(each._begun and not each.is_closed for each in self.connections):
            yield "a reader came back with a transaction"
        if not self.case.strikes:
            yield from self._order()

    def _allowed(self, kind: str) -> set[str]:
        if kind == "nested" and self.case.readers_max == 1:
            return {"NestedRead", "DatabaseClosed"} if "close" in self.case.kinds else {"NestedRead"}
        allowed = {"done", "ReadTimeout"} if kind == "timed" else {"done"}
        if kind == "block" and "watch" in self.case.kinds:
            allowed = {"done", "StatementTimeout"}
        return allowed | {"DatabaseClosed"} if "close" in self.case.kinds and kind != "close" else allowed

    def _order(self) -> Iterator[str]:
        closing = "close" in self.case.kinds
        if self.pool.watched != closing:
            yield f"watched is {self.pool.watched} at the end"
        if closing and not self.pool.is_empty:
            yield "closed, and not empty"
        order = [each for each in self.queued if each in self.served]
        if order != self.served:
            idents = [[each.loan[0] for each in them] for them in (order, self.served)]
            yield f"they queued as {idents[0]} and were served as {idents[1]}"


def _first(connection: ReadingConnection, sql: str, params: Params) -> object:
    return connection.first(sql, params)


class _Here:
    """The storage of the running thread."""

    @property
    def mark(self) -> marks.Mark:
        """What lives as long as it."""
        me = here().current
        assert me is not None, "a logical thread"
        return cast("marks.Mark", cast("SimpleNamespace", me.api).mark)


@contextmanager
def faked_pool(*, looks: bool) -> Generator[pytest.MonkeyPatch]:
    """Have the pool run on logical threads for a block."""
    with faked() as patch:
        for module in (custody, loans, marks, pools):
            patch.setattr(module, "threading", threading_of(module))
        for module in (custody, pools, reading):
            patch.setattr(module, "_start_new_thread", start_new_thread)
        patch.setattr(reading, "monotonic", now_of_thread)
        patch.setattr(reading, "get_ident", threading_of(reading).get_ident)
        patch.setattr(
            pools, "_SOON_S", -FOREVER_S
        )  # nobody stays: each thread has a clock of its own (`world`, P4)
        patch.setattr(pools, "_LOOK_S", SOON_S if looks else FOREVER_S)
        patch.setattr(pools, "_LOOK_S_MAX", SOON_S if looks else FOREVER_S)
        patch.setattr(pools, "Waiter", _Waiter)
        patch.setattr(marks, "_here", _Here())
        for owner, name, watched in (
            (Readers, "watched", Watched(default=False, is_point=True)),
            (Readers, "_closed", Watched(default=False, is_point=True)),
            (_Waiter, "reader", _Served(None, is_point=True)),
            (_Waiter, "refused", Watched(default=False, is_point=True)),
            (blocks.Block, "is_due", Watched(default=False, is_point=True)),
            (blocks.Block, "over", Watched("", is_point=True)),
            (blocks.Block, "ends_at", Watched(clock.NEVER, is_point=True)),
        ):
            watched.name(name)
            patch.setattr(owner, name, watched, raising=False)
        yield patch


def search(case: LendingCase) -> int:
    """Run *case* in every order that matters; return how many that are."""
    with faked_pool(looks=case.looks):
        return explore(case, lambda: LendingRun(case))


def draw(case: LendingCase, seed: int, runs: int) -> None:
    """Run *case* in *runs* orders drawn from *seed*."""
    with faked_pool(looks=case.looks):
        at_random(case, lambda: LendingRun(case), seed, runs)


def replay(case: LendingCase, schedule: str) -> None:
    """Run *case* by *schedule*, as a report names it."""
    with faked_pool(looks=case.looks):
        follow(case, lambda: LendingRun(case), schedule)
