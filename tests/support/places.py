"""Places that are hard to write to: a small disk, a read-only one, a folder that another user may enter."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.children import NOBODY


@contextmanager
def small_disk(folder: Path, size: str) -> Generator[Path]:
    """Mount an empty disk of *size* (``2m``) on *folder* for a block; skip the test where that is not permitted."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs"]
    done = subprocess.run(["mount", *options, str(folder)], check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a disk here: {done.stderr!r}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def make_read_only(disk: Path) -> None:
    """Have the mounted *disk* take no more writes."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


@contextmanager
def common_folder() -> Generator[Path]:
    """A new folder that belongs to the user of `as_nobody`, and that it can reach (`tmp_path` it cannot)."""
    folder = Path(tempfile.mkdtemp(prefix="onewriter-")).resolve()
    try:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def in_memory(folder: Path) -> Generator[Path]:
    """A new folder in memory for a block, where the system has one; else *folder*, which is made."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        folder.mkdir()
        yield folder
        return
    made = Path(tempfile.mkdtemp(prefix="onewriter-", dir=memory))
    try:
        yield made
    finally:
        shutil.rmtree(made)
