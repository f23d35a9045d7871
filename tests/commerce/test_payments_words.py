"""A provider's words in any order and number, and over other amounts: one effect, and no money lost."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce.money import Money
from commerce.payments.records import Payment, unpack_payment
from commerce.payments.signature import sign
from tests.commerce.shop import APPROVED, LATE, OTHER_AMOUNT, Clock, Shop, open_shop

TYPES = ("payment.processing", "payment.failed", "payment.succeeded")


def word(shop: Shop, payment: Payment, type: str, minor: int) -> tuple[dict[str, str], bytes]:
    """A signed webhook of the sandbox, with the same id for the same word."""
    data = {"payment": payment.id, "amount": {"amount": minor, "currency": "CNY"}}
    body = json.dumps({"type": type, "data": data}).encode()
    return sign(shop.secret, f"msg_{type}_{minor}", shop.clock() // 1000, body), body


async def ends(shop: Shop, order: str, payment: Payment) -> tuple[str, str, str]:
    found = await shop.orders.get(order)
    return found.state, found.payment, (await shop.payments.get(payment.id)).state


async def test_money_in_another_amount_confirms_nothing_and_goes_back(shop: Shop) -> None:
    sku = await shop.sku(stock=1)
    order = (await shop.buy("amy", (sku, 1))).value
    payment = await shop.pay(order, OTHER_AMOUNT)
    assert await shop.sandbox.send_due() == 1
    assert await ends(shop, order.id, payment) == ("reserved", "failed", "succeeded")
    assert (await shop.payments.get(payment.id)).captured == Money(1991, "CNY")
    assert await shop.payments.sweep() == 1
    assert await ends(shop, order.id, payment) == ("reserved", "failed", "refunded")
    refund = (await shop.payments.get(payment.id)).refund
    key = f"sandbox/refund/{refund}"
    given = msgpack.unpackb((await shop.store.load([key]))[key][0] or b"")
    assert given == {"payment": payment.id, "amount": {"amount": 1991, "currency": "CNY"}}
    await shop.pay(order, APPROVED)
    await shop.sandbox.send_due()
    assert (await shop.orders.get(order.id)).state == "confirmed"
    assert await shop.stock(sku) == (0, 0, 1)


async def test_another_amount_is_found_by_asking_where_the_call_is_lost(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    shop.deaf = True
    payment = await shop.pay(order, OTHER_AMOUNT)
    shop.clock.pass_s(15)
    await shop.payments.sweep()
    assert await ends(shop, order.id, payment) == ("reserved", "failed", "refunded")


@pytest.mark.parametrize("minor", [0, -1])
async def test_a_success_over_nothing_is_a_failure(shop: Shop, minor: int) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    payment = await shop.pay(order, None)
    assert await shop.payments.webhook("sandbox", *word(shop, payment, TYPES[2], minor))
    assert await ends(shop, order.id, payment) == ("reserved", "failed", "failed")


async def test_a_payment_that_was_kept_before_captured_was_known_is_read(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    members = asdict(await shop.pay(order, None))
    del members["version"], members["captured"]
    old = unpack_payment(msgpack.packb(members), 3)
    assert old is not None
    assert (old.captured, old.version) == (None, 3)


async def told(words: tuple[tuple[str, int], ...], *, expired: bool) -> None:
    """One payment hears these words, is swept, and hears them again."""
    clock = Clock()
    with TemporaryDirectory() as directory:
        shop = await open_shop(Path(directory) / "shop.db", clock)
        try:
            await hears(shop, words, expired=expired)
        finally:
            await shop.store.close()


async def hears(shop: Shop, words: tuple[tuple[str, int], ...], *, expired: bool) -> None:
    sku = await shop.sku(stock=1)
    order = (await shop.buy("amy", (sku, 1))).value
    payment = await shop.pay(order, LATE)
    if expired:
        shop.clock.pass_s(1200)
        await shop.orders.sweep()
        await shop.paid("ben", (sku, 1))
    for type, minor in words:
        await shop.payments.webhook("sandbox", *word(shop, payment, type, minor))
    await shop.sweep()
    before = await ends(shop, order.id, payment), await shop.stock(sku), await shop.events()
    for type, minor in words:
        assert not await shop.payments.webhook("sandbox", *word(shop, payment, type, minor))
    await shop.sweep()
    after = await ends(shop, order.id, payment), await shop.stock(sku), await shop.events()
    assert after == before
    check(before[0], before[1], [each for each in words if each[0] == TYPES[2]], expired=expired)


def check(
    states: tuple[str, str, str],
    stock: tuple[int, int, int],
    successes: list[tuple[str, int]],
    *,
    expired: bool,
) -> None:
    right = bool(successes) and successes[0][1] == 1990
    if expired:
        assert stock == (0, 0, 1)
        assert states[2] == "refunded"
    elif right:
        assert states == ("confirmed", "paid", "succeeded")
        assert stock == (0, 0, 1)
    else:
        assert states[0] == "reserved"
        assert states[2] == "refunded" if successes else states[2] in ("pending", "failed")


WORDS: Mapping[str, int] = dict.fromkeys(TYPES, 1990)


@pytest.mark.parametrize("order", [*itertools.permutations(WORDS.items())])
async def test_every_order_of_words_has_the_effect_of_one(
    shop: Shop, order: tuple[tuple[str, int], ...]
) -> None:
    await hears(shop, order, expired=False)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(TYPES), st.sampled_from([1990, 1])), min_size=1, max_size=6)
)
def test_words_in_any_order_and_number_have_the_effect_of_once(
    words: list[tuple[str, int]],
) -> None:
    asyncio.run(told(tuple(dict.fromkeys(words)), expired=False))


@settings(max_examples=10, deadline=None)
@given(st.permutations([*WORDS.items(), (TYPES[2], 1)]))
def test_late_money_for_sold_pieces_goes_back_whatever_else_is_said(
    words: list[tuple[str, int]],
) -> None:
    asyncio.run(told(tuple(words), expired=True))
