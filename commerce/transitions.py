"""The three tables of an order: where its state, its payment and its fulfilment may go from where.

A payment may come after the order has expired or been cancelled: it confirms an expired order that
finds stock again, else it is paid and refunded while the state stays. A declined payment may be
followed by another one, and a provider's late "paid" may follow its "failed".
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
    "disputed": _to("paid", "refunded"),
}

FULFILMENT: Table = {
    "none": _to("partial", "shipped"),
    "partial": _to("shipped"),
    "shipped": _to("delivered", "return_requested"),
    "delivered": _to("return_requested"),
    "return_requested": _to("delivered", "partially_returned", "returned"),
    "partially_returned": _to("return_requested", "returned"),
    "returned": _to(),
}

TABLES: Mapping[str, Table] = {"state": STATE, "payment": PAYMENT, "fulfilment": FULFILMENT}


def step(table: str, source: str, target: str) -> str:
    """`target`, if the table leads there; raises IllegalTransition, which names both."""
    if target not in TABLES[table][source]:
        raise IllegalTransition(table, source, target)
    return target
