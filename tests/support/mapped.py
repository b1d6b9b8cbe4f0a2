"""One row through a mapping: what is made of it, or the error."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import pytest

from onewriter.errors import ProgrammingError, RowMismatch
from onewriter.mapping import check_into, is_scalar, mapper, takes_null
from onewriter.values import Value

SECRET = "the-value-that-nobody-may-see"


def one(into: Any, /, **columns: Value) -> Any:  # noqa: ANN401 - as `into` says
    """Return what is made of one row; `all` makes the same."""
    made = mapper(into, tuple(columns))
    row = tuple(columns.values())
    found = made.one(row)
    assert made.all([row, row]) == [found, found]
    assert made.all([]) == []
    return found


def mismatch(into: Any, /, **columns: Value) -> RowMismatch:  # noqa: ANN401 - as `into` says
    """Return the error for one row: it says nothing of `SECRET`, survives a pickle, and `all` raises the same."""
    with pytest.raises(RowMismatch) as caught:
        mapper(into, tuple(columns)).one(tuple(columns.values()))
    with pytest.raises(RowMismatch) as again:
        mapper(into, tuple(columns)).all([tuple(columns.values())])
    error = caught.value
    assert str(again.value) == str(error)
    assert SECRET not in str(error)
    assert (error.ran, error.sql) == ("rolled_back", None)
    same = pickle.loads(pickle.dumps(error))
    assert (type(same), str(same), same.__dict__) == (RowMismatch, str(error), error.__dict__)
    return error


def refused(into: object) -> str:
    """Return the message for a type that no row can become: each question gives it, before any row."""
    wrong: Any = into
    messages: set[str] = set()
    questions: list[Any] = [check_into, takes_null, is_scalar, partial(mapper, names=("a",))]
    for ask in questions:
        with pytest.raises(ProgrammingError) as caught:
            ask(wrong)
        assert not isinstance(caught.value, RowMismatch)
        messages.add(str(caught.value))
    assert len(messages) == 1
    return messages.pop()
