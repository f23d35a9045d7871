"""The desk for what comes after the sale: refunds and returns, each act done once under its key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from commerce import refunds, returns
from commerce.catalogue import Catalogue
from commerce.changes import Changes
from commerce.errors import Invalid, NotFound
from commerce.idempotency import Answer, Scope, fingerprint
from commerce.ids import utc_ms
from commerce.money import Money
from commerce.once import Once
from commerce.order import Order
from commerce.ordering import Orders
from commerce.refunds import REASON_CHARS, Refund, decide_refund, refund_key
from commerce.returns import (
    Return,
    decide_approve,
    decide_receive,
    decide_refuse,
    decide_request,
    return_key,
    state_index,
)
from commerce.store import INDEX_END, Store
from commerce.text import checked_text
from commerce.transitions import RETURN

REFUND = "order.refund"
REQUEST = "return.request"
DAY_MS = 86_400_000
PAGE_MAX = 200
RETURN_ID = re.compile(r"ret_[0-9a-z]{26}")

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Decision:
    """What the staff does with a return: `act` is `approve`, `refuse` or `receive`.

    `pay_now` is for an approval, `restock` for a receipt; `answer` in words.
    """

    act: str
    answer: str | None = None
    pay_now: bool = False
    restock: bool = True


class AfterSale:
    """Refunds and returns in the store; `window_days` counts from delivery."""

    def __init__(
        self,
        store: Store,
        orders: Orders,
        catalogue: Catalogue,
        *,
        window_days: float = 7,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._orders = orders
        self._catalogue = catalogue
        self._window_ms = round(window_days * DAY_MS)
        self._now_ms = now_ms
        self._once = Once(store)

    async def refund(
        self,
        id: str,
        wanted: Mapping[str, int] | Money,
        reason: str,
        *,
        restock: bool | None = None,
        by: str,
        key: str,
    ) -> Answer[Refund]:
        """Promise to give back for pieces {sku: count}, or an amount for none.

        Raises NotFound, Invalid, MixedCurrency, KeyReused, IllegalTransition or RefundExceeds.
        """
        reason = checked_text("reason", reason, REASON_CHARS)

        async def decide() -> tuple[Changes, Refund]:
            order = await self._orders.load(id, None)
            stocks = await self._orders.stocks(order)
            changes, _, refund = decide_refund(
                order,
                stocks,
                wanted,
                restock=restock,
                why=reason,
                by=by,
                now_ms=self._now_ms(),
            )
            return changes, refund

        said = wanted.to_json() if isinstance(wanted, Money) else dict(wanted)
        command = {"order": id, "wanted": said, "reason": reason, "restock": restock}
        scope = Scope(by, REFUND, key, fingerprint(command))
        return await self._once.do(scope, decide, pack=refunds.pack, unpack=refunds.unpack)

    async def refunds(self, order: Order) -> list[Refund]:
        """Those of an order, oldest first."""
        return await self._rows(map(refund_key, order.refunds), refunds.unpack)

    async def returns(self, order: Order) -> list[Return]:
        """Those of an order, oldest first."""
        return await self._rows(map(return_key, order.returns), returns.unpack)

    async def request(
        self,
        id: str,
        sub: str | None,
        pieces: Mapping[str, int],
        reason: str,
        *,
        by: str,
        key: str,
    ) -> Answer[Return]:
        """A return that its buyer asks for; staff (`sub` None) may after the window, too.

        Raises NotFound, Invalid, KeyReused, IllegalTransition, NotReturnable or Full.
        """
        reason = checked_text("reason", reason, REASON_CHARS)

        async def decide() -> tuple[Changes, Return]:
            order = await self._orders.load(id, sub)
            changes, _, made = decide_request(
                order,
                pieces,
                reason,
                window_ms=None if sub is None else self._window_ms,
                kept_by_buyer=() if sub is None else await self._kept_by_buyer(order),
                now_ms=self._now_ms(),
            )
            return changes, made

        command = {"order": id, "lines": dict(pieces), "reason": reason}
        scope = Scope(by, REQUEST, key, fingerprint(command))
        return await self._once.do(scope, decide, pack=returns.pack, unpack=returns.unpack)

    async def get_return(self, id: str) -> Return:
        """Raises NotFound."""
        key = return_key(id)
        known = RETURN_ID.fullmatch(id) is not None
        made = returns.unpack(*(await self._store.load([key]))[key]) if known else None
        if made is None:
            raise NotFound("there is no such return", code="return_not_found")
        return made

    async def list_returns(
        self,
        state: str,
        *,
        room: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> tuple[list[Return], str | None]:
        """A page of the returns in a state, oldest first, and the `after` of the next one.

        Of the orders of `room`, None for all.
        """
        if state not in RETURN:
            raise Invalid("state", f"one of {', '.join(RETURN)}")
        if after is not None and not RETURN_ID.fullmatch(after):
            raise Invalid("after", "not a cursor of this list")
        limit = max(1, min(limit, PAGE_MAX))
        low = "" if after is None else f"{after}\0"
        keys = await self._store.scan(state_index(state, room), low, INDEX_END, limit + 1)
        found = await self._rows(keys[:limit], returns.unpack)
        return found, keys[limit - 1].partition("/")[2] if len(keys) > limit else None

    async def decide_return(
        self, id: str, decision: Decision, *, by: str, key: str
    ) -> Answer[Return]:
        """The staff's word on a return.

        Raises NotFound, Invalid, KeyReused, IllegalTransition or RefundExceeds.
        """
        answer = decision.answer
        answer = None if answer is None else checked_text("answer", answer, REASON_CHARS)

        async def decide() -> tuple[Changes, Return]:
            made = await self.get_return(id)
            order = await self._orders.load(made.order, None)
            now_ms = self._now_ms()
            if decision.act == "approve":
                changes, _, after = decide_approve(
                    made, order, answer, pay_now=decision.pay_now, by=by, now_ms=now_ms
                )
            elif decision.act == "refuse":
                changes, _, after = decide_refuse(made, order, answer, now_ms)
            else:
                stocks = await self._orders.stocks(order)
                changes, _, after = decide_receive(
                    made, order, stocks, answer, restock=decision.restock, by=by, now_ms=now_ms
                )
            return changes, after

        command: dict[str, Any] = {"return": id, "answer": answer}
        command |= {"pay_now": decision.pay_now, "restock": decision.restock}
        scope = Scope(by, f"return.{decision.act}", key, fingerprint(command))
        return await self._once.do(scope, decide, pack=returns.pack, unpack=returns.unpack)

    async def _kept_by_buyer(self, order: Order) -> list[str]:
        products = await self._catalogue.of_skus(line.sku for line in order.lines)
        return [sku for sku, product in products.items() if not product.returnable]

    async def _rows(
        self, keys: Iterable[str], unpack: Callable[[bytes | None, int], Row | None]
    ) -> list[Row]:
        keys = list(keys)
        loaded = await self._store.load(keys)
        rows: list[Any] = [unpack(*loaded[key]) for key in keys]
        return [row for row in rows if row is not None]
