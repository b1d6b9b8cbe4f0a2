"""The command ``onewriter`` as somebody runs it: a process of its own, in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import onewriter

Done: TypeAlias = "subprocess.CompletedProcess[str]"


def command(folder: Path, *arguments: str | Path) -> Done:
    """Run ``python -m onewriter`` with *arguments* in *folder*, warnings as errors, and return what came of it."""
    environment = {
        "PYTHONPATH": str(Path(onewriter.__file__).parents[1]),
        "PYTHONWARNINGS": "error",
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "onewriter", *map(str, arguments)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
