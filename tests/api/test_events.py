"""A room's events over real WebSockets, from a real store."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientWebSocketResponse, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from mediaserver.api import problem
from mediaserver.api.access_log import AccessLogger
from mediaserver.api.events import FRAME_BYTES_MAX, SUBPROTOCOLS, EventsApi
from mediaserver.api.limits import AddressLimiter
from overlay.events import Event, Request, parse, serialize_request
from overlay.session import FLOOD_MESSAGES, MALFORMED_IN_A_ROW
from overlay.tokens import Claims
from tests.overlay.feed_house import ROOM, House, open_feed_house

Client = TestClient[web.Request, web.Application]
PATH = f"/v1/rooms/{ROOM}/events"
MSGPACK, JSON = SUBPROTOCOLS
STALLED_S = 0.3
OPENED_AT_ONCE = 30


async def buy(viewer: Claims, data: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"order": f"{viewer.sub} {data['key']}"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_feed_house(tmp_path, acts={"buy": buy}) as house:
        yield house


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    app = web.Application()
    problem.install(app)
    limiter = AddressLimiter(per_s=0.01, burst=OPENED_AT_ONCE)
    app.add_routes(EventsApi(house.sessions, limiter, stalled_s=STALLED_S).routes())
    server = TestServer(app)
    await server.start_server(access_log_class=AccessLogger)
    async with TestClient(server) as client:
        yield client


class Viewer:
    """A page's socket, read event by event."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket

    async def next(self) -> Event:
        message = await self.socket.receive()
        assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY), message
        return parse(message.data)

    async def of(self, type: str) -> Event:
        """The next event of this type; those before it are passed over."""
        while (event := await self.next()).type != type:
            pass
        return event

    async def ask(self, type: str, rid: str | int = 1, **data: object) -> Event:
        await self.socket.send_bytes(packed(type, rid, **data))
        while (event := await self.next()).type not in ("reply", "error"):
            pass
        return event

    async def closing(self) -> tuple[int | None, str]:
        """The code and reason with which the server closes; what comes before is passed over."""
        while (message := await self.socket.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
            pass
        assert message.type == WSMsgType.CLOSE, message
        return message.data, message.extra or ""


def packed(type: str, rid: str | int = 1, **data: object) -> bytes:
    asked = serialize_request(Request(rid, type, data), "msgpack")
    assert isinstance(asked, bytes)
    return asked


async def connect(client: Client, query: str = "", *, protocol: str | None = MSGPACK) -> Viewer:
    protocols = () if protocol is None else (protocol,)
    return Viewer(await client.ws_connect(PATH + query, protocols=protocols))


async def refused(
    client: Client, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The problem that an attempt to open a WebSocket gets."""
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    response: ClientResponse = await client.get(path, headers={**handshake, **(headers or {})})
    assert response.content_type == "application/problem+json"
    return response.status, (await response.json())["code"]


@pytest.mark.parametrize(("protocol", "kind"), [(MSGPACK, bytes), (JSON, str), (None, str)])
async def test_hello_comes_in_the_format_of_the_subprotocol(
    client: Client, protocol: str | None, kind: type
) -> None:
    viewer = await connect(client, protocol=protocol)
    assert viewer.socket.protocol == protocol
    message = await viewer.socket.receive()
    assert isinstance(message.data, bytes | str) and isinstance(message.data, kind)
    hello = parse(message.data)
    assert (hello.type, hello.data["seq"]) == ("hello", 0)
    assert hello.data["clock"]["rtp_rate"] == 90_000


async def test_the_viewers_first_subprotocol_that_is_ours_is_chosen(client: Client) -> None:
    offered = ("chat", JSON, MSGPACK)
    opened = await client.ws_connect(PATH, protocols=offered)
    assert opened.protocol == JSON
    assert (await opened.receive()).type == WSMsgType.TEXT


async def test_an_event_reaches_viewers_of_both_formats_within_a_second(
    client: Client, house: House
) -> None:
    viewers = [await connect(client, protocol=protocol) for protocol in (MSGPACK, JSON)]
    async with asyncio.timeout(1):
        await house.feed.publish(ROOM, "card.pinned", {"card": "crd_1"}, media_ms=5_000)
        for viewer in viewers:
            pinned = await viewer.of("card.pinned")
            assert (pinned.seq, pinned.media_ms, pinned.data) == (1, 5_000, {"card": "crd_1"})


@pytest.mark.parametrize("way", ["query", "header"])
async def test_the_token_says_who_buys(client: Client, house: House, way: str) -> None:
    token = house.token("ana")
    if way == "query":
        viewer = await connect(client, f"?token={token}")
    else:
        headers = {"Authorization": f"Bearer {token}"}
        viewer = Viewer(await client.ws_connect(PATH, headers=headers))
    reply = await viewer.ask("buy", rid="r1", key="k1")
    assert (reply.type, reply.data) == ("reply", {"rid": "r1", "ok": True, "order": "ana k1"})


async def test_json_is_spoken_in_both_directions(client: Client, house: House) -> None:
    viewer = await connect(client, f"?token={house.token()}", protocol=JSON)
    await viewer.socket.send_str(json.dumps({"rid": 5, "t": "buy", "d": {"key": "k"}}))
    assert (await viewer.of("reply")).data == {"rid": 5, "ok": True, "order": "ana k"}


async def test_who_has_no_token_looks_on(client: Client) -> None:
    viewer = await connect(client)
    error = await viewer.ask("buy", key="k")
    assert (error.type, error.data["code"]) == ("error", "token_missing")


async def test_a_viewer_who_comes_back_resumes_without_hello(client: Client, house: House) -> None:
    for number in range(5):
        await house.feed.publish(ROOM, "price.changed", {"n": number})
    viewer = await connect(client, "?after=3&safter=0")
    assert [(await viewer.next()).seq for _ in range(2)] == [4, 5]


async def test_a_place_that_is_not_kept_brings_hello(client: Client) -> None:
    viewer = await connect(client, "?after=1000000")
    assert (await viewer.next()).type == "hello"


async def test_who_may_not_come_in_gets_a_problem(client: Client, house: House) -> None:
    await house.rooms.create("Members", id="members", access="restricted")
    assert await refused(client, "/v1/rooms/nowhere/events") == (404, "room_not_found")
    assert await refused(client, "/v1/rooms/members/events") == (401, "token_missing")
    assert await refused(client, f"{PATH}?token=wrong") == (401, "token_invalid")
    other = house.token(room="members")
    assert await refused(client, f"{PATH}?token={other}") == (403, "wrong_room")
    assert house.sessions.count(ROOM) == 0


async def test_what_is_no_websocket_or_no_question_of_ours_gets_a_problem(client: Client) -> None:
    response = await client.get(PATH)
    assert (response.status, (await response.json())["code"]) == (426, "upgrade_required")
    assert response.headers["Upgrade"] == "websocket"
    wrong = {"Sec-WebSocket-Protocol": "soap"}
    assert await refused(client, PATH, wrong) == (400, "subprotocol_unknown")
    for place in ("x", "-1", "1.5", "9" * 16, "٣"):
        assert await refused(client, f"{PATH}?after={place}") == (400, "bad_request")


async def test_one_address_opens_so_many_at_once(client: Client) -> None:
    for _ in range(OPENED_AT_ONCE):
        assert (await client.get(PATH)).status == 426
    assert await refused(client, PATH) == (429, "too_many")


async def test_malformed_messages_are_told_and_five_in_a_row_close(client: Client) -> None:
    viewer = await connect(client)
    for data in ("{", "[]", '{"rid": 1}', '{"t": "like"}'):
        await viewer.socket.send_str(data)
        assert (await viewer.of("error")).data["code"] == "bad_message"
    await viewer.ask("like")
    for _ in range(MALFORMED_IN_A_ROW):
        await viewer.socket.send_bytes(b"\xc1")
    assert await viewer.closing() == (1008, "bad_message")


async def test_a_message_over_16_kib_is_told_and_one_over_64_kib_closes(client: Client) -> None:
    viewer = await connect(client)
    await viewer.socket.send_bytes(b"x" * (17 << 10))
    assert (await viewer.of("error")).data["code"] == "bad_message"
    await viewer.socket.send_bytes(b"x" * (FRAME_BYTES_MAX + 1))
    assert (await viewer.closing())[0] == 1009


async def test_a_flood_is_closed(client: Client, house: House) -> None:
    viewer = await connect(client)
    for _ in range(FLOOD_MESSAGES + 1):
        await viewer.socket.send_bytes(packed("like"))
    assert await viewer.closing() == (1008, "rate_limited")
    assert house.sessions.count(ROOM) == 0


async def test_a_server_that_stops_says_so(client: Client, house: House) -> None:
    viewer = await connect(client)
    await house.sessions.close()
    assert await viewer.closing() == (1001, "going_away")


@pytest.mark.parametrize("rudely", [False, True])
async def test_a_viewer_who_leaves_is_forgotten(client: Client, house: House, rudely: bool) -> None:
    viewer = await connect(client)
    await viewer.next()
    (session,) = house.sessions.opened
    if rudely:
        assert viewer.socket._response.connection is not None
        transport = viewer.socket._response.connection.transport
        assert transport is not None
        transport.abort()
    else:
        await viewer.socket.close()
    while await session.next():
        pass
    assert session.closed == "left"
    assert house.sessions.count(ROOM) == 0


async def test_a_slow_reader_is_cut_off_and_costs_nobody_else_anything(
    client: Client, house: House
) -> None:
    quick = await connect(client)
    await quick.of("hello")
    slow = await stuck(client)
    await until_there(house, 2)
    rounds = 0
    while house.sessions.count(ROOM) == 2:
        rounds += 1
        assert rounds < 200, "the slow reader was never cut off"
        started = asyncio.get_running_loop().time()
        await house.feed.publish(ROOM, "announcement", {"text": "x" * 100_000})
        assert (await quick.of("announcement")).seq == rounds
        assert asyncio.get_running_loop().time() - started < 1
    assert quick.socket.closed is False
    assert (await quick.ask("like")).type == "reply"
    slow.close()


async def stuck(client: Client) -> socket.socket:
    """A viewer who opens the WebSocket and never reads."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.setblocking(False)
    loop = asyncio.get_running_loop()
    assert client.port is not None
    await loop.sock_connect(opened, ("127.0.0.1", client.port))
    handshake = (
        f"GET {PATH} HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await loop.sock_sendall(opened, handshake.encode())
    return opened


async def until_there(house: House, count: int) -> None:
    """Return once so many sessions are open; each turn of the loop is a reading of the sockets."""
    async with asyncio.timeout(10):
        while house.sessions.count(ROOM) < count:
            await house.store.load(["something"])


async def test_nothing_a_viewer_sends_reaches_a_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        viewer = await connect(client)
        await viewer.ask("forged\nline", rid="forged")
        await viewer.socket.send_str("forged")
        assert (await viewer.of("error")).data["code"] == "bad_message"
        await refused(client, f"{PATH}?token=forged&after=forged")
        await refused(client, PATH, {"Sec-WebSocket-Protocol": "forged"})
        await viewer.socket.close()
    assert caplog.records
    assert "forged" not in caplog.text
