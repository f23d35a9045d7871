"""The bag and the cards over HTTP, with the real bag and cards and every kind of caller."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from commerce.timestamps import rfc3339
from mediaserver.api.auth import CALLERS
from mediaserver.api.bag import BagApi, BagItem, BagPage
from mediaserver.api.cards import CardDocument, CardsApi, CardsPage
from mediaserver.api.operation import operation_of
from mediaserver.api.problem import install
from overlay.audit import AuditLog
from overlay.callers import Callers
from overlay.order_links import OrderLinks
from overlay.rooms import RoomAccess
from overlay.staff import Staff
from overlay.tokens import Tokens
from tests.overlay.offer_house import EPOCH_MS, ROOM, House, open_offer_house

ADMIN_TOKEN = "the admin token"
SECRET = "a secret of more than thirty-two bytes, for these tests"
BAG, CARDS = f"/v1/rooms/{ROOM}/bag", f"/v1/rooms/{ROOM}/cards"
NOW_MT = 60_000

Headers = dict[str, str]


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


ADMIN = bearer(ADMIN_TOKEN)


@dataclass
class Front:
    """`house` behind its handlers."""

    client: TestClient[web.Request, web.Application]
    house: House
    staff: Staff
    tokens: Tokens
    links: OrderLinks
    audit: AuditLog

    async def role(self, role: str) -> Headers:
        _, key = await self.staff.api_keys.create(f"a {role}", role)
        return bearer(key)

    async def put(self, product: str, headers: Headers = ADMIN, **body: Any) -> ClientResponse:
        body = {"product_id": product, **body}
        return await self.client.post(BAG, json=body, headers=headers)

    async def pin(self, product: str, headers: Headers = ADMIN, **body: Any) -> ClientResponse:
        body = {"product_id": product, **body}
        return await self.client.post(CARDS, json=body, headers=headers)

    async def acts(self) -> list[tuple[str, str, dict[str, str]]]:
        entries, _ = await self.audit.page(limit=200)
        return [(each.by, each.act, dict(each.target)) for each in reversed(entries)]


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with open_offer_house(tmp_path) as house:
        tokens = Tokens(SECRET, now=lambda: house.clock.now / 1000)
        staff, links = Staff(house.store, house.clock), OrderLinks(SECRET)
        app = web.Application()
        callers = app[CALLERS] = Callers(tokens, staff, links, ADMIN_TOKEN)
        install(app)
        access = RoomAccess(house.rooms, tokens, callers.staff)
        bag, cards = BagApi(house.bag, access), CardsApi(house.cards, access)
        app.add_routes([*bag.routes(), *cards.routes()])
        async with TestClient(TestServer(app), cookie_jar=DummyCookieJar()) as client:
            audit = AuditLog(house.store, house.clock)
            yield Front(client, house, staff, tokens, links, audit)


async def code(response: ClientResponse) -> tuple[int, str]:
    assert response.content_type == "application/problem+json"
    return response.status, (await response.json())["code"]


async def body(response: ClientResponse, status: int = 200) -> dict[str, Any]:
    assert response.status == status
    assert response.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = await response.json()
    return document


async def test_a_bag_is_filled_read_and_emptied(front: Front) -> None:
    cup = await front.house.product(title="Cup", category="table")
    plate = await front.house.product(title="Plate")
    item = await body(await front.put(cup.id), 201)
    shown = (await front.house.shelf.show([cup]))[0]
    assert item == {"product_id": cup.id, "position": 0, "product": shown}
    BagItem.model_validate(item)
    assert (await body(await front.put(plate.id, position=0), 201))["position"] == 0
    page = await body(await front.client.get(BAG))
    assert [item["product_id"] for item in page["items"]] == [plate.id, cup.id]
    assert page["next"] is None
    BagPage.model_validate(page)
    gone = await front.client.delete(f"{BAG}/{plate.id}", headers=ADMIN)
    assert (gone.status, await gone.read()) == (204, b"")
    page = await body(await front.client.get(BAG))
    assert [(item["product_id"], item["position"]) for item in page["items"]] == [(cup.id, 0)]
    again = await front.client.delete(f"{BAG}/{plate.id}", headers=ADMIN)
    assert await code(again) == (404, "product_not_found")


async def test_a_bag_has_pages_a_search_and_categories(front: Front) -> None:
    for number in range(5):
        await front.house.in_bag(title=f"Cup {number}", category=f"kind {number % 2}")
    titles, cursor, pages = [], "", 0
    while cursor is not None:
        page = await body(await front.client.get(BAG, params={"limit": "2", "cursor": cursor}))
        titles += [item["product"]["title"] for item in page["items"]]
        cursor, pages = page["next"], pages + 1
    assert (titles, pages) == ([f"Cup {number}" for number in range(5)], 3)
    for query, positions in (
        ({"search": "cUP 3"}, [3]),
        ({"category": "kind 0"}, [0, 2, 4]),
        ({"search": "4", "category": "kind 0"}, [4]),
        ({"search": "", "category": ""}, [0, 1, 2, 3, 4]),
    ):
        page = await body(await front.client.get(BAG, params=query))
        assert [item["position"] for item in page["items"]] == positions


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=0", (400, "bad_query")),
        ("limit=201", (400, "bad_query")),
        ("limit=x", (400, "bad_query")),
        ("page=2", (400, "bad_query")),
        ("cursor=x", (422, "invalid")),
        ("cursor=%ED%A0%80", (422, "invalid")),
        ("search=%00", (422, "invalid")),
        ("search=" + "x" * 201, (422, "invalid")),
    ],
)
async def test_a_bad_query_is_refused(front: Front, query: str, expected: tuple[int, str]) -> None:
    assert await code(await front.client.get(f"{BAG}?{query}")) == expected


async def test_a_card_is_pinned_listed_and_taken_off(front: Front) -> None:
    product = await front.house.product()
    card = await body(await front.pin(product.id), 201)
    CardDocument.model_validate(card)
    assert card == {
        "id": card["id"],
        "room": ROOM,
        "product_id": product.id,
        "product": (await front.house.shelf.show([product]))[0],
        "mt": None,
        "pinned_at": rfc3339(front.house.clock.now),
    }
    cards = await body(await front.client.get(CARDS))
    assert cards == {"items": [card], "next": None}
    CardsPage.model_validate(cards)
    off = await front.client.delete(f"{CARDS}/{card['id']}", headers=ADMIN)
    assert (off.status, await off.read()) == (204, b"")
    assert (await body(await front.client.get(CARDS)))["items"] == []
    again = await front.client.delete(f"{CARDS}/{card['id']}", headers=ADMIN)
    assert await code(again) == (404, "card_not_found")


async def test_a_card_of_many_skus_is_described_too(front: Front) -> None:
    product = await front.house.product(skus=30)
    card = await body(await front.pin(product.id), 201)
    assert CardDocument.model_validate(card).product.more is True


async def test_a_card_is_pinned_to_a_moment(front: Front) -> None:
    product = await front.house.product()
    front.house.media[ROOM] = (NOW_MT, EPOCH_MS)
    assert (await body(await front.pin(product.id), 201))["mt"] == NOW_MT
    at_ms = EPOCH_MS + NOW_MT + 5_123
    for when in ({"mt": NOW_MT + 5_123}, {"at": at_ms}, {"at": rfc3339(at_ms)}):
        assert (await body(await front.pin(product.id, **when), 201))["mt"] == NOW_MT + 5_123


async def test_a_moment_wants_a_live_stream(front: Front) -> None:
    product = await front.house.product()
    assert await code(await front.pin(product.id, mt=5)) == (409, "not_live")


@pytest.mark.parametrize(
    "wrong",
    [
        {"mt": 1, "at": EPOCH_MS},
        {"mt": -1},
        {"mt": "1"},
        {"mt": True},
        {"mt": 10**12},
        {"at": "tomorrow"},
        {"at": "2027-01-15T08:00:00"},
        {"at": "0001-01-01T00:00:00Z"},
        {"at": 1.5},
        {"product_id": 5},
        {"price": 1},
    ],
)
async def test_a_card_that_cannot_be_is_422(front: Front, wrong: dict[str, Any]) -> None:
    product = await front.house.product()
    front.house.media[ROOM] = (NOW_MT, EPOCH_MS)
    assert await code(await front.pin(product.id, **wrong)) == (422, "invalid")
    assert await front.house.told() == []


@pytest.mark.parametrize(
    "wrong", [{"position": -1}, {"position": "0"}, {"position": 501}, {"place": 1}]
)
async def test_an_item_that_cannot_be_is_422(front: Front, wrong: dict[str, Any]) -> None:
    product = await front.house.product()
    assert await code(await front.put(product.id, **wrong)) == (422, "invalid")
    assert await front.house.told() == []


async def test_what_is_not_there_is_404(front: Front) -> None:
    product = await front.house.product()
    for name in ("none", "%ED%A0%80", "%00", "a" * 2000):
        room = f"/v1/rooms/{name}"
        wanted = {"product_id": product.id}
        for response in (
            await front.client.get(f"{room}/bag"),
            await front.client.get(f"{room}/cards"),
            await front.client.post(f"{room}/bag", json=wanted, headers=ADMIN),
            await front.client.post(f"{room}/cards", json=wanted, headers=ADMIN),
            await front.client.delete(f"{room}/bag/{product.id}", headers=ADMIN),
            await front.client.delete(f"{room}/cards/crd_x", headers=ADMIN),
        ):
            assert await code(response) == (404, "room_not_found")
    for id in ("prd_none", "\u2603", ""):
        assert await code(await front.put(id)) == (404, "product_not_found")
        assert await code(await front.pin(id)) == (404, "product_not_found")
    strange = await front.client.delete(f"{CARDS}/%ED%A0%80", headers=ADMIN)
    assert await code(strange) == (404, "card_not_found")


async def writes(front: Front, product: str, headers: Headers) -> list[ClientResponse]:
    return [
        await front.put(product, headers),
        await front.pin(product, headers),
        await front.client.delete(f"{CARDS}/crd_x", headers=headers),
        await front.client.delete(f"{BAG}/{product}", headers=headers),
    ]


@pytest.mark.parametrize("role", ["host", "operator"])
async def test_the_host_and_the_operator_may(front: Front, role: str) -> None:
    product = await front.house.product()
    responses = await writes(front, product.id, await front.role(role))
    assert [response.status for response in responses] == [201, 201, 404, 204]


async def test_others_may_look_and_change_nothing(front: Front) -> None:
    product = await front.house.product()
    await front.put(product.id)
    before = await front.house.told()
    order = await front.house.buy(product)
    refused = [
        *[(await front.role(role), 403) for role in ("moderator", "finance", "engineer")],
        (bearer(front.tokens.issue(ROOM, "ana").token), 403),
        (bearer(front.tokens.guest(ROOM).token), 403),
        (bearer(front.tokens.issue("other", "hans", role="host").token), 403),
        (bearer(front.links.key(order.id)), 403),
        ({}, 401),
        (bearer((await front.house.rooms.create("x", id="x"))[1]), 401),
    ]
    for headers, status in refused:
        for response in await writes(front, product.id, headers):
            assert response.status == status
    assert await front.house.told() == before
    assert len((await body(await front.client.get(BAG)))["items"]) == 1


async def test_a_host_by_token_may_in_his_own_room(front: Front) -> None:
    product = await front.house.product()
    host = bearer(front.tokens.issue(ROOM, "hans", role="host").token)
    assert (await front.pin(product.id, host)).status == 201
    elsewhere = await front.client.post(
        "/v1/rooms/other/cards", json={"product_id": product.id}, headers=host
    )
    assert await code(elsewhere) == (403, "forbidden")


async def test_who_did_what_is_in_the_audit_log(front: Front) -> None:
    product = await front.house.product()
    headers = await front.role("host")
    await front.put(product.id, headers)
    card = await body(await front.pin(product.id, headers), 201)
    await front.client.delete(f"{CARDS}/{card['id']}", headers=headers)
    await front.client.delete(f"{BAG}/{product.id}", headers=headers)
    await front.put("prd_none", headers)
    named = {"room": ROOM, "product": product.id}
    assert await front.acts() == [
        ("key:a host", "bag.write", named),
        ("key:a host", "cards.pin", named),
        ("key:a host", "cards.pin", {"room": ROOM, "card": card["id"]}),
        ("key:a host", "bag.write", named),
    ]


async def test_every_handler_is_described(front: Front) -> None:
    app = front.client.app
    assert app is not None
    acts = {
        (route.method, operation_of(route).auth)
        for route in app.router.routes()
        if route.method != "HEAD"
    }
    assert acts == {
        ("GET", "watcher"),
        *((method, act) for method in ("POST", "DELETE") for act in ("bag.write", "cards.pin")),
    }


async def test_what_a_restricted_room_offers_is_for_those_who_may_watch_it(front: Front) -> None:
    room = "private"
    await front.house.rooms.create("Private", id=room, access="restricted")
    invited = bearer(front.tokens.issue(room, "ana").token)
    guest = bearer(front.tokens.guest(room).token)
    elsewhere = bearer(front.tokens.issue(ROOM, "ana").token)
    for what in ("bag", "cards"):
        path = f"/v1/rooms/{room}/{what}"
        assert await code(await front.client.get(path)) == (401, "token_missing")
        assert await code(await front.client.get(path, headers=guest)) == (403, "room_restricted")
        assert await code(await front.client.get(path, headers=elsewhere)) == (403, "wrong_room")
        for who in (invited, ADMIN):
            assert (await front.client.get(path, headers=who)).status == 200
