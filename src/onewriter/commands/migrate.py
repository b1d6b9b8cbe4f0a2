"""``onewriter migrate``: what the files of a folder say is applied to a database, or told."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Final

import onewriter
from onewriter import Migration, MigrationStatus

from .telling import DONE, Refused, as_json, line, run

_LOG: Final = logging.getLogger("onewriter.migrations")


def migrate(path: Path, folder: Path, *, dry_run: bool, json: bool) -> int:
    """Apply what is pending of the migrations in *folder*, or only tell what is; return the exit status."""
    return run(
        "migrate",
        lambda: _migrate(path, folder, dry_run=dry_run, json=json),
        _hint,
        told={"file": str(path)} if json else None,
    )


def _hint(error: onewriter.Error) -> str | None:
    if isinstance(error, onewriter.MigrationError) and error.ran == "rolled_back":
        return "nothing of it is left, and those before it stay: mend the file and run this again"
    return None


def _migrate(path: Path, folder: Path, *, dry_run: bool, json: bool) -> int:
    if folder.is_file():
        msg = f"{folder} is a file: give the database first, and then the folder of its migrations"
        raise Refused(msg)
    migrations = Migration.from_dir(folder)
    if not migrations:
        print(line(f"there are no migrations (0001_initial_schema.sql) in {folder}"), file=sys.stderr)
    before = _status(path, migrations)
    if dry_run:
        _tell(path, before, "pending", json=json)
        return DONE
    with _Telling(quiet=json), onewriter.open(path, migrations=migrations) as db:
        after = db.migration_status(migrations)
    applied = {each.version for each in after.applied}
    done = tuple(each for each in before.pending if each.version in applied)
    _tell(
        path,
        MigrationStatus(applied=(), pending=done, unknown=after.unknown, changed=after.changed),
        "applied",
        json=json,
    )
    return DONE


def _status(path: Path, migrations: tuple[Migration, ...]) -> MigrationStatus:
    if not path.exists():
        return MigrationStatus(applied=(), pending=migrations, unknown=(), changed=())
    with onewriter.open(path, read_only=True) as db:
        return db.migration_status(migrations)


def _tell(path: Path, status: MigrationStatus, what: str, *, json: bool) -> None:
    of_each = {
        what: [_name(each.version, each.name) for each in status.pending],
        "unknown": [_name(each.version, each.name) for each in status.unknown],
        "changed": [_name(each.version, each.name) for each in status.changed],
    }
    if json:
        as_json({"file": str(path), **of_each})
        return
    if not status.pending:
        print(line(f"{path} is up to date"))
    elif what == "pending":
        for each in of_each[what]:
            print(f"pending: {each}")
    for each in of_each["unknown"]:
        print(f"applied, and there is no file for it: {each}", file=sys.stderr)
    for each in of_each["changed"]:
        print(f"changed since it was applied: {each}", file=sys.stderr)


def _name(version: int, name: str) -> str:
    return line(f"{version:04d}_{name}")


class _Telling(logging.Handler):
    """Says of each migration that it was applied, when it was, and how long it took."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(logging.INFO)
        self._quiet = quiet
        self._level = logging.NOTSET
        self._since = time.monotonic()

    def __enter__(self) -> None:
        self._level, self._since = _LOG.level, time.monotonic()
        _LOG.addHandler(self)
        _LOG.setLevel(logging.INFO)
        _LOG.propagate = False

    def __exit__(self, *_: object) -> None:
        _LOG.removeHandler(self)
        _LOG.setLevel(self._level)
        _LOG.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        """Print what was applied; what is warned of is told at the end."""
        if record.levelno == logging.INFO and not self._quiet and isinstance(record.args, tuple):
            _path, version, name = record.args
            took_s, self._since = time.monotonic() - self._since, time.monotonic()
            print(f"applied {_name(int(str(version)), str(name))} in {took_s:.3g} s", flush=True)
