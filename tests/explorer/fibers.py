"""Stacks that are switched by hand: greenlet, which ships no types, behind the little of it that is used here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import greenlet  # type: ignore[import-untyped] # it has no types


class Fiber(Protocol):
    """One stack; it runs until it switches to another."""

    def switch(self) -> object:
        """Go on there, and return when somebody switches back here."""
        ...


new_fiber = cast("Callable[[Callable[[], None], Fiber], Fiber]", greenlet.greenlet)
this_fiber = cast("Callable[[], Fiber]", greenlet.getcurrent)
