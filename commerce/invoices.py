"""What stands on an order's invoice: given by its buyer, kept as his contact is, and erased with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from commerce.changes import Changes, decide_and_commit
from commerce.contact import Contacts
from commerce.errors import IllegalTransition, Invalid
from commerce.ids import utc_ms
from commerce.order import Order
from commerce.ordering import Orders
from commerce.orders import save
from commerce.store import Store
from commerce.text import checked_text

FIELD_CHARS = {"title": 200, "tax_id": 40, "email": 254}


def checked_invoice(given: Mapping[str, Any]) -> dict[str, str]:
    """`title`, and maybe `tax_id` and `email`; raises Invalid."""
    fields = {name: text for name, text in given.items() if text}
    if unknown := set(fields) - set(FIELD_CHARS):
        raise Invalid(min(unknown), "there is no such member")
    if "title" not in fields:
        raise Invalid("title", "whose invoice it is")
    return {name: checked_text(name, text, FIELD_CHARS[name]) for name, text in fields.items()}


class Invoices:
    """The invoice data in the store."""

    def __init__(
        self,
        store: Store,
        orders: Orders,
        contacts: Contacts,
        *,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._orders = orders
        self._contacts = contacts
        self._now_ms = now_ms

    async def put(self, id: str, sub: str, given: Mapping[str, Any]) -> dict[str, str]:
        """What is to stand on it from now on; raises NotFound, Invalid or IllegalTransition."""
        invoice = checked_invoice(given)

        async def decide() -> tuple[Changes | None, dict[str, str]]:
            order = await self._orders.load(id, sub)
            changes = Changes(self._now_ms())
            state = order.at(changes.now_ms).state
            if state in ("cancelled", "expired"):
                raise IllegalTransition("state", state, "confirmed")
            if order.invoice is not None:
                self._contacts.drop(changes, sub, order.invoice)
            kept = self._contacts.put(changes, sub, {"invoice": invoice}, offered=False)
            save(changes, order, replace(order, invoice=kept))
            return changes, invoice

        return await decide_and_commit(self._store, decide)

    async def get(self, order: Order) -> dict[str, str] | None:
        """None where none was given, or it was erased."""
        kept = None if order.invoice is None else await self._contacts.get(order.invoice)
        return None if kept is None else kept["invoice"]
