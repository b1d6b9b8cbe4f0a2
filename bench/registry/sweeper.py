"""What is left over is taken away: uploads that nobody goes on with, chunks and files that belong to nothing.

S1  It may run in any number of processes at once, beside all that they do: what is decided is decided in a write, and
    what has no row is nobody's.
S2  A failure is logged, and tried again the next time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

import onewriter
from bench.registry import contents
from bench.registry.store import Store

_MANY: Final = 100
_log = logging.getLogger("registry.sweeper")


def sweep(store: Store, ended: Callable[[], bool] = lambda: False) -> None:
    """Drop abandoned uploads, and purge chunks that were dropped; stops in the middle once it is *ended*."""
    now = time.time()
    before = now - store.settings.abandoned_s
    while not ended() and (uploads := contents.abandoned(store.db, before, _MANY)):
        for upload in uploads:
            if contents.drop_abandoned(store.db, upload, before):
                store.place_of(upload).discard(upload, None)
    while not ended() and contents.purge(store.db, now - store.settings.dropped_s):
        pass


def sweep_files(store: Store) -> int:
    """Delete the files that belong to nobody; return how many. They come of kills, so a start is the time for it."""
    gone = 0
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
        is_first = True
        while True:
            try:
                sweep(self._store, self._ended.is_set)
                if is_first:
                    sweep_files(self._store)
                    is_first = False
            except (onewriter.Error, OSError) as error:  # S2
                _log.warning("could not sweep: %s", error)
            if self._ended.wait(self._store.settings.sweep_s):
                return
