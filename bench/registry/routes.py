"""Which path and method is which handler.

R1  A path that is none of the protocol's is 404, a method that it does not have 405 with those it has, in its form.
R2  A repository's name is checked before its handler runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from bench.registry import blobs, listings, manifests, uploads
from bench.registry.errors import unsupported
from bench.registry.exchange import Request, Response, as_json
from bench.registry.grammar import check_name
from bench.registry.store import Store

Handler: TypeAlias = "Callable[..., Response]"


def _base(_store: Store, _request: Request) -> Response:
    return as_json({}, headers=[("Docker-Distribution-API-Version", "registry/2.0")])


# A name has slashes, so it is what lies between "/v2/" and the last of these words.
_ROUTES: Final[tuple[tuple[re.Pattern[str], Mapping[str, Handler]], ...]] = tuple(
    (re.compile(pattern, re.DOTALL), methods)
    for pattern, methods in (
        ("/v2/?", {"GET": _base, "HEAD": _base}),
        ("/v2/_catalog", {"GET": listings.catalog}),
        ("/v2/(?P<name>.+)/tags/list", {"GET": listings.tags}),
        (
            "/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)",
            {"GET": manifests.get, "HEAD": manifests.get, "PUT": manifests.put, "DELETE": manifests.delete},
        ),
        ("/v2/(?P<name>.+)/blobs/uploads/?", {"POST": uploads.begin}),
        (
            "/v2/(?P<name>.+)/blobs/uploads/(?P<token>[^/]+)",
            {"GET": uploads.status, "PATCH": uploads.send, "PUT": uploads.finish, "DELETE": uploads.cancel},
        ),
        (
            "/v2/(?P<name>.+)/blobs/(?P<reference>[^/]+)",
            {"GET": blobs.get, "HEAD": blobs.get, "DELETE": blobs.delete},
        ),
        ("/v2/(?P<name>.+)/referrers/(?P<reference>[^/]+)", {"GET": listings.referrers}),
    )
)


def answer(store: Store, request: Request) -> Response:
    """Have the handler of *request* answer it.

    Raises:
        RegistryError: there is none (R1), the name is none (R2), or what the handler raises.
    """
    for pattern, methods in _ROUTES:
        found = pattern.fullmatch(request.path)
        if found is None:
            continue
        handler = methods.get(request.method)
        if handler is None:
            message = f"{request.method[:20]} is not for this path"
            raise unsupported(message, 405, [("Allow", ", ".join(methods))])
        words = found.groupdict()
        if "name" in words:
            check_name(words["name"])
        return handler(store, request, **words)
    raise unsupported("there is nothing of the protocol at this path", 404)
