"""A system that fails on command what the library asks of it in Python, beside SQLite: to create, look at, sync, name.

Only what the library itself asks for: the nearest frame that is not of Python's own library is one of its modules.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import Final

import pytest

import onewriter

CALLS: Final[tuple[tuple[ModuleType, str], ...]] = (
    (os, "open"),
    (os, "stat"),
    (os, "lstat"),
    (os, "fstat"),
    (os, "fsync"),
    (os, "mkdir"),
    (os, "chmod"),
    (os, "fchmod"),
    (os, "link"),
    (os, "unlink"),
    (os, "pread"),
    (os, "pwrite"),
    (os, "scandir"),
    (fcntl, "lockf"),
    (fcntl, "fcntl"),
    (mmap, "mmap"),
)
NAMES: Final = tuple(f"{module.__name__}.{name}" for module, name in CALLS)
_OURS: Final = str(Path(onewriter.__file__).parent)
_PYTHON: Final = str(Path(os.__file__).parent)


@contextmanager
def sick_system(rule: Callable[[str, str], int]) -> Generator[None]:
    """Have *rule* asked for a block: ``rule("os.open", "")`` returns 0, or what is not 0 for the call to fail."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in CALLS:
            asks = partial(_asks, getattr(module, name), f"{module.__name__}.{name}", rule)
            patch.setattr(module, name, asks)
        yield


def _asks(  # what it is given, and returns, is the call's
    call: Callable[..., object], what: str, rule: Callable[[str, str], int], *given: object, **named: object
) -> object:
    if str(given[0]) != "/" and _is_ours(sys._getframe(1)) and rule(what, ""):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return call(*given, **named)


def _is_ours(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename.startswith((_PYTHON, "<frozen")):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(_OURS)
