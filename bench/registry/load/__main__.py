"""``python -m bench.registry.load``: put the registry under load, kill it, and see whether it kept its word."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bench.registry.load import report
from bench.registry.load.fleet import NotServing
from bench.registry.load.run import Load, run

_BROKEN, _MISUSED = 1, 2


def _command(
    *,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.1, help="How long to push.")] = 60.0,
    uploads: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Uploads in parallel.")] = 32,
    kills: Annotated[
        int,
        typer.Option(metavar="K", min=0, max=1000, help="How often to kill the server, master and workers."),
    ] = 1,
    processes: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Workers of the server.")] = 1,
    threads: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Threads of each.")] = 64,
    blobs: Annotated[Literal["disk", "database"], typer.Option(help="Where blobs go.")] = "disk",
    bytes_max: Annotated[int, typer.Option(metavar="N", min=1000, help="Of a layer.")] = 8 * 1024 * 1024,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Repeats what a run drew.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", file_okay=False, help="Where all goes, and stays.", show_default="a temporary one"
        ),
    ] = None,
    told: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Where figures go.")] = None,
) -> None:
    """Push images in parallel, kill the server in the middle, pull everything back and compare.

    The exit status is 1 where a promise broke: an answer was a 5xx, or what was acknowledged is missing or wrong; 2
    where the server could not be started.
    """
    with _place(folder) as where:
        load = Load(
            folder=where,
            place=blobs,
            processes=processes,
            threads=threads,
            seconds=seconds,
            uploads=uploads,
            kills=kills,
            bytes_max=bytes_max,
            seed=random.SystemRandom().randrange(2**32) if seed is None else seed,
        )
        console = Console()
        try:
            with _bar(console) as show:
                done = run(load, show)
        except NotServing as error:
            print(f"load: {error}", file=sys.stderr)
            sys.exit(_MISUSED)
        report.show(done, console)
        if told is not None:
            told.write_text(json.dumps(report.figures(done), indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if done.ledger.is_sound else _BROKEN)


@contextmanager
def _place(folder: Path | None) -> Generator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="registry-load-") as made:
        yield Path(made)


@contextmanager
def _bar(console: Console) -> Generator[Callable[[str, float], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    # Drawn when there is something new, not by a thread of rich's: two cores have enough to do.
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bars:
        task = bars.add_task("starting", total=1.0)

        def show(what: str, part: float) -> None:
            bars.update(task, description=what, completed=part, refresh=True)

        yield show


def main() -> None:
    """Run the command."""
    try:
        typer.run(_command)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
