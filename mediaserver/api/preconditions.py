"""What a request must carry before it changes anything: If-Match and Idempotency-Key.

If-Match is RFC 9110 §13.1.1, with 428 (RFC 6585 §3) where it is missing; Idempotency-Key is
draft-ietf-httpapi-idempotency-key-header. The headers that answers carry for them are here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from commerce.idempotency import Answer, parse_key
from mediaserver.errors import PeerError

NO_STORE = {"Cache-Control": "no-store"}
NO_VERSION = -1  # the version of nothing: what is not matched is stale


class IfMatchMissing(PeerError):
    status = 428
    code = "if_match_missing"
    title = "If-Match missing"


def etag(version: int | str) -> dict[str, str]:
    """The header of an answer that shows this version, which no cache may keep."""
    return {**NO_STORE, "ETag": f'"{version}"'}


def if_match(request: web.Request, version: int | str) -> bool:
    """Whether If-Match allows a change of this version; `*` allows any. Raises IfMatchMissing."""
    if "If-Match" not in request.headers:
        raise IfMatchMissing("this change wants If-Match with the ETag that it is based on")
    tags = request.if_match or ()
    return any(tag.value == "*" or (not tag.is_weak and tag.value == str(version)) for tag in tags)


def idempotency_key(request: web.Request) -> str:
    """The request's key; raises KeyMissing or Invalid."""
    return parse_key(request.headers.get("Idempotency-Key"))


def replay(answer: Answer[Any]) -> Mapping[str, str]:
    """The headers that tell a first answer from one that is given again."""
    return {**NO_STORE, "Idempotent-Replayed": "true"} if answer.replayed else NO_STORE
