"""The report: one HTML file that needs nothing else, for someone who has never seen the project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

import jinja2

from .figures import figures
from .machine import Machine
from .measures import measures, notes, shown_ms
from .processes import Share
from .run import Result
from .settings import Settings
from .sources import Sources
from .verdict import Verdict

_TEMPLATE = "report.html.j2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that the report is made of.

    Attributes:
        began: when the run began, with its time zone.
        machine: what it ran on.
        sources: what was uploaded.
        settings: how.
        results: how each way went, onewriter's first.
        verdict: the judgement on onewriter's.
    """

    began: datetime
    machine: Machine
    sources: Sources
    settings: Settings
    results: Sequence[Result]
    verdict: Verdict


def write(run: Run, path: Path) -> None:
    """Write the report on *run* to *path*, over what was there."""
    path.write_text(render(run), encoding="utf-8")


def render(run: Run) -> str:
    """Return the report on *run* as HTML."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        resources.files("onewriter.stress").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    )
    return template.render(
        run=run,
        notes=[(result.title, note) for result in run.results for note in notes(result)],
        measures=measures(run.results),
        figures=figures(run.results),
        processes=_processes(run.results),
        facts=_facts(run),
    )


def _processes(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return a row for each process of each way, as the template's table heads its columns; none where one did all."""
    return [
        (
            f"{result.title}, {share.number}",
            f"{share.files:,}",
            f"{len(share.tally.done):,}",
            f"{share.uploaded_s:.2f} s",
            f"{_rate(share.tally.writes, share):,.0f}",
            f"{_rate(share.tally.done_bytes / 1e6, share):,.1f}",
            shown_ms(share.tally.waits.worst_s),
        )
        for result in results
        for share in result.shares
    ]


def _rate(number: float, share: Share) -> float:
    return number / share.uploaded_s if share.uploaded_s else 0.0


def _facts(run: Run) -> list[tuple[str, str]]:
    """Return what was run, as pairs of a name and what there is to say."""
    machine, sources, settings = run.machine, run.sources, run.settings
    same = len(sources.files) - sources.distinct
    return [
        ("Files", f"{len(sources.files):,}, of which {same:,} repeat another's content"),
        ("Bytes", f"{sources.total_bytes:,} ({sources.total_bytes / 1e6:,.1f} MB)"),
        ("From", str(sources.folder)),
        ("Uploaders", settings.who),
        ("One write", f"at most {settings.chunk_bytes:,} bytes of a file"),
        ("Durability", _durability(settings)),
        ("Order", f"shuffled, the same for every way (seed {settings.seed})"),
        ("Processor", f"{machine.processor}, {machine.cores} cores"),
        ("File system", machine.file_system),
        ("System", machine.system),
        ("Python", machine.python),
        ("SQLite", f"{machine.sqlite}, through APSW {machine.apsw}"),
        ("Date", f"{run.began:%Y-%m-%d %H:%M %Z}"),
    ]


def _durability(settings: Settings) -> str:
    survives = {
        "full": "a commit survives a loss of power",
        "normal": "a commit survives a crash of the process",
    }
    return f"{settings.durability}: {survives[settings.durability]}"
