"""Returns: pieces that a buyer sends back; pure decisions and the record.

    requested → approved | refused;  approved → received | refused

A buyer may ask once all of an order has arrived, within the shop's window from then on. While pieces
are in a return nobody else pays them back: they count as owed on the order's record until the return
pays, when they are received, or at once where whoever approves says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgpack

from commerce.changes import Changes
from commerce.errors import Full, IllegalTransition, NotReturnable
from commerce.fulfilment import checked_pieces
from commerce.ids import new_id
from commerce.inventory import Stock, put_back
from commerce.order import Line, Order
from commerce.orders import bought_less, save
from commerce.refunds import parts_of_pieces, promise
from commerce.timestamps import rfc3339
from commerce.transitions import step

RETURNS_MAX = 50  # of an order, which is one record
INDEX = "returns"
RETURNABLE = ("delivered", "return_requested", "partially_returned")


@dataclass(frozen=True, slots=True)
class Return:
    """`pieces` {sku: count}; `answer` is the staff's, in words; `refund` is what it pays back with."""

    id: str
    order: str
    sub: str
    room: str | None
    pieces: Mapping[str, int]
    reason: str
    state: str
    created_ms: int
    updated_ms: int
    answer: str | None = None
    restocked: bool | None = None
    refund: str | None = None
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        """As its buyer and the shop see it."""
        return {
            "id": self.id,
            "order": self.order,
            "lines": [{"sku": sku, "qty": count} for sku, count in self.pieces.items()],
            "reason": self.reason,
            "state": self.state,
            "answer": self.answer,
            "restocked": self.restocked,
            "refund": self.refund,
            "created_at": rfc3339(self.created_ms),
            "updated_at": rfc3339(self.updated_ms),
        }


def return_key(id: str) -> str:
    return f"return/{id}"


def state_index(state: str, room: str | None = None) -> str:
    """The index of the returns in a state, of a room or of all, oldest first."""
    return f"{INDEX}/state/{state}" if room is None else f"{INDEX}/room/{room}/{state}"


def pack(record: Return) -> bytes:
    members = asdict(record)
    del members["version"]
    return msgpack.packb(members)


def unpack(value: bytes | None, version: int) -> Return | None:
    return None if value is None else Return(**msgpack.unpackb(value), version=version)


def decide_request(
    order: Order,
    pieces: Mapping[str, int],
    reason: str,
    *,
    window_ms: int | None,
    kept_by_buyer: Collection[str],
    now_ms: int,
) -> tuple[Changes, Order, Return]:
    """Pieces {sku: count} are to come back; `kept_by_buyer` are SKUs that are not taken back.

    `window_ms` None: at any time. Raises Invalid, IllegalTransition, NotReturnable or Full.
    """
    if order.fulfilment not in RETURNABLE:
        raise IllegalTransition("fulfilment", order.fulfilment, "return_requested")
    delivered_ms = order.updated_ms if order.delivered_ms is None else order.delivered_ms
    if window_ms is not None and now_ms > delivered_ms + window_ms:
        raise NotReturnable("the time for returns has passed", code="return_window_over")
    pieces = checked_pieces(order, pieces)
    if refused := sorted(set(pieces) & set(kept_by_buyer)):
        raise NotReturnable(f"not taken back: {', '.join(refused)}", extra={"skus": refused})
    over = [line.sku for line in order.lines if pieces.get(line.sku, 0) > line.returnable]
    if over:
        raise NotReturnable(f"so many pieces are not left: {', '.join(over)}", extra={"skus": over})
    if len(order.returns) >= RETURNS_MAX:
        raise Full(f"an order has at most {RETURNS_MAX} returns")
    changes = Changes(now_ms)
    id = new_id("ret", now_ms)
    made = Return(id, order.id, order.sub, order.room, pieces, reason, "requested", now_ms, now_ms)
    after = _with(order, pieces, coming=1, owed=1)
    after = replace(_placed(after), returns=(*order.returns, id))
    return changes, save(changes, order, after), save_return(changes, None, made)


def decide_approve(
    made: Return, order: Order, answer: str | None, *, pay_now: bool, by: str, now_ms: int
) -> tuple[Changes, Order, Return]:
    """The shop takes the pieces back; `pay_now`: it pays before it has them.

    Raises IllegalTransition or RefundExceeds.
    """
    changes = Changes(now_ms)
    after = replace(made, state=step("return", made.state, "approved"), answer=answer)
    changed = order
    if pay_now:
        changed, after = _paid(changes, order, after, by)
    return changes, save(changes, order, changed), save_return(changes, made, after)


def decide_refuse(
    made: Return, order: Order, answer: str | None, now_ms: int
) -> tuple[Changes, Order, Return]:
    """The pieces stay with the buyer; raises IllegalTransition, also for one that was paid back."""
    target = step("return", made.state, "refused")
    if made.refund is not None:
        raise IllegalTransition("return", made.state, "refused")
    changes = Changes(now_ms)
    after = replace(made, state=target, answer=answer)
    changed = _placed(_with(order, made.pieces, coming=-1, owed=-1))
    return changes, save(changes, order, changed), save_return(changes, made, after)


def decide_receive(
    made: Return,
    order: Order,
    stocks: Mapping[str, Stock],
    answer: str | None,
    *,
    restock: bool,
    by: str,
    now_ms: int,
) -> tuple[Changes, Order, Return]:
    """The pieces are here; they are paid back, once. Raises IllegalTransition or RefundExceeds."""
    changes = Changes(now_ms)
    state = step("return", made.state, "received")
    after = replace(made, state=state, restocked=restock, answer=answer or made.answer)
    changed = order
    if made.refund is None:
        changed, after = _paid(changes, order, after, by)
    changed = _placed(_with(changed, made.pieces, coming=-1, back=1))
    for line in order.lines:
        count = made.pieces.get(line.sku, 0)
        if count and restock:
            put_back(changes, stocks[line.sku], count, order.id)
        if count:
            bought_less(changes, order, line, count)
    return changes, save(changes, order, changed), save_return(changes, made, after)


def _paid(changes: Changes, order: Order, made: Return, by: str) -> tuple[Order, Return]:
    parts = parts_of_pieces(order, made.pieces)
    order, refund = promise(changes, order, parts, made.reason, by=by, back_from=made.id)
    return _with(order, made.pieces, owed=-1), replace(made, refund=refund.id)


def _with(
    order: Order, pieces: Mapping[str, int], *, coming: int = 0, back: int = 0, owed: int = 0
) -> Order:
    def moved(line: Line) -> Line:
        count = pieces.get(line.sku, 0)
        return replace(
            line,
            coming=line.coming + coming * count,
            back=line.back + back * count,
            owed=line.owed + owed * count,
        )

    return replace(order, lines=tuple(moved(line) for line in order.lines))


def _placed(order: Order) -> Order:
    """The order with the fulfilment that its returns bring it to."""
    back, sent = (sum(getattr(line, name) for line in order.lines) for name in ("back", "sent"))
    if any(line.coming for line in order.lines):
        target = "return_requested"
    elif not back:
        target = "delivered"
    else:
        target = "returned" if back >= sent else "partially_returned"
    source = order.fulfilment
    return replace(order, fulfilment=step("fulfilment", source, target))


def save_return(changes: Changes, before: Return | None, after: Return) -> Return:
    """Write the return with its place in the indexes of its state."""
    after = replace(after, updated_ms=changes.now_ms)
    key = return_key(after.id)
    changes.reads[key] = 0 if before is None else before.version
    changes.writes[key] = pack(after)
    for room in {None, after.room}:
        if before is not None:
            changes.index[state_index(before.state, room), key] = None
        changes.index[state_index(after.state, room), key] = after.id
    return after
