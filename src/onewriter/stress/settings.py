"""How files are uploaded, alike for every way."""

from __future__ import annotations

from dataclasses import dataclass

from .ways import Durability


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was asked for and has been checked.

    Attributes:
        processes: operating-system processes that upload at the same time.
        uploaders: threads of each of them.
        chunk_bytes: what one write carries.
        durability: what a commit survives.
        seed: of the order of the files.
    """

    processes: int = 1
    uploaders: int = 16
    chunk_bytes: int = 65_536
    durability: Durability = "full"
    seed: int = 0

    @property
    def who(self) -> str:
        """Who uploads, in words: "16 threads", "4 processes of 16 threads each"."""
        threads = f"{self.uploaders} thread{'' if self.uploaders == 1 else 's'}"
        return threads if self.processes == 1 else f"{self.processes} processes of {threads} each"
