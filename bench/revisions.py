"""Earlier states of the library, taken out of the repository beside the one that is there."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final, NamedTuple

from bench.loads.base import Json
from bench.team import ROOT

_SOURCE: Final = "src"


class Commit(NamedTuple):
    """A commit, by its whole name."""

    name: str

    @property
    def short(self) -> str:
        """Its name for people."""
        return self.name[:9]

    def take_out(self, folder: Path) -> Path:
        """Write its sources into *folder*, and return the folder that they are imported from.

        Raises:
            ValueError: it has none.
        """
        try:
            archive = _git("archive", "--format=tar", self.name, _SOURCE)
        except subprocess.CalledProcessError:
            raise ValueError(f"commit {self.short} has no folder {_SOURCE}: it cannot be measured") from None
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        return folder / _SOURCE


def find(name: str) -> Commit:
    """Return the commit that *name* names, as ``git rev-parse`` takes it.

    Raises:
        ValueError: there is none.
    """
    try:
        return Commit(_git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip())
    except (OSError, subprocess.CalledProcessError):
        raise ValueError(f"{name} names no commit of this repository, and no file of results") from None


def about() -> Json:
    """Return the commit that is checked out, and whether its sources were changed since; nothing outside git."""
    try:
        changed = _git("status", "--porcelain", "--", _SOURCE).strip()
        return {"commit": find("HEAD").name, "changed": bool(changed)}
    except (OSError, ValueError, subprocess.CalledProcessError):
        return {"commit": None, "changed": True}


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True)
    return done.stdout
