"""Webhooks out: from an order to somebody else's server, through every failure on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from commerce.changes import SHOP, Changes
from commerce.errors import LimitReached, StoreUnavailable
from commerce.ids import utc_ms
from commerce.money import Money
from commerce.order_record import unpack
from commerce.orders import order_key, save
from commerce.payments.signature import verify
from commerce.products import NewSku
from commerce.webhooks.courier import WAITING_MAX, Courier
from commerce.webhooks.deliveries import (
    KEPT_MS,
    Deliveries,
    Delivery,
    DeliveryNotFound,
    waiting_key,
)
from commerce.webhooks.documents import BODY_BYTES_MAX, body_of
from commerce.webhooks.endpoints import KEY, OVERLAP_MS, Endpoint, EndpointNotFound, Endpoints
from commerce.webhooks.relay import LEASE_MS, Lease, WebhookRelay
from commerce.webhooks.retries import DAY_MS, DISABLE_AFTER_MS, SCHEDULE_MS
from commerce.webhooks.sending import Sender
from mediaserver.egress.restream.address import is_public
from overlay.followed_store import FollowedStore
from tests.commerce.receiver import Receiver, receiver
from tests.commerce.shop import Clock, Shop, open_shop

SEALING_KEY = b"w" * 32


class Cut:
    """The store of a server that dies: when `dead`, nothing it commits arrives."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, *args: Any, **members: Any) -> dict[str, int]:
        if self.dead:
            raise StoreUnavailable("it is gone")
        seqs: dict[str, int] = await self._store.commit(*args, **members)
        return seqs


class House:
    """A shop, its endpoints, and the senders that the test lets run."""

    def __init__(self, shop: Shop, sender: Sender) -> None:
        self.shop, self.clock, self.sender = shop, shop.clock, sender
        self.endpoints = Endpoints(
            shop.store,
            SEALING_KEY,
            limit=20,
            allow_private=True,
            is_public=is_public,
            now_ms=shop.clock,
        )
        self.deliveries = Deliveries(shop.store, now_ms=shop.clock)

    def courier(
        self, endpoint: Endpoint, store: Any = None, sender: Sender | None = None
    ) -> Courier:
        return Courier(
            endpoint.id,
            store or self.shop.store,
            self.endpoints,
            sender or self.sender,
            now_ms=self.clock,
            draw=lambda: 0.0,
        )

    async def happen(self, *types: str) -> None:
        """Events of the shop."""
        for type in types:
            changes = Changes(self.clock())
            changes.tell(SHOP, type, thing="x_1")
            await changes.commit(self.shop.store)

    async def only(self, endpoint: Endpoint) -> Delivery:
        found, _ = await self.deliveries.list(endpoint.id)
        assert len(found) == 1
        return found[0]


async def run(courier: Courier) -> None:
    while await courier.turn():
        pass


@asynccontextmanager
async def opened(shop_place: Path | str) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        shop = await open_shop(shop_place, Clock(utc_ms()))
        stack.push_async_callback(shop.store.close)
        sender = Sender(allow_private=True, is_public=is_public)
        sender.open()
        stack.push_async_callback(sender.close)
        yield House(shop, sender)


@pytest.fixture
async def house(shop_place: Path | str) -> AsyncIterator[House]:
    async with opened(shop_place) as house:
        yield house


@pytest.fixture
async def theirs() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


# -- what is sent ---------------------------------------------------------------------------------


async def test_a_paid_order_is_told_step_by_step_and_standardwebhooks_believes_it(
    house: House, theirs: Receiver
) -> None:
    sku = await house.shop.sku()
    endpoint = await house.endpoints.create(theirs.url, ["order.*", "payment.*"])
    order = (await house.shop.buy("amy", (sku, 2), contact={"phone": "+86 571 5555 0100"})).value
    await house.shop.pay(order)
    await house.shop.sandbox.send_due()
    await run(house.courier(endpoint))
    assert sorted(theirs.types) == [
        "order.confirmed",
        "order.created",
        "payment.pending",
        "payment.succeeded",
    ]
    judge = Webhook(endpoint.secret)
    for got in theirs.got:
        judge.verify(got.body, dict(got.headers))
        assert b"5555" not in got.body and len(got.body) < BODY_BYTES_MAX
        assert got.document["data"]["order_id"] == order.id
        assert got.document["data"]["order"]["total"] == {"amount": 3980, "currency": "CNY"}
        with pytest.raises(WebhookVerificationError):
            judge.verify(got.body + b" ", dict(got.headers))
    assert len({got.id for got in theirs.got}) == 4
    paid = next(got.document for got in theirs.got if got.type == "payment.succeeded")
    assert paid["data"]["payment"]["state"] == "succeeded"


async def test_an_endpoint_is_told_of_nothing_before_it_and_of_no_other_kind(
    house: House, theirs: Receiver
) -> None:
    await house.happen("sale.started")
    endpoint = await house.endpoints.create(theirs.url, ["sale.*", "stock.low"])
    await house.happen("sale.ended", "stock.low", "price.changed", "unheard.of")
    await run(house.courier(endpoint))
    assert sorted(theirs.types) == ["sale.ended", "stock.low"]


async def test_many_changes_of_one_stock_are_told_once_as_it_is_then(
    house: House, theirs: Receiver
) -> None:
    sku = await house.shop.sku(stock=9)
    endpoint = await house.endpoints.create(theirs.url, ["stock.changed"])
    for _ in range(3):
        await house.shop.buy("amy", (sku, 1))
    await run(house.courier(endpoint))
    (got,) = theirs.got
    assert got.document["data"] == {
        "sku": sku,
        "stock": {"on_hand": 9, "available": 6, "reserved": 3, "committed": 0},
    }


async def test_a_document_that_is_too_large_is_left_to_be_asked_for(house: House) -> None:
    new = [NewSku(Money(1, "CNY"), 5, options={"colour": "蓝" * 20})]
    lines = []
    for _ in range(50):
        product = await house.shop.catalogue.create("杯" * 150, new, by="host")
        lines.append((product.skus[0].sku, 1))
    order = (await house.shop.buy("amy", *lines)).value
    delivery = Delivery("evt_1", "whe_1", "order.created", 0, {"order": order.id}, 0, 0)
    body = await body_of(house.shop.store, delivery)
    assert len(body) < BODY_BYTES_MAX
    assert json.loads(body)["data"] == {"order_id": order.id}


async def test_an_order_says_which_of_its_tables_went_where(house: House) -> None:
    order = await house.shop.paid("amy", (await house.shop.sku(), 1))
    kept = unpack(*(await house.shop.store.load([order_key(order.id)]))[order_key(order.id)])
    assert kept is not None
    changes = Changes(house.clock())
    save(changes, kept, kept)
    assert b"what\xa0" in changes.events[0][1]


# -- what becomes of it ---------------------------------------------------------------------------


async def test_a_failing_endpoint_is_tried_by_the_schedule_under_one_id_until_it_has_failed(
    house: House, theirs: Receiver
) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["sale.ended"])
    theirs.status = 500
    courier = house.courier(endpoint)
    await house.happen("sale.ended")
    for number, wait_ms in enumerate(SCHEDULE_MS, 1):
        house.clock.now += wait_ms - 1 if wait_ms else 0
        if wait_ms:
            await run(courier)
            assert len(theirs.got) == number - 1, "no try is early"
            house.clock.now += 1
        await run(courier)
        assert len(theirs.got) == number
    delivery = await house.only(endpoint)
    assert (delivery.state, delivery.attempts, delivery.status) == ("failed", 10, 500)
    assert {got.id for got in theirs.got} == {delivery.id}
    for got in theirs.got:
        at_s = int(got.headers["webhook-timestamp"])
        assert verify([endpoint.secret], got.headers, got.body, at_s) == delivery.id
    house.clock.now += 30 * DAY_MS
    await run(courier)
    assert len(theirs.got) == 10


async def test_an_event_that_fails_lets_later_ones_pass(house: House, theirs: Receiver) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["sale.*"])
    theirs.status = 500
    courier = house.courier(endpoint)
    await house.happen("sale.started")
    await run(courier)
    theirs.refused, theirs.status = {theirs.got[0].id}, 200
    await house.happen("sale.ended")
    await run(courier)
    assert theirs.types == ["sale.started", "sale.ended"]
    house.clock.pass_s(6)
    theirs.refused = set()
    await run(courier)
    assert theirs.types == ["sale.started", "sale.ended", "sale.started"]


async def test_a_redirect_is_a_failure_and_is_not_followed(house: House, theirs: Receiver) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["sale.ended"])
    theirs.status, theirs.headers = 307, {"Location": theirs.url}
    await house.happen("sale.ended")
    await run(house.courier(endpoint))
    assert len(theirs.got) == 1
    assert (await house.only(endpoint)).status == 307


async def test_gone_switches_the_endpoint_off_and_tells_the_others(
    house: House, theirs: Receiver
) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["sale.ended"])
    async with receiver() as other:
        watching = await house.endpoints.create(other.url, ["webhook.*"])
        theirs.status = 410
        await house.happen("sale.ended")
        await run(house.courier(endpoint))
        found = await house.endpoints.get(endpoint.id)
        assert (found.enabled, found.why) == (False, "it answered 410 Gone")
        await run(house.courier(watching))
        assert other.got[0].document["data"] == {
            "endpoint_id": endpoint.id,
            "why": "it answered 410 Gone",
        }
    theirs.status = 200
    await house.happen("sale.ended")
    await run(house.courier(endpoint))
    assert len(theirs.got) == 1
    again = await house.endpoints.patch(endpoint.id, enabled=True)
    assert again.why == ""
    await run(house.courier(endpoint))
    assert len(theirs.got) == 2, "it is told of what it missed"


async def test_an_endpoint_that_takes_nothing_for_days_is_switched_off(
    house: House, theirs: Receiver
) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["sale.ended"])
    theirs.status = 500
    courier = house.courier(endpoint)
    for pause_ms in (0, DISABLE_AFTER_MS - 1, 1):
        assert (await house.endpoints.get(endpoint.id)).enabled
        house.clock.now += pause_ms
        await house.happen("sale.ended")
        await run(courier)
    assert not (await house.endpoints.get(endpoint.id)).enabled


@pytest.mark.parametrize(
    ("status", "asked", "quiet_s"), [(429, "90", 90), (503, "90", 0), (502, "", 30)]
)
async def test_an_endpoint_that_is_overrun_is_left_alone_as_long_as_it_asks(
    house: House, theirs: Receiver, status: int, asked: str, quiet_s: int
) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["sale.*"])
    theirs.status, theirs.headers = status, {"Retry-After": asked}
    courier = house.courier(endpoint)
    await house.happen("sale.started")
    await run(courier)
    theirs.status = 200
    await house.happen("sale.ended")
    if quiet_s:
        house.clock.now += quiet_s * 1000 - 1
        await run(courier)
        assert len(theirs.got) == 1
        house.clock.now += 1
    await run(courier)
    assert "sale.ended" in theirs.types


async def test_who_does_not_answer_is_given_up_and_holds_up_nobody_else(
    house: House, theirs: Receiver
) -> None:
    theirs.held.clear()
    slow = await house.endpoints.create(theirs.url, ["sale.ended"])
    sender = Sender(allow_private=True, is_public=is_public, timeout_s=0.3)
    sender.open()
    async with receiver() as other:
        quick = await house.endpoints.create(other.url, ["sale.ended"])
        await house.happen("sale.ended")
        waiting = asyncio.create_task(run(house.courier(slow, sender=sender)))
        await run(house.courier(quick))
        assert other.types == ["sale.ended"] and not waiting.done()
        await waiting
    await sender.close()
    delivery = await house.only(slow)
    assert (delivery.state, delivery.status, delivery.error) == (
        "pending",
        0,
        "no answer within 0.3 s",
    )


async def test_with_too_much_waiting_the_stream_is_the_queue(
    house: House, theirs: Receiver
) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["sale.ended"])
    count = Changes(house.clock())
    count.add(waiting_key(endpoint.id), WAITING_MAX)
    await count.commit(house.shop.store)
    await house.happen("sale.ended")
    await run(house.courier(endpoint))
    assert theirs.got == []
    count = Changes(house.clock())
    count.add(waiting_key(endpoint.id), -1)
    await count.commit(house.shop.store)
    await run(house.courier(endpoint))
    assert theirs.types == ["sale.ended"]


# -- secrets, replays, what is kept ---------------------------------------------------------------


async def test_a_replaced_secret_signs_beside_the_new_one_for_a_day(
    house: House, theirs: Receiver
) -> None:
    old = await house.endpoints.create(theirs.url, ["sale.ended"])
    new = await house.endpoints.rotate(old.id)
    assert new.secret != old.secret
    await house.happen("sale.ended")
    await run(house.courier(old))
    for endpoint in (old, new):
        Webhook(endpoint.secret).verify(theirs.got[0].body, dict(theirs.got[0].headers))
    house.clock.now += OVERLAP_MS
    await house.happen("sale.ended")
    await run(house.courier(old))
    got = theirs.got[1]
    assert len(got.headers["webhook-signature"].split()) == 1
    verify([new.secret], got.headers, got.body, house.clock() // 1000)


async def test_the_store_holds_no_secret_in_the_clear(house: House, theirs: Receiver) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["*"])
    kept = (await house.shop.store.load([KEY]))[KEY][0] or b""
    assert endpoint.secret.encode() not in kept and endpoint.id.encode() in kept
    assert endpoint.secret not in repr(endpoint)


async def test_events_are_sent_again_one_by_one_or_since_a_time(
    house: House, theirs: Receiver
) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["sale.*"])
    courier = house.courier(endpoint)
    await house.happen("sale.started")
    await run(courier)
    (first,) = theirs.got
    await house.deliveries.replay(endpoint.id, first.id)
    await run(courier)
    assert [got.id for got in theirs.got] == [first.id] * 2
    with pytest.raises(DeliveryNotFound):
        await house.deliveries.replay(endpoint.id, "evt_none")
    house.clock.pass_s(60)
    since_ms = house.clock()
    theirs.status = 410
    await house.happen("sale.ended")
    await run(courier)
    theirs.status = 200
    await house.endpoints.patch(endpoint.id, enabled=True)
    assert await house.deliveries.replay_since(endpoint.id, since_ms + 1) == 0
    assert await house.deliveries.replay_since(endpoint.id, 0) == 1
    await run(courier)
    assert theirs.types == ["sale.started", "sale.started", "sale.ended", "sale.ended"]


async def test_old_deliveries_and_those_of_a_deleted_endpoint_are_forgotten(
    house: House, theirs: Receiver
) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["sale.*"])
    courier = house.courier(endpoint)
    await house.happen("sale.started")
    await run(courier)
    house.clock.now += KEPT_MS + 1
    theirs.status = 500
    await house.happen("sale.ended")
    await run(courier)
    assert [each.type for each in (await house.deliveries.list(endpoint.id))[0]] == ["sale.ended"]
    await house.endpoints.delete(endpoint.id)
    await house.deliveries.forget_all(endpoint.id)
    assert await house.deliveries.list(endpoint.id) == ([], None)
    with pytest.raises(EndpointNotFound):
        await courier.turn()


async def test_there_are_no_more_endpoints_than_the_limit(house: House, theirs: Receiver) -> None:
    few = Endpoints(house.shop.store, SEALING_KEY, limit=1, allow_private=True, is_public=is_public)
    await few.create(theirs.url, ["*"])
    with pytest.raises(LimitReached):
        await few.create(theirs.url, ["*"])


# -- crashes and several servers ------------------------------------------------------------------


async def test_a_crash_between_the_try_and_its_commit_sends_again_under_the_same_id(
    house: House, theirs: Receiver
) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["sale.ended"])
    await house.happen("sale.ended")
    theirs.held.clear()
    cut = Cut(house.shop.store)
    dying = asyncio.create_task(house.courier(endpoint, cut).turn())
    while not theirs.got:
        await asyncio.sleep(0)
    cut.dead = True
    theirs.held.set()
    with pytest.raises(StoreUnavailable):
        await dying
    assert (await house.only(endpoint)).state == "pending"
    await run(house.courier(endpoint))
    assert len(theirs.got) == 2 and len({got.id for got in theirs.got}) == 1
    assert (await house.only(endpoint)).state == "succeeded"


async def test_two_couriers_of_one_endpoint_count_a_try_once(
    house: House, theirs: Receiver
) -> None:
    endpoint = await house.endpoints.create(theirs.url, ["sale.ended"])
    await house.happen("sale.ended")
    theirs.status = 500
    await asyncio.gather(run(house.courier(endpoint)), run(house.courier(endpoint)))
    assert (await house.only(endpoint)).attempts == 1
    assert len({got.id for got in theirs.got}) == 1


async def test_the_lease_is_one_servers_until_it_ends_or_is_given_back(house: House) -> None:
    one, two = (Lease(house.shop.store, name, house.clock) for name in ("one", "two"))
    assert await one.hold() and not await two.hold()
    house.clock.now += LEASE_MS - 1
    assert await one.hold() and not await two.hold()
    house.clock.now += LEASE_MS
    assert await two.hold() and not await one.hold()
    await one.release()
    assert not await one.hold()
    await two.release()
    assert await one.hold()


async def test_the_relay_sends_what_is_committed_and_ends_what_it_has_begun(
    house: House, theirs: Receiver
) -> None:
    followed = FollowedStore(house.shop.store)
    sender = Sender(allow_private=True, is_public=is_public)
    relay = WebhookRelay(followed, house.endpoints, sender, now_ms=house.clock)
    followed.followers.append(relay.committed)
    endpoint = await house.endpoints.create(theirs.url, ["sale.ended"])
    theirs.held.clear()
    relay.start()
    changes = Changes(house.clock())
    changes.tell(SHOP, "sale.ended", sale="sal_1")
    await changes.commit(followed)
    while not theirs.got:
        await asyncio.sleep(0.005)
    stopping = asyncio.create_task(relay.stop())
    await asyncio.sleep(0)
    theirs.held.set()
    await stopping
    assert (await house.only(endpoint)).state == "succeeded"
    assert await Lease(house.shop.store, "another", house.clock).hold()
