"""``python -m bench.registry``: serve a folder as a container registry."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import onewriter
from bench.registry.server import serve
from bench.registry.settings import Settings

_MISUSED = 2


def _command(
    *,
    root: Annotated[Path, typer.Option(metavar="DIR", help="The folder; it is made where it is missing.")],
    port: Annotated[
        int,
        typer.Option(metavar="PORT", min=0, max=65535, help="Of the loopback address; 0 picks a free one."),
    ],
    processes: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Workers.")] = 1,
    threads: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="Requests that a worker serves at a time.")
    ] = 64,
    blobs: Annotated[
        Literal["disk", "database"], typer.Option(help="Where new blobs go; old ones stay where they are.")
    ] = "disk",
    stall: Annotated[
        float, typer.Option(metavar="S", min=0.1, help="Give up a client that is silent for so long.")
    ] = 60.0,
    abandoned: Annotated[
        float, typer.Option(metavar="S", min=0.0, help="Drop an upload that has not grown for so long.")
    ] = 24 * 3600.0,
) -> None:
    """Serve a folder as a container registry, by the OCI Distribution Specification, on the loopback address.

    Prints one line once it listens. SIGTERM or Ctrl-C ends it when the requests at work are done. Several servers may
    serve one folder. Example: scripts/registry --root /tmp/registry --port 5000 --processes 4
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s [%(process)d] %(name)s: %(message)s")
    settings = Settings(
        root=root.absolute(),
        place=blobs,
        processes=processes,
        threads=threads,
        stall_s=stall,
        abandoned_s=abandoned,
    )
    try:
        serve(settings, port)
    except (OSError, onewriter.Error) as error:
        about = f"port {port}" if isinstance(error, OSError) and error.filename is None else f"folder {root}"
        print(f"registry: cannot serve {about}: {_reason(error)}", file=sys.stderr)
        sys.exit(_MISUSED)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).replace(
        "\n", " "
    )


def main() -> None:
    """Run the command."""
    typer.run(_command)


if __name__ == "__main__":
    main()
