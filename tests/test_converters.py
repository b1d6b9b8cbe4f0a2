"""Converters: what is stored of each type, how it comes back, and types of a user's own."""

# APSW's stub leaves the type of a bound buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, cast
from uuid import UUID

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onewriter import converters
from onewriter.converters import converter_of, generation, register, to_sql
from onewriter.errors import DataError, ProgrammingError
from onewriter.values import Value

SECRET = "the-value-that-nobody-may-see"
NAIVE = datetime.fromisoformat("2026-03-25T23:28:46")
EAST = timezone(timedelta(hours=5, minutes=30))


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mode(StrEnum):
    READ = "r"
    WRITE = "w"


class Right(Flag):
    READ = 1
    WRITE = 2


class Bits(IntFlag):
    ONE = 1
    TWO = 2


class Share(Enum):
    HALF = 0.5
    WHOLE = 1.0


class Era(Enum):
    UNIX = date(1970, 1, 1)
    GPS = date(1980, 1, 6)


class Named(date, Enum):
    EPOCH = 1970, 1, 1


@dataclass(frozen=True)
class Money:
    cents: int


@pytest.fixture(autouse=True)
def _registry_as_before() -> Iterator[None]:
    """What a test registers is known to it alone."""
    before = converters._registry
    yield
    number = converters._registry.number
    converters._registry = converters._Registry(before.known, number + 1)


def through_sqlite(value: object, column: str = "ANY") -> Value:
    """Store *value* in a column and return what it holds."""
    connection = apsw.Connection(":memory:")
    connection.execute(f"CREATE TABLE t (a {column}) STRICT")
    stored: Value = connection.execute("INSERT INTO t VALUES (?) RETURNING a", (to_sql(value),)).get
    return stored


def back(value: object, kind: type) -> object:
    """Store *value* and make a *kind* of what is there."""
    converter = converter_of(kind)
    assert converter is not None
    stored = through_sqlite(value)
    assert type(stored) in converter.stored
    return converter.from_sql(stored)


@pytest.mark.parametrize(
    "value, stored",
    [
        (True, 1),
        (False, 0),
        (NAIVE, "2026-03-25T23:28:46.000000"),
        (datetime(2026, 3, 25, 23, 28, 46, 5, tzinfo=UTC), "2026-03-25T23:28:46.000005+00:00"),
        (datetime(2026, 3, 26, 4, 58, 46, tzinfo=EAST), "2026-03-25T23:28:46.000000+00:00"),
        (date(2026, 3, 25), "2026-03-25"),
        (Decimal("0.10"), "0.10"),
        (Decimal("1E+100"), "1E+100"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Colour.RED, "red"),
        (Level.HIGH, 2),
        (Mode.WRITE, "w"),
        (Right.READ | Right.WRITE, 3),
        (Bits.ONE | Bits.TWO, 3),
        (Share.HALF, 0.5),
        (Era.UNIX, "1970-01-01"),
        (Named.EPOCH, "1970-01-01"),
        (Path("a") / "b", "a/b"),
        (PurePosixPath("/a"), "/a"),
        (PureWindowsPath("c:/a"), "c:\\a"),
    ],
    ids=repr,
)
def test_what_is_stored(value: object, stored: Value) -> None:
    """The table of the module's docstring, and the way back."""
    found = through_sqlite(value)
    assert (found, type(found)) == (stored, type(stored))
    again = back(value, type(value))
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("value", [None, 5, 1.5, "text", b"bytes"])
def test_native_values_stay_what_they_are(value: Value) -> None:
    """The same object."""
    assert to_sql(value) is value


@pytest.mark.parametrize("base, value", [(int, 5), (float, 1.5), (str, "text"), (bytes, b"bytes")])
def test_a_subclass_of_a_native_type_is_stored_as_that(base: type, value: object) -> None:
    """As a value of the native type itself, with none of the subclass's code in it."""
    kind = type("Own", (base,), {"__int__": None, "__str__": None})
    stored = to_sql(kind(value))
    assert (stored, type(stored)) == (value, base)


@pytest.mark.parametrize("buffer", [bytearray(b"x"), memoryview(b"x")])
def test_a_buffer_becomes_bytes(buffer: object) -> None:
    """A copy, that its owner does not change."""
    assert to_sql(buffer) == b"x"
    assert type(to_sql(buffer)) is bytes


@given(st.datetimes())
def test_a_naive_datetime_comes_back_naive(value: datetime) -> None:
    """To the microsecond, in every year."""
    assert back(value, datetime) == value
    assert _aware(back(value, datetime)).tzinfo is None


@given(
    st.datetimes(
        min_value=NAIVE.replace(year=2),
        max_value=NAIVE.replace(year=9998),
        timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
    )
)
def test_an_aware_datetime_comes_back_in_utc(value: datetime) -> None:
    """The same moment."""
    again = _aware(back(value, datetime))
    assert again == value
    assert again.tzinfo is UTC


def _aware(value: object) -> datetime:
    assert isinstance(value, datetime)
    return value


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=2, max_size=10))
def test_texts_sort_as_the_moments_do(values: list[datetime]) -> None:
    """Which is why microseconds are always there."""
    assert sorted(values) == sorted(values, key=lambda value: str(to_sql(value)))


def test_a_text_of_another_zone_is_told_in_utc() -> None:
    """Also the forms that SQLite and others write."""
    made = converter_of(datetime)
    assert made is not None
    moment = datetime(2026, 3, 25, 23, 28, 46, tzinfo=UTC)
    for text in ("2026-03-26T04:58:46+05:30", "2026-03-25T23:28:46Z", "2026-03-25 23:28:46.000+00:00"):
        assert made.from_sql(text) == moment
        assert _aware(made.from_sql(text)).tzinfo is UTC
    assert made.from_sql("2026-03-25 23:28:46") == NAIVE


def test_a_moment_outside_the_years_of_utc_is_a_data_error() -> None:
    """The first hours of the year 1 in the east; the value is not told."""
    with pytest.raises(DataError, match="in UTC") as caught:
        to_sql(datetime(1, 1, 1, tzinfo=EAST))
    assert "0001" not in str(caught.value)


@pytest.mark.parametrize(
    "value, unix",
    [
        (NAIVE, 1774481326),
        (datetime(2026, 3, 26, 4, 58, 46, tzinfo=EAST), 1774481326),
        (date(2026, 3, 25), 1774396800),
    ],
)
def test_sqlites_date_functions_read_what_is_stored(value: date, unix: int) -> None:
    """Moments with a zone too, which SQLite takes for UTC as it should."""
    connection = apsw.Connection(":memory:")
    assert connection.execute("SELECT unixepoch(?)", (to_sql(value),)).get == unix


def test_sqlite_reads_fractions_of_a_second() -> None:
    """To the millisecond, which is all that it knows."""
    moment = datetime(2026, 3, 25, 23, 28, 46, 123_000, tzinfo=UTC)
    connection = apsw.Connection(":memory:")
    found = connection.execute("SELECT strftime('%Y-%m-%d %H:%M:%f', ?)", (to_sql(moment),)).get
    assert found == "2026-03-25 23:28:46.123"


@given(st.decimals())
def test_a_decimal_keeps_every_digit(value: Decimal) -> None:
    """Its sign, its zeros and its exponent too, and what is no number."""
    again = back(value, Decimal)
    assert str(again) == str(value)


@given(st.uuids())
def test_a_uuid_comes_back(value: UUID) -> None:
    """As its usual text."""
    assert back(value, UUID) == value


@given(st.dates())
def test_a_date_comes_back(value: date) -> None:
    """In every year."""
    assert back(value, date) == value


@pytest.mark.parametrize("column", ["TEXT", "ANY"])
def test_a_text_stays_one_in_a_strict_column(column: str) -> None:
    """Digits of a Decimal are not made a number."""
    assert through_sqlite(Decimal("1.10"), column) == "1.10"


def test_an_enumeration_is_taken_by_its_values() -> None:
    """Also values of another converter; members that are dates of themselves are stored as their values."""
    assert back(Era.GPS, Era) is Era.GPS
    assert back(Named.EPOCH, Named) is Named.EPOCH


def test_an_enumeration_may_find_members_itself() -> None:
    """By Python's `_missing_`."""

    class Loose(Enum):
        ON = "on"

        @classmethod
        def _missing_(cls, value: object) -> Loose | None:
            return cls.ON if str(value).lower() == "on" else None

    made = converter_of(Loose)
    assert made is not None
    assert made.from_sql("ON") is Loose.ON
    with pytest.raises(ValueError, match="off"):
        made.from_sql("off")


def test_members_that_are_stored_alike_are_refused() -> None:
    """They could not be told apart when they come back."""

    class Twice(Enum):
        TEXT = "1"
        NUMBER = Decimal(1)

    with pytest.raises(ProgrammingError, match=r"Twice\.TEXT and \.NUMBER are stored alike"):
        converter_of(Twice)


def test_members_that_cannot_be_stored_are_refused() -> None:
    """By name of the member."""

    class Pair(Enum):
        FIRST = (1, 2)

    with pytest.raises(ProgrammingError, match=r"Pair\.FIRST: a value of type tuple cannot be stored"):
        converter_of(Pair)
    with pytest.raises(ProgrammingError, match="type tuple"):
        to_sql(Pair.FIRST)


def test_a_type_without_a_converter_is_refused() -> None:
    """By its name, with what to do; the value is not told."""

    class Unknown:
        def __repr__(self) -> str:
            return SECRET

    with pytest.raises(
        ProgrammingError, match=r"type \S*Unknown cannot be stored.*converters\.register"
    ) as caught:
        to_sql(Unknown())
    assert SECRET not in str(caught.value)


def test_a_type_of_ones_own() -> None:
    """There and back."""
    register(Money, to_sql=lambda money: money.cents, from_sql=Money, stored=int)
    assert through_sqlite(Money(250)) == 250
    assert back(Money(250), Money) == Money(250)


def test_registering_again_replaces() -> None:
    """Also what the library knew, and what was looked up before."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert isinstance(to_sql(moment), str)
    register(datetime, to_sql=datetime.timestamp, from_sql=datetime.fromtimestamp, stored=float)
    assert to_sql(moment) == moment.timestamp()
    assert to_sql(date(2026, 1, 1)) == "2026-01-01"


def test_each_registration_has_a_number_of_its_own() -> None:
    """By which what was derived from the one before is known to be old."""
    before = generation()
    register(Money, to_sql=lambda money: money.cents, from_sql=Money, stored=int)
    assert generation() != before


def test_a_subclass_is_stored_by_its_bases_converter() -> None:
    """But it is not made by it, which would make the base."""

    class Price(Money):
        pass

    register(Money, to_sql=lambda money: money.cents, from_sql=Money, stored=int)
    assert to_sql(Price(5)) == 5
    assert converter_of(Price) is None
    register(Price, to_sql=lambda price: -price.cents, from_sql=lambda value: Price(-value), stored=int)
    assert (to_sql(Price(5)), to_sql(Money(5))) == (-5, 5)
    assert back(Price(5), Price) == Price(5)


def test_a_subclass_of_int_may_be_registered() -> None:
    """It is none of SQLite's own types."""

    class Account(int):
        pass

    register(
        Account,
        to_sql=lambda account: f"no. {int(account)}",
        from_sql=lambda text: Account(text[4:]),
        stored=str,
    )
    assert to_sql(Account(7)) == "no. 7"
    assert back(Account(7), Account) == 7


def test_a_datetime_of_ones_own_is_stored_as_a_datetime() -> None:
    """The nearest base counts: it is no date."""

    class Moment(datetime):
        pass

    assert to_sql(Moment(2026, 1, 1)) == "2026-01-01T00:00:00.000000"
    assert converter_of(Moment) is None


def test_paths_of_every_sort() -> None:
    """A Path is found for what Path makes; each sort comes back as itself."""
    assert type(back(Path("a"), Path)) is type(Path("a"))
    assert back(Path("a"), PurePath) == PurePath("a")
    assert back("c:\\a", PureWindowsPath) == PureWindowsPath("c:/a")


@pytest.mark.parametrize(
    "returned", [[], object(), Decimal(1), (1,)], ids=["list", "object", "Decimal", "tuple"]
)
def test_what_a_converter_returns_must_be_native(returned: object) -> None:
    """The error names the converter's type, and what it returned by type."""
    register(Money, to_sql=lambda money: cast("Value", returned), from_sql=Money, stored=int)
    with pytest.raises(
        ProgrammingError, match=f"converter of Money returned a value of type {type(returned).__name__}"
    ):
        to_sql(Money(1))


@pytest.mark.parametrize(
    "returned, stored", [(None, None), (True, 1), (Level.HIGH, 2), (bytearray(b"x"), b"x")]
)
def test_what_a_converter_returns_is_made_plain(returned: object, stored: Value) -> None:
    """NULL is native; a bool is a number, as any subclass of a native type is a value of that."""
    register(Money, to_sql=lambda money: cast("Value", returned), from_sql=Money, stored=int)
    found = to_sql(Money(1))
    assert (found, type(found)) == (stored, type(stored))


def test_what_a_converter_raises_is_raised() -> None:
    """It is the user's own."""

    def refuse(money: Money) -> int:
        raise LookupError(str(money.cents))

    register(Money, to_sql=refuse, from_sql=Money, stored=int)
    with pytest.raises(LookupError, match="7"):
        to_sql(Money(7))


@pytest.mark.parametrize("kind", [int, float, str, bytes, type(None), object, bytearray, memoryview])
def test_native_types_cannot_be_registered(kind: type) -> None:
    """They are stored as they are: a converter would never be asked."""
    with pytest.raises(ProgrammingError, match="stored as it is"):
        register(kind, to_sql=str, from_sql=str, stored=str)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"kind": "Money"}, "kind must be a class, not str"),
        ({"kind": list[int]}, "kind must be a class, not GenericAlias"),
        ({"to_sql": 5}, "to_sql of Money must be a function"),
        ({"from_sql": None}, "from_sql of Money must be a function"),
        ({"stored": ()}, "stored of Money must be int, float, str or bytes"),
        ({"stored": bool}, "stored of Money must be"),
        ({"stored": (int, bool)}, "stored of Money must be"),
        ({"stored": "int"}, "stored of Money must be"),
        ({"stored": ("int",)}, "stored of Money must be"),
    ],
)
def test_wrong_arguments_are_refused(changed: dict[str, Any], message: str) -> None:
    """By their name; nothing is registered."""
    arguments: dict[str, Any] = {"kind": Money, "to_sql": hash, "from_sql": Money, "stored": int}
    arguments |= changed
    before = generation()
    with pytest.raises(ProgrammingError, match=message):
        register(arguments.pop("kind"), **arguments)
    assert generation() == before
    assert converter_of(Money) is None


def test_threads_that_register() -> None:
    """None of them loses what another has registered."""
    kinds: list[type[object]] = [type(f"Kind{number}", (), {}) for number in range(200)]
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait(10)
        for kind in kinds[number::8]:
            register(kind, to_sql=lambda _: 1, from_sql=kind, stored=int)
            assert to_sql(kind()) == 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(converter_of(kind) is not None for kind in kinds)
    assert generation() >= len(kinds)
