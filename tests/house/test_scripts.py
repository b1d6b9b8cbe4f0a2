"""The commands of a fresh clone: what they say where no Python fits. Each run of CI shows that they work."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.house import ROOT

COMMANDS = (
    "scripts/test",
    "scripts/docs",
    "scripts/stress",
    "scripts/bench",
    "scripts/again",
    "scripts/soak",
    ".ci/run",
)


@pytest.mark.parametrize("name", [*COMMANDS, "scripts/_env.sh"])
def test_a_command_is_plain_sh(name: str) -> None:
    """A shell without bash's extensions can read it, and it may be run."""
    subprocess.run(["sh", "-n", ROOT / name], check=True)
    assert os.access(ROOT / name, os.X_OK) or name not in COMMANDS


@pytest.mark.parametrize(
    "status, words",
    [
        (3, "is older than Python 3.11"),
        (
            4,
            "has no venv module (on Debian and Ubuntu it is a package of its own: apt-get install python3-venv)",
        ),
        (127, "is no Python that runs"),
    ],
)
def test_what_is_wrong_with_a_python_is_said(status: int, words: str, tmp_path: Path) -> None:
    """Each Python that was found is named with what it lacks; so is the one that was asked for."""
    python = tmp_path / "bin" / "python3"
    _place(tmp_path, python, f"exit {status}")
    done = _scripts_test(tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "onewriter needs Python 3.11 or newer with its venv module; set PYTHON to one. Found:",
        f"  {python} {words}",
    ]
    done = _scripts_test(tmp_path, PYTHON=str(python))
    assert done.returncode == 1
    assert done.stderr == f"$PYTHON ({python}) {words}.\n"


def test_no_python_at_all_is_said(tmp_path: Path) -> None:
    """A machine without Python is told what to install."""
    _place(tmp_path, tmp_path / "bin" / "other", "exit")
    done = _scripts_test(tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith("Found: none\n")


def _place(project: Path, program: Path, line: str) -> None:
    """Make a project of nothing but the scripts, and a folder of programs with *program* and what scripts need."""
    shutil.copytree(ROOT / "scripts", project / "scripts")
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{line}\n")
    program.chmod(0o755)
    for needed in ("sh", "dirname", "mkdir"):
        (program.parent / needed).symlink_to(shutil.which(needed) or pytest.fail(f"no {needed} here"))


def _scripts_test(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [project / "scripts" / "test"]
    path = {"PATH": str(project / "bin")}
    return subprocess.run(
        command, cwd=project, env=path | environment, capture_output=True, text=True, check=False, timeout=60
    )
