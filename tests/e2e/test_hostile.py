"""Wrong keys, wrong rooms and garbage on every port: the contract's error, one line, and no stutter."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.browser import browser, frames_beyond, stats, transport
from tests.e2e.server import Server, program, rtmp, running, whip

SEED = 7
OFFER = {"Content-Type": "application/sdp"}


async def test_wrong_keys_and_rooms_get_the_errors_of_the_contract(
    tmp_path: Path, whip_ffmpeg: str
) -> None:
    async with running(tmp_path) as server:
        await server.room()
        async with program(*rtmp(whip_ffmpeg, server, "wrong")) as publisher:
            assert await asyncio.wait_for(publisher.wait(), 20) != 0
        assert len(server.logged("refused")) == 1
        async with program(*whip(whip_ffmpeg, server, "wrong")) as publisher:
            assert await asyncio.wait_for(publisher.wait(), 20) != 0
        assert len(server.logged("refused")) == 2
        assert not [line for line in server.log if "wrong" in line.replace("wrong key", "")]
        expected = [
            ("POST", "/whip", 401, "unauthorized"),
            ("POST", "/whep/nowhere", 404, "room_not_found"),
            ("POST", "/whep/show", 409, "not_live"),
            ("GET", "/hls/show/index.m3u8", 404, "not_found"),
            ("GET", "/hls/nowhere/index.m3u8", 404, "room_not_found"),
            ("DELETE", "/whip/nothing", 404, "not_found"),
            ("GET", "/v1/rooms/nowhere", 404, "room_not_found"),
            ("POST", "/v1/rooms", 401, "unauthorized"),
        ]
        for method, path, status, code in expected:
            async with server.http.request(
                method,
                server.url + path,
                data="v=0\r\n" if method == "POST" else None,
                headers=OFFER,
            ) as reply:
                problem = await reply.json(content_type="application/problem+json")
                assert (reply.status, problem["code"]) == (status, code), (path, problem)
                assert problem["status"] == status and problem["title"] and problem["detail"]
                if code == "not_live":
                    assert int(reply.headers["Retry-After"]) > 0


async def _junk_udp(server: Server, dice: random.Random) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", server.udp_port))
        for number in range(3000):
            size = dice.choice([0, 1, 3, 12, 20, 200, 1200, 1472, 4000])
            data = bytearray(dice.randbytes(size))
            if data and number % 2:
                data[0] = dice.choice([0, 1, 22, 63, 128, 144, 191, 200])
            sock.send(data)
            if number % 100 == 0:
                await asyncio.sleep(0)


async def _junk_tcp(port: int, dice: random.Random, prefix: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(prefix + dice.randbytes(8192))
        await writer.drain()
        async with asyncio.timeout(15):
            while await reader.read(65536):
                pass
    except ConnectionError:
        pass  # reset is an answer too
    finally:
        writer.close()


@pytest.mark.timeout(120)
async def test_garbage_on_every_port_does_not_make_the_running_stream_stutter(
    tmp_path: Path, whip_ffmpeg: str, chromium: str
) -> None:
    dice = random.Random(SEED)
    async with running(tmp_path) as server:
        key = await server.room()
        rtmp_port = int(str(server.ready["rtmp"]).rsplit(":", 1)[1].partition("/")[0])
        http_port = int(server.url.rpartition(":")[2])
        async with program(*rtmp(whip_ffmpeg, server, key)):
            await server.live()
            async with browser(chromium) as opened:
                page = await opened.new_page()
                await page.goto(f"{server.url}/watch/show")
                await transport(page, "webrtc")
                await frames_beyond(page, 60)
                before = await stats(page)
                lines = len(server.log)
                await _junk_udp(server, dice)
                for prefix in (b"", b"\x03", b"\x03" + bytes(3072), b"GET / HTTP/1.1\r\n\r\n"):
                    await _junk_tcp(rtmp_port, dice, prefix)
                for prefix in (
                    b"",
                    b"GET \xff\xfe HTTP/9.9\r\n",
                    b"POST /whip HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                ):
                    await _junk_tcp(http_port, dice, prefix)
                async with server.http.post(
                    f"{server.url}/whep/show", data=b"\xff" * 70_000, headers=OFFER
                ) as reply:
                    assert reply.status == 413
                async with server.http.post(
                    f"{server.url}/whep/show", data="m=video\r\n\x00garbage", headers=OFFER
                ) as reply:
                    assert reply.status == 400
                await frames_beyond(page, before["framesDecoded"] + 90)
                after = await stats(page)
                assert after["transport"] == "webrtc"
                assert after["packetsLost"] == before["packetsLost"]
                assert after["freezes"] == before["freezes"]
                assert len(server.log) - lines <= 12, "".join(server.log[lines:])
        assert await server.metric("hawker_datagrams_dropped_total") > 1000


async def test_the_port_that_is_taken_is_named_in_one_line(tmp_path: Path) -> None:
    async with running(tmp_path / "first") as server:
        taken = server.url.rpartition(":")[2]
        with pytest.raises(AssertionError, match=r"http\.port: cannot listen on .*set http\.port"):
            async with running(tmp_path / "second", f"http.port={taken}"):
                pass


async def test_a_token_in_the_query_reaches_no_log(tmp_path: Path) -> None:
    async with running(tmp_path, "log.level=debug") as server:
        await server.room(access="restricted")
        token = (await server.api("POST", "/v1/viewer-tokens", {"room": "show"}))["token"]
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{server.url}/hls/show/index.m3u8?token={token}") as reply:
                assert reply.status == 404
            async with http.get(f"{server.url}/hls/show/index.m3u8?token=x{token}") as reply:
                assert reply.status == 401
        assert server.log and not [line for line in server.log if token in line]


async def test_a_packed_body_is_refused_and_never_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    async with running(tmp_path) as server:
        for path in (
            "/v1/quotes",
            "/v1/orders",
            "/v1/login",
            "/v1/payments/webhooks/sandbox",
            "/whip",
        ):
            for coding in ("gzip", "deflate", "br"):
                headers = {**OFFER, "Content-Encoding": coding, "Authorization": "Bearer key_x"}
                async with server.http.post(
                    server.url + path, data=bomb, headers=headers, skip_auto_headers=["Accept"]
                ) as reply:
                    assert reply.status in (401, 415), (path, coding, reply.status)
        async with server.http.post(
            f"{server.url}/v1/quotes", data=b"abcd", headers={"Content-Encoding": "gzip"}
        ) as reply:
            assert reply.status == 415
            assert (await reply.json(content_type=None))["code"] == "unsupported_coding"
