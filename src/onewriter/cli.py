"""The command line: ``onewriter COMMAND``. Each command loads what it needs when it runs.

L1  Whether a path can be read is for the command to say: it says what to do, and as JSON where that was asked for.
    So the parser is told not to look (``readable=False``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="onewriter",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def run() -> int:
    """Do what the command line asks for, and return the exit status; a mistake in it is one line, and status 2."""
    usage: type[Exception] = typer.BadParameter.__mro__[1]  # newer releases keep it to themselves
    try:
        status = app(prog_name="onewriter", standalone_mode=False)
    except typer.Abort:
        return 1
    except OSError as error:  # the help cannot be printed
        print(f"onewriter: {error.strerror or error}", file=sys.stderr)
        return 2
    except usage as error:
        if type(error).__name__ != "NoArgsIsHelpError":  # the help is there already
            _complain(error)
        return 2
    return status if isinstance(status, int) else 0


def _complain(error: Exception) -> None:
    from .commands.telling import line

    context = getattr(error, "ctx", None)
    command = "onewriter" if context is None else context.command_path
    message = str(getattr(error, "format_message", error.__str__)())
    print(f"{command}: {line(message).rstrip('.')}; see {command} --help", file=sys.stderr)


def _say_version(asked: bool) -> None:  # noqa: FBT001 - as the parser calls it
    if asked:
        from . import __version__

        print(f"onewriter {__version__}")
        raise typer.Exit


@app.callback()
def onewriter(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    """SQLite for multithreaded Python services: many readers, one writer, and no "database is locked"."""


@app.command(epilog="Example: **onewriter check data/registry.db**")
def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The database.", show_default=False, readable=False)
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Read all of a database and list what is wrong with it, one line each, and what to do.

    The file is opened to be read alone; programs that have it open go on. CHECK constraints are not looked at, since
    SQLite leaves them out where it only reads. SQLite has no checksum of content: a value that was damaged into
    another one is not found.

    The exit status is 0 where it is sound, 1 where it is not, 2 where it could not be looked at.
    """
    from .commands.check import check as run

    raise typer.Exit(run(file, json=as_json))


@app.command(epilog="Example: **onewriter status data/registry.db --dir migrations**")
def status(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The database.", show_default=False, readable=False)
    ],
    *,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            metavar="DIR",
            help="Compare its migrations with these.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Count the rows of each table, which reads all of it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Tell what can be seen of a database from outside: sizes, schema, and who uses it this moment.

    Which process has the write turn and since when, who waits for it, who reads and so keeps the WAL, who has it open,
    and whether a program that is not of onewriter has it locked. Nobody is disturbed by it: no lock is taken that
    others could wait for.

    The exit status is 0 where all was seen, 1 where not all that it holds could be read, 2 where it could not be
    looked at.
    """
    from .commands.status import status as run

    raise typer.Exit(run(file, folder=folder, rows=rows, json=as_json))


@app.command(epilog="Example: **onewriter migrate data/registry.db migrations --dry-run**")
def migrate(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The database; made where it is missing.",
            show_default=False,
            readable=False,
        ),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Scripts named as 0001_initial_schema.sql.",
            show_default=False,
            readable=False,
        ),
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what is pending.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Apply the migrations in a folder that a database has not had yet, each in a transaction of its own.

    Says of each when it is applied. What was applied and has no file, and what was changed since, is told and left.

    The exit status is 0 where all is applied, 1 where one failed (nothing of it is left), 2 where it could not begin.
    """
    from .commands.migrate import migrate as run

    raise typer.Exit(run(file, folder, dry_run=dry_run, json=as_json))


@app.command(epilog="Example: **onewriter snapshot data/registry.db backups --keep 7**")
def snapshot(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The database.", show_default=False, readable=False)
    ],
    dest: Annotated[
        Path,
        typer.Argument(
            metavar="DEST", help="The new file; with --keep a folder.", show_default=False, readable=False
        ),
    ],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DEST if it exists.")] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Name it by the time, and remove all but the last N.", show_default=False
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Open the finished file again, and check its foreign keys too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Copy a database into one file, while programs that have it open go on.

    The copy is complete or absent, private, and checked before it gets its name.

    The exit status is 0 where it is made, 1 where it is not sound, 2 where it could not be made.
    """
    from .commands.snapshot import snapshot as run

    raise typer.Exit(run(file, dest, overwrite=overwrite, keep=keep, verify=verify, json=as_json))


@app.command(epilog="Example: **onewriter restore backups/registry.db data/registry.db**")
def restore(
    snapshot: Annotated[
        Path, typer.Argument(metavar="SNAPSHOT", help="The snapshot.", show_default=False, readable=False)
    ],
    dest: Annotated[
        Path,
        typer.Argument(
            metavar="DEST", help="The database that it becomes.", show_default=False, readable=False
        ),
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Make a database from a snapshot: checked, private, in WAL mode.

    A database at DEST that nobody has open is replaced, whole or not at all; one in use is refused.

    The exit status is 0 where it is restored, 1 where the disk failed on the way, 2 where it was refused.
    """
    from .commands.restore import restore as run

    raise typer.Exit(run(snapshot, dest, json=as_json))


@app.command(
    epilog='Example: **onewriter query data/registry.db "SELECT * FROM blob WHERE size > ?" --param 1024**'
)
def query(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The database.", show_default=False, readable=False)
    ],
    sql: Annotated[
        str, typer.Argument(metavar="SQL", help="One statement that only reads.", show_default=False)
    ],
    *,
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE", help="For the next ? in SQL: a number, null, or a text.", show_default=False
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="table|json|csv", help="How rows are printed.")
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print what a statement returns. The file is opened to be read alone; programs that have it open go on.

    A BLOB is printed as its hexadecimal digits.

    The exit status is 0 where it was read, 2 where it could not be.
    """
    from .commands.query import FORMATS
    from .commands.query import query as run

    if form not in FORMATS:
        raise typer.BadParameter(f"one of {', '.join(FORMATS)}", param_hint="--format")
    raise typer.Exit(run(file, sql, param or (), form="json" if as_json else FORMATS[form]))


@app.command(epilog="Example: **onewriter top http://localhost:9464/metrics --interval 5**")
def top(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|URL", help="A database, or a service's Prometheus endpoint.", show_default=False
        ),
    ],
    *,
    interval: Annotated[float, typer.Option(metavar="S", help="Seconds between two looks.")] = 2.0,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after N looks.", show_default="q or Ctrl-C")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a look, instead of a screen.")
    ] = False,
) -> None:
    """Show what a running service's databases are about, live; q ends it.

    Of a URL: what the service exports by OpenTelemetry and Prometheus of each database, over the last interval: writes
    and commits, how long they wait, readers, the WAL. Of a file: what can be seen from outside, as by status: commits,
    who has the write turn, who waits. Where standard output is no terminal it prints lines.

    The exit status is 0 at the end, 2 where the first look failed, 130 after Ctrl-C. Later failures are shown, and it
    goes on.
    """
    from .commands.top import INTERVAL_S
    from .commands.top import top as run

    least, most = INTERVAL_S
    if not least <= interval <= most:
        raise typer.BadParameter(f"must be from {least:g} to {most:g}", param_hint="--interval")
    raise typer.Exit(run(source, interval_s=interval, count=count, json=as_json))


@app.command(epilog="Example: **onewriter stress --from ~/Pictures --uploaders 32 --report pictures.html**")
def stress(
    *,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="DIR", help="Upload every file below DIR.", show_default="Python's library"
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(metavar="N", help="Processes that upload at the same time into the same file.")
    ] = 1,
    uploaders: Annotated[
        int, typer.Option(metavar="N", help="Threads of each process that upload at the same time.")
    ] = 16,
    chunk: Annotated[
        int, typer.Option(metavar="BYTES", help="Bytes of a file that one write carries.")
    ] = 65_536,
    durability: Annotated[
        str,
        typer.Option(metavar="full|normal", help="What a commit survives: a loss of power, or a crash."),
    ] = "full",
    report: Annotated[Path, typer.Option(metavar="PATH", help="Where the HTML report goes.")] = Path(
        "onewriter-stress.html"
    ),
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Leave the databases in DIR.", show_default="removed at the end"),
    ] = None,
    ways: Annotated[
        str,
        typer.Option(metavar="WAY,WAY", help="Ways to run; onewriter is always among them."),
    ] = "onewriter,locked,deferred,immediate",
    seed: Annotated[int, typer.Option(metavar="N", help="Gives the order of the files.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the table.")
    ] = False,
) -> None:
    """Upload real files in parallel into one SQLite file, with onewriter and with the ways that fail.

    Each file is uploaded as a service would: one write begins it, one appends each chunk, one puts it under the
    SHA-256 of its content. A write that fails fails the upload. At the end every file is read back and compared.

    With several processes each opens the same database by itself and uploads its share of the files. All begin
    together, and the table says how evenly they were served.

    Shows a table and writes a report with plots. The exit status is 1 where onewriter had one "database is locked",
    one failed upload, one lost or wrong file, or left the database unsound; and where a process died or hung. It is 2
    where the run could not begin, or its report could not be written, and 130 after Ctrl-C.
    """
    from .commands.telling import run as told
    from .stress.command import Request
    from .stress.command import stress as run

    request = Request(
        folder=folder,
        processes=processes,
        uploaders=uploaders,
        chunk_bytes=chunk,
        durability=durability,
        report=report,
        keep=keep,
        ways=ways,
        seed=seed,
        json=as_json,
    )
    raise typer.Exit(told("stress", lambda: run(request)))
