"""`hawker doctor`: what is missing is named in one line with its fix, and what is there is said."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

from tests.e2e.server import running


async def doctor(*arguments: str) -> tuple[int, list[str]]:
    """The exit code and the lines."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mediaserver", "doctor", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode().splitlines()


async def test_a_taken_port_and_a_folder_that_cannot_be_are_named_with_the_fix(
    tmp_path: Path,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        here = ("http.host=127.0.0.1", f"http.port={port}", f"data.dir={tmp_path}")
        code, lines = await doctor(*(part for each in here for part in ("--set", each)))
    (line,) = [line for line in lines if "http.port" in line and "free" not in line]
    assert code == 1
    assert line.startswith("fail ") and str(port) in line and "set http.port" in line
    assert any(line.startswith("ok    data.dir") for line in lines)
    assert any("codecs" in line and line.startswith("ok ") for line in lines)


async def test_a_running_server_is_reached_over_http_udp_and_tcp(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        code, lines = await doctor("--url", server.url)
        assert code == 0, lines
        assert [line.split()[0] for line in lines] == ["ok"] * 4
        assert f"127.0.0.1:{server.udp_port}/udp answers" in lines[-2]
        assert f"127.0.0.1:{server.udp_port}/tcp answers" in lines[-1]
        url = server.url
    code, lines = await doctor("--url", url)
    assert code == 1
    assert len(lines) == 1 and lines[0].startswith("fail ") and "firewall" in lines[0]


async def test_an_address_that_does_not_answer_is_told_apart_from_one_that_does(
    tmp_path: Path,
) -> None:
    addresses = 'webrtc.public_addresses=["127.0.0.1", "127.0.0.9"]'
    async with running(tmp_path, addresses) as server:
        code, lines = await doctor("--url", server.url)
    assert code == 1
    udp = [line for line in lines if "/udp" in line]
    assert [line.split()[0] for line in udp] == ["ok", "fail"]
    assert "webrtc.public_addresses" in udp[1]


async def test_every_address_of_both_families_is_tried_by_udp_and_by_tcp(tmp_path: Path) -> None:
    addresses = 'webrtc.public_addresses=["127.0.0.1", "::1", "2001:db8::7"]'
    async with running(tmp_path, addresses, "webrtc.host=::") as server:
        _, lines = await doctor("--url", server.url)
        told = {
            line.split()[1]: line.split()[0] for line in lines if "/udp" in line or "/tcp" in line
        }
        port = server.udp_port
    assert told[f"127.0.0.1:{port}/udp"] == told[f"127.0.0.1:{port}/tcp"] == "ok"
    if told[f"[::1]:{port}/udp"] != "warn":  # there is no IPv6 here
        assert told[f"[::1]:{port}/udp"] == told[f"[::1]:{port}/tcp"] == "ok"
    assert told[f"[2001:db8::7]:{port}/udp"] in ("warn", "fail")
    assert told[f"[2001:db8::7]:{port}/tcp"] == "warn"


async def test_a_taken_tcp_port_of_webrtc_is_a_warning_for_the_server_starts_without_it(
    tmp_path: Path,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        here = ("webrtc.host=127.0.0.1", f"webrtc.port={port}", f"data.dir={tmp_path}")
        _, lines = await doctor(*(part for each in here for part in ("--set", each)))
    assert any(line.startswith("ok ") and f"webrtc.port {port}/udp" in line for line in lines)
    assert any(line.startswith("warn ") and f"webrtc.port {port}/tcp" in line for line in lines)
