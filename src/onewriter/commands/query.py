"""``onewriter query``: what a statement that only reads returns, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

import onewriter
from onewriter import SQL, Param, ProgrammingError, Row, Value

from .telling import DONE, UNUSABLE, Refused, run, unreadable

Format: TypeAlias = Literal["table", "json", "csv"]
FORMATS: Final[dict[str, Format]] = {"table": "table", "json": "json", "csv": "csv"}
_HINTS: Final[tuple[tuple[type[onewriter.Error], str], ...]] = (
    (onewriter.ForbiddenStatement, "the command only reads"),
    (ProgrammingError, "mend the statement, or its parameters (--param)"),
)


def query(path: Path, sql: str, params: Sequence[str], *, form: Format) -> int:
    """Print what *sql* returns in the given *form*, and return the exit status."""

    def work() -> int:
        with (
            onewriter.open(path, read_only=True) as db,
            db.stream(SQL(sql), tuple(_param(each) for each in params)) as rows,
        ):
            {"table": _table, "json": _json, "csv": _csv}[form](rows)
        return DONE

    told = {"file": str(path)} if form == "json" else None
    return run("query", work, _hint, told=told, broken=UNUSABLE)


def _hint(error: onewriter.Error) -> str | None:
    if isinstance(error, (onewriter.CannotOpen, onewriter.NotADatabase, onewriter.ReadOnlyDatabase)):
        return unreadable(error)
    return next((hint for kind, hint in _HINTS if isinstance(error, kind)), None)


def _param(text: str) -> Param:
    """Return what *text* is in JSON, where that is a number, null, or a text in quotes; else the text itself."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return (
        cast("Param", value)
        if value is None or (isinstance(value, (int, float, str)) and not isinstance(value, bool))
        else text
    )


def _table(rows: Iterable[Row]) -> None:
    """Print a table; a value that is NULL is dim, so that it is not the text."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for number, row in enumerate(rows):
        if number == 0:
            for name in row.keys():  # noqa: SIM118 - a row is a tuple of values
                table.add_column(Text(name))
        table.add_row(*(Text("NULL", style="dim") if each is None else Text(_shown(each)) for each in row))
    if table.columns:
        Console(width=None if sys.stdout.isatty() else 10_000).print(table)
    else:
        print("no rows")


def _json(rows: Iterable[Row]) -> None:
    """Print a list of objects, one a line; a BLOB is its hexadecimal digits.

    Where it fails on the way, the list of what was read is ended all the same.
    """
    opening = "["
    try:
        for row in rows:
            if opening == "[":
                _check_names(row.keys())
            told = (
                f"{json.dumps(name)}: {_literal(value)}" for name, value in zip(row.keys(), row, strict=True)
            )
            print(opening, "{", ", ".join(told), "}", sep="", end="")
            opening = ",\n"
    except onewriter.Error:
        if opening != "[":
            print("]")
        raise
    print("[]" if opening == "[" else "]")


def _check_names(names: Sequence[str]) -> None:
    """Refuse two columns of one name: an object keeps one of them, without a word."""
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        msg = f"two columns are named {twice}: an object has room for one; name them apart (AS), or take --format csv"
        raise Refused(msg)


def _literal(value: Value) -> str:
    """Return *value* in JSON, which has no infinity: 9e999 is what SQLite writes, and what parsers take for it."""
    if isinstance(value, bytes):
        return f'"{value.hex()}"'
    if isinstance(value, float) and math.isinf(value):
        return "9e999" if value > 0 else "-9e999"
    return json.dumps(value)


def _csv(rows: Iterable[Row]) -> None:
    """Print RFC 4180's lines, names first; NULL is nothing, a BLOB its hexadecimal digits."""
    writer = csv.writer(sys.stdout)
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row.keys())
        writer.writerow("" if each is None else _shown(each) for each in row)


def _shown(value: Value) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
