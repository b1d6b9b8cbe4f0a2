"""Mapping: rows as what `into` asks for, and everything that is refused, before or when a row is seen."""

# ruff: noqa: UP007, UP045, PYI061 - the older spellings of a type are taken too
# APSW's stub leaves the type of a bound buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import collections
import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Iterator
from dataclasses import KW_ONLY, InitVar, asdict, dataclass, field, make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
    cast,
)
from uuid import UUID

import apsw
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st

from onewriter import converters
from onewriter.converters import register
from onewriter.errors import RowMismatch
from onewriter.mapping import mapper
from onewriter.rows import make_row
from onewriter.values import Value
from tests.support.mapped import SECRET, mismatch, one, refused

T = TypeVar("T")
Plain = tuple[Value, ...]

UserId = NewType("UserId", int)
Mode = Literal["r", "w"]
Text = typing_extensions.TypeAliasType("Text", Optional[str])
# Of any names and types, which no checker could follow.
named_tuple: Any = NamedTuple
typed_dict: Any = TypedDict


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Blob:
    digest: str
    size: int


@dataclass(frozen=True)
class Frozen:
    digest: str
    size: int


@dataclass(slots=True)
class Slotted:
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class FrozenSlotted:
    digest: str
    size: int


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Referred:
    digest: str
    size: int


@dataclass(kw_only=True)
class Named:
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class FrozenNamed:
    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenSlottedNamed:
    digest: str
    size: int


@dataclass(frozen=True)
class Base:
    digest: str


@dataclass(frozen=True)
class Derived(Base):
    size: int


@dataclass(frozen=True, slots=True)
class SlottedBase:
    digest: str


@dataclass(frozen=True, slots=True)
class SlottedDerived(SlottedBase):
    size: int


class Undecorated(Blob):
    """It has its base's fields."""


@dataclass(frozen=True)
class Private:
    digest: str
    __size: int  # pyright: ignore[reportGeneralTypeIssues] - a name that Python changes

    @property
    def size(self) -> int:
        return self.__size


class Pair(NamedTuple):
    digest: str
    size: int


class Dictionary(TypedDict):
    digest: str
    size: int


CLASSES: list[Any] = [
    Blob,
    Frozen,
    Slotted,
    FrozenSlotted,
    Referred,
    Named,
    FrozenNamed,
    FrozenSlottedNamed,
    Derived,
    SlottedDerived,
    Undecorated,
    Pair,
]
every_class = pytest.mark.parametrize("into", CLASSES)


@pytest.fixture(autouse=True)
def _registry_as_before() -> Iterator[None]:
    """What a test registers is known to it alone."""
    before = converters._registry
    yield
    number = converters._registry.number
    converters._registry = converters._Registry(before.known, number + 1)


# --- classes


@every_class
def test_a_row_becomes_an_instance(into: Any) -> None:  # noqa: ANN401 - a class
    """Equal in every respect to one that was made by a call, whatever the order of the columns."""
    called = into(digest="sha256:1", size=32)
    for made in (one(into, digest="sha256:1", size=32), one(into, size=32, digest="sha256:1")):
        assert made == called
        assert type(made) is into
        assert repr(made) == repr(called)
        assert getattr(made, "__dict__", None) == getattr(called, "__dict__", None)
        assert list(getattr(made, "__dict__", {})) == list(getattr(called, "__dict__", {}))
        if into.__hash__ is not None:
            assert hash(made) == hash(called)
        assert copy.deepcopy(made) == called
        assert pickle.loads(pickle.dumps(made)) == called
        assert gc.is_tracked(made) == gc.is_tracked(called)


@pytest.mark.parametrize(
    "into", [Frozen, FrozenSlotted, FrozenNamed, FrozenSlottedNamed, Derived, SlottedDerived]
)
def test_a_frozen_instance_is_frozen(into: Any) -> None:  # noqa: ANN401 - a class
    """However it was filled."""
    made = one(into, digest="sha256:1", size=32)
    with pytest.raises(AttributeError):
        made.size = 33
    with pytest.raises(AttributeError):
        del made.size
    assert made.size == 32


def test_an_instance_with_slots_has_no_more() -> None:
    """And can be referred to weakly only where its class allows it."""
    made = one(Slotted, digest="sha256:1", size=32)
    with pytest.raises(AttributeError):
        made.other = 1
    with pytest.raises(TypeError):
        weakref.ref(one(FrozenSlotted, digest="sha256:1", size=32))
    assert weakref.ref(referred := one(Referred, digest="sha256:1", size=32))() is referred


def test_a_private_field_has_the_name_that_python_gives_it() -> None:
    """That is the name that the class itself knows it by."""
    assert one(Private, digest="a", _Private__size=32).size == 32


def test_a_class_is_told_of_no_subclass() -> None:
    """What fills an instance is none of them."""

    @dataclass(frozen=True, slots=True)
    class Alone:
        size: int

        def __init_subclass__(cls) -> None:
            pytest.fail("it has been subclassed")

    assert one(Alone, size=1) == Alone(1)
    assert len(Alone.__subclasses__()) == 0


def test_rows_come_in_their_order() -> None:
    """Many, of a cursor's list and of rows with names."""
    cursor = apsw.Connection(":memory:").execute(
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i AS size, 'd' || i AS digest FROM n"
    )
    names = tuple(column[0] for column in cursor.get_description())
    made = mapper(FrozenSlotted, names)
    rows = cast("list[Plain]", cursor.fetchall())
    assert made.all(rows) == [FrozenSlotted(f"d{number}", number) for number in range(1, 1001)]
    assert made.one(make_row(names, rows[0])) == FrozenSlotted("d1", 1)
    assert made.all(iter(rows)) == made.all(rows)


def test_defaults_stand_for_columns_that_are_absent() -> None:
    """Also in the middle, given by name, and made anew for each row."""

    @dataclass
    class Defaults:
        digest: str
        size: int = 7
        tags: Any = field(default_factory=list[int])
        kind: str = "k"
        _: KW_ONLY
        owner: str = "nobody"
        more: Any = field(default_factory=dict[str, int])

    assert one(Defaults, digest="a") == Defaults("a")
    assert one(Defaults, kind="x", digest="a", owner="me") == Defaults("a", kind="x", owner="me")
    first, second = mapper(Defaults, ("digest",)).all([("a",), ("b",)])
    assert first.tags is not second.tags
    assert first.more is not second.more


def test_a_frozen_class_with_defaults() -> None:
    """With slots and without."""

    @dataclass(frozen=True)
    class Plain:
        digest: str = "d"
        tags: Any = field(default_factory=tuple[int, ...])

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Slots:
        digest: str = "d"
        tags: Any = field(default_factory=tuple[int, ...])

    for into in (Plain, Slots):
        assert one(into, digest="a") == into(digest="a")
        assert one(into, tags=5) == into(tags=5)
        assert one(into, tags=None, digest="a") == into(digest="a", tags=None)


def test_a_field_that_init_does_not_take_is_no_column() -> None:
    """It is left to the class."""

    @dataclass
    class Counted:
        size: int
        double: int = field(init=False)
        seen: int = field(init=False, default=0)
        version: ClassVar[int] = 1

        def __post_init__(self) -> None:
            self.double = self.size * 2

    made = one(Counted, size=4)
    assert (made.double, made.seen) == (8, 0)
    assert mismatch(Counted, size=4, double=8).surplus == ("double",)
    assert mismatch(Counted, size=4, version=8).surplus == ("version",)


def test_post_init_runs() -> None:
    """On a frozen class too; what it raises is the caller's own."""

    @dataclass(frozen=True, slots=True)
    class Positive:
        size: int

        def __post_init__(self) -> None:
            if self.size < 0:
                raise ValueError(SECRET)
            object.__setattr__(self, "size", self.size + 1)

    assert one(Positive, size=1).size == 2
    with pytest.raises(ValueError, match=SECRET):
        one(Positive, size=-1)


def test_an_init_var_is_a_column() -> None:
    """It is given to `__post_init__`, checked and converted as a field."""

    @dataclass
    class Scaled:
        size: int
        unit: InitVar[int]
        at: InitVar[date | None] = None

        def __post_init__(self, unit: int, at: date | None) -> None:
            self.size *= unit
            self.day = at

    assert one(Scaled, size=2, unit=1024).size == 2048
    assert one(Scaled, at="2026-03-25", unit=1, size=2).day == date(2026, 3, 25)
    assert mismatch(Scaled, size=2, unit="x").column == "unit"


def test_classes_that_do_more_when_called_are_called() -> None:
    """A metaclass, a `__new__`, a `__setattr__`, a property: all have their say."""
    told: list[object] = []

    class Meta(type):
        def __call__(cls, *arguments: object, **more: object) -> object:
            told.append("meta")
            return super().__call__(*arguments, **more)

    @dataclass(frozen=True)
    class WithMeta(metaclass=Meta):
        size: int

    @dataclass(frozen=True)
    class WithNew:
        size: int

        def __new__(cls, *arguments: object, **more: object) -> typing_extensions.Self:
            told.append("new")
            return super().__new__(cls)

    @dataclass
    class WithSet:
        size: int

        def __setattr__(self, name: str, value: object) -> None:
            told.append(name)
            super().__setattr__(name, value)

    @dataclass(frozen=True)
    class WithDel:
        size: int

        def __del__(self) -> None:
            told.append(self.size)

    for into in (WithMeta, WithNew, WithSet, WithDel):
        assert one(into, size=3) == into(size=3)
    gc.collect()
    assert told.count("meta") == told.count("new") == told.count("size") == 4
    assert told.count(3) == 4


def test_a_property_in_place_of_a_field() -> None:
    """What is stored goes through it."""

    class Loud:
        @property
        def size(self) -> int:
            kept: int = vars(self)["kept"]
            return kept * 2

        @size.setter
        def size(self, value: int) -> None:
            vars(self)["kept"] = value

    frozen = make_dataclass("frozen", [("size", int)], frozen=True)
    thawed = make_dataclass("thawed", [("size", int)])
    for into in (frozen, thawed):
        into.size = Loud.size  # type: ignore[attr-defined]
        assert one(into, size=3).size == into(3).size == 6


def test_a_named_tuple() -> None:
    """With defaults, of `collections`, unpacked as any other."""

    class Defaults(NamedTuple):
        digest: str
        size: int = 7

    assert one(Defaults, digest="a") == Defaults("a", 7)
    digest, size = one(Pair, size=1, digest="a")
    assert (digest, size) == ("a", 1)
    loose = collections.namedtuple("loose", "a b", defaults=[5])  # noqa: PYI024 - is what is tested # pyright: ignore[reportUntypedNamedTuple]
    assert one(loose, a=b"x") == loose(b"x", 5)
    assert one(loose, b=None, a=1.5) == loose(1.5, None)


def test_a_named_tuple_that_does_more_when_called_is_called() -> None:
    """A `__new__` or an `__init__` of a subclass has its say."""

    class New(Pair):
        def __new__(cls, digest: str, size: int) -> typing_extensions.Self:
            return super().__new__(cls, digest.upper(), size)

    class Init(Pair):
        def __init__(self, digest: str, size: int) -> None:
            self.both = digest, size

    class Neither(Pair):
        pass

    assert one(New, digest="a", size=1) == ("A", 1)
    assert one(Init, digest="a", size=1).both == ("a", 1)
    made = one(Neither, digest="a", size=1)
    made.more = 1
    assert (made, type(made)) == (("a", 1), Neither)


def test_a_typed_dictionary() -> None:
    """A plain dictionary in the order of the fields; what is not required is left out."""

    class Partial(Dictionary, total=False):
        kind: str
        owner: Required[str | None]

    made = one(Dictionary, size=1, digest="a")
    assert list(made.items()) == [("digest", "a"), ("size", 1)]
    assert type(made) is dict
    assert one(Partial, digest="a", size=1, owner=None) == {"digest": "a", "size": 1, "owner": None}
    assert mismatch(Partial, digest="a", kind="k").missing == ("size", "owner")


def test_the_typed_dictionaries_of_both_libraries() -> None:
    """With all that can be written around a type."""

    class Old(TypedDict, total=False):
        a: Required[int]
        b: Annotated[NotRequired[str], "..."]
        c: typing_extensions.ReadOnly[Required[int]]
        d: int

    class New(typing_extensions.TypedDict):
        a: int
        b: NotRequired[typing_extensions.ReadOnly[str]]
        c: typing_extensions.ReadOnly[int]
        d: NotRequired[int]

    odd: Any = typed_dict("odd", {"count(*)": int, "from": str})
    for into in (Old, New):
        assert one(into, a=1, c=2) == {"a": 1, "c": 2}
        assert one(into, a=1, b="x", c=2, d=3) == {"a": 1, "b": "x", "c": 2, "d": 3}
        assert mismatch(into, b="x").missing == ("a", "c")
        assert mismatch(into, a=1, b=5, c=1).column == "b"
    row: dict[str, Value] = {"from": "x", "count(*)": 3}
    assert one(odd, **row) == row


# --- values


VALUES: dict[type, Value] = {int: 5, float: 1.5, str: SECRET, bytes: SECRET.encode(), type(None): None}


@pytest.mark.parametrize("kind", [int, float, str, bytes])
@pytest.mark.parametrize("nullable", [False, True])
def test_a_scalar_is_of_exactly_its_type(kind: Any, nullable: bool) -> None:  # noqa: ANN401 - a type
    """But for a whole number, which is a float too; NULL has to be asked for. A field is as strict."""
    into = kind | None if nullable else kind
    single = make_dataclass("single", [("value", into)])
    for other, value in VALUES.items():
        if other is kind or (value is None and nullable) or (kind, other) == (float, int):
            assert one(into, value=value) == value
            assert one(single, value=value).value == value
            assert type(one(into, value=value)) is (other if value is None else kind)
        else:
            for asked in (into, single):
                error = mismatch(asked, value=value)
                got = "NULL" if value is None else other.__name__
                wanted = f"{kind.__name__} | None" if nullable else kind.__name__
                assert (error.column, error.expected, error.got) == ("value", wanted, got)
                assert (
                    f"column 'value': into={'single' if asked is single else wanted} expects {wanted}, got {got}"
                    in str(error)
                )


def test_a_scalar_wants_one_column() -> None:
    """The message has their names."""
    with pytest.raises(RowMismatch, match="into=int wants one column, the row has 2: a, b"):
        mapper(int, ("a", "b"))


@pytest.mark.parametrize(
    "into, stored, value",
    [
        (bool, 1, True),
        (bool | None, None, None),
        (datetime, "2026-03-25T23:28:46.000000+00:00", datetime(2026, 3, 25, 23, 28, 46, tzinfo=UTC)),
        (date, "2026-03-25", date(2026, 3, 25)),
        (Optional[Decimal], "0.10", Decimal("0.10")),
        (UUID, str(UUID(int=5)), UUID(int=5)),
        (Colour, "red", Colour.RED),
        (Union[Level, None], 2, Level.HIGH),
        (Path | None, "a", Path("a")),
        (int | str, "a", "a"),
        (int | str, 5, 5),
        (int | float | None, 5, 5),
        (str | float, 5, 5.0),
        (UserId, 5, 5),
        (UserId | None, None, None),
        (Mode, "r", "r"),
        (Literal["r", None], None, None),
        (Union[Literal["r", "w", 5], None], 5, 5),
        (Literal[True, "x"], 1, True),
        (Literal[Colour.RED], "red", Colour.RED),
        (Annotated[int, "metadata"], 5, 5),
        (Annotated[int, ["unhashable"]], 5, 5),
        (Optional[Annotated[bool, "metadata"]], 0, False),
        (Text, None, None),
        (Text, "a", "a"),
        (Union[Text, int], 5, 5),
        (Annotated[NewType("Inner", UserId), 1], 5, 5),
        (Any, b"x", b"x"),
        (object, None, None),
        (Value, 1.5, 1.5),
        (Value, None, None),
    ],
)
def test_a_value_becomes(into: Any, stored: Value, value: object) -> None:  # noqa: ANN401 - as `into` says
    """All that one column may become, by itself and as a field of each sort of class."""
    single: Any = make_dataclass("single", [("value", into)])
    pair: Any = named_tuple("pair", [("value", into)])
    dictionary: Any = typed_dict("dictionary", {"value": into})
    found = [
        one(into, value=stored),
        one(single, value=stored).value,
        one(pair, value=stored).value,
        one(dictionary, value=stored)["value"],
    ]
    assert found == [value] * 4
    assert {type(each) for each in found} == {type(value)}


@pytest.mark.parametrize(
    "into, stored, message",
    [
        (bool, 2, "expects bool, got int that is none"),
        (bool, "1", r"expects bool \(stored as int\), got str"),
        (bool, None, r"expects bool \(stored as int\), got NULL"),
        (datetime, SECRET, "expects datetime, got str that is none"),
        (datetime | None, SECRET, r"expects datetime \| None, got str that is none"),
        (date, "2026-03-25T23:28:46", "expects date, got str that is none"),
        (Decimal, SECRET, "expects Decimal, got str that is none"),
        (Decimal, 1.5, r"expects Decimal \(stored as str\), got float"),
        (UUID, SECRET, "expects UUID, got str that is none"),
        (Colour, SECRET, "expects Colour, got str that is none"),
        (Level, 3, "expects Level, got int that is none"),
        (Mode, SECRET, r"expects Literal\['r', 'w'\], got str that is none"),
        (int | str, 1.5, r"expects int \| str, got float"),
        (int | str, None, r"expects int \| str, got NULL"),
    ],
)
def test_a_value_that_does_not_fit(into: Any, stored: Value, message: str) -> None:  # noqa: ANN401 - as `into` says
    """The column, what was expected and what was there, as types; never the value, which only a cause may have."""
    single = make_dataclass("single", [("value", into)])
    for asked in (into, single):
        error = mismatch(asked, value=stored)
        with pytest.raises(RowMismatch, match=f"column 'value': into=.* {message}"):
            raise error
        assert error.column == "value"
        assert error.missing == error.surplus == ()


@pytest.mark.parametrize("raised", [ValueError, TypeError, KeyError, ZeroDivisionError])
def test_what_a_converter_does_not_take_is_a_mismatch(raised: type[Exception]) -> None:
    """With its own words as the cause."""

    class Own:
        pass

    def refuse(value: int) -> Own:
        raise raised(SECRET)

    register(Own, to_sql=lambda own: 1, from_sql=refuse, stored=int)
    error = mismatch(Own, value=5)
    assert (error.expected, error.got) == ("Own", "int")
    with pytest.raises(RowMismatch) as caught:
        mapper(Own, ("value",)).one((5,))
    assert isinstance(caught.value.__cause__, raised)


def test_other_errors_of_a_converter_are_its_own() -> None:
    """A bug is not a row that does not fit."""

    class Own:
        pass

    def fail(value: int) -> Own:
        raise OSError(SECRET)

    register(Own, to_sql=lambda own: 1, from_sql=fail, stored=int)
    with pytest.raises(OSError, match=SECRET):
        mapper(Own, ("value",)).one((5,))


class NoType:
    """Nothing that a row can become."""


@dataclass(frozen=True)
class Money:
    cents: int


def test_a_type_of_ones_own_is_one_value() -> None:
    """Even where it is a dataclass; what was made before it was registered is forgotten, and again after that."""
    purse = make_dataclass("purse", [("money", Optional[Money])])
    assert "tests.test_mapping.Money" in refused(purse)
    assert one(Money, cents=5) == Money(5)
    register(Money, to_sql=lambda money: money.cents, from_sql=Money, stored=int)
    assert one(Money, price=5) == Money(5)
    assert one(purse, money=5).money == Money(5)
    assert one(purse, money=None).money is None
    register(Money, to_sql=lambda money: str(money.cents), from_sql=lambda text: Money(int(text)), stored=str)
    assert one(purse, money="7").money == Money(7)
    assert mismatch(purse, money=7).column == "money"


def test_a_stored_float_is_taken_as_a_whole_number() -> None:
    """A column of another type may have made it one; where int is named too, it stays one."""
    seen: list[object] = []

    class Own:
        pass

    def make(value: Value) -> Own:
        seen.append(value)
        return Own()

    register(Own, to_sql=lambda own: 1.0, from_sql=make, stored=float)
    mapper(Own, ("value",)).all([(1.5,), (2,)])
    register(Own, to_sql=lambda own: 1.0, from_sql=make, stored=(float, int))
    mapper(Own, ("value",)).all([(1.5,), (2,)])
    assert list(map(type, seen)) == [float, float, float, int]


# --- names


def test_names_that_do_not_fit() -> None:
    """Both lists are told, and are in the error as data."""
    error = mismatch(Blob, digest="a", sise=SECRET, other=1)
    assert str(error).startswith("into=Blob: the row lacks size (and has surplus columns: sise, other)")
    assert "wanted: digest, size; in the row: digest, sise, other" in str(error)
    assert (error.missing, error.surplus, error.column) == (("size",), ("sise", "other"), None)
    error = mismatch(Pair, digest="a")
    assert str(error).startswith("into=Pair: the row lacks size;")
    error = mismatch(Dictionary, digest="a", size=1, kind="x")
    assert str(error).startswith("into=Dictionary: the row has surplus columns: kind;")
    assert (error.missing, error.surplus) == ((), ("kind",))


def test_names_are_looked_at_before_any_row() -> None:
    """Even where there is none."""
    with pytest.raises(RowMismatch):
        mapper(Blob, ("digest",))


def test_a_column_that_occurs_twice() -> None:
    """Which one is meant cannot be known."""
    with pytest.raises(RowMismatch, match="into=Blob: the row has 2 columns named 'size'") as caught:
        mapper(Blob, ("size", "digest", "size"))
    assert caught.value.column == "size"
    with pytest.raises(RowMismatch, match="surplus columns: id;"):
        mapper(Blob, ("size", "digest", "id", "id"))


def test_names_are_data() -> None:
    """Whatever a column, a field or a class is called: nothing of it becomes code."""
    for name in (
        "bound",
        "found",
        "row",
        "rows",
        "add",
        "made",
        "type",
        "faults",
        "target",
        "new",
        "c0",
        "a0",
        "error",
    ):
        for frozen in (False, True):
            for slots in (False, True):
                into: Any = make_dataclass(name, [(name, int), ("b", str)], frozen=frozen, slots=slots)
                row: dict[str, Value] = {"b": "x", name: 1}
                assert one(into, **row) == into(1, "x")
    odd: Any = typed_dict("odd", {"x): import os #": int, "'": int, "\n": int, "": int})
    assert one(odd, **{"'": 1, "x): import os #": 2, "\n": 3, "": 4}) == {
        "x): import os #": 2,
        "'": 1,
        "\n": 3,
        "": 4,
    }
    error = mismatch(Blob, **{"'": 1, "\n": 2})
    assert error.surplus == ("'", "\n")


# --- what is kept


def test_a_mapper_is_made_once() -> None:
    """For the pair of names and type, until a converter is registered."""
    first = mapper(Blob, ("digest", "size"))
    assert mapper(Blob, ("digest", "size")) is first
    assert mapper(Blob, ("size", "digest")) is not first
    register(NoType, to_sql=lambda value: 1, from_sql=lambda value: NoType(), stored=int)
    assert mapper(Blob, ("digest", "size")) is not first


def test_classes_without_end_are_forgotten() -> None:
    """A program that makes a class for every request keeps the last ones alone."""
    known: list[weakref.ref[type]] = []

    def use(number: int) -> None:
        into = named_tuple(f"into{number}", [("value", int)])
        known.append(weakref.ref(into))
        mapper(into, ("value",))

    for number in range(1_500):
        use(number)
    gc.collect()
    assert sum(each() is not None for each in known) <= 1_000


def test_threads_that_share_a_mapper() -> None:
    """Made at the same time, used at the same time, while converters are registered."""
    rows: list[Plain] = [(f"d{number}", number) for number in range(200)]
    expected = [FrozenSlotted(f"d{number}", number) for number in range(200)]
    start = threading.Barrier(8)
    found: list[bool] = []

    def work(number: int) -> None:
        start.wait(10)
        for _ in range(50):
            found.append(mapper(FrozenSlotted, ("digest", "size")).all(rows) == expected)
            if number == 0:
                register(NoType, to_sql=lambda value: 1, from_sql=lambda value: NoType(), stored=int)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [True] * 400


@dataclass(frozen=True)
class Everything:
    a: int
    b: float
    c: str | None
    d: bytes
    e: bool
    f: datetime | None
    g: Decimal
    h: UUID
    i: Colour
    j: date = date(2026, 1, 1)


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.lists(
        st.builds(
            Everything,
            a=st.integers(-(2**63), 2**63 - 1),
            b=st.floats(allow_nan=False),
            c=st.none() | TEXT,
            f=st.none() | st.datetimes() | st.datetimes(timezones=st.just(UTC)),
            g=st.decimals(allow_nan=False),
        ),
        max_size=5,
    )
)
def test_whatever_is_stored_comes_back(values: list[Everything]) -> None:
    """Through a table of SQLite and both directions of every converter."""
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE TABLE t (a INTEGER, b REAL, c TEXT, d BLOB, e INTEGER, f TEXT, g TEXT, h TEXT, i TEXT, j TEXT) STRICT"
    )
    for value in values:
        bound = tuple(map(converters.to_sql, vars(value).values()))
        connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", bound)
    cursor = connection.execute("SELECT * FROM t ORDER BY rowid")
    rows = cast("list[Plain]", cursor.fetchall())
    found = mapper(Everything, tuple("abcdefghij")).all(rows)
    assert found == values
    assert list(map(asdict, found)) == list(map(asdict, values))
