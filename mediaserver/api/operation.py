"""What OpenAPI 3.1 says of a handler, written on the handler itself, so that the two cannot part."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from aiohttp import web
from pydantic import BaseModel

from mediaserver.api.pagination import PageQuery

Handler = TypeVar("Handler", bound=Callable[..., Any])

PUBLIC = "public"  # anybody
VIEWER = "viewer"  # whoever has a viewer token; staff too
WATCHER = "watcher"  # anybody in a public room; a restricted one wants a viewer token
STREAM_KEY = "stream_key"  # a publisher

ACT = re.compile(r"[a-z_]+\.[a-z_]+")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")

Refusals: TypeAlias = Mapping[int, str]

# What follows from the other members, so that no handler has to say it.
BY_AUTH: Mapping[str, Refusals] = {
    PUBLIC: {},
    VIEWER: {401: "token_missing token_invalid token_expired"},
    WATCHER: {
        401: "token_missing token_invalid token_expired",
        403: "wrong_room room_restricted room_rehearsing",
        404: "room_not_found",
    },
    STREAM_KEY: {401: "unauthorized key_invalid"},
}
BY_ACT: Refusals = {401: "unauthorized token_invalid token_expired", 403: "forbidden"}
BY_COOKIE: Refusals = {403: "csrf"}
BY_BODY: Refusals = {
    400: "bad_json",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_coding",
    422: "invalid",
}
BY_PAGE: Refusals = {400: "bad_query"}
BY_HEADER: Mapping[str, Refusals] = {
    "Idempotency-Key": {400: "idempotency_key_missing", 422: "idempotency_key_reused"},
    "If-Match": {412: "stale", 428: "if_match_missing"},
}


@dataclass(frozen=True, slots=True)
class Operation:
    """`auth`: PUBLIC, VIEWER, WATCHER, STREAM_KEY or the act of /v1/permissions that the caller must
    be allowed.

    `body` and `reply` are models, or the media types of what is no JSON, with commas between; `query`
    a model of the query's parameters; `headers` those that a request must carry; `errors`
    {status: "code code"}. `description` is Markdown: paragraphs, lists and `code`.
    `reply_headers` are those that the reply carries beside the usual ones; `reply_also` is another
    media type in which the same may be had.
    """

    summary: str
    tag: str
    auth: str = PUBLIC
    body: type[BaseModel] | str | None = None
    reply: type[BaseModel] | str | None = None
    status: int = 200
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    description: str = ""
    reply_headers: tuple[str, ...] = ()
    reply_also: str | None = None

    def security(self, method: str) -> list[dict[str, list[str]]]:
        """OpenAPI's alternatives; an act stands as the role that the credential must have (§4.8.30)."""
        if self.auth == PUBLIC:
            return []
        if self.auth == STREAM_KEY:
            return [{"stream_key": []}]
        if self.auth == WATCHER:
            asks = self.query is not None and "token" in self.query.model_fields
            return [{}, {"bearer": []}, {"query_token": []}] if asks else [{}, {"bearer": []}]
        act: list[str] = [] if self.auth == VIEWER else [self.auth]
        cookie: dict[str, list[str]] = {"session": act} | ({"csrf": []} if method in UNSAFE else {})
        return [{"bearer": act}, cookie]

    def refusals(self, method: str) -> dict[int, list[str]]:
        """All codes by status: those in `errors`, and those that follow from the other members."""
        said: list[Refusals] = [self.errors, BY_AUTH.get(self.auth, BY_ACT)]
        if self.auth not in (PUBLIC, WATCHER, STREAM_KEY) and method in UNSAFE:
            said.append(BY_COOKIE)
        if isinstance(self.body, type):
            said.append(BY_BODY)
        if self.query is not None and issubclass(self.query, PageQuery):
            said.append(BY_PAGE)
        said += [BY_HEADER[name] for name in self.headers if name in BY_HEADER]
        codes: dict[int, dict[str, None]] = {}
        for status, listed in (each for refusals in said for each in refusals.items()):
            codes.setdefault(status, {}).update(dict.fromkeys(listed.split()))
        return {status: list(found) for status, found in sorted(codes.items())}


def operation(summary: str, tag: str, **members: Any) -> Callable[[Handler], Handler]:
    """Describe a handler; the members are those of `Operation`."""
    described = Operation(summary, tag, **members)

    def put(handler: Handler) -> Handler:
        handler.__operation__ = described  # type: ignore[attr-defined]
        return handler

    return put


def operation_of(route: web.AbstractRoute) -> Operation | None:
    """What is said of a route's handler, None where nothing is."""
    handler = getattr(route.handler, "__func__", route.handler)
    found: Operation | None = getattr(handler, "__operation__", None)
    return found
