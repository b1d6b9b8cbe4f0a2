"""The command line: ``onewriter COMMAND``. Each command loads what it needs when it runs."""

from __future__ import annotations

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


@app.callback()
def onewriter() -> None:
    """SQLite for multithreaded Python services: many readers, one writer, and no "database is locked"."""


@app.command(epilog="Example: **onewriter check data/registry.db**")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The database.", show_default=False)],
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

    raise typer.Exit(run(file, as_json=as_json))


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
) -> None:
    """Upload real files in parallel into one SQLite file, with onewriter and with the ways that fail.

    Each file is uploaded as a service would: one write begins it, one appends each chunk, one puts it under the
    SHA-256 of its content. A write that fails fails the upload. At the end every file is read back and compared.

    With several processes each opens the same database by itself and uploads its share of the files. All begin
    together, and the table says how evenly they were served.

    Shows a table and writes a report with plots. The exit status is 1 where onewriter had one "database is locked",
    one failed upload, one lost or wrong file, or left the database unsound; and where a process died or hung.
    """
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
    )
    raise typer.Exit(run(request))
