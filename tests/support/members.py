"""Places in the turn among processes, without a database."""

from __future__ import annotations

from pathlib import Path

from onewriter import contenders
from onewriter.contenders import Contender


class Alone:
    """What takes part in the turn where there is no connection."""

    turn: Contender | None = None


def try_place(path: Path) -> Contender | None:
    """Take a place among those who write to *path*; None where there is none."""
    member = Alone()
    contenders.join(path, 0o600, member)
    return member.turn


def take_place(path: Path) -> Contender:
    """Take a place among those who write to *path*; who calls this leaves it."""
    contender = try_place(path)
    assert contender is not None
    return contender
