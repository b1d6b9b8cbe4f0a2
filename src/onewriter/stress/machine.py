"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import apsw

_MOUNTS = Path("/proc/self/mountinfo")
_PROCESSORS = Path("/proc/cpuinfo")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine and the software, as far as they bear on the figures.

    Attributes:
        cores: processors that this process may use.
        processor: their model, or the architecture where the system does not say.
        system: the operating system.
        python: implementation and version.
        sqlite: version of the library inside APSW.
        apsw: version of APSW.
        file_system: type of the file system that the databases were on, or "unknown".
    """

    cores: int
    processor: str
    system: str
    python: str
    sqlite: str
    apsw: str
    file_system: str

    @property
    def in_memory(self) -> bool:
        """Whether the file system is memory, where syncing a commit to disk costs nothing."""
        return self.file_system in _IN_MEMORY


def machine(folder: Path) -> Machine:
    """Describe this machine, with the file system that *folder* is on."""
    return Machine(
        cores=_cores(),
        processor=_processor(),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=apsw.sqlite_lib_version(),
        apsw=apsw.apsw_version(),
        file_system=file_system(folder),
    )


def file_system(folder: Path) -> str:
    """Return the type of the file system under *folder*: that of the deepest mount point above it."""
    real = folder.resolve()
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    # Fields as in proc_pid_mountinfo(5): the mount point is the fifth, the type the first after " - ".
    mounts = [(Path(line.split()[4]), line.partition(" - ")[2].split()[0]) for line in lines]
    above = [(len(mount.parts), kind) for mount, kind in mounts if real.is_relative_to(mount)]
    # The last of equals is the one that was mounted over the others.
    return max(reversed(above), default=(0, "unknown"), key=lambda found: found[0])[1]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = _PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
