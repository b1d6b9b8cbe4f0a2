"""Rows: tuples in every respect, and their columns by name."""

# APSW's stub leaves the type of a bound buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
import threading
import weakref
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onewriter.errors import ProgrammingError
from onewriter.rows import Row, make_row, row_class
from onewriter.values import Value

BLOB = make_row(("digest", "size"), ("sha256:1", 32))
VALUES = st.none() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
COLUMNS = st.dictionaries(st.text(), VALUES)


def test_a_row_is_a_tuple() -> None:
    """It compares, hashes, sorts, unpacks, iterates and is asked by place as one."""
    digest, size = BLOB
    assert (digest, size) == ("sha256:1", 32) == BLOB
    assert hash(BLOB) == hash(("sha256:1", 32))
    assert sorted([make_row(("a",), (2,)), make_row(("b",), (1,))]) == [(1,), (2,)]
    assert (BLOB[0], BLOB[-1], len(BLOB), list(BLOB), 32 in BLOB) == (
        "sha256:1",
        32,
        2,
        ["sha256:1", 32],
        True,
    )
    assert BLOB.index(32) == 1
    assert BLOB.count("size") == 0
    assert (*BLOB, 1) == ("sha256:1", 32, 1)
    assert {BLOB, ("sha256:1", 32)} == {BLOB}
    match BLOB:
        case (str(), int(found)):
            assert found == 32
        case _:
            pytest.fail("a row is a sequence to a match statement")


def test_a_slice_is_a_plain_tuple() -> None:
    """A part of the columns is another shape, of which nothing is known."""
    assert type(BLOB[:1]) is tuple
    assert BLOB[::-1] == (32, "sha256:1")


def test_columns_are_asked_for_by_name() -> None:
    """Also those that are named as a method, or as no attribute could be."""
    row = make_row(("keys", "count(*)", ""), (1, 2, 3))
    assert (row["keys"], row["count(*)"], row[""]) == (1, 2, 3)
    assert row.keys() == ("keys", "count(*)", "")


def test_columns_are_no_attributes() -> None:
    """Nor can any be set."""
    row: Any = BLOB
    with pytest.raises(AttributeError):
        row.size  # noqa: B018 - is to fail
    with pytest.raises(AttributeError):
        row.size = 1
    assert not hasattr(row, "__dict__")


def test_a_row_is_a_mapping_to_dict_and_to_a_call() -> None:
    """`dict(row)` and `f(**row)` take its columns by name."""
    assert dict(BLOB) == {"digest": "sha256:1", "size": 32}
    assert dict(**BLOB) == {"digest": "sha256:1", "size": 32}


def test_an_unknown_name_is_a_key_error() -> None:
    """Its message has the names that there are, and no value."""
    with pytest.raises(KeyError, match="no column 'sise', but 'digest', 'size'") as caught:
        BLOB["sise"]
    assert "sha256" not in str(caught.value)


def test_a_name_of_two_columns_is_refused() -> None:
    """A join of two tables with an `id` each: which one is meant cannot be known. By place both are there."""
    row = make_row(("id", "id", "size"), (1, 2, 3))
    with pytest.raises(ProgrammingError, match="2 columns of the row are named 'id'"):
        row["id"]
    with pytest.raises(ProgrammingError, match="2 columns"):
        dict(row)
    assert (row[0], row[1], row["size"]) == (1, 2, 3)


@pytest.mark.parametrize("key", [2, -3])
def test_a_place_outside_is_an_index_error(key: int) -> None:
    """As for a tuple."""
    with pytest.raises(IndexError):
        BLOB[key]


def test_another_key_is_a_type_error() -> None:
    """As for a tuple."""
    wrong: Any = 1.5
    with pytest.raises(TypeError):
        BLOB[wrong]


@pytest.mark.parametrize(
    "names, values, shown",
    [
        (("digest", "size"), ("sha256:1", 32), "Row(digest='sha256:1', size=32)"),
        (("count(*)",), (3,), "Row({'count(*)': 3})"),
        (("from",), (None,), "Row({'from': None})"),
        (("id", "id"), (1, 2), "Row({'id': 1, 'id': 2})"),
        (("größe",), (b"x",), "Row(größe=b'x')"),
        ((), (), "Row()"),
        ((), (1, 2), "Row((1, 2))"),
    ],
)
def test_repr(names: tuple[str, ...], values: tuple[Value, ...], shown: str) -> None:
    """It reads as a call, or as a dictionary where the names could not stand in a call."""
    assert repr(make_row(names, values)) == shown


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_row_survives_a_pickle(protocol: int) -> None:
    """With its names, in every protocol."""
    same = pickle.loads(pickle.dumps(BLOB, protocol))
    assert (same, same.keys(), repr(same), type(same)) == (BLOB, BLOB.keys(), repr(BLOB), type(BLOB))


@given(COLUMNS)
def test_any_row_survives_a_pickle_and_a_copy(columns: dict[str, Value]) -> None:
    """Whatever its names and values."""
    row = make_row(tuple(columns), tuple(columns.values()))
    for same in (pickle.loads(pickle.dumps(row)), copy.copy(row), copy.deepcopy(row)):
        assert same == row
        assert dict(same) == columns
        assert isinstance(same, Row)


def _told(row: Row) -> tuple[str, Row]:
    return repr(row), row


def test_a_row_goes_to_another_process_and_back() -> None:
    """One that was started afresh, and has no shape yet."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        shown, same = pool.apply(_told, (BLOB,))
    assert shown == repr(BLOB)
    assert dict(same) == dict(BLOB)


def test_the_class_is_named_row() -> None:
    """As messages and profilers show it; all are rows."""
    assert type(BLOB).__name__ == type(BLOB).__qualname__ == "Row"
    assert type(BLOB).__module__ == "onewriter.rows"
    assert issubclass(type(BLOB), Row)


def test_a_shape_is_made_once() -> None:
    """Rows of one statement are of one class; other names are another."""
    assert row_class(("a", "b")) is row_class(("a", "b"))
    assert row_class(("a", "b")) is not row_class(("b", "a"))


def test_rows_of_apsw_become_rows() -> None:
    """What a cursor gives, made in one go."""
    cursor = apsw.Connection(":memory:").execute("VALUES (1, 'a'), (2, 'b')")
    names = tuple(column[0] for column in cursor.get_description())
    rows = list(map(row_class(names), cursor))
    assert rows == [(1, "a"), (2, "b")]
    assert [dict(row) for row in rows] == [{"column1": 1, "column2": "a"}, {"column1": 2, "column2": "b"}]


def test_shapes_without_end_are_forgotten() -> None:
    """A program that makes a name of every number keeps the last shapes alone; rows keep their own."""
    first = make_row(("first of many",), (1,))
    shapes = [weakref.ref(row_class((f"column {number}",))) for number in range(3_000)]
    gc.collect()
    assert sum(shape() is not None for shape in shapes) <= 1_000
    assert dict(first) == {"first of many": 1}


def test_threads_that_make_one_shape() -> None:
    """Each gets rows of its names, whoever was first."""
    names = [(f"thread {number}", "value") for number in range(50)]
    start = threading.Barrier(8)
    found: list[list[dict[str, Value]]] = []

    def work() -> None:
        start.wait(10)
        found.append([dict(make_row(each, (1, 2))) for each in names])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [[{name: 1, "value": 2} for name, _ in names]] * 8
