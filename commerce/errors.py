"""The caller's errors of commerce and overlay: expected, carrying their reply.

`status`, `code`, `title` and `detail` are the members of an RFC 9457 problem, `headers` go with an
HTTP reply; who answers over another transport uses `code` and `detail`. Whatever else is raised is a
bug of ours and surfaces.
"""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """A caller asked for what it cannot have; nothing was changed."""

    status = 400
    code = "bad_request"
    title = "Bad request"

    def __init__(
        self, detail: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        self.headers: Mapping[str, str] = headers or {}


class Invalid(Refusal):
    """A well-formed request with a value that is not allowed; `field` names it."""

    status = 422
    code = "invalid"
    title = "Value not allowed"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field


class NotFound(Refusal):
    status = 404
    code = "not_found"
    title = "Not found"


class AlreadyExists(Refusal):
    status = 409
    code = "already_exists"
    title = "Already exists"


class Stale(Refusal):
    """The caller's version (If-Match) is not the current one."""

    status = 412
    code = "stale"
    title = "Changed meanwhile"


class StoreUnavailable(Refusal):
    """The store is overloaded, failing or closed; the command was not done."""

    status = 503
    code = "store_unavailable"
    title = "Store not available"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


class OutcomeUnknown(StoreUnavailable):
    """The store failed while it made a commit durable; only a retry with the same id will tell."""

    code = "outcome_unknown"
