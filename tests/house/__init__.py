"""The house rules, kept by tests: layers, style, documents that run."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def project_files() -> list[Path]:
    """Return the files that belong to the project: what git tracks or would; without git, what is not hidden."""
    command = ("git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
        found = [ROOT / name for name in names if name]
    except (OSError, subprocess.CalledProcessError):
        inside = (path.relative_to(ROOT).parts for path in ROOT.rglob("*"))
        found = [
            ROOT.joinpath(*parts)
            for parts in inside
            if not any((part.startswith(".") and part != ".ci") or part == "__pycache__" for part in parts)
        ]
    return sorted(path for path in found if path.is_file())
