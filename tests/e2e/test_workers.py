"""Fan-out processes: viewers spread over them, one HTTP port before them, and what a dead one costs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.protocol import rtp
from mediaserver.rtc.dtls import Certificate
from overlay.events import Event, parse
from tests.e2e import browser
from tests.e2e.buyers import Buyer, OverDataChannel
from tests.e2e.server import Server, program, rtmp, running

CERTIFICATE = Certificate.generateCertificate()
PATIENCE_S = 20.0
GONE_S = 10.0  # from the death of its process to a page's next picture


@dataclass
class Watcher:
    """A viewer with its picture, sound and events."""

    client: WebRtcClient
    packets: dict[int, int] = field(default_factory=dict)  # by SSRC
    events: list[Event] = field(default_factory=list)

    @property
    def worker(self) -> str:
        return self.client.resource.rpartition("/")[2].partition("-")[0]

    def on_rtp(self, packet: rtp.RtpPacket, gap: bool) -> None:
        self.packets[packet.ssrc] = self.packets.get(packet.ssrc, 0) + 1

    def on_message(self, channel: int, data: str | bytes) -> None:
        self.events.append(parse(data))

    def heard(self, type: str) -> list[Event]:
        return [event for event in self.events if event.type == type]

    def plays(self, packets: int) -> bool:
        """Whether picture and sound have come, and so many packets in all."""
        return len(self.packets) == 2 and sum(self.packets.values()) > packets


async def watch(server: Server, token: str | None = None) -> Watcher:
    watcher = Watcher(WebRtcClient(CERTIFICATE))
    watcher.client.on_rtp, watcher.client.on_message = watcher.on_rtp, watcher.on_message
    await watcher.client.watch(server.http, f"{server.url}/whep/show", token)
    return watcher


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def show(data: Path, ffmpeg: str, *settings: str) -> AsyncIterator[Server]:
    """Two workers, and a publisher on the air."""
    async with running(data, "workers=2", *settings) as server:
        key = await server.room()
        async with program(*rtmp(ffmpeg, server, key)):
            await server.live()
            yield server


@asynccontextmanager
async def audience(server: Server, count: int) -> AsyncIterator[list[Watcher]]:
    watchers = [await watch(server) for _ in range(count)]
    try:
        yield watchers
    finally:
        for each in watchers:
            await each.client.close()


def workers(server: Server) -> dict[str, int]:
    """Process ids of the workers by their names in resources."""
    found = {}
    for pid in _children(server.process.pid):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if "mediaserver.egress.worker" in words:
            found[f"w{words[-2]}"] = pid
    return found


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [
        int(child)
        for task in os.listdir(tasks)
        for child in (tasks / task / "children").read_text().split()
    ]


async def test_viewers_spread_over_the_workers_and_get_picture_sound_and_events(
    tmp_path: Path, ffmpeg: str
) -> None:
    async with show(tmp_path, ffmpeg) as server, audience(server, 6) as watchers:
        ports = [int(each.rpartition(":")[2]) for each in server.ready["webrtc"]]
        assert len(set(ports)) == len(ports) == 3
        assert sorted(each.worker for each in watchers) == 3 * ["w1"] + 3 * ["w2"]
        await until(lambda: all(each.plays(300) for each in watchers))
        assert [each.client.undecryptable for each in watchers] == [0] * 6
        bases = {each.heard("hello")[0].data["clock"]["rtp_base"] for each in watchers}
        assert len(bases) == 1

        product = await server.product("Cup", "cup", stock=5)
        card = {"product_id": product["id"]}
        await server.api("POST", "/v1/rooms/show/cards", card)
        await until(lambda: all(each.heard("card.pinned") for each in watchers))
        assert len({each.heard("card.pinned")[0].seq for each in watchers}) == 1

        assert await server.metric("hawker_worker_sessions") == 6
        await _metric(server, "hawker_viewers", 6)
        room = await server.api("GET", "/v1/rooms/show")
        assert room["viewers"] == 6
        for pid in workers(server).values():
            assert len(os.listdir(f"/proc/{pid}/task")) == 1  # what sends has no second thread


async def test_a_viewer_of_a_worker_buys_over_its_data_channel(tmp_path: Path, ffmpeg: str) -> None:
    async with show(tmp_path, ffmpeg) as server:
        await server.product("Cup", "cup", stock=3)
        buyers = [
            Buyer(
                name,
                OverDataChannel(CERTIFICATE),
                await server.viewer(name),
                [{"sku": "cup", "qty": 1}],
            )
            for name in ("ana", "ben", "cai", "dan")
        ]
        answers = await asyncio.gather(*(each.buy(lambda: server) for each in buyers))
        assert sorted(each.order is not None for each in answers) == [False, True, True, True]
        assert [each.code for each in answers if each.order is None] == ["out_of_stock"]
        for each in buyers:
            await each.way.close()


async def test_patch_get_and_delete_reach_the_sessions_owner(tmp_path: Path, ffmpeg: str) -> None:
    async with show(tmp_path, ffmpeg) as server, audience(server, 2) as watchers:
        await until(lambda: all(each.plays(50) for each in watchers))
        for each in watchers:
            url = server.url + each.client.resource
            assert await _status(server, "GET", url) == 204
            fragment = "a=ice-ufrag:newufrag\r\na=ice-pwd:newpassword-of-24-characters\r\n"
            fragment += "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"
            headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*"}
            async with server.http.patch(url, data=fragment, headers=headers) as reply:
                assert reply.status == 200
                assert "a=ice-pwd:" in await reply.text()
                tag = reply.headers["ETag"]
            headers["If-Match"] = tag
            trickle = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=end-of-candidates\r\n"
            async with server.http.patch(url, data=trickle, headers=headers) as reply:
                assert reply.status == 204
            headers["If-Match"] = '"another"'
            async with server.http.patch(url, data=trickle, headers=headers) as reply:
                assert reply.status == 412
            assert await _status(server, "DELETE", url) == 200
            assert await _status(server, "DELETE", url) == 404
            await asyncio.wait_for(each.client.closed, PATIENCE_S)
        for unknown in ("w1-nobody", "w9-nobody", "w0-nobody", "nobody"):
            assert await _status(server, "GET", f"{server.url}/whep/show/{unknown}") == 404


async def test_what_a_worker_refuses_is_told_as_by_one_process(tmp_path: Path) -> None:
    async with running(tmp_path, "workers=2") as server:
        await server.room()
        headers = {"Content-Type": "application/sdp"}
        url = f"{server.url}/whep/show"
        offer = WebRtcClient(CERTIFICATE).offer()
        async with server.http.post(url, data=offer, headers=headers) as reply:
            problem = await reply.json(content_type=None)
            assert (reply.status, problem["code"]) == (409, "not_live")
            assert reply.headers["Retry-After"] == "2"
            assert reply.content_type == "application/problem+json"
        async with server.http.get(f"{server.url}/readyz") as reply:
            assert (await reply.json())["checks"]["webrtc"] == "ok"


async def test_a_worker_that_is_killed_costs_its_own_viewers_alone_and_comes_back(
    tmp_path: Path, ffmpeg: str
) -> None:
    async with show(tmp_path, ffmpeg) as server, audience(server, 4) as watchers:
        await until(lambda: all(each.plays(100) for each in watchers))
        sent = await server.metric("hawker_rtp_packets_sent_total")
        before = workers(server)
        ports = server.ready["webrtc"]
        os.kill(before["w1"], signal.SIGKILL)
        await _metric(server, "hawker_event_sessions", 2)  # the others' viewers have left the room
        mine = next(each for each in watchers if each.worker == "w1")
        assert await _status(server, "GET", server.url + mine.client.resource) == 404
        others = [each for each in watchers if each.worker == "w2"]
        for each in others:
            each.packets.clear()
        await _metric(server, "hawker_workers_ready", 2)
        await until(lambda: all(each.plays(60) for each in others))
        assert not any(each.client.closed.done() for each in others)
        assert workers(server)["w2"] == before["w2"]
        assert workers(server)["w1"] != before["w1"]
        again = await watch(server)
        assert again.worker == "w1"  # it has the fewest, on the port it had
        await until(lambda: again.plays(100))
        assert any(port in "".join(server.logged("serves viewers")[-1:]) for port in ports)
        async with asyncio.timeout(10):  # the workers tell of theirs now and then
            while await server.metric("hawker_rtp_packets_sent_total") <= sent:
                await asyncio.sleep(0.1)
        assert await server.metric("hawker_worker_restarts_total") == 1
        await again.client.close()


async def test_a_watch_page_comes_back_by_itself_when_its_worker_is_killed(
    tmp_path: Path, ffmpeg: str, chromium: str
) -> None:
    async with show(tmp_path, ffmpeg) as server, browser.browser(chromium) as chrome:
        page = await chrome.new_page()
        await page.goto(f"{server.url}/watch/show")
        await browser.transport(page, "webrtc")
        await browser.frames_beyond(page, 30)
        await browser.until(page, "hawker.carrier === 'channels'")
        counts = {pid: await _sessions_of(server, name) for name, pid in workers(server).items()}
        (owner,) = (pid for pid, sessions in counts.items() if sessions == 1)
        await page.evaluate("window.first = hawker.pc")
        os.kill(owner, signal.SIGKILL)
        async with asyncio.timeout(GONE_S):
            await browser.until(page, "hawker.pc !== null && hawker.pc !== window.first")
            await browser.frames_beyond(page, 0)
        await browser.transport(page, "webrtc")
        await browser.until(page, "hawker.carrier === 'channels'")


async def _sessions_of(server: Server, name: str) -> float:
    async with server.http.get(f"{server.url}/metrics") as reply:
        for line in (await reply.text()).splitlines():
            if line.startswith(f'hawker_worker_sessions{{worker="{name[1:]}"}}'):
                return float(line.rpartition(" ")[2])
    raise AssertionError(name)


async def _metric(server: Server, name: str, expected: float) -> None:
    """Wait until a figure is so."""
    async with asyncio.timeout(PATIENCE_S):
        while await server.metric(name) != expected:
            await asyncio.sleep(0.05)


async def _status(server: Server, method: str, url: str) -> int:
    async with server.http.request(method, url) as reply:
        return reply.status
