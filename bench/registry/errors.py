"""What a client is told when it cannot have what it asked for, in the protocol's form and by its codes.

E1  Every error is JSON of the form ``{"errors": [{"code", "message", "detail"}]}``, whatever went wrong where.
E2  4xx: the client's request cannot be met as it is. 503 and 507 are the only 5xx that are meant: nothing was done, or
    doing it again is safe, and trying again later may help.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Headers: TypeAlias = "Sequence[tuple[str, str]]"


class RegistryError(Exception):
    """An answer that is an error.

    Attributes:
        status: of HTTP.
        code: of the protocol.
        details: one an error of the list, None where there is nothing to add.
        headers: beside those of the body.
    """

    def __init__(
        self, status: int, code: str, message: str, details: Iterable[object] = (None,), headers: Headers = ()
    ) -> None:
        """Say *message*."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = tuple(details)
        self.headers = tuple(headers)

    def body(self) -> bytes:
        """Return it in the protocol's form (E1)."""
        return as_body(self.code, str(self), self.details)


def as_body(code: str, message: str, details: Iterable[object] = (None,)) -> bytes:
    """Return an error in the protocol's form, once for each of *details*."""
    errors = [
        {"code": code, "message": message} | ({} if detail is None else {"detail": detail})
        for detail in details
    ]
    return json.dumps({"errors": errors}).encode()


def name_invalid(message: str) -> RegistryError:
    """The repository's name breaks the grammar."""
    return RegistryError(400, "NAME_INVALID", message)


def name_unknown(name: str) -> RegistryError:
    """There is no such repository."""
    return RegistryError(404, "NAME_UNKNOWN", f"repository {name} is not known", [{"name": name}])


def digest_invalid(message: str) -> RegistryError:
    """No digest, or not that of the content."""
    return RegistryError(400, "DIGEST_INVALID", message)


def blob_unknown(digest: object) -> RegistryError:
    """The repository has no such blob."""
    return RegistryError(
        404, "BLOB_UNKNOWN", "the blob is not known to the repository", [{"digest": str(digest)}]
    )


def upload_unknown() -> RegistryError:
    """Never begun, cancelled, finished, or too old."""
    return RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "the upload is not known: begin another")


def upload_invalid(message: str) -> RegistryError:
    """The upload cannot go on in this way."""
    return RegistryError(400, "BLOB_UPLOAD_INVALID", message)


def out_of_order(message: str, headers: Headers) -> RegistryError:
    """The chunk does not begin where the upload ends; *headers* say where that is."""
    return RegistryError(416, "BLOB_UPLOAD_INVALID", message, headers=headers)


def size_invalid(message: str, status: int = 400) -> RegistryError:
    """The body has another length than was said, or is too long."""
    return RegistryError(status, "SIZE_INVALID", message)


def manifest_unknown(reference: str) -> RegistryError:
    """The repository has no such manifest."""
    return RegistryError(404, "MANIFEST_UNKNOWN", "the manifest is not known", [{"reference": reference}])


def manifest_invalid(message: str, status: int = 400) -> RegistryError:
    """The manifest is none."""
    return RegistryError(status, "MANIFEST_INVALID", message)


def manifest_blobs_unknown(digests: Iterable[str]) -> RegistryError:
    """The manifest refers to what the repository does not have; one error for each."""
    details = [{"digest": digest} for digest in digests]
    return RegistryError(
        404, "MANIFEST_BLOB_UNKNOWN", "the manifest refers to what the repository has not", details
    )


def unsupported(message: str, status: int = 400, headers: Headers = ()) -> RegistryError:
    """Nothing here does that."""
    return RegistryError(status, "UNSUPPORTED", message, headers=headers)


def no_room() -> RegistryError:
    """The disk is full: what was being written is not there, what was acknowledged is."""
    return RegistryError(
        507, "UNKNOWN", "there is no room left: nothing of this request's last piece was stored"
    )


def busy(message: str) -> RegistryError:
    """Not now; asking again is safe."""
    return RegistryError(503, "UNAVAILABLE", message, headers=[("Retry-After", "1")])


def unknown_failure() -> RegistryError:
    """Our mistake; the log has it."""
    return RegistryError(500, "UNKNOWN", "the registry failed; its log says how")
