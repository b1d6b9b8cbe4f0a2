"""``onewriter check`` itself: whether a file is sound, and what to do where it is not.

K1  The file is opened to be read alone.
K2  What is wrong is one line each.
K3  The exit status tells a damaged file from one that could not be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onewriter

from .telling import BAD, DONE, UNUSABLE, as_json, line, run, unreadable

_SHOWN_MAX: Final = 100  # https://sqlite.org/pragma.html#pragma_integrity_check
_ADVICE: Final = """\
Stop every program that writes to it. Then copy {name}, and {name}-wal where there is one, together to another place: \
whatever opens them may change them.
Move {name}, {name}-wal and {name}-shm away and restore the last good snapshot: onewriter restore SNAPSHOT {name}
Without a snapshot, salvage what can be read, from the copy: sqlite3 {name} .recover | sqlite3 salvaged.db \
(https://sqlite.org/recovery.html).
Have the disk looked at, and go through https://sqlite.org/howtocorrupt.html: what damaged it may still be at work.
""".splitlines()
_ONLY_INDEXES: Final = "Only indexes are wrong: REINDEX may be enough (https://sqlite.org/lang_reindex.html)."
_ONLY_ROWS: Final = "The file itself is whole: these rows break constraints of their tables. Mend the rows."
_OF_INDEXES: Final = (" missing from index ", "wrong # of entries in index ", "non-unique entry in index ")
_OF_ROWS: Final = ("NULL value in ", "CHECK constraint failed in ", ": no such row in ")
_NO_DATABASE: Final = (
    "is it the right file? If it was a database, its first page is damaged: restore the last good snapshot, or "
    "salvage a copy with the sqlite3 shell's .recover (https://sqlite.org/recovery.html)"
)
# What to do about a file that cannot be looked at.
_HINTS: Final[tuple[tuple[type[onewriter.Error], str], ...]] = (
    (onewriter.NotADatabase, _NO_DATABASE),
    (onewriter.ReadTimeout, "try again once that has ended"),
    (onewriter.DiskError, "have the disk looked at, and try again with a copy of the file and its -wal"),
)


def check(path: Path, *, json: bool) -> int:
    """Check the database at *path*, say what is wrong with it and what to do, and return the exit status.

    0: it is sound. 1: it is not. 2: it could not be looked at, and standard error says why. 130: interrupted.
    """
    unseen: dict[str, object] = {"file": str(path), "sound": None, "problems": [], "advice": []}
    return run(
        "check", lambda: _check(path, json=json), _hint, told=unseen if json else None, broken=UNUSABLE
    )


def _check(path: Path, *, json: bool) -> int:
    problems = _problems(path)
    advice = _advice(path, problems)
    if json:
        as_json({"file": str(path), "sound": not problems, "problems": problems, "advice": advice})
    elif not problems:
        print(line(f"{path} is sound"))
    else:
        _print(path, problems, advice)
    return BAD if problems else DONE


def _problems(path: Path) -> list[str]:
    try:
        with onewriter.open(path, read_only=True) as db:
            return db.check()
    except onewriter.CorruptDatabase as error:
        return [str(error)]


def _advice(path: Path, problems: Sequence[str]) -> list[str]:
    """Return what to do, in order; nothing where there are no problems."""
    if not problems:
        return []
    if all(any(sign in each for sign in _OF_ROWS) for each in problems):
        return [_ONLY_ROWS]
    advice = [each.format(name=path.name) for each in _ADVICE]
    if all(any(sign in each for sign in _OF_INDEXES) for each in problems):
        advice.insert(1, _ONLY_INDEXES)
    return advice


def _print(path: Path, problems: Sequence[str], advice: Sequence[str]) -> None:
    print(line(f"{path} is not sound:"))
    for problem in problems:
        print(line(f"  {problem}"))
    if len(problems) >= _SHOWN_MAX:
        print(f"  (SQLite stops at {_SHOWN_MAX}: there may be more)")
    print("What to do:")
    for number, each in enumerate(advice, 1):
        print(line(f"  {number}. {each}"))


def _hint(error: onewriter.Error) -> str | None:
    return next((hint for kind, hint in _HINTS if isinstance(error, kind)), unreadable(error))
