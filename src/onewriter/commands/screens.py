"""How ``onewriter top`` shows a moment: a live screen, lines for a pipe, or JSON lines."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .shots import Shot
from .telling import line

_GAP: Final = 2
_WIDTH: Final = 16  # of a column of figures, so that it stays where it is
_LABEL_STYLE: Final = "cyan"


class Screen(Protocol):
    """Where moments are shown, for the length of a block."""

    def begin(self, shot: Shot) -> None:
        """Show *shot*, the first look, which has no rates yet, if it is replaced by the next."""
        ...

    def show(self, shot: Shot) -> None:
        """Show *shot*."""
        ...

    def refresh(self) -> None:
        """Show what was shown last again, if the terminal has another size now."""
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and leave the terminal as it was."""
        ...


class Lines:
    """Plain lines, or one JSON object a line."""

    def __init__(self, *, as_json: bool) -> None:
        """Print objects where *as_json*."""
        self._json = as_json

    def begin(self, shot: Shot) -> None:
        """Do nothing."""

    def show(self, shot: Shot) -> None:
        """Print it at once, also into a pipe."""
        if self._json:
            print(json.dumps(shot.told), flush=True)
            return
        at = f"{shot.at.astimezone():%H:%M:%S}"
        if shot.problem is not None:
            print(f"{at} {shot.source}: {line(shot.problem)}", flush=True)
        for each in shot.lines:
            print(f"{at} {each}", flush=True)

    def refresh(self) -> None:
        """Do nothing: what is printed stays."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


class LiveScreen:
    """The whole terminal; what was on it before comes back at the end, and the last moment below it."""

    def __init__(self, console: Console, interval_s: float) -> None:
        """Show on *console*, every so many seconds."""
        self._console = console
        self._every = f"every {interval_s:g} s"
        self._live = Live(console=console, screen=True, auto_refresh=False, transient=True)
        self._last: Shot | None = None
        self._good: Shot | None = None  # the last that had something to show
        self._size = console.size

    def begin(self, shot: Shot) -> None:
        """Show it."""
        self.show(shot)

    def show(self, shot: Shot) -> None:
        """Put it in the place of the last."""
        self._last = shot
        if shot.rows:
            self._good = shot
        self._draw()

    def refresh(self) -> None:
        """Draw again where the terminal has another size."""
        if self._console.size != self._size:
            self._draw()

    def _draw(self) -> None:
        self._size = self._console.size
        if self._last is not None:
            body = self._render(self._last)
            self._live.update(body, refresh=True)

    def _render(self, shot: Shot) -> Group:
        shown = shot if shot.rows or self._good is None else self._good
        parts = [self._title(shot)]
        if shot.problem is not None:
            parts.append(Text(shot.problem, style="bold red"))
        return Group(*parts, Text(), _table(shown, self._console.width, is_old=shown is not shot))

    def _title(self, shot: Shot) -> Text:
        right = f"{self._every}  {shot.at.astimezone():%H:%M:%S}  q: quit"
        room = self._console.width - len(right) - _GAP
        left = Text(shot.source, style="bold")
        left.truncate(max(10, room), overflow="ellipsis", pad=True)
        return left.append(" " * _GAP).append(right, style="dim")

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self._live.stop()
        if self._last is not None and (kind is None or issubclass(kind, KeyboardInterrupt)):
            self._console.print(self._render(self._last))


def _table(shot: Shot, width: int, *, is_old: bool) -> Group:
    """Return the rows of *shot*, with as many columns as fit; dim where it *is_old*."""
    of_labels = max((len(label) for label, _ in shot.rows), default=0)
    titled = any(shot.heads)
    count = _fitting(shot, width - of_labels - _GAP) if titled else len(shot.heads)
    table = Table(box=None, padding=(0, _GAP, 0, 0), show_header=titled, header_style="bold")
    table.add_column("", no_wrap=True, min_width=of_labels)
    for head in shot.heads[:count]:
        table.add_column(
            Text(head),
            justify="right" if titled else "left",
            min_width=_WIDTH if titled else None,
            max_width=max(_GAP, width - of_labels - 2 * _GAP),  # each column has its gap
            overflow="ellipsis",
            no_wrap=True,
        )
    for label, values in shot.rows:
        table.add_row(
            Text(label, style=_LABEL_STYLE), *map(_cell, values[:count]), style="dim" if is_old else ""
        )
    more = len(shot.heads) - count
    rest = Text(f"and {more:,} more: make it wider, or see --json", style="dim") if more else Text()
    return Group(table, rest)


def _cell(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _fitting(shot: Shot, room: int) -> int:
    """Return how many columns fit in *room*, at least one."""
    count = 0
    for place, head in enumerate(shot.heads):
        room -= _GAP + max([_WIDTH, len(head), *(len(values[place]) for _, values in shot.rows)])
        if room < 0:
            break
        count += 1
    return max(1, count)
