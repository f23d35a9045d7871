"""The host's five minutes before the show, and the show: the studio against the real server."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from commerce.images import SOURCE_BYTES_MAX
from tests.e2e.browser import browser
from tests.e2e.server import ADMIN, Server, running
from tests.pages.pages import LANGUAGES
from tests.pages.test_in_chromium import OVERFLOWING, SIZES, SMALL_TARGETS, UNNAMED

FRESH_MS = 2000  # a change of stock is in the studio within this
PASSWORD = "correct horse battery"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("studio")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chrome(chromium: str) -> AsyncIterator[Browser]:
    async with browser(chromium) as opened:
        yield opened


@asynccontextmanager
async def visit(chrome: Browser, url: str) -> AsyncIterator[Page]:
    """A page in a browser profile of its own, in which no script fails."""
    profile = await chrome.new_context(
        locale="en-GB", viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
    )
    try:
        page = await profile.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(url)
        yield page
        assert errors == []
    finally:
        await profile.close()


@asynccontextmanager
async def studio(
    chrome: Browser, server: Server, room: str, *, signed_in: bool = True
) -> AsyncIterator[Page]:
    """The studio of a new room, opened with its stream key; the admin has signed in."""
    key = await server.room(room)
    async with visit(chrome, f"{server.url}/studio/{room}#key={key}") as page:
        if signed_in:
            await sign_in(page)
        yield page


async def sign_in(page: Page) -> None:
    """By the admin token."""
    await page.get_by_role("button", name="Use the admin token instead").click()
    await page.get_by_label("Admin token").fill(ADMIN)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_test_id("selling")).to_be_visible()


def jpeg(width: int = 640, height: int = 480, *, noise: bool = False) -> bytes:
    """A photograph's format: a coloured gradient as JPEG, or noise, which packs badly."""
    across = np.linspace(0, 255, width, dtype=np.uint8)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 2] = across, 255 - across
    if noise:
        pixels = np.random.default_rng(1).integers(0, 255, pixels.shape, np.uint8)
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1)
    encoder.options = {"qmin": "3", "qmax": "3"}
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


async def make(page: Page, title: str, *, price: str = "19.90", stock: str = "20") -> None:
    """Make a product by its four fields."""
    await page.get_by_test_id("product-new").click()
    await page.get_by_test_id("product-title").fill(title)
    await page.get_by_test_id("product-price").fill(price)
    await page.get_by_test_id("product-currency").select_option("CNY")
    await page.get_by_test_id("product-stock").fill(stock)
    await page.get_by_test_id("product-make").click()
    await expect(row(page, title)).to_be_visible()


def row(page: Page, title: str) -> Any:
    return page.get_by_test_id("products").get_by_role("listitem").filter(has_text=title).first


async def bagged(server: Server, room: str) -> dict[str, Any]:
    """The only product in the room's bag."""
    (item,) = (await server.api("GET", f"/v1/rooms/{room}/bag"))["items"]
    return dict(item["product"])


async def buy(server: Server, room: str, sku: str, pieces: int, key: str) -> dict[str, Any]:
    """An order over HTTP, as a viewer makes it."""
    token = await server.viewer(f"buyer-{key}", room)
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
    body = {"room": room, "lines": [{"sku": sku, "qty": pieces}]}
    async with server.http.post(f"{server.url}/v1/orders", json=body, headers=headers) as reply:
        assert reply.status == 201, await reply.text()
        return dict(await reply.json())


async def test_a_product_with_a_picture_is_made_pinned_and_sold(
    server: Server, chrome: Browser
) -> None:
    async with studio(chrome, server, "selling") as page:
        began = time.monotonic()
        await page.get_by_test_id("product-new").click()
        photo = {"name": "mug.jpg", "mimeType": "image/jpeg", "buffer": jpeg()}
        await page.get_by_test_id("picture-file").set_input_files(photo)  # type: ignore[arg-type]
        await page.get_by_test_id("product-title").fill("Mug <b>350 ml</b>")
        await page.get_by_test_id("product-price").fill("19.90")
        await page.get_by_test_id("product-stock").fill("20")
        await page.get_by_test_id("product-make").click()
        product = row(page, "Mug <b>350 ml</b>")
        await expect(product).to_be_visible()
        assert time.monotonic() - began < 60

        made = await bagged(server, "selling")
        (sku,) = made["skus"]
        assert sku["price"] == {"amount": 1990, "currency": "CNY"} and sku["available"] == 20
        picture = product.locator("img")
        await expect(picture).to_have_attribute("src", f"/v1/images/{made['image']}")
        assert await picture.evaluate("async (image) => { await image.decode(); return true; }")

        pin = page.get_by_test_id(f"pin-{made['id']}")
        await expect(pin).to_have_attribute("aria-pressed", "false")
        await pin.click()
        await expect(pin).to_have_attribute("aria-pressed", "true")
        cards = (await server.api("GET", "/v1/rooms/selling/cards"))["items"]
        assert [card["product_id"] for card in cards] == [made["id"]]

        left = page.get_by_test_id(f"stock-{sku['sku']}")
        await expect(left).to_have_text("20")
        order = await buy(server, "selling", sku["sku"], 3, "one")
        await expect(left).to_have_text("17", timeout=FRESH_MS)
        entry = page.get_by_test_id("order-list").locator(f"[data-order={order['id']}]")
        await expect(entry).to_contain_text("3 × Mug <b>350 ml</b>")
        await expect(entry).to_contain_text("Not paid")
        await expect(page.get_by_test_id("totals-orders")).to_have_text("1")

        await pin.click()
        await expect(pin).to_have_attribute("aria-pressed", "false")
        assert (await server.api("GET", "/v1/rooms/selling/cards"))["items"] == []


async def test_a_photograph_larger_than_the_server_takes_is_made_small_before_it_is_sent(
    server: Server, chrome: Browser
) -> None:
    photo = jpeg(4000, 3000, noise=True)
    assert len(photo) > SOURCE_BYTES_MAX
    async with studio(chrome, server, "photo") as page:
        await page.get_by_test_id("product-new").click()
        file = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": photo}
        await page.get_by_test_id("picture-file").set_input_files(file)  # type: ignore[arg-type]
        await page.get_by_test_id("product-title").fill("Rug")
        await page.get_by_test_id("product-price").fill("880")
        await page.get_by_test_id("product-stock").fill("2")
        await page.get_by_test_id("product-make").click()
        picture = row(page, "Rug").locator("img")
        await expect(picture).to_have_attribute("src", re.compile("/v1/images/img_"))
        side = "async (image) => { await image.decode(); return image.naturalWidth; }"
        assert await picture.evaluate(side) == 1600


async def test_a_card_pinned_elsewhere_is_pinned_here(server: Server, chrome: Browser) -> None:
    async with studio(chrome, server, "pinning") as page:
        await make(page, "Bowl")
        made = await bagged(server, "pinning")
        pin = page.get_by_test_id(f"pin-{made['id']}")
        card = await server.api("POST", "/v1/rooms/pinning/cards", {"product_id": made["id"]})
        await expect(pin).to_have_attribute("aria-pressed", "true", timeout=FRESH_MS)
        await server.api("DELETE", f"/v1/rooms/pinning/cards/{card['id']}")
        await expect(pin).to_have_attribute("aria-pressed", "false", timeout=FRESH_MS)


async def test_options_make_a_sku_each_with_its_own_stock(server: Server, chrome: Browser) -> None:
    async with studio(chrome, server, "options") as page:
        await page.get_by_test_id("product-new").click()
        await page.get_by_test_id("product-title").fill("T-shirt")
        await page.get_by_test_id("product-price").fill("99")
        await page.get_by_test_id("product-stock").fill("10")
        await page.get_by_text("Sizes, colours, limit, category").click()
        await page.get_by_test_id("option-add").click()
        await page.get_by_label("Name of the option").fill("Size")
        await page.get_by_label("Its values").fill("S，M, L")
        await page.get_by_test_id("product-form").get_by_label("M", exact=True).fill("4")
        await page.get_by_test_id("product-limit").fill("2")
        await page.get_by_test_id("product-make").click()
        await expect(row(page, "T-shirt")).to_be_visible()
        made = await bagged(server, "options")
        skus = [(sku["options"], sku["available"], sku["per_buyer"]) for sku in made["skus"]]
        assert skus == [({"Size": "S"}, 10, 2), ({"Size": "M"}, 4, 2), ({"Size": "L"}, 10, 2)]


async def test_what_cannot_be_is_said_beside_its_field(server: Server, chrome: Browser) -> None:
    async with studio(chrome, server, "wrong") as page:
        await page.get_by_test_id("product-new").click()
        text = {"name": "mug.jpg", "mimeType": "image/jpeg", "buffer": b"not a picture"}
        await page.get_by_test_id("picture-file").set_input_files(text)  # type: ignore[arg-type]
        await expect(page.get_by_test_id("picture-problem")).to_contain_text("not a JPEG")
        await page.get_by_test_id("product-price").fill("1,990")
        await page.get_by_test_id("product-make").click()
        form = page.get_by_test_id("product-form")
        await expect(form).to_contain_text("Give it a name.")
        await expect(form).to_contain_text("Write the price like 19.90.")
        await expect(form).to_contain_text("A whole number of pieces")
        await expect(page.get_by_test_id("product-title")).to_be_focused()
        assert (await server.api("GET", "/v1/rooms/wrong/bag"))["items"] == []


async def test_a_price_is_changed_in_place_and_never_over_a_change_unseen(
    server: Server, chrome: Browser
) -> None:
    async with studio(chrome, server, "prices") as page:
        await make(page, "Teapot")
        (sku,) = (await bagged(server, "prices"))["skus"]
        price = page.get_by_test_id(f"price-{sku['sku']}")
        field = row(page, "Teapot").get_by_role("textbox", name="Price")
        save = row(page, "Teapot").get_by_role("button", name="Save")
        await price.click()
        await expect(field).to_have_value("19.90")
        await field.fill("17.5")
        await field.press("Enter")
        await expect(price).to_have_text("¥17.50")
        assert (await server.api("GET", f"/v1/skus/{sku['sku']}/price"))["price"]["amount"] == 1750

        await price.click()
        now = await server.api("GET", f"/v1/skus/{sku['sku']}/price")
        await server.api(
            "PUT",
            f"/v1/skus/{sku['sku']}/price",
            {"price": {"amount": 1600, "currency": "CNY"}},
            if_match=f'"{now["price_version"]}"',
        )
        await expect(price).to_have_text("¥16.00", timeout=FRESH_MS)
        await field.fill("15")
        await save.click()
        await expect(row(page, "Teapot")).to_contain_text("it costs ¥16.00 now")
        await save.click()
        await expect(price).to_have_text("¥15.00")
        assert (await server.api("GET", f"/v1/skus/{sku['sku']}/price"))["price"]["amount"] == 1500


async def test_stock_cannot_be_set_below_what_orders_hold_and_the_number_is_said(
    server: Server, chrome: Browser
) -> None:
    async with studio(chrome, server, "stock") as page:
        await make(page, "Vase", stock="10")
        (sku,) = (await bagged(server, "stock"))["skus"]
        await buy(server, "stock", sku["sku"], 4, "held")
        left = page.get_by_test_id(f"stock-{sku['sku']}")
        await expect(left).to_have_text("6", timeout=FRESH_MS)
        await left.click()
        vase = row(page, "Vase")
        field = vase.get_by_role("textbox", name="On hand")
        await expect(field).to_have_value("10")
        await expect(vase).to_contain_text("6 to sell + 4 held in unpaid orders")
        await field.fill("3")
        await vase.get_by_role("button", name="Save").click()
        await expect(vase).to_contain_text("Not below 4")
        assert (await server.api("GET", f"/v1/skus/{sku['sku']}/stock"))["on_hand"] == 10
        await field.fill("24")
        await vase.get_by_role("combobox", name="Reason").select_option(label="New delivery")
        await vase.get_by_role("button", name="Save").click()
        await expect(left).to_have_text("20")
        edits = (await server.api("GET", f"/v1/skus/{sku['sku']}/adjustments"))["items"]
        assert (edits[0]["after"], edits[0]["reason"]) == (24, "New delivery")


async def test_products_are_put_in_order_taken_out_and_found_again(
    server: Server, chrome: Browser
) -> None:
    async with studio(chrome, server, "order") as page:
        for title in ("First lamp", "Second lamp"):
            await make(page, title)
        titles = page.get_by_test_id("products").get_by_role("heading")
        await expect(titles).to_have_text(["Second lamp", "First lamp"])
        await page.get_by_role("button", name="Arrange").click()
        await row(page, "First lamp").get_by_role("button", name="Move up").click()
        await expect(titles).to_have_text(["First lamp", "Second lamp"])
        await row(page, "First lamp").get_by_role("button", name="Take out of the show").click()
        await expect(titles).to_have_text(["Second lamp"])
        await page.get_by_role("button", name="All products").click()
        await page.get_by_test_id("product-search").fill("first LAMP")
        await expect(titles).to_have_text(["First lamp"])
        await row(page, "First lamp").get_by_role("button", name="Add to show").click()
        await expect(row(page, "First lamp").get_by_role("button", name="Pin")).to_be_visible()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_selling_fits_every_screen_in_every_language(
    language: str, server: Server, chrome: Browser
) -> None:
    room = f"fits-{language}"
    async with studio(chrome, server, room) as page:
        await make(page, "A product with a long name that has to break somewhere", price="123456")
        (sku,) = (await bagged(server, room))["skus"]
        await buy(server, room, sku["sku"], 20, room)
        await page.goto(f"{server.url}/studio/{room}?lang={language}")
        await page.get_by_test_id(f"price-{sku['sku']}").click()
        await page.get_by_test_id(f"stock-{sku['sku']}").click()
        await page.get_by_test_id("product-new").click()
        await page.locator("#product-form summary").click()
        await page.get_by_test_id("option-add").click()
        await expect(page.get_by_test_id("order-list").get_by_role("listitem")).to_have_count(1)
        for name, (width, height) in SIZES.items():
            await page.set_viewport_size({"width": width, "height": height})
            assert await page.evaluate(OVERFLOWING) == [], name
            assert await page.evaluate(SMALL_TARGETS) == [], name
        assert await page.evaluate(UNNAMED) == []


async def test_a_stream_key_alone_sells_nothing(server: Server, chrome: Browser) -> None:
    async with studio(chrome, server, "keyed", signed_in=False) as page:
        await expect(page.get_by_test_id("sign-in")).to_be_visible()
        key = await page.get_by_test_id("stream-key").input_value()
        assert key
        for name in ("selling", "orders", "ingest", "who", "product-new"):
            await expect(page.get_by_test_id(name)).to_be_hidden()
        headers = {"Authorization": f"Bearer {key}"}
        url = f"{server.url}/v1/rooms/keyed/cards"
        async with server.http.post(url, json={"product_id": "x"}, headers=headers) as reply:
            assert reply.status == 401


async def test_a_wrong_token_is_said_in_words(server: Server, chrome: Browser) -> None:
    async with studio(chrome, server, "denied", signed_in=False) as page:
        await page.get_by_label("Name", exact=True).fill("nobody-here")
        await page.get_by_label("Password").fill("wrong horse battery")
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_test_id("sign-in-problem")).to_have_text(
            "Name or password is wrong."
        )
        await expect(page.get_by_test_id("selling")).to_be_hidden()


async def test_a_host_signs_in_by_name_sells_sees_no_orders_and_signs_out(
    server: Server, chrome: Browser
) -> None:
    account = {"name": "mei", "password": PASSWORD, "role": "host"}
    await server.api("POST", "/v1/staff", account)
    async with studio(chrome, server, "hosted", signed_in=False) as page:
        await page.get_by_label("Name", exact=True).fill("mei")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_test_id("who")).to_contain_text("mei")
        await make(page, "Plate")
        await expect(page.get_by_test_id("orders")).to_be_hidden()
        await expect(page.get_by_test_id("ingest")).to_contain_text("Nothing arrives now.")
        await page.reload()
        await expect(row(page, "Plate")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_test_id("sign-in")).to_be_visible()
        await expect(page.get_by_test_id("selling")).to_be_hidden()


async def test_a_session_that_ends_asks_to_sign_in_and_leaves_the_page_alone(
    server: Server, chrome: Browser
) -> None:
    async with studio(chrome, server, "ended") as page:
        await make(page, "Cup")
        await page.evaluate("window.stays = true")
        await page.context.clear_cookies()
        await row(page, "Cup").get_by_role("button", name="Pin").click()
        await expect(page.get_by_test_id("sign-in")).to_be_visible()
        await expect(page.get_by_test_id("selling")).to_be_hidden()
        assert await page.evaluate("window.stays")


async def test_chat_is_read_here_as_it_was_written(server: Server, chrome: Browser) -> None:
    async with studio(chrome, server, "chatting") as page:
        token = await server.viewer("chatter", "chatting", name="Lin")
        url = f"{server.url}/v1/rooms/chatting/events?token={token}"
        async with server.http.ws_connect(url, protocols=("hawker.v1.json",)) as line:
            text = "How large is <img src=x onerror=alert(1)>?"
            await line.send_json({"rid": 1, "t": "chat.send", "d": {"text": text}})
            log = page.get_by_test_id("chat-log")
            await expect(log).to_contain_text(text, timeout=FRESH_MS)
            await expect(log).to_contain_text("Lin")
            await expect(log.locator("img")).to_have_count(0)


async def test_orders_that_keep_coming_are_seen_while_they_do(
    server: Server, chrome: Browser
) -> None:
    async with studio(chrome, server, "rush") as page:
        await make(page, "Ticket", stock="500")
        (sku,) = (await bagged(server, "rush"))["skus"]
        seen = page.get_by_test_id("order-list").get_by_role("listitem")
        count = 0
        async with asyncio.timeout(20):
            while await seen.count() < 3:
                count += 1
                await buy(server, "rush", sku["sku"], 1, f"rush-{count}")
        assert count > 3
        left = page.get_by_test_id(f"stock-{sku['sku']}")
        await expect(left).to_have_text(str(500 - count), timeout=FRESH_MS)


async def test_stock_is_right_again_after_the_server_was_killed_and_came_back(
    chrome: Browser, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = f"http.port={free.getsockname()[1]}"
    async with running(tmp_path, port) as first, studio(chrome, first, "cut") as page:
        await make(page, "Jug", stock="9")
        (sku,) = (await bagged(first, "cut"))["skus"]
        left = page.get_by_test_id(f"stock-{sku['sku']}")
        await expect(left).to_have_text("9")
        await first.kill()
        await expect(page.get_by_text("Connecting…")).to_be_visible()
        async with running(tmp_path, port) as second:
            await buy(second, "cut", sku["sku"], 2, "meanwhile")
            await expect(left).to_have_text("7", timeout=20_000)
            await buy(second, "cut", sku["sku"], 1, "afterwards")
            await expect(left).to_have_text("6", timeout=20_000)


async def test_a_demo_order_is_marked_and_counts_for_nothing(
    chrome: Browser, tmp_path: Path
) -> None:
    async with (
        running(tmp_path, command="demo") as server,
        visit(chrome, f"{server.url}/studio/demo") as page,
    ):
        await sign_in(page)
        await expect(page.get_by_test_id("products").locator("li.product").first).to_be_visible()
        product = (await server.api("GET", "/v1/rooms/demo/bag?limit=1"))["items"][0]["product"]
        order = await buy(server, "demo", product["skus"][0]["sku"], 1, "visitor")
        assert order["demo"]
        entry = page.get_by_test_id("order-list").locator(f"[data-order={order['id']}]")
        await expect(entry.get_by_text("Demo")).to_be_visible()
        await expect(page.get_by_test_id("totals-orders")).to_have_text("0")
