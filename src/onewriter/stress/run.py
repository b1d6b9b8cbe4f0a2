"""One way, from a fresh database file to what is in it at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .audit import Audit, audit
from .crew import upload
from .processes import Limits, Share, upload_together
from .progress import OnProgress, Progress
from .settings import Settings
from .sources import Sources
from .tally import Tally
from .ways import Way

# Of the writes that every process did: at its end a process has fewer threads at work, and so gets less for no fault
# of the others.
_COMPARED = 0.9


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
        shares: what each process did, where there were several; else empty.
    """

    key: str
    title: str
    summary: str
    files: int
    elapsed_s: float
    commits: int
    tally: Tally
    audit: Audit
    shares: tuple[Share, ...] = ()

    @property
    def uploads_per_s(self) -> float:
        """Uploads done a second."""
        return len(self.tally.done) / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second of the uploads done."""
        return self.tally.done_bytes / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def paces_s(self) -> tuple[float, ...]:
        """Each process's seconds for the same number of writes; empty where one was lost, or could not write.

        Not for all of its work: one large file is a long row of writes, one after the other, and who happens to have
        it ends last however evenly all are served.
        """
        alike = int(min((share.tally.writes for share in self.shares), default=0) * _COMPARED)
        if not alike or any(share.lost for share in self.shares):
            return ()
        return tuple(share.tally.time_of(alike) for share in self.shares)

    @property
    def fairness(self) -> float | None:
        """The fastest process's time for the same number of writes by the slowest's: 1 is even. None: no such time."""
        paces_s = self.paces_s
        return min(paces_s) / max(paces_s) if paces_s else None


def run(
    way: type[Way],
    path: Path,
    sources: Sources,
    settings: Settings,
    on_progress: OnProgress,
    *,
    limits: Limits | None = None,
) -> Result:
    """Upload all *sources* into a new database at *path*, then read it back.

    Calls *on_progress* on the calling thread, several times a second. An interrupt stops the uploaders, waits for the
    writes they are in, and is raised. *limits* are those of processes, where *settings* ask for more than one.
    """
    if settings.processes == 1:
        uploaded = _upload_alone(way, path, sources, settings, on_progress)
    else:
        way(path, settings.durability).close()  # makes the file: not every way lets several do that at once
        uploaded = _of_shares(upload_together(way, path, sources.files, settings, on_progress, limits=limits))
    tally = uploaded.tally
    on_progress(Progress(len(tally.done), tally.failed, reading_back=True))
    return Result(
        key=way.key,
        title=way.title,
        summary=way.summary if settings.processes == 1 else f"{way.summary} {way.among_processes}",
        files=len(sources.files),
        elapsed_s=uploaded.elapsed_s,
        commits=uploaded.commits,
        tally=tally,
        audit=audit(path, tally.done),
        shares=uploaded.shares,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Uploaded:
    elapsed_s: float
    commits: int
    tally: Tally
    shares: tuple[Share, ...] = ()


def _upload_alone(
    way: type[Way], path: Path, sources: Sources, settings: Settings, on_progress: OnProgress
) -> _Uploaded:
    """Upload in this process; an uploader that breaks stops them all and its error is raised."""

    def show(tallies: Sequence[Tally]) -> None:
        on_progress(
            Progress(sum(len(tally.done) for tally in tallies), sum(tally.failed for tally in tallies))
        )

    database = way(path, settings.durability)
    started_s = time.perf_counter()
    try:
        tally = upload(
            database, sources.files, settings, started_s=started_s, stop=threading.Event(), on_look=show
        )
        commits = database.commits()
    finally:
        database.close()
    return _Uploaded(elapsed_s=time.perf_counter() - started_s, commits=commits, tally=tally)


def _of_shares(shares: tuple[Share, ...]) -> _Uploaded:
    return _Uploaded(
        elapsed_s=max(share.closed_s for share in shares),
        commits=sum(share.commits for share in shares),
        tally=Tally.of(share.tally for share in shares),
        shares=shares,
    )
