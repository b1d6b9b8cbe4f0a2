"""How a command tells what came of it: lines for people, JSON for programs, and an exit status for scripts.

T1  An error is one line on standard error, which says what to do; never a traceback for a user's mistake. What others
    have named (files, tables, processes) cannot make more of it, nor control the terminal.
T2  0: done. 1: done, and the answer is bad, or it failed on the way. 2: it could not be begun. 130: interrupted.
    128 and a signal's number: ended by that.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import TextIOWrapper
from typing import Final

import onewriter

from .endings import Ended

DONE: Final = 0
BAD: Final = 1
UNUSABLE: Final = 2
INTERRUPTED: Final = 130
_SIGNALLED: Final = 128  # and the number of the signal, as shells have it


_UNREADABLE: Final = "give the path of a database that you may read"
# The library's messages are for who writes Python. These words of theirs, in the words of the shell.
_WORDS: Final = (
    (", and read_only=True creates none", ""),
    ("or pass overwrite=True", "or give --overwrite"),
    ("; writes go through db.execute() or db.write()", ""),
    (" (tx.script() runs several)", ""),
)


class Refused(Exception):
    """What was asked for cannot be done; the message says why, and what to do."""


def run(
    command: str,
    work: Callable[[], int],
    hint: Callable[[onewriter.Error], str | None] = lambda _error: None,
    *,
    told: Mapping[str, object] | None = None,
    broken: int = BAD,
) -> int:
    """Do *work* and return its exit status; where an error of the library leaves it, say so with the *hint* to it.

    Where JSON was asked for, *told* is the object that says so too. *broken* is the status where something ran, and
    was undone.
    """
    _prepare_streams()
    try:
        status = work()
        sys.stdout.flush()
    except onewriter.Error as error:
        return _failed(command, error, hint(error), UNUSABLE if error.ran == "no" else broken, told)
    except Refused as error:
        return _failed(command, error, None, UNUSABLE, told)
    except Ended as error:
        print(f"onewriter {command}: ended by {error.signal.name}", file=sys.stderr)
        return _SIGNALLED + error.signal
    except KeyboardInterrupt:
        print(f"onewriter {command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # who reads has enough
        _mute()
        return DONE
    except OSError as error:  # the disk that standard output goes to is full, a folder cannot be listed
        _mute()
        where = f"{error.filename}: " if error.filename else ""
        return _failed(command, f"{where}{error.strerror or error}", None, broken, told)
    return status


def _prepare_streams() -> None:
    """Have each stream take whatever a file is named, and be there where it was closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):  # a name that cannot be printed is no reason for a traceback
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _mute() -> None:
    """Let what standard output still keeps go nowhere, or Python would complain at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(
    command: str, what: object, hint: str | None, status: int, told: Mapping[str, object] | None
) -> int:
    message = complain(command, what, hint)
    if told is not None:
        as_json({**told, "error": message})
    return status


def complain(command: str, what: object, hint: str | None = None) -> str:
    """Say on standard error, in one line, what went wrong, and what to do; return that line."""
    said = str(what)
    for python, shell in _WORDS:
        said = said.replace(python, shell)
    message = line(f"{said}; {hint}" if hint else said)
    print(f"onewriter {command}: {message}", file=sys.stderr)
    return message


def unreadable(error: onewriter.Error) -> str | None:
    """Return what to do about a file that could not be opened to be read alone."""
    if isinstance(error, onewriter.ReadOnlyDatabase):
        return "do it as a user who may write there, or with a copy of it and its -wal"
    return None if "; give the path" in str(error) else _UNREADABLE


def as_json(told: Mapping[str, object]) -> None:
    """Print one JSON object."""
    print(json.dumps(told))


def line(text: str) -> str:
    """Return *text* as one line that controls no terminal, whatever a file or a table is named."""
    joined = " ".join(text.splitlines())
    if joined.isprintable():
        return joined
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in joined)
