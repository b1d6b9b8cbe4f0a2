"""Small writes: onewriter beside raw APSW on one thread, and beside one connection behind a lock on many.

    python -m bench.writes [--threads 1,16,64] [--durability full] [--rounds 11] [--seconds 0.7] [--json FILE]

In each short round every way has its turn on a new file, another way first each time, so that what the machine does
meanwhile strikes all alike. Writes a second are the median over the rounds, a ratio is the median of the ratios within
a round, the worst wait is the median of the rounds' worst. One write inserts one row of 200 bytes.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

import onewriter
from bench.rounds import Call, Figure, Round, figure, machine, run_round

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


def measure(
    threads: int, durability: onewriter.config.Durability, rounds: int, seconds: float
) -> dict[str, Figure]:
    """Return what each way did over *rounds* rounds; in each, every way has its turn, another one first."""
    other = "one locked connection" if threads > 1 else "raw APSW"
    taken: dict[str, list[Round]] = {other: [], "onewriter execute": [], "onewriter write": []}
    order = list(taken)
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name, ExitStack() as stack:
            folder = Path(name)
            ways = {
                other: stack.enter_context(_raw(folder, durability, locked=threads > 1)),
                "onewriter execute": stack.enter_context(_onewriter(folder, durability, by_function=False)),
                "onewriter write": stack.enter_context(_onewriter(folder, durability, by_function=True)),
            }
            for way in order:
                taken[way].append(run_round([ways[way]] * threads, seconds))
            order.append(order.pop(0))
    return {way: figure(seen, taken[other]) for way, seen in taken.items()}


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.writes", description="Small writes, by ratio.")
    parser.add_argument("--threads", default="1,16,64", help="numbers of threads (default: %(default)s)")
    parser.add_argument("--durability", default="full", choices=("full", "normal"))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.7, help="of each way in each round")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    chosen = parser.parse_args(arguments)
    print(f"{machine()}, durability {chosen.durability}, {chosen.rounds} rounds of {chosen.seconds} s")
    results: list[dict[str, object]] = []
    for threads in (int(each) for each in chosen.threads.split(",")):
        figures = measure(threads, chosen.durability, chosen.rounds, chosen.seconds)
        for way, seen in figures.items():
            print(
                f"{threads:5d} threads  {way:22s} {seen.per_s:9,.0f} writes/s  x{seen.ratio:5.2f}  "
                f"worst {seen.worst_s * 1000:8.1f} ms"
            )
            results.append({"threads": threads, "way": way, **seen._asdict()})
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
