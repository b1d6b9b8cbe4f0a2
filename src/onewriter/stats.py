"""A database at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import files, presence
from .counts import NOTHING_WRITTEN
from .readers import Readers
from .samples import Spread, Tally
from .writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A database at one moment, counted since it was opened; durations in seconds.

    Attributes:
        pending: requests that wait for their turn.
        writes: requests that were told their outcome.
        commits: transactions committed; fewer than *writes* where requests shared them.
        reruns: requests that had to run again because the transaction they shared was lost.
        write_wait_s: from the call to the start of its work.
        commit_s: how long the commits took, their sync included.
        readers_idle: readers that are open and free.
        readers_lent: readers in use.
        read_wait_s: from the call to having a reader.
        busy_retries: how often SQLite said busy to us, on whichever connection, and nobody else heard.
        wal_bytes: size of the ``-wal`` file; 0 where the database was moved away, and the system does not tell where to
            (Linux does).
        oldest_reader_s: how long the read that has kept its snapshot longest has done so. It keeps the WAL from
            starting over.
        oldest_reader: the name of its thread and its SQL, in a block that of the statement it ran last; None where
            nobody reads.
    """

    pending: int
    writes: int
    commits: int
    reruns: int
    write_wait_s: Spread
    commit_s: Spread
    readers_idle: int
    readers_lent: int
    read_wait_s: Spread
    busy_retries: int
    wal_bytes: int
    oldest_reader_s: float
    oldest_reader: str | None


def gather(writer: Writer | None, readers: Readers, heard: Tally, path: Path, key: tuple[int, int]) -> Stats:
    """Put together what the parts tell of the file *key*, opened at *path*; a read-only database has no *writer*."""
    written = writer.batch.counts.now() if writer else NOTHING_WRITTEN
    reading = readers.stats()
    return Stats(
        pending=len(writer.line) if writer else 0,
        writes=written.writes,
        commits=written.commits,
        reruns=written.reruns,
        write_wait_s=written.write_wait_s,
        commit_s=written.commit_s,
        readers_idle=reading.readers_idle,
        readers_lent=reading.readers_lent,
        read_wait_s=reading.read_wait_s,
        busy_retries=heard.count,
        wal_bytes=_wal_bytes(path, key),
        oldest_reader_s=reading.oldest_reader_s,
        oldest_reader=reading.oldest_reader,
    )


def _wal_bytes(path: Path, key: tuple[int, int]) -> int:
    place = path if presence.key_of(path) == key else files.place_of(key)
    return 0 if place is None else files.size(files.beside(place, "-wal"))
