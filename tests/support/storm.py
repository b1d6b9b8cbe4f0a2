"""A program whose main thread writes under a storm of real signals, beside four other threads that write.

    python -m tests.support.storm FOLDER SEED

It prints "sound, struck N times" if every acknowledged write is in the file once, and nothing of the others' besides.
A process of its own: what an interrupt does to the collector's callbacks, Python prints.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from onewriter import Config, Database
from tests.support.databases import open_items
from tests.support.steps import calls
from tests.support.strikes import Strike

INSERT = "INSERT INTO item (name) VALUES (?)"
CALLS = 1_500


def _strike(_signal: int, frame: FrameType | None) -> None:
    """Raise, if the main thread is inside `_write`."""
    while frame is not None:
        if frame.f_code is _write.__code__:
            raise Strike
        frame = frame.f_back


def _write(db: Database, name: str, by: int) -> None:
    if by % 4 == 0:
        db.execute(INSERT, (name,))
    elif by % 4 == 1:
        db.write(lambda tx: tx.execute(INSERT, (name,)))
    elif by % 4 == 2:
        db.submit(lambda tx: tx.execute(INSERT, (name,))).result()
    else:
        with db.transaction() as tx:
            tx.execute(INSERT, (name,))


def _under_strikes(db: Database, number: int) -> bool:
    """Write once under the storm; return whether it was acknowledged."""
    try:
        _write(db, f"main-{number}", number)
    except Strike:
        return False
    return True


def _storm(db: Database, seed: int) -> tuple[list[str], int]:
    """Return what was acknowledged to anybody, and how many calls of the main thread were struck."""
    drawn = random.Random(seed)
    acknowledged: list[str] = []
    ended = threading.Event()

    def other(number: int) -> None:
        count = 0
        while not ended.is_set():
            _write(db, name := f"{number}-{count}", count)
            acknowledged.append(name)
            count += 1

    others = calls(other, 4)
    signal.signal(signal.SIGALRM, _strike)
    struck = 0
    for number in range(CALLS):
        signal.setitimer(signal.ITIMER_REAL, drawn.uniform(1e-5, 4e-3), drawn.uniform(5e-5, 5e-4))
        if _under_strikes(db, number):
            acknowledged.append(f"main-{number}")
        else:
            struck += 1
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    ended.set()
    for call in others:
        call.result()
    return acknowledged, struck


def main(folder: Path, seed: int) -> str:
    """Judge a storm from *seed* in *folder*."""
    with open_items(folder, Config()) as db:
        acknowledged, struck = _storm(db, seed)
        db.execute(INSERT, ("the main thread may write",))
        there = db.query("SELECT name FROM item", into=str)
        assert len(there) == len(set(there)), "a write is there twice"
        assert not (lost := set(acknowledged) - set(there)), f"lost: {lost}"
        surplus = {name for name in set(there) - set(acknowledged) if not name.startswith("main-")}
        assert surplus == {"the main thread may write"}, surplus
        assert db.check() == []
        assert db.stats().pending == 0
    return f"sound, struck {struck} times of {CALLS}; {len(there)} rows"


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), int(sys.argv[2])))  # noqa: T201 - a program
