"""The figures of a stress run's report."""

# matplotlib's stubs leave the types of keyword arguments out:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullFormatter

from .drawing import FAINT, WIDTH_IN, Figure, markers, percent, style, svg, ticks
from .drawing import axes as empty
from .measures import shown_ms
from .run import Result

_WAY = markers(("onewriter", "locked", "deferred", "immediate"))
_VARIABLES = {marker: f"--{key}" for key, marker in _WAY.items()}
_LINE = {"onewriter": "-", "locked": "--", "deferred": ":", "immediate": "-."}


def figures(results: Sequence[Result]) -> list[Figure]:
    """Draw all figures of *results*."""
    drawings = [_failures, _throughput, _waits, _growth]
    if any(result.shares for result in results):
        drawings.append(_paces)
    with style():
        return [draw(results) for draw in drawings]


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
    canvas, axes = empty()
    for result in results:
        curve = result.tally.waits.curve()
        _line(axes, result, [one_in for one_in, _ in curve], [seconds for _, seconds in curve])
    axes.set_xscale("log")
    axes.set_yscale("log")
    if not any(result.tally.waits.count for result in results):
        axes.set(xlim=(1, 10), ylim=(1e-3, 1))  # nothing was measured, and nothing has no logarithm
    axes.xaxis.set_major_formatter(ticks(percent))
    axes.yaxis.set_major_formatter(ticks(shown_ms))
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
    canvas, axes = empty()
    for result in results:
        growth = result.tally.growth()
        _line(axes, result, [seconds for seconds, _ in growth], [writes for _, writes in growth])
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(ticks("{:,.0f}".format))
    axes.set_xlabel("seconds since the first upload began")
    axes.set_ylabel("writes done")
    return Figure(
        "Writes done as time went on",
        "Steeper is faster; a flat stretch is a time in which nobody could write. A line that ends lower than the "
        "others lost the writes of its failed uploads.",
        _svg(canvas, "growth"),
    )


def _paces(results: Sequence[Result]) -> Figure:
    canvas = Canvas((WIDTH_IN, 0.6 + 0.6 * len(results)), layout="constrained")
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
    canvas = Canvas((WIDTH_IN, 0.6 * len(results)), layout="constrained")
    axes = canvas.add_subplot()
    axes.set_axis_off()
    full = full or 1
    axes.set_xlim(0, full)
    axes.set_ylim(len(results) - 0.75, -0.75)
    for place, (result, length, label) in enumerate(zip(results, lengths, labels, strict=True)):
        # The names stand above the bars: beside them there is no room on a telephone.
        axes.text(0, place - 0.3, result.title, va="bottom", weight="bold")
        axes.text(full, place - 0.3, label, va="bottom", ha="right")
        axes.barh(place, full, height=0.42, color=FAINT)
        axes.barh(place, length, height=0.42, color=_WAY[result.key])
    return _svg(canvas, name)


def _line(axes: Axes, result: Result, x: Sequence[float], y: Sequence[float]) -> None:
    axes.plot(x, y, color=_WAY[result.key], linestyle=_LINE[result.key], linewidth=2, label=result.title)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=1, borderaxespad=0, handlelength=3)


def _svg(canvas: Canvas, name: str) -> str:
    return svg(canvas, name, _VARIABLES)
