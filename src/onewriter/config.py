"""Every limit of a database, in one frozen place; none is infinite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from .clock import LONGEST_S
from .errors import ProgrammingError, quoted
from .trails import Listener

if TYPE_CHECKING:
    import apsw

Durability = Literal["full", "normal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The limits of one database; a wrong value is refused with its name.

    Attributes:
        readers_max: read-only connections open at most.
        pending_max: requests that may wait in line. Calls that find it full wait for room, up to their deadline;
            `submit` is refused with `QueueFull`.
        write_timeout_s: how long a write waits for its turn where the call does not say.
        read_timeout_s: how long a read waits for a reader where the call does not say.
        statement_timeout_s: how long one request's own work inside SQLite may run. Migrations, snapshots and
            checks are outside it.
        migrate_timeout_s: how long a starter waits for another's migration.
        reader_age_max_s: how long one read may keep its snapshot, which keeps the WAL from starting over: a query, a
            `read`, a `read_transaction`, a `stream`. Past that it is ended with `StatementTimeout`, whatever it does.
            Snapshots, checks and migrations are outside it.
        batch_max: requests that may share one commit.
        batch_s: how long a shared commit may gather requests before it is made.
        hold_s: how long a `transaction` may keep the write turn where the call does not say; past that it is rolled
            back.
        holder_warn_s: a write turn that is held longer is logged once, with the stack of the thread that holds it.
        lead_s: how long a caller whose own outcome is known may be kept serving others' statements.
        wal_bytes_max: what the WAL may hold before writers are paused, up to *checkpoint_pause_s*, so that it can start
            over. It stays below twice as much while writes go on and readers come and go; a reader that keeps its
            snapshot for longer lets it grow, and is named in the log.
        checkpoint_pause_s: how long the writers may be paused for that at a time; 0: never, and then the WAL starts
            over only when there is a lull.
        checkpoint: ``auto``, or ``external`` for a tool that owns the checkpoints, that at close included.
        cache_bytes: page cache of each connection (https://sqlite.org/pragma.html#pragma_cache_size).
        mmap_bytes: how much of the file each connection reads through memory that it maps, 0 for none. A mapped file
            that cannot be read ends the process by a signal, where a read would be a `DiskError`
            (https://sqlite.org/mmap.html).
        statement_cache_max: compiled statements that each connection keeps, by their text.
        optimize: have SQLite look over its planner's statistics after migrations and at `close`
            (https://sqlite.org/pragma.html#pragma_optimize).
        observe_poll_s: how often `observe` looks whether another process has committed; no more than 1,000 times a
            second.
        observe_rowids_max: how many rowids of each table `observe` tells of at once; of more it says that there are.
        file_mode: permissions of the database and of all files beside it, and the widest that an existing file keeps;
            0o600 is the owner alone.
        vfs: name of a registered SQLite VFS, or None for the platform's own.
        on_connect: called with each new APSW connection before its first use (functions, collations, tokenizers).
        slow_request_s: a call that takes longer is logged once it has ended, by the logger ``onewriter.slow``: how long
            it waited and for whom, how long it ran, and its commit. None: no call is.
        telemetry: who is told of each call and each commit, such as a `onewriter.telemetry.Telemetry`; None: nobody.
    """

    readers_max: int = 4
    pending_max: int = 10_000
    write_timeout_s: float = 30.0
    read_timeout_s: float = 30.0
    statement_timeout_s: float = 300.0
    migrate_timeout_s: float = 600.0
    reader_age_max_s: float = 300.0
    batch_max: int = 256
    batch_s: float = 0.005
    lead_s: float = 0.002
    hold_s: float = 300.0
    holder_warn_s: float = 10.0
    wal_bytes_max: int = 64 * 1024 * 1024
    checkpoint_pause_s: float = 0.05
    checkpoint: Literal["auto", "external"] = "auto"
    cache_bytes: int = 8 * 1024 * 1024
    mmap_bytes: int = 0
    statement_cache_max: int = 100
    optimize: bool = True
    observe_poll_s: float = 0.1
    observe_rowids_max: int = 1000
    file_mode: int = 0o600
    vfs: str | None = None
    on_connect: Callable[[apsw.Connection], None] | None = None
    slow_request_s: float | None = None
    telemetry: Listener | None = None

    def __post_init__(self) -> None:
        """Refuse a value that no database could keep to."""
        for field in fields(self):
            problem = _problem(field.name, getattr(self, field.name))
            if problem is not None:
                msg = f"Config.{field.name} {problem}"
                raise ProgrammingError(msg)


_COUNT_MAX = 2**31 - 1
_BYTES_MAX = 2**40
# From and to what: there is an object for each reader from the beginning, and SQLite has its own limits of the others.
_COUNTS = {
    "readers_max": (1, 10_000),
    "pending_max": (1, _COUNT_MAX),
    "batch_max": (1, _COUNT_MAX),
    "wal_bytes_max": (64 * 1024, _BYTES_MAX),
    "cache_bytes": (64 * 1024, _BYTES_MAX),
    "mmap_bytes": (0, _BYTES_MAX),
    "statement_cache_max": (0, _COUNT_MAX),
    "observe_rowids_max": (0, 1_000_000),
}
_CHOICES: dict[str, tuple[object, object]] = {"optimize": (True, False), "checkpoint": ("auto", "external")}
# What may be None, how anything else is looked at, and what it is to be.
_OPTIONAL: dict[str, tuple[Callable[[object], bool], str]] = {
    "vfs": (lambda value: isinstance(value, str) and bool(value), "the name of a registered VFS"),
    "on_connect": (callable, "a function of an apsw.Connection"),
    "telemetry": (
        lambda value: isinstance(value, Listener) and not isinstance(value, type),
        "a onewriter.telemetry.Telemetry",
    ),
    "slow_request_s": (lambda _value: True, "a number of seconds"),
}
_MODE_MAX = 0o777
_OWNER = 0o600


def _problem(name: str, value: object) -> str | None:
    if value is None and name in _OPTIONAL:
        return None
    if name in _COUNTS or name.endswith("_s"):
        return _problem_of_number(name, value)
    if name in _CHOICES:
        choices = _CHOICES[name]
        if type(value) is not type(choices[0]) or value not in choices:
            return f"must be {choices[0]!r} or {choices[1]!r}, not {quoted(value)}"
    elif name == "file_mode":
        if type(value) is not int or not 0 <= value <= _MODE_MAX or value & _OWNER != _OWNER:
            return f"must be permission bits that let the owner read and write, such as 0o600, not {quoted(value)}"
    elif not _OPTIONAL[name][0](value):
        return f"must be {_OPTIONAL[name][1]}, or None, not {quoted(value)}"
    return None


def _problem_of_number(name: str, value: object) -> str | None:
    if name in _COUNTS:
        least, most = _COUNTS[name]
        if type(value) is not int or not least <= value <= most:
            return f"must be a whole number, at least {least} and at most {most}, not {quoted(value)}"
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LONGEST_S:
        return f"must be a number of seconds, 0 or more and finite, not {quoted(value)}"
    return None


def check_config(value: object) -> Config:
    """Return *value*, or the defaults where it is None; refuse anything else."""
    if value is None:
        return Config()
    if not isinstance(value, Config):
        msg = f"config must be a Config, not {type(value).__name__}"
        raise ProgrammingError(msg)
    return value


def check_durability(value: object) -> Durability:
    """Return *value* if it names a durability, else refuse it.

    ``full`` syncs the WAL at each commit and so survives a loss of power; ``normal`` survives a crash of the
    process (https://sqlite.org/pragma.html#pragma_synchronous).
    """
    if value == "full":
        return "full"
    if value == "normal":
        return "normal"
    msg = f"durability must be 'full' or 'normal', not {quoted(value)}"
    raise ProgrammingError(msg)
