"""Errors over HTTP: problem details (RFC 9457), with a `code` for programs and words for people.

Any exception with the members `status`, `code`, `title`, `detail`, `headers` and `extra` is the
caller's own doing and becomes its problem: `mediaserver.errors.PeerError` and the refusals of
commerce and overlay alike. Anything else is a bug of ours: one log line with its traceback, and a 500
that tells nothing.

Problems may be read by pages of any origin (CORS), like the media they are about: with `*` a browser
shows such a page only what it asked for without the cookie, and the cookie is SameSite=Strict.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Protocol, TypeVar, runtime_checkable

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError

from mediaserver.api.body import BODY_S, TooLarge, read_body
from mediaserver.errors import PeerError

log = logging.getLogger("hawker.api")

JSON_BYTES = (
    64 << 10
)  # the largest document here, a room or a token's claims, has some hundred bytes
ERRORS_SHOWN = 20
FIELD_CHARS = 100
CONTENT_TYPE = "application/problem+json"
HEADERS = {
    "Cache-Control": "no-store",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Link, Retry-After, WWW-Authenticate, Allow, Accept-Post, "
    "Accept-Patch",
}
SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
NO_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'"  # for JSON opened as a page
PASSED_ON = ("Allow", "Retry-After", "WWW-Authenticate")

Model = TypeVar("Model", bound=BaseModel)


@runtime_checkable
class Refusal(Protocol):
    """What an error of the caller's carries."""

    status: int
    code: str
    title: str
    detail: str
    headers: Mapping[str, str]
    extra: Mapping[str, Any]


class BadJson(PeerError):
    code = "bad_json"
    title = "Not JSON"


class InvalidBody(PeerError):
    """JSON of another form than wanted; `errors` says what is wrong with each field."""

    status = 422
    code = "invalid"
    title = "Value not allowed"

    def __init__(self, errors: list[dict[str, str]]) -> None:
        detail = "; ".join(f"{error['field']}: {error['detail']}" for error in errors[:3])
        super().__init__(detail, extra={"errors": errors})


def install(app: web.Application) -> None:
    """Answer errors of every handler as problems, and put security headers on every answer."""
    app.middlewares.append(problems)
    app.on_response_prepare.append(secure)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> web.Response:
    """A problem document; `members` are its extension members (RFC 9457 §3.2)."""
    body = {
        "type": f"urn:hawker:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **(members or {}),
    }
    response = web.json_response(body, status=status, content_type=CONTENT_TYPE, headers=HEADERS)
    response.headers.update(headers or {})
    return response


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into a problem."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _of_http(error)
    except Exception as error:
        if isinstance(error, ConnectionError) and _has_left(request):
            return web.Response(status=499)  # nobody reads this
        if request.writer.output_size > 0:
            raise  # too late for another answer: aiohttp logs it and closes the connection
        if isinstance(error, Refusal):
            return _of_refusal(error)
        log.exception("%s %s failed", request.method, route_of(request))
        return problem(500, "internal_error", "Internal error", "the server made a mistake")


async def secure(request: web.Request, response: web.StreamResponse) -> None:
    """Put security headers on an answer, where its handler has not put its own."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if response.content_type.endswith("json"):
        response.headers.setdefault("Content-Security-Policy", NO_CONTENT_POLICY)


def route_of(request: web.Request) -> str:
    """The route as it is written in the program, safe to log: no name or token of the caller's."""
    if getattr(request, "_match_info", None) is None:
        return "no route"  # refused before it was routed
    resource = request.match_info.route.resource
    return "no route" if resource is None else resource.canonical


async def read_json(request: web.Request, model: type[Model], *, within_s: float = BODY_S) -> Model:
    """The body as `model`; an empty one is `{}`.

    Raises TooLarge, TooSlow, BadJson or InvalidBody.
    """
    body = await read_body(request, JSON_BYTES, within_s=within_s)
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise _of_validation(error) from None


def _has_left(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _of_validation(error: ValidationError) -> PeerError:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return BadJson("the body is not JSON")
    return InvalidBody(
        [
            {
                "field": ".".join(map(str, each["loc"]))[:FIELD_CHARS] or "body",
                "detail": each["msg"],
            }
            for each in found[:ERRORS_SHOWN]
        ]
    )


def _of_refusal(error: Refusal) -> web.Response:
    return problem(
        error.status,
        error.code,
        error.title,
        error.detail,
        headers=error.headers,
        members=error.extra,
    )


def _of_http(error: web.HTTPException) -> web.Response:
    status = HTTPStatus(error.status)
    headers = {name: error.headers[name] for name in PASSED_ON if name in error.headers}
    match error:
        case web.HTTPNotFound():
            detail = "there is nothing here"
        case web.HTTPMethodNotAllowed():
            detail = f"allowed here: {headers.get('Allow', 'nothing')}"
        case web.HTTPRequestEntityTooLarge():
            return problem(413, TooLarge.code, TooLarge.title, "the body is too large")
        case _:
            detail = status.description or status.phrase
    code = status.phrase.lower().replace(" ", "_").replace("-", "_")
    return problem(status, code, status.phrase, detail, headers=headers)
