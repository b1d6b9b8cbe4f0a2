"""Several processes that have one database together for a while, whatever they come to.

scripts/test --quick --soak=60 tests/test_soak.py
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import onewriter
from tests.support.children import ROOT
from tests.support.soak import MIGRATIONS
from tests.support.steps import LIMIT_S

PROCESSES = 6


def _soak(folder: Path, seed: int, until: float, *kill: str) -> list[subprocess.CompletedProcess[str]]:
    """Have one process after the other take part, as each is killed, and return what came of them."""
    ended: list[subprocess.CompletedProcess[str]] = []
    while (left_s := until - time.monotonic()) > 0:
        arguments = [folder / "a.db", folder / f"log-{seed}", seed + len(ended), left_s, *kill]
        command = [sys.executable, "-W", "error", "-m", "tests.support.soak", *map(str, arguments)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=left_s + LIMIT_S
        )
        ended.append(done)
        if done.returncode != -signal.SIGKILL:
            break
    return ended


@pytest.mark.parametrize("kill", [(), ("kill",)], ids=["ending well", "killed"])
def test_processes_that_come_and_go_hear_of_no_lock(
    tmp_path: Path, pytestconfig: pytest.Config, seed: int, kill: tuple[str, ...]
) -> None:
    """No error in any of them; each migration ran once; every write that was acknowledged is there."""
    soak_s: float | None = pytestconfig.getoption("--soak")
    assert soak_s is not None, "it has a default"
    until = time.monotonic() + soak_s
    with ThreadPoolExecutor(PROCESSES) as pool:
        parts = [
            pool.submit(_soak, tmp_path, seed + 1000 * number, until, *kill) for number in range(PROCESSES)
        ]
    ended = [each for part in parts for each in part.result()]
    complaints = [each.stderr for each in ended if each.returncode not in (0, -signal.SIGKILL)]
    assert not complaints, complaints[0]
    assert bool(kill) or sum(int(each.stdout.split()[0]) for each in ended) > PROCESSES
    acknowledged = [name for log in tmp_path.glob("log-*") for name in log.read_text().split()]
    assert acknowledged
    with onewriter.open(tmp_path / "a.db") as db:
        assert db.query("SELECT version, count(*) FROM ran GROUP BY version") == [(2, 1), (3, 1)]
        assert db.schema_version() == MIGRATIONS[-1].version
        assert set(acknowledged) <= set(db.query("SELECT name FROM row", into=str))
        assert db.check() == []
