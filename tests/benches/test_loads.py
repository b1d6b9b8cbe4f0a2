"""Each load runs with each contender that can do it, and what was counted is what was done."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import LiteralString

import pytest

from bench import contenders, loads, worker
from bench.contenders import About, Can, Contender
from bench.contenders.base import Params, Session
from bench.loads import base
from bench.loads.base import Hung, Load, Round, Seen
from bench.loads.reads import Objects
from bench.loads.writes import Many, Small, Upload
from onewriter.config import Durability
from onewriter.stress.waits import Waits
from tests.benches import ENDLESS
from tests.house import ROOT

SECONDS = 0.05
ROWS = {"mixed": 200, "point": 200, "scan": 200, "objects": 20, "rows": 200}
STORED = """
import json, sqlite3, sys
print(json.dumps(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall()))
"""
# What a file has of each kind's writes, beside the rows that were there before.
COUNTS = {
    **dict.fromkeys(("small", "submit", "many", "tasks", "processes"), "SELECT count(*) FROM small"),
    "mixed": "SELECT count(*) - 200 FROM item",
    "rows": "SELECT count(*) - 200 FROM large",
    "upload": "SELECT count(*) FROM chunk",
}


def load_of(part: str) -> Load:
    """Return a small load of its kind."""
    return Load(name=part, part=part, threads=1 if part == "submit" else 3, reads=0.5, rows=ROWS.get(part, 0))


def measure(load: Load, about: About, path: Path, rounds: int = 1, seconds: float = SECONDS) -> list[Seen]:
    """Return what was seen in so many rounds, in this process."""
    work = loads.WORKS[load.part](load, about, path)
    work.fill()
    seen: list[Seen] = []

    def serve(round_: Round) -> None:
        seen.extend(round_(time.monotonic(), seconds) for _ in range(rounds))

    work.run(serve)
    return seen


def stored(path: Path, sql: str) -> list[list[int]]:
    """Return the rows that the plain standard library finds, in a process of its own."""
    command = [sys.executable, "-c", STORED, str(path), sql]
    found: list[list[int]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def cases() -> list[object]:
    """Return all pairs of a kind of work and a contender that can do it."""
    return [
        pytest.param(
            load_of(part),
            about,
            id=f"{part}-{about.key}",
            marks=[pytest.mark.leaves_behind(reason=ENDLESS)]
            if about.key == "datasette" and part == "tasks"
            else [],
        )
        for part in loads.WORKS
        for about in contenders.ALL.values()
        if loads.able(about, load_of(part))
    ]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less in each call, so that a short round has some."""
    monkeypatch.setattr(Many, "each", 10)
    monkeypatch.setattr(Objects, "each", 20)
    monkeypatch.setattr(base.Work, "end", bool)  # so that there is a file to look at


@pytest.mark.parametrize("load, about", cases())
def test_a_load_runs(load: Load, about: About, tmp_path: Path) -> None:
    """All that is counted is in the file, and nothing else: no write is lost, and none that failed is there."""
    path = tmp_path / "a.db"
    [seen] = measure(load, about, path)
    assert sum(seen.done.values()) > 0
    assert seen.rss_bytes > 0
    assert seen.seconds > 0
    assert not seen.errors or (load.part == "upload" and about.key.endswith("-deferred")), seen.errors
    assert {kind for kind, waits in seen.waits.items() if waits.count} == set(seen.done)
    if load.part in COUNTS and about.key != "synced":
        assert stored(path, COUNTS[load.part]) == [[seen.done["write"]]]
    if load.part == "upload":
        sums = "SELECT upload, sum(length(body)) FROM chunk GROUP BY 1"
        assert stored(path, sums) == stored(path, "SELECT id, received FROM upload WHERE received")


def test_rounds_go_on_with_a_file_or_have_one_each(tmp_path: Path) -> None:
    """Where a round writes much, the next one begins with nothing."""
    seen = measure(load_of("small"), contenders.ALL["locked"], tmp_path / "a.db", rounds=3)
    assert stored(tmp_path / "a.db", COUNTS["small"]) == [[sum(each.done["write"] for each in seen)]]
    seen = measure(load_of("upload"), contenders.ALL["locked"], tmp_path / "b.db", rounds=3)
    assert stored(tmp_path / "b.db", COUNTS["upload"]) == [[seen[-1].done["write"]]]


def test_a_round_with_a_file_of_its_own_leaves_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The disk is for the next one."""
    monkeypatch.undo()
    measure(load_of("upload"), contenders.ALL["onewriter"], tmp_path / "a.db", rounds=2)
    assert not list(tmp_path.iterdir())


def test_a_round_with_a_file_of_its_own_ends_before_the_disk_is_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may have less than its seconds."""
    monkeypatch.setattr(base, "BYTES_MAX", 3 * 4 * 4096)
    load = replace(load_of("upload"), bytes=4096)
    [seen] = measure(load, contenders.ALL["locked"], tmp_path / "a.db", seconds=30.0)
    assert Upload.anew
    assert seen.seconds < 30.0
    assert seen.done == {"write": 12}
    assert seen.bytes == 12 * 4096


def test_each_load_has_a_kind_and_a_name() -> None:
    """And onewriter can do each of them."""
    assert {load.part for load in loads.ALL.values()} == set(loads.WORKS)
    assert all(name == load.name for name, load in loads.ALL.items())
    assert set(loads.QUICK) <= set(loads.ALL)
    assert all(loads.able(contenders.ALL["onewriter"], load) for load in loads.ALL.values())
    for about in contenders.ALL.values():
        assert any(loads.able(about, load) for load in loads.ALL.values()), about.key


def test_what_was_seen_survives_json() -> None:
    """To the last figure; and so does what two processes saw together."""
    waits = Waits()
    for wait_s in (0.001, 0.002, 0.5):
        waits.record(wait_s)
    seen = Seen(began=1.5, ended=2.5, done=Counter(write=3), waits={"write": waits}, bytes=600, rss_bytes=7)
    seen.errors["BusyError: database is locked"] = 2
    again = Seen.from_json(json.loads(json.dumps(seen.as_json())))
    assert again.as_json() == seen.as_json()
    assert (again.waits["write"].count, again.waits["write"].worst_s) == (3, 0.5)
    again.merge(Seen.from_json(json.loads(json.dumps(replace(seen, began=1.0, ended=2.0).as_json()))))
    assert (again.began, again.ended, again.seconds) == (1.0, 2.5, 1.5)
    assert (again.done, again.bytes, again.rss_bytes) == ({"write": 6}, 1200, 14)
    assert again.errors == {"BusyError: database is locked": 4}
    assert again.waits["write"].count == 6


class Odd(Contender):
    """One that this file's tests tell what to do."""

    @staticmethod
    def opening() -> object:
        """Do nothing odd."""

    @staticmethod
    def executing() -> object:
        """Do nothing odd."""

    @classmethod
    def version(cls) -> str:
        return "odd"

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, durability: Durability
    ) -> Generator[Callable[[], AbstractContextManager[Session]]]:
        def of_a_thread() -> AbstractContextManager[Session]:
            cls.opening()
            return nullcontext(Session(execute=execute))

        def execute(sql: LiteralString, params: Params) -> None:
            time.sleep(0.001)
            cls.executing()

        yield of_a_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutOdd(About):
    """What there is to say of it."""

    odd: type[Odd]

    def contender(self) -> type[Contender]:
        return self.odd


def about(odd: type[Odd], *, limit: bool = False) -> About:
    """Return what there is to say of a contender of this file."""
    return AboutOdd(
        key="odd",
        title="odd",
        how="oddly",
        can=frozenset({Can.EXECUTE}),
        library="os",
        place="nowhere",
        limit=limit,
        odd=odd,
    )


def test_an_error_is_counted_and_its_thread_goes_on(tmp_path: Path) -> None:
    """By its text; what failed is not among what was done."""
    turns = Counter[int]()

    def fail() -> None:
        turns[threading.get_ident()] += 1
        if turns[threading.get_ident()] % 2:
            raise OSError("full\nof this and that")

    class Failing(Odd):
        executing = staticmethod(fail)

    [seen] = measure(load_of("small"), about(Failing), tmp_path / "a.db")
    assert set(seen.errors) == {"OSError: full"}
    assert seen.errors.total() + seen.done.total() == turns.total()
    assert len(turns) == 3
    assert min(turns.values()) > 1


def test_a_thread_that_cannot_open_sits_out(tmp_path: Path) -> None:
    """The others go on, and it is shown."""
    opened = Counter[str]()

    def open_() -> None:
        opened["times"] += 1
        if opened["times"] == 2:
            raise OSError("too many open files")

    class Unopened(Odd):
        opening = staticmethod(open_)

    [seen] = measure(load_of("small"), about(Unopened), tmp_path / "a.db")
    assert seen.errors == {"not opened: OSError: too many open files": 1}
    assert seen.done["write"] > 0


def test_a_limit_has_one_thread(tmp_path: Path) -> None:
    """However many the load names."""
    threads = set[int]()

    class Noting(Odd):
        executing = staticmethod(lambda: threads.add(threading.get_ident()))

    measure(load_of("small"), about(Noting, limit=True), tmp_path / "a.db")
    assert len(threads) == 1
    measure(load_of("small"), about(Noting), tmp_path / "b.db")
    assert len(threads) >= 3


def test_who_does_not_come_back_is_cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The round says how many did, instead of waiting for ever."""
    go, turns = threading.Event(), Counter[str]()

    def hang() -> None:
        turns["all"] += 1
        if turns["all"] == 1:
            go.wait()

    class Hanging(Odd):
        executing = staticmethod(hang)

    monkeypatch.setattr(base, "LIMIT_S", 0.2)
    with pytest.raises(Hung, match="of 3 threads came back"):
        measure(load_of("small"), about(Hanging), tmp_path / "a.db")
    go.set()


def test_a_process_works_for_others(tmp_path: Path) -> None:
    """It says what it is, then what it saw in each round, and ends with its input."""
    path = tmp_path / "a.db"
    command = [sys.executable, "-m", "bench.worker", "sqlite3-immediate", "small-4-normal", str(path)]
    at = time.monotonic() + 1.0
    rounds = f"{at} {SECONDS}\n0 {SECONDS}\n"
    done = subprocess.run(
        [*command, "fill"], input=rounds, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, timeout=60
    )
    is_, *saw = map(json.loads, done.stdout.splitlines())
    assert is_["version"].startswith("sqlite3 with SQLite")
    assert Path(is_["library"]).name == "__init__.py"
    seen = [Seen.from_json(each) for each in saw]
    assert stored(path, COUNTS["small"]) == [[sum(each.done["write"] for each in seen)]]
    assert seen[0].began >= at


def test_a_process_ends_where_the_contender_hangs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It tells why, and closes nothing: that might hang too."""

    def run(_: object, serve: Callable[[Round], None]) -> None:
        def hang(at: float, seconds: float) -> Seen:
            raise Hung(f"{at} {seconds}")

        serve(hang)

    def exit_(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(Small, "run", run)
    monkeypatch.setattr(os, "_exit", exit_)
    monkeypatch.setattr(sys, "stdin", io.StringIO("1 2\n"))
    with pytest.raises(SystemExit) as ended:
        worker.main(["locked", "small-1-full", "a.db"])
    assert ended.value.code == worker.HUNG
    told = capsys.readouterr()
    assert "locked at small-1-full was cut off: 1.0 2.0" in told.err
    assert len(told.out.splitlines()) == 1


def test_a_process_may_open_files_enough() -> None:
    """As many as it is let, even where it may open few."""
    code = """
import resource
from bench import worker
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
worker.allow_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, timeout=60
    )
    soft, hard = map(int, done.stdout.split())
    assert soft == (worker.FILES_MAX if hard < 0 else min(hard, worker.FILES_MAX))
