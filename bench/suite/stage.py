"""Who is at work at the load that is measured now."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Self

from bench.files import Files
from bench.loads.base import Json, Load, Seen
from bench.team import Ended, Entry, Party


class Stage:
    """One load at a time, with the parties that have had a turn at it."""

    def __init__(self, folder: Path, seconds: float) -> None:
        """Keep files in *folder*; a turn takes *seconds*."""
        self._seconds = seconds
        self._files = Files(folder)
        self._load: Load | None = None
        self._parties: dict[Entry, Party] = {}
        self._gone: dict[Entry, Ended] = {}  # why
        self.kept: list[Json] = []  # of each turn that has ended, as results have it

    def turn(self, load: Load, entry: Entry) -> Seen:
        """Have *entry* do *load* for its turn. Whoever was at another one is sent home.

        A contender that has been cut off has done nothing, with one error that says why.

        Raises:
            Ended: it is the library itself.
        """
        if self._load != load:
            self.clear()
            self._load = load
        if entry not in self._gone:
            try:
                return self.party(load, entry).round(self._seconds)
            except Ended as error:
                self._gone[entry] = error
        if entry.is_ours:
            raise self._gone[entry]
        now, why = time.monotonic(), str(self._gone[entry]).splitlines()[0]
        return Seen(began=now, ended=now + self._seconds, errors=Counter({why: 1}))

    def party(self, load: Load, entry: Entry) -> Party:
        """Return *entry* at *load*, with its processes started.

        Raises:
            Ended: one of them ended before it was ready.
        """
        party = self._parties.get(entry)
        if party is None:
            path = self._files.new(load, entry.name)
            party = self._parties[entry] = Party(entry, load, path)
            party.start()
        return party

    def version(self, entry: Entry) -> str:
        """Return the name and version of its library, where it has begun."""
        party = self._parties.get(entry)
        return "" if party is None else party.version

    def clear(self) -> None:
        """End all, and remove their files."""
        for party in self._parties.values():
            party.end()
        self._parties.clear()
        self._gone.clear()
        if self._load is not None:
            self._files.forget(self._load)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.clear()
