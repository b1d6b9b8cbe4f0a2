"""A database whose calls are followed: the plain one, with a trail of each call that waits (`trails`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from .config import Config, Durability
from .connection import Connection
from .database import Database
from .loans import Loan, described
from .migration import Migration
from .parameters import Params
from .reader import ReadingConnection
from .requests import Request
from .samples import Tally
from .tracing import FollowedWriter, describe, named, trails_of
from .trails import CURRENT, Trail, Trails, are_given, name_of, text_of
from .transaction import ReadTransaction, Transaction

R = TypeVar("R")


def database_of(
    path: Path, config: Config, durability: Durability, connection: Connection | None, heard: Tally
) -> Database:
    """Return the object for a file that was opened, followed where somebody wants to follow it."""
    trails = trails_of(path, config)
    if trails is None:
        return Database(path, config, durability, connection, heard)
    return FollowedDatabase(path, config, durability, connection, heard, trails)


class FollowedDatabase(Database):
    """A database that somebody follows."""

    def __init__(  # noqa: PLR0917 - as the one that it takes the place of, and one more
        self,
        path: Path,
        config: Config,
        durability: Durability,
        connection: Connection | None,
        heard: Tally,
        trails: Trails,
    ) -> None:
        """Made by `open`; tells its writer's trails, or *trails* where it has none."""
        super().__init__(path, config, durability, connection, heard)
        writer = self._core.writer
        # One for both: the log of slow calls has one limit for a database (`slow`, S2).
        self._trails = writer.trails if isinstance(writer, FollowedWriter) else trails
        self._trails.opened(self)

    # --- writing

    def _perform(
        self, request: Request, timeout_s: float | None, *, portable: bool, alone: bool = False
    ) -> Any:  # noqa: ANN401 - as the one that it takes the place of
        trail = self._trails.new(named(request))
        describe(trail, request)
        try:
            self._trails.enter(trail)
            value = super()._perform(request, timeout_s, portable=portable, alone=alone)
        except BaseException as error:
            self._trails.leave(trail, error)
            raise
        self._trails.leave(trail)
        return value

    def transaction(
        self, *, timeout_s: float | None = None, hold_s: float | None = None
    ) -> AbstractContextManager[Transaction]:
        """Open a write transaction for the length of a ``with`` block; see `Database.transaction`."""
        return _Block(super().transaction(timeout_s=timeout_s, hold_s=hold_s), self._trails, "transaction")

    def unsafe_connection(self, *, timeout_s: float | None = None) -> AbstractContextManager[Any]:
        """Give the calling thread the write turn and a connection; see `Database.unsafe_connection`."""
        return _Block(super().unsafe_connection(timeout_s=timeout_s), self._trails, "unsafe_connection")

    # --- reading

    def _ask(
        self,
        ask: Callable[[ReadingConnection, str, Params], R],
        sql: str,
        params: Params,
        timeout_s: float | None,
    ) -> R:
        text = text_of(sql)
        trail = self._trails.new(name_of(text), reads=True)
        trail.text, trail.has_params = text, are_given(params)
        holders = self._busy()

        def begun(connection: ReadingConnection, sql: str, params: Params) -> R:
            _begin(trail, holders)
            return ask(connection, sql, params)

        try:
            self._trails.enter(trail)
            value = super()._ask(begun, sql, params, timeout_s)
        except BaseException as error:
            self._trails.leave(trail, error)
            raise
        self._trails.leave(trail)
        return value

    @contextmanager
    def _snapshot(self, timeout_s: float | None, what: str) -> Generator[ReadTransaction]:
        text = text_of(what)
        if text is not None and text.startswith("a read "):
            text = None
        name = "read" if text is None else name_of(text)
        holders = self._busy()
        with (
            self._trails.follow(name, reads=True, text=text) as trail,
            super()._snapshot(timeout_s, what) as transaction,
        ):
            _begin(trail, holders)
            yield transaction

    def _busy(self) -> list[str]:
        """Return who has the readers, the longest first, where all of them are lent."""
        if len(self._holders) < self.config.readers_max:
            return []
        return [described(each) for each in sorted(self._readers.loans(), key=_since)]

    # --- the file

    def migrate(self, migrations: Iterable[Migration]) -> None:
        """Apply what is pending of *migrations*; see `Database.migrate`."""
        with self._trails.follow("migrate"):
            super().migrate(migrations)

    def vacuum(self, *, timeout_s: float | None = None) -> None:
        """Build the file anew without its free pages; see `Database.vacuum`."""
        with self._trails.follow("vacuum"):
            super().vacuum(timeout_s=timeout_s)

    def checkpoint(self, *, timeout_s: float | None = None) -> bool:
        """Move all that the WAL holds into the database; see `Database.checkpoint`."""
        with self._trails.follow("checkpoint"):
            return super().checkpoint(timeout_s=timeout_s)

    def snapshot(
        self,
        dest: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> Path:
        """Write the database as it is now to the file *dest*; see `Database.snapshot`."""
        with self._trails.follow("snapshot", reads=True):
            return super().snapshot(dest, overwrite=overwrite, progress=progress)

    def check(self) -> list[str]:
        """Return what SQLite finds wrong with the file; see `Database.check`."""
        with self._trails.follow("check", reads=True):
            return super().check()


class _Block(AbstractContextManager[R]):
    """A block of another's, followed from its entering to its end."""

    def __init__(self, block: AbstractContextManager[R], trails: Trails, name: str) -> None:
        self._block, self._trails, self._name = block, trails, name
        self._trail = ExitStack()

    def __enter__(self) -> R:
        with ExitStack() as stack:
            stack.enter_context(self._trails.follow(self._name))
            entered = self._block.__enter__()
            CURRENT.set(None)  # what the block asks of others is no part of it
            self._trail = stack.pop_all()
        return entered

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        with self._trail:
            return self._block.__exit__(kind, error, trace)


def _begin(trail: Trail, holders: list[str]) -> None:
    if holders:
        trail.blame = f"all were held; for longest by {holders[0]}"
    trail.begin()
    CURRENT.set(None)  # what is asked for from inside is no part of it


def _since(loan: Loan) -> float:
    return loan[1]
