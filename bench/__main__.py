"""``scripts/bench``: measure the library beside its peers, or beside itself as it was."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from bench import contenders, loads, report, results, revisions, run, team
from bench.suite.plan import Plan
from bench.tables import Terminal
from bench.team import ROOT, Entry

SECONDS = 0.25  # of a turn
ROUNDS_LEAST = 3  # from which noise can be told
SLOWER, MISUSED, BROKEN, UNCLEAR = 1, 2, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for."""

    what: list[str]
    quick: bool
    against: str | None
    names: str | None
    rounds: int | None
    seconds: float | None
    json: Path | None
    report: Path | None
    folder: Path | None


def _command(
    *,
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[PART or LOAD]...", help="All by default.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few loads and contenders, in under two minutes.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="COMMIT|FILE",
            help="Measure that commit's library, or that of earlier results, in the same rounds; fail where this is "
            "slower.",
        ),
    ] = None,
    names: Annotated[
        str | None, typer.Option("--contenders", metavar="A,B", help="Who takes part.", show_default="all")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Turns of each at each load.", show_default="3, against 7"),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", min=0.01, help="Of a turn.", show_default="0.25")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where results go.", show_default="below .benchmarks")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE", help="Where the HTML report goes.", show_default="beside the results"
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Where the databases go, for the time of the run.",
        ),
    ] = None,
) -> None:
    """Measure onewriter beside other ways to use SQLite, or beside itself as it was at an earlier commit.

    Each contender has a process and a file of its own; in each round all have their turn. What fails of others is
    counted and shown. The exit status is 1 where --against found a load slower than the noise explains, 4 where the
    noise was too great to tell, 2 where what was asked for cannot be done, and 3 where onewriter, or the run, failed.
    """
    wish = Wish(
        what=what or [],
        quick=quick,
        against=against,
        names=names,
        rounds=rounds,
        seconds=seconds,
        json=json,
        report=page,
        folder=folder,
    )
    terminal = Terminal()
    try:
        sys.exit(_run(wish, terminal))
    except run.Broken as error:
        print(f"bench: broken\n{error}", file=sys.stderr)
        sys.exit(BROKEN)
    except (ValueError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(MISUSED)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:  # noqa: BLE001 - the status of an uncaught one would be that of "slower"
        traceback.print_exc()
        sys.exit(BROKEN)


def _run(wish: Wish, terminal: Terminal) -> int:
    chosen = team.chosen(wish.what or (loads.QUICK if wish.quick else ()))
    entries = _entries(wish)
    began = datetime.now().astimezone()
    path = wish.json or ROOT / ".benchmarks" / f"{began:%Y-%m-%d-%H%M%S}-{os.getpid()}.json"
    page = wish.report or path.with_suffix(".html")
    for place in (path, page):
        if place.is_dir():
            raise ValueError(f"{place} is a folder: name a file in it")
        place.parent.mkdir(parents=True, exist_ok=True)
    with run.folder(wish.folder) as folder, _alone(terminal):
        plan = Plan(
            loads=tuple(chosen),
            entries=entries,
            rounds=wish.rounds or (3 if wish.against is None else 7),
            seconds=wish.seconds or SECONDS,
            folder=folder,
        )
        try:
            if wish.against is None:
                terminal.say(f"{len(chosen)} loads, about {plan.takes_s() / 60:.0f} minutes")
                found, status = run.measure(plan, path, terminal.progress), 0
                terminal.show(found)
            else:
                found, status = _compare(wish.against, plan, path, terminal)
        except run.Broken as error:
            if error.found is not None:
                terminal.show(error.found)
                _tell(error.found, path, page, terminal)
            raise
    _tell(found, path, page, terminal)
    return status


def _compare(against: str, plan: Plan, path: Path, terminal: Terminal) -> tuple[results.Results, int]:
    beside = _beside(against, plan.folder)
    ours = [load for load in plan.loads if Entry(run.OURS, run.OURS).can(load)]
    found, verdicts = run.compare(ours, beside, plan, path, terminal.progress)
    run.save(found, verdicts, path)
    terminal.show(found)
    for verdict in verdicts:
        terminal.say(verdict.sentence(beside.name))
    if any(verdict.is_slower for verdict in verdicts):
        terminal.say("slower")
        return found, SLOWER
    if any(verdict.is_unclear for verdict in verdicts):
        terminal.say("cannot tell: take more --rounds, longer --seconds, or a quieter machine")
        return found, UNCLEAR
    terminal.say("no load is slower than the noise explains")
    return found, 0


def _tell(found: results.Results, path: Path, page: Path, terminal: Terminal) -> None:
    report.write(found, page)
    terminal.say(f"results: {path}\nreport: {page}")


@contextmanager
def _alone(terminal: Terminal) -> Generator[None]:
    """Warn where another run measures on this machine at the same time."""
    with (Path(tempfile.gettempdir()) / f"onewriter-bench-{os.getuid()}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            terminal.say("another run measures at the same time: the figures of both will be wrong")
        yield


def _entries(wish: Wish) -> tuple[Entry, ...]:
    if wish.against is not None and wish.names is not None:
        raise ValueError("--against measures the library beside itself: leave --contenders out")
    if wish.against is not None and wish.rounds is not None and wish.rounds < ROUNDS_LEAST:
        raise ValueError(f"--against needs --rounds of {ROUNDS_LEAST} at least, to know the noise")
    keys = (
        tuple(contenders.ALL) if wish.names is None else tuple(each.strip() for each in wish.names.split(","))
    )
    if wish.names is None and wish.quick:
        keys = ("onewriter", "locked", "sqlite3-immediate", "aiosqlite", "raw", "ceiling")
    unknown = set(keys) - set(contenders.ALL)
    if unknown:
        raise ValueError(
            f"no contender is called {', '.join(sorted(unknown))}; there are {', '.join(contenders.ALL)}"
        )
    return tuple(Entry(key, key) for key in keys)


def _beside(against: str, folder: Path) -> run.Beside:
    name = against
    if Path(against).is_file():
        about = results.read(Path(against)).about
        if about["commit"] is None or about["changed"]:
            raise ValueError(
                f"{against} was measured with sources that no commit has: there is nothing to measure it beside"
            )
        name = about["commit"]
        try:
            commit = revisions.find(name)
        except ValueError:
            raise ValueError(f"{against} is of commit {name}, which this repository does not have") from None
    else:
        commit = revisions.find(name)
    return run.Beside(f"{run.OURS}@{commit.short}", commit.take_out(folder / "earlier"))


def _end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(_command)
    app(prog_name="scripts/bench")


if __name__ == "__main__":
    main()
