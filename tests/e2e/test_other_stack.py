"""A WebRTC stack that is neither aiortc nor libwebrtc, werift for Node, publishes and plays."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mediaserver.hub import Stream
from mediaserver.protocol.rtp import serialize_header
from mediaserver.protocol.rtp_video import packetize
from tests.http_house import open_http_house
from tests.rtc.house import KEY, ROOM, House
from tests.rtc.streams import Pictures

PROGRAMS = Path(__file__).parent / "node"
PACKETS = 400
PATIENCE_S = 60.0
GOP = 30


@pytest.fixture
def node() -> str:
    """The path of Node, where werift is installed."""
    path = shutil.which("node")
    if path is None or not (PROGRAMS / "node_modules/werift").exists():
        pytest.skip("werift for Node is not installed: make test")
    return path


def film(path: Path) -> Path:
    """Two groups of pictures as RTP packets, each behind its length."""
    pictures = Pictures(gop=GOP)
    with path.open("wb") as file:
        for _ in range(2 * GOP):
            for payload, padding, marker in packetize(pictures.next(), 1100):
                packet = serialize_header(96, marker, 0, 0, 1, padding) + payload
                file.write(len(packet).to_bytes(2, "big") + packet)
    return path


@asynccontextmanager
async def program(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=PROGRAMS,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def online(house: House) -> Stream:
    while (stream := house.hub.get(ROOM)) is None or "video" not in stream.tracks:
        await asyncio.sleep(0.05)
    return stream


@pytest.mark.timeout(150)
async def test_werift_publishes_h264_and_another_werift_plays_it(node: str, tmp_path: Path) -> None:
    path = film(tmp_path / "film.rtp")
    async with (
        open_http_house() as here,
        program(node, "publish.mjs", f"{here.url}/whip", KEY, str(path)) as publisher,
    ):
        async with asyncio.timeout(PATIENCE_S):
            stream = await online(here.house)
        assert stream.tracks["video"].codec == "h264"
        async with program(node, "play.mjs", f"{here.url}/whep/{ROOM}", str(PACKETS)) as player:
            assert player.stdout is not None
            async with asyncio.timeout(PATIENCE_S):
                seen = json.loads(await player.stdout.readline())
        assert seen["packets"] == PACKETS
        assert seen["frames"] >= 30
        assert seen["keyframes"] >= 1
        assert seen["gaps"] == 0
        assert publisher.returncode is None
