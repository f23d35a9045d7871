"""One process of a shop: the real services on a store that it shares with others, until it is killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.ledger.crashing import CrashingStore, Lifeline
from commerce.after_sale import AfterSale
from commerce.catalogue import Catalogue
from commerce.contact import Contacts
from commerce.coupons import Coupons
from commerce.inventory import Inventory
from commerce.money import Money
from commerce.ordering import Orders
from commerce.orders import Limits
from commerce.payments.provider import ProviderEvent, ProviderFailed, Standing
from commerce.payments.sandbox import Sandbox
from commerce.payments.service import Payments
from commerce.store import Store

T = TypeVar("T")

CONTACT_KEY = b"k" * 32
Send = Callable[["Process", Mapping[str, str], bytes], Awaitable[None]]


@dataclass(slots=True)
class Clock:
    """UTC milliseconds that only tests move."""

    now: int = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


@dataclass(slots=True)
class Word:
    """What the provider said of a payment, or that it gave a refund back; `certain`: it was applied."""

    payment: str
    said: str
    certain: bool = True
    minor: int = 0  # that came in or was given back, 0: what was asked


class Watched:
    """A provider whose boundaries kill as the store's do; it notes what was said in `heard`."""

    def __init__(self, provider: Sandbox, life: Lifeline, heard: list[Word]) -> None:
        self._provider = provider
        self._life = life
        self._heard = heard
        self.page = provider.page
        self.check = provider.check

    async def start(self, payment: str, amount: Money, method: Mapping[str, str] | None) -> None:
        await self._call("start", self._provider.start(payment, amount, method))

    async def ask(self, payment: str) -> Standing | None:
        said: Standing | None = await self._call("ask", self._provider.ask(payment))
        if said is None:
            self._heard.append(Word(payment, "failed"))
        elif said.state != "pending":
            captured = 0 if said.captured is None else said.captured.amount
            self._heard.append(Word(payment, said.state, minor=captured))
        return said

    async def refund(self, refund: str, payment: str, amount: Money) -> bool:
        done: bool = await self._call("refund", self._provider.refund(refund, payment, amount))
        if done:
            self._heard.append(Word(payment, "refunded", minor=amount.amount))
        return done

    def receive(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> ProviderEvent:
        return self._provider.receive(headers, body, now_ms)

    async def _call(self, name: str, call: Any) -> Any:
        try:
            self._life.cross(f"before the provider's {name}", ProviderFailed)
        except BaseException:
            call.close()
            raise
        answer = await call
        self._life.cross(f"after the provider's {name}", ProviderFailed)
        return answer


class Process:
    """The services of a server, rebuilt on the same store when it has died."""

    def __init__(
        self, store: Store, clock: Clock, secret: str, struck: Counter[str], send: Send
    ) -> None:
        self.life = Lifeline(struck)
        self.heard: list[Word] = []
        kept = CrashingStore(store, self.life)
        self.catalogue = Catalogue(kept, now_ms=clock)
        self.inventory = Inventory(kept, now_ms=clock)
        self.orders = Orders(
            kept,
            self.catalogue,
            Contacts(kept, CONTACT_KEY, now_ms=clock),
            room_exists=_any_room,
            limits=Limits(),
            now_ms=clock,
        )

        self.coupons = Coupons(kept, room_exists=_any_room, now_ms=clock)
        self.after_sale = AfterSale(kept, self.orders, self.catalogue, now_ms=clock)

        async def sent(headers: Mapping[str, str], body: bytes) -> None:
            await send(self, headers, body)

        self.sandbox = Sandbox(kept, secret, send=sent, now_ms=clock)
        watched = Watched(self.sandbox, self.life, self.heard)
        self.payments = Payments(kept, self.orders, {"sandbox": watched}, now_ms=clock)

    async def do(self, act: Awaitable[T]) -> T:
        """The act's answer; raises ProcessDied when the process was killed over it."""
        task = asyncio.ensure_future(act)
        both: set[asyncio.Future[Any]] = {task, self.life.died}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not self.life.dead:
            return task.result()
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task
        raise ProcessDied


class ProcessDied(Exception):
    """The process was killed; nobody knows what it had done."""


async def _any_room(room: str) -> bool:
    return True
