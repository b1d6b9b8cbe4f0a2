"""The long form of the kills and of the losses of power, for as long as it is asked to: scripts/soak.

In turn: some rounds of kills on a new database, then a life whose power is lost at every moment, then one in which a
sync fails. Each has a seed of its own, drawn from the first, which is named where a promise breaks.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from onewriter.config import Durability

from .killing import Counts, Killing
from .losses import Losses
from .power import life
from .sick_syncs import SickSyncs

ROUNDS: Final = 20  # of kills on one database
DRAWN: Final = 4  # states of the disk at each moment, beside the plain ones
DURABILITIES: Final[tuple[Durability, ...]] = ("full", "normal")


@dataclass
class Soak:
    """What has been done so far."""

    processes: int
    kills: Counts = field(default_factory=Counts)
    lives: int = 0
    moments: int = 0
    states: int = 0
    failed_syncs: int = 0
    acknowledged: int = 0  # in those lives

    def turn(self, place: Path, seed: int, until: float) -> None:
        """Do one of each below *place*, or less when it is time."""
        killing = Killing(_new(place / "kills"), seed, self.processes, self.kills)
        for _ in range(ROUNDS):
            killing.round()
            if time.monotonic() > until:
                return
        self._lose_power(place, seed)
        self._fail_syncs(place, seed)

    def _lose_power(self, place: Path, seed: int) -> None:
        durability = Random(seed).choice(DURABILITIES)
        with life(_new(place / "power") / "life", durability) as lived:
            lived.live()
        losses = Losses(lived, place / "power" / "left", seed)
        losses.sweep(range(len(lived.recorder.events) + 1), DRAWN)
        losses.check()
        self.lives += 1
        self.moments += len(lived.recorder.events)
        self.states += losses.states
        self.acknowledged += len(lived.ledger.fates)

    def _fail_syncs(self, place: Path, seed: int) -> None:
        sick = SickSyncs(_new(place / "syncs"), seed)
        sick.one(Random(seed).randrange(60), on=seed % 2 == 0)
        self.failed_syncs += sick.failed
        self.states += sick.states

    def table(self) -> Table:
        """Return all figures."""
        table = Table(title="faults", show_header=False)
        kills = self.kills
        for name, value in (
            ("rounds of kills", kills.rounds),
            ("processes killed", kills.killed.total()),
            (
                "  in the middle of",
                ", ".join(f"{phase} {number}" for phase, number in kills.killed.most_common()),
            ),
            ("writes acknowledged", kills.acknowledged),
            ("  lost", 0),
            ("writes refused, none of them there", kills.refused),
            ("writes that nobody was told of", kills.asked),
            ("  of which are there, whole", kills.survived),
            ("migrations applied, none of them in part", kills.migrations),
            ("snapshots checked, all whole", kills.snapshots),
            ("  unfinished ones beside them", kills.unfinished),
            ("lives whose power was lost", self.lives),
            ("  moments", self.moments),
            ("  states of the disk judged", self.states),
            ("  writes in them", self.acknowledged),
            ("syncs that failed", self.failed_syncs),
        ):
            table.add_row(name, f"{value:,}" if isinstance(value, int) else value)
        return table


def _new(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def main(
    *,
    minutes: Annotated[float, typer.Option(metavar="N", help="How long it goes on.")] = 1.0,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Repeats the first turn of another run.")
    ] = None,
    processes: Annotated[int, typer.Option(metavar="N", help="Processes that are killed in each round.")] = 3,
) -> None:
    """Kill processes in the middle of their work, and take away the power, over and over."""
    logging.getLogger("onewriter").addHandler(
        logging.NullHandler()
    )  # it says much of the faults that are made here
    console = Console()
    place = Path(tempfile.mkdtemp(prefix="onewriter-soak-"))
    soak, seeds = Soak(processes), Random(seed)
    started = time.monotonic()
    until = started + 60.0 * minutes
    turn_seed = seeds.randrange(2**32) if seed is None else seed
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("soak", total=60.0 * minutes)
            while time.monotonic() < until:
                soak.turn(place, turn_seed, until)
                done = f"{soak.kills.killed.total():,} kills, {soak.states:,} losses of power, 0 lost"
                progress.update(bar, completed=time.monotonic() - started, description=done)
                turn_seed = seeds.randrange(2**32)
    except Exception:  # noqa: BLE001 - whatever ends it is to be looked at
        console.print(soak.table())
        console.print_exception()
        console.print(f"It failed. The files are in {place}; repeat with: scripts/soak --seed {turn_seed}")
        sys.exit(1)
    except KeyboardInterrupt:
        shutil.rmtree(place, ignore_errors=True)
        console.print(soak.table())
        sys.exit(130)
    shutil.rmtree(place)
    console.print(soak.table())
    console.print(f"Every promise kept, for {(time.monotonic() - started) / 60:.0f} minutes.")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app(prog_name="scripts/soak")
