"""What a contender is: one way to use one file of SQLite's from many threads, tasks or processes.

C1  Each is used as its own documentation tells people to, with WAL, and with the durability that the load asks for;
    what was chosen beyond that stands in its `how`, which the report prints.
C2  A call returns when what it wrote is committed, but for a contender that is a `limit`.
C3  A contender raises what its library raises. The caller counts that, and goes on.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, LiteralString, Protocol

from onewriter.config import Durability

Value = int | float | str | bytes | None
Params = Sequence[Value]
Rows = Sequence[Sequence[object]]

BUSY_TIMEOUT_S: Final = 5.0  # of those who wait as SQLite does; the standard library's own default
AT_ONCE: Final = 256  # writes of one commit, for those that are a limit
# The durability follows.
PRAGMAS: Final = "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA synchronous = "


class Can(enum.Enum):
    """What a contender may be asked for."""

    EXECUTE = "one statement with a commit of its own"
    WRITE = "a function of several statements, as one transaction"
    QUERY = "rows"
    SUBMIT = "a statement whose outcome is awaited later"
    MANY = "one statement for many rows, as one transaction"
    TASKS = "the same for tasks of asyncio"
    PROCESSES = "one file in several processes"


class Statements(Protocol):
    """The statements of one transaction."""

    def execute(self, sql: LiteralString, params: Params = ..., /) -> object:
        """Run a statement that changes something."""
        ...

    def query(self, sql: LiteralString, params: Params = ..., /) -> Rows:
        """Return all rows."""
        ...


Work = Callable[[Statements], object]


class Waiting(Protocol):
    """The outcome of what was submitted."""

    def result(self) -> object:
        """Wait for it."""
        ...


def _cannot(*given: object) -> Any:  # noqa: ANN401 - it returns nothing
    raise AssertionError(given)


def _nothing() -> None:
    """Have nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one thread does with the file, as calls with nothing of ours between where that can be.

    Attributes:
        execute: runs one statement with a commit of its own.
        write: runs a function as one transaction, and returns what it returned.
        query: returns all rows of one statement.
        query_into: returns them as instances of a dataclass, where the library does that itself.
        submit: has a function run as one transaction, and waits for nothing.
        many: runs one statement for each of many parameters, all or none.
        flush: commits what a `limit` has not committed yet.
    """

    execute: Callable[[LiteralString, Params], object] = _cannot
    write: Callable[[Work], object] = _cannot
    query: Callable[[LiteralString, Params], Rows] = _cannot
    query_into: Callable[[LiteralString, type[object]], Sequence[object]] | None = None
    submit: Callable[[Work], Waiting] = _cannot
    many: Callable[[LiteralString, Sequence[Params]], object] = _cannot
    flush: Callable[[], object] = _nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSession:
    """The same for one task; each call is awaited."""

    execute: Callable[[LiteralString, Params], Awaitable[object]]
    query: Callable[[LiteralString, Params], Awaitable[Rows]] = _cannot


class Contender(ABC):
    """One way, which has no state beside what its blocks hold; `bench.contenders.about` tells of it."""

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return the library's name and version."""

    @classmethod
    def opened(
        cls, path: Path, durability: Durability
    ) -> AbstractContextManager[Callable[[], AbstractContextManager[Session]]]:
        """Have the file at *path* open for the length of a block, with WAL; make it where it is not there.

        What the block is given makes the access of one thread, which calls it.
        """
        raise AssertionError(cls, path, durability)

    @classmethod
    def opened_for_tasks(
        cls, path: Path, durability: Durability
    ) -> AbstractAsyncContextManager[Callable[[], AbstractAsyncContextManager[TaskSession]]]:
        """Have the file open for the tasks of the running loop; what the block is given makes the access of a task."""
        raise AssertionError(cls, path, durability)
