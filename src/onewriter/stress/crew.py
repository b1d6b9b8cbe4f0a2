"""The uploading threads of one process, from the first to the last of its files."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeAlias

from .settings import Settings
from .sources import Source
from .tally import Tally
from .uploader import Uploader
from .ways import Way

LOOK_S = 0.1

OnLook: TypeAlias = Callable[[Sequence[Tally]], None]


def upload(
    way: Way,
    files: Sequence[Source],
    settings: Settings,
    *,
    started_s: float,
    stop: threading.Event,
    on_look: OnLook,
) -> Tally:
    """Upload until every file is dealt with, or *stop* is set; return what became of them.

    *started_s* is the `perf_counter` of the run's beginning. Calls *on_look* on the calling thread every `LOOK_S` with
    the tallies so far. An uploader that breaks, or an interrupt, stops them all and is raised when they have ended.
    """
    waiting = deque(files)
    uploaders = tuple(
        Uploader(waiting, chunk_bytes=settings.chunk_bytes, stop=stop, started_s=started_s)
        for _ in range(settings.uploaders)
    )
    tallies = tuple(uploader.tally for uploader in uploaders)
    with ThreadPoolExecutor(settings.uploaders, "uploader") as pool:
        try:
            running = {pool.submit(uploader.run, way) for uploader in uploaders}
            while running:
                ended, running = wait(running, LOOK_S, FIRST_EXCEPTION)
                for future in ended:
                    future.result()
                on_look(tallies)
        finally:
            stop.set()
    return Tally.of(tallies)
