"""The whole database against a model in plain Python, through requests that hypothesis makes up.

The model (`model`, `asking`) runs requests one after the other. The database shares their commits, loses whole batches
and runs them again: every request must come to what the model says, see what it says, and leave what it says.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import onewriter
from onewriter import Config, ReadTransaction, WriteTimeout
from tests.support.asked import Asked
from tests.support.asking import (
    AfterCommit,
    Door,
    Look,
    Many,
    Mine,
    Nest,
    Outcome,
    Raise,
    Request,
    Savepoint,
    Script,
    Step,
    foresee,
)
from tests.support.databases import Held
from tests.support.model import (
    SCHEMA,
    WRONG,
    Aside,
    Attach,
    Change,
    Conflict,
    Content,
    Defer,
    Detach,
    Drop,
    Insert,
    Item,
    Resize,
    Statement,
    read_content,
)
from tests.support.steps import LIMIT_S, Call, wait_until

# --- requests of every kind

keys = st.integers(1, 5)
rows = st.tuples(
    st.none() | keys,
    st.sampled_from(["a", "b", "c", "d", "e", "f", None, "bomb"]),
    st.sampled_from([0, 1, 2, 3, None, -1]),
)
good_rows = st.tuples(st.none(), st.none(), st.integers(0, 3))
conflicts: st.SearchStrategy[Conflict] = st.sampled_from(["ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK"])
inserts = st.builds(Insert, st.lists(rows | good_rows, min_size=1, max_size=3).map(tuple), conflicts)
plain = st.one_of(
    st.builds(Resize, keys, st.sampled_from([0, 1, 2, None, -1])),
    st.builds(Drop, keys),
    st.builds(Attach, keys, st.none() | keys),
    st.builds(Detach, keys),
    st.builds(Aside, keys),
)
changes = st.builds(Change, st.sampled_from(["side", "index", "note"]), st.booleans())
statements: st.SearchStrategy[Statement] = st.one_of(inserts, inserts, plain, changes, st.sampled_from(WRONG))


def _many(conflict: Conflict, items: list[Item]) -> Many:
    return Many(tuple(Insert((item,), conflict) for item in items))


many = st.builds(_many, conflicts, st.lists(rows | good_rows, min_size=1, max_size=4))
scripts = st.builds(Script, st.lists(plain, min_size=1, max_size=3).map(tuple))
tags = st.builds(AfterCommit, st.integers(0, 9))
simple_steps: st.SearchStrategy[Step] = st.one_of(
    inserts,
    statements,
    many,
    scripts,
    tags,
    st.sampled_from([Look(), Nest(), Raise(), Defer()]),
)


def _nested(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    return st.builds(Savepoint, st.lists(inner, max_size=4).map(tuple), st.booleans())


steps = st.lists(st.recursive(simple_steps, _nested, max_leaves=6), min_size=1, max_size=6).map(tuple)
function_doors: st.SearchStrategy[Door] = st.sampled_from(["write", "write", "submit", "alone", "block"])
requests = st.one_of(
    st.builds(Request, st.just("execute"), st.tuples(statements | st.just(Defer()))),
    st.builds(Request, st.just("execute_many"), st.tuples(many)),
    st.builds(Request, function_doors, steps, st.booleans()),
)
Fate: TypeAlias = Literal["runs", "late", "cancelled"]
fates = st.sampled_from(["runs", "runs", "runs", "runs", "late", "cancelled"])
shared = st.lists(st.tuples(requests, fates), min_size=2, max_size=7)


class Waiting:
    """A request that stands in line, or has left it."""

    def __init__(self, asked: Asked, fate: Fate) -> None:
        self.asked = asked
        self.fate = fate
        self._call: Call[None] | None = None
        self._future: Future[None] | None = None

    def enter(self) -> None:
        """Ask; one that is late hears so at once."""
        timeout_s = 0.0 if self.fate == "late" else None
        if self.asked.request.door == "submit":
            self._future = self.asked.submit(timeout_s)
            if self.fate == "late":
                assert isinstance(self._future.exception(LIMIT_S), WriteTimeout)
        else:
            self._call = Call(lambda: self.asked.ask(timeout_s), self.asked.request.door)

    @property
    def has_ended(self) -> bool:
        """Whether it was refused, or told to be late, before or while it stood in line."""
        if self._future is not None:
            return self._future.done()
        return self._call is not None and not self._call.running

    def cancel(self) -> None:
        """Change one's mind; for those that can."""
        if self.fate == "cancelled" and self._future is not None:
            assert self._future.cancel()

    @property
    def runs(self) -> bool:
        """Whether it is to be served."""
        return self.fate == "runs" or (self.fate == "cancelled" and self._future is None)

    def outcome(self) -> Outcome:
        """Wait for its end."""
        if self._future is not None:
            error = None if self._future.cancelled() else self._future.exception(LIMIT_S)
        else:
            assert self._call is not None
            error = _error_of(self._call.result)
        return self.asked.outcome(error)


def _error_of(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except (onewriter.Error, Mine) as error:
        return error
    return None


class Tally:
    """How many commits and second runs a line of requests comes to, that all wait behind a holder, a function."""

    def __init__(self, batch_max: int, wary: set[str]) -> None:
        """Begin with the holder in the batch; *wary* are the statements that have a savepoint wherever they are."""
        self.commits = self.reruns = 0
        self._batch_max = batch_max
        self._wary = wary
        self._members = [True]  # of the open batch: whether each succeeded
        self._statements_only = False  # in the open batch

    def add(self, *, alone: bool, succeeds: bool, kills: bool, text: str | None) -> None:
        """Count one more request, which is the statement *text*, if it is one."""
        if not self._members:
            self._statements_only = True
        self._statements_only = self._statements_only and text is not None and not alone
        if alone:
            self.close()
            self.commits += succeeds
        elif kills and self._members:
            self.reruns += len(self._members) + 1
            self.commits += sum(self._members)
            self._members = []
        elif succeeds or self._members:
            self._members.append(succeeds)
            if not succeeds and self._statements_only and text is not None and text not in self._wary:
                self._wary.add(text)
                self.reruns += len(self._members)  # together, to the same end
        if len(self._members) == self._batch_max:
            self.close()

    def close(self) -> None:
        """End the batch."""
        self.commits += bool(self._members)
        self._members = []


class Machine(RuleBasedStateMachine):
    """The database beside its model."""

    folder: ClassVar[Path]
    numbers: ClassVar = count()

    def __init__(self) -> None:
        """Begin with an empty file of its own in *folder*."""
        super().__init__()
        self.path = self.folder / f"{next(self.numbers)}.db"
        self.content = Content()
        self.names = (f"held{number}" for number in count())
        self.snapshots: list[tuple[AbstractContextManager[ReadTransaction], ReadTransaction, Content]] = []

    @initialize(batch_max=st.sampled_from([2, 3, 256]))
    def open(self, batch_max: int) -> None:
        """Nothing but a full line or its end closes a batch."""
        self.config = Config(batch_s=60.0, lead_s=60.0, batch_max=batch_max)
        self._open()

    def _open(self) -> None:
        self.db = onewriter.open(self.path, config=self.config, migrations=SCHEMA, durability="normal")
        stats = self.db.stats()
        self.commits, self.reruns = stats.commits, stats.reruns
        self.wary = set[str]()

    # --- writes

    @rule(request=requests)
    def ask_one(self, request: Request) -> None:
        """A lone request has its commit to itself."""
        asked = Asked(self.db, request)
        if request.door == "submit":
            outcome = asked.outcome(asked.submit().exception(LIMIT_S))
        else:
            outcome = asked.outcome(_error_of(asked.ask))
        expected, self.content, _ = foresee(request, self.content)
        assert outcome == expected
        self.commits += expected.error is None
        self._check_counts()

    @rule(requests=shared)
    def ask_together(self, requests: list[tuple[Request, Fate]]) -> None:
        """Requests that wait behind a holder share its commit, and come to what they would one by one."""
        name = next(self.names)
        held = Held(self.db, name)
        line = [Waiting(Asked(self.db, request), fate) for request, fate in requests]
        entered: list[Waiting] = []
        try:
            for each in line:
                self._enter(each)
                if not each.has_ended:
                    entered.append(each)
            for each in line:
                each.cancel()
            assert read_content(self.db.query) == self.content
        finally:
            held.let_go()
        held.call.result()
        self._judge(name, line, entered)

    def _enter(self, each: Waiting) -> None:
        before = self.db.stats().pending
        each.enter()
        if each.fate == "late":
            wait_until(lambda: each.has_ended, "its time-out")
        else:
            wait_until(lambda: each.has_ended or self.db.stats().pending > before, "its place in line")

    def _judge(self, name: str, line: list[Waiting], entered: list[Waiting]) -> None:
        _, self.content, _ = foresee(_holder(name), self.content)
        tally = Tally(self.config.batch_max, self.wary)
        for each in line:
            outcome, request = each.outcome(), each.asked.request
            if each.runs:
                expected, self.content, kills = foresee(request, self.content)
            else:
                expected, kills = Outcome("WriteTimeout" if each.fate == "late" else None, [], []), False
            assert outcome == expected, request
            if each.runs and each in entered:
                succeeds = expected.error is None
                tally.add(alone=request.is_alone, succeeds=succeeds, kills=kills, text=request.text)
        tally.close()
        self.commits += tally.commits
        self.reruns += tally.reruns
        self._check_counts()

    def _check_counts(self) -> None:
        with self.db.transaction():  # whoever had the turn before has counted by then
            pass
        self.commits += 1
        stats = self.db.stats()
        assert (stats.commits, stats.reruns) == (self.commits, self.reruns)

    # --- reads

    @rule(key=keys)
    def read_one(self, key: int) -> None:
        """Each way to read says the same."""
        row = self.content.items.get(key)
        sql = "SELECT * FROM item WHERE id = ?"
        expected = None if row is None else (key, *row)
        assert self.db.query_one(sql, (key,)) == expected
        assert self.db.query(sql, (key,)) == [expected] * (row is not None)
        assert self.db.query_value("SELECT count(*) FROM item", into=int) == len(self.content.items)

    @precondition(lambda self: len(self.snapshots) < 2)
    @rule()
    def begin_snapshot(self) -> None:
        """A snapshot that others write beside."""
        block = self.db.read_transaction()
        self.snapshots.append((block, block.__enter__(), self.content))

    @precondition(lambda self: self.snapshots)
    @rule()
    def end_snapshot(self) -> None:
        """It shows what there was when it began."""
        block, tx, content = self.snapshots.pop(0)
        try:
            assert read_content(tx.query) == content
        finally:
            block.__exit__(None, None, None)

    # --- the file

    @rule()
    def vacuum(self) -> None:
        """Changes nothing that can be seen."""
        self.db.vacuum()

    @rule(requests=st.lists(st.builds(Request, st.just("submit"), steps, st.booleans()), max_size=4))
    def close_and_reopen(self, requests: list[Request]) -> None:
        """What was accepted before the close is done; all is there afterwards."""
        self._end_snapshots()
        asked = [Asked(self.db, request) for request in requests]
        futures = [each.submit() for each in asked]
        self.db.close()
        for each, future in zip(asked, futures, strict=True):
            expected, self.content, _ = foresee(each.request, self.content)
            assert future.done(), "after the close"
            outcome = each.outcome(future.exception(LIMIT_S))
            assert outcome == expected, f"{outcome} != {expected}: {each.request}"
        self._open()

    @rule()
    def check(self) -> None:
        """SQLite finds nothing wrong."""
        assert self.db.check() == []

    # --- at all times

    @invariant()
    def is_as_the_model_says(self) -> None:
        """The content is the model's, and nobody waits."""
        assert read_content(self.db.query) == self.content
        assert self.db.stats().pending == 0

    def _end_snapshots(self) -> None:
        while self.snapshots:
            self.end_snapshot()

    def teardown(self) -> None:
        """Check once more, and close."""
        try:
            self._end_snapshots()
            assert self.db.closed or self.db.check() == []
        finally:
            self.db.close()


def _holder(name: str) -> Request:
    return Request("write", (Insert(((None, name, 0),)),))


def test_the_database_does_what_its_model_does(tmp_path: Path) -> None:
    """Whatever is asked of it, alone or in a shared commit, by any of its methods."""

    class Here(Machine):
        folder = tmp_path

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=100, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
