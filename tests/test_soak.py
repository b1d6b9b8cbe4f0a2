"""Several processes that have one database together for a while, whatever they come to.

scripts/test --quick --soak=60 tests/test_soak.py
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import onewriter
from tests.support.children import ROOT
from tests.support.soak import MIGRATIONS
from tests.support.steps import LIMIT_S

PROCESSES = 6


def _soak(folder: Path, seed: int, seconds: float) -> subprocess.CompletedProcess[str]:
    arguments = [folder / "a.db", folder / f"log-{seed}", seed, seconds]
    command = [sys.executable, "-W", "error", "-m", "tests.support.soak", *map(str, arguments)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=seconds + LIMIT_S
    )


def test_processes_that_come_and_go_hear_of_no_lock(
    tmp_path: Path, pytestconfig: pytest.Config, seed: int
) -> None:
    """No error in any of them; each migration ran once; every write that was acknowledged is there."""
    soak_s: float | None = pytestconfig.getoption("--soak")
    assert soak_s is not None, "it has a default"
    with ThreadPoolExecutor(PROCESSES) as pool:
        parts = [pool.submit(_soak, tmp_path, seed + number, soak_s) for number in range(PROCESSES)]
    ended = [part.result() for part in parts]
    complaints = [each.stderr for each in ended if each.returncode != 0]
    assert not complaints, complaints[0]
    assert sum(int(each.stdout.split()[0]) for each in ended) > PROCESSES
    acknowledged = [name for log in tmp_path.glob("log-*") for name in log.read_text().split()]
    assert acknowledged
    with onewriter.open(tmp_path / "a.db") as db:
        assert db.query("SELECT version, count(*) FROM ran GROUP BY version") == [(2, 1), (3, 1)]
        assert db.schema_version() == MIGRATIONS[-1].version
        assert set(acknowledged) <= set(db.query("SELECT name FROM row", into=str))
        assert db.check() == []
