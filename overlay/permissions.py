"""Who may do what: the one table of roles and acts, served as it stands at `/v1/permissions`.

A role that is not in the table (a viewer, nobody, the bearer of an order's link) may do none of these
acts; what such callers may do, each handler says itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commerce.errors import Invalid

ADMIN = "admin"
ACTS = (
    "rooms.write",
    "rooms.inspect",
    "stream_key.rotate",
    "restreams.write",
    "viewer_tokens.issue",
    "products.write",
    "stock.read",
    "stock.adjust",
    "prices.write",
    "cards.pin",
    "bag.write",
    "sales.write",
    "promotions.write",
    "coupons.write",
    "orders.read",
    "orders.contact",
    "orders.ship",
    "orders.cancel",
    "orders.refund",
    "orders.returns",
    "orders.notes",
    "payments.read",
    "payments.disputes",
    "webhooks.manage",
    "audit.read",
    "staff.manage",
)
TABLE: Mapping[str, frozenset[str]] = {
    ADMIN: frozenset(ACTS),
    "operator": frozenset(ACTS) - {"staff.manage"},
    "host": frozenset(
        {
            "rooms.inspect",
            "stream_key.rotate",
            "restreams.write",
            "products.write",
            "stock.read",
            "stock.adjust",
            "prices.write",
            "cards.pin",
            "bag.write",
            "sales.write",
            "promotions.write",
            "coupons.write",
        }
    ),
    "moderator": frozenset({"rooms.inspect"}),
    "finance": frozenset(
        {
            "stock.read",
            "orders.read",
            "audit.read",
            "orders.refund",
            "orders.notes",
            "payments.read",
            "payments.disputes",
        }
    ),
    "engineer": frozenset({"rooms.inspect", "audit.read"}),
}
STAFF_ROLES = tuple(role for role in TABLE if role != ADMIN)


def may(role: str, act: str) -> bool:
    """Whether a role may do an act, leaving aside in which room."""
    return act in TABLE.get(role, frozenset())


def acts_of(role: str) -> list[str]:
    """The acts of a role, in the table's order; none for a role that is not in it."""
    return [act for act in ACTS if may(role, act)]


def checked_role(role: str) -> str:
    """The role, if it is one of the staff's; raises Invalid."""
    if role not in STAFF_ROLES:
        raise Invalid("role", f"one of {', '.join(STAFF_ROLES)}")
    return role


def document() -> dict[str, Any]:
    """The table as JSON: `roles`, `acts`, and `table` {role: its acts}."""
    table = {role: acts_of(role) for role in TABLE}
    return {"roles": list(TABLE), "acts": list(ACTS), "table": table}
