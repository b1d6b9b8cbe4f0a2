"""Who takes part in a run: contenders at loads, each in processes of its own, started and ended from here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from bench import contenders, loads
from bench.loads.base import LIMIT_S, Json, Load, Seen

ROOT: Final = Path(__file__).resolve().parent.parent
SETTLE_S: Final = 0.05  # from the word to its begin, so that all processes of a round have heard
END_S: Final = 60.0
# For an answer, beside a round's own seconds: a worker gives its threads `LIMIT_S`, twice.
ANSWER_S: Final = 2 * LIMIT_S + 30


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

    def __init__(self, entry: Entry, load: Load, path: Path) -> None:
        """Start it with the file at *path*, which is made; what its processes say goes into the folder of that."""
        self.entry = entry
        self.load = load
        self.version = ""
        self._log = path.parent / "worker.log"
        environment = {
            name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
        } | {"PYTHONPATH": os.pathsep.join((str(entry.source), str(ROOT)))}
        command = [sys.executable, "-m", "bench.worker", entry.key, load.name, str(path)]
        with self._log.open("w", encoding="utf-8") as log:
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

    def start(self) -> None:
        """Wait until all its processes are ready.

        Raises:
            Ended: one was not.
        """
        told = [self._hear(worker, ANSWER_S) for worker in self._workers]
        self.version = str(told[0]["version"])
        for each in told:
            library = Path(str(each["library"]))
            assert library.is_relative_to(self.entry.source), f"{self.entry.name} runs {library}"

    def round(self, seconds: float) -> Seen:
        """Have all its processes work for *seconds*, and return what they did together.

        Raises:
            Ended: one has ended, or gave no answer.
        """
        at = time.monotonic() + SETTLE_S
        for worker in self._workers:
            assert worker.stdin is not None
            with suppress(BrokenPipeError):  # it has ended: what is heard of it says so
                worker.stdin.write(f"{at} {seconds}\n")
                worker.stdin.flush()
        first, *rest = [Seen.from_json(self._hear(worker, seconds + ANSWER_S)) for worker in self._workers]
        for each in rest:
            first.merge(each)
        return first

    def end(self) -> None:
        """Have its processes end."""
        for worker in self._workers:
            assert worker.stdin is not None
            with suppress(BrokenPipeError):
                worker.stdin.close()
        for worker in self._workers:
            try:
                worker.wait(END_S)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()

    def _hear(self, worker: subprocess.Popen[str], limit_s: float) -> Json:
        assert worker.stdout is not None
        late = threading.Timer(limit_s, worker.kill)
        late.daemon = True  # an interrupt may strike its start, or its end: then nobody waits for it
        late.start()
        try:
            line = worker.stdout.readline()
        finally:
            late.cancel()
        if line:
            return cast("Json", json.loads(line))
        worker.wait(END_S)
        said = self._log.read_text(encoding="utf-8", errors="replace").strip()
        last = said.splitlines()[-1] if said else "it said nothing"
        if worker.returncode == -signal.SIGKILL and not said:
            last = f"it was killed, or gave no answer for {limit_s:.0f} s"
        name = f"{self.entry.name} at {self.load.name}"
        raise Ended(f"{name} ended (status {worker.returncode}): {last}\n{said[-2000:]}")


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
