"""Small folders to upload, and the command as a process of its own."""

# matplotlib's stubs leave the types of keyword arguments out:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from matplotlib.figure import Figure

import onewriter

SOURCE = Path(onewriter.__file__).parents[1]
CHUNK_BYTES = 65_536
# Variables by which a terminal, or a build server, talks rich into control codes.
TALKATIVE = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "NO_COLOR")

Stress: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a command: this package, temporary files below *folder*."""
    kept = {name: value for name, value in os.environ.items() if name not in TALKATIVE}
    return kept | {"PYTHONPATH": str(SOURCE), "TMPDIR": str(folder), "PYTHONWARNINGS": "error"} | more


@pytest.fixture(scope="session", autouse=True)
def _fonts_are_open() -> None:
    """Have matplotlib open its fonts, which it keeps: the first test that draws did not leave them behind."""
    figure = Figure()
    figure.text(0, 0, "plain")
    figure.text(0, 0, "bold", weight="bold")
    figure.savefig(io.BytesIO(), format="svg")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind that matters: 15 uploads, 12 different contents, 6 of them from more than one chunk."""
    root = tmp_path_factory.mktemp("files")
    chance = random.Random(1)
    (root / "empty").touch()
    (root / "one chunk exactly").write_bytes(chance.randbytes(CHUNK_BYTES))
    (root / "one byte more").write_bytes(chance.randbytes(CHUNK_BYTES + 1))
    (root / "[bold]not marked up <b> & ü").write_bytes(b"a name to trip over")
    twin = chance.randbytes(2 * CHUNK_BYTES)
    below = root / "a" / "b"
    below.mkdir(parents=True)
    for name in ("twin", "a/twin", "a/b/twin", "a/b/other twin"):
        (root / name).write_bytes(twin)
    for number in range(7):
        (below / f"{number}.bin").write_bytes(chance.randbytes(20_000 * (number + 1)))
    return root


@pytest.fixture
def stress(tmp_path: Path) -> Stress:
    """Run ``python -m onewriter stress`` with the given arguments, in the test's own folder."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "onewriter", "stress", *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run
