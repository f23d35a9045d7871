"""Who asks over HTTP, and whether he may: bearer tokens (RFC 6750 §2.1) and the staff's cookie.

Callers are the overlay's; what is asked of them here are the two protocols below. An act that is
allowed is named to the audit log before it is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from aiohttp import web

from commerce.errors import Refusal
from mediaserver.access import Access
from mediaserver.api.signalling import bearer
from mediaserver.errors import PeerError, Unauthorized

SESSION_COOKIE = "hawker_session"
CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # RFC 9110 §9.2.1
# Fetch Metadata, Sec-Fetch-Site; another port of this host is the same site and no page of ours.
FOREIGN = ("cross-site", "same-site")
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="hawker"'}
NOBODY = "nobody"
WRONG_TOKEN = {401: "token_invalid token_expired"}  # what `caller_of` refuses, for OpenAPI


class Caller(Protocol):
    """Who asks; `overlay.callers.Caller` says what the members mean."""

    @property
    def sub(self) -> str | None: ...
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def room(self) -> str | None: ...
    @property
    def order(self) -> str | None: ...
    @property
    def tier(self) -> str | None: ...
    @property
    def segment(self) -> str | None: ...
    def may(self, act: str, room: str | None = None) -> bool: ...


class Callers(Protocol):
    async def identify(
        self, bearer: str | None, session: str | None, csrf: str | None, *, unsafe: bool
    ) -> Caller: ...
    def acting(self, caller: Caller, act: str, target: Mapping[str, str]) -> None: ...


CALLERS: web.AppKey[Callers] = web.AppKey("CALLERS")
CALLER: web.RequestKey[Caller] = web.RequestKey("CALLER")


class Forbidden(PeerError):
    status = 403
    code = "forbidden"
    title = "Not allowed"


async def caller_of(request: web.Request) -> Caller:
    """Who asks, nobody without a credential; raises Unauthorized, or Forbidden `csrf`."""
    caller = request.get(CALLER)
    if caller is None:
        caller = request[CALLER] = await _identify(request)
    return caller


async def require(
    request: web.Request, act: str, *, room: str | None = None, **target: str
) -> Caller:
    """The caller, who may do this act (in this room); raises Unauthorized or Forbidden.

    Unless the method is safe, the audit log will name him, the act and its target.
    """
    caller = await caller_of(request)
    if caller.role == NOBODY:
        raise Unauthorized("this is for the staff: sign in, or send a token", headers=CHALLENGE)
    if not caller.may(act, room):
        where = "" if caller.room is None else f" outside the room {caller.room}"
        raise Forbidden(f"the role {caller.role} may not do this{where}: {act}")
    if _is_unsafe(request):
        target = target if room is None else {"room": room, **target}
        request.config_dict[CALLERS].acting(caller, act, target)
    return caller


async def require_buyer(request: web.Request) -> Caller:
    """The caller, who has a `sub` to own orders; raises Unauthorized `token_missing`."""
    caller = await caller_of(request)
    if caller.sub is None:
        raise Unauthorized("a viewer token is missing", code="token_missing", headers=CHALLENGE)
    return caller


async def require_watcher(request: web.Request, access: Access, room: str) -> None:
    """Return if the caller may watch the room, or is of the staff there; raises what `watch` raises."""
    try:
        await access.watch(room, bearer(request))
    except (Refusal, PeerError):
        if not (await caller_of(request)).may("rooms.inspect", room):
            raise


def refuse_foreign_page(request: web.Request) -> None:
    """Raise Forbidden `csrf` where the browser says that a page of another origin sends this."""
    if request.headers.get("Sec-Fetch-Site") in FOREIGN:
        raise Forbidden("pages of other origins may not do this", code="csrf")


def challenged(refusal: Refusal) -> Exception:
    """The refusal; where it is a 401, with the challenge of this API (RFC 9110 §11.6.1)."""
    if refusal.status != Unauthorized.status:
        return refusal
    return Unauthorized(refusal.detail, code=refusal.code, headers=CHALLENGE)


async def _identify(request: web.Request) -> Caller:
    token = bearer(request)
    session = None if token is not None else request.cookies.get(SESSION_COOKIE)
    unsafe, csrf = _is_unsafe(request), request.headers.get(CSRF_HEADER)
    if session is not None and unsafe:
        refuse_foreign_page(request)
    try:
        return await request.config_dict[CALLERS].identify(token, session, csrf, unsafe=unsafe)
    except Refusal as refusal:
        raise challenged(refusal) from None


def _is_unsafe(request: web.Request) -> bool:
    return request.method not in SAFE_METHODS
