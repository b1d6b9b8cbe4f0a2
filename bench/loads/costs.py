"""What it costs to begin: the import, and the opening."""

from __future__ import annotations

import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator

from bench import contenders
from bench.contenders import About, Can
from bench.contenders.base import Session

from .base import Call, Part, Round, Seen, Work, always
from .writes import Small

USED = "import-used"
IMPORT = """
import os, time
pages = lambda: int(open("/proc/self/statm").read().split()[1])
before, began = pages(), time.perf_counter()
{statement}
print(time.perf_counter() - began, (pages() - before) * os.sysconf("SC_PAGE_SIZE"))
"""


class Import(Work):
    """A new interpreter imports the contender's library; only that is timed, and what memory it takes.

    In ``import-used`` also what opens a database is looked up, at which onewriter imports the rest of itself.
    """

    needs = Can.EXECUTE

    @classmethod
    def is_for(cls, about: About) -> bool:
        first = next(each for each in contenders.ALL.values() if each.library == about.library)
        return about is first and not about.limit

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        raise AssertionError("nothing is opened")

    def run(self, serve: Callable[[Round], None]) -> None:
        self._import()  # which compiles what is not compiled yet
        serve(self._round)

    def _import(self) -> tuple[float, int]:
        library, statement = self.about.library, f"import {self.about.library}"
        if self.load.name == USED and library == "onewriter":
            statement += "; onewriter.open"
        command = [sys.executable, "-c", IMPORT.format(statement=statement)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        took_s, rss_bytes = told.split()
        return float(took_s), int(rss_bytes)

    def _round(self, at: float, seconds: float) -> Seen:
        time.sleep(max(0.0, at - time.monotonic()))
        began = time.monotonic()
        told = [self._import()]
        while time.monotonic() < began + seconds:
            told.append(self._import())
        took_s = array("d", (each for each, _ in told))
        part = Part(began=began, ended=began + sum(took_s))
        part.took["import"] = took_s
        seen = self.seen([part])
        seen.rss_bytes = max(rss_bytes for _, rss_bytes in told)
        return seen


class Open(Small):
    """A file that is there is opened, asked for one row, and closed; nobody else has it open."""

    needs = Can.QUERY

    def turns(self, session: Session, number: int) -> Iterator[tuple[str, Call]]:
        raise AssertionError("it is opened again and again")

    def run(self, serve: Callable[[Round], None]) -> None:
        contender, durability = self.about.contender(), self.load.durability

        def open_() -> None:
            with contender.opened(self.path, durability) as opened, opened() as session:
                session.query("SELECT count(*) FROM small", ())

        def round_(at: float, seconds: float) -> Seen:
            time.sleep(max(0.0, at - time.monotonic()))
            part = Part()
            self.repeat(always("open", open_), seconds, part)
            return self.seen([part])

        open_()  # what is imported, or compiled, at the first one is no part of it: `Import` tells of that
        serve(round_)
