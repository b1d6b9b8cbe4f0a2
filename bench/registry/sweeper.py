"""What is left over is taken away: uploads that nobody goes on with, chunks and files that belong to nothing.

S1  It may run in any number of processes at once, beside all that they do: what is decided is decided in a write, and
    what has no row is nobody's.
S2  A failure is logged, and tried again the next time.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import onewriter
from bench.registry import contents
from bench.registry.store import Store

_MANY: Final = 100
_log = logging.getLogger("registry.sweeper")


def sweep(store: Store) -> int:
    """Take away what is left over; return how many uploads, and files, that were."""
    now, gone = time.time(), 0
    before = now - store.settings.abandoned_s
    while uploads := contents.abandoned(store.db, before, _MANY):
        for upload in uploads:
            if contents.drop_abandoned(store.db, upload, before):
                store.place_of(upload).discard(upload, None)
                gone += 1
    while contents.purge(store.db, now - store.settings.dropped_s):
        pass
    for file in store.disk.nobodys():
        file.unlink(missing_ok=True)
        gone += 1
    return gone


class Sweeper:
    """A thread that sweeps when it is started, and every so often until it is ended."""

    def __init__(self, store: Store) -> None:
        """Start it."""
        self._store = store
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop it, and wait for the sweep that is under way."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                sweep(self._store)
            except (onewriter.Error, OSError) as error:  # S2
                _log.warning("could not sweep: %s", error)
            if self._ended.wait(self._store.settings.sweep_s):
                return
