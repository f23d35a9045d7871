"""The API's description: valid, complete, true to the handlers; and how it is served."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, Field

import mediaserver.api
from mediaserver.api.event_documents import Event
from mediaserver.api.health import Alive, HealthApi, Ready
from mediaserver.api.openapi.document import document
from mediaserver.api.openapi.handler import PATH, OpenApi
from mediaserver.api.openapi.routes import Undescribed
from mediaserver.api.openapi.schemas import Problem
from mediaserver.api.operation import PUBLIC, STREAM_KEY, VIEWER, WATCHER, operation, operation_of
from mediaserver.api.pages import Pages, PublishInfo
from mediaserver.api.pagination import PageQuery
from mediaserver.api.staff import StaffApi
from overlay import events
from tests.e2e.server import ADMIN, Server, running

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("get", "post", "put", "patch", "delete")


def parts() -> Iterator[type[Any]]:
    """Every class of the API that has routes, but the one that is put together of others."""
    for found in pkgutil.walk_packages(mediaserver.api.__path__, "mediaserver.api."):
        for each in vars(importlib.import_module(found.name)).values():
            ours = isinstance(each, type) and each.__module__ == found.name
            if ours and hasattr(each, "routes") and each is not StaffApi:
                yield each


def whole() -> web.Application:
    """All routes of the API. No handler is called, so none of them needs what it works with."""
    app = web.Application()
    for part in parts():
        app.add_routes(part.__new__(part).routes())
    return app


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document(whole(), version="1.2.3")


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method in METHODS:
            if method in methods:
                yield method, path, methods[method]


class Lamp(BaseModel):
    """Something that shines."""

    name: Annotated[str, Field(min_length=3)]
    watts: Annotated[int, Field(ge=5)]
    shade: Shade | None = None


class Shade(BaseModel):
    colours: list[str]


class LampQuery(PageQuery):
    colour: Annotated[str | None, Field(description="of the shade")] = None


async def put_lamp(request: web.Request) -> web.Response:
    return web.Response(status=204)


def app_of(method: str, path: str, **members: Any) -> web.Application:
    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_route(method, path, operation("Do", "lamps", **members)(handler))
    return app


def one(method: str, path: str, **members: Any) -> dict[str, Any]:
    made = document(app_of(method, path, **members), version="1")
    said: dict[str, Any] = made["paths"][path][method.lower()]
    return said


# -- the whole API --------------------------------------------------------------------------------


def test_the_document_is_openapi_3_1(described: dict[str, Any]) -> None:
    assert described["openapi"] == "3.1.0" and described["info"]["version"] == "1.2.3"
    wrong = OpenAPIV31SpecValidator(described).iter_errors()
    assert [(list(each.absolute_path), each.message) for each in wrong] == []


def test_every_route_of_the_api_is_described_and_no_page(described: dict[str, Any]) -> None:
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in whole().router.routes()
        if route.resource is not None and route.method not in ("HEAD", "OPTIONS")
    }
    told = {(method, path) for method, path, _ in operations(described)}
    assert told <= served
    left_out = {path for _, path in served - told}
    assert {"/", "/docs", "/watch/{room}", "/static/{path}"} <= left_out
    assert not [path for path in left_out if path.startswith(("/v1", "/whip", "/whep", "/hls"))]


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(described)))
    assert "#/components/schemas/Problem" in references
    for reference in references:
        place: Any = described
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert isinstance(place, dict)


def test_every_schema_is_named_by_somebody(described: dict[str, Any]) -> None:
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert references == set(described["components"]["schemas"])


def test_operation_ids_are_made_of_method_and_path_and_are_unique(
    described: dict[str, Any],
) -> None:
    ids = {(method, path): said["operationId"] for method, path, said in operations(described)}
    assert len(set(ids.values())) == len(ids) > 20
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9_]*", id) for id in ids.values())
    assert ids["post", "/whip"] == "post_whip"
    assert ids["get", "/v1/rooms/{room}/publish-info"] == "get_rooms_room_publish_info"
    assert ids["get", "/v1/openapi.json"] == "get_openapi_json"


def test_every_example_is_taken_by_the_model_of_its_handler(described: dict[str, Any]) -> None:
    tried = 0
    for route in whole().router.routes():
        said = operation_of(route)
        if said is None or not isinstance(said.body, type) or route.resource is None:
            continue
        told = described["paths"][route.resource.canonical][route.method.lower()]["requestBody"]
        example = told["content"]["application/json"]["example"]
        said.body.model_validate_json(json.dumps(example))
        tried += 1
    assert tried > 3


def test_every_parameter_of_a_path_is_there_and_said_in_words(described: dict[str, Any]) -> None:
    for _, path, said in operations(described):
        told = {each["name"]: each for each in said["parameters"] if each["in"] == "path"}
        assert list(told) == re.findall(r"{(\w+)}", path)
        for name, each in told.items():
            assert each["required"] and each["description"] != name, (path, name)


def test_every_tag_is_listed_and_every_operation_has_a_summary(described: dict[str, Any]) -> None:
    tags = [tag["name"] for tag in described["tags"]]
    assert len(set(tags)) == len(tags)
    for _, path, said in operations(described):
        assert said["tags"][0] in tags and said["summary"], path


def test_the_problem_lists_every_code(described: dict[str, Any]) -> None:
    listed = described["components"]["schemas"]["Problem"]["properties"]["code"]["description"]
    for _, _, said in operations(described):
        for reply in said["responses"].values():
            assert all(f"`{code}`" in listed for code in reply.get("x-codes", ()))


def test_the_events_are_told_with_their_envelope(described: dict[str, Any]) -> None:
    said = described["paths"]["/v1/rooms/{room}/events"]["get"]
    for type in ("hello", "card.pinned", "stock.changed", "order.updated", "reply", "error"):
        assert f"`{type}`" in said["description"]
    for act in ("buy", "pay", "chat.send", "resume"):
        assert f"- `{act}`: " in said["description"]
    assert set(said["responses"]) >= {"101", "401", "403", "404", "426", "429"}
    envelope = described["components"]["schemas"]["Event"]
    assert set(envelope["properties"]) == {"v", "seq", "sseq", "t", "id", "ts", "mt", "d"}
    assert set(envelope["required"]) == {"v", "seq", "t", "id", "ts", "mt", "d"}


# -- what is said of one handler ------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/lamps", "/whip/more", "/healthz", "/hls/{room}/x"])
def test_a_route_that_nothing_is_said_of_is_refused(path: str) -> None:
    app = web.Application()
    app.router.add_put(path, put_lamp)
    with pytest.raises(Undescribed, match=re.escape(f"PUT {path}")):
        document(app, version="1")


def test_an_auth_that_is_neither_a_kind_nor_an_act_is_refused() -> None:
    with pytest.raises(Undescribed, match="GET /v1/lamps: somebody"):
        one("GET", "/v1/lamps", auth="somebody")


def test_preflight_and_pages_are_left_out() -> None:
    app = app_of("GET", "/v1/lamps")
    app.router.add_options("/v1/lamps", put_lamp)
    app.router.add_get("/lamps", put_lamp)
    app.router.add_get("/healthzz", put_lamp)
    described = document(app, version="1")
    assert set(described["paths"]) == {"/v1/lamps", PATH}
    assert set(described["paths"]["/v1/lamps"]) == {"get"}


def test_the_document_has_its_own_route_before_and_after_it_is_served() -> None:
    app = app_of("GET", "/v1/lamps")
    before = document(app, version="1")
    app.add_routes(OpenApi(before).routes())
    assert document(app, version="1") == before
    assert before["paths"][PATH]["get"]["operationId"] == "get_openapi_json"


@pytest.mark.parametrize(
    ("method", "auth", "security"),
    [
        ("POST", PUBLIC, []),
        ("POST", STREAM_KEY, [{"stream_key": []}]),
        ("GET", WATCHER, [{}, {"bearer": []}]),
        ("GET", VIEWER, [{"bearer": []}, {"session": []}]),
        ("POST", VIEWER, [{"bearer": []}, {"session": [], "csrf": []}]),
        ("GET", "lamps.read", [{"bearer": ["lamps.read"]}, {"session": ["lamps.read"]}]),
        (
            "DELETE",
            "lamps.write",
            [{"bearer": ["lamps.write"]}, {"session": ["lamps.write"], "csrf": []}],
        ),
    ],
)
def test_auth_becomes_the_credentials_that_do(
    method: str, auth: str, security: list[dict[str, list[str]]]
) -> None:
    said = one(method, "/v1/lamps", auth=auth)
    assert said["security"] == security and said["x-auth"] == auth
    codes = said["responses"].get("403", {}).get("x-codes", [])
    assert ("csrf" in codes) == any("csrf" in each for each in security)


def test_a_body_is_a_schema_with_an_example_and_the_ways_it_fails() -> None:
    described = document(app_of("POST", "/v1/lamps", body=Lamp, status=201), version="1")
    said = described["paths"]["/v1/lamps"]["post"]
    told = said["requestBody"]["content"]["application/json"]
    assert said["requestBody"]["required"]
    assert told["schema"] == {"$ref": "#/components/schemas/Lamp"}
    assert told["example"] == {"name": "alice", "watts": 5}
    schemas = described["components"]["schemas"]
    assert schemas["Lamp"]["properties"]["watts"] == {"type": "integer", "minimum": 5}
    assert "Shade" in schemas
    assert set(said["responses"]) == {"201", "400", "408", "413", "415", "422", "default"}


def test_a_file_in_a_form_and_plain_text_are_bodies_too() -> None:
    form = one("POST", "/v1/lamps", body="multipart/form-data")["requestBody"]["content"]
    assert form["multipart/form-data"]["schema"]["required"] == ["file"]
    text = one("POST", "/v1/lamps", body="application/sdp", reply="image/jpeg, image/png")
    assert text["requestBody"]["content"] == {"application/sdp": {"schema": {"type": "string"}}}
    assert text["responses"]["200"]["content"] == {"image/jpeg": {}, "image/png": {}}


def test_a_query_becomes_parameters_without_null() -> None:
    told = one("GET", "/v1/lamps", query=LampQuery)
    parameters = {each["name"]: each for each in told["parameters"]}
    assert parameters["colour"] == {
        "name": "colour",
        "in": "query",
        "required": False,
        "description": "of the shade",
        "schema": {"type": "string"},
    }
    assert parameters["limit"]["schema"]["maximum"] == 200
    assert told["responses"]["400"]["x-codes"] == ["bad_query"]


def test_headers_that_are_wanted_bring_their_refusals_and_what_the_answer_carries() -> None:
    said = one(
        "POST",
        "/v1/lamps",
        headers=("Idempotency-Key", "If-Match"),
        reply_headers=("ETag",),
        errors={409: "out_of_stock price_changed", 422: "too_dark"},
    )
    wanted = {each["name"]: each for each in said["parameters"]}
    assert wanted["Idempotency-Key"]["required"] and wanted["If-Match"]["in"] == "header"
    codes = {status: reply.get("x-codes") for status, reply in said["responses"].items()}
    assert codes == {
        "200": None,
        "400": ["idempotency_key_missing"],
        "409": ["out_of_stock", "price_changed"],
        "412": ["stale"],
        "422": ["too_dark", "idempotency_key_reused"],
        "428": ["if_match_missing"],
        "default": None,
    }
    assert set(said["responses"]["200"]["headers"]) == {"ETag", "Idempotent-Replayed"}


# -- what is said is what is sent -----------------------------------------------------------------


@pytest.mark.parametrize("numbers", [{"seq": 7}, {"sseq": 3}, {}])
def test_an_event_as_it_is_sent_is_the_envelope_of_the_document(numbers: dict[str, int]) -> None:
    sent = events.Event("card.pinned", {"id": "crd_1"}, "evt_1", 1000, 250, **numbers)
    read = Event.model_validate_json(events.serialize(sent, "json"))
    assert (read.t, read.mt, read.seq, read.sseq) == ("card.pinned", 250, sent.seq, sent.sseq)
    assert set(read.model_fields_set) <= set(Event.model_fields)


async def works() -> None:
    pass


async def breaks() -> None:
    raise ConnectionError


async def test_health_and_where_to_publish_answer_as_their_models_say() -> None:
    pages = Pages(
        ROOT / "overlay/pages",
        Path("not/installed.js"),
        room_exists=lambda room: asyncio.sleep(0, True),
        rtmp_server=lambda host: f"rtmp://{host}:1935/live",
        srt_server=lambda host: f"srt://{host}:8890",
        https_origin=lambda host: None,
    )
    app = web.Application()
    app.add_routes([*HealthApi({"store": works}).routes(), *pages.routes()])
    async with TestClient(TestServer(app)) as client:
        for path, model in (
            ("/healthz", Alive),
            ("/readyz", Ready),
            ("/v1/rooms/show/publish-info", PublishInfo),
        ):
            sent = await (await client.get(path)).json()
            assert model.model_validate(sent).model_dump() == sent


async def test_a_refusal_is_the_problem_of_the_document() -> None:
    app = web.Application()
    app.add_routes(HealthApi({"store": breaks}).routes())
    async with TestClient(TestServer(app)) as client:
        reply = await client.get("/readyz")
        said = document(app, version="1")["paths"]["/readyz"]["get"]["responses"]["503"]
        assert list(said["content"]) == [reply.content_type]
        sent = Problem.model_validate(await reply.json())
        assert [sent.code] == said["x-codes"] and sent.status == reply.status == 503


class Caller:
    """Calls operations of a running server and holds the answers to what the document says of them."""

    def __init__(self, server: Server, described: dict[str, Any]) -> None:
        self._server = server
        self._described = described
        self.token: str | None = ADMIN
        self.etag = ""
        self.called: set[str] = set()

    async def __call__(
        self, id: str, *names: str, body: object = None, key: str = "", expect: int = 200
    ) -> Any:
        """`names` fill the path; without a `body` the document's example is sent."""
        method, path, said = next(
            each for each in operations(self._described) if each[2]["operationId"] == id
        )
        told = said.get("requestBody", {}).get("content", {}).get("application/json")
        headers = {"Idempotency-Key": key, "If-Match": self.etag}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        async with self._server.http.request(
            method,
            self._server.url + fill(path, names),
            json=body if body is not None or told is None else told["example"],
            headers={name: value for name, value in headers.items() if value},
        ) as reply:
            assert reply.status == expect, await reply.text()
            self.called.add(id)
            self.etag = reply.headers.get("ETag", "")
            return await self._checked(reply, said["responses"][str(expect)])

    async def _checked(self, reply: ClientResponse, told: dict[str, Any]) -> Any:
        if not await reply.read():
            assert "content" not in told
            return None
        schema = told["content"][reply.content_type].get("schema", {})
        if not reply.content_type.endswith("json"):
            return None
        sent = await reply.json(content_type=None)
        whole = {"components": self._described["components"], **schema}
        wrong = Draft202012Validator(whole).iter_errors(sent)
        assert [(list(each.absolute_path), each.message) for each in wrong] == []
        assert reply.status < 400 or sent["code"] in told["x-codes"]
        return sent


def fill(path: str, names: tuple[str, ...]) -> str:
    left = iter(names)
    return re.sub(r"{\w+}", lambda _: next(left), path)


async def test_a_show_from_room_to_delivery_goes_as_the_document_says(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        described = await (await server.http.get(server.url + PATH)).json()
        call = Caller(server, described)
        room = (await call("post_rooms", expect=201))["id"]
        await call("get_rooms_room", room)
        await call("get_rooms")
        await call("patch_rooms_room", room)
        await call("get_rooms_room_ingest", room)
        await call("get_rooms_room_publish_info", room)
        restream = (await call("post_rooms_room_restreams", room, expect=201))["id"]
        await call("get_rooms_room_restreams", room)
        await call("get_rooms_room_restreams_restream", room, restream)
        await call("patch_rooms_room_restreams_restream", room, restream)
        await call("post_rooms_room_restreams_restream_stop", room, restream)
        await call("post_rooms_room_restreams_restream_start", room, restream)
        await call("delete_rooms_room_restreams_restream", room, restream, expect=204)
        article = {"price": {"amount": 1990, "currency": "CNY"}, "stock": 5}
        product = await call("post_products", body={"title": "Tea", "skus": [article]}, expect=201)
        id, sku = product["id"], product["skus"][0]["sku"]
        await call("get_products")
        await call("get_products_product", id)
        await call("patch_products_product", id, body={"title": "Green tea"})
        call.etag = '"0"'
        await call("patch_products_product", id, body={"title": "Tea"}, expect=412)
        await call("patch_products_product", id, body={"title": "Tea"}, expect=428)
        await call("get_skus_sku_price", sku)
        await call("put_skus_sku_price", sku)
        await call("get_skus_sku_stock", sku)
        await call("put_skus_sku_stock", sku, key="count")
        await call("get_skus_sku_adjustments", sku)
        await call("post_rooms_room_bag", room, body={"product_id": id}, expect=201)
        await call("get_rooms_room_bag", room)
        card = await call("post_rooms_room_cards", room, body={"product_id": id}, expect=201)
        await call("get_rooms_room_cards", room)
        await call("delete_rooms_room_cards_card", room, card["id"], expect=204)

        lines = {"lines": [{"sku": sku, "qty": 1}]}
        call.token = (await call("post_viewer_tokens", body={"room": room}, expect=201))["token"]
        await call("post_quotes", body=lines)
        order = (await call("post_orders", body=lines, key="first", expect=201))["id"]
        await call("post_orders", body=lines, expect=400)
        await call("post_orders", body={"lines": [{"sku": sku, "qty": 99}]}, key="b", expect=409)
        await call("get_orders")
        await call("get_orders_order", order)
        await call("get_orders_by_key_key", "first")
        await call("patch_orders_order", order)
        await call("get_contact")
        payment = (await call("post_orders_order_payments", order, body={}, key="p", expect=201))[
            "id"
        ]
        await call("get_payments_payment", payment)
        await call("post_products", expect=403)

        call.token = None
        await call("get_sandbox_payments_payment", payment)
        await call("post_sandbox_payments_payment", payment)
        await call("get_orders_order", order, expect=401)
        await call("post_orders", body=lines, key="c", expect=401)
        call.token = (await call("post_rooms_room_guest_token", room, body={}))["token"]
        await call("get_orders_order", order, expect=404)

        call.token = ADMIN
        async with asyncio.timeout(10):
            while (await call("get_orders_order", order))["payment"] != "paid":
                await asyncio.sleep(0.05)
        await call("post_sandbox_payments_payment_dispute", payment, expect=204)
        async with asyncio.timeout(10):
            while (await call("get_orders_order", order))["payment"] != "disputed":
                await asyncio.sleep(0.05)
        dispute = (await call("get_payments_disputes"))["items"][0]["id"]
        await call("get_payments_disputes_dispute", dispute)
        await call("post_payments_disputes_dispute_evidence", dispute, key="e", expect=201)
        await call("post_orders_order_ship", order, key="s")
        await call("post_orders_order_deliver", order, key="d")
        await call("post_orders_order_cancel", order, key="x", expect=409)
        await call("delete_rooms_room_bag_product_id", room, id, expect=204)
        assert len(call.called) > 35


async def test_prices_are_made_and_claimed_as_the_document_says(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        described = await (await server.http.get(server.url + PATH)).json()
        call = Caller(server, described)
        room = (await call("post_rooms", expect=201))["id"]
        article = {"price": {"amount": 1990, "currency": "CNY"}, "stock": 5}
        product = await call("post_products", body={"title": "Tea", "skus": [article]}, expect=201)
        sku = product["skus"][0]["sku"]
        promotion = (await call("post_promotions", expect=201))["id"]
        await call("get_promotions")
        await call("get_promotions_promotion", promotion)
        ends_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        low = {"amount": 990, "currency": "CNY"}
        body = {"sku": sku, "price": low, "quota": 3, "ends_at": ends_at}
        sale = await call("post_rooms_room_flash_sales", room, body=body, expect=201)
        await call("get_rooms_room_flash_sales", room)
        await call("get_rooms_room_flash_sales_sale", room, sale["id"])
        coupon = (await call("post_coupons", expect=201))["id"]
        await call("get_coupons")
        drop = {"coupon": coupon}
        await call("post_rooms_room_coupon_drops", room, body=drop, expect=201)
        staff = call.token
        call.token = (await call("post_viewer_tokens", body={"room": room}, expect=201))["token"]
        await call("post_coupons_coupon_claims", coupon, body={}, key="c", expect=201)
        await call("post_coupons_coupon_claims", coupon, body={}, key="d", expect=409)
        await call("get_coupon_claims")
        await call("get_coupons_coupon", coupon)
        lines = {"lines": [{"sku": sku, "qty": 1}], "coupons": [coupon]}
        quote = await call("post_quotes", body=lines)
        lines["price_version"] = quote["price_version"]
        order = await call("post_orders", body=lines, key="o", expect=201)
        assert order["total"] == quote["total"] and order["coupons"] == [coupon]
        call.token = staff
        await call("post_rooms_room_flash_sales_sale_end", room, sale["id"])
        await call("post_promotions_promotion_end", promotion)
        await call("post_coupons_coupon_end", coupon)


async def test_the_staff_works_as_the_document_says(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        described = await (await server.http.get(server.url + PATH)).json()
        call = Caller(server, described)
        name = (await call("post_staff", expect=201))["name"]
        await call("get_staff")
        await call("post_login")
        await call("get_me")
        await call("get_permissions")
        await call("patch_staff_name", name, body={"role": "host"})
        key = await call("post_api_keys", expect=201)
        await call("get_api_keys")
        await call("delete_api_keys_id", key["id"], expect=204)
        await call("delete_staff_name", name, expect=204)
        await call("get_audit")
        for id in ("get_healthz", "get_readyz", "get_metrics", "get_openapi_json"):
            await call(id)
        call.token = "nobody's"
        await call("get_audit", expect=401)


# -- served ---------------------------------------------------------------------------------------


async def test_it_is_served_as_it_is_and_kept_by_its_etag() -> None:
    made = document(app_of("GET", "/v1/lamps"), version="1")
    app = web.Application()
    app.add_routes(OpenApi(made).routes())
    async with TestClient(TestServer(app), auto_decompress=False) as client:
        plain = await client.get(PATH, headers={"Accept-Encoding": "identity"})
        assert plain.content_type == "application/json" and await plain.json() == made
        assert plain.headers["Access-Control-Allow-Origin"] == "*"
        zipped = await client.get(PATH, headers={"Accept-Encoding": "gzip"})
        assert zipped.headers["Content-Encoding"] == "gzip"
        assert json.loads(gzip.decompress(await zipped.read())) == made
        assert zipped.headers["ETag"] != plain.headers["ETag"]
        for reply in (plain, zipped):
            assert reply.headers["Vary"] == "Accept-Encoding"
            held = {
                "If-None-Match": reply.headers["ETag"],
                "Accept-Encoding": reply.headers.get("Content-Encoding", "identity"),
            }
            again = await client.get(PATH, headers=held)
            assert again.status == 304 and await again.read() == b""
            assert again.headers["ETag"] == reply.headers["ETag"]
