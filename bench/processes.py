"""Small writes from several processes to one file: rate, worst wait, and who gets to write.

    python -m bench.processes [--processes 4] [--threads 4] [--writes 500] [--durability full] [--turns 1,5,20]
                              [--rounds 5] [--json FILE]

Each process has *threads* threads, each of which makes *writes* writes of one row of 200 bytes; all processes begin
together. Beside the library stand the library without the turn among processes, and APSW with a connection a thread,
BEGIN IMMEDIATE and SQLite's busy time-out. *even* is when the first process was done, as a part of the whole time: 1.00
where all had their share. ``--turns`` adds the library with other lengths of a turn, in milliseconds.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple, cast

import apsw

import onewriter
from bench.loads.writes import CREATE, INSERT
from bench.rounds import in_turn, machine, ratio, write
from onewriter import contenders
from onewriter.config import Durability

LIMIT_S = 300.0
ROW = "x" * 200
RAW, ALONE = "APSW, busy time-out", "onewriter, SQLite's order"


class Load(NamedTuple):
    """What one process does."""

    way: str
    path: str
    threads: int
    writes: int
    durability: Durability
    turn_s: float | None


class Done(NamedTuple):
    """What one process did: when it was ready with all, by the system's monotonic clock, and its waits."""

    at: float
    worst_s: float
    p99_s: float


class Round(NamedTuple):
    """One round of one way."""

    per_s: float
    worst_s: float
    p99_s: float
    even: float


def _raw(load: Load) -> Callable[[], object]:
    """Return a write of the calling thread."""
    connection = apsw.Connection(load.path)
    connection.set_busy_timeout(int(LIMIT_S * 1000))
    connection.pragma("synchronous", load.durability)
    cursor = connection.cursor()

    def write() -> None:
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute(INSERT, (ROW,))
        cursor.execute("COMMIT")

    return write


def _join_nothing(path: Path, mode: int, member: contenders.Member) -> None:
    """Have no turn."""


def _work(load: Load, pipe: Connection) -> None:
    """Run in a process of its own: say that it is ready, wait for the start, write, tell."""
    if load.turn_s is not None:
        contenders.__dict__["TURN_S"] = load.turn_s  # which is final
    if load.way == ALONE:
        contenders.join = _join_nothing
    db = None if load.way == RAW else onewriter.open(load.path, durability=load.durability)
    begin = threading.Barrier(load.threads + 1)
    waits: list[list[float]] = [[] for _ in range(load.threads)]

    def write(number: int) -> None:
        call = _raw(load) if db is None else partial(db.execute, INSERT, (ROW,))
        mine = waits[number]
        begin.wait()
        before = time.monotonic()
        for _ in range(load.writes):
            call()
            after = time.monotonic()
            mine.append(after - before)
            before = after

    workers = [threading.Thread(target=write, args=(number,)) for number in range(load.threads)]
    for worker in workers:
        worker.start()
    pipe.send(None)
    pipe.recv()
    begin.wait()
    for worker in workers:
        worker.join()
    at = time.monotonic()
    every = sorted(wait for mine in waits for wait in mine)
    pipe.send(Done(at, every[-1], every[len(every) * 99 // 100]))
    pipe.recv()  # so that no process closes, and checkpoints, while another is measured
    if db is not None:
        db.close()


def _run(load: Load, processes: int) -> Round:
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    children: list[SpawnProcess] = []
    for _ in range(processes):
        mine, theirs = context.Pipe()
        child = context.Process(target=_work, args=(load, theirs), daemon=True)
        child.start()
        pipes.append(mine)
        children.append(child)
    for pipe in pipes:
        pipe.recv()
    began = time.monotonic()
    for pipe in pipes:
        pipe.send(None)
    done = [cast("Done", pipe.recv()) for pipe in pipes]
    for pipe in pipes:
        pipe.send(None)
    for child in children:
        child.join(LIMIT_S)
    took = max(each.at for each in done) - began
    return Round(
        per_s=processes * load.threads * load.writes / took,
        worst_s=max(each.worst_s for each in done),
        p99_s=max(each.p99_s for each in done),
        even=(min(each.at for each in done) - began) / took,
    )


def _measure(load: Load, processes: int) -> Round:
    with tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name:
        path = Path(name) / "a.db"
        with onewriter.open(path) as db:
            db.execute(CREATE)
        return _run(load._replace(path=str(path)), processes)


def main(given: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description="Small writes from several processes.")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=4, help="of each process (default: %(default)s)")
    parser.add_argument("--writes", type=int, default=500, help="of each thread (default: %(default)s)")
    parser.add_argument("--durability", default="full", choices=("full", "normal"))
    parser.add_argument("--turns", default="", help="lengths of a turn to try, in ms, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    chosen = parser.parse_args(given)
    ways: dict[str, tuple[str, float | None]] = {way: (way, None) for way in (RAW, ALONE, "onewriter")}
    for turn in filter(None, chosen.turns.split(",")):
        ways[f"onewriter, a turn of {turn} ms"] = ("onewriter", float(turn) / 1000)
    print(
        f"{machine()}, durability {chosen.durability}, {chosen.processes} processes of {chosen.threads} threads, "
        f"{chosen.writes} writes each, {chosen.rounds} rounds"
    )
    seen: dict[str, list[Round]] = {way: [] for way in ways}
    for number in range(chosen.rounds):
        for name in in_turn(ways, number):
            way, turn_s = ways[name]
            load = Load(way, "", chosen.threads, chosen.writes, chosen.durability, turn_s)
            seen[name].append(_measure(load, chosen.processes))
    results: list[dict[str, object]] = []
    for name, rounds in seen.items():
        beside = ratio(rounds, seen[RAW])
        middle = Round(*(statistics.median(values) for values in zip(*rounds, strict=True)))
        worst = max(each.worst_s for each in rounds)
        print(
            f"{name:32s} {middle.per_s:10,.0f} writes/s  x{beside:6.2f}  even {middle.even:4.2f}  "
            f"p99 {middle.p99_s * 1000:7.1f} ms  worst {middle.worst_s * 1000:7.1f} ms "
            f"({worst * 1000:.1f} in all rounds)"
        )
        results.append({"way": name, "ratio": beside, "worst_of_all_s": worst, **middle._asdict()})
    return write(results, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
