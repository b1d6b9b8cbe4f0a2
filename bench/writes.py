"""Small writes: onewriter beside raw APSW on one thread, and beside one connection behind a lock on many.

    python -m bench.writes [--threads 1,16,64] [--durability full] [--rounds 11] [--seconds 0.7] [--json FILE]

In each short round every way has its turn on a new file, another way first each time, so that what the machine does
meanwhile strikes all alike. Writes a second are the median over the rounds, a ratio is the median of the ratios within
a round, the worst wait is the median of the rounds' worst. One write inserts one row of 200 bytes.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

import onewriter
from bench.rounds import Call, Report, Ways, arguments, compare

if TYPE_CHECKING:
    from collections.abc import Generator

ROW = "x" * 200
CREATE = "CREATE TABLE small (id INTEGER PRIMARY KEY, body TEXT NOT NULL)"
INSERT = "INSERT INTO small (body) VALUES (?)"


@contextmanager
def _raw(folder: Path, durability: str, *, locked: bool) -> Generator[Call]:
    """APSW by hand: one connection, a transaction for each write, behind a lock where threads share it."""
    connection = apsw.Connection(str(folder / "raw.db"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", durability)
    connection.execute(CREATE)
    cursor = connection.cursor()
    lock = threading.Lock()

    def write() -> None:
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute(INSERT, (ROW,))
        cursor.execute("COMMIT")

    def write_locked() -> None:
        with lock:
            write()

    yield write_locked if locked else write
    connection.close()


@contextmanager
def _onewriter(
    folder: Path, durability: onewriter.config.Durability, *, by_function: bool
) -> Generator[Call]:
    with onewriter.open(folder / f"one-{by_function}.db", durability=durability) as db:
        db.execute(CREATE)

        def insert(tx: onewriter.Transaction) -> None:
            tx.execute(INSERT, (ROW,))

        yield (lambda: db.write(insert)) if by_function else (lambda: db.execute(INSERT, (ROW,)))


@contextmanager
def _ways(threads: int, durability: onewriter.config.Durability) -> Generator[Ways]:
    """Each way on a new file."""
    with tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        other = "one locked connection" if threads > 1 else "raw APSW"
        writes = {
            other: stack.enter_context(_raw(folder, durability, locked=threads > 1)),
            "onewriter execute": stack.enter_context(_onewriter(folder, durability, by_function=False)),
            "onewriter write": stack.enter_context(_onewriter(folder, durability, by_function=True)),
        }
        yield {way: partial(_of_each, threads, write) for way, write in writes.items()}


def _of_each(threads: int, write: Call) -> list[Call]:
    return [write] * threads


def main(given: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = arguments("Small writes, by ratio.", rounds=11, seconds=0.7)
    parser.add_argument("--threads", default="1,16,64", help="numbers of threads (default: %(default)s)")
    parser.add_argument("--durability", default="full", choices=("full", "normal"))
    chosen = parser.parse_args(given)
    report = Report(chosen, f", durability {chosen.durability}")
    for threads in (int(each) for each in chosen.threads.split(",")):
        begin = partial(_ways, threads, chosen.durability)
        report.show(f"{threads} threads", compare(begin, chosen.rounds, chosen.seconds))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
