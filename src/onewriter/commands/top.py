"""``onewriter top``: what a running service, or a file, is about, again and again."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

import onewriter

from .keys import Keyboard
from .shots import Shot, Watched
from .status import hint
from .telling import DONE, Refused, run

INTERVAL_S: Final = (0.1, 3600.0)
_HOST: Final = re.compile(r"[\w.-]+:\d+(/|$)|localhost(/|$)")
_LOOK_S: Final = 0.25  # between two looks at the terminal's size


def top(source: str, *, interval_s: float, count: int | None, json: bool) -> int:
    """Show what is at *source*, a path or a URL, every *interval_s* seconds, *count* times; return the exit status.

    0: so many were shown, or somebody pressed q. 2: the first look failed. 130: interrupted.
    """

    def work() -> int:
        watched = _watched(source)
        return _watch(watched, watched.look(), interval_s, count, json=json)

    return run("top", work, hint, told={"source": source} if json else None)


def _watched(source: str) -> Watched:
    scheme, sign, _ = source.partition("://")
    if not sign:
        if _HOST.match(source) and not Path(source).exists():
            raise Refused(f"{source}: there is no such file; if it is a URL, begin it with http://")
        from .watched import WatchedFile

        return WatchedFile(Path(source))
    if scheme.lower() not in ("http", "https"):
        raise Refused(f"{source}: give a path, or a URL that begins with http:// or https://")
    from .services import Service

    return Service(source)


def _watch(watched: Watched, first: Shot, interval_s: float, count: int | None, *, json: bool) -> int:
    from .screens import Lines, LiveScreen, Screen

    console = None if json else _terminal()
    screen: Screen = Lines(as_json=json) if console is None else LiveScreen(console, interval_s)
    due, shown = time.monotonic(), 0
    with screen, Keyboard() as keys:
        screen.begin(first)
        while count is None or shown < count:
            due = max(due + interval_s, time.monotonic())
            while (left := due - time.monotonic()) > 0:
                if keys.wait(min(left, _LOOK_S)):
                    return DONE
                screen.refresh()
            screen.show(_look(watched))
            shown += 1
    return DONE


def _look(watched: Watched) -> Shot:
    """Look again; where that fails, say so, and go on: what is gone may come back."""
    try:
        return watched.look()
    except (Refused, onewriter.Error) as error:
        at = datetime.now(UTC)
        told = {"at": at.isoformat(timespec="milliseconds"), "source": watched.name, "error": str(error)}
        return Shot(at=at, source=watched.name, problem=str(error), told=told)


def _terminal() -> Console | None:
    """Return the terminal that standard output is, if it is one on which a screen can be drawn."""
    console = Console(highlight=False)
    return console if sys.stdout.isatty() and not console.is_dumb_terminal else None
