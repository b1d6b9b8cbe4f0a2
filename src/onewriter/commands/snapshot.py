"""``onewriter snapshot``: a copy of a database while it is in use, once, or as one of the last few in a folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import onewriter
from onewriter import SnapshotError

from .endings import broken_off
from .telling import BAD, DONE, Refused, as_json, complain, line, run, unreadable

_STAMP: Final = "%Y%m%dT%H%M%S%fZ"  # RFC 3339 without what a file's name should not have; sorts by time


def snapshot(path: Path, dest: Path, *, overwrite: bool, keep: int | None, verify: bool, json: bool) -> int:
    """Make a snapshot of the database at *path*, and return the exit status.

    With *keep* *dest* is a folder, and what is made here before has so many left. With *verify* the finished file is
    opened again, and its foreign keys are checked too.
    """
    return run(
        "snapshot",
        lambda: _snapshot(path, dest, overwrite=overwrite, keep=keep, verify=verify, json=json),
        _hint,
        told={"file": str(path)} if json else None,
    )


def _hint(error: onewriter.Error) -> str | None:
    if isinstance(error, SnapshotError):
        return None  # it says so itself
    return unreadable(error)


def _snapshot(path: Path, dest: Path, *, overwrite: bool, keep: int | None, verify: bool, json: bool) -> int:
    if keep is not None and dest.exists() and not dest.is_dir():
        msg = f"{dest} is no folder: with --keep give the folder that the snapshots are in"
        raise Refused(msg)
    target = dest if keep is None else _name_in(dest, path)
    with broken_off(), onewriter.open(path, read_only=True) as db, _progress(quiet=json) as progress:
        made = db.snapshot(target, overwrite=overwrite, progress=progress)
    problems = _problems(made) if verify else []
    if problems:
        complain(
            "snapshot",
            f"{made} is not sound: {problems[0]} ({len(problems)} in all)",
            "it was kept, and so were all before it",
        )
        return BAD
    removed = [] if keep is None else _remove_old(dest, path, keep)
    if json:
        told = {"file": str(path), "snapshot": str(made), "bytes": made.stat().st_size, "removed": removed}
        as_json(told)
    else:
        print(line(f"{made}: {made.stat().st_size:,} bytes"))
        for each in removed:
            print(line(f"removed {each}"))
    return DONE


def _name_in(folder: Path, path: Path) -> Path:
    return folder / f"{path.stem}-{datetime.now(UTC).strftime(_STAMP)}{path.suffix}"


def _remove_old(folder: Path, path: Path, keep: int) -> list[str]:
    """Remove all but the last *keep* of the snapshots of *path* in *folder*; nothing else has such a name."""
    made = sorted(each for each in folder.iterdir() if _is_one(each, path))
    for each in made[:-keep]:
        each.unlink()
    return [str(each) for each in made[:-keep]]


def _is_one(file: Path, path: Path) -> bool:
    stamp = file.name.removeprefix(f"{path.stem}-").removesuffix(path.suffix)
    if file.name != f"{path.stem}-{stamp}{path.suffix}":
        return False
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).strftime(_STAMP) == stamp
    except ValueError:
        return False


def _problems(made: Path) -> list[str]:
    with onewriter.open(made, read_only=True) as db:
        return db.check()


@contextmanager
def _progress(*, quiet: bool) -> Generator[Callable[[int, int], object] | None]:
    """Show how far it has come, where somebody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("pages", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
