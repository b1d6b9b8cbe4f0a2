"""How a command tells what came of it: lines for people, JSON for programs, and an exit status for scripts.

T1  An error is one line on standard error, which says what to do; never a traceback for a user's mistake.
T2  0: done. 1: done, and the answer is bad, or it failed on the way. 2: it could not be begun. 130: interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from typing import Final

import onewriter

DONE: Final = 0
BAD: Final = 1
UNUSABLE: Final = 2
INTERRUPTED: Final = 130


def run(
    command: str,
    work: Callable[[], int],
    hint: Callable[[onewriter.Error], str | None],
    *,
    told: Mapping[str, object] | None = None,
    broken: int = BAD,
) -> int:
    """Do *work* and return its exit status; where an error of the library leaves it, say so with the *hint* to it.

    Where JSON was asked for, *told* is the object that says so too. *broken* is the status where something ran, and
    was undone.
    """
    for stream in (sys.stdout, sys.stderr):  # a name that cannot be printed is no reason for a traceback
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return work()
    except onewriter.Error as error:
        message = complain(command, error, hint(error))
        if told is not None:
            as_json({**told, "error": message})
        return UNUSABLE if error.ran == "no" else broken
    except KeyboardInterrupt:
        print(f"onewriter {command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at its end
        return DONE


def complain(command: str, what: object, hint: str | None = None) -> str:
    """Say on standard error, in one line, what went wrong, and what to do; return that line."""
    message = line(f"{what}; {hint}" if hint else str(what))
    print(f"onewriter {command}: {message}", file=sys.stderr)
    return message


def as_json(told: Mapping[str, object]) -> None:
    """Print one JSON object."""
    print(json.dumps(told))


def line(text: str) -> str:
    """Return *text* as one line, whatever a file or a table is named."""
    return " ".join(text.splitlines())
