"""A program that does all that can be done with one damaged database after another, and tells what came of it.

    python -m tests.support.examination

It reads lines: how, and a path. "rest": it is opened to read, then to write. "live": it is opened to write, and
"reading": to read, then it says "opened" and waits for a line before it asks anything; "reading" opens it to read once
more. Its answer is a line of JSON: `Findings`.
"""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import faulthandler
import hashlib
import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, cast

import apsw

import onewriter
from onewriter import Config, Database
from tests.support.damaged import CHANGES, LATER, QUESTIONS, SCHEMA, Body, Item, halves
from tests.support.oracle import WAYS, Fate, Ledger, judge

LIMIT_S: Final = 30.0  # of one database; a tenth of a second is usual
CONFIG: Final = Config(
    write_timeout_s=5.0, read_timeout_s=5.0, migrate_timeout_s=5.0, statement_timeout_s=10.0, readers_max=2
)
SHAPES: Final[dict[type, tuple[type, ...]]] = {Item: (int, str, int), Body: (int, bytes)}
ERROR: Final = "!"  # what an answer begins with that is an error's name


@dataclass
class Findings:
    """What came of one database.

    Attributes:
        answers: to each question, before anything was written: a digest of the rows, or the error's name behind "!".
        units: names of the units that were there whole, in the file's order; None where they could not be read.
        problems: what `check` found before anything was written.
        errors: of the library's, by step: class, ``ran``, message.
        strange: what must never be, whatever is damaged: another exception, a row of a wrong shape, an unsound
            snapshot, a place in line that nobody gives up.
        wrong: what must not be where `check` finds nothing: a lost write, a copy of other rows.
        written: how many units were acknowledged.
        snapshots: how many were made.
    """

    answers: dict[str, str] = field(default_factory=dict[str, str])
    units: list[str] | None = None
    problems: list[str] = field(default_factory=list[str])
    errors: dict[str, tuple[str, str, str]] = field(default_factory=dict[str, tuple[str, str, str]])
    strange: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    written: int = 0
    snapshots: int = 0

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        """Note what the block raises."""
        try:
            yield
        except onewriter.Error as error:
            self.errors[name] = type(error).__name__, error.ran, str(error)
        except Exception:  # noqa: BLE001 - that is the complaint
            self.strange.append(f"{name} raised {traceback.format_exc()}")

    def expect(self, what: str, *, true: bool) -> None:
        """Note where *what* should be *true*, whatever is damaged."""
        if not true:
            self.strange.append(what)


def examine_at_rest(path: Path, found: Findings) -> None:
    """Do all that can be done with the database at *path*."""
    with found.step("open to read"), onewriter.open(path, config=CONFIG, read_only=True) as db:
        _look(db, found)
    with found.step("open"), onewriter.open(path, config=CONFIG, durability="normal") as db:
        _use(db, found)
    snapshot = path.with_name("first.db")
    if snapshot.exists():
        with found.step("restore onto it"):
            onewriter.restore(snapshot, path)
            with onewriter.open(path, config=CONFIG, read_only=True) as db:
                _check_copy(db, found, "restored")


def examine_live(path: Path, found: Findings, ready: Callable[[], None]) -> None:
    """Do the same with one that is damaged when it is open, which *ready* waits for."""
    with found.step("open"), onewriter.open(path, config=CONFIG, durability="normal") as db:
        ready()
        _look(db, found)
        _use(db, found)


def examine_reading(path: Path, found: Findings, ready: Callable[[], None]) -> None:
    """Read one that is damaged when it is open, then open it again, and look."""
    with found.step("open"), onewriter.open(path, config=CONFIG, read_only=True) as db:
        ready()
        _look(db, Findings())
    with found.step("open to read"), onewriter.open(path, config=CONFIG, read_only=True) as db:
        _look(db, found)


def _look(db: Database, found: Findings) -> None:
    """Ask everything, and have it checked."""
    found.answers = {name: _answer(ask, db, found) for name, ask in QUESTIONS.items()}
    with found.step("status"):
        db.schema_version()
        db.migration_status((*SCHEMA, LATER))
    with found.step("units"):
        there = halves(db)
        found.units = [name for name, half in there if half == 1 and (name, 2) in there]
    with found.step("check"):
        found.problems = db.check()
    found.expect("check raises nothing", true="check" not in found.errors)


def _answer(ask: Callable[[Database], object], db: Database, found: Findings) -> str:
    try:
        value = ask(db)
    except onewriter.Error as error:
        return f"{ERROR}{type(error).__name__}"
    except Exception:  # noqa: BLE001 - that is the complaint
        found.strange.append(f"a question raised {traceback.format_exc()}")
        return ERROR
    shown = repr(value)
    if isinstance(value, list):
        for row in cast("list[object]", value):
            types = SHAPES.get(type(row))
            fits = types is None or tuple(map(type, vars(row).values())) == types
            found.expect(f"{row!r:.200} fits its class", true=fits)
    return hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _use(db: Database, found: Findings) -> None:
    """Write in all ways, migrate, take a snapshot; what was acknowledged is there, if the file is sound."""
    ledger = Ledger()
    with found.step("check to write"):
        before = db.check()
        for number, way in enumerate(WAYS):
            with found.step(f"unit {number}"), ledger.unit(f"new {number}"):
                way(db, f"new {number}")
        for name, change in CHANGES.items():
            with found.step(name):
                change(db)
        with found.step("migrate"):
            db.migrate((*SCHEMA, LATER))
        with found.step("checkpoint"):
            db.checkpoint()
        with found.step("snapshot"):
            _take(db, found)
        with found.step("vacuum"):
            db.vacuum()
        with found.step("read back"):
            there = [(name, half) for name, half in halves(db) if name.startswith("new ")]
            if not before and not db.check():
                found.wrong += judge(ledger.fates, there).complaints
    found.written = sum(fate is Fate.ACKNOWLEDGED for fate in ledger.fates.values())
    found.expect("nothing waits", true=db.stats().pending == 0)
    found.expect("nobody reads", true=db.stats().readers_lent == 0)


def _take(db: Database, found: Findings) -> None:
    """Take a snapshot and restore it: it must be sound, to SQLite itself too, and have what the database has."""
    taken = db.snapshot(db.path.with_name("snapshot.db"), overwrite=True)
    found.snapshots += 1
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(f"file:{taken}?immutable=1", flags=flags)
    try:
        told = connection.execute("PRAGMA integrity_check").fetchall()
    finally:
        connection.close()
    found.expect(f"the snapshot is sound: {told}", true=told == [("ok",)])
    copy = onewriter.restore(taken, db.path.with_name("copy.db"))
    with onewriter.open(copy, config=CONFIG, durability="normal") as restored:
        _check_copy(restored, found, "copied")
        for name, ask in QUESTIONS.items():
            if name == "schema":
                continue  # which VACUUM words anew
            mine, its = _answer(ask, db, found), _answer(ask, restored, found)
            if mine != its and not mine.startswith(ERROR) and db.check() == []:
                found.wrong.append(f"the copy answers {name!r} by {its}, not as the database: {mine}")
    copy.unlink()


def _check_copy(db: Database, found: Findings, what: str) -> None:
    told = db.check()
    found.expect(f"what was {what} is sound: {told}", true=told == [])


# --- the program


def _note_elsewhere(found: Findings) -> None:
    """Have what other threads and finalizers raise noted too."""

    def of_thread(raised: threading.ExceptHookArgs) -> None:
        trace = "".join(traceback.format_exception(raised.exc_type, raised.exc_value, raised.exc_traceback))
        found.strange.append(f"a thread raised {trace}")

    def of_nobody(raised: sys.UnraisableHookArgs) -> None:
        found.strange.append(f"nobody heard {raised.exc_value!r} of {raised.object!r}")

    threading.excepthook, sys.unraisablehook = of_thread, of_nobody


def _wait() -> None:
    print("opened", flush=True)  # noqa: T201 - a program
    sys.stdin.readline()


def main() -> None:
    """Answer one line after the other."""
    logging.disable()
    for line in iter(sys.stdin.readline, ""):
        found = Findings()
        _note_elsewhere(found)
        how, _, name = line.strip().partition(" ")
        threads = set(threading.enumerate())
        faulthandler.dump_traceback_later(LIMIT_S - 1)
        if how == "rest":
            examine_at_rest(Path(name), found)
        else:
            {"live": examine_live, "reading": examine_reading}[how](Path(name), found, _wait)
        faulthandler.cancel_dump_traceback_later()
        left = set(threading.enumerate()) - threads
        found.expect(f"no thread is left: {left}", true=not left)
        print(json.dumps(asdict(found)), flush=True)  # noqa: T201 - a program


if __name__ == "__main__":
    main()
