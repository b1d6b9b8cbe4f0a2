"""Another user swaps names in a tight loop, in a process of his own, while a database is opened, copied and restored.

`test_swaps` has each moment by itself; here they are hit by chance, several in one call, and SQLite's own are among
them. ``--soak`` says for how long. What is asked is what becomes of others' files. The database itself is not safe from
who may rename what lies beside it (docs/reliability.md has what he can do), nor is the process: what it has mapped, the
``-shm`` or the turn file, ends it when it is cut, and SQLite cuts what has been given the name of a ``-wal``. So a file
that was taken away comes back here by its own name.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

import onewriter
from onewriter import Config, Error
from tests.support.children import NOBODY, child
from tests.support.outside import IS_ROOT, NAME, SNAPSHOT, Ground, ground

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs another user")

CONFIG: Final = Config(migrate_timeout_s=1.0, read_timeout_s=1.0, write_timeout_s=1.0)
# What he puts into the place of a name, by a rename, which nobody sees half-done.
_SWAPS: Final = """
import os, sys  # he may not be able to read more of Python
common, outside, drawn = sys.argv[1], sys.argv[2], int(sys.argv[3])
def draw(below):
    global drawn
    drawn = (drawn * 6364136223846793005 + 1442695040888963407) % 2**64
    return (drawn >> 33) % below
names, prey = sys.argv[4].split(), ["a.db", "copy.db", "notes.txt", "empty", "absent", "."]
print("swaps", flush=True)
while True:
    parts = [each for each in os.listdir(common) if each.endswith(".part")]
    place = os.path.join(common, (names + parts)[draw(len(names + parts))])
    other = os.path.join(common, "other")
    try:
        what = draw(20)
        if what < 12:
            os.symlink(os.path.join(outside, prey[draw(len(prey))]), other)
            os.rename(other, place)
        elif what < 16:
            os.rename(place, place + ".moved")
        elif what < 18:
            os.rename(place + ".moved", place)
        elif what < 19:
            os.link(os.path.join(outside, "a.db"), place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL, 0o666))
    except OSError:
        pass
"""


@pytest.fixture
def where() -> Iterator[Ground]:
    """The two folders; the logs are not shown."""
    logging.disable(logging.CRITICAL)
    try:
        with ground() as made:
            yield made
    finally:
        logging.disable(logging.NOTSET)


def _write(where: Ground) -> None:
    with onewriter.open(where.path, config=CONFIG) as db:
        db.execute("CREATE TABLE IF NOT EXISTS mine (secret TEXT)")
        db.execute("INSERT INTO mine VALUES ('secret')")


def _snapshot(where: Ground) -> None:
    with onewriter.open(where.path, config=CONFIG) as db:
        db.snapshot(where.copy, overwrite=True)


def _restore(where: Ground) -> None:
    onewriter.restore(where.copy, where.path, CONFIG)


WORKS: Final[dict[str, Callable[[Ground], None]]] = {
    "write": _write,
    "snapshot": _snapshot,
    "restore": _restore,
}


def test_names_that_are_swapped_all_the_time_harm_nobody(
    where: Ground, seed: int, pytestconfig: pytest.Config
) -> None:
    """Every call ends, with its work done or an error of the library's; some do their work."""
    told: Counter[str] = Counter()
    names = [f"{each}{side}" for each in (NAME, SNAPSHOT) for side in ("", "", "", "-wal", "-journal")]
    names += [f"{NAME}-shm", f"{NAME}-turn"]
    soak_s: float | None = pytestconfig.getoption("--soak")
    ends_at = time.monotonic() + (soak_s or 4.0) / 2
    with child(_SWAPS, where.common, where.outside, seed, " ".join(names), user=NOBODY) as other:
        other.wait_for("swaps")
        while time.monotonic() < ends_at:
            for name, work in WORKS.items():
                try:
                    work(where)
                except Error as error:
                    told[f"{name}: {type(error).__name__}"] += 1
                else:
                    told[f"{name}: done"] += 1
            assert where.touched() == [], told
            _tidy(where.common)
        assert other.process.poll() is None
    assert any(each.endswith("done") for each in told), told
    assert any(not each.endswith("done") for each in told), told


def _tidy(common: Path) -> None:
    """Take away what lies there, so that the next calls find what they can use."""
    for each in common.iterdir():
        each.unlink(missing_ok=True)
