"""Shapes: what `into` may be, what it may not, and what is said of it."""

# ruff: noqa: UP007, UP045, PYI061 - the older spellings of a type are taken too

from __future__ import annotations

import abc
import sys
from dataclasses import dataclass, make_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import pytest
import typing_extensions

from onewriter.mapping import check_into, is_scalar, takes_null
from onewriter.values import Value
from tests.support.mapped import SECRET, one, refused

if TYPE_CHECKING:
    from fractions import Fraction

T = TypeVar("T")
Text = typing_extensions.TypeAliasType("Text", Optional[str])
Numbers = typing_extensions.TypeAliasType("Numbers", list[int])
# Of any names and types, which no checker could follow.
named_tuple: Any = NamedTuple
typed_dict: Any = TypedDict


@dataclass
class Blob:
    digest: str
    size: int


class Pair(NamedTuple):
    digest: str
    size: int


class Dictionary(TypedDict):
    digest: str
    size: int


class NoType:
    """Nothing that a row can become."""


@dataclass
class Nested:
    blob: Blob


@dataclass
class Hidden:
    share: Fraction
    size: int


class HiddenTuple(NamedTuple):
    size: int
    share: Fraction | None


class HiddenDictionary(TypedDict):
    share: NotRequired[Fraction]


@dataclass
class Box(Generic[T]):
    value: T


@pytest.mark.parametrize(
    "into, shown",
    [
        (NoType, "not NoType"),
        (list[int], "not list[int]"),
        (list, "not list"),
        (dict[str, int], "not dict[str, int]"),
        (tuple[int, str], "not tuple[int, str]"),
        (tuple, "not tuple"),
        (Blob | None, "not tests.test_shapes.Blob | None"),
        (Optional[NoType], "test_shapes.NoType"),
        (int | datetime, "not int | datetime.datetime"),
        (int | list[str], "not int | list[str]"),
        (Union[Literal["a"], int], "Literal['a']"),
        (None, "not None"),
        (type(None), "not None"),
        (complex, "not complex"),
        (bytearray, "not bytearray"),
        (Enum, "not Enum"),
        (T, "not ~T"),
        (Box[int], "not "),
        (Blob("a", 1), "not an instance of Blob: give the class"),
        (5, "not a value of type int"),
        ("Blob", "not a value of type str"),
        (SECRET, "not a value of type str"),
        ([], "not a value of type list"),
        ([int], "not a value of type list"),
        ({}, "not a value of type dict"),
        (len, "not a value of type builtin_function_or_method"),
        (Numbers, "not Numbers"),
    ],
)
def test_what_no_row_can_become(into: object, shown: str) -> None:
    """The message says what is allowed, and what it was instead; of a value only its type."""
    message = refused(into)
    assert message.startswith(
        "into must be a dataclass, a NamedTuple, a TypedDict, int, float, str, bytes, bool"
    )
    assert shown in message
    assert SECRET not in message


@pytest.mark.parametrize(
    "hint, shown",
    [
        (list[int], "list[int]"),
        (Blob, "Blob"),
        (NoType, "NoType"),
        (T, "~T"),
        (int | NoType, "int | tests.test_shapes.NoType"),
        (Pair | None, "tests.test_shapes.Pair | None"),
        (None, "None"),
    ],
)
def test_a_field_that_no_column_can_become(hint: Any, shown: str) -> None:  # noqa: ANN401 - a type
    """The message names class, field and type, and what is allowed."""
    single: Any = make_dataclass("single", [("digest", str), ("value", hint)])
    pair: Any = named_tuple("single", [("digest", str), ("value", hint)])
    dictionary: Any = typed_dict("single", {"digest": str, "value": hint})
    for into in (single, pair, dictionary):
        message = refused(into)
        assert f"into=single: field 'value' is {shown}, which no column can become" in message
        assert "onewriter.converters.register" in message


@pytest.mark.parametrize("into", [Hidden, HiddenTuple, HiddenDictionary])
def test_a_type_that_is_imported_for_the_checker_alone(into: type) -> None:
    """Class, field and name are told, and what to do."""
    message = refused(into)
    assert f"into={into.__name__}: the type of field 'share' cannot be resolved" in message
    assert "'Fraction' is unknown in tests.test_shapes" in message
    assert "TYPE_CHECKING" in message


def test_annotations_that_are_no_types() -> None:
    """A module that has no such name, a text that is no Python."""
    for annotation in ("sys.Absent", "int |", "5 | 'x'"):
        into = make_dataclass("into", [("value", annotation)])
        into.__module__ = __name__
        assert "into=into: its annotations are no types" in refused(into)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python has no type statement yet")
@pytest.mark.parametrize(
    "statement, message",
    [
        ("type Alias = Alias | int", "into=Alias stands for itself"),
        ("type Alias = Alias", "into=Alias stands for itself"),
        ("type Alias = Absent | int", "into=Alias: the name 'Absent' is unknown there"),
    ],
)
def test_an_alias_that_cannot_be_known(statement: str, message: str) -> None:
    """One that stands for itself, one that names nothing; one that is known is what it stands for."""
    names: dict[str, Any] = {}
    exec(statement, names)
    assert message in refused(names["Alias"])
    exec("type Alias = int | None", names)
    assert one(names["Alias"], a=None) is None


def test_members_that_are_stored_alike_are_refused() -> None:
    """Of a Literal, or of an enumeration of a field."""

    class Twice(Enum):
        ONE = "1"
        TOO = Decimal(1)

    assert "True and 1 are stored alike" in refused(Literal[True, 1])
    into = make_dataclass("into", [("value", Twice)])
    assert "into=into: field 'value': " in refused(into)
    assert "are stored alike" in refused(into)


def test_final_and_class_variables() -> None:
    """The one is a field, the other is none."""

    @dataclass
    class Constant:
        size: Final[int]
        version: ClassVar[list[int]] = []

    assert one(Constant, size=1) == Constant(1)


@pytest.mark.parametrize(
    "into, scalar, null",
    [
        (int, True, False),
        (int | None, True, True),
        (Optional[datetime], True, True),
        (datetime, True, False),
        (Value, True, True),
        (Any, True, True),
        (Text, True, True),
        (Literal["a", None], True, True),
        (Blob, False, False),
        (Pair, False, False),
        (Dictionary, False, False),
    ],
)
def test_scalars_and_null(into: Any, scalar: bool, null: bool) -> None:  # noqa: ANN401 - as `into` says
    """What is one value, and whether it may be None."""
    check_into(into)
    assert is_scalar(into) is scalar
    assert takes_null(into) is null


def test_an_init_of_ones_own_is_refused() -> None:
    """What it wants, nobody can know."""

    @dataclass(init=False)
    class Without:
        size: int

        def __init__(self, size: int) -> None:
            self.size = size

    @dataclass
    class Other:
        size: int

        def __init__(self, text: str) -> None:
            self.size = len(text)

    @dataclass(init=False)
    class Inherited(Blob):
        kind: str

    assert "Without is a dataclass(init=False)" in refused(Without)
    assert "Other has an __init__ of its own" in refused(Other)
    assert "Inherited is a dataclass(init=False)" in refused(Inherited)


def test_an_abstract_class_is_refused() -> None:
    """None of its kind can be made."""

    @dataclass
    class Abstract(abc.ABC):
        size: int

        @abc.abstractmethod
        def area(self) -> int: ...

    assert "Abstract is abstract" in refused(Abstract)
