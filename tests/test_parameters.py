"""Parameters: found where SQLite finds them, checked against what is given, and values made native."""

# APSW's stub leaves the type of a bound buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import pickle
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import apsw
import apsw.ext
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onewriter.errors import ProgrammingError
from onewriter.parameters import Parameters, Params, check_named, count_mismatch, native, parameters
from onewriter.rows import make_row

SECRET = "the-value-that-nobody-may-see"

STATEMENTS = [
    "SELECT 1",
    "SELECT ?",
    "SELECT ?, ?",
    "SELECT ?5",
    "SELECT ?005",
    "SELECT ?1, ?01",
    "SELECT ?, ?1",
    "SELECT ?2, ?",
    "SELECT ?a",
    "SELECT :a, :a",
    "SELECT :a, @a, $a",
    "SELECT ?, :a, ?2, ?",
    "SELECT ?3, :b, ?3",
    "SELECT :a, ?1, ?2, ?",
    "SELECT ?2, :a, ?2, ?1",
    "SELECT ?1, :a, ?",
    "SELECT :1, $1, @1",
    "SELECT :é, ?3, :é, :_, :a1",
    "SELECT #abc",
    "SELECT $a::b(c), :x::y, @z(q), $a()",
    "SELECT $a(b'c)','",
    "SELECT :a::, :::b",
    "SELECT :a$b$c",
    "SELECT a$b FROM (SELECT 1 AS a$b)",
    "SELECT \ufeff$a, 1 AS a\ufeff, :\ufeffa",
    "SELECT x'ab', X'cd', '?', ':a', 'it''s ?'",
    'SELECT 1 AS ":a", 2 AS "a""?", :b',
    "SELECT 1 AS `:a`, 2 AS [b?c], :d",
    "SELECT 1 -- ? :a\n, ?",
    "SELECT 1 -- never ends ? :a",
    "SELECT 1 /* ? :a 'b */, ?",
    "SELECT 1/*/?*/",
    "SELECT 1 /* never ends ?",
    "SELECT '{}'->'$.x', '{}'->>'$.y', ?",
    "SELECT '{}'->:path, -:a, -?, 1-?-:b",
    "SELECT 1e5, 0x1f, .5e-3, ?, 1.?",
    "SELECT CASE WHEN :a THEN ?ELSE@b END",
    "SELECT(:a),(?),[x]FROM(SELECT 1 x)WHERE:b=?",
    "SELECT 1 WHERE ?IN(1,?2)AND:c",
    "WITH t(:a) AS (SELECT 1) SELECT 2",
    "SELECT a::b",
    "SELECT :a::int",
    "SELECT ?0",
    "SELECT ?32766",
    "SELECT ?32767",
    "SELECT ?99999999999999999999",
    "SELECT $",
    "SELECT :",
    "SELECT :a:b",
    "SELECT :a(x, 1)",
    "SELECT 'never closed ?",
]


def of_apsw(sql: str) -> tuple[str | None, ...] | None:
    """Return what APSW says of the parameters, or None where SQLite refuses the statement."""
    try:
        return apsw.ext.query_info(apsw.Connection(":memory:"), sql).bindings_names
    except (apsw.Error, UnicodeError):
        return None


def agrees(sql: str) -> bool:
    """Return whether SQLite takes the statement; where it does, it finds what we find."""
    known = of_apsw(sql)
    if known is None:
        parameters(sql)  # nor do we fail
        return False
    found = parameters(sql)
    assert tuple(text and text[1:] for text in found.texts) == known
    assert found.names == set(known) - {None}
    assert (found.nameless > 0) == (None in known)
    return True


@pytest.mark.parametrize("sql", STATEMENTS)
def test_parameters_are_those_that_sqlite_finds(sql: str) -> None:
    """In strings, names, comments and all the odd corners."""
    agrees(sql)


def test_most_of_the_statements_are_taken() -> None:
    """The test of the test: only those at the end of the list are wrong."""
    assert sum(map(agrees, STATEMENTS)) >= 38


PIECES = st.sampled_from(
    [
        *"?:@$#'\"`[]()-/*.,a1_ \n\ufeff",
        "::",
        "--",
        "/*",
        "*/",
        "->",
        "->>",
        "?1",
        "?3",
        ":a",
        "@b",
        "$c",
        "'x'",
        "é",
        "x'",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_parameters_of_any_text(middle: str) -> None:
    """Whatever SQLite takes, it finds the same in."""
    agrees(f"SELECT {middle}")


@given(
    st.lists(
        st.sampled_from(["?", "?1", "?3", "?2", "?05", ":a", "@a", ":b", "$a::b(c)", "':a'", "-- ?\n1", "1"]),
        min_size=1,
    )
)
def test_numbers_of_any_statement(values: list[str]) -> None:
    """Places that are given, taken and left out, in any order."""
    assert agrees(f"SELECT {', '.join(values)}")


def test_a_long_text_is_not_kept() -> None:
    """And is read right all the same."""
    sql = f"SELECT ?, '{'x' * 20_000}', :a"
    assert parameters(sql) == Parameters((None, ":a"), frozenset("a"), 1)
    assert parameters(sql) is not parameters(sql)
    assert parameters("SELECT :a") is parameters("SELECT :a")


@pytest.mark.parametrize(
    "sql, params",
    [
        ("SELECT :a, @b, $c", {"a": 1, "b": 2, "c": 3}),
        ("SELECT :a, :a", UserDict({"a": 1})),
        ("SELECT $a::b(c)", {"a::b(c)": 1}),
        ("SELECT ?1", {"1": 5}),
        ("SELECT 1", {}),
        ("SELECT :a", ChainMap({"a": 1})),
    ],
)
def test_a_mapping_that_fits(sql: str, params: Mapping[str, int]) -> None:
    """As APSW takes it: without prefixes."""
    check_named(sql, params)
    apsw.Connection(":memory:").execute(sql, params).fetchall()


def test_a_name_too_many_is_refused() -> None:
    """APSW would drop it, and with it a slip."""
    with pytest.raises(
        ProgrammingError, match="has all values, and has more, which the statement does not ask"
    ):
        check_named("SELECT :a", {"a": 1, "more": SECRET})


@pytest.mark.parametrize(
    "sql, params, message",
    [
        (
            "SELECT :size",
            {"sise": SECRET},
            "no value for :size, and has sise, which the statement does not ask for",
        ),
        ("SELECT :a, @b, :c", {"c": SECRET}, "params has no value for :a, @b$"),
        ("SELECT :a", {}, "params has no value for :a$"),
        ("SELECT :a", {":a": SECRET}, "has :a, which .*; its keys are names without : or @ or [$]"),
        ("SELECT ?", {"a": SECRET}, "parameter 1 of the statement has no name: give a sequence"),
        ("SELECT :a, ?", {"a": SECRET}, "parameter 2 of the statement has no name"),
        ("SELECT ?2", {"2": SECRET}, "parameter 1 of the statement has no name"),
    ],
)
def test_a_mapping_that_does_not_fit(sql: str, params: dict[str, str], message: str) -> None:
    """Both sides by name; where the statement has nameless parameters, what to do. APSW refuses these too."""
    with pytest.raises(ProgrammingError, match=message) as caught:
        check_named(sql, params)
    assert SECRET not in str(caught.value)
    assert caught.value.sql == sql
    with pytest.raises((KeyError, apsw.BindingsError)):
        apsw.Connection(":memory:").execute(sql, params)


def test_many_names_are_cut_short() -> None:
    """A message stays one that can be read."""
    sql = f"SELECT {', '.join(f':name{number}' for number in range(500))}"
    with pytest.raises(ProgrammingError, match="and 480 more") as caught:
        check_named(sql, {})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "sql, params, message",
    [
        ("SELECT ?, ?", (1,), "the statement has 2 parameters, and params has 1 value"),
        ("SELECT ?", (), "the statement has 1 parameter, and params has no values"),
        ("SELECT 1", [1, 2], "the statement has no parameters, and params has 2 values"),
        ("SELECT :a, ?, @b", (1,), r"the statement has 3 parameters \(:a, @b\), and params has 1 value"),
        ("SELECT ?3", (1,), r"the statement has 3 parameters \(\?3\)"),
    ],
)
def test_a_sequence_of_another_length(sql: str, params: Sequence[int], message: str) -> None:
    """How many there are on both sides; APSW refuses these."""
    error = count_mismatch(sql, params)
    with pytest.raises(ProgrammingError, match=message):
        raise error
    assert error.sql == sql
    assert pickle.loads(pickle.dumps(error)).__dict__ == error.__dict__
    with pytest.raises(apsw.BindingsError):
        apsw.Connection(":memory:").execute(sql, params)


def test_a_sequence_gives_named_parameters_too() -> None:
    """By place, as APSW has it: each name once."""
    assert len(parameters("SELECT :a, :b, :a").texts) == 2
    assert apsw.Connection(":memory:").execute("SELECT :a, :b, :a", (1, 2)).get == (1, 2, 1)


@pytest.mark.parametrize(
    "params",
    [
        (),
        (1, 1.5, "text", b"bytes", None),
        [1, bytearray(b"x"), memoryview(b"y")],
        {"a": 1, "b": None},
        {},
    ],
)
def test_native_params_are_the_same_object(params: Params) -> None:
    """Nothing is copied where nothing must be; buffers too are bound as they are."""
    assert native(params) is params


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 2


class Pair(NamedTuple):
    """A sequence of a class of its own."""

    name: str
    size: int


MOMENT = datetime(2026, 3, 25, 23, 28, 46, tzinfo=UTC)
CONVERTED = [
    (True, 1),
    (MOMENT, "2026-03-25T23:28:46.000000+00:00"),
    (date(2026, 3, 25), "2026-03-25"),
    (Decimal("0.10"), "0.10"),
    (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (Colour.RED, "red"),
    (Level.HIGH, 2),
    (Path("a"), "a"),
]


@pytest.mark.parametrize("value, stored", CONVERTED)
def test_values_become_native(value: Any, stored: object) -> None:  # noqa: ANN401 - all that may be bound
    """In a tuple, a list and a mapping, the other values as they were."""
    buffer = bytearray(b"x")
    assert native((value, 5, buffer)) == (stored, 5, buffer)
    assert native([value, None]) == (stored, None)
    assert native({"a": value, "b": "text"}) == {"a": stored, "b": "text"}
    converted: Any = native([buffer, value])
    assert converted[0] is buffer
    assert type(converted[1]) is type(stored)


def test_what_was_given_is_not_changed() -> None:
    """A copy is made of a list or a dictionary that must be converted."""
    given_list: list[Any] = [Colour.RED]
    given_dict: dict[str, Any] = {"a": Colour.RED}
    native(given_list)
    native(given_dict)
    assert given_list == [Colour.RED]
    assert given_dict == {"a": Colour.RED}


@pytest.mark.parametrize(
    "params, plain",
    [
        (Pair("text", 5), ("text", 5)),
        (make_row(("a", "b"), ("text", 5)), ("text", 5)),
        (UserList([1, Colour.RED]), (1, "red")),
        (range(3), (0, 1, 2)),
        (deque([1, 2]), (1, 2)),
        (UserDict({"a": Colour.RED}), {"a": "red"}),
        (ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
    ],
)
def test_sequences_and_mappings_of_other_classes_become_plain(params: Params, plain: object) -> None:
    """A tuple or a dictionary, which runs nobody's code when it is bound."""
    made = native(params)
    assert made == plain
    assert type(made) in (tuple, dict)


class Unknown:
    """Of no type that can be stored."""

    def __repr__(self) -> str:
        """Tell what may not be told."""
        return SECRET


@pytest.mark.parametrize(
    "params, message",
    [
        ((1, Unknown()), "parameter 2: a value of type Unknown cannot be stored: .*converters.register"),
        ([Unknown()], "parameter 1: a value of type Unknown"),
        ({"a": 1, "size": Unknown()}, "parameter :size: a value of type Unknown"),
        (([SECRET],), "parameter 1: a value of type list"),
        (SECRET, "not str: write"),
        (SECRET.encode(), "not bytes"),
        ({SECRET}, "not set"),
        (5, "not int"),
    ],
)
def test_what_cannot_be_bound_is_refused(params: Any, message: str) -> None:  # noqa: ANN401 - wrong on purpose
    """By its place or name and by its type; the value is not told."""
    with pytest.raises(ProgrammingError, match=message) as caught:
        native(params)
    assert SECRET not in str(caught.value)


NATIVE = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)


@given(
    st.lists(
        NATIVE | st.booleans() | st.datetimes() | st.decimals() | st.uuids() | st.sampled_from(Colour),
        min_size=1,
        max_size=20,
    )
)
def test_sqlite_takes_what_native_makes(values: list[Any]) -> None:
    """Each value, of whatever type, is bound, and read as it was stored."""
    params: Any = native(values)
    connection = apsw.Connection(":memory:")
    row = connection.execute(f"SELECT {', '.join('?' * len(params))}", params).fetchone()
    assert row == tuple(params)
