"""The limits: what is refused, and that the message names it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

import onewriter
from onewriter import Config, ProgrammingError
from onewriter.slow import SlowLog

NUMBERS = ("readers_max", "pending_max", "batch_max", "cache_bytes", "wal_bytes_max")
OPTIONAL = "slow_request_s"  # None: there is no such limit
DURATIONS = tuple(
    field.name for field in dataclasses.fields(Config) if field.name.endswith("_s") and field.name != OPTIONAL
)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "4", None, True])
def test_a_wrong_number_is_refused(name: str, value: object) -> None:
    """Counts are whole numbers above 0."""
    with pytest.raises(ProgrammingError, match=f"^Config.{name} must be a whole number"):
        make(name, value)


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [-1, math.inf, math.nan, "1", None, True])
def test_a_wrong_duration_is_refused(name: str, value: object) -> None:
    """Durations are seconds, and none is without end."""
    with pytest.raises(ProgrammingError, match=f"^Config.{name} must be a number of seconds"):
        make(name, value)


@pytest.mark.parametrize("value", [-1, math.inf, math.nan, "1", True])
def test_a_wrong_duration_is_refused_where_there_need_be_none(value: object) -> None:
    """And None is taken."""
    with pytest.raises(ProgrammingError, match=f"^Config.{OPTIONAL} must be a number of seconds"):
        make(OPTIONAL, value)
    make(OPTIONAL, None)


@pytest.mark.parametrize(
    "name, value",
    [
        ("file_mode", 0o400),
        ("file_mode", 0o1600),
        ("file_mode", -1),
        ("file_mode", "0600"),
        ("file_mode", True),
        ("mmap_bytes", -1),
        ("mmap_bytes", True),
        ("statement_cache_max", 1.5),
        ("optimize", 1),
        ("wal_bytes_max", 65_535),
        ("checkpoint", "passive"),
        ("checkpoint", None),
        ("checkpoint", True),
        ("vfs", ""),
        ("vfs", 5),
        ("on_connect", "f"),
        ("telemetry", "on"),
        ("telemetry", SlowLog),
    ],
)
def test_another_wrong_value_is_refused(name: str, value: object) -> None:
    """Each with the field's name and the value."""
    with pytest.raises(ProgrammingError, match=f"^Config.{name} must be .*{value!r}"):
        make(name, value)


def make(name: str, value: object) -> Config:
    """Return a Config with one value, whatever its type."""
    options: dict[str, Any] = {name: value}
    return Config(**options)


def test_every_limit_has_a_default_that_is_allowed() -> None:
    """And can be set to itself."""
    assert dataclasses.replace(Config()) == Config()
    assert make("batch_s", 0) == make("batch_s", 0.0)


def test_a_config_is_frozen_and_named() -> None:
    """Nobody changes a limit under a database that is open, nor mixes two up."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(Config(), "readers_max", 5)  # noqa: B010 - a checker would refuse the plain way
    with pytest.raises(TypeError):
        Config(4)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_wrong_options_of_open_are_refused(tmp_path: Path) -> None:
    """Before anything is created."""
    path = tmp_path / "a.db"
    with pytest.raises(ProgrammingError, match="config must be a Config, not dict"):
        onewriter.open(path, config={})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(ProgrammingError, match="durability must be 'full' or 'normal', not 'none'"):
        onewriter.open(path, durability="none")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.iterdir())


def test_the_settings_of_sqlite_reach_every_connection(tmp_path: Path) -> None:
    """The writer's and the readers'."""
    config = Config(cache_bytes=1024 * 1024, mmap_bytes=512 * 1024, statement_cache_max=7)
    with onewriter.open(tmp_path / "a.db", config=config) as db:

        def settings(tx: onewriter.ReadTransaction) -> tuple[object, object]:
            return tx.query_value("PRAGMA cache_size"), tx.query_value("PRAGMA mmap_size")

        assert db.read(settings) == db.write(settings) == (-1024, 512 * 1024)
        assert db._core.writer is not None
        (reader,) = [each.connection for each in db._readers._readers if each.connection is not None]
        for connection in (reader, db._core.writer.connection):
            assert connection._apsw.cache_stats()["size"] == 7


@pytest.mark.parametrize("optimize", [True, False])
def test_the_planners_statistics_are_made_at_close(tmp_path: Path, optimize: bool) -> None:
    """And after migrations of a file that has something in it; or neither."""
    made = "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'"
    config = Config(optimize=optimize)
    first = onewriter.Migration(1, "table", "CREATE TABLE t (a, b); CREATE INDEX by_a ON t (a)")
    with onewriter.open(tmp_path / "a.db", config=config, migrations=[first]) as db:
        db.execute_many("INSERT INTO t VALUES (?, ?)", [(n % 3, n) for n in range(1_000)])
        assert db.query_value(made, into=int) == 0
    with onewriter.open(tmp_path / "a.db", config=Config(optimize=False)) as db:
        assert db.query_value(made, into=int) == int(optimize)
    second = onewriter.Migration(2, "index", "CREATE INDEX by_b ON t (b)")
    with onewriter.open(tmp_path / "a.db", config=config, migrations=[first, second]) as db:
        if optimize:
            assert db.query("SELECT idx FROM sqlite_stat1 WHERE tbl = 't' ORDER BY idx", into=str) == [
                "by_a",
                "by_b",
            ]
        else:
            assert db.query_value(made, into=int) == 0
