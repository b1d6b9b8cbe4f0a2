"""One run: a server, its pushers, its kills, and the audit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onewriter
from bench.registry.load.audit import Audit, audit
from bench.registry.load.client import PATIENCE_S
from bench.registry.load.fleet import Fleet, NotServing
from bench.registry.load.ledger import Ledger
from bench.registry.load.pusher import Pusher
from bench.registry.settings import PlaceName
from bench.registry.store import database_of

_TICK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked for.

    Attributes:
        folder: where all of it goes.
        seconds: how long images are pushed; the last ones are finished after that.
        uploads: pushers, each with one upload at a time.
        kills: how often the server is killed, evenly over the time.
        bytes_max: of a layer.
    """

    folder: Path
    place: PlaceName
    processes: int
    threads: int
    seconds: float
    uploads: int
    kills: int
    bytes_max: int
    seed: int


@dataclass(slots=True)
class Run:
    """What came of it; *away_s*: how long each kill kept the server from listening, *pushed_s* the whole of pushing."""

    load: Load
    ledger: Ledger
    pushed_s: float = 0.0
    away_s: list[float] = field(default_factory=list[float])
    audit: Audit = field(default_factory=lambda: Audit(0, 0, 0))
    unfinished: int = 0


def run(load: Load, progress: Callable[[str, float], object]) -> Run:
    """Run *load*; *progress* is told what is being done, and how much of it is.

    Raises:
        NotServing: the server could not be started.
    """
    ledger = Ledger()
    done = Run(load, ledger)
    root = load.folder / "registry"
    options = ("--blobs", load.place, "--processes", load.processes, "--threads", load.threads)
    fleet = Fleet(root, load.folder / "server.log", *options)
    fleet.start()
    try:
        _push(load, fleet, done, progress)
        done.audit = audit(
            fleet.port, ledger, lambda some, of: progress("pulling everything back", some / of)
        )
        fleet.end()
    except NotServing as error:
        ledger.broke(str(error))
    finally:
        fleet.kill()
    if count := fleet.tracebacks():
        ledger.broke(f"the server's log has {count} tracebacks: {load.folder / 'server.log'}")
    _check_file(root, done)
    return done


def _push(load: Load, fleet: Fleet, done: Run, progress: Callable[[str, float], object]) -> None:
    pushers = [
        Pusher(number, fleet.port, done.ledger, load.seed, load.bytes_max) for number in range(load.uploads)
    ]
    began = time.monotonic()
    kills = [began + load.seconds * (number + 1) / (load.kills + 1) for number in range(load.kills)]
    for pusher in pushers:
        pusher.start()
    try:
        while (now := time.monotonic()) < began + load.seconds:
            if kills and now >= kills[0]:
                del kills[0]
                fleet.kill()
                done.away_s.append(fleet.start())
            progress(f"pushing, {len(done.away_s)} kills", (now - began) / load.seconds)
            time.sleep(_TICK_S)
    finally:
        for pusher in pushers:
            pusher.end()
    for pusher in pushers:
        pusher.join(2 * PATIENCE_S)
        if pusher.is_alive():
            done.ledger.broke("a pusher hangs")
    done.pushed_s = time.monotonic() - began


def _check_file(root: Path, done: Run) -> None:
    """Look at the database when nobody has it open any more."""
    try:
        with onewriter.open(database_of(root), read_only=True) as db:
            for problem in db.check():
                done.ledger.broke(f"the database is unsound: {problem}")
            sql = "SELECT count(*) FROM content WHERE state = 'open'"
            done.unfinished = db.query_value(sql, into=int)
    except onewriter.Error as error:
        done.ledger.broke(f"the database cannot be looked at: {error}")
