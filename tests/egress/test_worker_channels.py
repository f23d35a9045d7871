"""Data channels over a worker: what is said once for many, what is counted, and what is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mediaserver.egress import control, link
from mediaserver.egress.link import Link
from mediaserver.egress.worker_messages import GIVE_UP_S, RETRY_S, WorkerMessages
from mediaserver.egress.worker_viewers import WINDOW_BYTES, Said, WorkerViewer
from mediaserver.errors import ProtocolError
from tests.virtual_time import virtual_time

RELIABLE, LIVE = 0, 1
EVENT = b"an event of the room"
MESSAGES = [
    control.Hello(1),
    control.Begin({"host": "::", "port": 8190, "public_addresses": []}, 5000),
    control.Watch(7, "show", b"v=0", None, "192.0.2.1"),
    control.Done(7, ["resource", "ufrag", "answer"], 3),
    control.Refused(7, 409, "not_live", "Not live", "show is not live", {"Retry-After": "2"}, {}),
    control.Opened(3, "show", "a token"),
    control.Received(3, '{"t":"like"}'),
    control.Say(1, EVENT, [3, 4, 5]),
    control.Taken([3, 20]),
    control.Told({"show": 2}, 3, {"min": 5e5}, {"packets": 9}),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_parses_back(message: object) -> None:
    assert control.MessageReader().feed(control.serialize(message)) == [message]


@pytest.mark.parametrize("body", [b"\xc1", b"\x91\x63", b"\x90", b"\x93\x00\x01\x02", b"\x01"])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        control.parse(body)


# -- the server's half ---------------------------------------------------------------------------


async def test_an_event_to_a_whole_room_crosses_the_socket_once() -> None:
    told: list[Any] = []
    said = Said(told.append)
    viewers = [WorkerViewer(number, said, told.append) for number in range(500)]
    for each in viewers:
        each.send(RELIABLE, b"hello")
        each.taken(5)
    told.clear()
    assert all(each.send(LIVE, EVENT) for each in viewers)
    assert all(each.send(LIVE, b"another") for each in viewers)
    await asyncio.sleep(0)
    every = list(range(500))
    assert told == [control.Say(LIVE, EVENT, every), control.Say(LIVE, b"another", every)]


async def test_nothing_follows_the_first_message_until_it_has_been_taken() -> None:
    told: list[Any] = []
    viewer = WorkerViewer(3, Said(told.append), told.append)
    assert not viewer.send(LIVE, EVENT)
    assert viewer.send(RELIABLE, b"hello")
    assert not viewer.send(RELIABLE, b"more")
    assert not viewer.send(LIVE, EVENT)
    viewer.taken(5)
    assert viewer.send(RELIABLE, b"more")
    assert viewer.send(LIVE, EVENT)
    await asyncio.sleep(0)
    assert told == [
        control.Say(RELIABLE, b"hello", [3]),
        control.Say(RELIABLE, b"more", [3]),
        control.Say(LIVE, EVENT, [3]),
    ]


async def test_what_is_under_way_to_one_viewer_is_bounded() -> None:
    told: list[Any] = []
    viewer = WorkerViewer(3, Said(told.append), told.append)
    assert viewer.send(RELIABLE, bytes(3 * WINDOW_BYTES))  # a long one goes alone
    viewer.taken(3 * WINDOW_BYTES)
    taken = 0
    while viewer.send(RELIABLE, bytes(1000)):
        taken += 1
    assert taken == WINDOW_BYTES // 1000
    viewer.taken(1000)
    assert viewer.send(RELIABLE, bytes(1000))
    assert not viewer.send(RELIABLE, bytes(1000))


async def test_a_viewer_that_was_hung_up_on_is_told_once_and_takes_nothing() -> None:
    told: list[Any] = []
    viewer = WorkerViewer(3, Said(told.append), told.append)
    assert viewer.send(RELIABLE, b"goodbye")
    viewer.hang_up()
    viewer.hang_up()
    assert told == [control.Say(RELIABLE, b"goodbye", [3]), control.HangUp(3)]
    assert not viewer.send(RELIABLE, b"more")


# -- the worker's half ---------------------------------------------------------------------------


@dataclass(eq=False)
class Channels:
    """A viewer's data channels, which take what they are given while they are open."""

    open: bool = False
    taken: list[tuple[int, str | bytes]] = field(default_factory=list)
    hung_up: bool = False

    def send(self, channel: int, data: str | bytes) -> bool:
        if self.open:
            self.taken.append((channel, data))
        return self.open

    def hang_up(self) -> None:
        self.hung_up = True


def viewer(messages: WorkerMessages, channels: Channels) -> int:
    number = messages.number(channels)
    messages.opened(channels, "show", None, channels.send, channels.hang_up)
    return number


@virtual_time
async def test_own_words_wait_in_order_until_the_channel_opens() -> None:
    told: list[Any] = []
    messages, channels = WorkerMessages(told.append), Channels()
    number = viewer(messages, channels)
    messages.say(control.Say(RELIABLE, b"one", [number]))
    messages.say(control.Say(RELIABLE, b"two!", [number]))
    messages.say(control.Say(LIVE, EVENT, [number]))
    await asyncio.sleep(10 * RETRY_S)
    assert told == [control.Opened(number, "show", None)]
    channels.open = True
    await asyncio.sleep(2 * RETRY_S)
    assert channels.taken == [(RELIABLE, b"one"), (RELIABLE, b"two!")]
    assert told[1:] == [control.Taken([number, 7])]


@virtual_time
async def test_last_words_come_before_the_channels_close() -> None:
    told: list[Any] = []
    messages, channels = WorkerMessages(told.append), Channels()
    number = viewer(messages, channels)
    messages.say(control.Say(RELIABLE, b"goodbye", [number]))
    messages.hang_up(number)
    messages.received(channels, b"late")
    await asyncio.sleep(RETRY_S)
    assert not channels.hung_up
    channels.open = True
    await asyncio.sleep(2 * RETRY_S)
    assert channels.taken == [(RELIABLE, b"goodbye")]
    assert channels.hung_up
    assert not [each for each in told if isinstance(each, control.Received)]


@virtual_time
async def test_channels_that_take_nothing_for_long_are_closed_and_the_server_is_told() -> None:
    told: list[Any] = []
    messages, channels = WorkerMessages(told.append), Channels()
    number = viewer(messages, channels)
    messages.say(control.Say(RELIABLE, b"an order", [number]))
    await asyncio.sleep(GIVE_UP_S + 1)
    assert channels.hung_up
    assert told[-1] == control.Mute(number)
    messages.say(control.Say(RELIABLE, b"more", [number]))
    messages.closed(channels)
    assert told[-1] == control.Gone(number)


@virtual_time
async def test_a_session_that_ends_takes_what_waits_with_it() -> None:
    told: list[Any] = []
    messages, channels = WorkerMessages(told.append), Channels()
    number = viewer(messages, channels)
    messages.say(control.Say(RELIABLE, b"one", [number]))
    messages.closed(channels)
    messages.closed(channels)
    channels.open = True
    await asyncio.sleep(2 * RETRY_S)
    assert channels.taken == []
    assert told == [control.Opened(number, "show", None), control.Gone(number)]


# -- the socket between them ---------------------------------------------------------------------


async def connected(tmp_path: Any, serve: Callable[[Link], Any]) -> tuple[asyncio.Server, Link]:
    path = tmp_path / "workers"
    server = await asyncio.start_unix_server(
        lambda reader, writer: serve(Link(reader, writer)), str(path)
    )
    return server, await Link.connect(path)


async def test_who_does_not_read_is_cut_off(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "WRITE_LIMIT_BYTES", 1 << 20)
    accepted: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
    server, client = await connected(tmp_path, accepted.set_result)
    ours = await accepted
    told = 0
    while not ours.closed:
        ours.tell(control.Say(RELIABLE, bytes(64 << 10), [1]))
        told += 1
        assert told < 100
    ours.tell(control.HangUp(1))  # nothing happens any more
    client.close()
    server.close()
    await server.wait_closed()
