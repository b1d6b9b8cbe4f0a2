"""Make the project's virtual environment, or find that the one there is still good.

S1  The environment is good if its stamp is that of the pins, the project's metadata, this script, this Python and
    this place. The stamp is written last, so a half-made environment has none and is made anew.
S2  Who builds holds the lock alone; who uses holds it shared, until the script that called this one has ended.
S3  pip's words are shown only where it fails.

Runs on the standard library alone. Usage: _setup.py DESCRIPTOR (open on the lock file).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "onewriter-stamp"
TEMPORARY = VENV / "tmp"  # here, so that an interrupted set-up leaves nothing elsewhere
PINS = ROOT / "requirements-dev.txt"
PIP = (VENV / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input", "install")
STEPS = (
    (*PIP, "--requirement", PINS),
    # Without an index: a package that an extra needs and nobody has pinned is an error, not a surprise.
    (*PIP, "--no-index", "--no-build-isolation", "--editable", f"{ROOT}[stress,bench,otel]"),
)


def stamp() -> str:
    """Return a digest of all that the environment depends on."""
    digest = hashlib.sha256(f"{sys.version}\n{ROOT}\n".encode())
    for path in (PINS, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_good() -> bool:
    """Say whether the environment is complete and up to date."""
    try:
        return (VENV / "bin" / "python").exists() and STAMP.read_text() == stamp()
    except OSError:
        return False


def build() -> None:
    """Make the environment from nothing; end the program with pip's log where that fails."""
    started = time.monotonic()
    tell("setting up .venv: once, and again when its pins change; about a minute ...")
    try:
        venv.create(VENV, clear=True, symlinks=True, with_pip=True)
        TEMPORARY.mkdir()
        for step in STEPS:
            # The lock's descriptor is not inherited: nothing that pip leaves behind can keep it.
            subprocess.run(
                step,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PIP_ROOT_USER_ACTION": "ignore", "TMPDIR": str(TEMPORARY)},
            )
    except subprocess.CalledProcessError as error:
        sys.stderr.buffer.write(error.output)
        command = " ".join(str(part) for part in error.cmd)
        sys.exit(f"setting up .venv failed, with the words above, in: {command}")
    shutil.rmtree(TEMPORARY)
    STAMP.write_text(stamp())
    tell(f"set up .venv in {time.monotonic() - started:.0f} s")


def take(descriptor: int, kind: int) -> None:
    """Take the lock, and say so where somebody else has to end first."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        tell("waiting for another script that sets up or uses .venv ...")
        fcntl.flock(descriptor, kind)


def tell(text: str) -> None:
    """Write *text* beside the output of the script that was asked for."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Leave a good environment and a shared lock behind."""
    descriptor = int(sys.argv[1])
    take(descriptor, fcntl.LOCK_SH)
    if is_good():
        return
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    take(descriptor, fcntl.LOCK_EX)
    if not is_good():  # another may have built it meanwhile
        build()
    fcntl.flock(descriptor, fcntl.LOCK_SH)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
