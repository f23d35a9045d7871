"""The tables: where an order's state, its payment and its fulfilment, and a return, may go from where.

A payment may come after the order has expired or been cancelled: it confirms an expired order that
finds stock again, else it is paid and refunded while the state stays. An order that is partly sent is
not cancelled: what was not sent of it is refunded. Pieces are returned once all has arrived. A declined
payment may be followed by another one, and a provider's late "paid" may follow its "failed".
"""

from __future__ import annotations

from collections.abc import Mapping

from commerce.errors import IllegalTransition

Table = Mapping[str, frozenset[str]]


def _to(*targets: str) -> frozenset[str]:
    return frozenset(targets)


STATE: Table = {
    "reserved": _to("confirmed", "cancelled", "expired"),
    "confirmed": _to("completed", "cancelled"),
    "completed": _to(),
    "cancelled": _to(),
    "expired": _to("confirmed"),
}

PAYMENT: Table = {
    "none": _to("pending"),
    "pending": _to("paid", "failed"),
    "failed": _to("pending", "paid"),
    "paid": _to("partially_refunded", "refunded", "disputed"),
    "partially_refunded": _to("partially_refunded", "refunded", "disputed"),
    "refunded": _to(),
    "disputed": _to("paid", "partially_refunded", "refunded"),
}

FULFILMENT: Table = {
    "none": _to("partial", "shipped"),
    "partial": _to("partial", "shipped"),
    "shipped": _to("delivered"),
    "delivered": _to("return_requested"),
    "return_requested": _to("return_requested", "delivered", "partially_returned", "returned"),
    "partially_returned": _to("return_requested"),
    "returned": _to(),
}

RETURN: Table = {
    "requested": _to("approved", "refused"),
    "approved": _to("received", "refused"),
    "refused": _to(),
    "received": _to(),
}

CASE: Table = {"open": _to("closed"), "closed": _to()}

TABLES: Mapping[str, Table] = {
    "state": STATE,
    "payment": PAYMENT,
    "fulfilment": FULFILMENT,
}
ALL: Mapping[str, Table] = {**TABLES, "return": RETURN, "case": CASE}


def step(table: str, source: str, target: str) -> str:
    """`target`, if the table leads there; raises IllegalTransition, which names both."""
    if target not in ALL[table][source]:
        raise IllegalTransition(table, source, target)
    return target
