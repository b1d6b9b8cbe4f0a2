"""Any value in the place of a limit, and any code in the place of `Config.on_connect`."""

# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false
# (APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.)

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

import onewriter
from onewriter import Config, ProgrammingError
from tests.support.hostile import (
    OWN,
    QUICK,
    OwnError,
    attempt,
    check_works,
    open_hostile,
    raising,
    shown,
    strange_values,
)
from tests.support.oracle import MIGRATION, WAYS, Ledger
from tests.support.places import in_memory


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a sync costs nothing."""
    with in_memory(tmp_path / "disk") as made:
        yield made


class Limit(NamedTuple):
    """One field of a `Config` with a value."""

    name: str
    value: object


def _limits() -> list[Limit]:
    more: list[object] = [1, 60, 10_000, 1e-9, 5e-324, 1e9, 1e10, 2**31 - 1, 2**31, 2**40, 2**62, 10**400]
    more += ["auto", "external", "unix", "unix-none", "memdb", "nope", True, False, 0o777, 0o600, 0o7777]
    return [
        Limit(field.name, value)
        for field in dataclasses.fields(Config)
        for value in (*strange_values(), *more)
        if field.name != "on_connect" or not callable(value)
    ]


def test_whatever_limit_is_set_is_kept_or_refused(folder: Path, seed: int) -> None:
    """A wrong one with its name; with any other every way of writing works, or says what it waited for."""
    draw, limits, kept = random.Random(seed), _limits(), 0
    for number, (name, value) in enumerate(limits):
        options: dict[str, Any] = {"write_timeout_s": 2.0, name: value}
        made: list[Config] = []
        error = attempt(lambda: made.append(Config(**options)), (name, shown(value)))  # noqa: B023 - called at once
        if error is not None:
            is_told = isinstance(error, ProgrammingError) and str(error).startswith(f"Config.{name} must be")
            assert is_told or isinstance(error, OWN), (name, error)
        elif draw.random() < 0.1:
            kept += 1
            attempt(lambda: _use(folder / f"{number}.db", made[0]), (name, shown(value)))  # noqa: B023 - at once
    assert kept > 5


def _use(path: Path, config: Config) -> None:
    with onewriter.open(path, config=config, migrations=(MIGRATION,)) as db:
        for way in WAYS:
            attempt(lambda: way(db, way.__name__), (way.__name__, config))  # noqa: B023 - called at once
        attempt(lambda: db.query("SELECT * FROM unit"), config)
        attempt(lambda: db.snapshot(path.with_suffix(".copy")), config)
        attempt(db.checkpoint, config)
        assert db.check() == []
        assert db.stats().pending == 0


def _forbids(*_: object) -> int:
    return apsw.SQLITE_DENY


def _nothing(_connection: apsw.Connection) -> None:
    pass


def _bad_connects() -> dict[str, Callable[[apsw.Connection], object]]:
    return {
        "raises": raising(),
        "closes": lambda connection: connection.close(),
        "begins": lambda connection: connection.execute("BEGIN").fetchall(),
        "leaves a cursor": lambda connection: connection.execute("SELECT 1 UNION SELECT 2").fetchone(),
        "waits": lambda connection: connection.set_busy_timeout(10),
        "forbids": lambda connection: connection.set_authorizer(_forbids),
        "interrupts": lambda connection: connection.set_progress_handler(lambda: True, 1),
        "refuses commits": lambda connection: connection.set_commit_hook(lambda: True),
        "converts": lambda connection: setattr(connection, "convert_binding", raising()),
        "hides rows": lambda connection: setattr(connection, "row_trace", raising()),
        "locks": lambda connection: connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall(),
        "leaves WAL": lambda connection: connection.execute("PRAGMA journal_mode = DELETE").fetchall(),
        "does nothing": _nothing,
    }


@pytest.mark.parametrize("what", _bad_connects())
def test_whatever_on_connect_does_the_next_opening_finds_the_file_sound(folder: Path, what: str) -> None:
    """It is the caller's own code, that has the connection: it may break that, and no more."""
    path = folder / "a.db"
    with onewriter.open(path, migrations=(MIGRATION,)) as db:
        check_works(db, Ledger())

    def on_connect(connection: apsw.Connection) -> None:
        try:
            _bad_connects()[what](connection)
        except apsw.Error as error:
            raise OwnError from error

    config = dataclasses.replace(QUICK, read_timeout_s=0.5, on_connect=on_connect)

    def use() -> None:
        with onewriter.open(path, config=config) as db:
            for way in WAYS:
                attempt(lambda: way(db, way.__name__), (what, way.__name__))  # noqa: B023 - called at once
            attempt(lambda: db.query("SELECT 1"), what)

    attempt(use, what)
    with open_hostile(path) as again:
        again.execute("DELETE FROM unit")
        check_works(again, Ledger())
        assert again.check() == []
