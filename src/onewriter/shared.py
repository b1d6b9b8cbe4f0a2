"""What threads share without a lock: which of its steps are whole, and by whose word.

Python says of its own types which of their operations other threads find done or not done, never half done
(https://docs.python.org/3/library/threadsafety.html, and of `deque`, `SimpleQueue` and `lru_cache` where they are
described). Nothing else is taken for whole, though the interpreter's lock may have it so:

U1  Of a dictionary: to look one key up, to ask its length; to set, delete, pop or `setdefault` one; `popitem`, `clear`,
    `copy`. Keys are compared without Python code: they are numbers, texts, or objects that equal themselves alone.
U2  To look at all of a dictionary or a set is many steps, ``list(shared.items())`` too: the collector may come in
    between, and with it any Python code. So its copy is looked at.
U3  Of a list: to append, to pop the last; of a deque: to append and to pop at either end. Their length is a moment's:
    who finds something there, and nothing when he takes it, was not the only one.
U4  Of an attribute: one load, one store of a reference. What is looked at twice is taken into a name of its own first.
U5  An iterator belongs to one thread. An `OrderedDict` that threads share has a lock.

That a single call into C lets no signal handler in between is something else: it is so with any build, since these run
on the main thread alone, between two bytecodes of Python. docs/threads.md has every field, and what keeps it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def all_of(shared: Iterable[T]) -> list[T]:
    """Return all of a *shared* set of weak references, which Python itself goes through step by step (U2)."""
    while True:
        with suppress(RuntimeError):  # another thread has added one in between
            return list(shared)


def may_see_frames() -> bool:
    """Whether another thread's frames may be looked at, which Python allows while it has the interpreter's lock.

    https://docs.python.org/3/howto/free-threading-python.html#frame-objects
    """
    has_lock = getattr(sys, "_is_gil_enabled", None)
    return has_lock is None or bool(has_lock())
