"""Any object in the place of a value: parameters, rows, types, functions, limits, migrations."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypedDict

import pytest

import onewriter
from onewriter import Database, Error, Migration, Transaction
from tests.support.hostile import (
    ASYNC_DOORS,
    DOORS,
    LIMIT_S,
    QUICK,
    OwnError,
    attempt,
    attempt_async,
    check_works,
    open_hostile,
    raising,
    shown,
    strange_params,
    strange_values,
)
from tests.support.oracle import MIGRATION, Ledger
from tests.support.places import in_memory

STATEMENTS: Final = (
    "SELECT ?",
    "SELECT :a",
    "SELECT 1",
    "SELECT * FROM t WHERE a = ? OR a = ?5",
    "INSERT INTO t VALUES (?, ?, ?)",
    "INSERT INTO t VALUES (:a, @a, $a)",
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database that may be maltreated."""
    with in_memory(tmp_path / "disk") as folder, open_hostile(folder / "a.db") as opened:
        yield opened


@pytest.fixture
def draw(seed: int) -> random.Random:
    """What is drawn of all there is."""
    return random.Random(seed)


@pytest.mark.parametrize("door", DOORS)
def test_whatever_parameters_are_given_are_bound_or_refused(
    db: Database, draw: random.Random, door: str
) -> None:
    """All there are, each with a statement that is drawn."""
    for params in strange_params():
        sql = draw.choice(STATEMENTS)
        attempt(lambda: DOORS[door](db, sql, params), (door, sql, shown(params)))  # noqa: B023 - called at once
    check_works(db, Ledger())


def test_whatever_parameters_a_task_gives_are_bound_or_refused(tmp_path: Path, draw: random.Random) -> None:
    """The same by asyncio."""
    open_hostile(tmp_path / "a.db").close()
    with asyncio.Runner() as runner:
        db = runner.run(onewriter.aio.open(tmp_path / "a.db", config=QUICK, migrations=[MIGRATION]))
        for params in strange_params():
            sql, door = draw.choice(STATEMENTS), draw.choice(list(ASYNC_DOORS))
            ask = lambda: ASYNC_DOORS[door](db, sql, params)  # noqa: B023, E731 - called at once
            attempt_async(runner.get_loop(), ask, (door, sql, shown(params)))
        runner.run(db.close())
    with open_hostile(tmp_path / "a.db") as again:
        check_works(again, Ledger())


ASYNC_ARGUMENTS: Final[dict[str, Callable[[onewriter.aio.Database, Any, Path], Awaitable[object]]]] = {
    "open": lambda _, value, __: onewriter.aio.open(value),
    "migrations": lambda _, value, folder: onewriter.aio.open(folder / "b.db", migrations=value),
    "migrate": lambda db, value, _: db.migrate(value),
    "status": lambda db, value, _: db.migration_status(value),
    "rows": lambda db, value, _: db.execute_many("INSERT INTO t VALUES (?, ?, ?)", value),
    "into": lambda db, value, _: db.query("SELECT a FROM t", into=value),
    "timeout": lambda db, value, _: db.execute("DELETE FROM t", timeout_s=value),
    "timeout of query": lambda db, value, _: db.query("SELECT 1", timeout_s=value),
    "snapshot": lambda db, value, _: db.snapshot(value),
    "restore": lambda db, value, _: onewriter.aio.restore(value, db.path),
}


@pytest.mark.parametrize("argument", ASYNC_ARGUMENTS)
def test_whatever_argument_a_task_gives_is_taken_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    """As of threads, below."""
    monkeypatch.chdir(tmp_path)
    open_hostile(tmp_path / "a.db").close()

    async def use(db: onewriter.aio.Database, value: object) -> None:
        made = await ASYNC_ARGUMENTS[argument](db, value, tmp_path)
        if isinstance(made, onewriter.aio.Database):
            await made.close()

    with asyncio.Runner() as runner:
        db = runner.run(onewriter.aio.open(tmp_path / "a.db", config=QUICK, migrations=[MIGRATION]))
        for value in strange_values():
            attempt_async(runner.get_loop(), lambda: use(db, value), (argument, shown(value)))  # noqa: B023 - at once
        runner.run(db.close())


# --- other arguments, each of which is a strange value in its turn


def _blob(db: Database, table: Any, column: Any, rowid: Any) -> object:  # noqa: ANN401 - whatever is given
    def work(tx: Transaction) -> object:
        with tx.open_blob(table, column, rowid) as blob:
            return blob.read()

    return db.write(work)


def _block(db: Database, **limits: Any) -> None:  # noqa: ANN401 - whatever is given
    with db.transaction(**limits) as tx:
        tx.execute("SELECT 1")


def _stream(db: Database, timeout_s: Any) -> None:  # noqa: ANN401 - whatever is given
    with db.stream("SELECT 1", timeout_s=timeout_s) as rows:
        list(rows)


ROWS: Final = "INSERT INTO t VALUES (?, ?, ?)"
SELECT: Final = "SELECT 1 AS a, 2 AS b"
Use = Callable[[Database, Any, Path], object]
ARGUMENTS: Final[dict[str, Use]] = {
    "rows": lambda db, value, _: db.execute_many(ROWS, value),
    "rows of tx": lambda db, value, _: db.write(lambda tx: tx.execute_many(ROWS, value)),
    "into": lambda db, value, _: db.query("SELECT a FROM t", into=value),
    "into of two": lambda db, value, _: db.query_one(SELECT, into=value),
    "into of one": lambda db, value, _: db.query_value("SELECT b FROM t", into=value),
    "into of a stream": lambda db, value, _: db.read(
        lambda tx: list(tx.stream(SELECT, into=value).__enter__())
    ),
    "blob's table": lambda db, value, _: _blob(db, value, "c", 1),
    "blob's column": lambda db, value, _: _blob(db, "t", value, 1),
    "blob's row": lambda db, value, _: _blob(db, "t", "c", value),
    "snapshot": lambda db, value, _: db.snapshot(value),
    "restore from": lambda _, value, folder: onewriter.restore(value, folder / "restored.db"),
    "restore to": lambda db, value, _: onewriter.restore(db.path, value),
    "open": lambda _, value, __: onewriter.open(value).close(),
    "config": lambda _, value, folder: onewriter.open(folder / "b.db", config=value).close(),
    "durability": lambda _, value, folder: onewriter.open(folder / "b.db", durability=value).close(),
    "migrations": lambda _, value, folder: onewriter.open(folder / "b.db", migrations=value).close(),
    "migration": lambda db, value, _: db.migrate([MIGRATION, value]),
    "status": lambda db, value, _: db.migration_status(value),
    "version": lambda db, value, _: db.migrate([MIGRATION, Migration(value, "strange", "SELECT 1")]),
    "name": lambda db, value, _: db.migrate([MIGRATION, Migration(2, value, "SELECT 1")]),
    "script": lambda db, value, _: db.migrate([MIGRATION, Migration(3, "strange", value)]),
    "timeout of execute": lambda db, value, _: db.execute("DELETE FROM t", timeout_s=value),
    "timeout of many": lambda db, value, _: db.execute_many(ROWS, [(1, 2, 3)], timeout_s=value),
    "timeout of write": lambda db, value, _: db.write(id, timeout_s=value),
    "timeout of submit": lambda db, value, _: db.submit(id, timeout_s=value).result(LIMIT_S),
    "timeout of transaction": lambda db, value, _: _block(db, timeout_s=value),
    "hold of transaction": lambda db, value, _: _block(db, hold_s=value),
    "timeout of query": lambda db, value, _: db.query("SELECT 1", timeout_s=value),
    "timeout of read": lambda db, value, _: db.read(id, timeout_s=value),
    "timeout of stream": lambda db, value, _: _stream(db, value),
    "timeout of checkpoint": lambda db, value, _: db.checkpoint(timeout_s=value),
    "timeout of vacuum": lambda db, value, _: db.vacuum(timeout_s=value),
}
# A function that is given is called, and Python says itself that it takes other arguments: that is the caller's own.
FUNCTIONS: Final[dict[str, Use]] = {
    "write": lambda db, value, _: db.write(value),
    "read": lambda db, value, _: db.read(value),
    "submit": lambda db, value, _: db.submit(value).result(LIMIT_S),
    "after_commit": lambda db, value, _: db.write(lambda tx: tx.after_commit(value)),
    "progress": lambda db, value, folder: db.snapshot(folder / "c.db", progress=value, overwrite=True),
}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_whatever_argument_is_given_is_taken_or_refused(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    """Each strange value in the place of each argument."""
    monkeypatch.chdir(tmp_path)  # a text may be the name of a file
    for value in strange_values():
        attempt(lambda: ARGUMENTS[argument](db, value, tmp_path), (argument, shown(value)))  # noqa: B023 - at once
    check_works(db, Ledger())


@pytest.mark.parametrize("argument", FUNCTIONS)
def test_whatever_is_no_function_is_refused(db: Database, tmp_path: Path, argument: str) -> None:
    """What can be called is: the error is then its own."""
    for value in strange_values():
        if not callable(value):
            attempt(lambda: FUNCTIONS[argument](db, value, tmp_path), (argument, shown(value)))  # noqa: B023 - at once
    check_works(db, Ledger())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("argument", FUNCTIONS)
def test_what_a_function_raises_is_raised(db: Database, tmp_path: Path, argument: str) -> None:
    """As it is, whatever Python calls it; but by `after_commit`, where it is logged."""
    for error in (OwnError, ValueError, TypeError, OSError, UnicodeError, StopIteration, RecursionError):
        function = raising(error)
        if argument == "after_commit":
            FUNCTIONS[argument](db, function, tmp_path)
        else:
            with pytest.raises(error) as caught:
                FUNCTIONS[argument](db, function, tmp_path)
            assert type(caught.value) is error
    check_works(db, Ledger())


# --- types of rows


@dataclasses.dataclass
class OwnInit:
    """A dataclass whose rows are made by code of its own."""

    a: int

    def __post_init__(self) -> None:
        raise OwnError


@dataclasses.dataclass(init=False)
class NoInit:
    a: int


class Recursive(NamedTuple):
    a: Recursive | None


class Total(TypedDict, total=False):
    a: int
    b: Unknown  # type: ignore[name-defined] # noqa: F821 # pyright: ignore[reportUndefinedVariable]


class Meta(type):
    """A class of classes that cannot be asked."""

    def __hash__(cls) -> int:
        raise OwnError

    def __instancecheck__(cls, _instance: object) -> bool:
        raise OwnError


class Odd(metaclass=Meta):
    a: int


def _types() -> list[object]:
    made: Any = dataclasses.make_dataclass("Made", [(f"a{number}", int) for number in range(3_000)])
    deep: Any = int
    for _ in range(2_000):
        deep = list[deep]
    return [
        *(OwnInit, NoInit, Recursive, Total, Odd, made, deep),
        *(
            int | str,
            int | None,
            list[int],
            dict[str, int],
            tuple[int, ...],
            Any,
            None,
            type(None),
            bool | None,
        ),
        *(
            "int",
            "Recursive",
            type,
            object,
            Callable,
            Iterator[int],
            NamedTuple,
            TypedDict,
            type("X", (tuple,), {}),
        ),
        type("F", (tuple,), {"_fields": ("a", 1, None)}),
        dataclasses.make_dataclass("Named", [("class_", int), ("a", "int | Nothing")]),
    ]


def test_whatever_type_is_asked_for_is_made_or_refused(db: Database) -> None:
    """Of one column, and of two."""
    for into in _types():
        for sql in ("SELECT 1 AS a", SELECT, "SELECT NULL AS a", "SELECT 1 AS a, 2 AS a"):
            for ask in (db.query, db.query_one, db.query_value):
                asked: Any = ask
                attempt(lambda: asked(sql, into=into), (sql, shown(into)))  # noqa: B023 - called at once
    check_works(db, Ledger())


def test_every_refusal_is_one_of_the_library_s(db: Database) -> None:
    """The test of the test: most of what is strange is refused, and so was not taken in silence."""
    query = DOORS["query"]
    refused = [
        attempt(lambda: query(db, "SELECT ?", [value]), shown(value))  # noqa: B023 - called at once
        for value in strange_values()
    ]
    assert sum(isinstance(each, Error) for each in refused) > 20
    assert sum(each is None for each in refused) > 20
