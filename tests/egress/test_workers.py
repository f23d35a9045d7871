"""Fan-out processes behind a hub, without HTTP: real processes, real viewers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.egress.watching import Answered, Offered
from mediaserver.egress.worker_process import SILENT_S
from mediaserver.egress.worker_requests import ANSWER_S
from mediaserver.egress.workers import Workers
from mediaserver.errors import NotFound, PeerError, Unavailable
from mediaserver.hub.relay import RelayServer
from mediaserver.protocol import sdp
from mediaserver.rtc.admission import Admission
from tests.rtc.house import ROOM, Echo, House, Received, open_house

PATIENCE_S = 20.0


@dataclass
class FanOut:
    """A house whose viewers are served by workers."""

    house: House
    workers: Workers
    admission: Admission

    async def ask(self, client: WebRtcClient, remote: str = "") -> Answered:
        offer = client.offer().encode()
        return await self.workers.watch(Offered(ROOM, offer, None, remote))

    async def watch(self, received: Received) -> WebRtcClient:
        client = self.house.client(received)
        answered = await self.ask(client)
        client.resource = answered.resource
        await client.connect(sdp.parse(answered.answer))
        return client

    def pid(self, number: int) -> int:
        pid = self.workers._all[number - 1].child.pid
        assert pid is not None
        return pid


@asynccontextmanager
async def fan_out(count: int = 2, **limits: int) -> AsyncIterator[FanOut]:
    settings: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "max_sessions": 100}
    room_viewers = limits.pop("room_viewers", 100)
    async with open_house() as house:
        relay = RelayServer(house.hub)
        await relay.start()
        admission = Admission(100)
        workers = Workers(
            count, relay.path, Echo(), {**settings, **limits}, admission, room_viewers
        )
        try:
            await workers.start()
            house.publish()
            playing = asyncio.create_task(house.play(600))
            yield FanOut(house, workers, admission)
            playing.cancel()
        finally:
            await workers.stop()
            await relay.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_viewers_of_two_workers_get_the_same_stream_and_speak_with_the_server() -> None:
    async with fan_out() as here:
        both = [Received(), Received()]
        clients = [await here.watch(each) for each in both]
        assert sorted(each.resource[:3] for each in clients) == ["w1-", "w2-"]
        assert here.workers.sessions_by_worker() == {"1": 1, "2": 1}
        for client, received in zip(clients, both, strict=True):
            async with asyncio.timeout(PATIENCE_S):
                await received.until(lambda received=received: len(received.packets) > 100)  # type: ignore[misc]
            assert client.undecryptable == 0
            assert client.channels is not None
            while not client.channels.send(0, b"echo"):
                await asyncio.sleep(0.02)
            async with asyncio.timeout(PATIENCE_S):
                await received.until(lambda received=received: (0, b"echo") in received.messages)  # type: ignore[misc]
        await until(lambda: here.workers.viewers(ROOM) == 2)
        assert here.workers.figures().counters["packets"] > 100
        first, second = ({p.timestamp for p in each.packets} for each in both)
        assert first & second  # one RTP base


async def test_an_ice_restart_and_an_end_reach_the_session() -> None:
    async with fan_out() as here:
        client = await here.watch(Received())
        found = await here.workers.find(client.resource)
        assert found.peer is not None
        restarted = await here.workers.restart_ice(client.resource, found.peer)
        assert restarted.ufrag != found.ufrag
        assert (await here.workers.find(client.resource)).ufrag == restarted.ufrag
        await here.workers.delete(client.resource)
        await asyncio.wait_for(client.closed, PATIENCE_S)
        with pytest.raises(PeerError) as refused:
            await here.workers.delete(client.resource)
        assert (refused.value.status, refused.value.code) == (404, "not_found")
        await until(lambda: here.workers.sessions_by_worker() == {"1": 0, "2": 0})


async def test_limits_are_for_all_workers_together() -> None:
    async with fan_out(room_viewers=3, max_sessions=4) as here:
        for _ in range(3):
            await here.ask(here.house.client(), "192.0.2.1")
        with pytest.raises(Unavailable, match="the room is full"):
            await here.ask(here.house.client())
        assert here.admission._sessions == {"192.0.2.1": 3}
        offered = Offered("elsewhere", here.house.client().offer().encode(), None, "")
        with pytest.raises(PeerError) as refused:
            await here.workers.watch(offered)
        assert (refused.value.status, refused.value.code) == (409, "not_live")
        assert refused.value.headers == {"Retry-After": "2"}
        for process in here.workers._all:
            os.kill(here.pid(process.number), signal.SIGKILL)
        await until(lambda: not here.admission._sessions)


async def test_places_are_taken_while_workers_are_still_asked() -> None:
    async with fan_out(room_viewers=3) as here:
        asked = (here.ask(here.house.client(), "192.0.2.1") for _ in range(12))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [each for each in answers if isinstance(each, Exception)]
        assert len(refused) == 9
        assert all(isinstance(each, Unavailable) for each in refused)
        assert here.admission._sessions == {"192.0.2.1": 3}
        assert not here.workers._asked


async def test_a_worker_that_hangs_is_killed_and_started_again_and_counters_go_on() -> None:
    async with fan_out(1) as here:
        received = Received()
        client = await here.watch(received)
        async with asyncio.timeout(PATIENCE_S):
            await received.until(lambda: len(received.packets) > 50)
        (worker,) = here.workers._all
        await until(lambda: worker.figures().counters.get("packets", 0) > 50)
        os.kill(here.pid(1), signal.SIGSTOP)
        waiting = asyncio.create_task(here.ask(here.house.client()))
        await asyncio.sleep(0)
        counted, addresses = worker.figures().counters["packets"], worker.addresses
        worker.look(asyncio.get_running_loop().time() + SILENT_S + 1)
        async with asyncio.timeout(ANSWER_S / 2):  # who waits is told at once
            with pytest.raises(Unavailable):
                await waiting
        assert here.workers.ready == 0
        with pytest.raises(NotFound):
            await here.workers.find(client.resource)
        with pytest.raises(Unavailable):
            await here.ask(here.house.client())
        await until(lambda: here.workers.ready == 1)
        assert worker.figures().counters["packets"] >= counted
        assert worker.addresses == addresses
        assert here.workers.restarts == 1
        again = Received()
        await here.watch(again)
        async with asyncio.timeout(PATIENCE_S):
            await again.until(lambda: len(again.packets) > 50)


async def test_at_the_end_viewers_hear_goodbye_and_no_process_is_left() -> None:
    async with fan_out() as here:
        clients = [await here.watch(Received()) for _ in range(2)]
        pids = [here.pid(1), here.pid(2)]
        await here.workers.stop()
        await here.workers.stop()
        await asyncio.wait_for(asyncio.gather(*(each.closed for each in clients)), PATIENCE_S)
        assert all(map(ended, pids))


async def test_a_port_that_is_taken_is_told_at_the_start() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            async with fan_out(1, port=port - 1):
                pass
    with pytest.raises(OSError, match="no port so high"):
        async with fan_out(2, port=65_534):
            pass
