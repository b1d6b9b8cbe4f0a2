"""What each byte of a database file is for, by the manual (https://sqlite.org/fileformat2.html).

It tells what a damaged byte can do. SQLite has no checksum of a page: what lies in a row's own bytes it cannot know
to be wrong, as long as it can be read as some row.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Final


class Place(enum.IntEnum):
    """What a byte is for."""

    DEAD = 0  # nothing: it is in no page's use
    HEADER = enum.auto()  # the first hundred bytes
    PAGE = enum.auto()  # a page's header, its pointers to cells, its free blocks
    LINK = enum.auto()  # the number of another page
    SIZE = enum.auto()  # how long a row or an entry is
    FREELIST = enum.auto()
    INDEX = enum.auto()  # an entry of an index
    ROWID = enum.auto()
    TYPES = enum.auto()  # of a row's values
    VALUE = enum.auto()


CONTENT: Final = frozenset({Place.ROWID, Place.TYPES, Place.VALUE})  # what SQLite cannot know to be wrong

_HEADER_BYTES: Final = 100
_INDEX_INTERIOR, _TABLE_INTERIOR, _TABLE_LEAF = 2, 5, 13


class Layout:
    """The places of the bytes of one sound database, which has no log beside it."""

    def __init__(self, content: bytes, trees: Mapping[int, bool]) -> None:
        """Look through *content*; *trees* tells of each root page whether it is that of an index."""
        self._content = content
        self._page_bytes = self._number(16, 2)
        self._usable = self._page_bytes - content[20]
        self.places = bytearray(len(content))
        self._mark(0, _HEADER_BYTES, Place.HEADER)
        for root, is_index in ({1: False} | dict(trees)).items():
            for page in self._pages(root, is_index=is_index):
                assert page, "a root has no number 0"
        self._freelist()

    def places_of(self, changed: Iterable[int]) -> set[Place]:
        """Return what the bytes at *changed* are for."""
        return {Place(self.places[at]) for at in changed if at < len(self.places)}

    def at(self, place: Place) -> list[int]:
        """Return where all bytes of a *place* are."""
        return [at for at, each in enumerate(self.places) if each == place]

    def _number(self, at: int, length: int) -> int:
        return int.from_bytes(self._content[at : at + length])

    def _varint(self, at: int) -> tuple[int, int]:
        """Return the number at *at*, and where it ends (of nine bytes there are none in small databases)."""
        value = 0
        while True:
            value = value << 7 | self._content[at] & 0x7F
            at += 1
            if self._content[at - 1] < 0x80:
                return value, at

    def _mark(self, at: int, length: int, place: Place) -> None:
        self.places[at : at + length] = bytes([place]) * length

    def _pages(self, root: int, *, is_index: bool) -> Iterator[int]:
        waiting = [root]
        while waiting:
            page = waiting.pop()
            waiting += self._page(page, is_index=is_index)
            yield page

    def _page(self, page: int, *, is_index: bool) -> list[int]:
        """Mark the bytes of a page of a tree; return the pages below it."""
        start = (page - 1) * self._page_bytes
        head = start + (_HEADER_BYTES if page == 1 else 0)
        kind, cells = self._content[head], self._number(head + 3, 2)
        is_interior = kind in (_INDEX_INTERIOR, _TABLE_INTERIOR)
        length = 12 if is_interior else 8
        self._mark(head, length + 2 * cells, Place.PAGE)
        block = self._number(head + 1, 2)
        while block:
            self._mark(start + block, 4, Place.PAGE)
            block = self._number(start + block, 2)
        below = [self._number(head + 8, 4)] if is_interior else []
        for cell in range(cells):
            at = start + self._number(head + length + 2 * cell, 2)
            if is_interior:
                below.append(self._number(at, 4))
                self._mark(at, 4, Place.LINK)
                at += 4
            self._cell(at, kind, is_index=is_index)
        return below

    def _cell(self, at: int, kind: int, *, is_index: bool) -> None:
        payload: int | None = None
        if kind != _TABLE_INTERIOR:
            payload, end = self._varint(at)
            self._mark(at, end - at, Place.SIZE)
            at = end
        if kind in (_TABLE_INTERIOR, _TABLE_LEAF):
            _, end = self._varint(at)
            self._mark(at, end - at, Place.ROWID)
            at = end
        if payload is not None:
            self._payload(at, payload, self._local(payload, kind), Place.INDEX if is_index else Place.VALUE)

    def _payload(self, at: int, payload: int, local: int, place: Place) -> None:
        self._mark(at, local, place)
        if place is Place.VALUE:
            self._mark(at, min(local, self._varint(at)[0]), Place.TYPES)
        link, left = at + local, payload - local
        while left > 0:
            self._mark(link, 4, Place.LINK)
            link = (self._number(link, 4) - 1) * self._page_bytes
            length = min(left, self._usable - 4)
            self._mark(link + 4, length, place)
            left -= length
            if left <= 0:
                self._mark(link, 4, Place.LINK)

    def _local(self, payload: int, kind: int) -> int:
        """Return how many bytes of a payload are in its own page."""
        usable = self._usable
        most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if payload <= most:
            return payload
        least = (usable - 12) * 32 // 255 - 23
        wanted = least + (payload - least) % (usable - 4)
        return wanted if wanted <= most else least

    def _freelist(self) -> None:
        trunk = self._number(32, 4)
        while trunk:
            at = (trunk - 1) * self._page_bytes
            self._mark(at, 8 + 4 * self._number(at + 4, 4), Place.FREELIST)
            trunk = self._number(at, 4)
