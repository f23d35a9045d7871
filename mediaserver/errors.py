"""The peer's errors: expected, carrying the reply, ending one request or one connection.

Anything else that is raised is a bug of ours and surfaces. `status`, `code`, `title` and `detail`
are the members of an RFC 9457 problem; `headers` go with the HTTP reply, `extra`
are further members of the problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PeerError(Exception):
    """A peer did something we answer with an error; the stream and the other peers go on."""

    status = 400
    code = "bad_request"
    title = "Bad request"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        self.headers: Mapping[str, str] = headers or {}
        self.extra: Mapping[str, Any] = extra or {}


class ProtocolError(PeerError):
    """Bytes that break the protocol they claim to speak, or exceed its limits here."""

    code = "malformed"
    title = "Malformed input"


class Unauthorized(PeerError):
    status = 401
    code = "unauthorized"
    title = "Key or token missing or wrong"


class NotFound(PeerError):
    status = 404
    code = "not_found"
    title = "Not found"


class NotAcceptable(PeerError):
    """A sound offer that has nothing which could be had here."""

    status = 406
    code = "not_acceptable"
    title = "Not acceptable"


class Conflict(PeerError):
    status = 409
    code = "conflict"
    title = "Conflict"


class NotLive(Conflict):
    code = "not_live"
    title = "Not live"


class TooMany(PeerError):
    status = 429
    code = "too_many"
    title = "Too many"


class Unavailable(PeerError):
    status = 503
    code = "unavailable"
    title = "Not available now"
