"""RTP on its way from the socket to a handler: the same with the compiled receiver and without."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.errors import ProtocolError
from mediaserver.protocol import rtcp, rtp
from mediaserver.rtc.compiled_carrier import Compiled
from mediaserver.rtc.compiled_receive import SOURCES
from mediaserver.rtc.srtp import MAX_SSRCS, Srtp
from tests.rtc.compilers import built
from tests.rtc.players import fresh_keys, udp_socket
from tests.rtc.test_transport import Port, Recorder, check
from tests.virtual_time import virtual_time

SSRC = 0xABCD0123


@pytest.fixture(params=["python", "compiled"], scope="module")
def carrier(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Compiled | None]:
    yield built(tmp_path_factory.mktemp("compiled")) if request.param == "compiled" else None


async def heard(count: int = 1) -> None:
    """Let the port read what was sent, however many turns of the loop that takes."""
    for _ in range(4 + count):
        await asyncio.sleep(0)


def packet(sequence: int, ssrc: int = SSRC, payload: bytes = b"payload") -> bytes:
    return rtp.serialize_header(96, sequence % 2 == 0, sequence, 3000 * sequence, ssrc) + payload


def shapes() -> list[bytes]:
    """What RTP may look like, well-formed and not, under running numbers."""
    one_byte = rtp.serialize_extensions({3: b"\1\2", 4: b"abc"})
    two_byte = rtp.serialize_extensions({3: b"\1\2", 200: bytes(40)})

    def header(padding: bool = False, extension: bytes = b"") -> bytes:
        return rtp.serialize_header(96, True, 0, 0x89ABCDEF, SSRC, padding, extension)

    with_sources = bytes((0x82,)) + header()[1:] + bytes(8)
    whole = [
        header(),
        header() + b"payload",
        header(extension=one_byte) + b"payload",
        header(extension=two_byte) + b"payload",
        header(extension=b"\xbe\xde\0\0") + b"payload",
        header(extension=b"\x12\x34\0\1abcd"),
        header(padding=True) + b"payload\0\0\3",
        header(padding=True, extension=one_byte) + b"\1",
        header(padding=True) + b"\0\0\0\4",
        with_sources + b"payload",
        bytes((0x92,)) + with_sources[1:] + one_byte + b"payload",
    ]
    broken = [
        header(padding=True),
        header(padding=True) + b"payload\0",
        header(padding=True) + b"payload\xff",
        header(padding=True, extension=one_byte) + b"ab\4",
    ]
    return [
        data[:2] + number.to_bytes(2, "big") + data[4:]
        for number, data in enumerate([packet(0), *whole, *broken, packet(0)], 1)
    ]


def mutated(dice: random.Random, data: bytes, number: int) -> bytes:
    """Another byte or two, but not in its number and source: libsrtp goes by them."""
    changed = bytearray(data)
    for _ in range(dice.randrange(3)):
        at = dice.choice((0, 1, *range(12, len(changed))))
        changed[at] = dice.randrange(256)
    changed[2:4] = number.to_bytes(2, "big")
    return bytes(changed)


def parsed(packets: list[bytes]) -> tuple[list[rtp.RtpPacket], int]:
    """What a handler is to get, and how many of them make no sense."""
    good, bad = [], 0
    for each in packets:
        try:
            good.append(rtp.parse(each))
        except ProtocolError:
            bad += 1
    return good, bad


def protect(client: WebRtcClient, data: bytes) -> bytes | None:
    """As it goes over the wire; None for what libsrtp itself takes for nonsense."""
    assert client.srtp is not None
    try:
        return client.srtp.protect(data)
    except OSError:
        return None


def send(client: WebRtcClient, *packets: bytes) -> None:
    for each in packets:
        data = protect(client, each)
        assert data is not None
        client._send(data)


@virtual_time
async def test_packets_of_every_shape_arrive_parsed_and_the_broken_are_counted(
    carrier: Compiled | None,
) -> None:
    async with Port(carrier=carrier) as port:
        handler = Recorder()
        _, client = await port.call(handler)
        packets = shapes()
        send(client, *packets)
        await heard()
        good, bad = parsed(packets)
        assert handler.rtp == good
        assert port.transport.dropped.bad_srtp == bad == 4


@pytest.mark.parametrize("seed", range(3))
@virtual_time
async def test_whatever_decrypts_is_parsed_alike(carrier: Compiled | None, seed: int) -> None:
    async with Port(carrier=carrier) as port:
        handler, dice = Recorder(), random.Random(seed)
        _, client = await port.call(handler)
        sent = [packet(0)]
        send(client, *sent)
        for number in range(1, 1500):
            data = mutated(dice, dice.choice(shapes()), number)
            is_rtcp = 192 <= data[1] <= 223
            wire = None if is_rtcp or data[0] >> 6 != 2 else protect(client, data)
            if wire is not None:
                sent.append(data)
                client._send(wire)
            if number % 20 == 0:
                await heard()
        await heard()
        good, bad = parsed(sent)
        assert handler.rtp == good
        assert port.transport.dropped.bad_srtp == bad > 20


@virtual_time
async def test_replays_and_forgeries_reach_nobody_and_are_counted(
    carrier: Compiled | None,
) -> None:
    async with Port(carrier=carrier) as port:
        handler = Recorder()
        _, client = await port.call(handler)
        send(client, packet(1), packet(2))
        await heard()
        captured = protect(client, packet(3))
        assert captured is not None
        forged = captured[:-1] + bytes((captured[-1] ^ 1,))
        for each in (forged, captured, captured, captured[:11], captured[:20], captured):
            client._send(each)
        client._send(Srtp(fresh_keys()).protect(packet(4)))
        await heard()
        assert [each.sequence for each in handler.rtp] == [1, 2, 3]
        assert port.transport.dropped.bad_srtp == 5
        assert port.transport.dropped.other == 1


@virtual_time
async def test_reports_between_the_packets_are_read(carrier: Compiled | None) -> None:
    async with Port(carrier=carrier) as port:
        handler = Recorder()
        _, client = await port.call(handler)
        report = rtcp.SenderReport(SSRC, 1, 2, 3, 4)
        for number in range(5):
            send(client, packet(number))
            client.send_rtcp(rtcp.serialize_sender_report(report, "test"))
        await heard()
        assert [each.sequence for each in handler.rtp] == [0, 1, 2, 3, 4]
        assert len([each for each in handler.reports if each == report]) == 5


@virtual_time
async def test_sources_are_heard_up_to_a_bound(carrier: Compiled | None) -> None:
    async with Port(carrier=carrier) as port:
        handler = Recorder()
        session, client = await port.call(handler)
        for number in range(3):
            for ssrc in range(1, MAX_SSRCS + 10):
                send(client, packet(number, ssrc))
            await heard(20)
        assert session.srtp is not None and len(session.srtp._ssrcs) <= MAX_SSRCS
        heard_of = [each.ssrc for each in handler.rtp]
        assert set(heard_of) == set(range(1, MAX_SSRCS + 1))
        assert len(heard_of) == 3 * MAX_SSRCS
        assert port.transport.dropped.bad_srtp == 3 * 9
        if port.transport._opened is not None:
            assert len(port.transport._opened._routes) == SOURCES


class Quitter(Recorder):
    """Closes its session at the second packet."""

    def __init__(self, port: Port) -> None:
        super().__init__()
        self._port = port

    def on_rtp(self, packet: rtp.RtpPacket, now: float) -> None:
        super().on_rtp(packet, now)
        if len(self.rtp) == 2:
            assert self.connected is not None
            self._port.transport.close(self.connected, "enough")


@virtual_time
async def test_nothing_follows_the_packet_at_which_a_handler_closes_its_session(
    carrier: Compiled | None,
) -> None:
    async with Port(carrier=carrier) as port:
        handler = Quitter(port)
        _, client = await port.call(handler)
        send(client, packet(1))
        await heard()
        send(client, *(packet(number) for number in range(2, 9)))
        await heard()
        assert [each.sequence for each in handler.rtp] == [1, 2]
        assert port.transport.dropped.unknown_address >= 6
        assert port.transport._opened is None or not port.transport._opened._routes


@virtual_time
async def test_an_address_that_another_session_takes_over_is_heard_by_that_one(
    carrier: Compiled | None,
) -> None:
    async with Port(carrier=carrier) as port:
        old, new = Recorder(), Recorder()
        _, client = await port.call(old)
        send(client, packet(1), packet(2))
        await heard()
        later = port.open(new)
        client._send(check(later))
        await heard()
        later.srtp = Srtp(fresh_keys())
        send(client, packet(3))
        await heard()
        assert [each.sequence for each in old.rtp] == [1, 2]
        assert not new.rtp and port.transport.dropped.bad_srtp == 1


@virtual_time
async def test_a_source_is_heard_from_the_address_that_it_has_moved_to(
    carrier: Compiled | None,
) -> None:
    async with Port(carrier=carrier) as port:
        handler = Recorder()
        session, client = await port.call(handler)
        send(client, packet(1), packet(2))
        await heard()
        with udp_socket() as mobile:
            mobile.sendto(check(session, nominate=True), port.address)
            for number in (3, 4, 5):
                data = protect(client, packet(number))
                assert data is not None
                mobile.sendto(data, port.address)
            await heard()
        assert [each.sequence for each in handler.rtp] == [1, 2, 3, 4, 5]
