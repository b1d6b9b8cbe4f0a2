"""What is lent at one moment: who has which reader, since when, and for what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from . import clock
from .errors import ReadTimeout
from .loans import Loan, described
from .reader import Reader
from .samples import Spread

Lent: TypeAlias = tuple[Reader, Loan]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderStats:
    """The readers at one moment; durations in seconds."""

    readers_idle: int
    readers_lent: int
    read_wait_s: Spread
    oldest_reader_s: float
    oldest_reader: str | None


def since(lent: Lent) -> float:
    """Return the moment from which on the loan's thread has had the reader."""
    return max(lent[1][1], lent[0].lent_at)


def oldest(lent: Iterable[Lent]) -> tuple[str, float] | None:
    """Return who has kept a snapshot longest, with the SQL, and since when; what was ended for its age keeps none."""
    keeping = [each for each in lent if each[1][3] is None or not each[1][3].over]
    found = min(keeping, key=since, default=None)
    return None if found is None else (described(found[1]), since(found))


def all_lent(path: Path, lent: Iterable[Lent], loan: Loan) -> ReadTimeout:
    """Return the error for *loan*, which has waited in vain: all readers of the file at *path* are *lent*."""
    now = clock.now()
    held = [f"{described(each[1])}, for {now - since(each):.3g} s" for each in lent]
    who = f"all {len(held)} are held: {'; '.join(held)}" if held else "no thread was there to read in time"
    msg = f"{path}: no reader came free in {now - loan[1]:.3g} s; {who}"
    return ReadTimeout(msg, held_by="line")


def stats_of(readers: Sequence[Reader], lent: Sequence[Lent], waits: Spread) -> ReaderStats:
    """Return the state of *readers*, of which those that are *lent* are in use."""
    opened = [(each, each.connection) for each in readers if each.connection is not None]
    held = {reader for reader, _ in lent}
    longest = oldest(lent)
    return ReaderStats(
        readers_idle=sum(reader not in held for reader, _ in opened),
        readers_lent=len(lent),
        read_wait_s=waits,
        oldest_reader_s=clock.now() - longest[1] if longest else 0.0,
        oldest_reader=longest[0] if longest else None,
    )
