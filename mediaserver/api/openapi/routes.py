"""What of an application is described: its routes that belong to the API, with what is said of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import web

from mediaserver.api.openapi.handler import PATH, OpenApi
from mediaserver.api.operation import ACT, BY_AUTH, Operation, operation_of

DESCRIBED = re.compile(r"/(v1|whip|whep|hls|healthz|readyz|metrics)(/|$)")
UNDESCRIBED_METHODS = ("OPTIONS", "HEAD")  # preflight; what GET says without the body


class Undescribed(Exception):
    """A route of the API whose handler has no `@operation`, or one with an unknown `auth`."""


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API at its place."""

    method: str
    path: str
    said: Operation

    @property
    def id(self) -> str:
        """Stable: of method and path alone, for instance `post_orders_id_payments`."""
        words = re.findall(r"[A-Za-z0-9]+", self.path.removeprefix("/v1"))
        return "_".join((self.method.lower(), *words)).replace("-", "_")


def routes_of(app: web.Application) -> Iterator[Route]:
    """The API's routes, with the description's own; raises Undescribed."""
    found = [
        (each.method, each.resource.canonical, operation_of(each))
        for each in app.router.routes()
        if each.resource is not None and each.method not in UNDESCRIBED_METHODS
    ]
    if not any(path == PATH for _, path, _ in found):
        found.append(("GET", PATH, getattr(OpenApi._get, "__operation__", None)))
    for method, path, said in found:
        if DESCRIBED.match(path) is None:
            continue
        if said is None:
            raise Undescribed(f"{method} {path}: its handler has no @operation")
        if said.auth not in BY_AUTH and not ACT.fullmatch(said.auth):
            raise Undescribed(f"{method} {path}: {said.auth} is no act, nor one of {[*BY_AUTH]}")
        yield Route(method, path, said)
