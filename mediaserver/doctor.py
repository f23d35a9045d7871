"""`hawker doctor`: what a machine, a configuration or a server lacks, one line each, with the fix.

Without a URL it looks at this machine before a start: ports, directories, limits, codecs. With one it is
a client: does HTTP answer, are the clocks together, does WebRTC's port answer, by UDP and by TCP, on
every address that viewers are told.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import resource
import secrets
import shutil
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import aiohttp

from commerce.store.redis import probe
from config import Config
from config.schema import Store
from mediaserver.errors import ProtocolError
from mediaserver.ingest import srt
from mediaserver.protocol import stun, tcp_framing
from mediaserver.rtc import compiled
from mediaserver.rtc.address import shown
from mediaserver.rtc.candidates import own_addresses
from mediaserver.rtc.sockets import open_socket

FILES_WANTED = 8192  # a connection each, with room for segments and sockets of children
BUFFER_BYTES = 4 << 20  # what the UDP socket asks for
DISK_BYTES = 1 << 30
CLOCK_S = 2.0
ANSWER_S = 1.0  # of a check; asked three times
CHECKS = 3
HTTP_S = 10.0
UDP_SEGMENT = 103  # linux/udp.h
PRIORITY = 1853824767  # peer reflexive (RFC 8445 §5.1.2.1)
CODECS = (
    ("opus", "w"),
    ("aac", "w"),
    ("aac", "r"),
    ("libopus", "w"),
    ("mjpeg", "w"),
    ("libx264", "w"),
    ("h264", "r"),
)

# the server starts without them
SPARED = {
    ("http.https_port", "tcp"),
    ("webrtc.port", "tcp"),
    ("workers", "tcp"),
    ("srt.port", "udp"),
}
NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}

Level = Literal["ok", "warn", "fail"]
Ask = Callable[[str, int, bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, and what to do about it where it is not as it should be."""

    level: Level
    what: str
    fix: str = ""


def examine_machine(config: Config) -> Iterator[Finding]:
    """What a start with this configuration would meet."""
    yield from _ports(config)
    yield _directory(config.data.dir)
    yield from _store(config.store)
    yield _disk(config.data.dir)
    yield _open_files()
    yield from _udp()
    yield _sender()
    yield _codecs()
    yield _encoder()
    yield _srt()
    yield _hls_js()
    yield _addresses(config)


async def examine_server(url: str) -> list[Finding]:
    """What a client at this place meets at a running server; `url` is its `http://host:port`."""
    timeout = aiohttp.ClientTimeout(total=HTTP_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        try:
            found = [await _ready(http, url), await _clock(http, url)]
            async with http.post(f"{url}/v1/connectivity", ssl=False) as reply:
                if reply.status != 201:
                    what = f"the server gives no connectivity check: HTTP {reply.status}"
                    return [*found, Finding("fail", what, "is this a Hawker of today?")]
                offered = await reply.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            fix = "is it running, and does a firewall let http.port through?"
            return [Finding("fail", f"{url} does not answer: {why}", fix)]
    checks = (_candidate(each, offered) for each in offered["candidates"])
    return [*found, *await asyncio.gather(*checks)]


def _ports(config: Config) -> Iterator[Finding]:
    http, rtmp, webrtc = config.http, config.rtmp, config.webrtc
    wanted = [
        ("http.port", http.host, http.port, "tcp"),
        ("http.https_port", http.host, http.https_port, "tcp"),
        ("rtmp.port", rtmp.host, rtmp.port, "tcp"),
        ("rtmps.port", rtmp.host, config.rtmps.port, "tcp"),
        ("webrtc.port", webrtc.host, webrtc.port, "udp"),
        ("webrtc.port", webrtc.host, webrtc.port, "tcp"),
        ("srt.port", config.srt.host, config.srt.port, "udp"),
    ]
    if config.workers > 1 and webrtc.port:
        ports = range(webrtc.port + 1, webrtc.port + config.workers + 1)
        both = ("udp", "tcp")
        wanted += [("workers", webrtc.host, port, each) for port in ports for each in both]
    for key, host, port, transport in wanted:
        if port > 0:
            yield _port(key, host, port, transport)


def _port(key: str, host: str, port: int, transport: str) -> Finding:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    try:
        open_socket(host, port, kind).close()
    except OSError as error:
        level: Level = "warn" if (key, transport) in SPARED else "fail"
        fix = f"another program has it, or Hawker runs already; else set {key}"
        return Finding(level, f"{key} {port}/{transport}: {error.strerror}", fix)
    return Finding("ok", f"{key} {port}/{transport} is free")


def _existing(directory: Path) -> Path:
    whole = directory.absolute()
    return next(each for each in (whole, *whole.parents) if each.exists())


def _directory(directory: Path) -> Finding:
    if os.access(_existing(directory), os.W_OK | os.X_OK):
        return Finding("ok", f"data.dir {directory} can be written")
    fix = "give the server's user the right to it, or set data.dir to another"
    return Finding("fail", f"data.dir {directory} cannot be written", fix)


def _store(store: Store) -> Iterator[Finding]:
    if store.in_redis:
        wrong = asyncio.run(probe(store.url, allow_unsafe=store.allow_unsafe))
        if wrong:
            yield Finding("fail", f"store.url: {wrong}", "the server does not start without it")
        elif store.allow_unsafe:
            fix = "appendonly yes, appendfsync always, and take store.allow_unsafe away"
            yield Finding("warn", "store.allow_unsafe: acknowledged orders may be lost", fix)
        else:
            yield Finding("ok", "the Redis of store.url answers and keeps what it acknowledges")


def _disk(directory: Path) -> Finding:
    free = shutil.disk_usage(_existing(directory)).free
    what = f"{free / (1 << 30):.1f} GiB free for data.dir"
    return Finding("ok" if free >= DISK_BYTES else "warn", what, "orders want a disk with room")


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = f"{soft} open files allowed"
    fix = f"ulimit -n {FILES_WANTED}, or LimitNOFILE={FILES_WANTED} in the systemd unit"
    return Finding("ok" if soft >= FILES_WANTED else "warn", what, fix)


def _udp() -> Iterator[Finding]:
    for name in ("rmem_max", "wmem_max"):
        path = Path("/proc/sys/net/core") / name
        if path.exists():
            most = int(path.read_text("ascii"))
            fix = f"sysctl -w net.core.{name}={BUFFER_BYTES}, and in /etc/sysctl.d to last"
            level: Level = "ok" if most >= BUFFER_BYTES else "warn"
            yield Finding(level, f"net.core.{name} is {most}", fix)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1200)
        except OSError:
            fix = "Linux 4.18 or newer sends two to three times as fast"
            yield Finding("warn", "no UDP segmentation offload here", fix)
        else:
            yield Finding("ok", "UDP segmentation offload is there")


def _sender() -> Finding:
    try:
        library = compiled.load().aes_by
    except compiled.Unavailable as why:
        return Finding("ok", f"WebRTC is sent by Python; optional, 0.6 of the CPU: {why}")
    return Finding("ok", f"WebRTC is sent by the compiled sender, AES by {library}")


def _codecs() -> Finding:
    codec = importlib.import_module("av.codec").Codec
    missing = []
    for name, mode in CODECS:
        try:
            codec(name, mode)
        except ValueError:
            missing.append(name)
    fix = "install the av wheel from PyPI: python -m pip install --force-reinstall av"
    if missing:
        return Finding("fail", f"codecs missing in av: {', '.join(missing)}", fix)
    return Finding("ok", "codecs for sound and pictures are there")


def _srt() -> Finding:
    try:
        library = srt.load()
    except srt.Unavailable as why:
        return Finding("warn", f"SRT is off: {why}", srt.INSTALL)
    return Finding("ok", f"SRT is taken, by libsrt {srt.version(library)}")


def _encoder() -> Finding:
    chosen = importlib.import_module("mediaserver.transcode.encoders").choose().name
    return Finding("ok", f"pictures are encoded by {chosen}")


def _hls_js() -> Finding:
    script = Path(str(files("overlay"))) / "web/node_modules/hls.js/dist/hls.min.js"
    if script.is_file():
        return Finding("ok", "hls.js is installed")
    fix = "make setup, or npm ci in overlay/web"
    return Finding("warn", "hls.js is missing: HLS plays in Safari only", fix)


def _addresses(config: Config) -> Finding:
    offered = list(config.webrtc.public_addresses) or own_addresses(config.webrtc.host)
    what = f"browsers are told {', '.join(offered)} for WebRTC"
    public = {each.version for each in map(ip_address, offered) if each.is_global}
    if config.webrtc.public_addresses or 4 in public:
        return Finding("ok", what)
    if public:
        fix = "viewers without IPv6 want webrtc.public_addresses with the IPv4 address too"
    else:
        fix = "viewers outside this network want webrtc.public_addresses"
    return Finding("warn", what, fix)


async def _ready(http: aiohttp.ClientSession, url: str) -> Finding:
    async with http.get(f"{url}/readyz", ssl=False) as reply:
        answer: dict[str, Any] = await reply.json(content_type=None)
    if reply.status == 200:
        return Finding("ok", f"{url} answers and is ready")
    checks = answer.get("checks", {})
    failed = [f"{name} {state}" for name, state in checks.items() if state != "ok"]
    return Finding("fail", f"{url} is not ready: {', '.join(failed)}", "its log says why")


async def _clock(http: aiohttp.ClientSession, url: str) -> Finding:
    async with http.get(f"{url}/healthz", ssl=False) as reply:
        theirs = parsedate_to_datetime(reply.headers["Date"])
    apart_s = abs((datetime.now(UTC) - theirs).total_seconds())
    what = f"its clock and ours are {apart_s:.0f} s apart"
    fix = "let both machines keep time by NTP: timedatectl set-ntp true"
    return Finding("ok" if apart_s <= CLOCK_S else "warn", what, fix)


async def _candidate(candidate: dict[str, Any], offered: dict[str, Any]) -> Finding:
    address, port, protocol = candidate["address"], candidate["port"], candidate["protocol"]
    what = f"{shown((address, port))}/{protocol}"
    ask = _answer_by_tcp if protocol == "tcp" else _answer_by_udp
    try:
        if await _verified(ask, address, port, offered):
            return Finding("ok", f"{what} answers")
    except OSError as error:
        if error.errno in NO_WAY:
            fix = "nothing, if viewers at this place need no " + _family(address)
            return Finding("warn", f"{what} could not be tried: {error.strerror}", fix)
    through = f"let webrtc.port through as {protocol.upper()}"
    if protocol == "tcp":
        fix = f"{through}, for viewers whose network has no UDP"
        return Finding("warn", f"{what} does not answer from here", fix)
    fix = f"{through}, or leave this address out of webrtc.public_addresses"
    return Finding("fail", f"{what} does not answer from here", fix)


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


async def _verified(ask: Ask, address: str, port: int, offered: dict[str, Any]) -> bool:
    """Whether a check is answered with success; raises OSError where there is no way to try."""
    key = offered["password"].encode()
    for _ in range(CHECKS):
        transaction = secrets.token_bytes(12)
        request = stun.binding_request(
            transaction, f"{offered['ufrag']}:doctor", key, PRIORITY, 1, use_candidate=False
        )
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = stun.parse(await ask(address, port, request))
        except (TimeoutError, ProtocolError, ConnectionError, asyncio.IncompleteReadError):
            continue
        if answer.transaction_id == transaction:
            return answer.message_type == stun.BINDING_SUCCESS
    return False


async def _answer_by_udp(address: str, port: int, request: bytes) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((address, port))
        sock.send(request)
        return await asyncio.get_running_loop().sock_recv(sock, 1500)


async def _answer_by_tcp(address: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(tcp_framing.serialize(request))
        length = int.from_bytes(await reader.readexactly(tcp_framing.LENGTH_BYTES), "big")
        return await reader.readexactly(length)
    finally:
        writer.close()
