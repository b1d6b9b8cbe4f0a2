"""What the settings of `Config` that SQLite has are worth: page cache, mapped memory, statement cache, statistics.

    python -m bench.settings [cache|statements|optimize ...] [--rounds 7] [--seconds 0.4] [--json FILE]

``cache``       one thread reads rows at random, of a file of some 60 MB, with several page caches, and mapped
``statements``  one thread asks for ten texts in turn, with and without a cache of compiled statements
``optimize``    one query that has the choice of two indexes, before and after a close with ``optimize``; and what
                that close takes

A rate is the median over the rounds, a ratio the median of the ratios within a round to the first way of the list. The
file is in the system's own cache: what is measured is the way from there.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import onewriter
from bench.rounds import Call, Figure, Report, Ways, always, arguments, compare
from onewriter import SQL, Config

ROWS = 200_000
MIB = 1024 * 1024


def _make(path: Path) -> None:
    with onewriter.open(path, config=Config(optimize=False)) as db:
        db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT, state INT, owner INT)")
        db.execute_many(
            "INSERT INTO item VALUES (?, ?, ?, ?)",
            [(n, f"{n:0250}", int(n % 1_000 == 0), n % 50_000) for n in range(ROWS)],
        )
        db.execute("CREATE INDEX by_owner ON item (owner)")
        db.execute("CREATE INDEX by_state ON item (state)")


def _point(db: onewriter.Database) -> Call:
    drawn = random.Random(1)
    return lambda: db.query_one("SELECT * FROM item WHERE id = ?", (drawn.randrange(ROWS),))


def _texts(db: onewriter.Database) -> Call:
    texts = [SQL(f"SELECT id, body, state FROM item WHERE id = ? AND state < {n}") for n in range(2, 12)]
    count = iter(range(sys.maxsize))
    return lambda: db.query_one(texts[next(count) % len(texts)], (5,))


def _choice(db: onewriter.Database) -> Call:
    # Without statistics SQLite takes both indexes for equally good; one leads to four rows, the other to 199,800.
    return lambda: db.query_one("SELECT count(*) FROM item WHERE state = 0 AND owner = 77")


def _compare(
    path: Path,
    configs: dict[str, Config],
    make: Callable[[onewriter.Database], Call],
    rounds: int,
    seconds: float,
) -> dict[str, Figure]:
    with ExitStack() as stack:
        calls = {
            way: make(stack.enter_context(onewriter.open(path, config=config)))
            for way, config in configs.items()
        }
        ways: Ways = {way: partial(_only, call) for way, call in calls.items()}
        return compare(always(ways), rounds, seconds)


def _only(call: Call) -> list[Call]:
    return [call]


def cache(path: Path, rounds: int, seconds: float) -> dict[str, Figure]:
    """Page caches, and mapped memory."""
    sizes = (8 * MIB, 64 * 1024, 2 * MIB, 32 * MIB, 128 * MIB)
    ways = {f"cache {size / MIB:g} MiB": Config(cache_bytes=size, optimize=False) for size in sizes}
    ways["mapped 256 MiB"] = Config(mmap_bytes=256 * MIB, optimize=False)
    return _compare(path, ways, _point, rounds, seconds)


def statements(path: Path, rounds: int, seconds: float) -> dict[str, Figure]:
    """Compiled statements."""
    ways = {
        f"{number} statements": Config(statement_cache_max=number, optimize=False)
        for number in (100, 0, 1_000)
    }
    return _compare(path, ways, _texts, rounds, seconds)


def optimize(path: Path, rounds: int, seconds: float) -> dict[str, Figure]:
    """The planner's statistics; the second figure is the close that makes them, in closes a second."""
    plain = Config(optimize=False)
    before = _compare(path, {"without statistics": plain}, _choice, rounds, seconds)["without statistics"]
    db = onewriter.open(path)
    started = time.perf_counter()
    db.close()
    took_s = time.perf_counter() - started
    after = _compare(path, {"with statistics": plain}, _choice, rounds, seconds)["with statistics"]
    return {
        "without statistics": before,
        "with statistics": after._replace(ratio=after.per_s / before.per_s),
        "the close that makes them": Figure(1 / took_s, 1.0, took_s),
    }


def main(given: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = arguments("Settings, by ratio.", rounds=7, seconds=0.4)
    parser.add_argument(
        "what", nargs="*", choices=("cache", "statements", "optimize", []), help="all by default"
    )
    chosen = parser.parse_args(given)
    report = Report(chosen)
    parts = {"cache": cache, "statements": statements, "optimize": optimize}
    with tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name:
        path = Path(name) / "settings.db"
        _make(path)
        for what in chosen.what or parts:
            report.show(what, parts[what](path, chosen.rounds, chosen.seconds))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
