"""One step of the schema, where a list of them comes from, and how the list and a file compare.

M1  The list is checked before anything runs: versions are unique, positive and ascending.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import statements
from .errors import Error, MigrationError, ProgrammingError, quoted
from .parameters import each_of
from .transaction import Transaction

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_VERSION_MAX: Final = 2**63 - 1
_FILE: Final = re.compile(r"(?P<version>[0-9]+)_(?P<name>.+)\.sql", re.DOTALL)
_REBUILD: Final = re.compile(r"\s*--\s*onewriter:\s*rebuild\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema.

    Attributes:
        version: a whole number above 0; the list ascends by it.
        name: what it does, for people.
        sql: a script of one or more statements, or a function of a `Transaction`. Neither begins or ends a
            transaction: the migration has one of its own.
        rebuild: foreign keys are off while it runs, and checked before its commit; for changes that SQLite makes by
            building a table anew.
    """

    version: int
    name: str
    sql: str | Callable[[Transaction], object]
    rebuild: bool = False

    @staticmethod
    def from_dir(path: str | os.PathLike[str] | Traversable) -> tuple[Migration, ...]:
        """Return the migrations in the folder *path*: one a file ``0001_initial_schema.sql``, in the order of versions.

        The number is the version, the rest the name; a first line ``-- onewriter: rebuild`` is ``rebuild=True``. Files
        that do not end in ``.sql`` are passed over. *path* may be a folder among a package's own files:
        ``importlib.resources.files("app") / "migrations"``, also where that is in a zip file
        (https://docs.python.org/3/library/importlib.resources.html).

        Raises:
            MigrationError: the folder or a file cannot be read, a name has no version, or two have the same.
        """
        folder = Path(path) if isinstance(path, (str, os.PathLike)) else path
        found = sorted(_files(folder), key=lambda each: (each[0].version, each[1]))
        for (before, other), (each, name) in pairwise(found):
            if before.version == each.version:
                msg = f"{folder}: {other} and {name} have the same version"
                raise MigrationError(msg, version=each.version, name=each.name)
        return check(each for each, _name in found)

    def checksum(self) -> str | None:
        """Return the script's SHA-256 by its statements; None for a function, whose text cannot be compared."""
        if not isinstance(self.sql, str):
            return None
        import hashlib  # noqa: PLC0415 - it loads OpenSSL, which a program without migrations need not

        digest = hashlib.sha256()
        for text, _line in statements.split(self.sql):
            digest.update(text.encode("utf-8", "surrogatepass"))
            digest.update(b"\0")
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedMigration:
    """One row of the table: what was applied, and when.

    Attributes:
        version: its number.
        name: its name when it was applied.
        applied_at: when that was, as RFC 3339 in UTC, to the second.
    """

    version: int
    name: str
    applied_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """How the code's migrations and the file's compare; each in ascending order.

    Attributes:
        applied: what the file has.
        pending: what the code has and the file not.
        unknown: what the file has and the code not.
        changed: scripts of the code that differ from what was applied.
    """

    applied: tuple[AppliedMigration, ...]
    pending: tuple[Migration, ...]
    unknown: tuple[AppliedMigration, ...]
    changed: tuple[Migration, ...]


def check(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """Return *migrations*, or refuse the list (M1) before anything runs.

    Raises:
        MigrationError: which one is wrong, and how.
    """
    checked: list[Migration] = []
    if isinstance(migrations, (str, os.PathLike)):
        msg = "migrations must be Migration objects, not a path: Migration.from_dir(path) reads a folder's"
        raise MigrationError(msg)
    try:
        given = list(each_of(migrations, "migrations"))
    except ProgrammingError as error:
        msg = f"migrations must be a sequence of Migration objects, not one {type(migrations).__name__}"
        raise MigrationError(msg) from error
    for each in given:
        problem = _problem(each, checked[-1].version if checked else 0)
        if problem is not None:
            raise MigrationError(
                problem, version=getattr(each, "version", None), name=getattr(each, "name", None)
            )
        checked.append(each)
    return tuple(checked)


def _problem(each: object, before: int) -> str | None:
    if not isinstance(each, Migration):
        return f"migrations must be Migration objects, not {type(each).__name__}"
    label = f"migration {quoted(each.version)} ({quoted(each.name)})"
    if type(each.version) is not int or not 0 < each.version <= _VERSION_MAX:
        return f"{label}: the version must be a whole number above 0"
    if type(each.name) is not str or not each.name.strip():
        return f"{label}: the name must be a text that is not empty"
    if each.version == before:
        return f"{label}: the version occurs twice"
    if each.version < before:
        return f"{label}: it comes after version {before}; the list must ascend"
    if isinstance(each.sql, str):
        return _script_problem(each.sql, label)
    work: object = each.sql
    if callable(work):
        return None
    return f"{label}: sql must be a script or a function of a Transaction, not {type(work).__name__}"


def _script_problem(script: str, label: str) -> str | None:
    try:
        if next(statements.split(script), None) is None:
            return f"{label}: the script holds no statement"
    except Error as error:
        return f"{label}: {error}"
    return None


def _files(folder: Path | Traversable) -> Iterator[tuple[Migration, str]]:
    """Yield what each file of *folder* holds, with the file's name."""
    try:
        files = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    except OSError as error:
        msg = f"cannot read the migrations in {folder}: {error.strerror or error}"
        raise MigrationError(msg) from error
    for file in files:
        named = _FILE.fullmatch(file.name)
        if named is None:
            msg = f"{folder}: {file.name} must be named by its version and what it does, as 0001_initial_schema.sql"
            raise MigrationError(msg)
        version, name = int(named["version"]), named["name"]
        try:
            script = file.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or error
            msg = f"cannot read the migration {folder}{os.sep}{file.name}: {reason}"
            raise MigrationError(msg, version=version, name=name) from error
        yield Migration(version, name, script, rebuild=_REBUILD.match(script) is not None), file.name
