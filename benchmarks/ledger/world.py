"""A small shop with several processes on one store, driven one step at a time and checked after each.

A step is one act or several at once, with a fate for each process or none. After it every call that a
store was at has ended, dead processes have been built anew, the model has explained what the store
holds, and the invariants were checked.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.ledger.books import Books
from benchmarks.ledger.crashing import Fate
from benchmarks.ledger.explain import Atom, Track, Wanted, explain
from benchmarks.ledger.invariants import Facts, Violation, check, follow, whole
from benchmarks.ledger.observe import Observer, Seen
from benchmarks.ledger.process import Clock, Process, ProcessDied, Word
from benchmarks.ledger.sold import CLAIMS, CLAIMS_EACH, OFF, OK, REPLAYED, PaymentLabel
from commerce.changes import SHOP
from commerce.errors import Refusal, StoreUnavailable
from commerce.money import Money
from commerce.payments.signature import new_secret
from commerce.pricing.rules import Rule
from commerce.products import NewSku
from commerce.store import Store

BUYERS = ("amy", "ben", "cho")
PIECES = 6
LIMIT = 4
PRICES = (1990, 350)
MAIL_KEPT = 20  # webhooks that may come again
NOT_EXPLAINED = 6  # also 12: the act should have changed nothing, or something else


@dataclass(frozen=True, slots=True)
class Act:
    """What a client does in one of the processes; done again, it is the same act under the same key.

    `key` is its own, `item` is where the store binds it (of orders the observer knows that), and `ident`
    what its answer is known by; `hears`: the words that the provider says
    meanwhile are what it does.
    """

    kind: str
    name: str
    run: Callable[[Process], Awaitable[Any]]
    atom: Atom | None = None
    key: str = ""
    item: str = ""
    ident: Callable[[Any], str] | None = None
    hears: bool = False


@dataclass(slots=True)
class Counts:
    """What a run came to; `answers` by the kind of act."""

    steps: int = 0
    acts: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)


class World:
    """One shop of its own on the stores, each with a process."""

    def __init__(
        self, stores: Sequence[Store], clock: Clock, counts: Counts, seqs: dict[str, int]
    ) -> None:
        """`seqs` goes from world to world on the same stores: how far their events were read."""
        self._seqs = seqs
        self.clock = clock
        self.counts = counts
        self.mail: deque[tuple[Mapping[str, str], bytes]] = deque(maxlen=MAIL_KEPT)
        self.pending: list[Act] = []  # whose outcome their clients do not know
        self.asked: dict[str, str] = {}
        self.told: dict[str, str] = {}
        self.deaf = False
        self.route = 0
        self._stores = stores
        self._secret = new_secret()
        self.processes = [self._process(slot) for slot in range(len(stores))]
        self._standing = asyncio.all_tasks()  # of the stores, and of whoever drives this
        self._seen: Seen | None = None
        self._before: Seen | None = None
        self.recent: deque[str] = deque(maxlen=30)

    def _process(self, slot: int) -> Process:
        store = self._stores[slot]
        return Process(store, self.clock, self._secret, self.counts.struck, self._send)

    async def open(self) -> None:
        """Put two SKUs on the shelf, the second with a limit per buyer; raises Violation."""
        try:
            await self._stock_up()
        except Refusal as refusal:
            raise Violation(NOT_EXPLAINED, f"a new shop is refused: {refusal}") from None
        self.observer = Observer(
            self._stores[0], self.skus, self.clock(), self._seqs, self.coupon, BUYERS
        )
        for stream in (SHOP, *(f"buyer/{sub}" for sub in BUYERS)):
            await self.observer.news(stream)
        await self.step([])

    async def _stock_up(self) -> None:
        self.skus: list[str] = []
        catalogue = self.processes[0].catalogue
        for price, limit in zip(PRICES, (None, LIMIT), strict=True):
            sku = f"{'free' if limit is None else 'limited'}-{self.clock()}"
            new = NewSku(Money(price, "CNY"), PIECES, sku, per_buyer=limit)
            self.skus.append((await catalogue.create("Cup", [new], by="host")).skus[0].sku)
        self.books = Books(
            self.clock(),
            dict.fromkeys(self.skus, PIECES),
            dict(zip(self.skus, (None, LIMIT), strict=True)),
            dict(zip(self.skus, PRICES, strict=True)),
        )
        rule = Rule("", "coupon", "Spring", 0, off=Money(OFF, "CNY"))
        coupons = self.processes[0].coupons
        coupon = await coupons.create(rule, quota=CLAIMS, per_buyer=CLAIMS_EACH, by="host")
        self.coupon = coupon.id

    async def pass_s(self, seconds: float) -> None:
        """Nothing is done; time passes."""
        self.clock.pass_s(seconds)
        await self.step([], name=f"{seconds} s pass")

    async def step(
        self,
        acts: Sequence[tuple[int, Act]],
        fates: Mapping[int, Fate | None] | None = None,
        *,
        name: str = "",
    ) -> list[str | None]:
        """Do (process, act) at once; what each was answered, None where no answer came.

        Raises Violation.
        """
        for slot, fate in (fates or {}).items():
            self.processes[slot].life.befall(fate)
        answers = await asyncio.gather(*(self._attempt(slot, act) for slot, act in acts))
        heard = [word for process in self.processes for word in process.heard]
        said = [f"{act.name} -> {a}" for (_, act), a in zip(acts, answers, strict=True)]
        self.recent.append(" | ".join([name, *said]))
        await self._rest()
        self.counts.steps += 1
        self.counts.acts += len(acts)
        self.counts.answers.update(
            f"{act.kind}: {answer or 'none'}"
            for (_, act), answer in zip(acts, answers, strict=True)
        )
        await self._check(acts, answers, heard)
        return answers

    async def _attempt(self, slot: int, act: Act) -> str | None:
        process = self.processes[slot]
        try:
            value = await process.do(act.run(process))
        except (ProcessDied, StoreUnavailable):
            if process.heard and act.hears:
                process.heard[-1].certain = False
            if act.key and act not in self.pending:
                self.pending.append(act)
            return None
        except Refusal as refusal:
            self._settled(act)
            return refusal.code
        self._settled(act)
        if act.ident is not None:
            ident = act.ident(value)
            if self.told.setdefault(act.key, ident) != ident:
                raise Violation(5, f"{act.name} was {self.told[act.key]}, now {ident}")
        return REPLAYED if getattr(value, "replayed", False) else OK

    def _settled(self, act: Act) -> None:
        if act in self.pending:
            self.pending.remove(act)

    async def _rest(self) -> None:
        for process in self.processes:
            process.life.befall(None)
        # What an act that failed has begun goes on without it.
        while others := asyncio.all_tasks() - self._standing - {asyncio.current_task()}:
            await asyncio.gather(*others, return_exceptions=True)
        for slot, process in enumerate(self.processes):
            process.heard.clear()
            if process.life.dead:
                self.processes[slot] = self._process(slot)

    async def _send(self, sender: Process, headers: Mapping[str, str], body: bytes) -> None:
        if self.deaf:
            raise ConnectionError
        self.mail.append((headers, body))
        word = _word(body)
        sender.heard.append(word)
        word.certain = False
        target = self.processes[self.route]
        try:
            await target.do(target.payments.webhook("sandbox", headers, body))
        except ProcessDied:
            raise ConnectionError from None
        word.certain = True

    # -- checks ---------------------------------------------------------------------------------

    async def _check(
        self, acts: Sequence[tuple[int, Act]], answers: Sequence[str | None], heard: Sequence[Word]
    ) -> None:
        since = dict(self.observer.seqs)
        before, seen = self._seen, await self.observer.look(self.asked)
        streams = (SHOP, *(f"buyer/{sub}" for sub in BUYERS))
        news = {stream: await self.observer.news(stream) for stream in streams}
        follow(news, since, before, seen)
        self._before, self._seen = before, seen
        whole(seen)
        self.books.now_ms = self.clock()
        tracks = [
            Track([(act.atom, answer)])
            for (_, act), answer in zip(acts, answers, strict=True)
            if act.atom is not None
        ]
        tracks += [self._heard(word) for word in heard]
        on_hand = {sku: stock.on_hand for sku, stock in seen.stocks.items()}
        unknown = {
            act.key: act.item
            for (_, act), answer in zip(acts, answers, strict=True)
            if answer is None and act.item
        }
        bound = await self.observer.bound(unknown)
        claims = {sub: made for sub, made in seen.coupon.claimed.items() if made}
        wanted = Wanted(seen.sold(self.clock()), on_hand, bound, claims)
        after = explain(self.books, tracks, wanted)
        if after is None:
            differs = "; ".join(wanted.differs(self.books))
            raise Violation(NOT_EXPLAINED, f"not explained: {self.recent[-1]}; {differs}")
        self.books = after
        check(seen, Facts(self.clock(), after.on_hand, after.limits, self.told, self.asked))
        self._check_claims(seen)

    def _check_claims(self, seen: Seen) -> None:
        """The eighth; a claim that an expired order holds is its buyer's again with the sweep."""
        coupon = seen.coupon
        if coupon.left != CLAIMS - sum(coupon.claimed.values()) or coupon.left < 0:
            raise Violation(8, f"{coupon}: claims and what is left are not {CLAIMS}")
        for sub in BUYERS:
            held = sum(
                order.sub == sub and bool(order.coupons) and order.state == "reserved"
                for order in seen.orders.values()
                if order.expires_ms <= self.clock()
            )
            unspent = self.books.unspent(sub) - held
            if coupon.unspent[sub] != unspent or unspent < 0:
                raise Violation(8, f"{sub}: {coupon}, model {unspent}")

    def holds_late(self) -> bool:
        """Some order has passed its time and was not swept before the last step."""
        seen = self.seen if self._before is None else self._before
        return any(
            order.state == "reserved" and order.expires_ms <= self.clock()
            for order in seen.orders.values()
        )

    def _heard(self, word: Word) -> Track:
        def atom(books: Books, answer: str) -> bool:
            return books.word(self._payment(word.payment), word.said, word.minor)

        return Track([(atom, OK if word.certain else None)])

    # -- what acts ask --------------------------------------------------------------------------

    @property
    def seen(self) -> Seen:
        """What the store held after the last step."""
        assert self._seen is not None
        return self._seen

    def order_id(self, label: str) -> str:
        """The id of an order of the books."""
        return next(id for id, each in self.seen.labels.items() if each == label)

    def reserved(self, sku: str) -> int:
        """The pieces that orders held before or after the last step, swept or not."""
        seen = self.seen if self._before is None else self._before
        return max(each.stocks[sku].reserved for each in (seen, self.seen))

    def latest_payment(self, label: str) -> str:
        """The id of the order's latest payment; it must have one."""
        return self.seen.orders[self.order_id(label)].payments[-1]

    def atom_of(self, body: bytes) -> Atom:
        """The model's side of a webhook."""
        word = _word(body)

        def atom(books: Books, answer: str) -> bool:
            return answer != OK or books.word(self._payment(word.payment), word.said, word.minor)

        return atom

    def _payment(self, id: str) -> PaymentLabel:
        """Raises Violation: the provider knows it, and no order does."""
        for order in self.seen.orders.values():
            if id in order.payments:
                return self.seen.labels[order.id], order.payments.index(id)
        raise Violation(4, f"{id} is of no order")


def _word(body: bytes) -> Word:
    event = json.loads(body)
    minor = event["data"]["amount"]["amount"]
    return Word(event["data"]["payment"], event["type"].removeprefix("payment."), minor=minor)
