"""The shop of the demo: ten products, made once and found again by their SKUs' codes.

Titles and options are in English and Chinese, prices in minor units of CNY. What a visitor or an
earlier show has changed (prices, stock, what lies in the bag) is put right at every start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from overlay.demo.client import Client, Json
from overlay.demo.drawing import drawn

CURRENCY = "CNY"
MERCHANT = "Lantern Lane · 灯笼巷"
CODE_PREFIX = "demo-"
STOCK = 48  # of each SKU
LOW = 12  # fewer, and it is topped up

COLOUR = "Colour · 颜色"
SIZE = "Size · 尺寸"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to buy; `code` without the prefix, `price` in fen."""

    code: str
    price: int
    options: Mapping[str, str]

    @property
    def sku(self) -> str:
        return f"{CODE_PREFIX}{self.code}"


@dataclass(frozen=True, slots=True)
class Article:
    """One product; `picture` is the name of its drawing."""

    picture: str
    title: str
    category: str
    items: Sequence[Item]


def _each(code: str, price: int, option: str, values: Mapping[str, str]) -> list[Item]:
    return [Item(f"{code}-{each}", price, {option: name}) for each, name in values.items()]


TEA, HOME, WEAR = "Tea · 茶", "Home · 家居", "Wear · 穿戴"
ARTICLES = (
    Article(
        "cup",
        "Celadon tea cup · 青瓷茶杯",
        TEA,
        _each("cup", 6800, COLOUR, {"celadon": "Celadon · 青", "moon": "Moon white · 月白"}),
    ),
    Article("teapot", "Clay teapot · 紫砂壶", TEA, [Item("teapot", 26800, {})]),
    Article(
        "tin",
        "Mountain oolong, 100 g · 高山乌龙茶",
        TEA,
        _each("oolong", 8800, "Roast · 焙火", {"light": "Light · 清香", "dark": "Dark · 浓香"}),
    ),
    Article(
        "lantern",
        "Paper lantern lamp · 纸灯笼",
        HOME,
        [
            Item("lantern-s", 15900, {SIZE: "30 cm"}),
            Item("lantern-l", 23900, {SIZE: "45 cm"}),
        ],
    ),
    Article(
        "scarf",
        "Linen scarf · 亚麻围巾",
        WEAR,
        _each(
            "scarf",
            12900,
            COLOUR,
            {"rust": "Rust · 锈红", "indigo": "Indigo · 靛蓝", "sand": "Sand · 沙色"},
        ),
    ),
    Article("cushion", "Persimmon cushion · 柿子抱枕", HOME, [Item("persimmon", 9900, {})]),
    Article("tote", "Heron canvas tote · 白鹭帆布袋", WEAR, [Item("tote", 7900, {})]),
    Article(
        "socks",
        "Lambswool socks · 羊毛袜",
        WEAR,
        _each("socks", 3900, SIZE, {"36-38": "36-38", "39-41": "39-41", "42-44": "42-44"}),
    ),
    Article("candle", "Beeswax candle · 蜂蜡蜡烛", HOME, [Item("candle", 4500, {})]),
    Article("succulent", "Pocket succulent · 多肉盆栽", HOME, [Item("succulent", 4900, {})]),
)
SALE_ITEM = ARTICLES[5].items[0]


async def stock_shop(client: Client, room: str) -> list[Json]:
    """See that all products are there, in the room's bag, and in stock; their documents."""
    found = await _found(client)
    bag = {each["product_id"] async for each in client.items(f"/v1/rooms/{room}/bag")}
    missing = [each.picture for each in ARTICLES if each.items[0].sku not in found]
    products = []
    async with drawn(missing) as next_picture:
        for article in ARTICLES:
            product = found.get(article.items[0].sku)
            if product is None:
                product = await _make(client, article, await next_picture())
            if product["id"] not in bag:
                await client.post(f"/v1/rooms/{room}/bag", {"product_id": product["id"]})
            await _put_right(client, article, product)
            products.append(product)
    return products


async def top_up(client: Client) -> None:
    """Put pieces of what has become scarce on the shelf; the sale's SKU is the sale's business."""
    found = await _found(client)
    stock = {sku["sku"]: sku["available"] for each in found.values() for sku in each["skus"]}
    for item in (item for article in ARTICLES for item in article.items):
        if item is not SALE_ITEM and stock.get(item.sku, STOCK) < LOW:
            await client.set_available(item.sku, STOCK, "demo: topped up")


async def _found(client: Client) -> dict[str, Json]:
    """Our products that are there, by the code of their first SKU."""
    found = {}
    async for product in client.items("/v1/products"):
        code = product["skus"][0]["sku"]
        if code.startswith(CODE_PREFIX):
            found[code] = product
    return found


async def _make(client: Client, article: Article, picture: bytes) -> Json:
    form = aiohttp.FormData()
    name = f"{article.picture}.png"
    form.add_field("file", picture, filename=name, content_type="image/png")
    image = str((await client.post("/v1/images", form))["id"])
    return await client.post("/v1/products", _document(article, image))


def _document(article: Article, image: str) -> Json:
    return {
        "title": article.title,
        "merchant": MERCHANT,
        "category": article.category,
        "image": image,
        "skus": [
            {
                "sku": item.sku,
                "price": {"amount": item.price, "currency": CURRENCY},
                "stock": STOCK,
                "options": dict(item.options),
            }
            for item in article.items
        ],
    }


async def _put_right(client: Client, article: Article, product: Json) -> None:
    """Prices as they are when there is no sale, and enough of everything."""
    shown = {sku["sku"]: sku for sku in product["skus"]}
    for item in article.items:
        if item.sku not in shown:
            continue  # somebody else's product under our first code
        if shown[item.sku]["price"] != {"amount": item.price, "currency": CURRENCY}:
            await client.set_price(item.sku, item.price, CURRENCY)
        if shown[item.sku]["available"] < LOW:
            await client.set_available(item.sku, STOCK, "demo: topped up at the start")
