"""One way, from a fresh database file to what is in it at the end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from .audit import Audit, audit
from .sources import Source, Sources
from .tally import Tally
from .uploader import Uploader
from .ways import Durability, Way

_LOOK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How files are uploaded, alike for every way.

    Attributes:
        uploaders: threads that upload at the same time.
        chunk_bytes: what one write carries.
        durability: what a commit survives.
        seed: of the order of the files.
    """

    uploaders: int = 16
    chunk_bytes: int = 65_536
    durability: Durability = "full"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one way went.

    Attributes:
        key: the way's short name.
        title: its name to show.
        summary: how it works.
        files: how many files it was given.
        elapsed_s: from the first upload's start until the file was closed, so that no way can leave work for later.
        commits: transactions that were committed.
        tally: what became of uploads and writes.
        audit: what was in the file at the end.
    """

    key: str
    title: str
    summary: str
    files: int
    elapsed_s: float
    commits: int
    tally: Tally
    audit: Audit

    @property
    def uploads_per_s(self) -> float:
        """Uploads done a second."""
        return len(self.tally.done) / self.elapsed_s

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second of the uploads done."""
        return self.tally.done_bytes / self.elapsed_s


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a way has come: files done, files failed, and whether it is reading back already."""

    done: int
    failed: int
    reading_back: bool = False


OnProgress: TypeAlias = Callable[[Progress], None]


def run(way: type[Way], path: Path, sources: Sources, settings: Settings, on_progress: OnProgress) -> Result:
    """Upload all *sources* into a new database at *path*, then read it back.

    Calls *on_progress* on the calling thread, several times a second. An interrupt stops the uploaders, waits for the
    writes they are in, and is raised.
    """
    database = way(path, settings.durability)
    started_s = time.perf_counter()
    try:
        uploaders = _upload(database, sources.files, settings, on_progress)
        commits = database.commits()
    finally:
        database.close()
    elapsed_s = time.perf_counter() - started_s
    tally = Tally()
    for uploader in uploaders:
        tally.merge(uploader.tally)
    on_progress(Progress(len(tally.done), tally.failed, reading_back=True))
    return Result(
        key=way.key,
        title=way.title,
        summary=way.summary,
        files=len(sources.files),
        elapsed_s=elapsed_s,
        commits=commits,
        tally=tally,
        audit=audit(path, tally.done),
    )


def _upload(
    way: Way, files: Sequence[Source], settings: Settings, on_progress: OnProgress
) -> tuple[Uploader, ...]:
    """Run the uploaders until every file is dealt with; one that breaks stops them all and its error is raised."""
    waiting = deque(files)
    stop = threading.Event()
    started_s = time.perf_counter()
    uploaders = tuple(
        Uploader(waiting, chunk_bytes=settings.chunk_bytes, stop=stop, started_s=started_s)
        for _ in range(settings.uploaders)
    )
    with ThreadPoolExecutor(settings.uploaders, "uploader") as pool:
        try:
            running = {pool.submit(uploader.run, way) for uploader in uploaders}
            while running:
                ended, running = wait(running, _LOOK_S, FIRST_EXCEPTION)
                for future in ended:
                    future.result()
                on_progress(_progress(uploaders))
        finally:
            stop.set()
    return uploaders


def _progress(uploaders: Sequence[Uploader]) -> Progress:
    return Progress(
        sum(len(uploader.tally.done) for uploader in uploaders),
        sum(uploader.tally.failed for uploader in uploaders),
    )
