"""What checkpoints cost a commit, and how long the WAL gets.

    python -m bench.checkpoints [--threads 1,16] [--bytes 200,65536,1048576] [--readers 0,2] [--limit-mib 16]
                                [--durability full] [--rounds 5] [--seconds 2] [--json FILE]
    python -m bench.checkpoints --soak SECONDS [--readers 2] [--limit-mib 64]

Each write is one row of so many bytes, in a commit that threads may share. The ways, each on a new file:

    APSW, in the commit   one connection behind a lock, with SQLite's own checkpoint at 1,000 pages inside the COMMIT
    auto                  the library as it is
    external              the library without any checkpoint: the WAL grows; what `auto` could be at best

In each round every way has its turn, another one first; figures are medians over the rounds, but *worst in all*. *WAL*
is the longest that it was. Readers count rows by their key again and again, each on a short snapshot.

``--soak`` writes at full speed for so long with short readers, then again with one that keeps its snapshot, and then
until the WAL is short again. A WAL of gigabytes has gigabytes to be copied, which is the disk's time and SQLite's: so a
WAL of as many rows is made by one APSW connection alone, and emptied by SQLite's own ``TRUNCATE``, beside nobody. The
soak fails where the library took more than ten seconds and more than twice that long, or the first part saw twice
the limit.
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import apsw

import onewriter
from bench.rounds import Call, arguments, in_turn, machine, numbers, ratio, repeat, write
from onewriter import Config
from onewriter.config import Durability

MIB = 1024 * 1024
CREATE = "CREATE TABLE body (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)"
INSERT = "INSERT INTO body (bytes) VALUES (zeroblob(?))"
READ = "SELECT count(*) FROM body WHERE id > (SELECT max(id) FROM body) - 50"
BACK_S = 10.0
ROW_BYTES = 16 * 1024  # of the soak
RAW, AUTO, EXTERNAL = "APSW, in the commit", "auto", "external"


class Load(NamedTuple):
    """What is written and read at the same time."""

    threads: int
    bytes: int
    readers: int


class Round(NamedTuple):
    """One round of one way."""

    per_s: float
    p50_s: float
    p99_s: float
    worst_s: float
    wal_bytes: int


class Opened(NamedTuple):
    """One way, open: what a writer's thread calls, and what makes the call of a reader's thread."""

    write: Call
    reader: Callable[[], Call]
    wal: Path


@contextmanager
def _raw(folder: Path, bytes_: int, durability: Durability) -> Generator[Opened]:
    path = folder / "raw.db"
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", durability)
    connection.wal_autocheckpoint(1_000)
    connection.execute(CREATE)
    cursor, lock = connection.cursor(), threading.Lock()

    def write() -> None:
        with lock:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute(INSERT, (bytes_,))
            cursor.execute("COMMIT")

    def reader() -> Call:
        reading = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        return lambda: reading.execute(READ).get

    yield Opened(write, reader, path.with_name("raw.db-wal"))
    connection.close()


@contextmanager
def _library(folder: Path, bytes_: int, durability: Durability, config: Config) -> Generator[Opened]:
    path = folder / f"{config.checkpoint}.db"
    with onewriter.open(path, config=config, durability=durability) as db:
        db.execute(CREATE)
        yield Opened(
            partial(db.execute, INSERT, (bytes_,)),
            lambda: lambda: db.query_value(READ),
            path.with_name(path.name + "-wal"),
        )


@contextmanager
def _open(way: str, bytes_: int, durability: Durability, limit: int) -> Generator[Opened]:
    with tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name:
        if way == RAW:
            with _raw(Path(name), bytes_, durability) as opened:
                yield opened
        else:
            config = Config(wal_bytes_max=limit, checkpoint="auto" if way == AUTO else "external")
            with _library(Path(name), bytes_, durability, config) as opened:
                yield opened


def _again(make: Callable[[], Call], seconds: float, begin: threading.Barrier, waits: list[float]) -> None:
    call = make()
    begin.wait()
    repeat(call, seconds, waits)


def run(opened: Opened, load: Load, seconds: float) -> Round:
    """Write and read for *seconds*."""
    begin = threading.Barrier(load.threads + load.readers + 1)
    writes: list[list[float]] = [[] for _ in range(load.threads)]
    threads = [
        threading.Thread(target=_again, args=(lambda: opened.write, seconds, begin, waits))
        for waits in writes
    ]
    threads += [
        threading.Thread(target=_again, args=(opened.reader, seconds, begin, [])) for _ in range(load.readers)
    ]
    for thread in threads:
        thread.start()
    begin.wait()
    began, peak = time.perf_counter(), 0
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, opened.wal.stat().st_size)
        time.sleep(0.005)
    took_s = time.perf_counter() - began
    every = sorted(wait for waits in writes for wait in waits)
    return Round(len(every) / took_s, every[len(every) // 2], every[len(every) * 99 // 100], every[-1], peak)


def compare(load: Load, chosen: argparse.Namespace) -> dict[str, list[Round]]:
    """Return the rounds of each way."""
    seen: dict[str, list[Round]] = {way: [] for way in (RAW, AUTO, EXTERNAL)}
    for number in range(chosen.rounds):
        for way in in_turn(seen, number):
            with _open(way, load.bytes, chosen.durability, chosen.limit_mib * MIB) as opened:
                seen[way].append(run(opened, load, chosen.seconds))
    return seen


def _show(load: Load, seen: dict[str, list[Round]]) -> list[dict[str, object]]:
    results: list[dict[str, object]] = []
    print(f"{load.threads} threads, {load.bytes:,} bytes, {load.readers} readers")
    for way, rounds in seen.items():
        beside = ratio(rounds, seen[RAW])
        per_s, p50_s, p99_s, worst_s, wal = (
            statistics.median(values) for values in zip(*rounds, strict=True)
        )
        worst = max(each.worst_s for each in rounds)
        print(
            f"  {way:20s} {per_s:10,.0f} writes/s  x{beside:5.2f}  p50 {p50_s * 1000:8.2f} ms  "
            f"p99 {p99_s * 1000:8.2f} ms  worst {worst_s * 1000:8.1f} ms ({worst * 1000:.1f} in all)  "
            f"WAL {wal / MIB:7.1f} MiB"
        )
        figures = {"per_s": per_s, "p50_s": p50_s, "p99_s": p99_s, "worst_s": worst_s, "wal_bytes": wal}
        results.append({"way": way, "ratio": beside, "worst_of_all_s": worst, **load._asdict(), **figures})
    return results


def soak(seconds: float, readers: int, limit: int, durability: Durability) -> bool:
    """Write at full speed with short readers, then with one that stays; return whether the WAL was kept as promised."""
    with (
        tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name,
        onewriter.open(
            Path(name) / "soak.db",
            config=Config(wal_bytes_max=limit, readers_max=readers + 1),
            durability=durability,
        ) as db,
    ):
        db.execute(CREATE)
        wal = db.path.with_name(db.path.name + "-wal")
        opened = Opened(partial(db.execute, INSERT, (ROW_BYTES,)), lambda: lambda: db.query_value(READ), wal)
        load = Load(8, ROW_BYTES, readers)
        short = run(opened, load, seconds)
        _tell("short readers", short, limit)
        with db.read_transaction() as tx:
            tx.query_value("SELECT count(*) FROM body")
            stayed = run(opened, load, seconds)
            _tell("one that stays", stayed, limit)
        began = time.perf_counter()
        after, worst_s = began, 0.0
        while wal.stat().st_size > limit and after - began < 6 * BACK_S:
            before = after
            opened.write()
            after = time.perf_counter()
            worst_s = max(worst_s, after - before)
        took_s = after - began
        print(f"back within the limit {took_s:.2f} s after it left; longest commit {worst_s * 1000:.1f} ms")
    alone_s = _emptied_alone(stayed.wal_bytes)
    print(f"SQLite alone empties a WAL of that size in {alone_s:.2f} s")
    return short.wal_bytes < 2 * limit and took_s < max(BACK_S, 2 * alone_s)


def _emptied_alone(wal_bytes: int) -> float:
    """Return how long SQLite takes to move a WAL of *wal_bytes* of such rows and to cut it, with nobody beside it."""
    with tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name:
        path = Path(name) / "alone.db"
        connection = apsw.Connection(str(path))
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.wal_autocheckpoint(0)
        connection.execute(CREATE)
        wal = path.with_name("alone.db-wal")
        while wal.stat().st_size < wal_bytes:
            with connection:
                connection.executemany(INSERT, ((ROW_BYTES,) for _ in range(64)))
        began = time.perf_counter()
        connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_TRUNCATE)
        took_s = time.perf_counter() - began
        connection.close()
        return took_s


def _tell(what: str, seen: Round, limit: int) -> None:
    print(
        f"{what}: {seen.per_s:,.0f} writes/s, WAL {seen.wal_bytes / MIB:.1f} MiB "
        f"({seen.wal_bytes / limit:.2f} of the limit), commits p50 {seen.p50_s * 1000:.2f} ms, "
        f"p99 {seen.p99_s * 1000:.2f} ms, worst {seen.worst_s * 1000:.1f} ms"
    )


def main(given: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = arguments("What checkpoints cost.", rounds=5, seconds=2.0)
    parser.add_argument("--threads", type=numbers, default=[1, 16], help="numbers of threads that write")
    parser.add_argument("--bytes", type=numbers, default=[200, 65_536, MIB], help="sizes of a row")
    parser.add_argument("--readers", type=numbers, default=[0, 2], help="numbers of threads that read")
    parser.add_argument("--limit-mib", type=int, help="Config.wal_bytes_max (default: 16; with --soak 64)")
    parser.add_argument("--durability", default="full", choices=("full", "normal"))
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="of each part; no comparison then")
    chosen = parser.parse_args(given)
    if chosen.limit_mib is None:
        chosen.limit_mib = 16 if chosen.soak is None else 64
    print(f"{machine()}, durability {chosen.durability}, a limit of {chosen.limit_mib} MiB")
    if chosen.soak is not None:
        kept = soak(chosen.soak, max(chosen.readers), chosen.limit_mib * MIB, chosen.durability)
        return 0 if kept else 1
    results: list[dict[str, object]] = []
    for threads in chosen.threads:
        for bytes_ in chosen.bytes:
            for readers in chosen.readers:
                load = Load(threads, bytes_, readers)
                results += _show(load, compare(load, chosen))
    return write(results, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
