"""What a run is told as: a table, or JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from bench.registry.load.run import Run


def figures(run: Run) -> dict[str, Any]:
    """Return all figures of *run*."""
    tally, load = run.ledger.tally, run.load
    return {
        "blobs": load.place,
        "processes": load.processes,
        "uploads": load.uploads,
        "seconds": round(run.pushed_s, 1),
        "seed": load.seed,
        "kills": len(run.away_s),
        "away_s": [round(each, 2) for each in run.away_s],
        "images": tally.images,
        "blobs_uploaded": tally.blobs,
        "mb_uploaded": round(tally.bytes / 1e6, 1),
        "mb_per_s": round(tally.bytes / 1e6 / run.pushed_s, 1) if run.pushed_s else 0.0,
        "already_there": tally.there,
        "mounted": tally.mounted,
        "push_s": _spread(tally.push_s),
        "connections_lost": tally.lost,
        "resumed": tally.resumed,
        "mb_not_sent_again": round(tally.spared / 1e6, 1),
        "answers": {str(status): count for status, count in sorted(tally.statuses.items())},
        "answers_5xx": sum(count for status, count in tally.statuses.items() if status >= 500),
        "pulled_manifests": run.audit.manifests,
        "pulled_blobs": run.audit.blobs,
        "pulled_mb": round(run.audit.bytes / 1e6, 1),
        "unfinished_uploads": run.unfinished,
        "failures": run.ledger.failures,
        "sound": run.ledger.is_sound,
    }


def show(run: Run, console: Console) -> None:
    """Print the table, and the verdict."""
    told = figures(run)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in told.items():
        if name not in ("failures", "sound"):
            table.add_row(name.replace("_", " "), _text(value))
    console.print(table)
    for failure in told["failures"]:
        console.print(f"broken: {failure}", markup=False, highlight=False, style="red")
    if told["sound"]:
        console.print(
            "All that was acknowledged is there, byte for byte, and no answer was a 5xx.", style="green"
        )


def _spread(values: Sequence[float]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=100)
    return {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3), "max": round(max(values), 3)}


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {each}" for name, each in cast("dict[str, object]", value).items())
    if isinstance(value, list):
        return ", ".join(map(str, cast("list[object]", value)))
    return f"{value:,}" if isinstance(value, int | float) else str(value)
