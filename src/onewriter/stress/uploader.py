"""One uploading thread: takes the next file until there is none, and never tries a failed upload again.

U1  Within an upload the writes follow each other: start, each chunk, finish.
U2  The first write that fails ends the upload, which is then a failed one.
U3  A file that cannot be read any more is not a failure of the database.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque

import apsw

import onewriter

from . import store
from .sources import Source, SourceUnreadable
from .tally import Acknowledged, Tally, kind_of
from .ways import Session, Way


class _Stopped(Exception):
    """The run is being given up."""


class Uploader:
    """Uploads from a shared queue, one file at a time."""

    def __init__(
        self, waiting: deque[Source], *, chunk_bytes: int, stop: threading.Event, started_s: float
    ) -> None:
        """Take files from *waiting*, until it is empty or *stop* is set; *started_s* is the run's `perf_counter`."""
        self.tally = Tally()
        self._waiting = waiting
        self._chunk_bytes = chunk_bytes
        self._stop = stop
        self._started_s = started_s

    def run(self, way: Way) -> None:
        """Upload, on the calling thread, until nothing is left."""
        with way.session() as session:
            while not self._stop.is_set():
                try:
                    source = self._waiting.popleft()
                except IndexError:
                    return
                self.upload(session, source)

    def upload(self, session: Session, source: Source) -> None:
        """Upload one file and count what became of it."""
        try:
            self.tally.done.append(self._send(session, source))
        # Before OSError in any form: a WriteTimeout is a TimeoutError, and so an OSError.
        except (onewriter.Error, apsw.Error, store.UploadMissing) as error:
            self.tally.failed += 1  # U2
            self.tally.errors[kind_of(error)] += 1
        except SourceUnreadable as error:
            self.tally.unreadable.append(str(error))  # U3
        except _Stopped:
            pass

    def _send(self, session: Session, source: Source) -> Acknowledged:
        digest = hashlib.sha256()
        size = 0
        self._write(session, store.start(source.number, source.name))
        for content in source.chunks(self._chunk_bytes):
            digest.update(content)
            size += len(content)
            self._write(session, store.add_chunk(source.number, content))
        key = digest.hexdigest()
        self._write(session, store.finish(source.number, key))
        return Acknowledged(source.number, source.name, size, key, changed=key != source.digest)

    def _write(self, session: Session, work: store.Write) -> None:
        if self._stop.is_set():
            raise _Stopped
        began_s = time.perf_counter()
        try:
            session.write(work)
        finally:
            ended_s = time.perf_counter()
            self.tally.waits.record(ended_s - began_s)
        self.tally.wrote(ended_s - self._started_s)
