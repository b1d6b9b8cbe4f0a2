"""A run as one object for programs: what the table and the report show, in numbers."""

from __future__ import annotations

from .processes import Share
from .report import Run
from .run import Result

_PERCENTILES = (50, 99)


def told(run: Run, report: str | None) -> dict[str, object]:
    """Return *run* under the keys of the command's JSON; *report* is where its HTML is, None where it is not."""
    settings, sources = run.settings, run.sources
    return {
        "passed": run.verdict.passed,
        "sentence": run.verdict.sentence,
        "reasons": list(run.verdict.reasons),
        "began": run.began.isoformat(timespec="seconds"),
        "folder": str(sources.folder),
        "files": len(sources.files),
        "bytes": sources.total_bytes,
        "unreadable": sources.unreadable,
        "processes": settings.processes,
        "uploaders": settings.uploaders,
        "chunk_bytes": settings.chunk_bytes,
        "durability": settings.durability,
        "seed": settings.seed,
        "report": report,
        "ways": [_way(result) for result in run.results],
    }


def _way(result: Result) -> dict[str, object]:
    tally, audit = result.tally, result.audit
    return {
        "way": result.key,
        "title": result.title,
        "elapsed_s": result.elapsed_s,
        "uploads_done": len(tally.done),
        "uploads_failed": tally.failed,
        "busy_errors": tally.busy,
        "errors": dict(tally.errors),
        "uploads_per_s": result.uploads_per_s,
        "bytes_per_s": result.bytes_per_s,
        **{f"write_p{each}_s": tally.waits.at(each) for each in _PERCENTILES},
        "write_max_s": tally.waits.worst_s,
        "writes": tally.writes,
        "commits": result.commits,
        "blobs_lost": len(audit.lost),
        "blobs_wrong": len(audit.wrong),
        "problems": list(audit.unsound),
        "fairness": result.fairness,
        "processes": [_share(share) for share in result.shares],
    }


def _share(share: Share) -> dict[str, object]:
    return {
        "number": share.number,
        "files": share.files,
        "uploads_done": len(share.tally.done),
        "writes": share.tally.writes,
        "uploaded_s": share.uploaded_s,
        "write_max_s": share.tally.waits.worst_s,
        "lost": share.lost or None,
    }
