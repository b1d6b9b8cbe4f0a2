"""What is asked of a database by who wants to hear of changes."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from . import clock
from .changes import Changes, folded
from .errors import ProgrammingError, quoted
from .functions import check_observer
from .observer import Observation, Observer
from .observers import Observers
from .presence import nested
from .reading import Reading

_NAMES_SHOWN: Final = 20


class Observing(Reading):
    """The reading half of a database, and who observes it."""

    _observers: Observers

    def observe(
        self,
        tables: str | Iterable[str] | None,
        callback: Callable[[Changes], object],
        *,
        timeout_s: float | None = None,
    ) -> Observation:
        """Have *callback* called after each commit that changes one of *tables*, with what has changed.

        It is told of every commit that begins after this call has returned, in their order, each once. Of the writes of
        this `Database` it is told the rows; that other processes have committed, or other connections of this one, it
        is told as ``elsewhere``, within ``Config.observe_poll_s`` and the wait for the write turn.

        The callback runs on a thread of the database's own, in a copy of this context, outside of any transaction: it
        may read and write, and sees the commit that it is told of. While it runs, what comes meanwhile is joined, and
        told by one call. It keeps no write waiting, whatever it does; what it raises is logged.

        Waits for the write turn up to *timeout_s* seconds (``Config.write_timeout_s`` where it is None).

        Args:
            tables: the name of a table, or several; None for all there are and will be. A virtual table can be named,
                a view cannot.
            callback: a plain function of `Changes`.
            timeout_s: see above.

        Raises:
            ProgrammingError: there is no such table; the message has those that there are.
            WriteTimeout, ReadTimeout: it could not begin in time.
            NestedWrite: this thread is writing.
            OperationalError: the installed SQLite cannot tell of changes.
        """
        check_observer(callback)
        run = contextvars.copy_context().run
        observers = self._observers
        wanted, deadline = self._to_observe(tables, timeout_s)
        observer = observers.calling(wanted, lambda changes: run(callback, changes))
        observation = Observation(observer)
        try:  # no call lies behind it, after which an interrupt could come
            observers.add(observer, deadline)
            return observation
        except BaseException:  # an interrupt may have come when it had begun
            observer.close()
            raise

    def _observe_by(
        self, tables: str | Iterable[str] | None, notify: Callable[[], object], timeout_s: float | None
    ) -> Observer:
        """Return an observer that is asked for what has changed after each *notify*; for `onewriter.aio`."""
        wanted, deadline = self._to_observe(tables, timeout_s)
        observer = Observer(wanted, self.config.observe_rowids_max, notify)
        self._observers.add(observer, deadline)
        return observer

    def _to_observe(
        self, tables: str | Iterable[str] | None, timeout_s: float | None
    ) -> tuple[frozenset[str] | None, float]:
        """Return the folded names of *tables*, which must be there, and the deadline."""
        deadline = clock.deadline(timeout_s, self.config.write_timeout_s)
        self._check_usable()
        if self._presence.is_writing():
            raise nested()
        if tables is None:
            return None, deadline
        names = _names(tables)
        with self._lend("the names of the tables") as connection:
            listed = connection.run_unguarded("PRAGMA table_list")
        kinds = {
            folded(str(name)): (str(name), kind)
            for schema, name, kind, *_ in listed
            if schema == "main" and not str(name).startswith("sqlite_")
        }
        for name in names:
            _check_table(name, kinds)
        return frozenset(map(folded, names)), deadline


def _names(tables: str | Iterable[object]) -> list[str]:
    if isinstance(tables, str):
        return [tables]
    try:
        given = None if isinstance(tables, (bytes, bytearray)) else list(tables)
    except TypeError:
        given = None
    if given is None:
        msg = f"tables must be a name, several names, or None for all, not {quoted(tables)}"
        raise ProgrammingError(msg)
    names: list[str] = []
    for name in given:
        if not isinstance(name, str):
            msg = f"tables must be names, not {quoted(name)}"
            raise ProgrammingError(msg)
        names.append(name)
    if not names:
        raise ProgrammingError("tables names none: give None to observe all")
    return names


def _check_table(name: str, kinds: Mapping[str, tuple[str, object]]) -> None:
    kind = kinds.get(folded(name), ("", None))[1]
    if kind == "view":
        msg = f"{quoted(name)} is a view: observe the tables that it reads"
        raise ProgrammingError(msg)
    if kind == "shadow":
        msg = f"{quoted(name)} is a part of a virtual table: observe that"
        raise ProgrammingError(msg)
    if kind is None:
        known = sorted(known for known, its_kind in kinds.values() if its_kind in ("table", "virtual"))
        shown = ", ".join(known[:_NAMES_SHOWN]) or "none"
        more = f" and {len(known) - _NAMES_SHOWN} more" if len(known) > _NAMES_SHOWN else ""
        msg = f"there is no table {quoted(name)} to observe; there are: {shown}{more} (None observes all to come, too)"
        raise ProgrammingError(msg)
