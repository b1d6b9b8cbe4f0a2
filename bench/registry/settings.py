"""Every limit of the registry, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

PlaceName: TypeAlias = Literal["disk", "database"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one server runs.

    Attributes:
        root: the folder with all that it stores; several servers may serve the same one.
        place: where new blobs go; those that are there already are read from where they are.
        processes: workers.
        threads: of each worker: requests that are served at a time.
        piece_bytes: an upload is stored, synced and acknowledged to itself in pieces of this size, which is also what a
            request keeps in memory.
        blob_bytes_max: of one blob.
        manifest_bytes_max: of one manifest.
        drain_bytes_max: how much of a refused body is taken in, and forgotten, so that its client hears why.
        page_max: entries of one page of a list.
        stall_s: a client that neither sends nor takes anything for so long is given up.
        grace_s: how long a request that is at work may take once the server is told to end.
        keepalive_s: how long a connection may be idle.
        abandoned_s: an upload that has not grown for so long is dropped.
        dropped_s: how long chunks in the database outlive their blob, for who is pulling it.
        sweep_s: how often a worker looks for what was abandoned, after its start.
        readers_max: read-only connections of a worker.
    """

    root: Path
    place: PlaceName = "disk"
    processes: int = 1
    threads: int = 64
    piece_bytes: int = 1024 * 1024
    blob_bytes_max: int = 64 * 1024**3
    manifest_bytes_max: int = 4 * 1024 * 1024
    drain_bytes_max: int = 64 * 1024 * 1024
    page_max: int = 1_000
    stall_s: float = 60.0
    grace_s: float = 30.0
    keepalive_s: int = 60
    abandoned_s: float = 24 * 3600.0
    dropped_s: float = 60.0
    sweep_s: float = 60.0
    readers_max: int = 8
