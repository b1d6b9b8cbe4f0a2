"""The command ``onewriter`` as somebody runs it: a process of its own, in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import pytest

import onewriter
from onewriter import cli

Done: TypeAlias = "subprocess.CompletedProcess[str]"


def environment(**changed: str) -> dict[str, str]:
    """Return the environment of a command: this clone's library, warnings as errors, a wide terminal; and *changed*."""
    return os.environ | {
        "PYTHONPATH": str(Path(onewriter.__file__).parents[1]),
        "PYTHONWARNINGS": "error",
        "COLUMNS": "200",
        "NO_COLOR": "1",
        **changed,
    }


def command(folder: Path, *arguments: str | Path) -> Done:
    """Run ``python -m onewriter`` with *arguments* in *folder*, warnings as errors, and return what came of it."""
    return subprocess.run(
        [sys.executable, "-m", "onewriter", *map(str, arguments)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def inside(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run the command with *arguments* in this process, which is faster, and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["onewriter", *map(str, arguments)])
    return cli.run()
