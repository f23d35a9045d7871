"""The sandbox provider: behaves like a real one, on our own store, by the test card that is chosen.

It keeps what it was told under `sandbox/…` and its calls in an outbox, so it survives a restart as a
real one would, and calls back with webhooks signed as Standard Webhooks 1.0.0 has it. A call is
repeated until it is taken. No money moves.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

import msgpack

from commerce.changes import Changes, decide_and_commit
from commerce.errors import Invalid, NotFound, Refusal
from commerce.ids import new_id, utc_ms
from commerce.money import Money
from commerce.payments.cards import ALL_CARDS, Card, card_of
from commerce.payments.provider import Next, ProviderEvent, ProviderFailed, RefundRefused, Standing
from commerce.payments.signature import sign, verify
from commerce.store import Conflict, Store
from commerce.timestamps import rfc3339

DELAY_MS = 5_000
LATE_MS = 20 * 60_000
SESSION_MS = 24 * 3_600_000  # a page that nobody used fails then
RETRY_MS = 5_000
SENT_AT_ONCE = 100
REF_CHARS = 100
FLOWS: Mapping[str, Literal["redirect", "qr"]] = {"redirect": "redirect", "qr": "qr"}
CALLS = "sandbox-calls"

Send = Callable[[Mapping[str, str], bytes], Awaitable[None]]


class Sandbox:
    """A `Provider`; `send` is how its webhooks leave, raising when they were not taken."""

    def __init__(
        self,
        store: Store,
        secret: str,
        *,
        send: Send,
        delay_ms: int = DELAY_MS,
        late_ms: int = LATE_MS,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._secret = secret
        self._send = send
        self._after_ms = {"now": 0, "delay": delay_ms, "late": late_ms}
        self._now_ms = now_ms

    def page(self, payment: str) -> str:
        """The path of the hosted page."""
        return f"/pay/sandbox/{payment}"

    def check(self, method: Mapping[str, str] | None, amount: Money) -> None:
        """Raises Invalid but for `{"card": a test card}`, `{"flow": "redirect" or "qr"}` and None."""
        if method is None or (set(method) == {"flow"} and method["flow"] in FLOWS):
            return
        if set(method) != {"card"}:
            raise Invalid("method", "an object with card, or with the flow redirect or qr")
        card_of(method["card"])

    async def start(
        self, payment: str, amount: Money, method: Mapping[str, str] | None
    ) -> Next | None:
        """Begin a payment; a second time changes nothing. Both flows lead to the page."""
        method = method or {}
        card = card_of(method["card"]) if "card" in method else None

        async def decide() -> tuple[Changes | None, None]:
            if await self._kept(payment) is not None:
                return None, None
            changes = Changes(self._now_ms())
            record = {"amount": amount.to_json(), "begun_ms": changes.now_ms, "card": None}
            self._keep(changes, payment, record, 0, card)
            return changes, None

        await decide_and_commit(self._store, decide)
        flow = FLOWS.get(method.get("flow", ""))
        return None if flow is None else Next(flow, self.page(payment))

    async def page_data(self, payment: str) -> dict[str, Any]:
        """What the hosted page shows: {payment, amount, cards, state}; raises NotFound."""
        record = await self._kept(payment)
        if record is None:
            raise NotFound("there is no such payment", code="payment_not_found")
        return {
            "payment": payment,
            "amount": record["amount"],
            "cards": [{"number": card.number, "label": card.label} for card in ALL_CARDS.values()],
            "state": self._state(record),
        }

    async def choose(self, payment: str, card: str) -> None:
        """The buyer's card; the first one counts. Raises NotFound, or Invalid for a card."""
        chosen = card_of(card)

        async def decide() -> tuple[Changes | None, None]:
            item = (await self._store.load([_item(payment)]))[_item(payment)]
            if item[0] is None:
                raise NotFound("there is no such payment", code="payment_not_found")
            record = msgpack.unpackb(item[0])
            if record["card"] is not None or self._state(record) != "pending":
                return None, None
            changes = Changes(self._now_ms())
            self._keep(changes, payment, record, item[1], chosen)
            return changes, None

        await decide_and_commit(self._store, decide)

    async def ask(self, payment: str) -> Standing | None:
        """How the payment stands; None: never heard of."""
        record = await self._kept(payment)
        if record is None:
            return None
        state = self._state(record)
        return Standing(state, _captured(record) if state == "succeeded" else None)

    async def refund(self, refund: str, payment: str, amount: Money) -> bool:
        """Give it back at once; raises ProviderFailed for what it never heard of, or RefundRefused.

        A webhook that was signed with our secret by hand counts as its word, so what it called paid can
        be given back, whatever card was chosen here.
        """
        record = await self._kept(payment)
        if record is None:
            raise ProviderFailed("there is no such payment")
        if record["card"] is not None and not ALL_CARDS[record["card"]].refunds:
            raise RefundRefused("the account is closed")
        value = msgpack.packb({"payment": payment, "amount": amount.to_json()})
        await self._store.commit(
            new_id("cmt", self._now_ms()), writes={f"sandbox/refund/{refund}": value}
        )
        return True

    def receive(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> ProviderEvent:
        """A webhook of ours, checked; raises SignatureInvalid or Invalid."""
        id = verify([self._secret], headers, body, now_ms // 1000)
        try:
            event = json.loads(body)
            payment, type = event["data"]["payment"], event["type"]
            amount = Money.from_json(event["data"]["amount"])
        except (ValueError, KeyError, TypeError) as error:
            raise Invalid("body", "a webhook of the sandbox is wanted") from error
        if not isinstance(payment, str) or not isinstance(type, str):
            raise Invalid("body", "a webhook of the sandbox is wanted")
        dispute, reason = event["data"].get("dispute"), event["data"].get("reason", "")
        if not (dispute is None or _is_text(dispute)) or not isinstance(reason, str):
            raise Invalid("body", "a webhook of the sandbox is wanted")
        return ProviderEvent(id, type, payment, amount, dispute, reason)

    async def dispute(self, payment: str, said: str, reason: str = "") -> None:
        """The buyer's bank opens a dispute (`opened`), or closes it (`won` or `lost`, by the shop).

        Raises NotFound, or Invalid where the payment or its dispute does not stand so.
        """

        async def decide() -> tuple[Changes, None]:
            record = await self._kept(payment)
            if record is None:
                raise NotFound("there is no such payment", code="payment_not_found")
            key = f"sandbox/dispute/{payment}"
            value, version = (await self._store.load([key]))[key]
            before = "none" if value is None else value.decode()
            wanted = "none" if said == "opened" else "opened"
            if before != wanted or self._state(record) != "succeeded":
                raise Invalid(
                    "said", "a payment that succeeded is disputed once, and that ends once"
                )
            changes = Changes(self._now_ms())
            changes.reads[key] = version
            changes.writes[key] = said.encode()
            data = {"payment": payment, "amount": _captured(record).to_json()}
            data |= {"dispute": payment.replace("pay_", "bank_"), "reason": reason}
            self._plan_call(changes, f"{payment}/{said}", f"dispute.{said}", data)
            return changes, None

        await decide_and_commit(self._store, decide)

    def _plan_call(self, changes: Changes, call: str, type: str, data: Mapping[str, Any]) -> None:
        timestamp = rfc3339(changes.now_ms)
        body = {"type": type, "timestamp": timestamp, "data": data}
        key = f"sandbox/call/{call}"
        changes.writes[key] = msgpack.packb({"id": new_id("msg", changes.now_ms), "body": body})
        changes.index[CALLS, key] = f"{changes.now_ms:015d}"

    async def send_due(self) -> int:
        """Make the calls whose time has come; how many were taken."""
        now_ms = self._now_ms()
        keys = await self._store.scan(CALLS, "", f"{now_ms + 1:015d}", SENT_AT_ONCE)
        loaded = await self._store.load(keys)
        taken = 0
        for key in keys:
            value = loaded[key][0]
            if value is not None:
                reads = {key: loaded[key][1]}
                taken += await self._call(key, msgpack.unpackb(value), Changes(now_ms, reads))
        return taken

    async def _call(self, key: str, call: dict[str, Any], changes: Changes) -> bool:
        now_ms = changes.now_ms
        body = json.dumps(call["body"], separators=(",", ":")).encode()
        headers = sign(self._secret, call["id"], now_ms // 1000, body)
        try:
            await self._send(headers, body)
            taken = True
        except (Refusal, OSError, TimeoutError):
            taken = False
        if taken:
            changes.writes[key] = None
        changes.index[CALLS, key] = None if taken else f"{now_ms + RETRY_MS:015d}"
        with suppress(Conflict):  # another process made the same call; it counts once
            await changes.commit(self._store)
        return taken

    def _keep(
        self,
        changes: Changes,
        payment: str,
        record: dict[str, Any],
        version: int,
        card: Card | None,
    ) -> None:
        if card is not None:
            at_ms = changes.now_ms + self._after_ms[card.after]
            record = record | {"card": card.number, "decided_ms": at_ms}
            captured = _captured(record).to_json()
            self._plan_calls(changes, payment, captured, card, at_ms)
        changes.reads[_item(payment)] = version
        changes.writes[_item(payment)] = msgpack.packb(record)

    def _plan_calls(
        self, changes: Changes, payment: str, amount: Any, card: Card, at_ms: int
    ) -> None:
        ids = {name: new_id("msg", changes.now_ms) for name in ("outcome", "processing")}
        for place, name in enumerate(card.calls):
            type = card.outcome if name == "outcome" else name
            body = {
                "type": f"payment.{type}",
                "timestamp": rfc3339(at_ms),
                "data": {"payment": payment, "amount": amount},
            }
            key = f"sandbox/call/{payment}/{place}"
            changes.writes[key] = msgpack.packb({"id": ids[name], "body": body})
            changes.index[CALLS, key] = f"{at_ms:015d}"

    def _state(self, record: Mapping[str, Any]) -> Literal["pending", "succeeded", "failed"]:
        now_ms = self._now_ms()
        if record["card"] is None:
            return "failed" if now_ms >= record["begun_ms"] + SESSION_MS else "pending"
        return ALL_CARDS[record["card"]].outcome if now_ms >= record["decided_ms"] else "pending"

    async def _kept(self, payment: str) -> dict[str, Any] | None:
        value = (await self._store.load([_item(payment)]))[_item(payment)][0]
        record: dict[str, Any] | None = None if value is None else msgpack.unpackb(value)
        return record


def _captured(record: Mapping[str, Any]) -> Money:
    amount = Money.from_json(record["amount"])
    return Money(amount.amount + ALL_CARDS[record["card"]].more_minor, amount.currency)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= REF_CHARS


def _item(payment: str) -> str:
    return f"sandbox/payment/{payment}"
