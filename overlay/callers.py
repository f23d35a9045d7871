"""Who asks: one caller from whatever credential a request carries.

A bearer token (RFC 6750) is the admin token, an API key `hk_…`, an order's key `ord_….…` or a viewer
token; it wins over the cookie of a staff page's session. A bearer token that is none of these is
refused, and a stream key is none of these: it publishes and opens nothing else. A session that is no
longer good is nobody, so that a page can ask who it is.

A browser sends the cookie along whoever wrote the page, so with it an unsafe method wants the
session's CSRF token as well, which only our own pages can read.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from overlay import permissions
from overlay.api_keys import API_KEY_PREFIX
from overlay.audit import Actor, acting
from overlay.errors import Refusal, Unauthorized
from overlay.order_links import OrderLinks
from overlay.staff import Staff
from overlay.staff_sessions import NewSession, Session
from overlay.tokens import NEVER_S, Claims, Tokens

VIEWER, NOBODY, ORDER = "viewer", "nobody", "order"
ORDER_KEY_PREFIX = "ord_"


class Named(Protocol):
    """What the audit log wants to know of a caller."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...


class Forbidden(Refusal):
    status = 403
    code = "forbidden"
    title = "Not allowed"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what he may do.

    `sub` owns orders: `staff/alice`, `staff/admin`, `key/apk_…`, a viewer's own; None for nobody and
    for an order's key. `name` is what the audit log writes. `room` is the only room he may act in,
    `order` the only order an order's key opens.
    """

    sub: str | None
    name: str
    role: str
    room: str | None = None
    order: str | None = None
    tier: str | None = None
    segment: str | None = None

    def may(self, act: str, room: str | None = None) -> bool:
        """By the permission table; who is bound to a room may act there and nowhere else."""
        return permissions.may(self.role, act) and self.room in (None, room)


class Callers:
    """Knows every kind of credential; the admin token is compared in constant time."""

    def __init__(
        self, tokens: Tokens, staff: Staff, order_links: OrderLinks, admin_token: str
    ) -> None:
        self._tokens = tokens
        self._staff = staff
        self._order_links = order_links
        self._admin_token = admin_token

    async def identify(
        self, bearer: str | None, session: str | None, csrf: str | None, *, unsafe: bool
    ) -> Caller:
        """Who this is; raises Unauthorized, or Forbidden `csrf` for a cookie without its token."""
        if bearer is not None:
            return await self._of_bearer(bearer)
        found = None if session is None else await self.session(session)
        if found is None:
            return Caller(None, NOBODY, NOBODY)
        if unsafe and not _equal(csrf or "", found.csrf):
            raise Forbidden("X-CSRF-Token is missing or not this session's", code="csrf")
        return Caller(f"staff/{found.name}", found.name, found.role)

    async def staff(self, token: str, room: str) -> Claims | None:
        """The staff as one who watches a room: by admin token or API key, None for other tokens."""
        if not (self._is_admin(token) or token.startswith(API_KEY_PREFIX)):
            return None
        caller = await self._of_bearer(token)
        assert caller.sub is not None
        return Claims(room, caller.sub, NEVER_S * 1000, role=caller.role, name=caller.name)

    async def session(self, token: str) -> Session | None:
        """The staff session of a cookie, None where it is no longer good."""
        return await self._staff.sessions.find(token, self._admin_token)

    async def log_in_admin(self, token: str) -> NewSession:
        """A session for who has the admin token; raises Unauthorized `login_failed`."""
        if not self._is_admin(token):
            raise Unauthorized("the admin token is not right", code="login_failed")
        return await self._staff.sessions.log_in_admin(self._admin_token)

    def acting(self, caller: Named, act: str, target: Mapping[str, str]) -> None:
        """From here on the commits of this task are this caller's, for the audit log."""
        acting.set(Actor(caller.name, caller.role, act, target))

    def permissions(self) -> dict[str, Any]:
        """The permission table: `roles`, `acts`, and `table` {role: its acts}."""
        return permissions.document()

    async def _of_bearer(self, token: str) -> Caller:
        if self._is_admin(token):
            return Caller("staff/admin", permissions.ADMIN, permissions.ADMIN)
        if token.startswith(API_KEY_PREFIX):
            key = await self._staff.api_keys.get(token)
            return Caller(f"key/{key.id}", f"key:{key.label}", key.role)
        if token.startswith(ORDER_KEY_PREFIX):
            order = self._order_links.order(token)
            return Caller(None, f"order:{order}", ORDER, order=order)
        claims = self._tokens.read(token)
        role = VIEWER if claims.guest else claims.role
        return Caller(
            claims.sub,
            claims.sub,
            role,
            room=claims.room,
            tier=claims.tier,
            segment=claims.segment,
        )

    def _is_admin(self, token: str) -> bool:
        return _equal(token, self._admin_token)


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
