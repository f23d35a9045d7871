"""What a coupon leaves in the store beside its record: three guarded counters and a buyer's list.

`coupon-left/<coupon>`: claims that may still be made, at first its quota.
`coupon-claimed/<coupon>/<buyer>` counts his claims downwards, so that the limit is a floor.
`coupon-unspent/<coupon>/<buyer>`: those he has not spent. A claim moves all three in one commit, an
order takes one unspent, its end gives it back; none may go below its floor, so claims are at most the
quota and redemptions at most the claims, whoever asks at the same time. The index
`coupon-claims/<buyer>` lists what he has claimed, newest first.
"""

from __future__ import annotations

from commerce.changes import Changes
from commerce.pricing.rules import hashed


def coupon_key(id: str) -> str:
    return f"coupon/{id}"


def claims_left_key(coupon: str) -> str:
    return f"coupon-left/{coupon}"


def claimed_key(coupon: str, sub: str) -> str:
    return f"coupon-claimed/{coupon}/{hashed(sub)}"


def unspent_key(coupon: str, sub: str) -> str:
    return f"coupon-unspent/{coupon}/{hashed(sub)}"


def claims_index(sub: str) -> str:
    return f"coupon-claims/{hashed(sub)}"


def spend_claim(changes: Changes, coupon: str, sub: str) -> None:
    """One claim goes into an order."""
    changes.add(unspent_key(coupon, sub), -1)


def give_claim_back(changes: Changes, coupon: str, sub: str) -> None:
    """One claim comes out of an order that has ended."""
    changes.add(unspent_key(coupon, sub), 1)
