"""The caller's errors of commerce and overlay: expected, carrying their reply.

`status`, `code`, `title` and `detail` are the members of an RFC 9457 problem, `headers` go with an
HTTP reply, `extra` are further members of the problem (`held`, `quote`); who answers over another
transport uses `code`, `detail` and `extra`. Whatever else is raised is a bug of ours and surfaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """A caller asked for what it cannot have; nothing was changed."""

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


class MixedCurrency(Refusal):
    code = "mixed_currency"
    title = "More than one currency"


class KeyMissing(Refusal):
    code = "idempotency_key_missing"
    title = "Idempotency-Key missing"


class KeyReused(Refusal):
    """Another command stands under this Idempotency-Key; nothing was changed."""

    status = 422
    code = "idempotency_key_reused"
    title = "Idempotency-Key belongs to another command"


class OutOfStock(Refusal):
    """`held`: others hold pieces that may come back."""

    status = 409
    code = "out_of_stock"
    title = "Out of stock"

    def __init__(self, skus: list[str], *, held: bool) -> None:
        super().__init__(f"not enough of {', '.join(skus)}", extra={"skus": skus, "held": held})


class PriceChanged(Refusal):
    """The price is not the one the buyer saw; `quote` is the new one."""

    status = 409
    code = "price_changed"
    title = "The price has changed"

    def __init__(self, quote: Mapping[str, Any]) -> None:
        super().__init__("the price is not the one you saw", extra={"quote": quote})


class LimitReached(Refusal):
    status = 409
    code = "limit_reached"
    title = "Limit reached"


class BelowHeld(Refusal):
    """Stock cannot be set below what orders hold."""

    status = 409
    code = "below_held"
    title = "Below what is held"


class IllegalTransition(Refusal):
    status = 409
    code = "illegal_transition"
    title = "Not possible in this state"

    def __init__(self, table: str, source: str, target: str) -> None:
        super().__init__(
            f"{table} cannot go from {source} to {target}",
            extra={"table": table, "from": source, "to": target},
        )


class RefundExceeds(Refusal):
    """More than was paid, or than is left of it."""

    status = 409
    code = "refund_exceeds"
    title = "More than is left to pay back"


class NotReturnable(Refusal):
    """Pieces that cannot be sent back; `code` says whether for the time that has passed."""

    status = 409
    code = "not_returnable"
    title = "Cannot be returned"


class Full(Refusal):
    """A list that is bounded has no room for another one."""

    status = 409
    code = "too_many_records"
    title = "No room for another one"


class SignatureInvalid(Refusal):
    status = 401
    code = "signature_invalid"
    title = "Signature not valid"


class PictureRefused(Refusal):
    """Not a picture that is taken; `code` says whether for its size or its type."""

    status = 415
    code = "picture_type"
    title = "Picture not taken"


class PictureTooLarge(PictureRefused):
    status = 413
    code = "picture_too_large"


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


class Busy(StoreUnavailable):
    """Too many others changed the same things meanwhile; nothing was done, try again."""

    code = "busy"
