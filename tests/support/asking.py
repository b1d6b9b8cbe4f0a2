"""Requests that are played on a model and on a real database alike.

M1  A request is a list of steps. The same `play` plays them on a `ModelTransaction` and on a real one (`asked`), and
    writes down what each came to: two equal lists mean that the request saw and did the same in both.
M2  The model runs requests one after the other, each alone. So it knows nothing of batches, and what it says is what
    sharing a commit must not change.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, cast

import onewriter
from onewriter import (
    IntegrityError,
    NestedWrite,
    TransactionEnded,
)
from tests.support.model import (
    Aside,
    Attach,
    Broken,
    Content,
    Defer,
    Detach,
    Drop,
    Effect,
    Insert,
    Resize,
    Statement,
)

Door = Literal["execute", "execute_many", "write", "alone", "submit", "block"]


@dataclass(frozen=True)
class Many:
    """One insertion for each of several items, all or nothing."""

    rows: tuple[Insert, ...]


@dataclass(frozen=True)
class Script:
    """Several statements in one text."""

    statements: tuple[Resize | Drop | Attach | Detach | Aside, ...]

    @property
    def sql(self) -> str:
        """The text, with its parameters written out; they are numbers or NULL."""
        texts: list[str] = []
        for statement in self.statements:
            parts = statement.sql.split("?")
            values = ["NULL" if value is None else str(value) for value in statement.params]
            texts.append("".join(part + value for part, value in zip(parts, [*values, ""], strict=True)))
        return ";\n".join(texts)


@dataclass(frozen=True)
class Savepoint:
    """Steps in a savepoint, which may be undone in the end."""

    steps: tuple[Step, ...]
    undone: bool


@dataclass(frozen=True)
class AfterCommit:
    """A callback that tells *tag*."""

    tag: int


@dataclass(frozen=True)
class Look:
    """Read everything."""


@dataclass(frozen=True)
class Nest:
    """Write, by another door than the transaction's, inside the write."""


@dataclass(frozen=True)
class Raise:
    """Raise an exception of the caller's."""


Besides: TypeAlias = Many | Script | Savepoint | AfterCommit | Look | Nest | Raise
Step: TypeAlias = Statement | Besides


@dataclass(frozen=True)
class Request:
    """What is asked of the database, and by which of its methods."""

    door: Door
    steps: tuple[Step, ...]
    swallows: bool = False

    @property
    def is_alone(self) -> bool:
        """Whether it has its own commit."""
        return self.door in ("alone", "block")

    @property
    def text(self) -> str | None:
        """The one statement that it is, where it is nothing but that."""
        match self.door, self.steps:
            case "execute", (step,):
                return cast("Statement", step).sql
            case "execute_many", (step,):
                return cast("Many", step).rows[0].sql
            case _:
                return None

    @property
    def is_data(self) -> bool:
        """Whether there is no function that would see what its steps come to."""
        return self.door in ("execute", "execute_many")


class Mine(Exception):
    """What `Raise` raises."""


class _Undone(Exception):
    """Leaves a savepoint that is to be undone."""


class Port(Protocol):
    """What steps are played on."""

    def execute(self, statement: Statement, /) -> Effect:
        """Run one statement."""
        ...

    def execute_many(self, rows: Sequence[Insert], /) -> Effect:
        """Run one statement for each of *rows*."""
        ...

    def script(self, script: Script, /) -> None:
        """Run one text of several statements."""
        ...

    def look(self) -> Content:
        """Return all that the transaction sees."""
        ...

    def nest(self) -> None:
        """Try a write inside the write."""
        ...

    def savepoint(self) -> AbstractContextManager[None]:
        """Make a savepoint."""
        ...

    def after_commit(self, tag: int, /) -> None:
        """Have *tag* told once all is committed."""
        ...


def play(steps: Sequence[Step], port: Port, trace: list[object], *, swallows: bool) -> None:
    """Play *steps* on *port*, and write down in *trace* what each came to.

    Raises what a step raises, unless the function *swallows* the library's errors and goes on.
    """
    for step in steps:
        try:
            trace.append(_play_one(step, port, trace, swallows=swallows))
        except onewriter.Error as error:
            trace.append(label(error))
            if not swallows:
                raise


def _play_one(step: Step, port: Port, trace: list[object], *, swallows: bool) -> object:
    match step:
        case Many():
            return port.execute_many(step.rows)
        case Script():
            port.script(step)
        case Savepoint():
            with suppress(_Undone), port.savepoint():
                play(step.steps, port, trace, swallows=swallows)
                if step.undone:
                    raise _Undone
        case AfterCommit():
            port.after_commit(step.tag)
        case Look():
            return port.look()
        case Nest():
            port.nest()
        case Raise():
            raise Mine
        case _:
            return port.execute(step)
    return None


def label(error: BaseException) -> str:
    """Return what is compared of an error: its class, and the kind of a constraint."""
    return (
        f"{type(error).__name__} {error.kind}" if isinstance(error, IntegrityError) else type(error).__name__
    )


# --- the model's own transaction


class ModelTransaction:
    """A transaction on a copy of *content*."""

    def __init__(self, content: Content) -> None:
        """Begin."""
        self.content = deepcopy(content)
        self.callbacks: list[int] = []
        self.killer: IntegrityError | None = None  # what rolled all of it back
        self._defers = False

    def execute(self, statement: Statement) -> Effect:
        """Run one statement; where it fails, undo what is to be undone."""
        self._check_alive()
        before = deepcopy(self.content)
        try:
            effect = statement.apply(self.content)
            self._defers = self._defers or isinstance(statement, Defer)
            if not self._defers and self.content.is_dangling(column=0):
                raise Broken("foreign_key")
        except Broken as broken:
            error = IntegrityError("broken", kind=broken.kind)
            if broken.undoes == "transaction":
                self.killer = error
            elif broken.undoes == "statement":
                self.content = before
            raise error from None
        except onewriter.Error:
            self.content = before
            raise
        return effect

    def execute_many(self, rows: Sequence[Insert]) -> Effect:
        """Run all or nothing."""
        self._check_alive()
        before = deepcopy(self.content)
        try:
            effects = [self.execute(row) for row in rows]
        except onewriter.Error:
            self.content = before
            raise
        return Effect(changes=sum(each.changes for each in effects))

    def script(self, script: Script) -> None:
        """Run one after the other; those before one that fails stay."""
        for statement in script.statements:
            self.execute(statement)

    def look(self) -> Content:
        """Return a copy."""
        self._check_alive()
        return deepcopy(self.content)

    def nest(self) -> None:
        """Refuse it."""
        raise NestedWrite("refused")

    @contextmanager
    def savepoint(self) -> Generator[None]:
        """Undo its part where it raises."""
        self._check_alive()
        before, kept = deepcopy(self.content), len(self.callbacks)
        try:
            yield
        except BaseException:
            self.content = before
            del self.callbacks[kept:]
            raise
        self._check_alive()

    def after_commit(self, tag: int) -> None:
        """Keep it."""
        self.callbacks.append(tag)

    def check(self) -> None:
        """Raise what the commit raises, if anything."""
        if self.killer is not None:
            raise self.killer
        if self.content.is_dangling(column=0) or self.content.is_dangling(column=1):
            raise IntegrityError("broken", kind="foreign_key")

    def _check_alive(self) -> None:
        if self.killer is not None:
            raise TransactionEnded("rolled back")


@dataclass(frozen=True)
class Outcome:
    """What came of a request: its error, or None; what each step came to; which callbacks were called."""

    error: str | None
    trace: list[object]
    called: list[int]


def foresee(request: Request, before: Content) -> tuple[Outcome, Content, bool]:
    """Return what is to come of *request*, what is then in the database, and whether it ends its transaction."""
    transaction = ModelTransaction(before)
    trace: list[object] = []
    try:
        play(request.steps, transaction, trace, swallows=request.swallows)
        transaction.check()
    except (onewriter.Error, Mine) as error:
        seen = [] if request.is_data else trace
        return Outcome(label(error), seen, []), before, transaction.killer is not None
    return Outcome(None, trace, transaction.callbacks), transaction.content, False
