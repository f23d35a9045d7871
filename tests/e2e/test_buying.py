"""Buying through cuts, kills and crowds: nothing is oversold, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mediaserver.rtc.dtls import Certificate
from tests.e2e.buyers import Answer, Buyer, OverDataChannel, OverHttp, OverWebSocket, Way
from tests.e2e.server import ADMIN, Server, program, rtmp, running

APPROVED = "4242424242424242"
BUYERS = 200
PIECES = 20
PAID = 10
RESERVED_S = 40  # two hundred have to be through by then, on any machine
STALLED, WRITERS, LINES, LINES_PER_S = 50, 10, 30, 15
WANTED = [{"sku": "cup", "qty": 1}]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket(type=kind) for kind in (socket.SOCK_STREAM,) * count]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


async def order(server: Server, id: str, token: str = ADMIN) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with server.http.get(f"{server.url}/v1/orders/{id}", headers=headers) as reply:
        return {"status": reply.status, **await reply.json(content_type=None)}


async def pay(server: Server, id: str, token: str, key: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
    body = {"method": {"card": APPROVED}}
    url = f"{server.url}/v1/orders/{id}/payments"
    async with server.http.post(url, json=body, headers=headers) as reply:
        assert reply.status == 201, await reply.text()


async def paid(server: Server, id: str, token: str) -> dict[str, Any]:
    """The order once its payment is through."""
    async with asyncio.timeout(20):
        while (found := await order(server, id, token))["payment"] != "paid":
            await asyncio.sleep(0.1)
    return found


async def stock(server: Server, sku: str = "cup") -> tuple[int, int, int]:
    found = await server.api("GET", f"/v1/skus/{sku}/stock")
    return found["available"], found["reserved"], found["committed"]


async def test_kill_9_between_buy_and_pay_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        await server.room()
        await server.product("Cup", "cup", stock=3)
        token = await server.viewer("ana")
        buyer = Buyer("ana", OverHttp(), token, WANTED)
        first = await buyer.buy(lambda: server)
        await server.kill()
    assert first.order is not None
    async with running(tmp_path) as server:
        again = await buyer.buy(lambda: server)
        assert again.order is not None
        assert again.order["id"] == first.order["id"]
        assert await stock(server) == (2, 1, 0)
        await pay(server, first.order["id"], token, "pay-1")
        await server.kill()
    async with running(tmp_path) as server:
        await pay(server, first.order["id"], token, "pay-1")
        after = await paid(server, first.order["id"], token)
        assert (after["state"], after["payment"]) == ("confirmed", "paid")
        assert len(after["payments"]) == 1
        assert await stock(server) == (2, 0, 1)


@pytest.fixture
def strace() -> str:
    return shutil.which("strace") or pytest.skip("strace is not installed")


async def test_the_database_is_synced_before_the_answer_is_written(
    tmp_path: Path, strace: str
) -> None:
    trace = tmp_path / "trace"
    calls = "trace=read,recvfrom,recvmsg,pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg"
    async with running(tmp_path / "data") as server:
        await server.room()
        await server.product("Cup", "cup", stock=3)
        token = await server.viewer("ana")
        command = [strace, "-f", "-y", "-s", "64", "-e", calls, "-o", str(trace)]
        async with program(*command, "-p", str(server.process.pid)):
            async with asyncio.timeout(10):
                while not trace.exists() or not trace.read_bytes():
                    await server.api("GET", "/v1/rooms/show")
            answer = await Buyer("ana", OverHttp(), token, WANTED).buy(lambda: server)
            assert answer.order is not None
    steps = ("POST /v1/orders", r"pwrite64\(\d+<.*hawker\.db-wal>", "SYNCED", r"HTTP/1\.1 201")
    assert [step for step, _ in _in_order(trace.read_text(), steps)] == list(steps)


def _in_order(trace: str, steps: tuple[str, ...]) -> list[tuple[str, int]]:
    """Where each step is first found after the one before it; syncs count when they have returned."""
    syncing: set[str] = set()
    found: list[tuple[str, int]] = []
    for number, line in enumerate(trace.splitlines()):
        thread = line.split()[0]
        began = re.search(r"f(?:data)?sync\(\d+<.*hawker\.db-wal>", line) is not None
        resumed = thread in syncing and "sync resumed" in line
        if began and "unfinished" in line:
            syncing.add(thread)
        synced = (began and "unfinished" not in line) or resumed
        if resumed:
            syncing.discard(thread)
        step = steps[len(found)] if len(found) < len(steps) else None
        if step is not None and (synced if step == "SYNCED" else re.search(step, line)):
            found.append((step, number))
    return found


@pytest.mark.timeout(300)
async def test_two_hundred_buyers_over_three_ways_across_a_kill_get_exactly_what_there_is(
    tmp_path: Path, ffmpeg: str
) -> None:
    http, udp, rtmp_port = free_ports(3)
    settings = (
        f"http.port={http}",
        f"webrtc.port={udp}",
        f"rtmp.port={rtmp_port}",
        f"limits.reservation_s={RESERVED_S}",
    )
    video: dict[str, Any] = {"gop": 20, "bitrate": "60k"}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(tmp_path, *settings))
        key = await server.room()
        await server.product("Cup", "cup", stock=PIECES)
        publisher = program(*rtmp(ffmpeg, server, key, **video))
        await stack.enter_async_context(publisher)
        await server.live()
        certificate = Certificate.generateCertificate()
        buyers = []
        for number in range(BUYERS):
            way: Way = (OverHttp, OverWebSocket, lambda: OverDataChannel(certificate))[number % 3]()
            token = await server.viewer(f"buyer-{number}")
            buyers.append(Buyer(f"buyer-{number}", way, token, WANTED))
        now = {"server": server}
        asking = [asyncio.create_task(each.buy(lambda: now["server"])) for each in buyers]
        stack.callback(lambda: [task.cancel() for task in asking])
        async with asyncio.timeout(60):
            while sum(task.done() for task in asking) < PIECES // 2:
                await asyncio.sleep(0.005)
        await server.kill()
        server = await stack.enter_async_context(running(tmp_path, *settings))
        now["server"] = server
        await stack.enter_async_context(program(*rtmp(ffmpeg, server, key, **video)))
        async with asyncio.timeout(RESERVED_S):
            answers: list[Answer] = await asyncio.gather(*asking)
        ordered = [each for each in answers if each.order is not None]
        refused = [each for each in answers if each.order is None]
        assert Counter(each.code for each in refused) == {"out_of_stock": BUYERS - PIECES}
        assert all(each.members["held"] for each in refused)
        assert len({each.order["id"] for each in ordered if each.order}) == PIECES
        assert await stock(server) == (0, PIECES, 0)
        assert max(each.tries for each in buyers) > 1  # the kill did cut somebody off
        winners = [each for each, answer in zip(buyers, answers, strict=True) if answer.order]
        for winner, answer in zip(winners[:PAID], ordered, strict=False):
            assert answer.order is not None
            await pay(server, answer.order["id"], winner.token, f"pay-{winner.name}")
            await paid(server, answer.order["id"], winner.token)

        losers = [each for each, answer in zip(buyers, answers, strict=True) if not answer.order]
        again = await asyncio.gather(*(_until_bought(each, server) for each in losers[: 3 * PAID]))
        assert sum(again) == PIECES - PAID
        assert await stock(server) == (0, PIECES - PAID, PAID)
        for each in buyers:
            await each.way.close()


async def _until_bought(buyer: Buyer, server: Server) -> bool:
    """Ask until there is a piece, or nobody's hold may come back any more in time."""
    async with asyncio.timeout(2 * RESERVED_S):
        while True:
            answer = await buyer.buy(lambda: server)
            if answer.order is not None:
                return True
            available, reserved, _ = await stock(server)
            listed = await server.api("GET", "/v1/orders?state=expired&limit=100")
            if len(listed["items"]) == PIECES - PAID and available == 0 and reserved:
                return False
            await asyncio.sleep(0.5)


async def test_readers_that_take_nothing_cost_the_others_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, "chat.slow_mode_s=0") as server, AsyncExitStack() as stack:
        await server.room()
        events = f"{server.url}/v1/rooms/show/events"
        for _ in range(STALLED):
            stack.callback(_deaf(server).close)
        reader = await stack.enter_async_context(server.http.ws_connect(events))
        sent: dict[str, float] = {}
        delays = asyncio.create_task(_delays(reader, sent))
        writers = [_write(server, events, f"writer-{number}", sent) for number in range(WRITERS)]
        await asyncio.gather(*writers)
        async with asyncio.timeout(10):
            heard = await delays
        assert len(heard) == WRITERS * LINES
        assert max(heard) < 2  # a tick of 0.2 s, and a busy machine


def _deaf(server: Server) -> socket.socket:
    """Who asks for a room's events and never reads them."""
    deaf = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.sendall(
        b"GET /v1/rooms/show/events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    return deaf


async def _write(server: Server, events: str, name: str, sent: dict[str, float]) -> None:
    token = await server.viewer(name)
    async with server.http.ws_connect(events, params={"token": token}) as writer:
        for number in range(LINES):
            text = f"{name} {number} {'x' * 150}"
            sent[text] = time.monotonic()
            await writer.send_json({"rid": number, "t": "chat.send", "d": {"text": text}})
            await asyncio.sleep(1 / LINES_PER_S)


async def _delays(reader: aiohttp.ClientWebSocketResponse, sent: dict[str, float]) -> list[float]:
    """How long each line took, in seconds, until all have come."""
    delays: list[float] = []
    async for message in reader:
        event = message.json()
        if event["t"] == "chat":
            delays += [time.monotonic() - sent[line["text"]] for line in event["d"]["messages"]]
        if len(delays) == WRITERS * LINES:
            break
    return delays
