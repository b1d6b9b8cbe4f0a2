"""The report's figures."""

# matplotlib's stubs leave the types of keyword arguments out:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from bench import loads
from bench.loads.base import Load
from bench.results import Results
from bench.run import AGAIN, OURS
from onewriter.stress.drawing import Figure, axes, markers, percent, style, svg, ticks
from onewriter.stress.measures import shown_ms
from onewriter.stress.waits import Waits

# Colours are shared by ways that are alike; the dashes tell those apart.
_HUES: Final = ("onewriter", "locked", "deferred", "immediate", "other", "limit")
_MARKER: Final = markers(_HUES)


class _Look(NamedTuple):
    hue: str
    dash: str


_LOOKS: Final = {
    "onewriter": _Look("onewriter", "-"),
    "onewriter-write": _Look("onewriter", "--"),
    AGAIN: _Look("onewriter", ":"),
    "locked": _Look("locked", "-"),
    "peewee": _Look("locked", "--"),
    "apsw-deferred": _Look("deferred", "-"),
    "sqlite3-deferred": _Look("deferred", "--"),
    "apsw-immediate": _Look("immediate", "-"),
    "sqlite3-immediate": _Look("immediate", "--"),
    "sqlalchemy": _Look("immediate", ":"),
    "aiosqlite": _Look("locked", "-"),
    "aiosqlitepool": _Look("immediate", "-"),
    "datasette": _Look("deferred", "-"),
    "apsw-aio": _Look("other", "-"),
}
_OTHER: Final = _Look("other", ":")


def growth(found: Results, part: str, names: Sequence[str]) -> list[Figure]:
    """Draw how the rate goes with the number of threads, a figure for each durability or size; none for one number."""
    figures: list[Figure] = []
    groups: dict[tuple[object, ...], list[str]] = {}
    for name in names:
        load = loads.ALL[name]
        groups.setdefault((load.durability, load.bytes, load.reads, load.rows), []).append(name)
    for number, group in enumerate(groups.values()):
        if len({_size(name) for name in group}) > 1:
            figures.append(_growth(found, f"{part}-{number}", group))
    return figures


def _apart(load: Load) -> list[str]:
    """Return what tells loads of the same part and durability from each other."""
    if load.part == "upload":
        return [f"chunks of {load.bytes // 1024:,} KiB"]
    return [f"{load.reads:.0%} of calls read"] if load.reads else []


def _size(name: str) -> int:
    load = loads.ALL[name]
    return load.threads * load.processes


def _growth(found: Results, name: str, group: Sequence[str]) -> Figure:
    with style():
        canvas, drawn = axes()
        for entry in found.entries:
            points = [(_size(load), at[entry].per_s) for load in group if entry in (at := found.at(load))]
            if len(points) > 1 and not found.is_limit(entry):
                _line(drawn, entry, [x for x, _ in points], [y for _, y in points])
        drawn.set_xscale("log", base=2)
        drawn.set_xticks(sorted({_size(load) for load in group}))
        load = loads.ALL[group[0]]
        who = "tasks" if load.part == "tasks" else "threads"
        drawn.set_xlabel(f"{who}, of all processes together")
        drawn.set_ylabel("calls done a second")
        _label(drawn, "{:,.0f}".format, "{:,.0f}".format)
        of = ", ".join((load.durability, *_apart(load)))
        return Figure(
            f"{load.part}: rate by {who}, {of}",
            "Higher is better. Both scales are logarithmic; a call that failed does not count.",
            svg(canvas, name, _variables()),
        )


def curves(found: Results, load: str) -> Figure:
    """Draw how long the calls of each entry took at *load*."""
    with style():
        canvas, drawn = axes()
        for entry, standing in found.at(load).items():
            every = Waits()
            for waits in standing.waits().values():
                every.merge(waits)
            curve = every.curve()
            if curve and not found.is_limit(entry):
                _line(drawn, entry, [one_in for one_in, _ in curve], [seconds for _, seconds in curve])
        drawn.set_xscale("log")
        drawn.set_xlabel("share of calls that took at most this long")
        _label(drawn, percent, shown_ms)
        return Figure(
            f"{load}: how long a call took",
            "Lower is better. Far right is the unlucky call, the one in thousands.",
            svg(canvas, f"waits-{load}", _variables()),
        )


def _line(drawn: Axes, entry: str, x: Sequence[float], y: Sequence[float]) -> None:
    look = _look(entry)
    width = 2.6 if look.hue == "onewriter" else 1.4
    drawn.plot(x, y, color=_MARKER[look.hue], linestyle=look.dash, linewidth=width, label=entry)


def _look(entry: str) -> _Look:
    if entry.startswith(f"{OURS}@"):  # an earlier commit's
        return _Look("locked", "--")
    return _LOOKS.get(entry, _OTHER)


def _label(drawn: Axes, x: Callable[[float], str], y: Callable[[float], str]) -> None:
    """Finish a drawing whose scale of *y* is logarithmic too: its numbers, as these show them, and who is who."""
    drawn.set_yscale("log")
    for axis, shown in ((drawn.xaxis, x), (drawn.yaxis, y)):
        axis.set_minor_formatter(NullFormatter())
        axis.set_major_formatter(ticks(shown))
    # What differs by less than ten times has numbers too.
    drawn.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    drawn.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, handlelength=3)


def _variables() -> dict[str, str]:
    return {marker: f"--{hue}" for hue, marker in _MARKER.items()}
