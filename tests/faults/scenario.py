"""What a service does with a database, from its first opening on, under a disk that fails; and whether all was told.

D1  Each call succeeds or raises one of the library's errors that fits the fault, with the right ``ran``; and it raises
    only where the fault struck while it ran.
D2  A call of the file system that fails once fails one call of the library at most: whoever shares a commit with it is
    served all the same, as far as that can be told.
D3  When the fault is over, each way to write succeeds, and nobody is left in line.
D4  The oracle's judge is content with what is in the file in the end, and with what a process would find that came
    after a crash at the first call that failed, or at the end of the fault.
D5  A snapshot is whole or absent, and so is what was restored of one; nothing else is left in the folder.
D6  Closing raises nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import onewriter
from onewriter import (
    Config,
    Database,
    Error,
    Migration,
    MigrationError,
    OutcomeUnknown,
    SnapshotError,
    Transaction,
)
from tests.support.databases import PATIENT
from tests.support.modes import umask
from tests.support.oracle import MIGRATION, SELECT, WAYS, Fate, Ledger, Row, judge, rows, whole
from tests.support.steps import Call, outcome, wait_until

MIGRATIONS: Final = (MIGRATION, Migration(2, "ballast", "CREATE TABLE ballast (data BLOB)"))
CACHE_BYTES: Final = 64 * 1024
_TAKES_OWN: Final = 0o277  # bits of the owner's too, so that a new folder's mode has to be set
# More than the cache holds, so that it is written before the commit.
BALLAST: Final = "INSERT INTO ballast VALUES (zeroblob(100000))"
# A fault that lasts is not to be waited out: nobody else uses the file.
CONFIG: Final = replace(
    PATIENT,
    readers_max=2,
    write_timeout_s=2.0,
    read_timeout_s=2.0,
    migrate_timeout_s=2.0,
    cache_bytes=CACHE_BYTES,
    checkpoint_pause_s=0.01,
    wal_bytes_max=64 * 1024,  # the least that there is, so that the checkpoints' thread has something to do
)
WRAPPING: Final = (OutcomeUnknown, MigrationError, SnapshotError)


class Fault(Protocol):
    """What fails.

    Attributes:
        struck: how often it has.
        lasts: whether it goes on until it is lifted.
    """

    lasts: bool

    @property
    def struck(self) -> int:
        """How often it has failed something."""
        ...

    def fits(self, error: BaseException) -> bool:
        """Whether *error*, which none of the library's wraps, is what is to be told of it."""
        ...

    def excuses(self, name: str) -> bool:
        """Whether a file of that *name* may be left over for it."""
        ...

    def lift(self) -> None:
        """End it."""
        ...


class Scenario:
    """One run of it.

    Attributes:
        failures: which steps failed, and how.
    """

    def __init__(self, folder: Path, fault: Fault, config: Config = CONFIG, *, crashes: Path) -> None:
        """Work in *folder*, which is made where it is missing; copies as after a crash go to *crashes*."""
        self.folder = folder
        self.path = folder / "a.db"
        self.fault = fault
        self.config = config
        self.ledger = Ledger()
        self.failures: list[tuple[str, Error]] = []
        self._crashes = crashes
        self._copied: list[tuple[Path, dict[str, Fate]]] = []
        self._snapshots: list[dict[str, Fate]] = []  # what had been told when one was made

    def run(self) -> None:
        """Do all of it, under the fault, and judge."""
        with umask(_TAKES_OWN):
            opened = self._opened()
        with opened as db:
            for name, step in self._steps(db):
                self._try(name, step, db)
            if self.fault.struck:
                self._go_on(db)
        with self._opened() as db:
            self._try("once more", partial(self._unit, db, WAYS[0], "once more"), db)
            self._try("query again", partial(self._query, db), db)
            if self.fault.struck:
                self._go_on(db)
        self.fault.lift()
        self._judge()

    # --- steps

    def _steps(self, db: Database) -> list[tuple[str, Callable[[], object]]]:
        ways = [(name := f"way{way.__name__}", partial(self._unit, db, way, name)) for way in WAYS]
        return [
            *ways,
            ("large", partial(self._unit, db, _large, "large")),
            ("query", partial(self._query, db)),
            ("stream", partial(self._stream, db)),
            ("read", partial(self._read, db)),
            ("shared", partial(self._shared, db)),
            ("checkpoint", db.checkpoint),
            ("after", partial(self._unit, db, WAYS[2], "after")),
            ("vacuum", db.vacuum),
            ("snapshot", partial(self._snapshot, db)),
            ("restore", self._restore),
            ("check", partial(self._check, db)),
        ]

    def _opened(self) -> Database:
        """Open it; where that fails, the fault is over afterwards."""
        before = self.fault.struck
        try:
            return self._open()
        except Error as error:
            self._failed("open", error, before)
            self.fault.lift()
            if isinstance(error, MigrationError) and error.ran != "unknown":
                self._check_absent(error.version)
            return self._open()

    def _check_absent(self, version: int | None) -> None:
        assert version is not None, "a migration failed, and which one is not told"
        with onewriter.open(self.path, config=self.config) as db:
            assert db.schema_version() < version, f"migration {version} was refused and is there"

    def _open(self) -> Database:
        return onewriter.open(self.path, config=self.config, migrations=MIGRATIONS)

    def _unit(self, db: Database, way: Callable[[Database, str], None], name: str) -> None:
        with self.ledger.unit(name):
            way(db, name)

    def _query(self, db: Database) -> None:
        judge(self.ledger.fates, rows(db)).check("a query: ")

    def _stream(self, db: Database) -> None:
        with db.stream(SELECT, into=Row) as found:
            judge(self.ledger.fates, found).check("a stream: ")

    def _read(self, db: Database) -> None:
        with db.read_transaction() as tx:
            assert tx.query(SELECT) == tx.query(SELECT)

    def _shared(self, db: Database) -> None:
        """Four callers in one commit; one of them has more than the cache holds."""
        ways = (WAYS[0], WAYS[2], _large, WAYS[1])
        calls: list[Call[None]] = []
        before = self.fault.struck
        try:
            with db.transaction():
                for way in ways:
                    calls.append(Call(partial(self._unit, db, way, f"shared {len(calls)}"), "a caller"))
                    wait_until(lambda: db.stats().pending == len(calls), "its place in line")
        finally:
            for name, error in [("shared", outcome(call)) for call in calls]:
                if isinstance(error, Error):
                    self._failed(name, error, before)
                elif error is not None:
                    raise error

    def _snapshot(self, db: Database) -> None:
        self._snapshots.append(dict(self.ledger.fates))
        target = self.folder / "snapshot"
        try:
            db.snapshot(target)
        except Error:
            assert not target.exists(), "a snapshot that failed is there"
            raise
        assert target.exists(), "a snapshot that was made is not there"

    def _restore(self) -> None:
        source, target = self.folder / "snapshot", self.folder / "restored"
        if source.exists():
            try:
                onewriter.restore(source, target, self.config)
            except Error:
                assert not target.exists(), "what could not be restored is there"
                raise

    def _check(self, db: Database) -> None:
        before = self.fault.struck
        problems = db.check()  # which lists what it meets
        assert not problems or self.fault.struck > before, problems

    # --- what became of them

    def _try(self, name: str, step: Callable[[], object], db: Database) -> None:
        before = self.fault.struck
        try:
            step()
        except Error as error:
            self._failed(name, error, before)
        if self.failures and not self._copied:
            self._copy(db)

    def _failed(self, name: str, error: Error, before: int) -> None:
        """Keep what a step, before which the fault had struck so often, has failed with (D1)."""
        told = f"{name}: {type(error).__name__}({error}), ran {error.ran}"
        assert self.fault.struck > before, f"the fault did not touch it: {told}"
        chain = _chain(error)
        assert (error.ran == "unknown") == any(isinstance(each, OutcomeUnknown) for each in chain), told
        assert self.fault.fits(chain[-1]), f"{told}; in the end {chain[-1]!r}"
        self.failures.append((name, error))

    def _go_on(self, db: Database) -> None:
        """End the fault: each way succeeds (D3)."""
        self._copy(db)
        self.fault.lift()
        told = len(self.ledger.fates)
        for way in WAYS:
            self._unit(db, way, f"goes on {told}{way.__name__}")
        self._query(db)
        assert db.checkpoint(), "what is written cannot be moved"
        assert db.stats().pending == 0
        assert db.check() == []

    def _copy(self, db: Database) -> None:
        """Copy what a process would find after a crash; the WAL first, since pages move from it and not to it."""
        folder = self._crashes / str(len(self._copied))
        folder.mkdir(parents=True)
        for side in ("-wal", ""):
            source = db.path.with_name(db.path.name + side)
            if source.exists():
                shutil.copy(source, folder / source.name)
        self._copied.append((folder / db.path.name, dict(self.ledger.fates)))

    # --- the verdict

    def _judge(self) -> None:
        self._judge_file(self.path, self.ledger.fates, "in the end: ")
        for path, fates in self._copied:
            self._judge_file(path, fates, "after a crash: ")
        if not self.fault.lasts:
            assert len(self.failures) <= 1, f"one fault, and {self.failures}"  # D2
        there = {each.name for each in self.folder.iterdir()}
        for name in {"snapshot", "restored"} & there:
            copy = self._crashes / name
            onewriter.restore(self.folder / name, copy, self.config)
            self._judge_file(copy, self._snapshots[-1], f"{name}: ")
        left = there - {"a.db", "a.db-turn", "snapshot", "restored"}
        assert all(map(self.fault.excuses, left)), left  # D5

    def _judge_file(self, path: Path, fates: dict[str, Fate], where: str) -> None:
        with onewriter.open(path, migrations=MIGRATIONS) as db:
            judge(fates, rows(db)).check(where)
            assert db.check() == [], where


def _large(db: Database, name: str) -> None:
    def work(tx: Transaction) -> None:
        whole(name, tx)
        tx.execute(BALLAST)

    db.write(work)


def _chain(error: Error) -> list[BaseException]:
    """Return *error* and what is behind it, where it wraps another."""
    chain: list[BaseException] = [error]
    while isinstance(chain[-1], WRAPPING) and chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain
