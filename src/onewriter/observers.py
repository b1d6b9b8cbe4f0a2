"""All who observe one database: what is committed comes here, is handed out, and told on a thread of its own.

P1  Who commits appends the net of it to ``_news`` and nudges the *pump*, a thread that runs no code of a user's: no
    write ever does more here. Where `NEWS_MAX` rows lie there, the next net is dropped, and told as `unsure`.
P2  The pump takes the news in its order and gives each observer his part. Who joins does so in the same order, while
    he has the role: so he is told of every commit after that, and of none before.
P3  A second thread, the *caller*, calls the callbacks, one at a time: a slow one keeps other callbacks waiting, and no
    write. Whatever one raises, it is called again for the next changes.
P4  Others' commits are seen by who begins a write (`recording`, V5), exactly. While nobody does, the pump looks every
    ``Config.observe_poll_s``, on a read-only connection of its own. What that sees may be this database's own commits:
    so the writing connection is asked then, with the role, which tells them apart; up to `LOOK_S`, and anew at the next
    look where the role did not come. A database without a writing connection has no commits of its own.
P5  While nobody observes, the pump sleeps, the connection records nothing, and that for looking is closed. With the
    role the pump looks once more whether somebody has joined before it stops the recording, and who joins has it.
P6  Closing: the connection for looking goes first (`stop_looking`), so that the writer's close is the file's last; then
    the line is drained; then `end` has all told that was committed, up to the deadline.
P7  Nothing has a lock: `_news` and the slots are deques, the rest belongs to the pump (`shared`, U3, U4). An interrupt
    may strike who commits between appending and nudging: the pump looks from time to time in any case.

States of a connection, each transition made with the role:  plain ──add──> recording ──_rest──> plain
States of an observer:  made ──add──> in the news ──_join──> joined ──close──> in the news ──_leave──> gone
                        joined ──end──> over, once all is told
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import clock
from .changes import Changes, folded
from .config import Config
from .errors import DatabaseClosed, Error, ReadTimeout, WriteTimeout
from .helpers import Helper
from .locks import closed_lock, wake_up
from .nets import Net
from .observer import Observer
from .presence import Presence
from .reader import ReadingConnection
from .recording import RecordingConnection, forget, record
from .turns import Turn
from .writer import Writer

_log = logging.getLogger(__name__)
_sleep = time.sleep
NEWS_MAX: Final = (
    100_000  # rows, and a commit counts as one: some 10 MB, or seconds in which the pump has no turn
)
LOOK_S: Final = 0.05
# Of the pump after it has handed out, so that who commits in a loop does not wake it each time.
PAUSE_S: Final = 0.001
_POLL_S_MIN: Final = 0.001


class Calling(Observer):
    """An observer with a callback.

    Attributes:
        call: calls it.
    """

    def __init__(
        self,
        tables: frozenset[str] | None,
        rows_max: int,
        notify: Callable[[], object],
        call: Callable[[Changes], object],
    ) -> None:
        """Have *call* called with what has changed; the rest is `Observer`'s."""
        super().__init__(tables, rows_max, notify)
        self.call = call


class Observers:
    """The observers of one database, and the two threads that serve them, which are started at the first need."""

    def __init__(
        self,
        path: Path,
        config: Config,
        presence: Presence,
        writer: Writer | None,
        connect: Callable[[float], ReadingConnection],
    ) -> None:
        """Serve those of *writer*'s database; *connect* opens a connection for looking, up to a deadline."""
        self._path = path
        self._config = config
        self._presence = presence
        self._writer = writer
        self._connect = connect
        self._poll_s = max(config.observe_poll_s, _POLL_S_MIN)
        self._news: deque[Net | Observer] = deque()
        self._given = self._taken = 0  # the weight of all nets that were put in, and taken out
        self._has_overflowed = False
        self._is_closing = False
        self.is_quiet = True  # the connection for looking is closed
        self.at_quiet: Callable[[], object] = int  # called when it is, at the end
        self._quiet = closed_lock()  # news of that
        # The pump's; the caller looks at a copy of the first.
        self._joined: dict[Observer, None] = {}
        self._owners: dict[str, str] = {}  # the virtual tables that others are parts of, by folded names
        self._is_behind = False  # they may be others by now
        self._looker: ReadingConnection | None = None
        self._seen: object = None  # the version of the data, at the last look
        self._has_changed = False  # since it was known whose commits there were
        self._looks_at = clock.NEVER
        self._has_complained = False
        self._pump = Helper(f"onewriter-observe-{path.name}", self._work)
        self._caller = Helper(f"onewriter-observers-{path.name}", self._call)

    # --- for who observes

    def add(self, observer: Observer, deadline: float) -> None:
        """Have *observer* told of every commit from now on; waits for the write turn up to *deadline*.

        Raises:
            WriteTimeout, ReadTimeout: that did not come in time, or the file was locked.
            NestedWrite, DatabaseClosed, OperationalError: as `Database.observe`.
        """
        observer.pump = self
        try:
            self._pump.start()
            if isinstance(observer, Calling):
                self._caller.start()
            if self._writer is None:
                self._news.append(observer)
            else:
                with Turn(self._writer, max(0.0, deadline - clock.now())) as connection:
                    record(connection, self._tell, self._config.observe_rowids_max, deadline)
                    self._news.append(observer)
            self.nudge()
            if not observer.answered.acquire(timeout=clock.wait_s(deadline)):
                if self._is_closing:
                    raise self._refusal()
                raise ReadTimeout(f"{self._path}: observing did not begin in time", held_by="line")
            if observer.refused is not None:
                raise observer.refused
        except BaseException:
            observer.close()
            raise

    def calling(self, tables: frozenset[str] | None, call: Callable[[Changes], object]) -> Calling:
        """Make an observer with a callback, for `add`."""
        return Calling(tables, self._config.observe_rowids_max, self._caller.nudge, call)

    def leave(self, observer: Observer) -> None:
        """Have the pump forget *observer*, which is closed."""
        self._news.append(observer)
        self.nudge()

    def nudge(self) -> None:
        """Have the pump look soon."""
        self._pump.nudge()

    def _refusal(self) -> DatabaseClosed:
        return DatabaseClosed(f"{self._path} is closed")

    # --- with the role

    def _tell(self, net: Net) -> None:
        """Take over what was committed (P1)."""
        if self._given - self._taken < NEWS_MAX:
            self._given += net.weight
            self._news.append(net)
        else:
            self._has_overflowed = True
        self.nudge()

    # --- the end

    def stop_looking(self, deadline: float) -> bool:
        """Close the connection for looking, and wait for that up to *deadline*; False where it took longer (P6)."""
        self._is_closing = True
        self.nudge()
        if self.is_quiet or self._pump.is_here():
            return True
        if self._quiet.acquire(timeout=clock.wait_s(deadline)):
            wake_up(self._quiet)  # for the next who waits
        return self.is_quiet

    def end(self, deadline: float) -> bool:
        """Have told what was committed, and end both threads, up to *deadline*; False where that took longer."""
        self._is_closing = True
        ended = self._pump.end(deadline)
        return self._caller.end(deadline) and ended

    # --- the pump

    def _work(self) -> float:
        if self._hand_out():
            _sleep(PAUSE_S)
            self._hand_out()
        if self._is_closing or self._pump.has_ended():
            self._close_looker()
            if self._pump.has_ended():
                self._finish()
            return clock.NEVER
        if not self._joined:
            return self._rest()
        if clock.now() >= self._looks_at:
            self._looks_at = clock.now() + self._poll_s
            self._look()
            self._hand_out()
        return self._looks_at

    def _hand_out(self) -> bool:
        """Give each observer his part of the news (P2); return whether there was any."""
        news = self._news
        had_news = bool(news)
        while news:
            item = news.popleft()  # nobody else takes any
            if isinstance(item, Observer):
                self._admit(item)
                continue
            self._taken += item.weight
            if not item.told:
                item.told = True
                self._give(item)
        if self._has_overflowed:
            self._has_overflowed = False
            self._give(Net(0, unsure=True))
        for each in self._joined.copy():
            if each.closed:  # an interrupt may have kept it from saying so
                self._joined.pop(each)
            else:
                each.offer()
        return had_news

    def _give(self, net: Net) -> None:
        self._is_behind = self._is_behind or not net.is_about_rows
        if self._is_behind:
            self._learn_owners()
        for each in self._joined:
            each.add(net, self._owners)

    def _admit(self, observer: Observer) -> None:
        if observer.closed:
            self._joined.pop(observer, None)
            return
        try:
            self._open_looker()
        except Exception as error:  # noqa: BLE001 - on_connect may raise anything; it is raised by `add`
            observer.answer(error)
        else:
            self._joined[observer] = None
            observer.answer()

    def _finish(self) -> None:
        """Hand over the last, and say that nothing more comes."""
        for each in self._joined:
            each.offer(last=True)
            each.over = True
            each.notify()

    def _rest(self) -> float:
        """Have nothing recorded while nobody observes (P5); return when to try again."""
        self._close_looker()
        if self._writer is not None and isinstance(self._writer.connection, RecordingConnection):
            try:
                with Turn(self._writer, LOOK_S) as connection:
                    self._hand_out()
                    if not self._joined:
                        forget(connection)
            except (WriteTimeout, DatabaseClosed):
                return clock.now() + self._poll_s
            if self._joined:
                return 0.0
        return clock.NEVER

    # --- the pump's looks at what others do (P4)

    def _open_looker(self) -> None:
        if self._looker is None:
            self.is_quiet = False  # first: who closes says so before he looks at this
        try:
            if self._is_closing:
                raise self._refusal()
            if self._looker is None:
                self._looker = self._connect(clock.now() + self._config.read_timeout_s)
                self._seen = self._version_of(self._looker)
                self._has_changed = self._has_complained = False
                self._looks_at = clock.now() + self._poll_s
                self._learn_owners()
        except BaseException:
            self._close_looker()
            raise

    def _close_looker(self) -> None:
        looker, self._looker = self._looker, None
        if looker is not None:
            looker.close()
        self.is_quiet = True
        wake_up(self._quiet)
        if self._is_closing:
            self.at_quiet()

    def _look(self) -> None:
        looker = self._looker
        assert looker is not None, "somebody has joined"
        try:
            version = self._version_of(looker)
            self._has_changed = self._has_changed or version != self._seen
            self._seen = version
            if self._has_changed and self._is_told_apart():
                self._has_changed = False
            self._has_complained = False
        except Error as error:
            # The next look may see it; whoever is to know that it lasts reads the log.
            if not self._has_complained:
                self._has_complained = True
                with self._presence.engaged():
                    _log.warning("%s: could not look what others have changed: %s", self._path, error)

    def _is_told_apart(self) -> bool:
        """Tell if others have committed; False where the role, which shows whether it was they, did not come."""
        if self._writer is None:
            self._tell(Net(0, elsewhere=True))
            return True
        try:
            with Turn(self._writer, LOOK_S) as connection:
                if isinstance(connection, RecordingConnection):
                    connection.look()
        except WriteTimeout:
            return False
        except DatabaseClosed:
            return True
        return True

    def _version_of(self, looker: ReadingConnection) -> object:
        looker.begin_request(clock.now() + LOOK_S)
        looker.busy_until = clock.now() + LOOK_S
        return looker.run_unguarded("PRAGMA data_version")[0][0]

    def _learn_owners(self) -> None:
        """Find out which tables are parts of virtual ones: changes of those are told as changes of these."""
        if self._looker is None:
            return
        try:
            tables = self._looker.run_unguarded("PRAGMA table_list")
        except Error:
            return  # it is tried again for the next net
        self._is_behind = False
        virtual = [str(name) for schema, name, kind, *_ in tables if schema == "main" and kind == "virtual"]
        self._owners = {
            folded(str(name)): owner
            for schema, name, kind, *_ in tables
            if schema == "main" and kind == "shadow"
            for owner in sorted(virtual, key=len)  # the longest of several is the last
            if folded(str(name)).startswith(f"{folded(owner)}_")
        }

    # --- the caller

    def _call(self) -> float:
        has_more = True
        while has_more:
            has_more = False
            for each in self._joined.copy():
                if isinstance(each, Calling) and (changes := each.take()) is not None:
                    has_more = True
                    self._call_one(each, changes)
        return clock.NEVER

    def _call_one(self, observer: Calling, changes: Changes) -> None:
        try:
            observer.call(changes)
        except BaseException as error:  # noqa: BLE001 - P3
            if self._is_closing and isinstance(error, DatabaseClosed):
                _log.debug("%s: a callback of observe asked the database while it closed", self._path)
            else:
                _log.exception("%s: a callback of observe raised; it goes on being called", self._path)
