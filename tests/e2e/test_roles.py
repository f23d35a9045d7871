"""Who may see and do what on the running server: strangers, leaked stream keys, malformed events."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.buyers import Buyer, OverHttp
from tests.e2e.server import ADMIN, Server, program, rtmp, running

ROLES = ("host", "operator", "moderator", "finance", "engineer")
SEE_ORDERS = {"operator", "finance"}
WANTED = [{"sku": "cup", "qty": 1}]
METHODS = ("get", "post", "put", "patch", "delete")
EXAMPLE_ID = "01h455vb4pex5vsknk084sn02q"


async def ask(
    server: Server, method: str, path: str, token: str | None, body: Any = None
) -> tuple[int, str]:
    """(status, code) of an answer; the code is empty where it is no problem."""
    headers = {"Idempotency-Key": "any", "If-Match": '"1"'}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with server.http.request(method, server.url + path, json=body, headers=headers) as reply:
        if reply.content_type != "application/problem+json":
            return reply.status, ""
        return reply.status, (await reply.json(content_type=None))["code"]


async def bought(server: Server, sub: str) -> tuple[dict[str, Any], str]:
    token = await server.viewer(sub)
    answer = await Buyer(sub, OverHttp(), token, WANTED).buy(lambda: server)
    assert answer.order is not None
    return dict(answer.order), token


async def test_somebody_elses_order_does_not_exist_in_any_role_that_may_not_see_it(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        await server.product("Cup", "cup", stock=9)
        order, token = await bought(server, "ana")
        other, stranger = await bought(server, "ben")
        path = f"/v1/orders/{order['id']}"
        guest = (await server.api("POST", "/v1/rooms/show/guest-token", {}))["token"]
        other_order = other["link"].partition("#key=")[2]
        acts = (("POST", "/cancel"), ("POST", "/payments"), ("PATCH", ""))
        for who in (stranger, guest, other_order):
            assert await ask(server, "GET", path, who) == (404, "order_not_found")
            for method, act in acts:
                body = {"contact": {"name": "Eve"}} if method == "PATCH" else {}
                assert await ask(server, method, path + act, who, body) == (404, "order_not_found")
        for role in ROLES:
            staff = await server.viewer(f"staff-{role}", role=role)
            made = await server.api("POST", "/v1/api-keys", {"label": role, "role": role})
            for who in (staff, made["key"]):
                seen = await ask(server, "GET", path, who)
                assert seen == ((200, "") if role in SEE_ORDERS else (404, "order_not_found")), role
        for who in (None, key):
            assert (await ask(server, "GET", path, who))[0] == 401
        for who in (token, order["link"].partition("#key=")[2]):
            assert await ask(server, "GET", path, who) == (200, "")
        elsewhere = f"{path[:-1]}{'0' if path[-1] != '0' else '1'}"
        assert await ask(server, "GET", elsewhere, token) == (404, "order_not_found")


async def test_a_leaked_stream_key_opens_nothing_that_is_not_open_to_all(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        async with server.http.get(f"{server.url}/v1/openapi.json") as reply:
            document = await reply.json()
        tried = 0
        for path, operations in document["paths"].items():
            for method in METHODS:
                operation = operations.get(method)
                if operation is None or not operation.get("security") or path.startswith("/whip"):
                    continue
                if {} in operation["security"]:
                    continue  # open to all: a key is not asked for
                tried += 1
                filled = path.replace("{room}", "show")
                filled = re.sub(r"\{\w+\}", f"ord_{EXAMPLE_ID}", filled)
                status, _ = await ask(server, method.upper(), filled, key, {})
                assert status == 401, (method, path, status)
        assert tried > 25


async def test_malformed_events_get_the_errors_of_the_contract(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        await server.room()
        await server.product("Cup", "cup", stock=1)
        token = await server.viewer("ana")
        url = f"{server.url}/v1/rooms/show/events"
        async with server.http.ws_connect(url, params={"token": token}) as socket:
            expected: list[tuple[Any, str]] = [
                ({"rid": 1, "t": "nonsense"}, "unknown_type"),
                ({"rid": 2, "t": "buy", "d": {"lines": WANTED}}, "idempotency_key_missing"),
                ({"rid": 3, "t": "buy", "d": {"key": "k", "lines": []}}, "invalid"),
                (
                    {"rid": 4, "t": "buy", "d": {"key": "k", "lines": WANTED, "room": "x"}},
                    "wrong_room",
                ),
                ({"rid": 5, "t": "pay", "d": {"key": "k", "order": "ord_x"}}, "order_not_found"),
                ({"rid": 6, "t": "chat.send", "d": {"text": "x" * 201}}, "invalid"),
                ({"rid": 7, "t": "buy", "d": {"key": "k" * 17000}}, "bad_message"),
                ("not json", "bad_message"),
            ]
            for message, code in expected:
                await (
                    socket.send_str(message)
                    if isinstance(message, str)
                    else socket.send_json(message)
                )
                error = await _error(socket)
                assert error["code"] == code, (message, error)
                assert error["detail"]
            for _ in range(3):  # with the two above: five in a row
                await socket.send_str("{")
                assert (await _error(socket))["code"] == "bad_message"
            while (last := await socket.receive()).type == aiohttp.WSMsgType.TEXT:
                pass
            assert (last.type, last.data) == (aiohttp.WSMsgType.CLOSE, 1008)


async def _error(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    while (event := await socket.receive_json())["t"] not in ("error", "reply"):
        pass
    assert event["t"] == "error", event
    return dict(event["d"])


@pytest.mark.parametrize("role", ROLES)
async def test_the_permission_table_is_what_the_server_does(tmp_path: Path, role: str) -> None:
    tries = {
        "rooms.write": ("POST", "/v1/rooms", {}),
        "products.write": ("POST", "/v1/products", {}),
        "stock.read": ("GET", "/v1/skus/cup/stock", None),
        "stock.adjust": ("PUT", "/v1/skus/cup/stock", {}),
        "cards.pin": ("POST", "/v1/rooms/show/cards", {}),
        "bag.write": ("POST", "/v1/rooms/show/bag", {}),
        "audit.read": ("GET", "/v1/audit", None),
        "staff.manage": ("GET", "/v1/staff", None),
        "viewer_tokens.issue": ("POST", "/v1/viewer-tokens", {}),
        "rooms.inspect": ("GET", "/v1/rooms/show/ingest", None),
    }
    async with running(tmp_path) as server:
        await server.room()
        await server.product("Cup", "cup", stock=1)
        made = await server.api("POST", "/v1/api-keys", {"label": role, "role": role})
        allowed = (await server.api("GET", "/v1/permissions"))["table"][role]
        for act, (method, path, body) in tries.items():
            status, code = await ask(server, method, path, made["key"], body)
            assert (code == "forbidden") == (act not in allowed), (act, status, code)
            assert status != 401


async def test_the_staff_watch_a_restricted_room_and_hear_the_show_begin(
    tmp_path: Path, ffmpeg: str
) -> None:
    async with running(tmp_path) as server:
        key = await server.room(access="restricted")
        made = await server.api("POST", "/v1/api-keys", {"label": "regie", "role": "host"})
        url = f"{server.url}/v1/rooms/show/events"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await server.http.ws_connect(url)
        assert refused.value.status == 401
        for token in (ADMIN, made["key"]):
            async with server.http.ws_connect(url, params={"token": token}) as socket:
                hello = await socket.receive_json()
                assert hello["d"]["room"]["live"] is False
                assert hello["d"]["clock"]["epoch"] is None
        async with (
            server.http.ws_connect(url, params={"token": ADMIN}) as socket,
            program(*rtmp(ffmpeg, server, key)),
        ):
            async with asyncio.timeout(20):
                while (event := await socket.receive_json())["t"] != "stream.online":
                    pass
            assert event["seq"] == 1
            assert event["d"]["clock"]["epoch"] is not None
            async with asyncio.timeout(10):
                while (event := await socket.receive_json())["t"] != "seq":
                    pass
            assert event["d"]["clock"]["epoch"] is not None
        async with server.http.ws_connect(url, params={"token": ADMIN, "after": "0"}) as socket:
            assert (await socket.receive_json())["t"] == "stream.online"
