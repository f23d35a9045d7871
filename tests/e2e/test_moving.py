"""From Wi-Fi to mobile over links of a network namespace: IPv4 goes, IPv6 comes, the show goes on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.server import program, rtmp, running

FOUR, SIX = "10.231.77.", "fd31:77::"
PAUSE_S = 3.0


@dataclass(frozen=True)
class Phone:
    """A namespace with two ways to us: `wifi` is IPv4 alone, the other IPv6 alone."""

    name: str
    wifi: str


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def phone() -> Iterator[Phone]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces want root and ip")
    name = f"hawker{os.getpid()}"
    wifi, mobile = f"hw{os.getpid()}", f"hm{os.getpid()}"
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError:
        pytest.skip("no network namespaces here")
    try:
        for link in (wifi, mobile):
            ip("link", "add", link, "type", "veth", "peer", "name", "far", "netns", name)
            ip("-n", name, "link", "set", "far", "name", f"{link}p")
            ip("link", "set", link, "up")
            ip("-n", name, "link", "set", f"{link}p", "up")
        ip("address", "add", f"{FOUR}1/24", "dev", wifi)
        ip("-n", name, "address", "add", f"{FOUR}2/24", "dev", f"{wifi}p")
        ip("address", "add", f"{SIX}1/64", "dev", mobile, "nodad")
        ip("-n", name, "address", "add", f"{SIX}2/64", "dev", f"{mobile}p", "nodad")
        yield Phone(name, f"{wifi}p")
    finally:
        for link in (wifi, mobile):
            subprocess.run(["ip", "link", "delete", link], check=False, capture_output=True)
        ip("netns", "delete", name)


async def test_a_viewer_that_changes_network_and_family_goes_on_in_its_session(
    tmp_path: Path, ffmpeg: str, phone: Phone
) -> None:
    public = f'webrtc.public_addresses=["{FOUR}1", "{SIX}1"]'
    async with running(tmp_path, "http.host=0.0.0.0", "webrtc.host=::", public) as server:
        key = await server.room()
        async with program(*rtmp(ffmpeg, server, key)):
            await server.live()
            url = f"http://{FOUR}1:{server.url.rpartition(':')[2]}/whep/show"
            mover = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", phone.name, sys.executable, "-m", "tests.e2e.mover"),
                *(url, phone.wifi),
                stdout=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(40):
                output, _ = await mover.communicate()
            told = json.loads(output)
            print(told)
            assert told["before"] > 20 and told["after"] > 20 and not told["closed"]
            assert told["pause_s"] < PAUSE_S
            (line,) = server.logged("moved to")
            assert f"[{SIX}2]:" in line
