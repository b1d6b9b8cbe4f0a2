"""The report's figures: drawn by matplotlib, given as SVG that takes its colours from the page.

Each colour is drawn as a marker that no figure would use, and replaced by a CSS variable: so one figure serves the
light page and the dark one. Text stays text, in the reader's own font.
"""

# matplotlib's stubs leave the types of keyword arguments out:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, NullFormatter

from .measures import shown_ms
from .run import Result

_INK = "#010203"
_FAINT = "#010204"
_WAY = {"onewriter": "#010205", "locked": "#010206", "deferred": "#010207", "immediate": "#010208"}
_VARIABLES = {_INK: "--ink", _FAINT: "--line", **{marker: f"--{key}" for key, marker in _WAY.items()}}
_LINE = {"onewriter": "-", "locked": "--", "deferred": ":", "immediate": "-."}
_WIDTH_IN = 5.0
_FIT = (
    (r"<metadata>.*?</metadata>", ""),
    (r"<style.*?</style>", ""),
    (r' (?:width|height)="[\d.]+pt"', ""),
    (r' (?:version|xmlns(?::xlink)?)="[^"]*"', ""),
    (r"\bxlink:href=", "href="),
    (r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif"),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with what it shows.

    Attributes:
        title: what is drawn.
        caption: how to read it.
        svg: the drawing, to be put into a page as it is.
    """

    title: str
    caption: str
    svg: str


def figures(results: Sequence[Result]) -> list[Figure]:
    """Draw all figures of *results*."""
    drawings = [_failures, _throughput, _waits, _growth]
    if any(result.shares for result in results):
        drawings.append(_paces)
    with _style():
        return [draw(results) for draw in drawings]


def _style() -> AbstractContextManager[None]:
    return mpl.rc_context(
        {
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 10,
            "text.color": _INK,
            "axes.labelcolor": _INK,
            "axes.edgecolor": _FAINT,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": _FAINT,
            "xtick.labelcolor": _INK,
            "ytick.color": _FAINT,
            "ytick.labelcolor": _INK,
            "grid.color": _FAINT,
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "axes.axisbelow": True,
        }
    )


def _failures(results: Sequence[Result]) -> Figure:
    labels = [
        f"{result.tally.failed:,} of {result.files:,} failed ({result.tally.failed / result.files:.1%})"
        for result in results
    ]
    return Figure(
        "Uploads that failed",
        "Shorter is better; the grey bar is all files. An upload fails when one of its writes fails.",
        _bars(
            "failures", results, [result.tally.failed for result in results], labels, full=results[0].files
        ),
    )


def _throughput(results: Sequence[Result]) -> Figure:
    speeds = [result.bytes_per_s / 1e6 for result in results]
    labels = [
        f"{speed:,.1f} MB/s, {result.uploads_per_s:,.0f} uploads/s"
        for speed, result in zip(speeds, results, strict=True)
    ]
    return Figure(
        "Bytes stored a second",
        "Longer is better. Only uploads that were done count, and the time ends when the file has been closed. Uploads "
        "a second flatter a way that fails: it is the large files, with their many writes, that it gives up.",
        _bars("throughput", results, speeds, labels, full=max(speeds)),
    )


def _waits(results: Sequence[Result]) -> Figure:
    canvas, axes = _axes()
    for result in results:
        curve = result.tally.waits.curve()
        _line(axes, result, [one_in for one_in, _ in curve], [seconds for _, seconds in curve])
    axes.set_xscale("log")
    axes.set_yscale("log")
    if not any(result.tally.waits.count for result in results):
        axes.set(xlim=(1, 10), ylim=(1e-3, 1))  # nothing was measured, and nothing has no logarithm
    axes.xaxis.set_major_formatter(_ticks(_percent))
    axes.yaxis.set_major_formatter(_ticks(shown_ms))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("share of writes that took at most this long")
    axes.set_ylabel("wait of a write")
    return Figure(
        "How long a write took",
        "Lower is better. Both scales are logarithmic: far right is the unlucky write, the one in thousands. "
        "Writes that failed count too, and a refusal comes quickly.",
        _svg(canvas, "waits"),
    )


def _growth(results: Sequence[Result]) -> Figure:
    canvas, axes = _axes()
    for result in results:
        growth = result.tally.growth()
        _line(axes, result, [seconds for seconds, _ in growth], [writes for _, writes in growth])
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_ticks("{:,.0f}".format))
    axes.set_xlabel("seconds since the first upload began")
    axes.set_ylabel("writes done")
    return Figure(
        "Writes done as time went on",
        "Steeper is faster; a flat stretch is a time in which nobody could write. A line that ends lower than the "
        "others lost the writes of its failed uploads.",
        _svg(canvas, "growth"),
    )


def _paces(results: Sequence[Result]) -> Figure:
    canvas = Canvas((_WIDTH_IN, 0.6 + 0.6 * len(results)), layout="constrained")
    axes = canvas.add_subplot()
    axes.grid(visible=True, axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.set_ylim(len(results) - 0.5, -0.75)
    axes.set_xlim(0, 1.05 * max([pace_s for result in results for pace_s in result.paces_s], default=1.0))
    axes.set_xlabel("seconds that each process took")
    for place, result in enumerate(results):
        axes.text(0, place - 0.25, result.title, va="bottom", weight="bold")
        fairness = "fairness: none" if result.fairness is None else f"fairness {result.fairness:.2f}"
        axes.text(1, place - 0.25, fairness, va="bottom", ha="right", transform=axes.get_yaxis_transform())
        axes.plot(result.paces_s, [place] * len(result.paces_s), color=_WAY[result.key], linewidth=2)
        axes.scatter(result.paces_s, [place] * len(result.paces_s), s=40, color=_WAY[result.key], alpha=0.7)
    return Figure(
        "How evenly the processes were served",
        "A dot is a process: the time in which it did nine tenths of the writes that the one with the fewest did. Dots "
        "that lie together were served alike; one far to the right was kept waiting by the others.",
        _svg(canvas, "paces"),
    )


def _bars(
    name: str, results: Sequence[Result], lengths: Sequence[float], labels: Sequence[str], *, full: float
) -> str:
    canvas = Canvas((_WIDTH_IN, 0.6 * len(results)), layout="constrained")
    axes = canvas.add_subplot()
    axes.set_axis_off()
    full = full or 1
    axes.set_xlim(0, full)
    axes.set_ylim(len(results) - 0.75, -0.75)
    for place, (result, length, label) in enumerate(zip(results, lengths, labels, strict=True)):
        # The names stand above the bars: beside them there is no room on a telephone.
        axes.text(0, place - 0.3, result.title, va="bottom", weight="bold")
        axes.text(full, place - 0.3, label, va="bottom", ha="right")
        axes.barh(place, full, height=0.42, color=_FAINT)
        axes.barh(place, length, height=0.42, color=_WAY[result.key])
    return _svg(canvas, name)


def _axes() -> tuple[Canvas, Axes]:
    canvas = Canvas((_WIDTH_IN, 3.6), layout="constrained")
    axes = canvas.add_subplot()
    axes.grid(visible=True)
    return canvas, axes


def _line(axes: Axes, result: Result, x: Sequence[float], y: Sequence[float]) -> None:
    axes.plot(x, y, color=_WAY[result.key], linestyle=_LINE[result.key], linewidth=2, label=result.title)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=1, borderaxespad=0, handlelength=3)


def _ticks(shown: Callable[[float], str]) -> FuncFormatter:
    def show(value: float, _position: int | None) -> str:
        return shown(value)

    return FuncFormatter(show)


def _percent(one_in: float) -> str:
    return f"{100 - 100 / one_in:.6g} %"


def _svg(canvas: Canvas, name: str) -> str:
    """Return the drawing as an ``svg`` element fit for any page: own ids, the page's colours, the reader's font."""
    file = io.StringIO()
    canvas.savefig(file, format="svg", transparent=True)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]  # what stands before it belongs to a file of its own
    for pattern, replacement in _FIT:
        svg = re.sub(pattern, replacement, svg, flags=re.DOTALL)
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\1{name}-", svg)
    for marker, variable in _VARIABLES.items():
        svg = svg.replace(marker, f"var({variable})")
    return svg
