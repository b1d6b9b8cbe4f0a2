"""Attributes, dictionaries, deques and lists that threads share without a lock: each access is noted.

Of the collections there is what `onewriter.shared` takes for whole, and no more.

An access outside a section is a point too, where the thread is fine or the attribute says so (`world`, P1 and P2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Generic, TypeVar, cast

from onewriter import tickets
from tests.explorer.world import Key, Touch, here

T = TypeVar("T")


def note(thing: object, name: str, how: Touch, *, is_point: bool) -> None:
    """Note that the thread looks at *name* of *thing*, or writes it; *is_point*: also in a thread that is not fine."""
    world = here()
    if "key" not in thing.__dict__:
        thing.__dict__["key"] = world.new_key()
    if thing.__dict__.setdefault("world", world) is not world:
        return  # the collector's work: what is left of an earlier run
    me = world.current
    if me is not None:
        if me.fine or is_point:
            world.point()
        world.touch((thing.__dict__["key"], name), how)


class Watched(Generic[T]):
    """An attribute whose every access is noted."""

    def __init__(self, default: T, *, is_point: bool = False) -> None:
        """Have *default* where nothing was set; *is_point* for a point in threads that are not fine, too."""
        self._default = default
        self._is_point = is_point
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def name(self, name: str) -> None:
        """Be the attribute *name* of a class that was made before."""
        self._name = name

    def __get__(self, thing: object, owner: type) -> T:
        if thing is None:
            return self._default
        self._touch(thing, Touch.READ)
        return cast("T", thing.__dict__.get(f"watched {self._name}", self._default))

    def __set__(self, thing: object, value: T) -> None:
        self._touch(thing, Touch.WRITE)
        thing.__dict__[f"watched {self._name}"] = value

    def _touch(self, thing: object, how: Touch) -> None:
        note(thing, self._name, how, is_point=self._is_point)


class Arrival(Watched[object]):
    """A watched attribute that shows the moment at which a ticket comes into the line."""

    def __set__(self, thing: object, value: object) -> None:
        super().__set__(thing, value)
        world = here()
        ticket = thing if value is None or isinstance(value, tickets.State) else value
        if isinstance(ticket, tickets.Ticket) and ticket not in world.entered:
            world.entered.append(cast("object", ticket))


class WatchedDeque(deque[T]):
    """A deque that threads share without a lock: each operation is a point, outside a section."""

    def __init__(self, items: tuple[T, ...] = ()) -> None:
        """Hold *items*."""
        super().__init__(items)
        self.key: Key = here().new_key()

    def append(self, item: T, /) -> None:
        """Put *item* last."""
        self._touch(Touch.WRITE)
        super().append(item)

    def popleft(self) -> T:
        """Take the first."""
        self._touch(Touch.WRITE)
        return super().popleft()

    def pop(self) -> T:  # type: ignore[override] # no index
        """Take the last."""
        self._touch(Touch.WRITE)
        return super().pop()

    def __len__(self) -> int:
        self._touch(Touch.READ)
        return super().__len__()

    def __bool__(self) -> bool:
        return len(self) > 0

    def _touch(self, how: Touch) -> None:
        _touch(self.key, how)


class WatchedList(list[T]):
    """A list that threads share without a lock, of which they use the end alone."""

    def __init__(self, items: Iterable[T] = ()) -> None:
        """Hold *items*."""
        super().__init__(items)
        self.key: Key = here().new_key()

    def append(self, item: T, /) -> None:
        """Put *item* last."""
        _touch(self.key, Touch.WRITE)
        super().append(item)

    def extend(self, items: Iterable[T], /) -> None:
        """Append each of *items*."""
        for each in items:
            self.append(each)

    def pop(self) -> T:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride] # no index
        """Take the last."""
        _touch(self.key, Touch.WRITE)
        return super().pop()

    def __len__(self) -> int:
        _touch(self.key, Touch.READ)
        return super().__len__()

    def __bool__(self) -> bool:
        return len(self) > 0


class WatchedDict(dict[Any, Any]):
    """A dictionary that threads share without a lock: each operation is a point, and cannot be divided."""

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self.key = here().new_key()

    def setdefault(self, key: Any, default: Any = None, /) -> Any:  # noqa: ANN401 - as a dictionary's
        """Add, unless it is there."""
        self._touch(Touch.WRITE)
        return super().setdefault(key, default)

    def get(self, key: Any, default: Any = None, /) -> Any:  # noqa: ANN401 - as a dictionary's
        """Look up."""
        self._touch(Touch.READ)
        return super().get(key, default)

    def copy(self) -> dict[Any, Any]:
        """Return all."""
        self._touch(Touch.READ)
        return super().copy()

    def pop(self, key: Any, default: Any = None, /) -> Any:  # noqa: ANN401 - as a dictionary's
        """Remove, if it is there."""
        self._touch(Touch.WRITE)
        return super().pop(key, default)

    def popitem(self) -> tuple[Any, Any]:
        """Remove the last."""
        self._touch(Touch.WRITE)
        return super().popitem()

    def __setitem__(self, key: Any, value: Any) -> None:  # noqa: ANN401 - as a dictionary's
        self._touch(Touch.WRITE)
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:  # noqa: ANN401 - as a dictionary's
        self._touch(Touch.WRITE)
        super().__delitem__(key)

    def __contains__(self, key: object) -> bool:
        self._touch(Touch.READ)
        return super().__contains__(key)

    def __bool__(self) -> bool:
        self._touch(Touch.READ)
        return super().__len__() > 0

    def clear(self) -> None:
        """Remove all."""
        self._touch(Touch.WRITE)
        super().clear()

    def _touch(self, how: Touch) -> None:
        _touch(self.key, how)


def _touch(key: Key, how: Touch) -> None:
    world = here()
    if world.current is not None:
        world.point()
        world.touch(key, how)
