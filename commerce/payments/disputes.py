"""Disputes: a buyer asks his bank for a payment's money back; what the provider's word does.

    open → won | lost

While one is open, the order's payment is `disputed`, and nothing of it is refunded. Won, it is what
was given back of it that says where the payment goes back to; lost, the bank has given the money back,
and the payment is `refunded`. Words may come in any order: an end without a beginning is both.

Indexes, newest first: `disputes`, `disputes/room/<room>`. `dispute-of/<provider>/<its id>` holds our id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import msgpack

from commerce.changes import SHOP, Changes
from commerce.errors import Full, Invalid, NotFound
from commerce.idempotency import Answer, Scope, fingerprint
from commerce.ids import new_id, utc_ms
from commerce.money import Money
from commerce.once import Once
from commerce.order import Order
from commerce.orders import save
from commerce.payments.records import Payment, save_payment
from commerce.store import INDEX_END, Store
from commerce.text import checked_text
from commerce.timestamps import rfc3339
from commerce.transitions import step

Said = Literal["open", "won", "lost"]

INDEX = "disputes"
DISPUTE_ID = re.compile(r"dsp_[0-9a-z]{26}")
EVIDENCE_MAX = 50  # of a dispute, which is one record of at most some 200 kB
TEXT_CHARS = 1_000
REASON_CHARS = 200
PAGE_MAX = 200


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one of the staff, `by`, has to say to it."""

    text: str
    by: str
    at_ms: int

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text, "by": self.by, "at": rfc3339(self.at_ms)}


@dataclass(frozen=True, slots=True)
class Dispute:
    """`ref` is the provider's id of it, `room` the order's; `version` is the store's."""

    id: str
    ref: str
    provider: str
    payment: str
    order: str
    amount: Money
    reason: str
    state: str
    created_ms: int
    updated_ms: int
    evidence: tuple[Evidence, ...] = ()
    room: str | None = None
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "provider": self.provider,
            "reference": self.ref,
            "payment": self.payment,
            "order": self.order,
            "amount": self.amount.to_json(),
            "reason": self.reason,
            "state": self.state,
            "evidence": [each.to_json() for each in self.evidence],
            "created_at": rfc3339(self.created_ms),
            "updated_at": rfc3339(self.updated_ms),
        }


@dataclass(frozen=True, slots=True)
class DisputeWord:
    """What a provider says of a dispute that it calls `ref`."""

    ref: str
    said: Said
    amount: Money
    reason: str = ""


def dispute_key(id: str) -> str:
    return f"dispute/{id}"


def ref_key(provider: str, ref: str) -> str:
    return f"dispute-of/{provider}/{ref}"


def pack(dispute: Dispute) -> bytes:
    members = asdict(dispute)
    del members["version"]
    return msgpack.packb(members)


def unpack(value: bytes | None, version: int) -> Dispute | None:
    if value is None:
        return None
    members = msgpack.unpackb(value)
    members["amount"] = Money(**members["amount"])
    members["evidence"] = tuple(Evidence(**each) for each in members["evidence"])
    return Dispute(**members, version=version)


def no_dispute() -> NotFound:
    """What is said of one that is not there, or not for who asks."""
    return NotFound("there is no such dispute", code="dispute_not_found")


def decide_dispute(
    payment: Payment, order: Order, known: Dispute | None, word: DisputeWord, now_ms: int
) -> Changes | None:
    """What the word changes; None if nothing. `known` is the dispute under the word's `ref`."""
    if known is not None and (word.said == "open" or known.state != "open"):
        return None
    changes, before = Changes(now_ms), order
    if known is None:
        known = _begun(changes, payment, order.room, word)
        ids = (*payment.disputes, known.id)
        payment = replace(payment, disputes=ids, disputes_open=payment.disputes_open + 1)
        if order.paid_by == payment.id and order.payment in ("paid", "partially_refunded"):
            order = replace(order, payment=step("payment", order.payment, "disputed"))
    if word.said != "open":
        known = replace(known, state=word.said)
        open_now = max(0, payment.disputes_open - 1)
        payment = replace(payment, disputes_open=open_now)
        if word.said == "lost":
            payment = replace(payment, state="refunded")
        order = _ended(order, payment)
        _tell(changes, "dispute.closed", known)
    _save(changes, known)
    save_payment(changes, payment)
    save(changes, before, order)
    return changes


def _begun(changes: Changes, payment: Payment, room: str | None, word: DisputeWord) -> Dispute:
    now_ms = changes.now_ms
    dispute = Dispute(
        new_id("dsp", now_ms),
        word.ref,
        payment.provider,
        payment.id,
        payment.order,
        word.amount,
        word.reason[:REASON_CHARS],
        "open",
        now_ms,
        now_ms,
        room=room,
    )
    key = ref_key(payment.provider, word.ref)
    changes.reads[key] = 0
    changes.writes[key] = dispute.id.encode()
    for place in {None, room}:
        changes.index[_index(place), dispute_key(dispute.id)] = (
            f"{10**15 - now_ms:015d}{dispute.id}"
        )
    _tell(changes, "dispute.opened", dispute)
    return dispute


def _index(room: str | None) -> str:
    return INDEX if room is None else f"{INDEX}/room/{room}"


def _ended(order: Order, payment: Payment) -> Order:
    if order.paid_by != payment.id or order.payment != "disputed":
        return order
    if payment.state == "refunded" or order.given_back_minor >= order.total.amount:
        return replace(order, payment=step("payment", "disputed", "refunded"))
    if payment.disputes_open:
        return order
    back = "partially_refunded" if order.given_back_minor else "paid"
    return replace(order, payment=step("payment", "disputed", back))


def _tell(changes: Changes, type: str, dispute: Dispute) -> None:
    about = {"dispute": dispute.id, "payment": dispute.payment, "order": dispute.order}
    changes.tell(SHOP, type, **about)


def _save(changes: Changes, dispute: Dispute) -> Dispute:
    dispute = replace(dispute, updated_ms=changes.now_ms)
    key = dispute_key(dispute.id)
    changes.reads[key] = dispute.version
    changes.writes[key] = pack(dispute)
    return dispute


class Disputes:
    """The disputes in the store, as the staff sees them."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms
        self._once = Once(store)

    async def get(self, id: str) -> Dispute:
        """Raises NotFound."""
        key = dispute_key(id)
        known = DISPUTE_ID.fullmatch(id) is not None
        dispute = unpack(*(await self._store.load([key]))[key]) if known else None
        if dispute is None:
            raise no_dispute()
        return dispute

    async def list(
        self, *, room: str | None = None, after: str | None = None, limit: int = 50
    ) -> tuple[Sequence[Dispute], str | None]:
        """A page, newest first, and the `after` of the next one; of `room`, None for all.

        Raises Invalid for a cursor, NotFound for one of no dispute there.
        """
        low = ""
        if after is not None:
            if not DISPUTE_ID.fullmatch(after):
                raise Invalid("cursor", "not a cursor of this list")
            last = await self.get(after)
            if room not in (None, last.room):
                raise no_dispute()
            low = f"{10**15 - last.created_ms:015d}{last.id}\0"
        limit = max(1, min(limit, PAGE_MAX))
        keys = await self._store.scan(_index(room), low, INDEX_END, limit + 1)
        loaded = await self._store.load(keys[:limit])
        found = [each for key in keys[:limit] if (each := unpack(*loaded[key])) is not None]
        return found, found[-1].id if len(keys) > limit else None

    async def add_evidence(self, id: str, text: str, *, by: str, key: str) -> Answer[Dispute]:
        """A note of the staff; raises NotFound, Invalid, KeyReused or Full."""
        text = checked_text("text", text, TEXT_CHARS)

        async def decide() -> tuple[Changes, Dispute]:
            dispute = await self.get(id)
            if len(dispute.evidence) >= EVIDENCE_MAX:
                raise Full(f"a dispute has at most {EVIDENCE_MAX} notes")
            changes = Changes(self._now_ms())
            noted = (*dispute.evidence, Evidence(text, by, changes.now_ms))
            return changes, _save(changes, replace(dispute, evidence=noted))

        scope = Scope(by, "dispute.evidence", key, fingerprint({"dispute": id, "text": text}))
        return await self._once.do(scope, decide, pack=pack, unpack=unpack)
