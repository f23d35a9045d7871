from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from commerce import idempotency
from commerce.errors import Invalid, KeyMissing, KeyReused, OutcomeUnknown, OutOfStock
from commerce.idempotency import KEPT_MS, parse_key
from tests.commerce.shop import Clock, Shop, open_shop


@pytest.mark.parametrize("text", ["abc", '"abc"', " abc ", ' "abc" '])
def test_a_key_is_the_same_bare_and_quoted(text: str) -> None:
    assert parse_key(text) == "abc"


@pytest.mark.parametrize("text", [None, "", " ", '""'])
def test_a_missing_key_is_said_to_be_missing(text: str | None) -> None:
    with pytest.raises(KeyMissing) as refusal:
        parse_key(text)
    assert (refusal.value.status, refusal.value.code) == (400, "idempotency_key_missing")


@pytest.mark.parametrize("text", ["x" * 256, "a\tb", "键"])
def test_a_key_is_short_printable_ascii(text: str) -> None:
    with pytest.raises(Invalid):
        parse_key(text)


async def test_the_same_command_again_gets_its_first_answer(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    first = await shop.buy("amy", (sku, 1), key="k")
    await shop.pay(first.value)
    await shop.sandbox.send_due()
    again = await shop.buy("amy", (sku, 1), key="k")
    assert (first.replayed, again.replayed) == (False, True)
    assert again.value == replace(first.value, version=0)
    assert (await shop.orders.by_key("amy", "k")).state == "confirmed"
    assert await shop.stock(sku) == (4, 0, 1)


async def test_the_same_command_written_otherwise_is_the_same(shop: Shop) -> None:
    one, two = await shop.sku(stock=9), await shop.sku(stock=9)
    first = await shop.buy("amy", (one, 1), (two, 2), key="k", contact={"name": "Amy"})
    again = await shop.buy(
        "amy", (two, 1), (one, 1), (two, 1), key="k", contact={"name": " Amy ", "phone": ""}
    )
    assert again.replayed
    assert again.value.id == first.value.id


async def test_another_command_under_a_bound_key_is_refused_and_changes_nothing(
    shop: Shop,
) -> None:
    sku = await shop.sku(stock=5)
    await shop.buy("amy", (sku, 1), key="k")
    told = len(await shop.events())
    for lines, more in (
        ([(sku, 2)], {}),
        ([(sku, 1)], {"room": "another"}),
        ([(sku, 1)], {"contact": {"name": "Amy"}}),
    ):
        with pytest.raises(KeyReused) as refusal:
            await shop.buy("amy", *lines, key="k", **more)
        assert (refusal.value.status, refusal.value.code) == (422, "idempotency_key_reused")
    assert await shop.stock(sku) == (4, 1, 0)
    assert len(await shop.events()) == told


async def test_a_refusal_binds_nothing(shop: Shop) -> None:
    sku = await shop.sku(stock=1)
    other = await shop.buy("ben", (sku, 1))
    with pytest.raises(OutOfStock):
        await shop.buy("amy", (sku, 1), key="k")
    await shop.cancel(other.value)
    assert not (await shop.buy("amy", (sku, 1), key="k")).replayed


async def test_a_key_belongs_to_its_buyer_and_its_act(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    amy = (await shop.buy("amy", (sku, 1), key="k")).value
    ben = (await shop.buy("ben", (sku, 1), key="k")).value
    assert amy.id != ben.id
    payment = await shop.pay(amy, key="k")
    assert (await shop.pay(amy, key="k")).id == payment.id
    assert (await shop.cancel(ben, key="k")).state == "cancelled"
    assert (await shop.cancel(ben, key="k")).state == "cancelled"


async def test_copies_in_flight_become_one_order(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    answers = await asyncio.gather(*(shop.buy("amy", (sku, 1), key="k") for _ in range(20)))
    assert len({answer.value.id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert await shop.stock(sku) == (4, 1, 0)


async def test_copies_through_two_processes_become_one_order(shop_place: Path | str) -> None:
    clock = Clock()
    one = await open_shop(shop_place, clock)
    two = await open_shop(shop_place, clock)
    sku = await one.sku(stock=5)
    answers = await asyncio.gather(
        *(shop.buy("amy", (sku, 1), key="k") for _ in range(5) for shop in (one, two))
    )
    assert len({answer.value.id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert await one.stock(sku) == (4, 1, 0)
    await one.store.close()
    await two.store.close()


async def test_a_key_outlives_the_process(shop_place: Path | str) -> None:
    shop = await open_shop(shop_place, Clock())
    sku = await shop.sku(stock=5)
    first = await shop.buy("amy", (sku, 1), key="k")
    await shop.store.close()
    shop = await open_shop(shop_place, Clock())
    again = await shop.buy("amy", (sku, 1), key="k")
    assert again.replayed
    assert again.value.id == first.value.id
    await shop.store.close()


async def test_an_orders_key_is_kept_and_others_end(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    order = await shop.buy("amy", (sku, 1), key="k")
    await shop.cancel(order.value, key="k")
    shop.clock.now += KEPT_MS - 1
    assert await idempotency.sweep(shop.store, shop.clock()) == 0
    shop.clock.now += 1
    assert await idempotency.sweep(shop.store, shop.clock()) == 1
    assert (await shop.buy("amy", (sku, 1), key="k")).value.id == order.value.id


async def test_a_repeat_waits_for_what_the_first_answer_waits_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was told `outcome_unknown` for want of replicas is not told otherwise for asking twice."""
    sku = await shop.sku(stock=3)
    order = (await shop.buy("buyer", (sku, 1), key="one")).value
    await shop.cancel(order, key="two")

    async def too_few() -> None:
        raise OutcomeUnknown("fewer than 1 replicas have it; ask again")

    with monkeypatch.context() as missing:
        missing.setattr(shop.store, "settle", too_few)
        with pytest.raises(OutcomeUnknown):
            await shop.buy("buyer", (sku, 1), key="one")
        with pytest.raises(OutcomeUnknown):
            await shop.cancel(order, key="two")
    assert (await shop.buy("buyer", (sku, 1), key="one")).replayed
