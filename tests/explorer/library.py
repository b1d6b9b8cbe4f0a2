"""The library on logical threads: what its modules see instead of ``threading``, the clock and plain attributes.

State that is read without a lock is watched: the state of a ticket, the holder of the line, what a future tells.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TypeVar, cast

import pytest

from onewriter import (
    background,
    batch,
    clock,
    futures,
    gates,
    helpers,
    line,
    locks,
    places,
    presence,
    tickets,
    transaction,
    turns,
    writer,
)
from onewriter.aio import writes
from tests.explorer.fakes import FakeLock, FakeThread, ticket_of
from tests.explorer.watched import Arrival, Watched, WatchedDeque, WatchedDict, note
from tests.explorer.world import Thread, Touch, here

T = TypeVar("T")
MODULES = (
    background,
    batch,
    futures,
    gates,
    helpers,
    line,
    locks,
    places,
    presence,
    tickets,
    transaction,
    turns,
    writer,
)


class _FakeSeat(tickets.Seat[T]):
    """A seat with a dictionary, so that an attribute of it can be watched."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes = WatchedDict()


def now_of_thread() -> float:
    """Return the moment that the running thread has come to."""
    me = here().current
    return 0.0 if me is None else me.now


def _running() -> Thread:
    me = here().current
    assert me is not None, "no logical thread runs"
    return me


def start_new_thread(function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """Start a logical thread; not while the fibers unwind, which passes every handler of the library."""
    world = here()
    if world.is_over:
        return
    me = world.current
    name = function.__name__.strip("_")
    thread = world.spawn(f"{name}-{me.name if me else ''}", lambda: function(*arguments))
    thread.acts_for = ticket_of(function, arguments)


def threading_of(module: object) -> SimpleNamespace:
    """Return what *module* is to see as ``threading`` (F1)."""
    return SimpleNamespace(
        Lock=FakeLock,
        RLock=lambda: FakeLock(section=module in (places, futures), reentrant=True),
        Thread=FakeThread,
        TIMEOUT_MAX=threading.TIMEOUT_MAX,
        get_ident=lambda: here().main_ident if here().current is None else _running().ident,
        main_thread=lambda: SimpleNamespace(ident=here().main_ident),
        current_thread=lambda: _running().api,
        enumerate=list,
    )


def _is_empty(self: places.Places[object]) -> bool:
    cast("FakeLock", self._lock).touch()
    return not self._waiting


def _keyed(initialise: Callable[..., None]) -> Callable[..., None]:
    def init(self: object, *arguments: object, **options: object) -> None:
        self.__dict__["key"] = here().new_key()  # its maker's, whoever looks at it first
        initialise(self, *arguments, **options)

    return init


def _noted(method: Callable[..., object], how: Touch) -> Callable[..., object]:
    """Have each call of *method*, whose first argument names what it looks at, noted; one that decides is a point."""

    def call(self: object, name: str, *arguments: object) -> object:
        note(self, name, how, is_point=how is Touch.WRITE)
        return method(self, name, *arguments)

    return call


@contextmanager
def faked() -> Generator[pytest.MonkeyPatch]:
    """Have the library run on logical threads for a block; all that it makes belongs to the world of the moment."""
    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES:
            if hasattr(module, "threading"):
                patch.setattr(module, "threading", threading_of(module))
            if hasattr(module, "deque"):
                patch.setattr(module, "deque", WatchedDeque)
            if hasattr(module, "_start_new_thread"):
                patch.setattr(module, "_start_new_thread", start_new_thread)
            if hasattr(module, "_thread"):
                patch.setattr(module, "_thread", SimpleNamespace(start_new_thread=start_new_thread))
        patch.setattr(clock, "now", now_of_thread)
        patch.setattr(clock, "monotonic", now_of_thread)
        patch.setattr(background, "Seat", _FakeSeat)
        for kind in (tickets.Ticket, writes.AskedStatement):
            patch.setattr(kind, "__init__", _keyed(cast("Callable[..., None]", kind.__dict__["__init__"])))
        patch.setattr(places.Places, "is_empty", property(_is_empty))
        for owner, name, watched in (
            (tickets.Ticket, "state", Arrival(tickets.State.NEW)),
            (tickets.Ticket, "given_up", Watched(default=False)),
            (tickets.Ticket, "started", Watched(default=False)),
            (line.Line, "holder", Arrival(None)),
            (futures.WriteFuture, "_told", Watched(default=False, is_point=True)),
            (futures.WriteFuture, "_state", Watched(default="PENDING")),
            (futures.WriteFuture, "ticket", Watched[object](None, is_point=True)),
            (background.Background, "_waits", Watched(default=False, is_point=True)),
            (_FakeSeat, "earliest", Watched(clock.NEVER, is_point=True)),
            (helpers.Helper, "_wanted", Watched(default=True, is_point=True)),
        ):
            watched.name(name)
            patch.setattr(owner, name, watched, raising=False)
        for name, how in (("_first", Touch.WRITE), ("_kept", Touch.READ)):
            patch.setattr(futures.WriteFuture, name, _noted(getattr(futures.WriteFuture, name), how))
        logging.disable()  # an error in the background is a fault here, which is told
        try:
            yield patch
        finally:
            logging.disable(logging.NOTSET)
