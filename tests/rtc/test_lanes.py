"""Messages and their acknowledgements on one port: the same with the compiled receiver and without."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import google_crc32c
import pytest

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.rtc.compiled_carrier import Compiled
from mediaserver.rtc.compiled_records import SACK_BYTES, LaneRecords
from mediaserver.rtc.dtls_records import GcmRecords
from mediaserver.rtc.session import Session
from mediaserver.rtc.transport import REST_S
from tests.rtc.compilers import built
from tests.rtc.players import udp_socket
from tests.rtc.test_transport import Port, Recorder, check
from tests.test_collector import until
from tests.virtual_time import virtual_time

RELIABLE, LIVE = 0, 1


@pytest.fixture(params=["python", "compiled"], scope="module")
def carrier(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Compiled | None]:
    yield built(tmp_path_factory.mktemp("compiled")) if request.param == "compiled" else None


async def heard() -> None:
    """Let the port read what was sent, also while it rests between acknowledgements."""
    for _ in range(3):
        await asyncio.sleep(REST_S)


class Call:
    """One session whose channels are open and whose first messages were acknowledged."""

    def __init__(self, port: Port, session: Session, client: WebRtcClient) -> None:
        self.port, self.session, self.client = port, session, client
        self.heard: list[tuple[int, str | bytes]] = []
        client.on_message = lambda channel, data: self.heard.append((channel, data))
        self.sctp: Any = session.channels and session.channels._sctp

    @classmethod
    async def to(cls, port: Port, handler: Recorder | None = None) -> Call:
        call = cls(port, *await port.call(handler or Recorder()))
        for number in range(3):
            await until(lambda: call.say(RELIABLE, "hello"))
            await call.settled(number + 1)
        assert (call.lane is not None) == (port.transport.carrier is not None)
        return call

    @property
    def lane(self) -> object:
        return self.session._dtls.lane

    @property
    def window(self) -> tuple[int, int]:
        records = self.session._dtls._records
        assert isinstance(records, GcmRecords)
        return records._newest, records._seen

    def say(self, channel: int, data: str | bytes) -> bool:
        assert self.session.channels is not None
        return self.session.channels.send(channel, data)

    async def settled(self, count: int) -> None:
        await until(lambda: len(self.heard) >= count and not self.sctp._sent_queue)

    def seal(self, packet: bytes) -> bytes:
        """As the client would."""
        records = self.client._dtls._records
        assert records is not None
        return records.seal(packet)

    def sack(self, tsn: int, window: int = 77_777, *, tag: int = 0, counts: int = 0) -> bytes:
        head = struct.pack("!HHL", 5000, 5000, self.sctp._local_verification_tag ^ tag)
        body = struct.pack("!BBHLLL", 3, 0, 16, tsn & 0xFFFFFFFF, window, counts)
        crc: int = google_crc32c.value(head + bytes(4) + body)
        return head + crc.to_bytes(4, "little") + body


@virtual_time
async def test_messages_of_all_sizes_arrive_in_order_and_are_acknowledged(
    carrier: Compiled | None,
) -> None:
    async with Port(carrier=carrier) as port:
        call = await Call.to(port)
        said: list[str | bytes] = []
        for number in range(200):
            size = (0, 3, 300, 1199, 1200, 1201, 5000)[number % 7]
            said.append(f"{number}".ljust(size, ".") if number % 2 else bytes(size))
            assert call.say(RELIABLE, said[-1])
            await heard()
        await call.settled(203)
        assert [data for _, data in call.heard[3:]] == said
        assert not call.sctp._flight_size and not port.transport.sender.errors


@pytest.mark.parametrize("channel", [RELIABLE, LIVE])
@virtual_time
async def test_many_are_told_the_same_and_each_hears_it_once(
    carrier: Compiled | None, channel: int
) -> None:
    async with Port(carrier=carrier) as port:
        calls = [await Call.to(port) for _ in range(5)]
        for number in range(20):
            for call in calls:
                assert call.say(channel, f"all {number}")
            await heard()
        for call in calls:
            await call.settled(23)
            assert [data for _, data in call.heard[3:]] == [f"all {n}" for n in range(20)]


@virtual_time
async def test_what_is_lost_each_way_is_sent_again_in_order(carrier: Compiled | None) -> None:
    async with Port(carrier=carrier) as port:
        call, dice = await Call.to(port), random.Random(4)
        client, send = call.client, call.client._send
        client.drop = lambda data: 20 <= data[0] < 64 and dice.random() < 0.1
        lossy = lambda data: dice.random() < 0.1 or send(data)  # noqa: E731
        setattr(client, "_send", lossy)  # noqa: B010
        for number in range(300):
            assert call.say(RELIABLE, f"{number}")
            await heard()
        await until(lambda: len(call.heard) >= 303)
        assert [data for _, data in call.heard[3:]] == [f"{n}" for n in range(300)]


@virtual_time
async def test_forged_replayed_or_foreign_acknowledgements_change_nothing(
    carrier: Compiled | None,
) -> None:
    async with Port(carrier=carrier) as port:
        call = await Call.to(port)
        call.client.drop = lambda data: True
        assert call.say(RELIABLE, "waits")
        sent, before = call.sctp._local_tsn - 1, call.sctp._peer_window
        plain = call.sack(sent)
        whole = call.seal(plain)
        assert len(whole) == SACK_BYTES
        wrong_sum = plain[:8] + bytes(4) + plain[12:]
        for data in (
            whole[:-1] + bytes((whole[-1] ^ 1,)),
            whole[:40],
            call.seal(call.sack(sent, tag=1)),
            call.seal(wrong_sum),
            call.seal(call.sack(sent - 2)),
        ):
            call.client._send(data)
            await heard()
        assert call.sctp._flight_size == len("waits")
        assert call.sctp._peer_window in (before, 77_777)
        call.client._send(whole)
        await heard()
        assert not call.sctp._flight_size
        window = call.window
        call.sctp._peer_window = 1
        call.client._send(whole)
        await heard()
        assert call.sctp._peer_window == 1 and call.window == window


@pytest.mark.parametrize("seed", range(3))
@virtual_time
async def test_whatever_record_comes_the_window_against_replays_is_that_of_python(
    carrier: Compiled | None, seed: int
) -> None:
    async with Port(carrier=carrier) as port:
        call, dice = await Call.to(port), random.Random(seed)
        records = call.client._dtls._records
        assert isinstance(records, GcmRecords)
        ours = call.session._dtls._records
        assert isinstance(ours, GcmRecords)
        model = GcmRecords(ours._keys, (0, 0, bytes(8)))
        model._newest, model._seen = call.window
        last = call.sctp._last_sacked_tsn
        for _ in range(400):
            records._next = max((1 << 48) + 1, records._next + dice.randrange(-70, 90))
            data = bytearray(call.seal(call.sack(last, tag=dice.random() < 0.1)))
            if dice.random() < 0.2:
                data[dice.randrange(13, len(data))] ^= 1 << dice.randrange(8)
            call.client._send(bytes(data))
            model.open(bytes(data))
            await heard()
            assert call.window == (model._newest, model._seen)


@virtual_time
async def test_an_acknowledgement_of_what_was_not_said_ends_the_session(
    carrier: Compiled | None,
) -> None:
    async with Port(carrier=carrier) as port:
        handler = Recorder()
        call = await Call.to(port, handler)
        call.client._send(call.seal(call.sack(call.sctp._local_tsn + 5)))
        await until(lambda: call.session.id not in port.transport.sessions)
        opened = port.transport._opened
        assert opened is None or not (opened._lanes or opened._acknowledged)
        assert call.lane is None


@virtual_time
async def test_after_a_move_messages_go_to_the_new_address_and_are_acknowledged_from_there(
    carrier: Compiled | None,
) -> None:
    async with Port(carrier=carrier) as port:
        call = await Call.to(port)
        with udp_socket() as mobile:
            mobile.sendto(check(call.session, nominate=True), port.address)
            await heard()
            with suppress(BlockingIOError):
                mobile.recv(2000)  # the answer to the check
            assert call.say(RELIABLE, "moved")
            await heard()
            assert mobile.recv(2000)[0] == 23
            for _ in range(2):
                mobile.sendto(call.seal(call.sack(call.sctp._local_tsn - 1)), port.address)
                await heard()
            assert not call.sctp._flight_size


@virtual_time
async def test_what_was_said_leaves_before_the_goodbye(carrier: Compiled | None) -> None:
    async with Port(carrier=carrier) as port:
        call = await Call.to(port)
        assert call.say(RELIABLE, "last words")
        port.transport.close(call.session, "test")
        await until(lambda: len(call.heard) == 4)
        assert call.heard[-1] == (RELIABLE, "last words")
        assert not call.session.channels


@virtual_time
async def test_records_of_a_lane_are_those_that_python_makes(carrier: Compiled | None) -> None:
    async with Port(carrier=carrier) as port:
        call = await Call.to(port)
        records = call.session._dtls._records
        assert isinstance(records, GcmRecords)
        assert isinstance(records, LaneRecords) == (carrier is not None)
        twin = GcmRecords(records._keys, (0, records._next - 1, bytes(8)))
        twin._nonce = records._nonce
        wire: list[bytes] = []
        call.client.drop = lambda data: bool(wire.append(data) or data)  # type: ignore[func-returns-value]
        tsn, sequence = call.sctp._local_tsn, call.sctp._outbound_stream_seq[0]
        assert call.say(RELIABLE, "abcde")
        await until(lambda: bool(wire))
        head = struct.pack("!HHL", 5000, 5000, call.sctp._remote_verification_tag)
        body = struct.pack("!BBHLHHL", 0, 3, 21, tsn, 0, sequence, 51) + b"abcde\0\0\0"
        crc: int = google_crc32c.value(head + bytes(4) + body)
        assert wire[0] == twin.seal(head + crc.to_bytes(4, "little") + body)
