"""All loads: what a run of the suite is made of."""

from __future__ import annotations

from typing import Final

from bench.contenders import About, Can
from onewriter.config import Durability

from .base import Load, Work
from .costs import USED, Import, Open
from .reads import Mixed, Objects, Point, Scan
from .tasks import Tasks
from .writes import Large, Many, Small, Submitted, Upload

KIB, MIB = 1024, 1024 * 1024
BOTH: Final[tuple[Durability, ...]] = ("full", "normal")

WORKS: Final[dict[str, type[Work]]] = {
    "small": Small,
    "upload": Upload,
    "mixed": Mixed,
    "point": Point,
    "scan": Scan,
    "objects": Objects,
    "submit": Submitted,
    "many": Many,
    "tasks": Tasks,
    "processes": Small,
    "rows": Large,
    "open": Open,
    "import": Import,
}


def _loads() -> list[Load]:
    small = [
        Load(name=f"small-{threads}-{durability}", part="small", threads=threads, durability=durability)
        for durability in BOTH
        for threads in (1, 4, 16, 64, 256, 1024)
    ]
    uploads = [
        Load(name=f"upload-{threads}-{label}", part="upload", threads=threads, bytes=size)
        for label, size in (("4k", 4 * KIB), ("64k", 64 * KIB), ("1m", MIB))
        for threads in ((1, 4, 16, 64) if label == "1m" else (1, 16, 64))
    ]
    mixed = [
        Load(
            name=f"mixed-{threads}-{share}",
            part="mixed",
            threads=threads,
            reads=share / 100,
            rows=100_000,
        )
        for share in (90, 50)
        for threads in (4, 16)
    ]
    reads = [
        *(Load(name=f"point-{threads}", part="point", threads=threads, rows=200_000) for threads in (1, 16)),
        *(Load(name=f"scan-{threads}", part="scan", threads=threads, rows=200_000) for threads in (1, 2)),
        Load(name="objects", part="objects", rows=10_000),
    ]
    batches = [
        Load(name=f"{part}-{durability}", part=part, durability=durability)
        for part in ("submit", "many")
        for durability in BOTH
    ]
    tasks = [
        Load(name=f"tasks-{tasks}-{durability}", part="tasks", threads=tasks, durability=durability, bytes=20)
        for durability in BOTH
        for tasks in (100, 1_000)
    ]
    processes = [
        Load(name=f"processes-{number}", part="processes", processes=number, threads=4)
        for number in (1, 2, 4)
    ]
    rows = [
        Load(name=f"rows-{label}", part="rows", threads=16, durability="normal", bytes=20, rows=number)
        for label, number in (("10k", 10_000), ("1m", 1_000_000), ("10m", 10_000_000))
    ]
    costs = [
        Load(name="open", part="open"),
        Load(name="import", part="import"),
        Load(name=USED, part="import"),
    ]
    return [*small, *uploads, *mixed, *reads, *batches, *tasks, *processes, *rows, *costs]


def able(about: About, load: Load) -> bool:
    """Whether a contender is asked to do *load*."""
    return WORKS[load.part].is_for(about) and (load.processes == 1 or Can.PROCESSES in about.can)


ALL: Final[dict[str, Load]] = {load.name: load for load in _loads()}
QUICK: Final = (
    "small-1-full",
    "small-16-full",
    "small-16-normal",
    "upload-16-64k",
    "mixed-16-90",
    "point-16",
    "tasks-100-full",
    "submit-full",
    "import",
    USED,
)
