"""How far a way has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a way has come: files done, files failed, and whether it is reading back already."""

    done: int
    failed: int
    reading_back: bool = False


OnProgress: TypeAlias = Callable[[Progress], None]
