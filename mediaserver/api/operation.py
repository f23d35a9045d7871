"""What OpenAPI 3.1 says of a handler, written on the handler itself, so that the two cannot part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel

Handler = TypeVar("Handler", bound=Callable[..., Any])

PUBLIC = "public"  # anybody
VIEWER = "viewer"  # whoever has a viewer token; staff too


@dataclass(frozen=True, slots=True)
class Operation:
    """`auth`: PUBLIC, VIEWER or the act of /v1/permissions that the caller must be allowed.

    `body` and `reply` are models, or the media type of what is no JSON; `query` a model of the
    query's parameters; `headers` those that a request must carry; `errors` {status: "code code"}.
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
