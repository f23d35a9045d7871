"""A room's events over two data channels: what is reliable, what comes in copies, and when it ends.

`Wire` stands where a WHEP session's `send` does; the last test has a real one, over DTLS and SCTP.
"""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from mediaserver.protocol import sdp
from overlay.data_channels import COPIED, COPIES, DataChannels
from overlay.events import Event, Request, pack, parse, serialize_request
from overlay.outbox import MESSAGES_MAX
from tests.overlay.feed_house import ROOM, House, open_feed_house
from tests.rtc.house import open_house

RELIABLE, LIVE = 0, 1


class Wire:
    """The viewer's end: `taken` is what came, `taking` whether a channel takes more."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, bytes | str]] = []
        self.taking = {RELIABLE: True, LIVE: True}
        self.tried = 0
        self.hung_up = False
        self._changed = asyncio.Event()

    def hang_up(self) -> None:
        self.hung_up = True
        self._changed.set()

    def send(self, channel: int, data: bytes | str) -> bool:
        self.tried += 1
        if self.taking[channel]:
            self.taken.append((channel, data))
        self._changed.set()
        return self.taking[channel]

    def came(self, type: str) -> list[tuple[int, Event]]:
        events = [(channel, parse(data)) for channel, data in self.taken]
        return [(channel, event) for channel, event in events if event.type == type]

    def has(self, seq: int) -> bool:
        """Whether the event of this seq came among the latest."""
        return any(parse(data).seq == seq for _, data in self.taken[-4 * COPIED :])

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once the condition holds; it is looked at whenever something was sent."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def of(self, type: str, count: int = 1) -> list[tuple[int, Event]]:
        """The first `count` events of a type with their channels."""
        await self.until(lambda: len(self.came(type)) >= count)
        return self.came(type)[:count]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_feed_house(tmp_path) as house:
        yield house


@pytest.fixture
async def channels(house: House) -> AsyncIterator[DataChannels]:
    channels = DataChannels(house.sessions)
    yield channels
    channels.close()


@pytest.fixture
def wire() -> Wire:
    return Wire()


def ask(type: str, **data: object) -> bytes:
    asked = serialize_request(Request("r", type, data), "msgpack")
    assert isinstance(asked, bytes)
    return asked


async def test_hello_replies_and_own_events_are_reliable(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    channels.opened("one", ROOM, house.token("ana"), wire.send, wire.hang_up)
    await wire.of("hello")
    channels.received("one", ask("chat.send", text="hello"))
    await wire.of("reply")
    updated = Event("order.updated", {}, "evt_1", 0)
    await house.store.commit("1", events=[("buyer/ana", pack(updated))])
    await wire.of("order.updated")
    for type in ("hello", "reply", "order.updated"):
        assert [channel for channel, _ in wire.came(type)] == [RELIABLE]


async def test_a_public_event_comes_in_copies_on_the_live_channel(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    channels.opened("one", ROOM, None, wire.send, wire.hang_up)
    await wire.of("hello")
    await house.feed.publish(ROOM, "card.pinned", {"card": "crd_1"})
    copies = await wire.of("card.pinned", COPIES)
    assert [channel for channel, _ in copies] == [LIVE] * COPIES
    assert len({event.id for _, event in copies}) == 1
    await wire.of("seq")
    assert len(wire.came("card.pinned")) == COPIES


async def test_chat_and_the_seq_of_every_second_come_once_on_the_live_channel(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    channels.opened("one", ROOM, house.token("ana"), wire.send, wire.hang_up)
    channels.received("one", ask("chat.send", text="hello"))
    await wire.of("chat")
    await house.feed.publish(ROOM, "announcement", {})
    ((channel, event),) = (await wire.of("seq", 2))[1:]
    assert (channel, event.data["seq"]) == (LIVE, 1)
    assert event.data["clock"]["rtp_rate"] == 90_000
    assert [channel for channel, _ in wire.came("chat")] == [LIVE]


async def test_of_a_burst_only_the_last_are_copied(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    channels.opened("one", ROOM, None, wire.send, wire.hang_up)
    await wire.of("hello")
    burst = [Event("price.changed", {"n": n}, f"evt_{n}", 0) for n in range(12)]
    stream = f"room/{ROOM}"
    await house.store.commit("1", events=[(stream, pack(event)) for event in burst])
    await wire.of("price.changed", 12 + COPIED * (COPIES - 1))
    await wire.of("seq")
    counts = [
        sum(1 for _, event in wire.came("price.changed") if event.seq == seq)
        for seq in range(1, 13)
    ]
    assert counts == [1] * (12 - COPIED) + [COPIES] * COPIED


async def test_a_gap_is_refilled_over_the_reliable_channel(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    channels.opened("one", ROOM, None, wire.send, wire.hang_up)
    await wire.of("hello")
    await house.feed.publish(ROOM, "card.pinned", {})
    await wire.of("card.pinned", COPIES)
    channels.received("one", ask("resume", after=0))
    await wire.of("reply")
    assert [channel for channel, _ in wire.came("card.pinned")] == [LIVE] * COPIES + [RELIABLE]


async def test_channels_that_open_late_get_everything_in_order(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    wire.taking = {RELIABLE: False, LIVE: False}
    channels.opened("one", ROOM, None, wire.send, wire.hang_up)
    await wire.until(lambda: wire.tried >= 2)
    await house.feed.publish(ROOM, "card.pinned", {})
    wire.taking = {RELIABLE: True, LIVE: True}
    await wire.of("card.pinned")
    kinds = [parse(data).type for _, data in wire.taken]
    assert kinds.index("hello") < kinds.index("card.pinned")


async def test_a_full_live_channel_delays_public_events_and_loses_none(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    channels.opened("one", ROOM, None, wire.send, wire.hang_up)
    await wire.of("hello")
    wire.taking[LIVE] = False
    for number in range(3):
        await house.feed.publish(ROOM, "price.changed", {"n": number})
    await wire.until(lambda: wire.tried >= 3)
    wire.taking[LIVE] = True
    await wire.until(lambda: {event.seq for _, event in wire.came("price.changed")} == {1, 2, 3})


async def test_a_viewer_that_takes_nothing_is_let_go_and_holds_nobody_up(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    stuck = Wire()
    channels.opened("stuck", ROOM, None, stuck.send, stuck.hang_up)
    channels.opened("other", ROOM, None, wire.send, wire.hang_up)
    await asyncio.gather(stuck.of("hello"), wire.of("hello"))
    assert house.sessions.count(ROOM) == 2
    stuck.taking = {RELIABLE: False, LIVE: False}
    total = MESSAGES_MAX + 200
    events = [Event("price.changed", {"n": n}, f"evt_{n}", 0) for n in range(total)]
    stream = f"room/{ROOM}"
    for start in range(0, total, 200):
        batch = [(stream, pack(event)) for event in events[start : start + 200]]
        await house.store.commit(f"{start}", events=batch)
        await wire.until(partial(wire.has, min(total, start + 200)))
    assert house.sessions.count(ROOM) == 1


async def test_who_speaks_json_is_answered_in_json(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    channels.opened("one", ROOM, None, wire.send, wire.hang_up)
    await wire.of("hello")
    channels.received("one", json.dumps({"rid": 1, "t": "like"}))
    await wire.of("reply")
    await house.feed.publish(ROOM, "announcement", {})
    await wire.of("announcement")
    assert isinstance(wire.taken[0][1], bytes)
    assert isinstance(wire.taken[-1][1], str)


async def test_what_is_asked_before_hello_is_answered_after_it(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    channels.opened("one", ROOM, None, wire.send, wire.hang_up)
    channels.received("one", ask("like"))
    await wire.of("reply")
    assert [parse(data).type for _, data in wire.taken[:2]] == ["hello", "reply"]


async def test_a_stale_token_looks_on_like_no_token(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    channels.opened("one", ROOM, "a token of nobody", wire.send, wire.hang_up)
    channels.received("one", ask("chat.send", text="hello"))
    ((_, error),) = await wire.of("error")
    assert error.data["code"] == "token_missing"


async def test_a_session_that_ends_leaves_nothing_behind(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    channels.opened("one", ROOM, None, wire.send, wire.hang_up)
    channels.opened("two", ROOM, None, wire.send, wire.hang_up)
    await wire.of("hello", 2)
    await house.feed.publish(ROOM, "card.pinned", {})
    await wire.of("card.pinned")
    channels.opened("three", ROOM, None, wire.send, wire.hang_up)
    for name in ("one", "two", "three", "three", "nobody"):
        channels.closed(name)
    channels.received("one", ask("like"))
    assert house.sessions.count(ROOM) == 0
    tried = wire.tried
    await house.feed.publish(ROOM, "card.pinned", {})
    assert wire.tried == tried


async def test_a_session_closed_by_its_limits_says_its_last_words(
    house: House, channels: DataChannels, wire: Wire
) -> None:
    channels.opened("one", ROOM, None, wire.send, wire.hang_up)
    await wire.of("hello")
    for _ in range(6):
        channels.received("one", b"\xc1")
    assert len(await wire.of("error", 5)) == 5
    await wire.until(lambda: wire.hung_up)
    assert house.sessions.count(ROOM) == 0


async def test_a_real_whep_session_gets_hello_an_answer_and_a_card(
    house: House, channels: DataChannels
) -> None:
    async with open_house() as media:
        media.whep.messages = channels
        media.publish(ROOM)
        wire = Wire()

        def on_message(channel: int, data: str | bytes) -> None:
            wire.send(channel, data)

        client = media.client()
        client.on_message = on_message
        token = house.token("ana")
        client.resource, answer = media.whep.watch(ROOM, client.offer(True).encode(), token)
        await client.connect(sdp.parse(answer), data=True)
        assert [channel for channel, _ in await wire.of("hello")] == [RELIABLE]
        assert client.channels is not None
        for number in (RELIABLE, LIVE):
            assert client.channels.send(number, ask("like", n=1))
        totals = {event.data["total"] for _, event in await wire.of("reply", 2)}
        assert totals == {1, 2}
        await house.feed.publish(ROOM, "card.pinned", {"card": "crd_1"}, media_ms=40)
        copies = await wire.of("card.pinned", COPIES)
        assert {(channel, event.seq) for channel, event in copies} == {(LIVE, 1)}
        for _ in range(5):
            assert client.channels.send(RELIABLE, b"\xc1")
        assert len(await wire.of("error", 5)) == 5
        async with asyncio.timeout(5):
            while any(each.readyState != "closed" for each in client.channels.channels):
                await asyncio.sleep(0.01)
        media.whep.delete(client.resource)
        async with asyncio.timeout(5):
            while house.sessions.count(ROOM):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("leaves", ["closed", "hung up"])
async def test_a_viewer_who_has_gone_is_freed_without_a_collection(
    house: House, channels: DataChannels, wire: Wire, leaves: str
) -> None:
    channels.opened("one", ROOM, house.token("ana"), wire.send, wire.hang_up)
    await wire.of("hello")
    channels.received("one", ask("like", n=1))
    await wire.of("reply")
    await house.feed.publish(ROOM, "card.pinned", {"card": "crd_1"})  # its copies are under way
    await wire.of("card.pinned")
    gc.collect()
    gc.disable()
    try:
        viewer = weakref.ref(channels._viewers["one"])
        (session,) = map(weakref.ref, house.sessions.opened)
        if leaves == "hung up":
            for opened in list(house.sessions.opened):
                opened.close("going_away")
            del opened
            await wire.until(lambda: wire.hung_up)
        channels.closed("one")
        await asyncio.sleep(0.05)
        assert viewer() is None and session() is None
    finally:
        gc.enable()
