"""The admin token over HTTP (RFC 6750 §2.1)."""

from __future__ import annotations

import hmac

from aiohttp import web

from mediaserver.api.signalling import bearer
from mediaserver.errors import Unauthorized

ADMIN_TOKEN: web.AppKey[str] = web.AppKey("ADMIN_TOKEN", str)


def is_admin(request: web.Request) -> bool:
    """Whether the request carries the admin token, compared in constant time."""
    token = bearer(request)
    expected = request.config_dict[ADMIN_TOKEN].encode()
    return token is not None and hmac.compare_digest(
        token.encode("utf-8", "surrogateescape"), expected
    )


def require_admin(request: web.Request) -> None:
    """Return if the request carries the admin token; raises Unauthorized."""
    if not is_admin(request):
        challenge = {"WWW-Authenticate": 'Bearer realm="hawker admin"'}
        raise Unauthorized("this wants the admin token", headers=challenge)
