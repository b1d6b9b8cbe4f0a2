"""What a statement did."""

from __future__ import annotations

from typing import NamedTuple

from .rows import Row


class Result(NamedTuple):
    """What a statement did.

    Attributes:
        rows: the rows it returned (a ``RETURNING`` clause, or a SELECT).
        changes: rows that it inserted, changed or deleted itself, not its triggers
            (https://sqlite.org/c3ref/changes.html); 0 where there were none.
        last_insert_rowid: the rowid of the last row that it inserted, or 0.
    """

    rows: list[Row]
    changes: int
    last_insert_rowid: int
