"""The report: one HTML file that needs nothing else, for someone who has never seen the project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jinja2

from bench import loads
from bench.report.figures import curves, growth
from bench.results import Results, Standing
from bench.tables import shown, yardstick
from onewriter.stress.drawing import Figure
from onewriter.stress.measures import shown_ms
from onewriter.stress.waits import Waits

_TEMPLATE: Final = Path(__file__).with_name("report.html.j2")
_CURVES: Final = frozenset({"small", "upload", "mixed", "tasks"})  # parts whose waits are drawn
_CURVES_MAX: Final = 3  # loads of one part
_KINDS_MAX: Final = 5  # of errors


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a load's table.

    Attributes:
        entry: who.
        limit: it is no way to serve threads.
        share: its rate by the best one's, for the bar.
        rate, ratio, p50, p99, worst, memory: as they are shown.
        errors: what failed, as it is shown; nothing where nothing did.
    """

    entry: str
    limit: bool
    share: float
    rate: str
    ratio: str
    p50: str
    p99: str
    worst: str
    memory: str
    errors: str


@dataclass(frozen=True, slots=True)
class Table:
    """One load.

    Attributes:
        load: its name.
        what: what is done, in words.
        first: whom the others are a ratio to.
        lines: one for each entry.
    """

    load: str
    what: str
    first: str
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Part:
    """Loads of one kind of work.

    Attributes:
        name: of the part.
        what: what one call does.
        tables: one for each load.
        figures: drawings.
    """

    name: str
    what: str
    tables: list[Table]
    figures: list[Figure]


def write(found: Results, path: Path) -> None:
    """Write the report on *found* to *path*, over what was there."""
    path.write_text(render(found), encoding="utf-8")


def render(found: Results) -> str:
    """Return the report on *found* as HTML."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        about=found.about,
        verdicts=found.about.get("verdicts", []),
        people=_people(found),
        parts=_parts(found),
        names=found.entries,
    )


def _people(found: Results) -> list[tuple[str, str, str, str]]:
    """Return for each who took part the name, the title, how it was used, and its version."""
    known = found.about["contenders"]
    versions = found.versions()
    people: list[tuple[str, str, str, str]] = []
    for name in found.entries:
        of = known.get(name) or known["onewriter"]
        title = of["title"] if name in known else name
        people.append((name, title, of["how"], versions[name] or "did not start"))
    return people


def _parts(found: Results) -> list[Part]:
    parts: list[Part] = []
    for name, work in loads.WORKS.items():
        names = [each for each in found.loads if loads.ALL[each].part == name]
        if not names:
            continue
        tables = [_table(found, load) for load in names]
        figures = growth(found, name, names)
        if name in _CURVES:
            # The ones in the middle say most: few threads hardly wait, and with very many all lines lie together.
            middle = [each for each in names if loads.ALL[each].threads in (16, 100)][:_CURVES_MAX]
            figures += [curves(found, load) for load in middle or names[:1]]
        what = (work.__doc__ or "").strip().splitlines()[0]
        parts.append(Part(name, what, tables, figures))
    return parts


def _table(found: Results, name: str) -> Table:
    load, at = loads.ALL[name], found.at(name)
    first, best = yardstick(at), max(each.per_s for each in at.values())
    lines = [_line(each, first, best, limit=found.is_limit(each.entry)) for each in at.values()]
    kind = "tasks" if load.part == "tasks" else "threads"
    what = f"{load.threads:,} {kind if load.threads > 1 else kind[:-1]}, durability {load.durability}"
    if load.processes > 1:
        what = f"{load.processes} processes of {what}"
    return Table(name, what, first.entry, lines)


def _line(standing: Standing, first: Standing, best: float, *, limit: bool) -> Line:
    waits = standing.waits()
    most = standing.errors.most_common(_KINDS_MAX)
    errors = [f"{number:,} of {standing.calls:,} calls: {error}" for error, number in most]
    if len(standing.errors) > len(most):
        others = standing.errors.total() - sum(number for _, number in most)
        errors.append(f"{others:,} of {len(standing.errors) - len(most)} more kinds")
    return Line(
        entry=standing.entry,
        limit=limit,
        share=standing.per_s / best if best else 0.0,
        rate=f"{standing.per_s:,.0f}",
        ratio=shown(standing.ratio(first)),
        p50=_each(waits, lambda each: each.at(50)),
        p99=_each(waits, lambda each: each.at(99)),
        worst=_each(waits, lambda each: each.worst_s),
        memory=f"{standing.rss_bytes / 1e6:,.0f} MB",
        errors="; ".join(errors),
    )


def _each(waits: dict[str, Waits], of: Callable[[Waits], float]) -> str:
    each_kind = [(kind, shown_ms(of(each))) for kind, each in sorted(waits.items())]
    return each_kind[0][1] if len(each_kind) == 1 else ", ".join(f"{kind} {time}" for kind, time in each_kind)
