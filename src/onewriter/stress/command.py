"""``onewriter stress`` itself: from what was asked for to the exit status."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from . import report
from .machine import machine
from .objects import told
from .run import Result, run
from .settings import Settings
from .sources import BadInput, Sources, find
from .terminal import Terminal
from .verdict import judge
from .ways import WAYS, Durability, OneWriter, Way

PASSED, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

PROCESSES_MAX = 64
UPLOADERS_MAX = 1_024
CHUNK_BYTES_MAX = 256 * 1024 * 1024
_DURABILITIES: dict[str, Durability] = {"full": "full", "normal": "normal"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for on the command line, not yet checked.

    Attributes:
        folder: upload the files below it; None: the standard library's.
        processes: operating-system processes, each with its own uploaders.
        uploaders: threads of each process.
        chunk_bytes: what one write carries at most.
        durability: ``full`` or ``normal``.
        report: where the HTML report goes.
        keep: folder that the databases are left in; None: they are removed.
        ways: keys of the ways to run, separated by commas.
        seed: of the order of the files.
        json: print one JSON object, and nothing else, on standard output.
    """

    folder: Path | None
    processes: int
    uploaders: int
    chunk_bytes: int
    durability: str
    report: Path
    keep: Path | None
    ways: str
    seed: int
    json: bool = False


def stress(request: Request) -> int:
    """Do what *request* asks for, and return the exit status.

    0: onewriter kept its promises. 1: it did not. 2: the request is wrong, and standard error says how.
    130: interrupted.
    """
    try:
        return _stress(request, _terminal(request))
    except BadInput as error:
        print(f"onewriter stress: {error}", file=sys.stderr)
        if request.json:
            print(json.dumps({"error": str(error)}))
        return BAD_INPUT
    except KeyboardInterrupt:
        print("onewriter stress: interrupted", file=sys.stderr)
        return INTERRUPTED


def _stress(request: Request, terminal: Terminal) -> int:
    began = datetime.now().astimezone()
    settings = _settings(request)
    ways = _ways(request.ways)
    _check_report(request.report)
    sources = find(request.folder, seed=request.seed)
    if settings.processes > len(sources.files):
        raise BadInput(f"--processes {settings.processes}: more than there are files ({len(sources.files)})")
    with _databases(request.keep, ways) as folder:
        terminal.announce(sources, settings)
        results = [
            _run(way, folder, sources, settings, terminal, keep=request.keep is not None) for way in ways
        ]
        written = report.Run(
            began=began,
            machine=machine(folder),
            sources=sources,
            settings=settings,
            results=results,
            verdict=judge(*results),
        )
    terminal.results(results, written.verdict)
    for result in results:
        for share in result.shares:
            print(share.trace, end="", file=sys.stderr)
    if request.keep:
        terminal.say(f"Databases: {request.keep}")
    reported = _report(written, request.report, terminal)
    if request.json:
        print(json.dumps(told(written, str(request.report) if reported else None)))
    if not written.verdict.passed:
        return FAILED
    return PASSED if reported else BAD_INPUT


def _terminal(request: Request) -> Terminal:
    """Return where people look: standard output, unless that is for a program; then what shows control codes."""
    if not request.json:
        return Terminal()
    return Terminal(Console(stderr=True, quiet=not sys.stderr.isatty(), highlight=False))


def _run(
    way: type[Way], folder: Path, sources: Sources, settings: Settings, terminal: Terminal, *, keep: bool
) -> Result:
    path = _database(folder, way)
    with terminal.way(way.title, len(sources.files)) as on_progress:
        result = run(way, path, sources, settings, on_progress)
    if not keep:
        path.unlink()  # four databases at once would need four times the room
    return result


def _settings(request: Request) -> Settings:
    return Settings(
        processes=_within("--processes", request.processes, PROCESSES_MAX),
        uploaders=_within("--uploaders", request.uploaders, UPLOADERS_MAX),
        chunk_bytes=_within("--chunk", request.chunk_bytes, CHUNK_BYTES_MAX),
        durability=_durability(request.durability),
        seed=request.seed,
    )


def _within(option: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise BadInput(f"{option} {value}: must be from 1 to {most:,}")
    return value


def _durability(value: str) -> Durability:
    durability = _DURABILITIES.get(value)
    if durability is None:
        raise BadInput(f"--durability {value}: must be full or normal")
    return durability


def _ways(keys: str) -> Sequence[type[Way]]:
    """Return the ways named in *keys*, onewriter first in any case."""
    asked = {key.strip() for key in keys.split(",")} | {OneWriter.key}
    unknown = sorted(asked - {way.key for way in WAYS})
    if unknown:
        raise BadInput(f"--ways {','.join(unknown)}: choose from {', '.join(way.key for way in WAYS)}")
    return [way for way in WAYS if way.key in asked]


def _check_report(path: Path) -> None:
    """Refuse a place that the report cannot be written to, before a minute's work rather than after it."""
    folder = path.parent
    if path.is_dir():
        problem = "is a folder"
    elif not folder.is_dir():
        problem = f"there is no folder {folder}"
    elif not os.access(path if path.exists() else folder, os.W_OK):
        problem = "cannot be written"
    else:
        return
    raise BadInput(f"--report {path}: {problem}")


def _report(written: report.Run, path: Path, terminal: Terminal) -> bool:
    """Write the report; where that fails the verdict still stands."""
    try:
        report.write(written, path)
    except OSError as error:
        print(f"onewriter stress: --report {path}: {error.strerror}", file=sys.stderr)
        return False
    terminal.say(f"Report: {path}")
    return True


@contextmanager
def _databases(keep: Path | None, ways: Sequence[type[Way]]) -> Generator[Path]:
    """Give a folder for the databases: *keep*, or one that is removed at the end."""
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix="onewriter-stress-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--keep {keep}: {error.strerror}") from error
    for way in ways:
        if _database(keep, way).exists():
            raise BadInput(f"--keep {keep}: {_database(keep, way).name} is there already")
    yield keep


def _database(folder: Path, way: type[Way]) -> Path:
    return folder / f"{way.key}.db"
