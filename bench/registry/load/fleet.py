"""The server under load: a process group of its own, killed and started again on the same port and folder."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Final

_START_S: Final = 30.0
_END_S: Final = 60.0
_ROOT: Final = Path(__file__).parents[3]


class NotServing(Exception):
    """The server did not start, or did not end well."""


class Fleet:
    """One master and its workers."""

    def __init__(self, root: Path, log: Path, *options: object) -> None:
        """Start nothing yet; what the server logs is appended to *log*, *options* are those of its command."""
        self._options = ("--root", root, *options)
        self.log = log
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        """The master's, which is that of the process group."""
        assert self._process is not None, "it was started"
        return self._process.pid

    def start(self) -> float:
        """Start it, on the port that it had before; return how many seconds it took until it listened.

        Raises:
            NotServing: it did not.
        """
        command = [sys.executable, "-m", "bench.registry", *map(str, self._options), "--port", str(self.port)]
        path = os.pathsep.join([str(_ROOT / "src"), str(_ROOT)])
        began = time.monotonic()
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,  # a Ctrl-C is for us, and killpg for all of it
            )
        line = _line(self._process.stdout)
        if not line.startswith("http://127.0.0.1:"):
            self.kill()
            msg = f"the server did not start: {self.log.read_text()[-500:] or line}"
            raise NotServing(msg)
        self.port = int(line.split("/")[2].rpartition(":")[2])
        return time.monotonic() - began

    def kill(self) -> None:
        """Kill master and workers, as nothing can catch."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=_END_S)

    def end(self) -> None:
        """End it as a service is ended.

        Raises:
            NotServing: its exit status was not 0.
        """
        process = self._process
        assert process is not None, "it was started"
        process.terminate()
        try:
            process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            msg = f"the server did not end within {_END_S:.0f} s of SIGTERM"
            raise NotServing(msg) from None
        self._process = None
        if process.returncode != 0:
            msg = f"the server ended with status {process.returncode}"
            raise NotServing(msg)

    def tracebacks(self) -> int:
        """Return how many there are in the log."""
        return self.log.read_text().count("Traceback") if self.log.exists() else 0


def _line(stream: IO[str] | None) -> str:
    """Return the first line of *stream*, empty where none comes in time."""
    assert stream is not None
    return stream.readline() if select.select([stream], [], [], _START_S)[0] else ""
