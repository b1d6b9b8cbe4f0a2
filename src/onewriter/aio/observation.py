"""What changes in a database, told to a task.

Q1  The pump (`onewriter.observers`) puts what is to be told into the observer's slot *before* it looks whether a task
    waits; a task says that it waits *before* it looks into the slot a last time. So one of the two sees the other.
Q2  An observation belongs to one loop, and one task at a time waits for it.
Q3  One that is forgotten, or whose loop is lost, ends: the observer does not keep it.
Q4  Where its task is cancelled while it begins on a thread, whichever of the two comes second closes the observer.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from onewriter import clock
from onewriter.changes import Changes
from onewriter.errors import MisuseError
from onewriter.observer import Observer

from .crew import Job, begin_apart
from .desk import Desk
from .mailbox import Letter, Mailbox, outcome, settle


class News(Letter):
    """That there is something to be told; or that nothing more comes."""

    def __init__(self, lost: Callable[[], object]) -> None:
        """Call *lost* where the loop is lost."""
        self._lost = lost

    def arrive(self) -> None:
        """Wake the task."""
        settle(self.answer, None, None)

    def be_lost(self) -> None:
        """End the observation (Q3)."""
        self._lost()

    def drop(self) -> None:
        """End the observation: the loop is lost (Q3)."""
        self.dropped = True
        self._lost()


class _Held:
    """What the thread that makes the observer, the pump and the observation share; it does not keep the last.

    Attributes:
        observer: once it was made.
        waits: the letter of the task that waits, with its mailbox (Q1).
        is_dropped: nobody wants the observer any more.
        life: calls `drop` when the observation is gone; kept here, where the collector does not take it with that.
    """

    def __init__(self) -> None:
        self.observer: Observer | None = None
        self.waits: tuple[News, Mailbox] | None = None
        self.is_dropped = False
        self.life: object = None

    def begin(self, desk: Desk, tables: str | Iterable[str] | None, timeout_s: float | None) -> None:
        """Make the observer, on a thread."""
        self.observer = desk.observe(tables, self.notify, timeout_s)
        if self.is_dropped:  # Q4
            self.observer.close()

    def notify(self) -> None:
        """Wake the task that waits; for the pump."""
        waits = self.waits
        if waits is not None:
            news, box = waits
            box.put(news)
            box.ring()

    def lose(self) -> None:
        """End it where its loop is lost: nobody is to be woken."""
        self.waits = None
        self.drop()

    def drop(self, _dead: object = None) -> None:
        """End it; takes no lock, since the collector may call it."""
        self.is_dropped = True
        if self.observer is not None:
            self.observer.close()
            self.notify()


class Observation:
    """What changes: an asynchronous iterator of `onewriter.Changes`, and a block that ends it. `observe` makes it."""

    def __init__(self, desk: Desk, tables: str | Iterable[str] | None, timeout_s: float | None) -> None:
        """Made by the library; begins when it is entered, or first waited for."""
        self._desk = desk
        self._tables = tables if tables is None or isinstance(tables, str) else tuple(tables)
        self._timeout_s = timeout_s
        self._box: Mailbox | None = None  # of its loop, once it has begun
        self._has_begun = False
        self._held = _Held()
        # Calls `drop` when this object is gone (Q3).
        self._held.life = weakref.ref(self, self._held.drop)

    @property
    def closed(self) -> bool:
        """Whether it has ended: nothing more comes than what was told already."""
        observer = self._held.observer
        return self._held.is_dropped or (observer is not None and observer.over)

    def close(self) -> None:
        """End it; a second time does nothing. Waits for nothing; a task that iterates over it hears the end."""
        self._held.drop()

    async def __aenter__(self) -> Self:
        """Begin, and return itself."""
        if self._box is not None:
            raise MisuseError("the block of an observation is entered once: call db.observe() again")
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Changes:
        """Wait for the next changes, and return them.

        Raises:
            StopAsyncIteration: it was closed, or the database, and all was told.
            MisuseError: another task waits for it, or it belongs to another loop.
        """
        if self._box is None and not self._held.is_dropped:
            await self._begin()
        elif not self._has_begun and not self._held.is_dropped:
            raise _another_waits()
        while True:
            observer = self._held.observer
            if self._held.is_dropped or observer is None:
                raise StopAsyncIteration
            is_over = observer.over  # before the look: what comes last lies there then
            changes = observer.take()
            if changes is not None:
                return changes
            if is_over:
                raise StopAsyncIteration
            await self._wait(observer)

    async def _begin(self) -> None:
        desk, held = self._desk, self._held
        desk.check_may_observe()
        box = self._box = desk.box()
        tables, timeout_s = self._tables, self._timeout_s
        job = Job(lambda _left_s: held.begin(desk, tables, timeout_s), clock.NEVER, box)
        try:
            await outcome(begin_apart(job, "observe", box))
            self._has_begun = True
        except BaseException:
            held.drop()
            raise

    async def _wait(self, observer: Observer) -> None:
        """Wait until there may be something to be told (Q1)."""
        held, box = self._held, self._desk.box()
        if box is not self._box:
            raise MisuseError(
                "an observation belongs to the event loop that it began in: make one for each loop"
            )
        if held.waits is not None:
            raise _another_waits()
        news = News(held.lose)
        box.expect(news)
        held.waits = (news, box)
        try:
            if not observer.has_news and not observer.over and not held.is_dropped:
                await news.answer
        finally:
            held.waits = None
            box.forget(news)


def _another_waits() -> MisuseError:
    return MisuseError("another task waits for this observation: make one for each task")
