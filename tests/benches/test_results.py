"""What rounds come to: rates, ratios, the sum of two runs, turns, and what tables make of them."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from bench import loads, results
from bench.loads.base import Seen
from bench.results import Standing
from bench.suite.plan import Plan
from bench.suite.stage import Stage
from bench.tables import rows, yardstick
from bench.team import Ended, Entry
from onewriter.stress.waits import Waits

LOAD = loads.ALL["small-1-full"]


def _seen(done: int, seconds: float = 1.0, **errors: int) -> Seen:
    waits = Waits()
    for _ in range(done):
        waits.record(0.001)
    return Seen(
        began=0.0,
        ended=seconds,
        done=Counter(write=done) if done else Counter(),
        waits={"write": waits} if done else {},
        errors=Counter(errors),
    )


def _standing(entry: str, *rounds: Seen) -> Standing:
    return Standing(load=LOAD.name, entry=entry, version="1", rounds=dict(enumerate(rounds)))


def test_a_ratio_is_the_median_of_those_within_a_round() -> None:
    """Not the ratio of the medians, nor the best round's; a round in which the other did nothing has none."""
    ours = _standing("onewriter", _seen(10), _seen(90), _seen(40), _seen(70))
    other = _standing("locked", _seen(10), _seen(30), _seen(20), _seen(0, error=3))
    assert ours.ratios(other) == [1.0, 3.0, 2.0]
    assert ours.ratio(other) == 2.0
    assert (ours.per_s, other.per_s) == (55.0, 15.0)
    assert _standing("x", _seen(10, seconds=4.0)).per_s == 2.5


def test_who_did_nothing_is_nobodys_yardstick() -> None:
    """It is shown, with its errors; others are a ratio to the next."""
    failed = _standing("locked", _seen(0, first=3, second=1), _seen(0, third=2))
    raw, ours = _standing("raw", _seen(10), _seen(10)), _standing("onewriter", _seen(20), _seen(30))
    at = {each.entry: each for each in (failed, ours, raw)}
    assert yardstick(at) is raw
    assert ours.ratio(failed) is None
    (name, rate, ratio, *_, errors, _mb), *_ = rows(failed, raw)
    assert (name, rate, ratio, errors) == ("locked", "0", "0.00", "6: first and 2 more kinds")
    assert yardstick({"locked": failed}) is failed
    assert next(iter(rows(failed, failed)))[2] == "-"
    assert next(iter(rows(ours, raw)))[-2] == ""


def test_rounds_of_two_runs_are_counted_on(tmp_path: Path) -> None:
    """So that the results that are saved are all that was judged."""
    for name, rates in (("first", (10, 20)), ("again", (30, 40, 50))):
        found = [
            {
                "load": LOAD.name,
                "entry": "onewriter",
                "version": "1",
                "round": number,
                "seen": _seen(rate).as_json(),
            }
            for number, rate in enumerate(rates)
        ]
        about = {"commit": None, "changed": True}
        saved = {"run": about, "benchmarks": [{"extra_info": each} for each in found]}
        (tmp_path / name).write_text(json.dumps(saved), encoding="utf-8")
    results.append(tmp_path / "first", tmp_path / "again")
    standing = results.read(tmp_path / "first").at(LOAD.name)["onewriter"]
    assert list(standing.rates.values()) == [10, 20, 30, 40, 50]


def test_each_is_first_in_turn(tmp_path: Path) -> None:
    """All have a turn in each round, and in each another begins."""
    entries = tuple(Entry(key, key) for key in ("onewriter", "locked", "raw"))
    plan = Plan(
        loads=(LOAD, loads.ALL["submit-full"]), entries=entries, rounds=3, seconds=1.0, folder=tmp_path
    )
    turns = [(load.name, number, entry.key) for load, number, entry in plan.turns()]
    small = [(number, key) for load, number, key in turns if load == LOAD.name]
    assert {key for _, key in small[::3]} == {"onewriter", "locked", "raw"}
    assert sorted(small) == sorted((number, entry.key) for number in range(3) for entry in entries)
    assert [key for load, _, key in turns if load == "submit-full"] == ["onewriter"] * 3


def test_a_worker_that_ends_between_two_turns_is_told_of(tmp_path: Path) -> None:
    """A contender has then done nothing, for its own reason; the library's end is the run's."""
    locked, ours = Entry("locked", "locked"), Entry("onewriter", "onewriter")
    with Stage(tmp_path, 0.05) as stage:
        for entry in (locked, ours):
            assert stage.turn(LOAD, entry).done
            worker = stage.party(LOAD, entry)._workers[0]
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait(10)
        assert list(stage.turn(LOAD, locked).errors) == [
            "locked at small-1-full ended (status -9): it was killed, or gave no answer for 210 s"
        ]
        for _ in range(2):
            with pytest.raises(Ended, match="onewriter at small-1-full ended"):
                stage.turn(LOAD, ours)
        assert stage.turn(loads.ALL["small-4-full"], ours).done
