"""How few connections are handed to many threads: designs for the pool of readers, as sketches on raw APSW.

    python -m bench.handover [--threads 2,16,64] [--rounds 7] [--seconds 0.3]

Each thread reads a row by its key, again and again. The ways, with four connections where nothing else is said:

``own``       a connection a thread: no pool, and as many connections as threads
``fifo``      a connection that comes back goes to who has waited longest
``lifo``      a connection that comes back lies on top of a pile; who waits is woken, and takes what he finds
``critical``  one thread at a time, behind a lock, with one connection
``affine``    a thread tries the connection first that it used last, and nobody waits for less than all four
``query_one`` the library, which does that too, and keeps a connection for its thread for two milliseconds
"""

# APSW's stub leaves the type of a bound buffer unknown, and with it half of every signature.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apsw

import onewriter
from bench.rounds import Call, Report, Ways, always, arguments, compare

ROWS = 20_000
CONNECTIONS = 4
POINT = "SELECT id, name, size FROM item WHERE id = ?"
Read = Callable[[int], object]


def _connect(path: Path) -> apsw.Cursor:
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY).cursor()


def _own(path: Path) -> Read:
    local = threading.local()

    def read(key: int) -> object:
        if not hasattr(local, "cursor"):
            local.cursor = _connect(path)
        return local.cursor.execute(POINT, (key,)).fetchall()

    return read


def _fifo(path: Path) -> Read:
    lock = threading.Lock()
    idle = [_connect(path) for _ in range(CONNECTIONS)]
    waiting: deque[tuple[threading.Lock, list[apsw.Cursor]]] = deque()

    def read(key: int) -> object:
        news, given = threading.Lock(), []
        with lock:
            if idle and not waiting:
                given = [idle.pop()]
            else:
                news.acquire()
                waiting.append((news, given))
        with news:
            pass
        rows = given[0].execute(POINT, (key,)).fetchall()
        with lock:
            if waiting:
                heir, place = waiting.popleft()
                place.append(given[0])
                heir.release()
            else:
                idle.append(given[0])
        return rows

    return read


def _lifo(path: Path) -> Read:
    changed = threading.Condition()
    idle = [_connect(path) for _ in range(CONNECTIONS)]

    def read(key: int) -> object:
        with changed:
            while not idle:
                changed.wait()
            cursor = idle.pop()
        rows = cursor.execute(POINT, (key,)).fetchall()
        with changed:
            idle.append(cursor)
            changed.notify()
        return rows

    return read


def _critical(path: Path) -> Read:
    lock = threading.Lock()
    cursor = _connect(path)

    def read(key: int) -> object:
        with lock:
            return cursor.execute(POINT, (key,)).fetchall()

    return read


def _affine(path: Path) -> Read:
    changed = threading.Condition()
    cursors = [_connect(path) for _ in range(CONNECTIONS)]
    holders: dict[apsw.Cursor, object] = {}
    homes: dict[int, apsw.Cursor] = {}

    def borrow(loan: object) -> apsw.Cursor:
        with changed:
            while True:
                for cursor in cursors:
                    if holders.setdefault(cursor, loan) is loan:
                        homes[threading.get_ident()] = cursor
                        return cursor
                changed.wait(0.001)

    def read(key: int) -> object:
        loan = [key]
        cursor = homes.get(threading.get_ident())
        if cursor is None or holders.setdefault(cursor, loan) is not loan:
            cursor = borrow(loan)
        rows = cursor.execute(POINT, (key,)).fetchall()
        del holders[cursor]
        return rows

    return read


def _reading(read: Read, number: int) -> Call:
    key = number * 977

    def call() -> object:
        nonlocal key
        key = (key + 7919) % ROWS
        return read(key)

    return call


def _of_each(threads: int, read: Read) -> list[Call]:
    return [_reading(read, number) for number in range(threads)]


def main(given: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = arguments("Pools of readers, by ratio.", rounds=7, seconds=0.3)
    parser.add_argument("--threads", default="2,16,64", help="numbers of threads (default: %(default)s)")
    chosen = parser.parse_args(given)
    report = Report(chosen)
    with tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name:
        path = Path(name) / "handover.db"
        with onewriter.open(path) as db:
            db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, size INT)")
            db.execute_many("INSERT INTO item VALUES (?, ?, ?)", [(n, f"name {n}", n) for n in range(ROWS)])
            makers = (_own, _fifo, _lifo, _critical, _affine)
            reads: dict[str, Read] = {make.__name__.strip("_"): make(path) for make in makers}
            reads["query_one"] = lambda key: db.query_one(POINT, (key,))
            for threads in (int(each) for each in chosen.threads.split(",")):
                ways: Ways = {way: partial(_of_each, threads, read) for way, read in reads.items()}
                figures = compare(always(ways), chosen.rounds, chosen.seconds)
                report.show(f"{threads} threads", figures)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
