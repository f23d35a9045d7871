"""Errors over HTTP, as a real client of a real server sees them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientPayloadError, ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from mediaserver.api.access_log import AccessLogger
from mediaserver.api.problem import JSON_BYTES, install, problem, read_json
from mediaserver.errors import NotLive, PeerError, TooMany, Unauthorized
from overlay.errors import RoomNotFound

Client = TestClient[web.Request, web.Application]
SECRET_IN_A_BUG = "stream key abc123"


class Line(BaseModel):
    model_config = ConfigDict(strict=True)

    sku: str
    qty: int


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    lines: list[Line]
    note: str = ""


async def refuse(request: web.Request) -> web.Response:
    refusals: dict[str, Exception] = {
        "not-live": NotLive("the room is not live", headers={"Retry-After": "5"}),
        "own-code": PeerError("no B-frames here", code="b_frames"),
        "overlay": RoomNotFound("there is no such room"),
        "too-many": TooMany("slowly", headers={"Retry-After": "7"}),
        "unauthorized": Unauthorized("no", headers={"WWW-Authenticate": "Bearer"}),
        "bug": RuntimeError(SECRET_IN_A_BUG),
        "time-out": TimeoutError(),
        "connection": ConnectionError("the store went away"),
    }
    raise refusals[request.match_info["which"]]


async def order(request: web.Request) -> web.Response:
    wanted = await read_json(request, Order)
    return web.json_response(wanted.model_dump())


async def hasty(request: web.Request) -> web.Response:
    return web.json_response((await read_json(request, Order, within_s=0.05)).model_dump())


async def optional(request: web.Request) -> web.Response:
    class Nothing(BaseModel):
        token: str | None = None

    return web.json_response((await read_json(request, Nothing)).model_dump())


async def halfway(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"half")
    raise RuntimeError("too late to say so")


async def redirect(request: web.Request) -> web.Response:
    raise web.HTTPFound("/page")


async def page(request: web.Request) -> web.Response:
    policy = {"Content-Security-Policy": "default-src 'self'"}
    return web.Response(text="<p>hello", content_type="text/html", headers=policy)


async def read_all(request: web.Request) -> web.Response:
    await request.read()
    return web.Response()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application(client_max_size=1000)
    install(app)
    app.add_routes(
        [
            web.get("/refuse/{which}", refuse),
            web.post("/orders", order),
            web.post("/hasty", hasty),
            web.post("/optional", optional),
            web.get("/halfway", halfway),
            web.get("/redirect", redirect),
            web.get("/page", page),
            web.post("/read", read_all),
        ]
    )
    server = TestServer(app)
    await server.start_server(access_log_class=AccessLogger)
    async with TestClient(server) as client:
        yield client


async def members(response: ClientResponse) -> dict[str, object]:
    """The problem's members, after checking that it is a whole one."""
    assert response.content_type == "application/problem+json"
    body: dict[str, object] = await response.json()
    assert body["status"] == response.status
    assert body["type"] == f"urn:hawker:problem:{body['code']}"
    assert isinstance(body["title"], str) and isinstance(body["detail"], str)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    return body


async def test_a_peer_error_becomes_a_problem_with_its_members(client: Client) -> None:
    response = await client.get("/refuse/not-live")
    assert await members(response) == {
        "type": "urn:hawker:problem:not_live",
        "title": "Not live",
        "status": 409,
        "detail": "the room is not live",
        "code": "not_live",
    }
    assert response.headers["Retry-After"] == "5"


@pytest.mark.parametrize(
    ("which", "status", "code", "header"),
    [
        ("own-code", 400, "b_frames", None),
        ("overlay", 404, "room_not_found", None),
        ("too-many", 429, "too_many", ("Retry-After", "7")),
        ("unauthorized", 401, "unauthorized", ("WWW-Authenticate", "Bearer")),
    ],
)
async def test_every_family_of_refusals_is_answered_alike(
    client: Client, which: str, status: int, code: str, header: tuple[str, str] | None
) -> None:
    response = await client.get(f"/refuse/{which}")
    assert response.status == status
    assert (await members(response))["code"] == code
    if header is not None:
        assert response.headers[header[0]] == header[1]
    assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("which", ["bug", "time-out", "connection"])
async def test_a_bug_is_logged_once_and_tells_the_client_nothing(
    client: Client, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    response = await client.get(f"/refuse/{which}?token=a-viewers-token")
    body = await members(response)
    assert (response.status, body["code"]) == (500, "internal_error")
    assert SECRET_IN_A_BUG not in await response.text()
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in errors] == ["GET /refuse/{which} failed"]
    assert errors[0].exc_info is not None
    assert "a-viewers-token" not in caplog.text


async def test_aiohttps_own_refusals_are_problems(client: Client) -> None:
    missing = await client.get("/nothing/here")
    assert (missing.status, (await members(missing))["code"]) == (404, "not_found")
    method = await client.delete("/orders")
    assert (method.status, (await members(method))["code"]) == (405, "method_not_allowed")
    assert method.headers["Allow"] == "POST"
    large = await client.post("/read", data=b"x" * 2000)
    assert (large.status, (await members(large))["code"]) == (413, "too_large")


async def test_a_redirect_stays_one(client: Client) -> None:
    response = await client.get("/redirect", allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (302, "/page")


async def test_good_json_is_read(client: Client) -> None:
    sent = {"lines": [{"sku": "红", "qty": 2}], "note": "x"}
    response = await client.post("/orders", json=sent)
    assert await response.json() == sent


async def test_an_empty_body_is_an_empty_object(client: Client) -> None:
    assert await (await client.post("/optional")).json() == {"token": None}
    refused = await client.post("/orders")
    assert (await members(refused))["errors"] == [{"field": "lines", "detail": "Field required"}]


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe", b"lines=1", b"[" * 5000, b'{"lines": [], "note": "\\ud800"}', b"\0"]
)
async def test_what_is_not_json_is_400(client: Client, body: bytes) -> None:
    response = await client.post("/orders", data=body)
    assert (response.status, (await members(response))["code"]) == (400, "bad_json")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"lines": [{"sku": "a", "qty": "2"}]}, "lines.0.qty"),
        ({"lines": [{"qty": 2}]}, "lines.0.sku"),
        ({"lines": [], "nte": "x"}, "nte"),
        ({"lines": [], "x" * 1000: 1}, "x" * 100),
        ([], "body"),
        ("text", "body"),
    ],
)
async def test_json_of_another_form_is_422_and_names_the_field(
    client: Client, body: object, field: str
) -> None:
    response = await client.post("/orders", json=body)
    problem = await members(response)
    assert (response.status, problem["code"]) == (422, "invalid")
    assert isinstance(problem["errors"], list)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert field in str(problem["detail"])


async def test_a_body_over_the_limit_is_413(client: Client) -> None:
    fits = json.dumps({"lines": [], "note": ""})
    fits = fits[:-2] + "x" * (JSON_BYTES - len(fits)) + fits[-2:]
    assert (await client.post("/orders", data=fits)).status == 200
    response = await client.post("/orders", data=fits + " ")
    assert (response.status, (await members(response))["code"]) == (413, "too_large")


async def test_a_failure_halfway_breaks_the_answer_off(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.get("/halfway")
    with pytest.raises(ClientPayloadError):
        await response.read()
    assert "too late to say so" in caplog.text
    assert (await client.get("/page")).status == 200


async def test_a_page_keeps_the_policy_its_handler_gave(client: Client) -> None:
    response = await client.get("/page")
    assert response.headers["Content-Security-Policy"] == "default-src 'self'"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    json = await client.post("/optional")
    assert "default-src 'none'" in json.headers["Content-Security-Policy"]


async def test_the_access_log_names_the_route_and_nothing_of_the_callers(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aiohttp.access")
    await client.get("/refuse/overlay?token=a-viewers-token")
    await client.get("/no/such/%1b[31mpath")
    lines = [record.getMessage() for record in caplog.records if record.name == "aiohttp.access"]
    assert len(lines) == 2
    assert lines[0].startswith("GET /refuse/{which} 404 ")
    assert lines[1].startswith("GET no route 404 ")
    assert "a-viewers-token" not in caplog.text


async def test_the_access_log_is_for_debugging_only(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiohttp.access")
    await client.get("/page")
    assert not [record for record in caplog.records if record.name == "aiohttp.access"]


@given(st.text(), st.text(), st.text())
def test_any_words_make_a_problem(code: str, title: str, detail: str) -> None:
    response = problem(400, code, title, detail)
    assert isinstance(response.body, bytes)
    assert json.loads(response.body)["detail"] == detail


async def test_who_sends_its_body_slowly_is_told_so(client: Client) -> None:
    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"lines": '
        await never.wait()

    response = await client.post("/hasty", data=body())
    assert (response.status, (await members(response))["code"]) == (408, "too_slow")
    response.close()


async def test_a_client_that_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    asked, left, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        asked.set()
        await left.wait()
        try:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"x" * 65536)
        finally:
            done.set()

    app = web.Application()
    install(app)
    app.add_routes([web.get("/wait", wait)])
    async with TestServer(app) as server:
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asked.wait()
        writer.transport.abort()
        left.set()
        await done.wait()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
