"""The contenders, by their keys; the class of each is imported when it is asked for."""

from __future__ import annotations

from .about import ALL, About
from .base import Can, Contender

__all__ = ["ALL", "About", "Can", "Contender"]
