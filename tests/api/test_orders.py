"""Orders over HTTP: who sees them, what stands under a key, and bodies made to hurt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import ClientResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commerce.orders import Limits
from tests.api.shop_house import APPROVED, SECRET, Headers, House, bearer, open_house, problem

CONTACT = {"name": "Ann", "phone": "+86 1", "email": "ann@example.com"}
ADDRESS = {"city": "景德镇", "street": "1 Kiln Road"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


async def post(house: House, body: object, headers: Headers) -> ClientResponse:
    return await house.client.post("/v1/orders", json=body, headers=headers)


def lines(sku: str, qty: int = 1) -> dict[str, Any]:
    return {"lines": [{"sku": sku, "qty": qty}]}


async def test_an_order_is_reserved_for_who_places_it(house: House) -> None:
    product = await house.product()
    sku = product["skus"][0]
    body = lines(sku["sku"], 2) | {"price_version": sku["price_version"], "referral": "friend"}
    response = await post(house, body, house.viewer() | house.key())
    order = await response.json()
    assert response.status == 201
    assert response.headers["Location"] == f"/v1/orders/{order['id']}"
    assert "Idempotent-Replayed" not in response.headers
    assert (order["room"], order["buyer"], order["referral"]) == ("shop", "ann", "friend")
    assert (order["state"], order["payment"], order["fulfilment"]) == ("reserved", "none", "none")
    assert order["total"] == {"amount": 3980, "currency": "CNY"}
    assert order["expires_at"] > order["created_at"]
    assert order["link"] == f"/orders/{order['id']}#key={house.links.key(order['id'])}"
    status, read = await house.ask("GET", f"/v1/orders/{order['id']}", house.viewer())
    assert (status, read) == (200, order | {"contact": None, "address": None})


async def test_the_same_key_again_is_the_same_order_in_the_same_words(house: House) -> None:
    sku = await house.sku(5)
    headers = house.viewer() | house.key("mine")
    first = await post(house, lines(sku, 2), headers)
    halves = {"room": " shop ", "lines": [{"sku": sku, "qty": 1}] * 2}
    again = await post(house, halves, headers | house.key('"mine"'))
    assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert await again.read() == await first.read()
    assert again.headers["Location"] == first.headers["Location"]
    other = await post(house, lines(sku, 3), headers)
    assert await problem(other) == (422, "idempotency_key_reused")
    theirs = await post(house, lines(sku, 1), house.viewer("bob") | house.key("mine"))
    assert (await theirs.json())["id"] != (await first.json())["id"]
    stock = (await house.ask("GET", f"/v1/skus/{sku}/stock", house.admin))[1]
    assert (stock["available"], stock["reserved"]) == (2, 3)


async def test_two_copies_at_once_make_one_order(house: House) -> None:
    sku = await house.sku(5)
    headers = house.viewer() | house.key("mine")
    both = await asyncio.gather(*(post(house, lines(sku), headers) for _ in range(2)))
    assert [response.status for response in both] == [201, 201]
    assert len({(await response.json())["id"] for response in both}) == 1
    assert sorted("Idempotent-Replayed" in each.headers for each in both) == [False, True]
    _, listed = await house.ask("GET", "/v1/orders", house.viewer())
    assert len(listed["items"]) == 1


async def test_a_refusal_binds_no_key(house: House) -> None:
    sku = await house.sku(0)
    headers = house.viewer() | house.key("mine")
    assert await problem(await post(house, lines(sku), headers)) == (409, "out_of_stock")
    more = house.admin | house.key() | {"If-Match": "*"}
    body = {"on_hand": 1, "reason": "found"}
    assert (await house.ask("PUT", f"/v1/skus/{sku}/stock", more, body))[0] == 200
    assert (await post(house, lines(sku), headers)).status == 201


async def test_without_a_key_or_a_token_nothing_is_placed(house: House) -> None:
    sku = await house.sku()
    missing = await post(house, lines(sku), house.viewer())
    assert await problem(missing) == (400, "idempotency_key_missing")
    nobody = await post(house, lines(sku), house.key())
    assert await problem(nobody) == (401, "token_missing")
    order = await house.buy(sku)
    keyed = await post(house, lines(sku), house.order_key(order["id"]) | house.key())
    assert await problem(keyed) == (401, "token_missing")
    expired = bearer(house.tokens.issue("shop", "ann", ttl_s=-1).token)
    assert await problem(await post(house, lines(sku), expired | house.key())) == (
        401,
        "token_expired",
    )


async def test_a_name_with_spaces_around_it_is_not_the_name_without(house: House) -> None:
    sku = await house.sku()
    await house.buy(sku)
    claims = {"room": "shop", "sub": " ann", "exp": 4_000_000_000}
    headers = bearer(jwt.encode(claims, SECRET, algorithm="HS256"))
    assert await problem(await post(house, lines(sku), headers | house.key("key-0"))) == (
        401,
        "token_invalid",
    )
    for path in ("/v1/orders", "/v1/orders/by-key/key-0", "/v1/contact"):
        assert (await house.ask("GET", path, headers))[0] == 401


async def test_a_viewer_buys_in_its_own_room_and_staff_in_any(house: House) -> None:
    sku = await house.sku()
    wrong = await post(house, lines(sku) | {"room": "other"}, house.viewer() | house.key())
    assert await problem(wrong) == (403, "wrong_room")
    for room in ("shop", "other", None):
        answer = await post(house, lines(sku) | {"room": room}, house.admin | house.key())
        assert ((await answer.json())["room"], answer.status) == (room, 201)
    unknown = await post(house, lines(sku) | {"room": "nowhere"}, house.admin | house.key())
    assert await problem(unknown) == (404, "room_not_found")


async def test_another_price_than_the_one_seen_is_told_with_the_new_quote(house: House) -> None:
    product = await house.product()
    code, version = product["skus"][0]["sku"], product["skus"][0]["price_version"]
    price = {"price": {"amount": 2090, "currency": "CNY"}}
    headers = house.admin | {"If-Match": f'"{version}"'}
    _, new = await house.ask("PUT", f"/v1/skus/{code}/price", headers, price)
    seen = lines(code, 2) | {"price_version": version}
    response = await post(house, seen, house.viewer() | house.key())
    quote = (await response.json())["quote"]
    assert await problem(response) == (409, "price_changed")
    assert quote["total"] == {"amount": 4180, "currency": "CNY"}
    assert quote["price_version"] == new["price_version"]
    accepted = seen | {"price_version": quote["price_version"]}
    assert (await post(house, accepted, house.viewer() | house.key())).status == 201


async def test_out_of_stock_says_whether_pieces_may_come_back(house: House) -> None:
    sku = await house.sku(1)
    await house.buy(sku)
    held = await post(house, lines(sku), house.viewer("bob") | house.key())
    assert await problem(held) == (409, "out_of_stock")
    assert (await held.json())["held"] is True
    gone = await post(house, lines(await house.sku(0)), house.viewer() | house.key())
    assert (await gone.json())["held"] is False


async def test_what_cannot_be_one_order_is_refused(house: House) -> None:
    yuan, euro = await house.sku(), await house.sku(currency="EUR")
    both = {"lines": [{"sku": yuan, "qty": 1}, {"sku": euro, "qty": 1}]}
    mixed = await post(house, both, house.viewer() | house.key())
    assert await problem(mixed) == (400, "mixed_currency")
    limited = await house.sku(per_buyer=1)
    over = await post(house, lines(limited, 2), house.viewer() | house.key())
    assert await problem(over) == (409, "limit_reached")


async def test_to_strangers_there_is_no_such_order(house: House) -> None:
    sku = await house.sku()
    order, other = await house.buy(sku), await house.buy(sku, sub="bob")
    strangers = {
        "another viewer": house.viewer("bob"),
        "the same name in capitals": house.viewer("Ann"),
        "another order's key": house.order_key(other["id"]),
        "finance of another room": house.viewer("fin", "other", "finance"),
        "operator of another room": house.viewer("op", "other", "operator"),
        "host of the room": house.viewer("host", "shop", "host"),
        **{role: house.staff[role] for role in ("host", "moderator", "engineer")},
        "guest": bearer(house.tokens.guest("shop").token),
    }
    nowhere = "ord_" + "0" * 26
    for who, headers in strangers.items():
        for method, path in (("GET", ""), ("PATCH", ""), ("POST", "/cancel"), ("POST", "/ship")):
            for more in ("", "/deliver", "/payments") if path == "/ship" else ("",):
                here = f"/v1/orders/{order['id']}{more or path}"
                there = f"/v1/orders/{nowhere}{more or path}"
                keyed = headers | house.key()
                response = await house.client.request(method, here, headers=keyed)
                absent = await house.client.request(method, there, headers=keyed)
                assert await problem(response) == (404, "order_not_found"), (who, here)
                assert await response.read() == await absent.read()
    assert (await house.ask("GET", f"/v1/orders/{order['id']}"))[0] == 401


async def test_a_stream_key_opens_nothing_of_the_shop(house: House) -> None:
    order = await house.buy(await house.sku(sku="cup"))
    headers = bearer(house.stream_key) | house.key() | {"If-Match": "*"}
    for method, path in (
        ("POST", "/v1/orders"),
        ("GET", "/v1/orders"),
        ("GET", f"/v1/orders/{order['id']}"),
        ("PATCH", f"/v1/orders/{order['id']}"),
        ("GET", "/v1/orders/by-key/key-0"),
        ("POST", f"/v1/orders/{order['id']}/payments"),
        ("POST", f"/v1/orders/{order['id']}/cancel"),
        ("POST", f"/v1/orders/{order['id']}/ship"),
        ("POST", f"/v1/orders/{order['id']}/deliver"),
        ("GET", "/v1/contact"),
        ("GET", "/v1/payments/pay_" + "0" * 26),
        ("POST", "/v1/products"),
        ("PATCH", "/v1/products/prd_" + "0" * 26),
        ("PUT", "/v1/skus/cup/price"),
        ("PUT", "/v1/skus/cup/stock"),
        ("GET", "/v1/skus/cup/stock"),
        ("GET", "/v1/skus/cup/adjustments"),
        ("POST", "/v1/images"),
    ):
        assert (await house.ask(method, path, headers, {}))[0] == 401, path


async def test_its_buyer_its_key_and_finance_read_an_order(house: House) -> None:
    sku = await house.sku()
    order = await house.buy(sku, contact=CONTACT, address=ADDRESS)
    path = f"/v1/orders/{order['id']}"
    given = {"contact": CONTACT, "address": ADDRESS}
    for headers in (house.viewer(), house.viewer(room="other"), house.order_key(order["id"])):
        assert await house.ask("GET", path, headers) == (200, order | given)
    bare = {name: value for name, value in order.items() if name != "link"}
    in_room = house.viewer("fin", "shop", "finance")
    for headers in (house.staff["finance"], in_room):
        assert await house.ask("GET", path, headers) == (200, bare)
    for headers in (house.staff["operator"], house.admin):
        assert await house.ask("GET", path, headers) == (200, bare | given)


async def test_a_list_holds_what_the_caller_may_see(house: House) -> None:
    sku = await house.sku()
    await house.buy(sku)
    await house.buy(sku, sub="bob")
    body = lines(sku) | {"room": "other"}
    await house.made("/v1/orders", body, house.admin | house.key())

    async def buyers(headers: Headers, query: str = "") -> list[str]:
        status, listed = await house.ask("GET", f"/v1/orders?{query}", headers)
        assert (status, listed["next"]) == (200, None)
        return sorted(order["buyer"] for order in listed["items"])

    finance, bound = house.staff["finance"], house.viewer("fin", "shop", "finance")
    assert await buyers(finance) == ["ann", "bob", "staff/admin"]
    assert await buyers(finance, "room=shop") == ["ann", "bob"]
    assert await buyers(finance, "buyer=bob&state=reserved") == ["bob"]
    assert await buyers(finance, "state=confirmed") == []
    assert await buyers(bound) == ["ann", "bob"]
    assert await buyers(bound, "room=other") == []
    for headers in (house.viewer(), house.viewer(role="host")):
        assert await buyers(headers) == await buyers(headers, "buyer=ann") == ["ann"]
        assert await buyers(headers, "room=other") == await buyers(headers, "buyer=bob") == []
    assert await buyers(house.staff["host"]) == []
    _, listed = await house.ask("GET", "/v1/orders", finance)
    assert not any("link" in order or "contact" in order for order in listed["items"])
    for query, status in (("state=paid", 422), ("cursor=x", 422), ("limit=a", 400), ("by=x", 400)):
        assert (await house.ask("GET", f"/v1/orders?{query}", finance))[0] == status
    assert (await house.ask("GET", "/v1/orders"))[0] == 401


async def test_a_list_goes_on_where_its_cursor_stands(house: House) -> None:
    sku = await house.sku()
    made = []
    for _ in range(3):
        made.append((await house.buy(sku))["id"])
        house.clock.pass_s(0.001)
    _, first = await house.ask("GET", "/v1/orders?limit=2", house.viewer())
    _, rest = await house.ask("GET", f"/v1/orders?limit=2&cursor={first['next']}", house.viewer())
    assert [order["id"] for order in first["items"] + rest["items"]] == made[::-1]


async def test_an_order_is_found_by_its_key_by_its_buyer_alone(house: House) -> None:
    body, key = lines(await house.sku()), "a/b c%2F?"
    headers = house.viewer() | house.key(key)
    order = await house.made("/v1/orders", body, headers)
    path = "/v1/orders/by-key/a%2Fb%20c%252F%3F"
    status, found = await house.ask("GET", path, house.viewer())
    assert (status, found["id"], found["link"]) == (200, order["id"], order["link"])
    for headers in (house.viewer("bob"), house.admin):
        response = await house.client.get(path, headers=headers)
        assert await problem(response) == (404, "order_not_found")
    assert (await house.ask("GET", path))[0] == 401
    long = "/v1/orders/by-key/" + "x" * 256
    assert (await house.ask("GET", long, house.viewer()))[0] == 422


async def test_a_buyer_erases_what_it_gave_and_nobody_elses(house: House) -> None:
    sku = await house.sku()
    orders = {}
    for sub in ("ann", "bob"):
        order = await house.paid(sku, sub)
        path = orders[sub] = f"/v1/orders/{order['id']}"
        await house.ask("PATCH", path, house.viewer(sub), {"contact": CONTACT})
    erased = await house.client.delete("/v1/contact", headers=house.viewer("ann"))
    assert (erased.status, await erased.read()) == (204, b"")
    assert (await house.ask("GET", orders["ann"], house.viewer("ann")))[1]["contact"] is None
    assert (await house.ask("GET", orders["bob"], house.viewer("bob")))[1]["contact"] == CONTACT
    assert (await house.client.delete("/v1/contact")).status == 401


async def test_contact_and_address_change_until_it_is_sent_and_are_offered_again(
    house: House,
) -> None:
    nothing = {"contact": None, "address": None}
    assert await house.ask("GET", "/v1/contact", house.viewer()) == (200, nothing)
    order = await house.paid(await house.sku())
    path = f"/v1/orders/{order['id']}"
    _, after = await house.ask("PATCH", path, house.viewer(), {"contact": CONTACT})
    assert (after["contact"], after["address"]) == (CONTACT, None)
    house.clock.pass_s(1)
    headers = house.order_key(order["id"])
    _, after = await house.ask("PATCH", path, headers, {"address": ADDRESS})
    given = {"contact": CONTACT, "address": ADDRESS}
    assert {name: after[name] for name in given} == given
    assert await house.ask("GET", "/v1/contact", house.viewer()) == (200, given)
    assert await house.ask("GET", "/v1/contact", house.viewer("bob")) == (200, nothing)
    assert (await house.ask("GET", "/v1/contact"))[0] == 401
    assert (await house.ask("PATCH", path, house.staff["finance"], given))[0] == 403
    assert (await house.ask("PATCH", path, house.staff["operator"], given))[0] == 200
    for wrong in ({}, {"contact": {"shoe": "44"}}, {"contact": {"name": "x" * 101}}, {"room": "x"}):
        response = await house.client.patch(path, json=wrong, headers=house.viewer())
        assert await problem(response) == (422, "invalid")
    shipped = await house.ask("POST", f"{path}/ship", house.admin | house.key(), {})
    assert shipped[0] == 200
    late = await house.client.patch(path, json=given, headers=house.viewer())
    assert await problem(late) == (409, "illegal_transition")


async def test_a_confirmed_order_is_shipped_and_arrives(house: House) -> None:
    order = await house.paid(await house.sku(5))
    path = f"/v1/orders/{order['id']}"
    operator = house.staff["operator"]
    early = await house.client.post(f"{path}/deliver", headers=operator | house.key())
    body = await early.json()
    assert await problem(early) == (409, "illegal_transition")
    assert (body["table"], body["from"], body["to"]) == ("fulfilment", "none", "delivered")
    keyed = operator | house.key("ship")
    status, shipped = await house.ask("POST", f"{path}/ship", keyed, {"tracking": "SF 1"})
    assert (status, shipped["fulfilment"], shipped["tracking"]) == (200, "shipped", "SF 1")
    assert "link" not in shipped
    again = await house.client.post(f"{path}/ship", json={"tracking": "SF 1"}, headers=keyed)
    assert (await again.json(), again.headers["Idempotent-Replayed"]) == (shipped, "true")
    missing = await house.client.post(f"{path}/deliver", headers=operator)
    assert await problem(missing) == (400, "idempotency_key_missing")
    status, done = await house.ask("POST", f"{path}/deliver", operator | house.key())
    assert (status, done["state"], done["fulfilment"]) == (200, "completed", "delivered")
    for headers in (house.viewer(), house.order_key(order["id"]), house.staff["finance"]):
        for act in ("ship", "deliver"):
            assert (await house.ask("POST", f"{path}/{act}", headers | house.key()))[0] == 403
    entry = (await house.audit.page())[0][0]
    assert (entry.by, entry.act, entry.target["order"]) == (
        "key:operator",
        "orders.ship",
        order["id"],
    )


async def test_an_order_is_cancelled_by_its_buyer_its_key_or_staff(house: House) -> None:
    sku = await house.sku(5)
    for headers in (house.viewer(), house.staff["operator"], None):
        order = await house.buy(sku)
        path = f"/v1/orders/{order['id']}/cancel"
        headers = headers or house.order_key(order["id"])
        keyed = headers | house.key("cancel " + order["id"])
        assert (await house.ask("POST", path, house.staff["finance"] | house.key()))[0] == 403
        status, cancelled = await house.ask("POST", path, keyed)
        assert (status, cancelled["state"], cancelled["expires_at"]) == (200, "cancelled", None)
        again = await house.client.post(path, headers=keyed)
        assert (await again.json(), again.headers["Idempotent-Replayed"]) == (cancelled, "true")
        twice = await house.client.post(path, headers=headers | house.key())
        assert await problem(twice) == (409, "illegal_transition")
    _, stock = await house.ask("GET", f"/v1/skus/{sku}/stock", house.admin)
    assert stock["available"] == 5


async def test_a_buyers_key_is_the_same_however_he_comes(house: House) -> None:
    order = await house.buy(await house.sku())
    path, key = f"/v1/orders/{order['id']}/cancel", house.key("mine")
    await house.ask("POST", path, house.viewer() | key)
    again = await house.client.post(path, headers=house.order_key(order["id"]) | key)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (200, "true")


async def test_a_reservation_ends_by_itself(tmp_path: Path) -> None:
    async with open_house(tmp_path, limits=Limits(reservation_s=60)) as house:
        order = await house.buy(await house.sku())
        house.clock.pass_s(61)
        _, read = await house.ask("GET", f"/v1/orders/{order['id']}", house.viewer())
        assert (read["state"], read["expires_at"]) == ("expired", None)
        response = await house.client.post(
            f"/v1/orders/{order['id']}/payments",
            json=APPROVED,
            headers=house.viewer() | house.key(),
        )
        assert await problem(response) == (409, "illegal_transition")


HURTFUL = {
    "deep": b"[" * 30_000,
    "deep in a member": b'{"lines":' + b'{"a":' * 10_000,
    "huge number": b'{"lines":[{"sku":"a","qty":' + b"9" * 60_000 + b"}]}",
    "large number": b'{"lines":[{"sku":"cup","qty":1e308}]}',
    "no number": b'{"lines":[{"sku":"cup","qty":NaN}]}',
    "a member twice": b'{"title":"a","title":"b","lines":[],"lines":[{"sku":"cup","qty":1}]}',
    "no UTF-8": b'{"room":"\xff\xfe"}',
    "NUL": b'{"room":"\\u0000","title":"\\u0000","lines":[{"sku":"\\u0000","qty":1}]}',
    "half a surrogate": b'{"room":"\\ud800","title":"\\ud800","lines":[{"sku":"cup","qty":1}]}',
    "a list": b"[]",
    "a word": b"true",
    "nothing": b"",
    "names of ours": b'{"model_extra":{},"model_config":1,"__class__":"x","self":1}',
    "too long": b'{"room":"' + b"x" * 70_000 + b'"}',
}


@pytest.mark.parametrize("body", HURTFUL.values(), ids=HURTFUL)
async def test_a_body_made_to_hurt_is_refused(house: House, body: bytes) -> None:
    await house.sku(sku="cup")
    order = f"/v1/orders/{(await house.buy('cup'))['id']}"
    for method, path, caller in (
        ("POST", "/v1/orders", house.viewer()),
        ("PATCH", order, house.viewer()),
        ("POST", "/v1/quotes", {}),
        ("POST", "/v1/products", house.admin),
        ("PUT", "/v1/skus/cup/stock", house.admin),
        ("PUT", "/v1/skus/cup/price", house.admin),
        ("POST", f"{order}/ship", house.admin),
        ("POST", f"{order}/payments", house.viewer()),
    ):
        headers = caller | house.key() | {"If-Match": "*"}
        response = await house.client.request(method, path, data=body, headers=headers)
        begun = body == b"" and path.endswith("payments")  # an empty body is an empty object
        assert response.status == 201 if begun else 400 <= response.status < 500, path


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
LINE = st.fixed_dictionaries({}, optional={"sku": st.just("cup") | JSON, "qty": JSON})
ORDER = st.fixed_dictionaries(
    {},
    optional={
        "room": st.sampled_from(["shop", "other"]) | JSON,
        "lines": st.lists(LINE, max_size=3) | JSON,
        "price_version": JSON,
        "contact": st.dictionaries(st.sampled_from(["name", "email", "x"]), JSON) | JSON,
        "address": JSON,
        "referral": JSON,
    },
)
PRICE = st.fixed_dictionaries({}, optional={"amount": JSON, "currency": st.just("CNY") | JSON})
SKU = st.fixed_dictionaries(
    {},
    optional={"price": PRICE, "stock": JSON, "sku": JSON, "options": JSON, "per_buyer": JSON},
)
PRODUCT = st.fixed_dictionaries(
    {},
    optional={"title": JSON, "skus": st.lists(SKU, max_size=3) | JSON, "image": JSON, "x": JSON},
)


async def tried(house: House, path: str, bodies: list[Mapping[str, Any] | bytes]) -> None:
    for body in bodies:
        headers = house.viewer() if path == "/v1/orders" else house.admin
        given = {"data": body} if isinstance(body, bytes) else {"json": body}
        headers = headers | house.key()
        response = await house.client.post(path, headers=headers, **given)
        assert response.status in (201, 400, 403, 404, 409, 413, 422), (path, body)
        if response.status != 201:
            assert response.content_type == "application/problem+json"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    orders=st.lists(ORDER | st.binary(max_size=60), min_size=3, max_size=3),
    products=st.lists(PRODUCT | st.binary(max_size=60), min_size=3, max_size=3),
)
def test_no_body_is_a_mistake_of_ours(
    tmp_path_factory: pytest.TempPathFactory,
    orders: list[Mapping[str, Any] | bytes],
    products: list[Mapping[str, Any] | bytes],
) -> None:
    async def run() -> None:
        async with open_house(tmp_path_factory.mktemp("shop")) as house:
            await house.sku(1000, sku="cup")
            await tried(house, "/v1/orders", orders)
            await tried(house, "/v1/products", products)

    asyncio.run(run())
