"""Sessions that have gone leave nothing for the collector of cycles, however they went."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mediaserver.protocol import sdp
from mediaserver.rtc.session import Session
from tests.ingest.whip_publisher import WhipPublisher
from tests.rtc.house import KEY, House, Received, open_house
from tests.virtual_time import until, virtual_time


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def parts(session: Session) -> dict[str, weakref.ref[Any]]:
    """What a session consists of, by name, held by nobody here."""
    found: dict[str, Any] = {
        "session": session,
        "handler": session.handler,
        "path": session._path,
        "dtls": session._dtls,
    }
    viewer = getattr(session.handler, "viewer", None)
    if viewer is not None:
        found["viewer"] = viewer
    if session.channels is not None:
        found |= {"channels": session.channels, "sctp": session.channels._sctp}
        found |= {f"channel {each.id}": each for each in session.channels.channels}
    return {name: weakref.ref(each) for name, each in found.items()}


async def gone(house: House, refs: dict[str, weakref.ref[Any]]) -> None:
    """Return when the transport has forgotten the session; what is left of it then is a failure."""
    while house.transport.sessions or house.transport._goodbyes:
        await asyncio.sleep(1)
    await asyncio.sleep(1)
    assert [name for name, ref in refs.items() if ref() is not None] == []


@asynccontextmanager
async def on_air() -> AsyncIterator[House]:
    async with open_house() as house:
        house.publish()
        yield house


def only_session(house: House) -> Session:
    (session,) = house.transport.sessions.values()
    return session


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("way", ["goodbye", "DELETE", "silence"])
@virtual_time
async def test_a_viewer_who_leaves_is_freed_at_once(data: bool, way: str) -> None:
    async with on_air() as house:
        received = Received()
        client = await house.watch(received, data=data)
        await house.play(0.2)
        if data:
            assert client.channels is not None
            channels = client.channels
            await until(lambda: channels.send(0, "hello"))
            await received.until(lambda: bool(received.messages))
        refs = parts(only_session(house))
        assert len(refs) == (9 if data else 5)
        if way == "DELETE":
            house.whep.delete(client.resource)
        elif way == "silence":
            client.drop = lambda data: True
            for task in client._tasks:
                task.cancel()
        else:
            await client.close()
        await gone(house, refs)


@virtual_time
async def test_one_who_never_came_is_freed() -> None:
    async with on_air() as house:
        client = house.client()
        house.whep.watch("show", client.offer(True).encode())
        await gone(house, parts(only_session(house)))


@virtual_time
async def test_one_who_stops_in_the_middle_of_the_handshake_is_freed() -> None:
    async with on_air() as house:
        client = house.client(drop=lambda data: 20 <= data[0] < 64)
        _, answer = house.whep.watch("show", client.offer(True).encode())
        refs = parts(only_session(house))
        with pytest.raises(TimeoutError):
            await client.connect(sdp.parse(answer))
        await gone(house, refs)


@virtual_time
async def test_one_whose_handshake_fails_is_freed() -> None:
    async with on_air() as house:
        client = house.client()
        offer = client.offer(True).replace(house.certificate.fingerprint, "AB:" * 31 + "AB")
        _, answer = house.whep.watch("show", offer.encode())
        refs = parts(only_session(house))
        await client.connect(sdp.parse(answer), data=False)
        await gone(house, refs)


@virtual_time
async def test_one_who_breaks_the_protocol_of_the_channels_is_freed() -> None:
    async with on_air() as house:
        client = await house.watch(data=True)
        assert client.channels is not None
        channels = client.channels
        await until(lambda: channels.send(0, "hello"))
        refs = parts(only_session(house))
        channels._sctp._last_received_tsn = 7  # acknowledges what was never sent
        await channels._sctp._send_sack()
        await gone(house, refs)


@virtual_time
async def test_a_publisher_is_freed() -> None:
    async with open_house() as house:
        client = WhipPublisher(house.certificate)
        house.clients.append(client)
        _, answer = await house.whip.publish(KEY, client.offer().encode(), "test")
        await client.connect(sdp.parse(answer), data=False)
        client.publish(house.pictures.next())
        await asyncio.sleep(0.1)
        refs = parts(only_session(house))
        del refs["handler"]  # which has cycles of its own; there are few of them
        await client.close()
        await gone(house, refs)
