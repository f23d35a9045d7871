"""The real server as a subprocess, and the real publishers that the end-to-end tests use."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

ADMIN = "end-to-end-admin-token"
READY_S = 60  # a server starts in one or two; a starved machine takes what it takes
EXIT_S = 11


@dataclass
class Server:
    """A running `hawker serve` on free ports."""

    process: asyncio.subprocess.Process
    http: aiohttp.ClientSession
    ready: dict[str, Any]
    log: list[str] = field(default_factory=list)
    killed: bool = False

    async def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.killed = True
        self.process.kill()
        await self.process.wait()

    @property
    def url(self) -> str:
        return str(self.ready["http"])

    @property
    def udp_port(self) -> int:
        return int(self.ready["webrtc"][0].rpartition(":")[2])

    async def api(self, method: str, path: str, body: Any = None, **more: str) -> Any:
        """A call with the admin token that has to succeed; `more` are headers, `if_match="3"`."""
        headers = {"Authorization": f"Bearer {ADMIN}"}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        async with self.http.request(
            method, f"{self.url}{path}", json=body, headers=headers
        ) as reply:
            assert reply.status < 300, await reply.text()
            return await reply.json() if reply.status != 204 else None

    async def product(self, title: str, sku: str, *, stock: int, amount: int = 1990) -> Any:
        """Make a product of one SKU."""
        skus = [{"sku": sku, "price": cny(amount), "stock": stock}]
        return await self.api("POST", "/v1/products", {"title": title, "skus": skus})

    async def viewer(self, sub: str, room: str = "show", **claims: str) -> str:
        """A token of somebody who may watch and buy."""
        body = {"room": room, "sub": sub, **claims}
        return str((await self.api("POST", "/v1/viewer-tokens", body))["token"])

    async def room(self, id: str = "show", access: str = "public") -> str:
        """Make a room; its stream key."""
        made = await self.api("POST", "/v1/rooms", {"id": id, "title": "Show", "access": access})
        return str(made["stream_key"])

    async def live(self, room: str = "show", kinds: tuple[str, ...] = ("video", "audio")) -> None:
        """Wait until the room's tracks are there."""
        while set((await self.api("GET", f"/v1/rooms/{room}/ingest"))["codecs"]) != set(kinds):
            await asyncio.sleep(0.05)

    async def metric(self, name: str) -> float:
        """One figure of /metrics, summed over its labels."""
        async with self.http.get(f"{self.url}/metrics") as reply:
            lines = (await reply.text()).splitlines()
        found = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def logged(self, words: str) -> list[str]:
        return [line for line in self.log if words in line]


def cny(amount: int) -> dict[str, Any]:
    """That many fen, as the API gives it."""
    return {"amount": amount, "currency": "CNY"}


@asynccontextmanager
async def running(data: Path, *settings: str, command: str = "serve") -> AsyncIterator[Server]:
    """Start the server, and see it drain with exit code 0 in time at the end, unless it was killed."""
    rest = ("webrtc.port=0", "srt.port=0", "srt.host=127.0.0.1")
    ports = ("http.port=0", "http.https_port=-1", "rtmp.port=0", "rtmps.port=-1", *rest)
    where = ("http.host=127.0.0.1", "rtmp.host=127.0.0.1", "webrtc.host=127.0.0.1")
    own = (f"data.dir={data}", f"auth.admin_token={ADMIN}")
    arguments = [part for each in (*ports, *where, *own, *settings) for part in ("--set", each)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mediaserver",
        command,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if not key.startswith("HAWKER_")},
    )
    assert process.stdout is not None and process.stderr is not None
    log: list[str] = []
    reading = asyncio.create_task(_read(process.stderr, log))
    try:
        async with asyncio.timeout(READY_S):
            line = await process.stdout.readline()
        assert line, "".join(log)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as http:
            server = Server(process, http, json.loads(line), log)
            yield server
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(EXIT_S):
            code = await process.wait()
        assert code == 0 or server.killed, "".join(log)
        assert not [line for line in log if "Traceback" in line], "".join(log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading


@asynccontextmanager
async def program(
    *command: str, environment: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A publisher's process, ended with the block; `environment` where it is not ours."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    assert process.stderr is not None
    output: list[str] = []
    reading = asyncio.create_task(_read(process.stderr, output))
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading


def source(ffmpeg: str, *, size: str = "640x360", rate: int = 30) -> list[str]:
    """ffmpeg's picture and tone in real time."""
    return [
        *(ffmpeg, "-hide_banner", "-loglevel", "warning", "-re"),
        *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}"),
        *("-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"),
    ]


def x264(*, gop: int = 60, bitrate: str = "1200k", b_frames: int = 0) -> list[str]:
    """Live H.264; without B-frames as browsers want it."""
    live = ["-profile:v", "baseline", "-tune", "zerolatency"] if not b_frames else []
    return [
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", *live),
        *("-bf", str(b_frames), "-g", str(gop), "-b:v", bitrate, "-threads", "1"),
    ]


def rtmp(ffmpeg: str, server: Server, key: str, *, url: str = "", **video: Any) -> list[str]:
    """The command of an RTMP publisher: H.264 and AAC; `url` where it goes another way."""
    audio = ["-c:a", "aac", "-b:a", "96k", "-ar", "48000", "-ac", "2"]
    to = f"{url or server.ready['rtmp']}/{key}"
    return [*source(ffmpeg), *x264(**video), *audio, "-f", "flv", to]


def whip(ffmpeg: str, server: Server, key: str, *flags: str, **video: Any) -> list[str]:
    """The command of a WHIP publisher: H.264 and Opus."""
    audio = ["-c:a", "libopus", "-ar", "48000", "-ac", "2", "-b:a", "64k"]
    muxer = ["-f", "whip", *flags, "-authorization", key, f"{server.url}/whip"]
    return [*source(ffmpeg), *x264(**video), *audio, *muxer]


async def _read(stream: asyncio.StreamReader, lines: list[str]) -> None:
    while line := await stream.readline():
        lines.append(line.decode(errors="replace"))
