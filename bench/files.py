"""The files of a run: each load's is filled once, and copied for each who takes part."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench import contenders, loads
from bench.loads.base import Load


class Files:
    """The folder of a run."""

    def __init__(self, folder: Path) -> None:
        """Use *folder*, which is there."""
        self.folder = folder
        self._filled: dict[Load, Path] = {}

    def new(self, load: Load, name: str) -> Path:
        """Return the path of the file of *name* at *load*, filled."""
        filled = self._filled.get(load)
        if filled is None:
            filled = self._filled[load] = self.folder / f"{load.name}.filled"
            loads.WORKS[load.part](load, contenders.ALL["onewriter"], filled).fill()
        path = self.folder / load.name / name / "bench.db"
        path.parent.mkdir(parents=True, exist_ok=True)  # a start may have failed before
        if filled.exists():
            shutil.copyfile(filled, path)
            path.chmod(0o600)
        return path

    def forget(self, load: Load) -> None:
        """Remove what there is of *load*."""
        filled = self._filled.pop(load, None)
        if filled is not None:
            filled.unlink(missing_ok=True)
        shutil.rmtree(self.folder / load.name, ignore_errors=True)
