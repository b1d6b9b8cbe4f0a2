"""What a run has measured, as tables on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.results import Results, Standing
from bench.suite.plan import Plan
from onewriter.stress.measures import shown_ms
from onewriter.stress.waits import Waits

FIRST = ("locked", "aiosqlite", "raw", "onewriter")  # what others are a ratio to: the first that takes part


class Terminal:
    """Where a run is shown."""

    def __init__(self) -> None:
        """Print to standard output; rich decides what it can show."""
        self._console = Console()

    def say(self, text: str) -> None:
        """Print *text*."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, plan: Plan) -> Generator[Callable[[str], object]]:
        """Show a bar for the turns of *plan*; the block is given what to tell the name of each that has ended."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=self._console, transient=True, auto_refresh=False) as bars:
            task = bars.add_task("", total=sum(1 for _ in plan.turns()))

            def done(name: str) -> None:
                bars.update(task, advance=1, description=name, refresh=True)

            bars.refresh()
            yield done

    def show(self, found: Results) -> None:
        """Print a table for each load."""
        for load in found.loads:
            at = found.at(load)
            first = yardstick(at)
            table = Table(title=load, title_justify="left", box=None, pad_edge=False)
            table.add_column("", no_wrap=True)
            for head in ("a second", f"x {first.entry}", "p50", "p99", "worst", "errors", "MB"):
                table.add_column(head, justify="right")
            for standing in at.values():
                for row in rows(standing, first):
                    table.add_row(*row)
            self._console.print(table)
            self._console.print()


def yardstick(at: dict[str, Standing]) -> Standing:
    """Return whom the others at the same load are compared with."""
    there = [at[name] for name in FIRST if name in at] + list(at.values())
    return next((each for each in there if not each.did_nothing), there[0])


def shown(ratio: float | None) -> str:
    """Return a ratio as tables show it."""
    return "-" if ratio is None else f"{ratio:.2f}"


def rows(standing: Standing, first: Standing) -> Iterator[tuple[str, ...]]:
    """Yield what a table has of *standing*: a row for each kind of call, the first with the rate of all."""
    errors = standing.errors
    most = next((error for error, _ in errors.most_common(1)), "")
    kinds = f" and {len(errors) - 1} more kinds" if len(errors) > 1 else ""
    facts = (
        f"{errors.total():,}: {most[:40]}{kinds}" if errors else "",
        f"{standing.rss_bytes / 1e6:,.0f}",
    )
    waits = standing.waits() or {"": Waits()}  # where all calls failed
    for place, (kind, each) in enumerate(sorted(waits.items())):
        times = tuple(map(shown_ms, (each.at(50), each.at(99), each.worst_s)))
        name = standing.entry if len(waits) == 1 else f"{standing.entry}, {kind}"
        rate = (f"{standing.per_s:,.0f}", shown(standing.ratio(first))) if place == 0 else ("", "")
        yield (name, *rate, *times, *(facts if place == 0 else ("", "")))
