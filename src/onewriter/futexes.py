"""Waiting for another process at a number that both have mapped, where the system has that: Linux's futexes.

https://man7.org/linux/man-pages/man2/futex.2.html. Python has no name for the call, so it is made through `ctypes`,
which is loaded when somebody first has to wait. Where there is none, `wait` is a sleep and `wake` does nothing: who
waits looks again from time to time in any case.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Final

# The call's number; it belongs to the processor. Only where a word of C's ``long`` is 64 bits, as time is counted then.
_NUMBERS: Final = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221}
_WAIT: Final = 0
_WAKE: Final = 1
_SLEEP_S: Final = 0.0005  # at most, where nobody can wake


def wait(address: int, seen: int, timeout_s: float) -> None:
    """Wait at the 32-bit number at *address* until it is woken, or for *timeout_s* seconds; may return before.

    It does not wait if the number is not *seen* any more.
    """
    call = _futex()
    if call is None:
        time.sleep(min(timeout_s, _SLEEP_S))
    else:
        call(address, _WAIT, seen, timeout_s)


def wake(address: int) -> None:
    """Wake one who waits at the number at *address*, which was changed before."""
    call = _futex()
    if call is not None:
        call(address, _WAKE, 1, 0.0)


@cache
def _futex() -> Callable[[int, int, int, float], object] | None:
    """Return the call, or None where there is none."""
    number = _NUMBERS.get(os.uname().machine)
    if sys.platform != "linux" or sys.maxsize < 2**32 or number is None:
        return None
    try:
        import ctypes  # noqa: PLC0415 - only who has to wait needs it

        syscall = ctypes.CDLL(None).syscall  # lets other threads run meanwhile
    except (ImportError, OSError, AttributeError):
        return None

    class Timespec(ctypes.Structure):
        _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

    syscall.argtypes = (
        ctypes.c_long,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_uint32,
        ctypes.POINTER(Timespec),
    )
    syscall.restype = ctypes.c_long

    def call(address: int, operation: int, value: int, timeout_s: float) -> object:
        whole = int(timeout_s)
        timeout = Timespec(whole, int((timeout_s - whole) * 1e9))
        return syscall(number, address, operation, value, timeout)

    return call


def address_of(mapping: mmap.mmap) -> int:
    """Return the address of *mapping*, which stays where it is for as long as it is open; 0 where none is needed."""
    if _futex() is None:
        return 0
    import ctypes  # noqa: PLC0415 - as above

    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))
