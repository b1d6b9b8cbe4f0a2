"""``onewriter status``: what can be seen of a database file from outside, and who uses it this moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import onewriter
from onewriter import FileContent, FileStatus, Migration, ProcessInfo

from .telling import BAD, DONE, as_json, line, run, unreadable

_NO_DATABASE: Final = "is it the right file? If it was a database, see onewriter check"
_NAMES_MAX: Final = 20


def status(path: Path, *, folder: Path | None, rows: bool, json: bool) -> int:
    """Tell what can be seen of the database at *path*, and return the exit status.

    With *folder* its migrations are compared with what was applied, with *rows* the rows of each table are counted.
    0: all was seen. 1: what it holds could not be read, or not all of it. 2: it could not be looked at.
    """

    def work() -> int:
        migrations = None if folder is None else Migration.from_dir(folder)
        seen = onewriter.status(path, count_rows=rows, migrations=migrations)
        if json:
            as_json(told(seen))
        else:
            print(line(str(seen.path)))
            for label, value in lines(seen):
                print(f"  {label:<13} {line(value)}")
        return DONE if seen.content is not None and seen.content.is_whole else BAD

    return run("status", work, hint, told={"file": str(path)} if json else None)


def hint(error: onewriter.Error) -> str | None:
    """Return what to do about *error*."""
    if isinstance(error, onewriter.NotADatabase):
        return _NO_DATABASE
    return unreadable(error) if isinstance(error, onewriter.CannotOpen) else None


# --- for programs


def told(seen: FileStatus) -> dict[str, object]:
    """Return what was *seen* under the keys of the command's JSON."""
    return {
        "file": str(seen.path),
        "bytes": seen.file_bytes,
        "wal_bytes": seen.wal_bytes,
        **_content(seen.content),
        "problem": seen.problem,
        **users(seen),
    }


def users(seen: FileStatus) -> dict[str, object]:
    """Return the part of `told` that is about processes."""
    return {
        "turn": _process(seen.turn),
        "turn_waits_for_lock": seen.turn_waits_for_lock,
        "turn_problem": seen.turn_problem,
        "waiting": _processes(seen.waiting),
        "writing": _process(seen.writing),
        "stranger": _process(seen.stranger),
        "writers": _processes(seen.writers),
        "readers": _processes(seen.readers),
        "others": _processes(seen.others),
    }


def _content(held: FileContent | None) -> dict[str, object]:
    if held is None:
        return {"content": None}
    compared = held.migrations
    content: dict[str, object] = {
        "is_whole": held.is_whole,
        "page_bytes": held.page_bytes,
        "pages": held.pages,
        "free_pages": held.free_pages,
        "journal_mode": held.journal_mode,
        "user_version": held.user_version,
        "application_id": held.application_id,
        "schema_version": held.schema_version,
        "applied": [
            {"version": each.version, "name": each.name, "applied_at": each.applied_at}
            for each in held.applied
        ],
        "tables": dict(held.tables),
    }
    if compared is not None:
        content["pending"] = [_name(each.version, each.name) for each in compared.pending]
        content["unknown"] = [_name(each.version, each.name) for each in compared.unknown]
        content["changed"] = [_name(each.version, each.name) for each in compared.changed]
    return {"content": content}


def _processes(of: Iterable[ProcessInfo]) -> list[dict[str, object] | None]:
    return [_process(each) for each in of]


def _process(of: ProcessInfo | None) -> dict[str, object] | None:
    return None if of is None else {"pid": of.pid, "command": of.command, "for_s": of.for_s}


# --- for people


def lines(seen: FileStatus) -> Iterator[tuple[str, str]]:
    """Yield what there is to say, as pairs of a label and a text."""
    held = seen.content
    yield "size", _size(seen)
    yield "WAL", size(seen.wal_bytes)
    if held is not None:
        yield from _lines_of_content(held)
    if seen.problem is not None:
        yield ("not all seen" if held else "not seen"), seen.problem
    yield from lines_of_users(seen)


def _size(seen: FileStatus) -> str:
    held = seen.content
    if held is None:
        return size(seen.file_bytes)
    free = f", {held.free_pages:,} of them free" if held.free_pages else ""
    return f"{size(seen.file_bytes)}: {held.pages:,} pages of {held.page_bytes:,} bytes{free}"


def _lines_of_content(held: FileContent) -> Iterator[tuple[str, str]]:
    yield "journal mode", held.journal_mode
    if held.user_version or held.application_id:
        yield "numbers", f"user_version {held.user_version}, application_id {held.application_id}"
    yield "schema", _schema(held)
    if held.migrations is not None:
        for label, found in (
            ("pending", held.migrations.pending),
            ("no file for", held.migrations.unknown),
            ("changed", held.migrations.changed),
        ):
            for each in found:
                yield label, _name(each.version, each.name)
    yield "tables", _tables(held)


def _schema(held: FileContent) -> str:
    if held.schema_version is None:
        return "its table schema_migrations is another package's"
    if not held.applied:
        return "no migration was applied"
    last = held.applied[-1]
    return f"version {held.schema_version}: {_name(last.version, last.name)}, applied {last.applied_at}"


def _tables(held: FileContent) -> str:
    if not held.tables:
        return "none"
    shown = [
        name if rows is None else f"{name} ({rows:,} row{'' if rows == 1 else 's'})"
        for name, rows in held.tables.items()
    ]
    return listed(shown)


def lines_of_users(seen: FileStatus) -> Iterator[tuple[str, str]]:
    """Yield the part of `lines` that is about processes, each by what it does; nothing where nobody uses the file."""
    if seen.turn_problem is not None:
        yield "turn", f"not seen: {seen.turn_problem}"
    if seen.turn is not None:
        waits = ", and waits for SQLite's lock itself" if seen.turn_waits_for_lock else ""
        yield "turn", f"{named(seen.turn)}{waits}"
    for each in seen.waiting:
        yield "waiting", named(each)
    if seen.stranger is not None:
        yield "locked by", f"stranger, {named(seen.stranger)}"
    elif seen.writing is not None and (seen.turn is None or seen.turn.pid != seen.writing.pid):
        yield "writing", named(seen.writing)
    shown = {each.pid for each in (seen.turn, seen.writing, *seen.waiting) if each is not None}
    for label, processes in (("reading", seen.readers), ("open", seen.writers), ("also open", seen.others)):
        for each in processes:
            if each.pid not in shown or each.pid is None:  # who writes reads too, and has it open
                yield label, named(each)
        shown |= {each.pid for each in processes}


def named(process: ProcessInfo) -> str:
    """Return how a person finds the *process*."""
    if process.pid is None:
        who = "a process that cannot be seen from here (in another container?)"
    else:
        who = f"process {process.pid}" + (f" ({process.command})" if process.command else "")
    return who if process.for_s is None else f"{who} for {seconds(process.for_s)}"


def listed(names: Sequence[str]) -> str:
    """Return the first of *names*, and how many more there are."""
    more = len(names) - _NAMES_MAX
    return ", ".join(names[:_NAMES_MAX]) + (f" and {more:,} more" if more > 0 else "")


def size(bytes_: float) -> str:
    """Return a number of bytes for people."""
    from rich.filesize import decimal

    return decimal(round(bytes_))


def number(value: float) -> str:
    """Return a number for people: whole ones whole, else three digits."""
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def seconds(duration_s: float) -> str:
    """Return a duration for people: three digits, in the unit that they are read best in."""
    for unit, in_a_second in (("µs", 1e6), ("ms", 1e3)):
        if duration_s * in_a_second < 999.5:  # noqa: PLR2004 - which has four digits
            return f"{duration_s * in_a_second:.3g} {unit}"
    return f"{duration_s:.3g} s" if duration_s < 99.95 else f"{duration_s:,.0f} s"  # noqa: PLR2004 - as above


def _name(version: int, name: str) -> str:
    return line(f"{version:04d}_{name}")
