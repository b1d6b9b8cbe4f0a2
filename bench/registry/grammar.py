"""The words of the protocol: names of repositories, tags, digests, tokens of uploads.

G1  What does not match the specification's grammar goes no further than this module.
G2  Of what clients say, only a `Digest` (an algorithm that we know, and its hex digits) ever becomes part of a path.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Final, Protocol

from bench.registry.errors import digest_invalid, name_invalid

_NAME_MAX: Final = 255
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(f"{_PART}(?:/{_PART})*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_TOKEN: Final = re.compile(r"[0-9a-f]{32}")
_HEX: Final = re.compile(r"[0-9a-f]+")
_HEX_DIGITS: Final = {"sha256": 64, "sha512": 128}
_QUOTED_MAX: Final = 100


class Hasher(Protocol):
    """What hashlib gives."""

    def update(self, data: bytes, /) -> None:
        """Take in more."""
        ...

    def hexdigest(self) -> str:
        """Return the digits of all that was taken in."""
        ...


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest whose algorithm we know.

    Attributes:
        algorithm: ``sha256`` or ``sha512``.
        hex: its lower-case hexadecimal digits, as many as the algorithm has.
    """

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return what *text* says.

        Raises:
            RegistryError: ``DIGEST_INVALID``: it is none, or of an algorithm that is not verified here.
        """
        algorithm, colon, digits = text.partition(":")
        if not colon:
            raise digest_invalid(f"{quoted(text)} is no digest: it has no colon")
        if algorithm not in _HEX_DIGITS:
            raise digest_invalid(f"digests are sha256 or sha512, not {quoted(algorithm)}")
        if len(digits) != _HEX_DIGITS[algorithm] or not _HEX.fullmatch(digits):
            want = _HEX_DIGITS[algorithm]
            raise digest_invalid(
                f"{quoted(text)} is no digest: {algorithm} has {want} hexadecimal digits in lower case"
            )
        return cls(algorithm, digits)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """Return the digest of *content*."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def hasher(self) -> Hasher:
        """Return a hash to be fed with what is to have this digest."""
        return hashlib.new(self.algorithm)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def check_name(text: str) -> str:
    """Return *text* if it is a repository's name (the specification, "Pulling manifests"), else refuse it.

    Raises:
        RegistryError: ``NAME_INVALID``.
    """
    if len(text) > _NAME_MAX or not _NAME.fullmatch(text):
        raise name_invalid(f"{quoted(text)} is no name of a repository")
    return text


def is_name(text: str) -> bool:
    """Say whether *text* could be a repository's name."""
    return len(text) <= _NAME_MAX and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Say whether *text* could be a tag."""
    return _TAG.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """Say whether *text* could be an upload's token."""
    return _TOKEN.fullmatch(text) is not None


def new_token() -> str:
    """Return a token that nobody guesses: who has it may go on with the upload."""
    return secrets.token_hex(16)


def quoted(text: str) -> str:
    """Return the beginning of what a client said, for a message."""
    return repr(text if len(text) <= _QUOTED_MAX else text[:_QUOTED_MAX] + "...")
