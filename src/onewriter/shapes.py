"""What ``into`` may be: the fields of a class that a row can become, or the one value of a row of one column.

F1  Fields are matched to columns by name, so a class must say what it is made of: a dataclass, a NamedTuple, a
    TypedDict. A type that has a converter is one value, even where it is also one of these.
F2  What cannot be filled from a row is refused when the class is looked at, before anything runs: a field whose type
    no column can become, an ``__init__`` that does not take the fields, a name that cannot be resolved.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    NamedTuple,
    NotRequired,
    Required,
    TypeAlias,
    cast,
    get_args,
    get_origin,
)

import typing_extensions

from . import converters
from .errors import ProgrammingError
from .kinds import ALLOWED, Kind, bare, kind_of, shown

# What is written around the type of a field, and says nothing of its values.
_AROUND: Final = (
    Annotated,
    Required,
    NotRequired,
    typing_extensions.ReadOnly,
    Final,
    getattr(typing, "ReadOnly", Final),
)
Sort: TypeAlias = Literal["dataclass", "namedtuple", "typeddict", "value"]
_INIT: Final = "__init__"
_DATACLASS_ADVICE: Final = "a row fills the fields of a dataclass through the __init__ that @dataclass makes"


class Field(NamedTuple):
    """One field of a class.

    Attributes:
        name: its name, and that of its column.
        kind: what the column must hold.
        required: the row must have the column.
        default: what the field is where the row has no such column.
        factory: makes that, instead.
        by_name: it is given to ``__init__`` by its name.
    """

    name: str
    kind: Kind
    required: bool = True
    default: object = None
    factory: Callable[[], object] | None = None
    by_name: bool = False


class Shape(NamedTuple):
    """What a row becomes.

    Attributes:
        sort: what *target* is.
        target: the class, or the type of the one value.
        text: it, for messages.
        fields: those of the class, in its order; for a value, the one without a name.
    """

    sort: Sort
    target: object
    text: str
    fields: tuple[Field, ...]


def shape_of(into: object) -> Shape:
    """Return what *into* asks of a row.

    Raises:
        ProgrammingError: no row can become it.
    """
    try:
        return _shape_of(into, bare(into))
    except RecursionError:
        raise ProgrammingError(f"into={shown(into)} stands for itself") from None
    except NameError as error:  # of a `type` alias, which is looked at only now
        raise ProgrammingError(f"into={shown(into)}: the name {error.name!r} is unknown there") from error


def _shape_of(into: object, target: object) -> Shape:
    if isinstance(target, type) and get_origin(target) is None and converters.converter_of(target) is None:
        sort = _sort_of(target)
        if sort is not None:
            return Shape(sort, target, shown(into), tuple(_FIELDS[sort](target)))
    kind = kind_of(target)
    if kind is None:
        raise ProgrammingError(
            f"into must be a dataclass, a NamedTuple, a TypedDict, {ALLOWED}; not {_refused(into)}"
        )
    return Shape("value", target, shown(into), (Field("", kind),))


def _sort_of(target: type) -> Sort | None:
    names: object = getattr(target, "_fields", None) if tuple in target.__mro__ else None
    is_named = isinstance(names, tuple) and all(
        isinstance(name, str) for name in cast("tuple[object, ...]", names)
    )
    if typing.is_typeddict(target) or typing_extensions.is_typeddict(target):
        return "typeddict"
    if dataclasses.is_dataclass(target):
        return "dataclass"
    return "namedtuple" if is_named else None


def _refused(into: object) -> str:
    if not isinstance(into, type) and dataclasses.is_dataclass(into):
        return f"an instance of {type(into).__name__}: give the class"
    return shown(into)


# --- the three sorts of class


def _of_typeddict(target: type) -> Iterator[Field]:
    hints = _hints(target)
    required: frozenset[str] = getattr(target, "__required_keys__", frozenset())
    for name, hint in hints.items():
        around = _around(hint)
        # Where annotations are strings, the class itself does not know what is written around a type.
        wanted = Required in around or (NotRequired not in around and name in required)
        yield Field(name, _field_kind(target, name, hint), required=wanted)


def _of_namedtuple(target: type) -> Iterator[Field]:
    names = cast("tuple[str, ...]", getattr(target, "_fields", ()))
    defaults = cast("dict[str, object]", getattr(target, "_field_defaults", {}))
    hints = _hints(target)
    for name in names:
        kind = _field_kind(target, name, hints.get(name, object))
        yield Field(name, kind, required=name not in defaults, default=defaults.get(name))


def _of_dataclass(target: type) -> Iterator[Field]:
    if inspect.isabstract(target):
        raise ProgrammingError(f"into={target.__name__} is abstract: no row can become it")
    if not _params_of(target).init:
        raise ProgrammingError(f"into={target.__name__} is a dataclass(init=False): {_DATACLASS_ADVICE}")
    hints = _hints(target)
    fields = list(_init_fields(target, hints))
    _check_init(target, fields)
    for field in fields:
        hint = hints.get(field.name, field.type)
        yield Field(
            field.name,
            _field_kind(target, field.name, _of_init_var(hint)),
            required=field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            default=field.default,
            factory=None if field.default_factory is dataclasses.MISSING else field.default_factory,
            by_name=field.kw_only is True,
        )


class _Params(typing.Protocol):
    init: bool


class _InitVar(typing.Protocol):
    type: object


def _of_init_var(hint: object) -> object:
    kind: object = type(hint)
    return cast("_InitVar", hint).type if kind is dataclasses.InitVar else hint


def _params_of(target: type) -> _Params:
    return cast("_Params", getattr(target, "__dataclass_params__", None))


def _init_fields(target: type, hints: dict[str, object]) -> Iterator[dataclasses.Field[Any]]:
    """Yield what ``__init__`` takes, in its order: `dataclasses.fields` has no InitVar."""
    every = cast("dict[str, dataclasses.Field[Any]]", getattr(target, "__dataclass_fields__", {}))
    for field in sorted(every.values(), key=lambda field: field.kw_only is True):
        hint = hints.get(field.name, field.type)
        if field.init and hint is not ClassVar and get_origin(hint) is not ClassVar:
            yield field


def _check_init(target: type, fields: list[dataclasses.Field[Any]]) -> None:
    wanted = [(field.name, field.kw_only is True) for field in fields]
    # A metaclass may hide what `__init__` takes, and a decorator may show it on the class alone.
    if wanted not in (_taken(getattr(target, _INIT))[1:], _taken(target)):
        raise ProgrammingError(f"into={target.__name__} has an __init__ of its own: {_DATACLASS_ADVICE}")


def _taken(function: Callable[..., object]) -> list[tuple[str, bool]]:
    """Return what a function takes, and whether by its name alone; nothing where that cannot be told."""
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    if any(each.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) for each in given):
        return []
    return [(each.name, each.kind is inspect.Parameter.KEYWORD_ONLY) for each in given]


_FIELDS: Final[dict[Sort, Callable[[type], Iterator[Field]]]] = {
    "dataclass": _of_dataclass,
    "namedtuple": _of_namedtuple,
    "typeddict": _of_typeddict,
}


# --- types of fields


def _field_kind(target: type, name: str, hint: object) -> Kind:
    where = f"into={target.__name__}: field {name!r}"
    while get_origin(hint) in _AROUND:
        hint = get_args(hint)[0]
    try:
        kind = kind_of(hint)
    except ProgrammingError as error:
        raise ProgrammingError(f"{where}: {error}") from error
    except NameError as error:
        raise _unknown_name(target, name, error) from error
    if kind is None:
        raise ProgrammingError(
            f"{where} is {shown(hint)}, which no column can become: a field may be {ALLOWED}"
        )
    return kind


def _around(hint: object) -> list[object]:
    found: list[object] = []
    while (origin := get_origin(hint)) in _AROUND:
        found.append(origin)
        hint = get_args(hint)[0]
    return found


def _hints(target: type) -> dict[str, object]:
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError as error:
        raise _unknown_name(target, _field_naming(target, error.name), error) from error
    except (AttributeError, SyntaxError, TypeError) as error:
        raise ProgrammingError(f"into={target.__name__}: its annotations are no types: {error}") from error


def _unknown_name(target: type, field: str, error: NameError) -> ProgrammingError:
    return ProgrammingError(
        f"into={target.__name__}: the type of field {field!r} cannot be resolved, since {error.name!r} is unknown "
        f"in {target.__module__} when the program runs: import it outside TYPE_CHECKING, or define it in the module"
    )


def _field_naming(target: type, name: str | None) -> str:
    """Return the field whose annotation has *name* in it."""
    word = re.compile(rf"\b{re.escape(name or '')}\b")
    for base in target.__mro__:
        for field, annotation in _texts(base).items():
            if word.search(annotation):
                return field
    return "?"


def _texts(base: type) -> dict[str, str]:
    """Return the annotations of *base* itself as they are written."""
    if sys.version_info >= (3, 14):
        import annotationlib  # noqa: PLC0415 - Python 3.14 has it, and evaluates annotations only when asked

        return annotationlib.get_annotations(base, format=annotationlib.Format.STRING)
    return {field: str(annotation) for field, annotation in inspect.get_annotations(base).items()}
