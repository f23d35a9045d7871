"""Sessions over TCP: the same as over UDP, and as closed to strangers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiortc.rtcdtlstransport import SRTPProtectionProfile

from mediaserver.protocol import rtcp, sdp, stun, tcp_framing
from mediaserver.rtc import ice_tcp
from mediaserver.rtc.address import TcpAddress
from mediaserver.rtc.ice_tcp import CUSTOMER_UNVERIFIED, UNVERIFIED_FRAMES, UNVERIFIED_S
from mediaserver.rtc.session import ADDRESSES, SILENT_S
from mediaserver.rtc.transport import SWEEP_S
from tests.rtc.house import Received, open_house
from tests.rtc.players import CM, GCM, Player, gapless, udp_socket
from tests.rtc.stage import Stage, access_units
from tests.rtc.tcp_client import TcpClient
from tests.rtc.test_hostile_datagrams import every_first_byte, forged_dtls, junk
from tests.rtc.test_transport import Port, Recorder, answer_to, check
from tests.virtual_time import now, until, virtual_time

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def stranger(port: Port) -> AsyncIterator[Stream]:
    """A connection that nobody has vouched for."""
    reader, writer = await asyncio.open_connection(*port.address)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def asked(stream: Stream, request: bytes) -> stun.StunMessage:
    """The port's answer to a request."""
    reader, writer = stream
    writer.write(tcp_framing.serialize(request))
    length = int.from_bytes(await reader.readexactly(2), "big")
    return stun.parse(await reader.readexactly(length))


async def ended(stream: Stream) -> bool:
    """Whether the port has closed the connection; waits until it has."""
    with contextlib.suppress(ConnectionError):
        return not await stream[0].read()
    return True


def tcp_of(port: Port) -> ice_tcp.IceTcp:
    assert port.transport.tcp is not None
    return port.transport.tcp


# -- sessions ------------------------------------------------------------------------------------


@virtual_time
async def test_a_session_over_tcp_connects_carries_messages_and_ends_with_its_connection() -> None:
    async with Port() as port:
        handler = Recorder()
        session, client = await port.call(handler, client=TcpClient)
        assert isinstance(session.address, TcpAddress)
        channels, theirs = session.channels, client.channels
        assert channels is not None and theirs is not None
        await until(lambda: theirs.send(0, "up"))
        await until(lambda: handler.messages == [(0, "up")])
        client.send_rtcp(rtcp.serialize_receiver_report(rtcp.ReceiverReport(1, [])))
        await until(lambda: bool(handler.reports))
        port.transport.close(session, "test")
        await client.closed
        await until(lambda: tcp_of(port).connections == 0)
        assert not port.transport._by_address


@virtual_time
async def test_a_viewer_over_tcp_gets_the_whole_stream_beside_one_over_udp() -> None:
    async with open_house() as house:
        house.publish()
        over_tcp, over_udp = Received(), Received()
        client = TcpClient(house.certificate, clock=now)
        client.on_rtp = over_tcp.on_rtp
        house.clients.append(client)
        client.resource, answer = house.whep.watch("show", client.offer(False).encode())
        await client.connect(sdp.parse(answer), data=False)
        await house.watch(over_udp)
        await house.play(2.0)
        video = house.whep.channels[0].broadcast.video
        for received in (over_tcp, over_udp):
            packets = received.of(video.ssrc)
            assert gapless(packets)
            assert packets[-1].sequence == (video.next_index - 1) & 0xFFFF
        assert client.undecryptable == client.nacked == 0


@virtual_time
async def test_a_nomination_moves_a_session_from_udp_to_tcp_and_back() -> None:
    async with Port() as port:
        handler = Recorder()
        session, client = await port.call(handler)
        udp = session.address
        report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(1, []))
        async with stranger(port) as stream:
            assert (await asked(stream, check(session))).message_type == stun.BINDING_SUCCESS
            assert session.address == udp
            answer = await asked(stream, check(session, nominate=True))
            assert answer.mapped_address == stream[1].get_extra_info("sockname")
            assert isinstance(session.address, TcpAddress)
            assert handler.moved == [session.address]
            session.send_rtcp(report)
            assert rtcp.is_rtcp((await stream[0].read(2000))[2:])
            assert client._transport is not None
            client._transport.sendto(check(session, nominate=True))
            await until(lambda: session.address == udp)


@virtual_time
async def test_a_viewer_that_moves_between_udp_and_tcp_misses_nothing() -> None:
    async with open_house() as house:
        house.publish()
        received = Received()
        client = await house.watch(received)
        await house.play(0.5)
        (session,) = house.transport.sessions.values()
        udp = session.address
        reader, writer = await asyncio.open_connection("127.0.0.1", house.transport.port)
        deframer = tcp_framing.Deframer()

        async def hear() -> None:
            while data := await reader.read(65536):
                for each in deframer.feed(data):
                    client.datagram_received(each, None)

        hearing = asyncio.create_task(hear())
        writer.write(tcp_framing.serialize(check(session, nominate=True)))
        await until(lambda: isinstance(session.address, TcpAddress))
        client._tasks[0].cancel()  # its own checks would take it back
        await house.play(1.0)
        assert client._transport is not None
        client._transport.sendto(check(session, nominate=True))
        await until(lambda: session.address == udp)
        await house.play(1.0)
        writer.close()
        await hearing
        video = house.whep.channels[0].broadcast.video
        assert gapless(received.of(video.ssrc))
        assert received.gaps == 0
        (viewer,) = house.whep.channels[0].broadcast.viewers
        assert viewer.video is not None and viewer.video.transmit is None and viewer.video.gso


class Pipe:
    """What takes a player's packets to it, as a connection does."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self.taken = 0

    def transmit(self, data: bytes) -> bool:
        self._player.socket.sendto(data, self._player.address)
        self.taken += 1
        return True

    def close(self) -> None: ...


@pytest.mark.parametrize("profile", [GCM, CM], ids=["gcm", "cm"])
def test_by_either_cipher_a_connection_gets_what_the_socket_would_have_sent(
    profile: SRTPProtectionProfile,
) -> None:
    @virtual_time
    async def moves() -> None:
        with Stage() as stage:
            player, viewer = stage.join(profile)
            await stage.play(1.0)
            viewer.move(TcpAddress("127.0.0.1", 1, pipe := Pipe(player)))
            await stage.play(1.0)
            assert pipe.taken > 60
            viewer.move(player.address)
            taken = pipe.taken
            await stage.play(1.0)
            assert pipe.taken == taken
            assert gapless(player.video) and player.failed == 0
            assert len(access_units(player.video)) == stage.pictures.number

    moves()


@virtual_time
async def test_what_a_full_connection_does_not_take_is_an_error_and_the_next_packet_goes() -> None:
    class Full(Pipe):
        def transmit(self, data: bytes) -> bool:
            return False

    with Stage() as stage:
        player, viewer = stage.join()
        await stage.play(1.0)
        before = len(player.video)
        viewer.move(TcpAddress("127.0.0.1", 1, Full(player)))
        await stage.play(0.5)
        assert len(player.video) == before
        assert stage.sender.errors > 0 and stage.sender.parked == 0
        viewer.move(player.address)
        await stage.play(0.5)
        assert len(player.video) > before


@virtual_time
async def test_a_viewer_whose_connection_stands_still_costs_a_bounded_buffer() -> None:
    async with open_house() as house:
        house.publish()
        received = Received()
        await house.watch(received)
        (session,) = house.transport.sessions.values()
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", house.transport.port))
            slow.sendall(tcp_framing.serialize(check(session, nominate=True)))
            await until(lambda: isinstance(session.address, TcpAddress))
            assert isinstance(session.address, TcpAddress)
            connection = session.address.connection
            assert isinstance(connection, ice_tcp.IceTcpConnection)
            tcp = house.transport.tcp
            assert tcp is not None and connection._transport is not None
            datagram = bytes(1200)
            taken = sum(connection.transmit(datagram) for _ in range(5000))
            assert 200 < taken < 2000
            assert connection._transport.get_write_buffer_size() <= ice_tcp.WRITE_BYTES + 1202
            assert tcp.dropped == 5000 - taken
            house.transport.close(session, "test")
            await asyncio.sleep(UNVERIFIED_S + 1)
            assert tcp.connections == 0


@virtual_time
async def test_a_peer_whose_connection_breaks_comes_back_by_another() -> None:
    async with Port() as port:
        handler = Recorder()
        session, client = await port.call(handler, client=TcpClient)
        first = session.address
        client._tasks[0].cancel()
        assert client._transport is not None
        client._transport.close()
        await until(lambda: not port.transport._by_address)
        async with stranger(port) as stream:
            await asked(stream, check(session, nominate=True))
            assert session.address != first
            assert handler.moved == [session.address]
            assert not handler.closed


@virtual_time
async def test_a_peer_whose_connection_breaks_for_good_is_closed_when_consent_expires() -> None:
    async with Port() as port:
        handler = Recorder()
        _, client = await port.call(handler, client=TcpClient)
        client._tasks[0].cancel()
        assert client._transport is not None
        client._transport.close()
        await asyncio.sleep(SILENT_S - 1)
        assert not handler.closed
        await asyncio.sleep(1 + 2 * SWEEP_S)
        assert handler.closed == ["silent"]


@virtual_time
async def test_the_connections_of_a_session_are_bounded() -> None:
    async with Port() as port:
        session, _ = await port.call(Recorder())
        async with contextlib.AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(stranger(port)) for _ in range(ADDRESSES + 5)
            ]
            for each in streams:
                await asked(each, check(session))
            await until(lambda: tcp_of(port).connections < ADDRESSES)
            assert len(session.addresses) == ADDRESSES
            assert await ended(streams[0])


# -- strangers -----------------------------------------------------------------------------------


@virtual_time
async def test_a_connection_that_says_nothing_is_closed_after_five_seconds() -> None:
    async with Port() as port, stranger(port) as stream:
        begun = now()
        assert await ended(stream)
        assert UNVERIFIED_S <= now() - begun <= UNVERIFIED_S + 0.1
        assert tcp_of(port).connections == tcp_of(port).unverified == 0


@virtual_time
async def test_a_verified_connection_stays() -> None:
    async with Port() as port:
        session, _ = await port.call(Recorder(), client=TcpClient)
        await asyncio.sleep(10 * UNVERIFIED_S)
        assert isinstance(session.address, TcpAddress)
        assert (tcp_of(port).connections, tcp_of(port).unverified) == (1, 0)


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0\0",
        b"\xff\xff" + bytes(70_000),
        b"\x16\x03\x01\x02\x00" + bytes(600),
        b"".join(map(tcp_framing.serialize, [b"\x16" * 40] * UNVERIFIED_FRAMES)),
        b"".join(map(tcp_framing.serialize, [d for d in junk() if d][:UNVERIFIED_FRAMES])),
        b"".join(map(tcp_framing.serialize, forged_dtls()[:50])),
    ],
)
def test_noise_closes_its_connection_and_disturbs_nobody(noise: bytes) -> None:
    @virtual_time
    async def check_it() -> None:
        async with Port() as port:
            handler = Recorder()
            await port.call(handler, client=TcpClient)
            async with stranger(port) as stream:
                stream[1].write(noise)
                assert await ended(stream)
            await until(lambda: tcp_of(port).connections == 1)
            assert not handler.closed

    check_it()


@virtual_time
async def test_a_client_hello_before_a_check_is_not_heard() -> None:
    async with Port() as port:
        session, _ = await port.call(Recorder(), client=TcpClient)
        heard: list[bytes] = []
        session._path.feed = heard.append  # type: ignore[method-assign]
        async with stranger(port) as stream:
            hello = bytes.fromhex("16feff0000000000000000") + bytes(150)
            stream[1].write(tcp_framing.serialize(hello))
            await until(lambda: port.transport.dropped.unknown_address == 1)
        assert not [each for each in heard if each[0] == hello[0]]


@virtual_time
async def test_a_session_survives_noise_on_its_own_connection() -> None:
    async with Port() as port:
        handler = Recorder()
        _, client = await port.call(handler, client=TcpClient)
        assert client._transport is not None
        for each in (*junk(count=300), *every_first_byte(), *forged_dtls()):
            if 0 < len(each) <= tcp_framing.MAX_FRAME_BYTES:
                client._transport.sendto(each)
        client.send_rtcp(rtcp.serialize_receiver_report(rtcp.ReceiverReport(1, [])))
        await until(lambda: bool(handler.reports))
        assert not handler.closed


@virtual_time
async def test_the_connections_of_one_address_that_nobody_vouched_for_are_bounded() -> None:
    async with Port() as port:
        async with contextlib.AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(stranger(port))
                for _ in range(CUSTOMER_UNVERIFIED + 20)
            ]
            await until(lambda: tcp_of(port).refused == 20)
            assert tcp_of(port).unverified == CUSTOMER_UNVERIFIED
            assert await ended(streams[-1])
        await until(lambda: tcp_of(port).connections == 0)
        assert not tcp_of(port)._by_customer
        assert not tcp_of(port)._unverified_by_customer


@virtual_time
async def test_when_too_many_are_unverified_the_oldest_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ice_tcp, "UNVERIFIED", 3)
    async with Port() as port:
        session = port.open(Recorder())
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(stranger(port)) for _ in range(4)]
            assert await ended(streams[0])
            answer = await asked(streams[3], check(session))
            assert answer.message_type == stun.BINDING_SUCCESS


@virtual_time
async def test_stopping_closes_every_connection() -> None:
    async with Port() as port:
        async with stranger(port) as idle:
            await port.call(Recorder(), client=TcpClient)
            await port.transport.stop()
            assert await ended(idle)
            assert tcp_of(port).connections == 0
        await port.transport.start()  # for the end of the test


@virtual_time
async def test_a_connection_that_another_session_has_taken_over_stays_with_it() -> None:
    async with Port() as port:
        old, new = port.open(Recorder()), port.open(Recorder())
        async with stranger(port) as stream:
            await asked(stream, check(old, nominate=True))
            await asked(stream, check(new, nominate=True))
            port.transport.close(old, "test")
            await asyncio.sleep(1.0)
            assert (await asked(stream, check(new))).message_type == stun.BINDING_SUCCESS


@virtual_time
async def test_udp_and_tcp_of_one_peer_are_two_addresses() -> None:
    async with Port() as port:
        session = port.open(Recorder())
        with udp_socket() as sock:
            await answer_to(sock, port, check(session))
            async with stranger(port) as stream:
                await asked(stream, check(session))
                assert len(session.addresses) == len(port.transport._by_address) == 2
