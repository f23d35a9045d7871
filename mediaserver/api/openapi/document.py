"""The API's description: OpenAPI 3.1.0, made of the router's routes and the `Operation` of each handler.

`document` raises for a route of the API that nothing is said of, so that start-up and tests find it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aiohttp import web

from mediaserver.api.openapi.operations import describe, refusal
from mediaserver.api.openapi.routes import Route, routes_of
from mediaserver.api.openapi.schemas import Json, Models
from mediaserver.api.openapi.words import ABOUT, SECURITY_SCHEMES, TAGS


def document(app: web.Application, *, version: str) -> Json:
    """The OpenAPI document of what `app` serves, with the document's own route; raises Undescribed."""
    routes = list(routes_of(app))
    models = Models([route.said for route in routes])
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = describe(route, models)
    models.schemas["Problem"]["properties"]["code"]["description"] += f": {_codes(routes)}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hawker",
            "version": version,
            "description": ABOUT,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": list(_tags(routes)),
        "paths": paths,
        "components": {
            "schemas": models.schemas,
            "responses": {"Refusal": refusal("any other refusal")},
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _tags(routes: Iterable[Route]) -> Iterator[Json]:
    named = {route.said.tag for route in routes}
    for tag in (*(tag for tag in TAGS if tag in named), *sorted(named - set(TAGS))):
        yield {"name": tag} | ({"description": TAGS[tag]} if tag in TAGS else {})


def _codes(routes: Iterable[Route]) -> str:
    refusals = [route.said.refusals(route.method) for route in routes]
    codes = {code for each in refusals for listed in each.values() for code in listed}
    return ", ".join(f"`{code}`" for code in sorted(codes))
