"""A transaction that is open for the length of a task's block: a thread keeps it, and serves the calls of the block.

S1  What the calls go through (a `Transaction`, a stream) is used by its thread alone, which is inside it from the
    opening to the end: the background thread for a write, one of the crew for a read. Calls are served one by one, in
    their order, whichever tasks of the loop they come from.
S2  Its end is told once, by the thread, after all calls that it served; what came too late is refused then.
S3  A write that has been open for longer than ``hold_s`` is ended by its thread, which waits for the next call no
    longer than that, and whose statements are interrupted then. (A read's age is the business of `watch`.)
S4  A call that only reads is broken off where its task is cancelled. One that writes goes on then, since SQLite rolls
    the whole transaction back where a write is interrupted; it is broken off where the transaction, or the savepoint
    that it is in, is to be undone anyway.
S5  A block that is forgotten (its task was destroyed) ends with the object that it was given, and one whose loop is
    lost (`mailbox`, M5) within `LOOK_S`: its thread looks.
S6  A signal handler that raises may strike the loop's thread at any step. `abandon` is the way out from all of them,
    and does no harm where the session has ended; what is called at the beginning and the end may be called twice.
    Where the block's own end is struck before its first step, S5 ends it.

States, all on the loop's thread but for the last, which any may ask for:

    ASKED ──`at_begin`──> OPEN    the thread has it
    ASKED ──`ended`──> OVER       it never came to be: a time-out, a refusal
    OPEN ──leave──> LEFT          the block's end: no further calls
    OPEN, LEFT ──`ended`──> OVER  committed, rolled back, or ended by the thread
    OPEN ──abandon──> OPEN        the thread will roll it back (S5, or a task that was cancelled while it asked)
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar, cast

from onewriter import errands
from onewriter.errors import Error, StatementTimeout, TransactionEnded, WrongThread
from onewriter.gates import ENDED

from .holds import Hold
from .mailbox import Answer, Letter, Mailbox, settle

T = TypeVar("T")
S = TypeVar("S")  # what the calls go through
LOOK_S: Final = 1.0


class RolledBack(Exception):
    """Ends a write that its block does not want to be committed."""


class Call(Answer, Generic[S]):
    """One call of a block."""

    def __init__(self, session: Session[S], work: Callable[[S], object]) -> None:
        """Do *work* with what *session* has open."""
        self._session = session
        self._work = work

    def do(self, source: S) -> None:
        """Do it with *source*; on the session's thread."""
        errands.begin(self)
        try:
            if not self.dropped:
                self.value = self._work(source)
        except BaseException as error:  # noqa: BLE001 - it is the task's
            self.error = error
        if self.dropped and (self.error is None or isinstance(self.error, StatementTimeout)):
            # Where another task than the one that left waits for it.
            self.error = TransactionEnded(f"{self._session.what} has ended meanwhile", ran="rolled_back")
        self._work = _done  # it may know the block, which ends with its object (S5)

    @property
    def ran_too_long(self) -> bool:
        """Whether it was interrupted."""
        return isinstance(self.error, StatementTimeout)

    def replace(self, error: Error) -> None:
        """Tell *error* instead of its own."""
        error.__cause__ = self.error
        self.error = error

    def arrive(self) -> None:
        """Tell the outcome."""
        self._session.served(self)
        super().arrive()


def _done(_source: object) -> object:
    raise AssertionError("a call is served once")


class _UndoneError(Exception):
    """What a part is left with that is to be undone."""


_UNDONE: Final = _UndoneError()


class Part(Generic[T]):
    """A block within a block (a savepoint, a stream), entered and left on the session's thread."""

    def __init__(self, block: AbstractContextManager[T]) -> None:
        """Enter *block*."""
        self._block = block
        self.value = block.__enter__()

    def leave(self, error: Exception | None) -> None:
        """Leave it, with *error*, which is not raised again."""
        self._block.__exit__(None if error is None else type(error), error, None)


class _Opened(Letter):
    """News that the thread has it open."""

    def __init__(self, session: Session[Any], letter: Letter) -> None:
        self._session = session
        self._letter = letter

    def arrive(self) -> None:
        if not (self._letter.answer.done() or self._letter.dropped):  # its task may have left meanwhile
            self._session.at_begin()
            self._letter.answer.set_result(None)


class Session(Generic[S]):
    """One block's transaction.

    Attributes:
        commits: whether it is to be committed, once it is left.
        at_begin: called when it is open.
        at_end: called when it was left, has ended, or nobody has it any more; on any thread.
    """

    at_begin: Callable[[], object] = int
    at_end: Callable[[], object] = int

    commits = False
    _over = ""  # why no call is served any more
    _is_left = False
    _outcome: asyncio.Future[None] | None = None  # for who waits for its end
    _ending: BaseException | None = None  # of one that ended before it was left

    def __init__(self, box: Mailbox, what: str, check_own: Callable[[], object], *, breaks: bool) -> None:
        """Serve tasks of the loop of *box*; *what* is what a user calls it. *check_own* refuses a forked child.

        *breaks* says that a call whose task was cancelled may be broken off, and the session goes on.
        """
        self.box = box
        self.what = what
        self._check_own = check_own
        self._breaks = breaks
        self._calls: SimpleQueue[Call[S] | None] = SimpleQueue()  # None: it is left
        self._unserved: dict[Call[S], None] = {}
        self._parts: set[Part[Any]] = set()  # of the thread's; kept, so that none is finalized on another

    # --- on the loop's thread

    def post(self, work: Callable[[S], T]) -> Call[S]:
        """Have *work* done after what was asked for before.

        Raises:
            TransactionEnded: it is over, or was left.
            WrongThread: it is another loop's.
            ForkedDatabase: it is the parent process's.
        """
        self.check()
        call = Call(self, work)
        call.task = asyncio.current_task()
        self.box.expect(call)
        self._unserved[call] = None
        self._calls.put(call)
        return call

    async def call(self, work: Callable[[S], T]) -> T:
        """Return what *work* returns; raises as `post`. Cancelled, it may run all the same, unless it has not begun."""
        return await self._answer(work, breaks=self._breaks)

    async def ask(self, work: Callable[[S], T]) -> T:
        """Do as `call`, with what only reads: cancelled, it is broken off (S4)."""
        return await self._answer(work, breaks=True)

    async def _answer(self, work: Callable[[S], T], *, breaks: bool) -> T:
        call = self.post(work)
        try:
            return cast("T", await call.answer)
        except asyncio.CancelledError:
            call.dropped, call.broken = True, breaks
            raise

    async def finish(self, work: Callable[[S], T]) -> T:
        """Return what *work* returns, which ends a part of it; raises as `post`. Cancelled, it runs all the same."""
        return cast("T", await self.post(work).answer)

    async def enter(self, open_: Callable[[S], AbstractContextManager[T]]) -> Part[T]:
        """Enter, on its thread, what *open_* returns; raises as `post`."""
        entered: list[Part[T]] = []

        def work(source: S) -> Part[T]:
            part = Part(open_(source))
            self._parts.add(part)
            entered.append(part)
            return part

        def leave(_source: S) -> None:
            for part in entered:
                self._leave(part, _UNDONE)

        try:
            return await self.call(work)
        except asyncio.CancelledError:
            if not self.is_over:  # it may have been entered all the same
                self.post(leave)
            raise

    async def undo(self, part: Part[Any]) -> None:
        """Leave *part* as with an error, if its end has not done so yet."""
        if not self.is_over:
            for call in self._unserved:
                call.broken = call.dropped  # S4
            await self.end(lambda _source: self._leave(part, _UNDONE))

    async def end(self, work: Callable[[S], object]) -> None:
        """Have *work* done, which ends a part of it; raises as `post`.

        It is not waited for where the task, or an asynchronous generator, is being destroyed: nothing can be awaited
        then. What the task asks for next comes after it all the same (S1).
        """
        if not isinstance(sys.exception(), GeneratorExit):
            await self.finish(work)
            return
        with suppress(Error, RuntimeError):  # on another thread: then it ends with its block
            self.post(work)

    async def keep(self, part: Part[Any]) -> None:
        """Leave *part* as without an error; raises as `post`."""
        await self.finish(lambda _source: self._leave(part, None))

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or was left."""
        return bool(self._over) or self._is_left

    def served(self, call: Call[S]) -> None:
        """Note that *call* has its outcome."""
        self._unserved.pop(call, None)

    async def leave(self, *, commit: bool) -> None:
        """End it, and wait until it has ended.

        Raises:
            TransactionEnded: it had ended before, and cannot be committed.
            Error: the commit failed.
        """
        if self._over:
            if commit:
                raise self._refusal() from self._ending
            return
        self._is_left, self.commits = True, commit
        self.at_end()  # from here on the block waits for nothing of its own
        self._outcome = self.box.loop.create_future()
        if not commit:
            for call in self._unserved:
                call.dropped = call.broken = True  # S4
        self._calls.put(None)
        await self._outcome

    def ended(self, error: BaseException | None) -> None:
        """Take note that the thread has ended it, with *error*."""
        if error is None or self._is_left or isinstance(error, RolledBack):
            self._over = self._over or ENDED
        else:
            self._over = str(error) or type(error).__name__
        self._ending = None if self._is_left else error
        for call in self._unserved.copy():
            self.box.forget(call)
            settle(call.answer, None, self._refusal())
        self._unserved.clear()
        self.at_end()
        if self._outcome is not None:
            settle(self._outcome, None, error if self.commits else None)

    def abandon(self) -> None:
        """Have it ended, and wait for nothing; on any thread, a finalizer's too (S5, S6)."""
        if not self._is_left:
            for call in self._unserved.copy():
                call.dropped = call.broken = True
        self._calls.put(None)
        self.at_end()

    def check(self) -> None:
        """Refuse a call that can have no outcome; raises as `post`."""
        self._check_own()
        if asyncio.get_running_loop() is not self.box.loop:
            msg = f"{self.what} belongs to the event loop in which it was opened"
            raise WrongThread(msg)
        if self.is_over:
            raise self._refusal()

    def _refusal(self) -> Error:
        if self._is_left or self._over == ENDED:
            msg = f"{self.what} is over; nothing of it can be used after its block has ended"
            return TransactionEnded(msg)
        return TransactionEnded(self._over, ran="rolled_back")

    # --- on its thread

    def serve(self, source: S, letter: Letter, hold: Hold | None = None) -> None:
        """Serve calls with *source* until it is left; *letter* is told that it is open.

        Raises:
            TransactionEnded: it was open for longer than *hold* allows (S3).
        """
        self._tell(_Opened(self, letter))
        errands.begin(letter)
        while self._serve_one(source, letter, hold):
            pass

    def _serve_one(self, source: S, letter: Letter, hold: Hold | None) -> bool:
        """Serve the next call; False where it is left. While it waits it keeps no call: that may keep its block."""
        call = self._next(hold)
        if call is None:
            return False
        call.do(source)
        errands.begin(letter)
        if hold is None or not hold.is_over():
            self._tell(call)
            return True
        if call.ran_too_long:
            call.replace(hold.ended())
        self._tell(call)
        raise hold.ended()

    def _leave(self, part: Part[Any], error: Exception | None) -> None:
        self._parts.discard(part)
        part.leave(error)

    def forget_parts(self) -> None:
        """Let go of what was open within it; on its thread, when it has ended."""
        self._parts.clear()

    def _next(self, hold: Hold | None) -> Call[S] | None:
        while True:
            try:
                return self._calls.get(timeout=LOOK_S if hold is None else min(LOOK_S, hold.patience_s()))
            except Empty:
                if self.box.is_lost:
                    self.at_end()
                    return None
                if hold is not None:
                    hold.look()

    def _tell(self, letter: Letter) -> None:
        self.box.put(letter)
        self.box.ring()
