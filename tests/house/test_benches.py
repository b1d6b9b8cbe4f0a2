"""Each bench of a design runs, with the least that it can be asked for; what it measures is judged by nobody here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHORT = ("--rounds", "1", "--seconds", "0.02")
BENCHES = {
    "checkpoints": (*SHORT, "--threads", "2", "--bytes", "200", "--readers", "1"),
    "checkpoints --soak": ("--soak", "0.2", "--limit-mib", "1"),
    "delays": ("--seconds", "0.05"),
    "events": (),
    "followed": SHORT,
    "handover": (*SHORT, "--threads", "2"),
    "processes": ("--rounds", "1", "--processes", "2", "--threads", "2", "--writes", "5", "--turns", "1"),
    "reads": ("point", "threads", "rows", *SHORT),
    "settings": SHORT,
}


def test_each_bench_is_here() -> None:
    """A new one is to be added."""
    there = {path.stem for path in (ROOT / "bench").glob("*.py") if "if __name__" in path.read_text("utf-8")}
    assert there - {"__main__", "worker"} == {name.split()[0] for name in BENCHES}


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_runs(name: str, tmp_path: Path) -> None:
    """To its end, without an error; its figures are written down where that is asked for."""
    told = tmp_path / "told.json"
    arguments = BENCHES[name]
    writes = name in ("checkpoints", "delays", "followed", "processes", "reads", "settings")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            f"bench.{name.split(maxsplit=1)[0]}",
            *arguments,
            *(("--json", str(told)) if writes else ()),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    judged = name == "delays"  # it judges times, which is not for here
    assert done.returncode == 0 or (judged and done.returncode == 1), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()
    if writes:
        assert json.loads(told.read_text(encoding="utf-8"))
