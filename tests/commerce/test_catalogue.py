from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest

from commerce.errors import AlreadyExists, Invalid, NotFound, Stale
from commerce.money import Money
from commerce.products import NewSku, SkuPatch
from tests.commerce.shop import Shop

CNY = Money(1990, "CNY")


async def test_a_product_comes_back_with_its_skus_prices_and_stock(shop: Shop) -> None:
    red = NewSku(CNY, 3, "cup-red", {"colour": "red"}, per_buyer=2)
    blue = NewSku(Money(2090, "CNY"), 0, "cup-blue", {"colour": "蓝"})
    product = await shop.catalogue.create(" Cup ", [red, blue], by="host", merchant="Kiln")
    assert await shop.catalogue.get(product.id) == product
    assert (product.title, product.merchant, product.version > 0) == ("Cup", "Kiln", True)
    assert [sku.to_json()["price"] for sku in product.skus] == [
        {"amount": 1990, "currency": "CNY"},
        {"amount": 2090, "currency": "CNY"},
    ]
    assert product.sku("cup-red").options == {"colour": "red"}
    assert await shop.stock("cup-red") == (3, 0, 0)
    assert await shop.stock("cup-blue") == (0, 0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": ""},
        {"title": "x" * 201},
        {"title": "a\nb"},
        {"skus": []},
        {"skus": [NewSku(CNY, -1)]},
        {"skus": [NewSku(CNY, 1, "with space")]},
        {"skus": [NewSku(CNY, 1, "../x")]},
        {"skus": [NewSku(Money(-1, "CNY"), 1)]},
        {"skus": [NewSku(CNY, 1, options={"": "red"})]},
        {"skus": [NewSku(CNY, 1, per_buyer=0)]},
        {"skus": [NewSku(CNY, 1)] * 101},
        {"image": "img_00000000000000000000000000000000"},
        {"image": "../secret"},
    ],
)
async def test_what_makes_no_product_is_refused_and_nothing_is_kept(
    shop: Shop, wrong: dict[str, Any]
) -> None:
    fields = {"title": "Cup", "skus": [NewSku(CNY, 1)], "by": "host"} | wrong
    with pytest.raises(Invalid):
        await shop.catalogue.create(**fields)
    assert await shop.catalogue.list() == ([], None)


async def test_a_sku_code_belongs_to_one_product(shop: Shop) -> None:
    await shop.catalogue.create("Cup", [NewSku(CNY, 1, "cup")], by="host")
    with pytest.raises(AlreadyExists):
        await shop.catalogue.create("Mug", [NewSku(CNY, 1, "mug"), NewSku(CNY, 1, "cup")], by="h")
    with pytest.raises(AlreadyExists):
        await shop.catalogue.create("Two", [NewSku(CNY, 1, "a"), NewSku(CNY, 1, "a")], by="h")
    with pytest.raises(NotFound):
        await shop.inventory.get("mug")


async def test_a_patch_wants_the_version_that_stands(shop: Shop) -> None:
    product = await shop.product()
    changed = await shop.catalogue.patch(
        product.id, if_version=product.version, by="host", title="Mug"
    )
    assert (changed.title, changed.skus) == ("Mug", product.skus)
    assert changed.version > product.version
    with pytest.raises(Stale):
        await shop.catalogue.patch(product.id, if_version=product.version, by="h", title="Jug")


async def test_of_two_patches_at_once_one_is_stale(shop: Shop) -> None:
    product = await shop.product()
    results = await asyncio.gather(
        *(
            shop.catalogue.patch(product.id, if_version=product.version, by="h", title=title)
            for title in ("Mug", "Jug")
        ),
        return_exceptions=True,
    )
    assert [type(result) for result in results].count(Stale) == 1


async def test_a_price_has_a_version_of_its_own_each_time_it_is_set(shop: Shop) -> None:
    product = await shop.product(price=1990)
    sku = product.skus[0].sku
    versions = [product.skus[0].price_version]
    for amount in (990, 1990):
        patch = SkuPatch(sku, price=Money(amount, "CNY"))
        product = await shop.catalogue.patch(
            product.id, if_version=product.version, by="host", skus=[patch]
        )
        versions.append(product.skus[0].price_version)
    assert len(set(versions)) == 3
    prices = [await shop.catalogue.price(sku, version) for version in versions]
    assert [price["price"]["amount"] for price in prices] == [1990, 990, 1990]
    told = [msgpack.unpackb(body) for _, body in await shop.events()]
    assert [event["d"] for event in told if event["t"] == "price.changed"] == [
        {"sku": sku, "product": product.id}
    ] * 2
    retitled = await shop.catalogue.patch(
        product.id, if_version=product.version, by="host", title="Mug"
    )
    assert retitled.skus[0].price_version == versions[-1]
    with pytest.raises(NotFound):
        await shop.catalogue.price(sku, "pv_0000000000000000")


async def test_a_sku_can_be_added_later(shop: Shop) -> None:
    product = await shop.product()
    product = await shop.catalogue.patch(
        product.id, if_version=product.version, by="host", new_skus=[NewSku(CNY, 4, "late")]
    )
    assert [sku.sku for sku in product.skus][1:] == ["late"]
    assert await shop.stock("late") == (4, 0, 0)


async def test_products_are_listed_in_pages(shop: Shop) -> None:
    made = []
    for _ in range(5):
        made.append((await shop.product()).id)
        shop.clock.pass_s(0.001)
    first, after = await shop.catalogue.list(limit=3)
    rest, end = await shop.catalogue.list(after=after, limit=3)
    assert [product.id for product in [*first, *rest]] == made
    assert end is None


@pytest.mark.parametrize("id", ["prd_00000000000000000000000000", "x", "", "../x"])
async def test_a_product_that_is_not_there_is_not_found(shop: Shop, id: str) -> None:
    with pytest.raises(NotFound):
        await shop.catalogue.get(id)


async def test_a_price_is_set_alone_under_its_version(shop: Shop) -> None:
    product = await shop.product(price=1990)
    before = product.skus[0]
    less = Money(990, "CNY")
    after = await shop.catalogue.set_price(
        before.sku, less, if_price_version=before.price_version, by="ann"
    )
    assert (after.price, after.price_version != before.price_version) == (less, True)
    kept = await shop.catalogue.get(product.id)
    assert kept.skus == (after,)
    history = await shop.catalogue.price(before.sku, after.price_version)
    assert (history["price"], history["by"]) == (less.to_json(), "ann")
    same = await shop.catalogue.set_price(
        before.sku, less, if_price_version=after.price_version, by="bob"
    )
    assert same == after
    assert await shop.catalogue.get(product.id) == kept
    with pytest.raises(Stale):
        await shop.catalogue.set_price(
            before.sku, CNY, if_price_version=before.price_version, by="ann"
        )
    with pytest.raises(NotFound):
        await shop.catalogue.set_price("nothing", CNY, if_price_version="", by="ann")
    with pytest.raises(Invalid):
        await shop.catalogue.set_price(
            before.sku, Money(-1, "CNY"), if_price_version=after.price_version, by="ann"
        )


async def test_of_many_prices_set_at_once_one_stands_and_a_new_title_stops_none(shop: Shop) -> None:
    product = await shop.product(price=1990)
    sku = product.skus[0]
    prices = (
        shop.catalogue.set_price(
            sku.sku, Money(amount, "CNY"), if_price_version=sku.price_version, by="h"
        )
        for amount in range(1, 6)
    )
    title = shop.catalogue.patch(product.id, if_version=product.version, by="h", title="Mug")
    *results, _ = await asyncio.gather(*prices, title, return_exceptions=True)
    assert [type(result) for result in results].count(Stale) == 4


async def test_a_category_is_kept_and_products_from_before_have_none(shop: Shop) -> None:
    cup = await shop.catalogue.create("Cup", [NewSku(CNY)], by="h", category=" Cups ")
    assert cup.category == "Cups"
    assert cup.to_json()["category"] == "Cups"
    cup = await shop.catalogue.patch(cup.id, if_version=cup.version, by="h", title="Mug")
    assert cup.category == "Cups"
    cup = await shop.catalogue.patch(cup.id, if_version=cup.version, by="h", category="Mugs")
    assert cup.category == "Mugs"
    with pytest.raises(Invalid):
        await shop.catalogue.create("Cup", [NewSku(CNY)], by="h", category="x" * 61)
    key = f"product/{cup.id}"
    members = msgpack.unpackb((await shop.store.load([key]))[key][0] or b"")
    del members["category"]
    await shop.store.commit("from before", writes={key: msgpack.packb(members)})
    assert (await shop.catalogue.get(cup.id)).category is None


async def test_products_are_found_by_a_part_of_their_title(shop: Shop) -> None:
    made = []
    for title in ("Red CUP", "Jug", "teacup", "STRASSE", "茶杯", "cupboard"):
        made.append(await shop.catalogue.create(title, [NewSku(CNY)], by="h"))
        shop.clock.pass_s(0.001)

    async def found(q: str, **more: Any) -> list[str]:
        return [product.title for product in (await shop.catalogue.list(search=q, **more))[0]]

    assert await found("cUp") == ["Red CUP", "teacup", "cupboard"]
    assert await found("杯") == ["茶杯"]
    assert await found("straße") == ["STRASSE"]
    assert await found("%") == []
    page, after = await shop.catalogue.list(search="cup", limit=2)
    assert [product.title for product in page] == ["Red CUP", "teacup"]
    assert after == made[2].id
    assert await found("cup", after=after) == ["cupboard"]
    with pytest.raises(Invalid):
        await shop.catalogue.list(search="")


async def test_a_search_looks_at_a_bounded_number_of_products_for_a_page(shop: Shop) -> None:
    product = await shop.product()
    value = (await shop.store.load([f"product/{product.id}"]))[f"product/{product.id}"][0]
    ids = [f"prd_{number:026}" for number in range(2_100)]
    await shop.store.commit(
        "many",
        writes={f"product/{id}": value for id in ids},
        index={("products", f"product/{id}"): id for id in ids},
    )
    page, after = await shop.catalogue.list(search="nothing like it")
    assert (page, after) == ([], ids[1_999])
    assert await shop.catalogue.list(search="nothing like it", after=after) == ([], None)
