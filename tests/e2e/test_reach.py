"""Chromium by every way to the port: UDP where there is a choice, TCP where there is no UDP, IPv6."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from mediaserver.rtc.candidates import own_addresses
from tests.e2e.browser import FAKE_CAMERA, browser, frames_beyond, plays, transport
from tests.e2e.server import program, rtmp, running, whip

FRAMES = 90
UDP, TCP = r" udp \d+ ", r" tcp \d+ "

PUBLISHED_BPS = 300_000  # of what the fake camera shows
NOBODY = "198.51.100.9"  # RFC 5737

# Takes candidates that match `pattern` out of the answers, or names another address (`instead`) in
# them, and keeps the connections for questions.
STRIP = """([pattern, instead]) => {
  const other = (line) => line.replace(/^(a=candidate:(\\S+ ){4})\\S+/, `$1${instead}`);
  window.connections = [];
  const set = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    window.connections.push(this);
    const named = sdp.split("\\r\\n").flatMap((line) => {
      if (!new RegExp(pattern).test(line)) return [line];
      return instead ? [other(line)] : [];
    });
    return set.call(this, { type, sdp: named.join("\\r\\n") });
  };
}"""

REMOTE = """async () => {
  const stats = await window.connections.at(-1).getStats();
  const transport = [...stats.values()].find(({ type }) => type === "transport");
  const pair = stats.get(transport.selectedCandidatePairId);
  const { address, protocol, port } = stats.get(pair.remoteCandidateId);
  return { address, protocol, port };
}"""


async def without(page: Page, pattern: str, instead: str = "") -> None:
    await page.add_init_script(f"({STRIP})({json.dumps([pattern, instead])})")


async def remote(page: Page) -> dict[str, Any]:
    """The server's end of the pair that carries the media."""
    return dict(await page.evaluate(REMOTE))


@pytest.mark.parametrize(
    ("blocked", "instead", "carried"),
    [("nothing", "", "udp"), (UDP, "", "tcp"), (UDP, NOBODY, "tcp")],
    ids=["both", "no UDP", "UDP into the void"],
)
async def test_chromium_plays_by_udp_where_it_can_and_else_by_tcp(
    blocked: str, instead: str, carried: str, tmp_path: Path, ffmpeg: str, chromium: str
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        async with program(*rtmp(ffmpeg, server, key)):
            await server.live()
            async with browser(chromium) as opened:
                page = await opened.new_page()
                await without(page, blocked, instead)
                begun = time.monotonic()
                await page.goto(f"{server.url}/watch/show")
                await transport(page, "webrtc")
                print(f"{carried}: playing after {time.monotonic() - begun:.2f} s")
                await plays(page, frames=FRAMES)
                found = await remote(page)
                assert (found["protocol"], found["port"]) == (carried, server.udp_port)
        assert not server.logged("webrtc.port")


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_chromium_plays_over_ipv6(
    protocol: str, tmp_path: Path, ffmpeg: str, chromium: str
) -> None:
    addresses = [each for each in own_addresses("::") if ":" in each]
    if not addresses:
        pytest.skip("this machine has no IPv6 address that others reach")
    other = {"udp": TCP, "tcp": UDP}[protocol]
    public = f'webrtc.public_addresses=["127.0.0.9", "{addresses[0]}"]'
    async with running(tmp_path, "webrtc.host=::", public) as server:
        key = await server.room()
        async with program(*rtmp(ffmpeg, server, key)):
            await server.live()
            async with browser(chromium) as opened:
                page = await opened.new_page()
                await without(page, f"{other}|127.0.0.9")
                await page.goto(f"{server.url}/watch/show")
                await transport(page, "webrtc")
                await frames_beyond(page, FRAMES)
                found = await remote(page)
                assert found["address"].strip("[]") == addresses[0]
                assert found["protocol"] == protocol


async def test_chromium_publishes_by_tcp_where_there_is_no_udp(
    tmp_path: Path, chromium: str
) -> None:
    async with running(tmp_path) as server, browser(chromium, *FAKE_CAMERA) as opened:
        key = await server.room()
        page = await opened.new_page()
        await without(page, UDP)
        await page.goto(f"{server.url}/studio/show#key={key}")
        await page.get_by_test_id("publish-start").click()
        await server.live()
        assert (await remote(page))["protocol"] == "tcp"
        async with asyncio.timeout(20):
            while (await server.api("GET", "/v1/rooms/show/ingest"))["bitrate_bps"] < PUBLISHED_BPS:
                await asyncio.sleep(0.1)
        await page.get_by_test_id("publish-stop").click()


async def test_ffmpeg_publishes_where_it_is_told_of_both_families_and_of_tcp(
    tmp_path: Path, whip_ffmpeg: str
) -> None:
    """It takes the first candidate, and knows UDP alone."""
    async with running(tmp_path, "webrtc.host=::") as server:
        key = await server.room()
        async with program(*whip(whip_ffmpeg, server, key)):
            async with asyncio.timeout(20):
                await server.live()


async def test_the_default_host_serves_both_families(tmp_path: Path) -> None:
    async with running(tmp_path, "webrtc.host=::") as server:
        told = server.ready["webrtc"]
        assert [each.rpartition(":")[0].strip("[]") for each in told] == own_addresses("::")
        async with server.http.post(f"{server.url}/v1/connectivity") as reply:
            candidates = (await reply.json())["candidates"]
        assert {each["protocol"] for each in candidates} == {"udp", "tcp"}
        assert len(candidates) == 2 * len(told)
