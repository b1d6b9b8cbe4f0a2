"""One contender at one load, in a process of its own: so that each has its interpreter, its memory and its version.

    python -m bench.worker CONTENDER LOAD PATH [fill]

Told on standard input: ``AT SECONDS``, a round of so many seconds that begins at that moment of the system's monotonic
clock. Tells on standard output, a line of JSON each: first what it is, then what it saw in each round. Ends with its
input; and where the contender does not come back, at once, with the status `HUNG` and a line of why on standard error.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Final

import onewriter
from bench import contenders, loads
from bench.loads.base import Hung, Json, Round

HUNG: Final = 3
FILES_MAX: Final = 16_384  # that a process may have open: 1,024 connections have two or three each


def _tell(what: Json) -> None:
    print(json.dumps(what), flush=True)


def allow_files() -> None:
    """Have this process open as many files as the system lets it, where it may open few now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def main(given: list[str]) -> int:
    """Work for whoever has the other ends of the pipes."""
    key, name, path, *fill = given
    load, about = loads.ALL[name], contenders.ALL[key]
    allow_files()
    work = loads.WORKS[load.part](load, about, Path(path))
    if fill:
        work.fill()

    def serve(round_: Round) -> None:
        _tell({"version": about.contender().version(), "library": onewriter.__file__})
        for line in sys.stdin:
            at, seconds = map(float, line.split())
            try:
                seen = round_(at, seconds)
            except Hung as error:
                print(f"{key} at {name} was cut off: {error}", file=sys.stderr, flush=True)
                os._exit(HUNG)  # what it holds cannot be closed
            _tell(seen.as_json())

    work.run(serve)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
