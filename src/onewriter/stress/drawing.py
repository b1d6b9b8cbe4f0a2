"""How figures are drawn: by matplotlib, given as SVG that takes its colours from the page.

Each colour is drawn as a marker that no figure would use, and replaced by a CSS variable: so one figure serves the
light page and the dark one. Text stays text, in the reader's own font.
"""

# matplotlib's stubs leave the types of keyword arguments out:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter

INK: Final = "#010203"
FAINT: Final = "#010204"
WIDTH_IN: Final = 5.0
_FIRST: Final = 0x010205  # of the markers for what a figure shows
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


def style() -> AbstractContextManager[None]:
    """Have what is drawn in a block look alike."""
    return mpl.rc_context(
        {
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 10,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": FAINT,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": FAINT,
            "xtick.labelcolor": INK,
            "ytick.color": FAINT,
            "ytick.labelcolor": INK,
            "grid.color": FAINT,
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "axes.axisbelow": True,
        }
    )


def markers(keys: Iterable[str]) -> dict[str, str]:
    """Return a marker for each of *keys*, which is drawn in the page's variable of that name."""
    return {key: f"#{_FIRST + place:06x}" for place, key in enumerate(keys)}


def axes() -> tuple[Canvas, Axes]:
    """Return an empty drawing with a grid."""
    canvas = Canvas((WIDTH_IN, 3.6), layout="constrained")
    drawn = canvas.add_subplot()
    drawn.grid(visible=True)
    return canvas, drawn


def ticks(shown: Callable[[float], str]) -> FuncFormatter:
    """Return what labels an axis as *shown* does."""

    def show(value: float, _position: int | None) -> str:
        return shown(value)

    return FuncFormatter(show)


def percent(one_in: float) -> str:
    """Return the percentile that all calls but one in so many stay within."""
    return f"{100 - 100 / one_in:.6g} %"


def svg(canvas: Canvas, name: str, variables: Mapping[str, str]) -> str:
    """Return the drawing as an ``svg`` element fit for any page: own ids, the page's colours, the reader's font.

    *variables* names the page's CSS variable for each marker that was drawn with.
    """
    file = io.StringIO()
    canvas.savefig(file, format="svg", transparent=True)
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :]  # what stands before it belongs to a file of its own
    for pattern, replacement in _FIT:
        drawn = re.sub(pattern, replacement, drawn, flags=re.DOTALL)
    drawn = re.sub(r'( id="|href="#|url\(#)', rf"\1{name}-", drawn)
    for marker, variable in {INK: "--ink", FAINT: "--line", **variables}.items():
        drawn = drawn.replace(marker, f"var({variable})")
    return drawn
