"""Who takes part in a run: contenders at loads, each in processes of its own, started and ended from here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from bench import contenders, loads
from bench.loads.base import Json, Load, Seen

ROOT: Final = Path(__file__).resolve().parent.parent
SETTLE_S: Final = 0.05  # from the word to its begin, so that all processes of a round have heard
END_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender, and which code of the library it is to run.

    Attributes:
        name: in saved results and in tables; the contender's key, unless there are several of it.
        key: the contender.
        source: the folder that ``onewriter`` is imported from.
    """

    name: str
    key: str
    source: Path = ROOT / "src"

    @property
    def is_ours(self) -> bool:
        """Whether it is this library."""
        return self.key.startswith("onewriter")

    def can(self, load: Load) -> bool:
        """Whether it can do *load*."""
        return loads.able(contenders.ALL[self.key], load)


class Ended(RuntimeError):
    """A contender's process has ended before its time."""


class Party:
    """An entry at one load: its file, and its processes."""

    def __init__(self, entry: Entry, load: Load, path: Path, log: IO[str]) -> None:
        """Start it with the file at *path*, which is made; what its processes say goes to *log*."""
        self.entry = entry
        self.load = load
        self._log = log
        environment = {
            name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
        } | {"PYTHONPATH": os.pathsep.join((str(entry.source), str(ROOT)))}
        command = [sys.executable, "-m", "bench.worker", entry.key, load.name, str(path)]
        self._workers = [
            subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=path.parent,
            )
            for _ in range(load.processes)
        ]
        told = [self._hear(worker) for worker in self._workers]
        self.version = str(told[0]["version"])
        for each in told:
            library = Path(str(each["library"]))
            assert library.is_relative_to(entry.source), f"{entry.name} runs {library}"

    def round(self, seconds: float) -> Seen:
        """Have all its processes work for *seconds*, and return what they did together."""
        at = time.monotonic() + SETTLE_S
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{at} {seconds}\n")
            worker.stdin.flush()
        first, *rest = [Seen.from_json(self._hear(worker)) for worker in self._workers]
        for each in rest:
            first.merge(each)
        return first

    def end(self) -> None:
        """Have its processes end."""
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.close()
        for worker in self._workers:
            try:
                worker.wait(END_S)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()

    def _hear(self, worker: subprocess.Popen[str]) -> Json:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            worker.wait(END_S)
            said = Path(self._log.name).read_text(encoding="utf-8", errors="replace").strip()
            last = said.splitlines()[-1] if said else "it said nothing"
            name = f"{self.entry.name} at {self.load.name}"
            raise Ended(f"{name} ended (status {worker.returncode}): {last}\n{said[-2000:]}")
        return cast("Json", json.loads(line))


def chosen(names: Sequence[str] = ()) -> list[Load]:
    """Return the loads of these names, or of these parts; all where there is none.

    Raises:
        ValueError: there is no such load.
    """
    found = [load for load in loads.ALL.values() if not names or {load.name, load.part} & set(names)]
    unknown = set(names) - {name for load in found for name in (load.name, load.part)}
    if unknown:
        parts = ", ".join(loads.WORKS)
        raise ValueError(
            f"no load is called {', '.join(sorted(unknown))}; there are {parts}, and {', '.join(loads.ALL)}"
        )
    return found
