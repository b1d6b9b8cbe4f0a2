"""``scripts/bench``: measure the library beside its peers, or beside itself as it was."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from bench import contenders, loads, report, results, revisions, run, team
from bench.suite.plan import Plan
from bench.tables import Terminal
from bench.team import ROOT, Entry

QUICK_SECONDS = 0.3
SLOWER, BROKEN, MISUSED = 1, 3, 2


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
        float | None, typer.Option(metavar="S", min=0.01, help="Of a turn.", show_default="0.4")
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

    Each contender has a process and a file of its own; in each round all have their turn. The exit status is 1 where
    --against found a load slower than the noise explains, and 3 where a contender's process died or onewriter raised.
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
    try:
        sys.exit(_run(wish, Terminal()))
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(MISUSED)
    except run.Broken as error:
        print(f"bench: broken\n{error}", file=sys.stderr)
        sys.exit(BROKEN)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(wish: Wish, terminal: Terminal) -> int:
    chosen = team.chosen(wish.what or (loads.QUICK if wish.quick else ()))
    entries = _entries(wish)
    began = datetime.now().astimezone()
    path = wish.json or ROOT / ".benchmarks" / f"{began:%Y-%m-%d-%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    page = wish.report or path.with_suffix(".html")
    with run.folder(wish.folder) as folder:
        plan = Plan(
            loads=tuple(chosen),
            entries=entries,
            rounds=wish.rounds or (3 if wish.against is None else 7),
            seconds=wish.seconds or (QUICK_SECONDS if wish.quick else 0.4),
            folder=folder,
        )
        status = 0
        if wish.against is None:
            terminal.say(f"{len(chosen)} loads, about {plan.takes_s() / 60:.0f} minutes")
            found = run.measure(plan, path, terminal.progress)
            terminal.show(found)
        else:
            beside = _beside(wish.against, folder)
            ours = [load for load in chosen if Entry(run.OURS, run.OURS).can(load)]
            found, verdicts = run.compare(ours, beside, plan, path, terminal.progress)
            run.save(found, verdicts, path)
            terminal.show(found)
            for verdict in verdicts:
                terminal.say(verdict.sentence(beside.name))
            status = SLOWER if any(verdict.is_slower for verdict in verdicts) else 0
            terminal.say("slower" if status else "no load is slower than the noise explains")
    report.write(found, page)
    terminal.say(f"results: {path}\nreport: {page}")
    return status


def _entries(wish: Wish) -> tuple[Entry, ...]:
    keys = tuple(contenders.ALL) if wish.names is None else tuple(wish.names.split(","))
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
    commit = revisions.find(name)
    return run.Beside(f"{run.OURS}@{commit.short}", commit.take_out(folder / "earlier"))


def main() -> None:
    """Run the command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(_command)
    app(prog_name="scripts/bench")


if __name__ == "__main__":
    main()
