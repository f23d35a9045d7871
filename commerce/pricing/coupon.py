"""A coupon as it is kept, and the refusals about one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from commerce.errors import Refusal
from commerce.pricing.documents import rule_document
from commerce.pricing.rules import Rule, members_of, read_rule


class CouponRefused(Refusal):
    """It cannot be claimed or spent; `code` says why."""

    status = 409
    code = "coupon_over"
    title = "Coupon cannot be used"


@dataclass(frozen=True, slots=True)
class Coupon:
    """What it gives is its `rule`, of the same id; `quota` claims in all, `per_buyer` for each.

    With a `code` it is claimed by this word, which only those know who were told. `version` is the
    store's.
    """

    rule: Rule
    quota: int
    per_buyer: int
    code: str | None
    created_ms: int
    by: str
    version: int = 0

    @property
    def id(self) -> str:
        return self.rule.id

    def to_json(self) -> dict[str, Any]:
        """As everybody may see it, so without its code."""
        return {
            **rule_document(self.rule, self.created_ms),
            "quota": self.quota,
            "per_buyer": self.per_buyer,
        }


def pack_coupon(coupon: Coupon) -> bytes:
    members = members_of(coupon)
    del members["version"]
    return msgpack.packb(members, default=members_of)


def unpack_coupon(value: bytes | None, version: int) -> Coupon | None:
    if value is None:
        return None
    members = msgpack.unpackb(value)
    return Coupon(**{**members, "rule": read_rule(members["rule"])}, version=version)


def check_for(coupon: Coupon, tier: str | None, segment: str | None, now_ms: int) -> None:
    """Raise CouponRefused unless this buyer may claim or spend it now."""
    if not coupon.rule.runs(now_ms):
        raise CouponRefused(f"{coupon.id} is not to be had now", code="coupon_over")
    if coupon.rule.tier not in (None, tier) or coupon.rule.segment not in (None, segment):
        raise CouponRefused(f"{coupon.id} is for others", code="coupon_not_yours")
