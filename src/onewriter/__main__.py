"""``python -m onewriter`` and the ``onewriter`` script. The library works without what the commands need."""

from __future__ import annotations

import sys

_EXTRAS = frozenset({"typer", "rich", "matplotlib", "jinja2", "hdrh"})


def main() -> None:
    """Run the command line; exit with status 2 and one line where an extra is not installed."""
    try:
        from .cli import app

        app(prog_name="onewriter")
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        print(
            f"onewriter: this command needs {error.name}, which is not installed: "
            'pip install "onewriter[stress]"',
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
