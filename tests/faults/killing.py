"""Rounds in which processes are killed, as nothing can catch, and what must be true after each.

K1  Every unit that was acknowledged is there, whole and once; none that was refused is (`tests.support.oracle`).
K2  The file is sound.
K3  Each migration is whole or absent, and those are there that any process was told of.
K4  Each snapshot is whole or absent; one that was acknowledged is there, with all that had been acknowledged before it
    was begun. An unfinished one may lie beside it under a name of its own.
"""

from __future__ import annotations

import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import onewriter
from onewriter import Database
from tests.support.children import ROOT
from tests.support.oracle import Fate, Verdict, judge, read_ledger, rows

from .victim import DATABASE, PHASES, ROWS

LIMIT_S: Final = 60.0  # for a phase to come, and for an end
LATE_S: Final = {"open": 0.02, "close": 0.01}  # how far into a phase it is killed, at most
LATE_DEFAULT_S: Final = 0.05


@dataclass
class Counts:
    """What was done, and found: all rounds together."""

    rounds: int = 0
    killed: Counter[str] = field(default_factory=Counter[str])
    acknowledged: int = 0
    refused: int = 0
    asked: int = 0
    survived: int = 0
    migrations: int = 0
    snapshots: int = 0
    unfinished: int = 0


class Killing:
    """Rounds on one database, that grows from round to round."""

    def __init__(self, folder: Path, seed: int, processes: int, counts: Counts) -> None:
        """Draw everything from *seed*; add to *counts*."""
        self._folder = folder
        self._seed = seed
        self._processes = processes
        self._counts = counts
        self._round = 0
        self._version = 0
        self._settled: dict[str, Fate] = {}  # of the rounds before

    def round(self) -> None:
        """Have processes killed while they are at work together, and judge what is left."""
        self._round += 1
        with ThreadPoolExecutor(self._processes) as pool:
            killed = list(pool.map(self._kill_one, range(self._processes)))
        self._counts.rounds += 1
        self._counts.killed.update(killed)
        self.judge()

    def _kill_one(self, number: int) -> str:
        """Start a process, kill it in a phase that is drawn, and return that phase."""
        seed = (self._seed * 1_000 + self._round) * 100 + number
        drawn = random.Random(seed)
        phase = drawn.choice(PHASES)
        arguments = [self._folder, f"{self._round}-{number}", seed, self._round + 1]
        command = [sys.executable, "-W", "error", "-m", "tests.faults.victim", *map(str, arguments)]
        victim = subprocess.Popen(
            command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
        )
        try:
            _wait_for(victim, phase)
            time.sleep(
                drawn.uniform(0.0, LATE_S.get(phase, LATE_DEFAULT_S))
            )  # the moment is drawn, not awaited
        finally:
            victim.kill()
            _, complaint = victim.communicate(timeout=LIMIT_S)
        assert victim.returncode == -signal.SIGKILL, complaint.decode()
        return phase

    def judge(self) -> None:
        """Fail where a promise is broken (K1 to K4); note what is left, and remove the snapshots."""
        fates = {
            name: fate for path in self._folder.glob("*.ledger") for name, fate in read_ledger(path).items()
        }
        with onewriter.open(self._folder / DATABASE) as db:
            assert (wrong := db.check()) == [], wrong
            version = _check_migrations(db)
            found = rows(db) if version else []
        verdict = judge(fates | self._settled, found)
        verdict.check()
        self._check_promises(version, fates)
        self._note(judge(self._new(fates), [row for row in found if row[0] not in self._settled]))
        self._counts.migrations += version - self._version
        self._version = version
        there = {name for name, _half in found}
        # Who is dead can neither add nor take: what was open is decided for good.
        self._settled = {name: Fate.ACKNOWLEDGED if name in there else Fate.REFUSED for name in fates}

    def _new(self, fates: Mapping[str, Fate]) -> dict[str, Fate]:
        return {name: fate for name, fate in fates.items() if name not in self._settled}

    def _note(self, verdict: Verdict) -> None:
        self._counts.acknowledged += verdict.acknowledged
        self._counts.refused += verdict.refused
        self._counts.asked += verdict.asked
        self._counts.survived += verdict.survived

    def _check_promises(self, version: int, fates: dict[str, Fate]) -> None:
        promised: dict[str, frozenset[str]] = {}
        for path in self._folder.glob("*.promises"):
            for what, *more in map(str.split, path.read_text().split("\n")[:-1]):
                if what == "opened":
                    assert version >= int(more[0]), f"version {more[0]} was told of, and it is {version}"
                else:
                    ledger = path.with_suffix(".ledger")
                    promised[more[0]] = _acknowledged(ledger.read_bytes()[: int(more[1])])
            path.unlink()
        snapshots = {path.name: path for path in self._folder.glob("*.snapshot")}
        assert promised.keys() <= snapshots.keys(), f"lost: {promised.keys() - snapshots.keys()}"
        for name, path in snapshots.items():
            _check_snapshot(path, fates | self._settled, promised.get(name, frozenset()))
            path.unlink()
        self._counts.snapshots += len(snapshots)
        for path in self._folder.glob(".*.part*"):
            self._counts.unfinished += 1
            path.unlink()


def _wait_for(victim: subprocess.Popen[bytes], phase: str) -> None:
    """Return when *victim* has printed *phase*; it may say others before, for a long time."""
    assert victim.stdout is not None
    deadline = time.monotonic() + LIMIT_S
    while select.select([victim.stdout], [], [], deadline - time.monotonic())[0]:
        line = victim.stdout.readline()
        if not line or line.decode().strip() == phase:
            return
    raise AssertionError(f"no {phase} in {LIMIT_S} s")


def _acknowledged(ledger: bytes) -> frozenset[str]:
    lines = ledger.decode().split("\n")[:-1]
    return frozenset(line[1:] for line in lines if line[0] == Fate.ACKNOWLEDGED.value)


def _check_migrations(db: Database) -> int:
    """Return the version of *db*; fail where a migration is half there (K3)."""
    version = db.schema_version()
    tables = db.query("SELECT name FROM sqlite_schema WHERE name GLOB 'made_*'", into=str)
    assert set(tables) == {f"made_{each}" for each in range(2, version + 1)}, (version, tables)
    for table in tables:
        count = db.query_value(onewriter.SQL(f"SELECT count(*) FROM {table}"), into=int)
        assert count == ROWS, f"{table} has {count} rows"
    return version


def _check_snapshot(path: Path, fates: Mapping[str, Fate], promised: frozenset[str]) -> None:
    """Fail where the snapshot at *path* is not whole, or lacks what was *promised* (K4)."""
    with onewriter.open(path, read_only=True) as db:
        assert (wrong := db.check()) == [], f"{path.name}: {wrong}"
        _check_migrations(db)
        found = rows(db)
    judge(fates, found, survives=False).check(f"{path.name}: ")
    lacks = promised - {name for name, _half in found}
    assert not lacks, f"{path.name} lacks {sorted(lacks)}"
