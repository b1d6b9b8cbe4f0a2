"""The platform's own files, which fail on command: each call that SQLite makes to its file system asks a rule first.

`SickVFS` is a VFS in Python: what it raises is an exception before it is a result code, and the library knows that a
VFS was given. Here the platform's VFS itself is used, and a failure is SQLite's result code and nothing else, with its
extended part, as the platform would give it; shared memory, which APSW hands past a VFS in Python, is asked for too.

Why it is sound: SQLite reaches a file by the table of functions that the file begins with, and by no other way
(https://sqlite.org/c3ref/io_methods.html). The VFS's ``xOpen``, which is a field that can be written, is replaced by
one that opens the file by the first and then gives it a copy of its table, in which each function asks the rule and
calls the original. SQLite tells of the VFS's address by a file control that is meant for that
(https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlvfspointer). Copies live as long as the process, so
that a file may outlive the block.

What is asked for: ``open``, ``access``, ``delete``, ``read``, ``write`` and, when it is done, ``written``, ``sync``,
``truncate``, ``size``, ``lock``, ``shm-map``, ``shm-lock``, and when it is done ``unlock``. To give up a lock of the
shared memory is not asked for: SQLite does not look at what comes of it.
"""

# APSW's stub leaves the type of a buffer unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_int64, c_void_p
from typing import Final, Protocol, cast

import apsw

Rule = Callable[[str, str], int]
Call = Callable[..., int]

# In the order of the struct, with what each is given after the file (https://sqlite.org/c3ref/io_methods.html).
_METHODS: Final = (
    "xClose",
    "xRead",
    "xWrite",
    "xTruncate",
    "xSync",
    "xFileSize",
    "xLock",
    "xUnlock",
    "xCheckReservedLock",
    "xFileControl",
    "xSectorSize",
    "xDeviceCharacteristics",
    "xShmMap",
    "xShmLock",
    "xShmBarrier",
    "xShmUnmap",
    "xFetch",
    "xUnfetch",
)
_FIRST_WITH_SHM: Final = 2  # version of the struct
# By method: what the rule is told before it, what after it, and what it takes behind the file.
_ASKED: Final[dict[str, tuple[str, str, tuple[type, ...]]]] = {
    "xRead": ("read", "", (c_void_p, c_int, c_int64)),
    "xWrite": ("write", "written", (c_void_p, c_int, c_int64)),
    "xTruncate": ("truncate", "", (c_int64,)),
    "xSync": ("sync", "", (c_int,)),
    "xFileSize": ("size", "", (c_void_p,)),
    "xLock": ("lock", "", (c_int,)),
    "xUnlock": ("", "unlock", (c_int,)),
    "xShmMap": ("shm-map", "", (c_int, c_int, c_int, c_void_p)),
    "xShmLock": ("shm-lock", "", (c_int, c_int, c_int)),
}
# What the platform's VFS itself returns where the call fails (https://sqlite.org/rescode.html).
CODES: Final = {
    "open": apsw.SQLITE_CANTOPEN,
    "access": apsw.SQLITE_IOERR_ACCESS,
    "delete": apsw.SQLITE_IOERR_DELETE,
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "written": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "size": apsw.SQLITE_IOERR_FSTAT,
    "lock": apsw.SQLITE_IOERR_LOCK,
    "unlock": apsw.SQLITE_IOERR_UNLOCK,
    "shm-map": apsw.SQLITE_IOERR_SHMMAP,
    "shm-lock": apsw.SQLITE_IOERR_SHMLOCK,
}
KINDS: Final = {
    apsw.SQLITE_OPEN_MAIN_DB: "db",
    apsw.SQLITE_OPEN_WAL: "wal",
    apsw.SQLITE_OPEN_MAIN_JOURNAL: "journal",
}


class _Methods(ctypes.Structure):
    _fields_ = [("iVersion", c_int), *((name, c_void_p) for name in _METHODS)]


class _File(ctypes.Structure):
    _fields_ = [("pMethods", c_void_p)]


class _VFS(ctypes.Structure):
    """https://sqlite.org/c3ref/vfs.html, as far as it is used."""

    _fields_ = [
        ("iVersion", c_int),
        ("szOsFile", c_int),
        ("mxPathname", c_int),
        ("pNext", c_void_p),
        ("zName", c_char_p),
        ("pAppData", c_void_p),
        ("xOpen", c_void_p),
        ("xDelete", c_void_p),
        ("xAccess", c_void_p),
    ]


class _Prototype(Protocol):
    """A C function type: makes a callable of an address, and something with an address of a callable."""

    def __call__(self, target: int | Call, /) -> Call: ...


_rule: list[Rule] = []  # the one that is asked, if any
_kept: list[object] = []  # callbacks and tables, for good
_copies: dict[tuple[int, str], int] = {}  # by the address of a table and the kind of file


def _ask(what: str, kind: str) -> int:
    return _rule[0](what, kind) if _rule and what else apsw.SQLITE_OK


def _prototype(*arguments: type) -> _Prototype:
    return cast("_Prototype", ctypes.CFUNCTYPE(c_int, *arguments))


def _address(callback: Call) -> int:
    _kept.append(callback)
    address = ctypes.cast(cast("ctypes._FuncPointer", callback), c_void_p).value
    assert address is not None
    return address


def _asking(address: int, before: str, after: str, kind: str, arguments: tuple[type, ...]) -> int:
    """Return the address of a function that asks, calls the one at *address*, and asks again."""
    prototype = _prototype(c_void_p, *arguments)
    original = prototype(address)

    def call(*given: object) -> int:
        if before == "shm-lock" and cast("int", given[-1]) & apsw.SQLITE_SHM_UNLOCK:
            return original(*given)
        return _ask(before, kind) or original(*given) or _ask(after, kind)

    return _address(prototype(call))


def _asking_methods(address: int, kind: str) -> int:
    """Return the address of a copy of the table at *address* whose functions ask."""
    if (address, kind) not in _copies:
        copy = _Methods.from_buffer_copy(_Methods.from_address(address))
        for method, (before, after, arguments) in _ASKED.items():
            if not method.startswith("xShm") or copy.iVersion >= _FIRST_WITH_SHM:
                original = getattr(copy, method)
                setattr(copy, method, original and _asking(original, before, after, kind, arguments))
        _kept.append(copy)
        _copies[address, kind] = ctypes.addressof(copy)
    return _copies[address, kind]


def _opening(address: int) -> int:
    prototype = _prototype(c_void_p, c_void_p, c_void_p, c_int, c_void_p)
    original = prototype(address)

    def call(vfs: int, name: int, place: int, flags: int, out: int) -> int:
        file = _File.from_address(place)
        kind = next((kind for flag, kind in KINDS.items() if flags & flag), "other")
        code = _ask("open", kind)
        if code:
            file.pMethods = None  # so that SQLite does not close it
            return code
        code = original(vfs, name, place, flags, out)
        if file.pMethods:
            file.pMethods = _asking_methods(file.pMethods, kind)
        return code

    return _address(prototype(call))


def _platform() -> _VFS:
    """Return the platform's VFS, where SQLite has it."""
    place = c_void_p()
    connection = apsw.Connection(":memory:")
    told = connection.filecontrol("main", apsw.SQLITE_FCNTL_VFS_POINTER, ctypes.addressof(place))
    connection.close()
    assert told
    assert place.value
    vfs = _VFS.from_address(place.value)
    assert vfs.zName == b"unix"
    return vfs


_platform_asks: dict[str, int] = {}  # by field, what is put there


@contextmanager
def sick_files(rule: Rule) -> Generator[None]:
    """Have *rule* asked for a block, by files that are opened in it: ``rule(what, kind)`` returns a result code.

    *kind* is "db", "wal", "journal" or "other". It may be asked by several threads at once.
    """
    vfs = _platform()
    before = {field: cast("int", getattr(vfs, field)) for field in ("xOpen", "xDelete", "xAccess")}
    if not _platform_asks:
        _platform_asks["xOpen"] = _opening(before["xOpen"])
        _platform_asks["xDelete"] = _asking(before["xDelete"], "delete", "", "other", (c_void_p, c_int))
        _platform_asks["xAccess"] = _asking(
            before["xAccess"], "access", "", "other", (c_void_p, c_int, c_void_p)
        )
    _rule.append(rule)
    for field, address in _platform_asks.items():
        setattr(vfs, field, address)
    try:
        yield
    finally:
        for field, address in before.items():
            setattr(vfs, field, address)
        _rule.clear()
