"""``python -m onewriter`` and the ``onewriter`` script. The library works without what the commands need."""

from __future__ import annotations

import sys

# What a command may find missing, and the extra that has it. All that `stress` needs comes with one of its own.
_EXTRAS = {
    "typer": "cli",
    "rich": "cli",
    "prometheus_client": "cli",
    "matplotlib": "stress",
    "jinja2": "stress",
    "hdrh": "stress",
}


def main() -> None:
    """Run the command line; exit with status 2 and one line where an extra is not installed."""
    try:
        from .cli import run

        status = run()
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        extra = "stress" if sys.argv[1:2] == ["stress"] else _EXTRAS[error.name]
        print(
            f"onewriter: this command needs {error.name}, which is not installed: "
            f'pip install "onewriter[{extra}]"',
            file=sys.stderr,
        )
        status = 2
    except KeyboardInterrupt:  # before the command could say so
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
