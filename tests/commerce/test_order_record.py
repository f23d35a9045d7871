"""How orders are kept: what is packed is read, also what was kept as a map of its members."""

from __future__ import annotations

from dataclasses import fields, replace

import msgpack

from commerce.after_sale import AfterSale
from commerce.money import Money
from commerce.order import Line, Order
from commerce.order_record import pack, unpack
from commerce.pricing.discounts import Discount
from commerce.shipments import Shipment
from commerce.shrunk import shrink
from tests.commerce.shop import Shop

CNY = Money(1990, "CNY")
NEW = Order(
    id="ord_01m83p1wye0drf4eeqn2hby6gn",
    sub="amy",
    room="hall",
    lines=(Line("cup", "prd_1", "Cup", {}, 2, CNY), Line("pot", "prd_2", "Pot", {}, 1, CNY, True)),
    total=Money(5970, "CNY"),
    price_version="pv_1",
    state="reserved",
    payment="none",
    fulfilment="none",
    reserved_until_ms=1_795_420_724_110,
    expires_ms=1_795_420_724_110,
    created_ms=1_795_420_124_110,
    updated_ms=1_795_420_124_110,
)
FAR = replace(
    NEW,
    lines=(
        replace(NEW.lines[0], discount=Money(5, "CNY"), list_unit=CNY, sent=2, refunded_minor=7),
    ),
    contact="con_1",
    payments=("pay_1", "pay_2"),
    demo=True,
    discounts=(Discount("off", "threshold", {"en": "Off"}, Money(5, "CNY")),),
    shipping=Money(800, "CNY"),
    coupons=("cpn_1",),
    shipments=(Shipment("shp_1", {"cup": 2}, None, "SF1", 1_795_420_999_000),),
    refunds=("ref_1",),
    invoice="inv_1",
)
MAP = bytes.fromhex(
    "8ea26964be6f72645f30316d3833703177796530647266346565716e3268627936676ea3737562b07669657765"
    "722d31333237382d323536a4726f6f6da468616c6ca56c696e65739186a3736b75be736b755f30316d38337031"
    "747a78327777306b647068346462316d727062a770726f64756374be7072645f30316d38337031747a78347739"
    "776e376e6a68713334736b6563a57469746c65a3437570a76f7074696f6e7380a371747901a4756e697482a661"
    "6d6f756e74cd07c6a863757272656e6379a3434e59a5746f74616c82a6616d6f756e74cd07c6a863757272656e"
    "6379a3434e59ad70726963655f76657273696f6eb370765f32393262633237316239613534653638a573746174"
    "65a87265736572766564a77061796d656e74a46e6f6e65aa66756c66696c6d656e74a46e6f6e65b17265736572"
    "7665645f756e74696c5f6d73cf000001a2076a1b8eaa657870697265735f6d73cf000001a2076a1b8eaa637265"
    "617465645f6d73cf000001a20760f3ceaa757064617465645f6d73cf000001a20760f3cea5626f756e64d94c69"
    "64656d706f74656e63792f39303461323236383237383736633038633466343335396231303338623565313037"
    "326536623238386231643738663731633730323161613034376464323966"
)


def test_an_order_is_read_as_it_was_packed() -> None:
    for order in (NEW, FAR, replace(FAR, invoice=None, given_back_minor=3)):
        assert unpack(pack(order), 7) == replace(order, version=7)
        assert unpack(shrink(pack(order)), 7) == replace(order, version=7)


def test_a_new_order_is_small() -> None:
    assert len(pack(NEW)) < 260


def test_the_members_of_a_record_keep_their_places() -> None:
    """A record tells its members by their place: a new one goes to the end, and has a default."""
    order, line = (" ".join(each.name for each in fields(kind)) for kind in (Order, Line))
    assert order.startswith(
        "id sub room lines total price_version state payment fulfilment reserved_until_ms expires_ms "
        "created_ms updated_ms contact referral payments paid_by tracking demo discounts shipping tax "
        "coupons shipments delivered_ms refunds returns cases shipping_refunded_minor "
        "tax_refunded_minor given_back_minor invoice"
    )
    assert line.startswith(
        "sku product title options qty unit limited discount merchant list_unit sale sale_pieces "
        "sale_limit limit sent dropped coming back owed refunded refunded_minor"
    )


def test_an_order_that_was_kept_as_a_map_is_read() -> None:
    order = unpack(MAP, 3)
    assert order is not None
    assert (order.sub, order.room, order.state) == ("viewer-13278-256", "hall", "reserved")
    assert order.total == order.lines[0].unit == CNY
    assert (order.expires_ms, order.shipments, order.version) == (1_795_420_724_110, (), 3)


def test_an_order_from_before_shipments_had_one() -> None:
    sent = unpack(msgpack.packb(msgpack.unpackb(MAP) | {"fulfilment": "shipped"}), 1)
    assert sent is not None
    assert [sum(each.pieces.values()) for each in sent.shipments] == [1]
    assert (sent.lines[0].sent, sent.lines[0].left) == (1, 0)


async def test_a_repeat_is_answered_alike_whatever_has_become_of_the_order(shop: Shop) -> None:
    cup = await shop.sku(stock=5, price=100)
    first = (await shop.buy("amy", (cup, 2), key="once")).value.to_json()
    order = await shop.orders.by_key("amy", "once")
    await shop.pay(order)
    await shop.sandbox.send_due()
    await shop.orders.ship(order.id, by="host", key="ship", pieces={cup: 1}, tracking="SF1")
    desk = AfterSale(shop.store, shop.orders, shop.catalogue, now_ms=shop.clock)
    await desk.refund(order.id, {cup: 1}, "broken", by="host", key="refund")
    await shop.sweep()
    now = await shop.orders.get(order.id)
    assert now.shipments
    assert now.refunds
    again = await shop.buy("amy", (cup, 2), key="once")
    assert again.replayed
    assert again.value.to_json() == first
