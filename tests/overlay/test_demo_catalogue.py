"""The demo's shop as data: real products for the real catalogue, in two languages, and its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from commerce.catalogue import Catalogue
from commerce.money import Money
from commerce.products import NewSku
from commerce.store import SqliteStore
from overlay.demo import pictures, words
from overlay.demo.catalogue import ARTICLES, CODE_PREFIX, CURRENCY, SALE_ITEM, STOCK
from overlay.demo.drawing import drawn
from overlay.demo.show import SALE_PIECES, SALE_PRICE
from overlay.session import CHAT_CHARS

ITEMS = [item for article in ARTICLES for item in article.items]


async def test_the_catalogue_takes_every_product(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "shop.db")
    try:
        catalogue = Catalogue(store)
        for article in ARTICLES:
            skus = [
                NewSku(Money(item.price, CURRENCY), STOCK, item.sku, item.options)
                for item in article.items
            ]
            await catalogue.create(article.title, skus, by="demo")
        assert len((await catalogue.list())[0]) == len(ARTICLES)
    finally:
        await store.close()


def test_it_is_a_small_shop_with_options_and_codes_of_its_own() -> None:
    assert 8 <= len(ARTICLES) <= 12
    assert sum(len(article.items) > 1 for article in ARTICLES) >= 4
    assert len({item.sku for item in ITEMS}) == len(ITEMS)
    assert all(item.sku.startswith(CODE_PREFIX) for item in ITEMS)


def test_titles_are_in_english_with_chinese_beside_them() -> None:
    for text in (article.title for article in ARTICLES):
        english, separator, chinese = text.partition(" · ")
        assert separator and english.isascii() and english[0].isupper()
        assert any("一" <= character <= "鿿" for character in chinese)


def test_the_sale_is_a_bargain_of_a_product_without_options() -> None:
    article = next(each for each in ARTICLES if SALE_ITEM in each.items)
    assert list(article.items) == [SALE_ITEM]
    assert 0 < SALE_PRICE < SALE_ITEM.price / 2
    assert words.price_text(SALE_PRICE) in words.SALE_ON
    assert str(SALE_PIECES) in words.SALE_ON


def test_there_are_more_bots_than_pieces_and_something_to_say_about_everything() -> None:
    assert len(set(words.BUYERS)) == len(words.BUYERS) > SALE_PIECES
    assert set(words.REMARKS) == {article.picture for article in ARTICLES}
    lines = [*words.GREETINGS, *words.SALE_CHEERS, words.SALE_SOON, words.SALE_ON, words.SALE_OVER]
    lines += [line for remarks in words.REMARKS.values() for line in remarks]
    assert all(0 < len(line) <= CHAT_CHARS for line in lines)


async def test_pictures_come_in_the_order_in_which_they_were_asked_for() -> None:
    async with drawn(["tote", "tin"]) as next_picture:
        assert await next_picture() == pictures.png("tote")
        assert await next_picture() == pictures.png("tin")
    async with drawn([]) as next_picture:
        with pytest.raises(EOFError):
            await next_picture()
    async with drawn(["tote", "no such picture"]) as next_picture:
        await next_picture()
        with pytest.raises(EOFError):
            await next_picture()
