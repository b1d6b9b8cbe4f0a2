"""What was acknowledged, what was counted, and what broke; shared by all threads of a run."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from bench.registry.load.images import Image

_TOLD_MAX = 20


@dataclass
class Tally:
    """Counts of one moment.

    Attributes:
        images: whose manifest was acknowledged.
        blobs: that were uploaded and acknowledged, in this many `bytes`.
        there: that the registry had already; `mounted`: that it took from another repository.
        lost: connections that were refused or broke.
        resumed: uploads that went on where the server said, without sending `spared` bytes again.
        statuses: of all answers.
        push_s: how long each blob took, from its first request to its acknowledgement.
    """

    images: int = 0
    blobs: int = 0
    bytes: int = 0
    there: int = 0
    mounted: int = 0
    lost: int = 0
    resumed: int = 0
    spared: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])
    push_s: list[float] = field(default_factory=list[float])


class Ledger:
    """Kept by all threads at once."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        # Guarded by _lock, which is never held while anything is waited for.
        self._tally = Tally()
        self._pushed: list[Image] = []
        self._failures: Counter[str] = Counter()

    def count(self, **counts: int) -> None:
        """Add to the counts of these names."""
        with self._lock:
            for name, more in counts.items():
                setattr(self._tally, name, getattr(self._tally, name) + more)

    def answered(self, status: int) -> None:
        """Count an answer."""
        with self._lock:
            self._tally.statuses[status] += 1

    def acknowledged_blob(self, size: int, took_s: float) -> None:
        """Count a blob that was uploaded."""
        with self._lock:
            self._tally.blobs += 1
            self._tally.bytes += size
            self._tally.push_s.append(took_s)

    def acknowledged(self, image: Image) -> None:
        """Keep an image whose manifest was acknowledged: it must be there from now on."""
        with self._lock:
            self._tally.images += 1
            self._pushed.append(image)

    def broke(self, what: str) -> None:
        """Keep what broke a promise."""
        with self._lock:
            self._failures[what] += 1

    @property
    def pushed(self) -> list[Image]:
        """All images that were acknowledged."""
        with self._lock:
            return list(self._pushed)

    @property
    def tally(self) -> Tally:
        """The counts so far; to be read only."""
        return self._tally

    @property
    def failures(self) -> list[str]:
        """What broke, the most frequent first, with how often."""
        with self._lock:
            return [f"{what} ({count}x)" for what, count in self._failures.most_common(_TOLD_MAX)]

    @property
    def is_sound(self) -> bool:
        """Whether nothing broke."""
        with self._lock:
            return not self._failures
