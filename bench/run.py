"""A run: planned, measured, saved; and, beside an earlier state of the library, judged."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from bench import contenders, results, revisions
from bench.loads.base import Json, Load
from bench.results import Results
from bench.suite.plan import Plan
from bench.suite.plugin import Suite
from bench.suite.stage import Stage
from bench.team import ROOT, Entry
from bench.verdict import Verdict, judge
from onewriter.stress.machine import machine

OURS: Final = "onewriter"
AGAIN: Final = "onewriter again"
MORE_ROUNDS: Final = 3  # times as many, for a load that looks slower
Progress = Callable[[Plan], contextlib.AbstractContextManager[Callable[[str], object]]]


class Broken(Exception):
    """A turn failed: what the library promises, or a contender's process, broke.

    Attributes:
        found: what was measured all the same, and saved.
    """

    def __init__(self, failures: str, found: Results | None = None) -> None:
        """Say what failed, beside *found*."""
        super().__init__(failures)
        self.found = found


@dataclass(frozen=True, slots=True)
class Beside:
    """An earlier state of the library.

    Attributes:
        name: how tables call it.
        source: the folder that it is imported from.
    """

    name: str
    source: Path


@contextmanager
def folder(parent: Path | None) -> Generator[Path]:
    """Make a folder for the files of a run, in *parent* or where the system has its temporary files."""
    with tempfile.TemporaryDirectory(prefix="onewriter-bench-", dir=parent) as name:
        yield Path(name)


def facts(where: Path, rounds: int, seconds: float) -> Json:
    """Return what results are of."""
    return {
        **dataclasses.asdict(machine(where)),
        **revisions.about(),
        "rounds": rounds,
        "seconds": seconds,
        "contenders": {
            key: {"title": about.title, "how": about.how, "limit": about.limit}
            for key, about in contenders.ALL.items()
        },
    }


def measure(plan: Plan, path: Path, progress: Progress) -> Results:
    """Have the turns of *plan* done, save what they were at *path*, and return it.

    Raises:
        ValueError: there is none: nobody can do any of these loads.
        Broken: a turn failed; what the others were is saved.
        KeyboardInterrupt: Ctrl-C; nothing is left running, and the turns that had ended are saved.
    """
    if next(plan.turns(), None) is None:
        raise ValueError("none of these contenders can do any of these loads")
    said, saved = io.StringIO(), plan.folder / "run.json"
    about = facts(plan.folder, plan.rounds, plan.seconds)
    with progress(plan) as done, Stage(plan.folder, plan.seconds) as stage:
        suite = Suite(plan, stage, about, done)
        arguments = ["-c", str(ROOT / "bench/suite/pytest.ini"), "--rootdir", str(ROOT / "bench/suite")]
        arguments += [str(ROOT / "bench/suite"), f"--benchmark-json={saved}", "--benchmark-quiet"]
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                status = pytest.main(arguments, plugins=[suite])
        except ValueError:
            if not suite.was_interrupted:
                raise
            status = pytest.ExitCode.INTERRUPTED
    if status == pytest.ExitCode.INTERRUPTED:
        if stage.kept:
            benchmarks = [{"extra_info": each} for each in stage.kept]
            partial = {"run": about | {"interrupted": True}, "benchmarks": benchmarks}
            path.write_text(json.dumps(partial, indent=1), encoding="utf-8")
        raise KeyboardInterrupt
    found = None
    if saved.exists():
        shutil.copyfile(saved, path)
        found = results.read(path)
    if suite.failures:
        raise Broken("\n".join(f"{name}: {reason}" for name, reason in suite.failures.items()), found)
    if status != pytest.ExitCode.OK or found is None:
        raise Broken(said.getvalue()[-2000:], found)
    return found


def compare(
    loads: Sequence[Load], beside: Beside, plan: Plan, path: Path, progress: Progress
) -> tuple[Results, list[Verdict]]:
    """Measure the library at *loads*, the one it is compared with, and itself again, in the same rounds, and judge.

    A load that looks slower is measured again, with more rounds, before it counts as slower.
    """
    entries = (Entry(OURS, OURS), Entry(beside.name, OURS, beside.source), Entry(AGAIN, OURS))
    plan = dataclasses.replace(plan, loads=tuple(loads), entries=entries)
    found = measure(plan, path, progress)
    verdicts = {load: _judged(found, load, beside) for load in found.loads}
    doubted = tuple(load for load in loads if load.name in verdicts and verdicts[load.name].is_slower)
    if doubted:
        again = dataclasses.replace(
            plan, loads=doubted, rounds=plan.rounds * MORE_ROUNDS, folder=plan.folder / "again"
        )
        again.folder.mkdir()
        more = again.folder / "again.json"
        measure(again, more, progress)
        results.append(path, more)
        found = results.read(path)
        verdicts |= {load.name: _judged(found, load.name, beside) for load in doubted}
    return found, list(verdicts.values())


def _judged(found: Results, load: str, beside: Beside) -> Verdict:
    at = found.at(load)
    return judge(load, at[OURS].ratios(at[beside.name]), at[AGAIN].ratios(at[OURS]))


def save(found: Results, verdicts: Sequence[Verdict], path: Path) -> None:
    """Add *verdicts* to what *found* is of, and to what was saved at *path*."""
    found.about["verdicts"] = [dataclasses.asdict(each) | {"word": each.word} for each in verdicts]
    saved = json.loads(path.read_text(encoding="utf-8"))
    saved["run"] = found.about
    path.write_text(json.dumps(saved, indent=1), encoding="utf-8")
