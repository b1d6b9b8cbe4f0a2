"""What the machine could do at best: one thread alone, which nobody's threads wait for."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import ClassVar, LiteralString

from onewriter.config import Durability

from .base import AT_ONCE, Contender, Params, Session, Work
from .by_hand import ByApsw, Cursor, StatementsOn, by_apsw


class Ceiling(ByApsw):
    """Large transactions: a commit for every 256 writes."""

    savepoints: ClassVar[bool] = False

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, durability: Durability
    ) -> Generator[Callable[[], AbstractContextManager[Session]]]:
        cursor, close = by_apsw(path, durability)
        try:
            writes = _LargeTransactions(cursor, savepoints=cls.savepoints)
            yield lambda: nullcontext(Session(execute=writes.execute, write=writes.write, flush=writes.flush))
            writes.flush()
        finally:
            close()


class CeilingWithSavepoints(Ceiling):
    """The same, where each write can fail alone."""

    savepoints = True


class _LargeTransactions:
    """Writes, with a commit for every so many of them."""

    def __init__(self, cursor: Cursor, *, savepoints: bool) -> None:
        self._run = cursor.execute
        self._statements = StatementsOn(cursor)
        self._savepoints = savepoints
        self._left = 0  # writes that the open transaction is still to have

    def execute(self, sql: LiteralString, params: Params) -> None:
        self._begin()
        self._run(sql, params)
        self._end()

    def write(self, work: Work) -> object:
        self._begin()
        value = work(self._statements)
        self._end()
        return value

    def flush(self) -> None:
        if self._left:
            self._left = 0
            self._run("COMMIT")

    def _begin(self) -> None:
        if not self._left:
            self._run("BEGIN IMMEDIATE")
            self._left = AT_ONCE
        self._left -= 1
        if self._savepoints:
            self._run("SAVEPOINT a")

    def _end(self) -> None:
        if self._savepoints:
            self._run("RELEASE a")
        if not self._left:
            self._run("COMMIT")


class Synced(Contender):
    """A file that is written and synced, with no database at all."""

    @classmethod
    def version(cls) -> str:
        return "no database"

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, durability: Durability
    ) -> Generator[Callable[[], AbstractContextManager[Session]]]:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

        def execute(_sql: LiteralString, params: Params) -> object:
            os.write(descriptor, repr(params).encode())
            if durability == "full":
                os.fdatasync(descriptor)
            return None

        try:
            yield lambda: nullcontext(Session(execute=execute))
        finally:
            os.close(descriptor)
