"""The UDP port: who is let in, who is heard, who has to go, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import google_crc32c
import pytest
from aiortc import RTCSctpTransport
from aiortc.rtcsctptransport import (
    SCTP_DATA_FIRST_FRAG,
    SCTP_DATA_LAST_FRAG,
    SCTP_DATA_UNORDERED,
    DataChunk,
    ReconfigChunk,
    SackChunk,
    serialize_packet,
)

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.errors import Unavailable
from mediaserver.protocol import rtcp, sdp, stun
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.protocol.sdp_fragment import Credentials
from mediaserver.rtc.dtls import Certificate
from mediaserver.rtc.sctp import INBOUND_CHUNKS
from mediaserver.rtc.session import ADDRESSES, CONNECT_S, CREDENTIALS, SILENT_S, Address, Session
from mediaserver.rtc.transport import SWEEP_S, Transport
from tests.rtc.house import answer_for
from tests.rtc.players import udp_socket
from tests.virtual_time import now, until, virtual_time

CERTIFICATE = Certificate.generateCertificate()
PRIORITY = 1_853_824_767


class Recorder:
    """A handler that writes down what it is told."""

    def __init__(self) -> None:
        self.connected: Session | None = None
        self.reports: list[rtcp.RtcpPacket] = []
        self.rtp: list[RtpPacket] = []
        self.messages: list[tuple[int, str | bytes]] = []
        self.moved: list[Address] = []
        self.closed: list[str] = []

    def on_connected(self, session: Session) -> None:
        self.connected = session

    def on_rtp(self, packet: RtpPacket, now: float) -> None:
        self.rtp.append(packet)

    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None:
        self.reports += packets

    def on_message(self, channel: int, data: str | bytes) -> None:
        self.messages.append((channel, data))

    def on_moved(self, address: Address) -> None:
        self.moved.append(address)

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)


class Port:
    """A started transport; a context manager that stops it."""

    def __init__(self, host: str = "127.0.0.1", **options: Any) -> None:
        self.transport = Transport(host, 0, clock=now, **options)
        self.clients: list[WebRtcClient] = []

    async def __aenter__(self) -> Port:
        await self.transport.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        for client in self.clients:
            await client.close()
        await self.transport.stop()

    @property
    def address(self) -> Address:
        return "127.0.0.1", self.transport.port

    def open(self, handler: Recorder, client: WebRtcClient | None = None) -> Session:
        certificate = client.certificate if client else CERTIFICATE
        fingerprints = [("sha-256", certificate.fingerprint)]
        ours = self.transport.certificate()
        return self.transport.open(handler, ours, "server", fingerprints, (5000, 65536))

    async def call(
        self,
        handler: Recorder,
        *,
        claimed: Certificate | None = None,
        expected: Certificate | None = None,
        client: type[WebRtcClient] = WebRtcClient,
    ) -> tuple[Session, WebRtcClient]:
        """A client connects; `claimed` is the certificate its offer names, if not its own."""
        return await self.connect(client(CERTIFICATE, clock=now), handler, claimed, expected)

    async def connect(
        self,
        client: WebRtcClient,
        handler: Recorder,
        claimed: Certificate | None = None,
        expected: Certificate | None = None,
    ) -> tuple[Session, WebRtcClient]:
        self.clients.append(client)
        fingerprints = [("sha-256", (claimed or CERTIFICATE).fingerprint)]
        ours = self.transport.certificate()
        session = self.transport.open(handler, ours, "server", fingerprints, (5000, 65536))
        answer = answer_for(
            client.offer(),
            self.transport,
            ufrag=session.ufrag,
            password=session.password,
            fingerprint=(expected or ours).fingerprint,
        )
        await client.connect(answer)
        await until(lambda: handler.connected is not None or bool(handler.closed))
        return session, client


def check(
    session: Session,
    *,
    nominate: bool = False,
    controlling: bool = True,
    password: str | None = None,
    ufrag: str | None = None,
    transaction: bytes | None = None,
) -> bytes:
    """A connectivity check for this session, with its newest credentials or with others."""
    return stun.binding_request(
        transaction or secrets.token_bytes(12),
        f"{ufrag or session.ufrag}:theirs",
        (password or session.password).encode(),
        PRIORITY,
        7,
        controlling=controlling,
        use_candidate=nominate,
    )


async def answer_to(sock: socket.socket, port: Port, request: bytes) -> stun.StunMessage | None:
    """Send a request; what the port answers, or None."""
    sock.sendto(request, port.address)
    for _ in range(4):
        await asyncio.sleep(0)
    try:
        return stun.parse(sock.recv(2048))
    except BlockingIOError:
        return None


def everything(sock: socket.socket) -> list[bytes]:
    """What has arrived on a socket."""
    found: list[bytes] = []
    while True:
        try:
            found.append(sock.recv(2048))
        except BlockingIOError:
            return found


# -- ICE -----------------------------------------------------------------------------------------


@virtual_time
async def test_a_verified_check_is_answered_with_the_address_it_came_from() -> None:
    async with Port() as port:
        session = port.open(Recorder())
        with udp_socket() as sock:
            request = check(session)
            answer = await answer_to(sock, port, request)
            assert answer is not None
            assert answer.message_type == stun.BINDING_SUCCESS
            assert answer.transaction_id == stun.parse(request).transaction_id
            assert answer.mapped_address == sock.getsockname()
            assert session.address == sock.getsockname()


@virtual_time
async def test_a_check_that_does_not_verify_opens_no_address_and_gets_no_answer() -> None:
    async with Port() as port:
        session = port.open(Recorder())
        unsigned = stun.parse(check(session))
        with udp_socket() as sock:
            for request in (
                check(session, password="wrong" * 5),
                check(session)[:-1],
                check(session).replace(session.ufrag.encode(), b"x" * len(session.ufrag)),
                check(session)[:-4] + b"\0\0\0\0",  # FINGERPRINT
                b"\0\x01\0\0" + check(session)[4:20],
                b"\0\x01" + bytes(18),
            ):
                assert await answer_to(sock, port, request) is None
            assert session.address is None
            assert not port.transport._by_address
            assert port.transport.dropped.bad_stun == 6
        assert unsigned.username is not None


@virtual_time
async def test_a_peer_that_also_claims_to_be_controlled_hears_of_the_role_conflict() -> None:
    async with Port() as port:
        session = port.open(Recorder())
        with udp_socket() as sock:
            answer = await answer_to(sock, port, check(session, controlling=False))
            assert answer is not None
            assert (answer.message_type, answer.error_code) == (stun.BINDING_ERROR, 487)
            assert session.address is None


@virtual_time
async def test_an_attribute_that_must_be_understood_and_is_not_is_named() -> None:
    async with Port() as port:
        session = port.open(Recorder())
        attributes = (
            stun._attribute(stun.USERNAME, f"{session.ufrag}:x".encode())
            + stun._attribute(stun.PRIORITY, bytes(4))
            + stun._attribute(0x7777, b"what?")
        )
        key = session.password.encode()
        with udp_socket() as sock:
            request = stun._seal(stun.BINDING_REQUEST, bytes(12), attributes, key)
            answer = await answer_to(sock, port, request)
            assert answer is not None
            assert (answer.message_type, answer.error_code) == (stun.BINDING_ERROR, 420)
            assert session.address is None


@virtual_time
async def test_a_nomination_from_a_new_address_moves_the_session_and_media_follows() -> None:
    async with Port() as port:
        handler = Recorder()
        session, _ = await port.call(handler)
        first = session.address
        with udp_socket() as mobile:
            await answer_to(mobile, port, check(session))
            assert session.address == first  # a check alone moves nothing
            await answer_to(mobile, port, check(session, nominate=True))
            assert session.address == mobile.getsockname()
            assert handler.moved == [mobile.getsockname()]
            session.send_rtcp(rtcp.serialize_receiver_report(rtcp.ReceiverReport(1, [])))
            assert any(map(rtcp.is_rtcp, everything(mobile)))


@virtual_time
async def test_reports_are_heard_from_the_old_and_the_new_address() -> None:
    async with Port() as port:
        handler = Recorder()
        session, client = await port.call(handler)
        assert client.srtp is not None
        report = rtcp.serialize_receiver_report(rtcp.ReceiverReport(1, []))
        with udp_socket() as mobile:
            await answer_to(mobile, port, check(session, nominate=True))
            client.send_rtcp(report)
            mobile.sendto(client.srtp.protect_rtcp(report), port.address)
            await until(lambda: len(handler.reports) == 2)


@virtual_time
async def test_the_addresses_of_a_session_are_bounded() -> None:
    async with Port() as port:
        session, _ = await port.call(Recorder())
        selected = session.address
        for _ in range(50):
            with udp_socket() as sock:
                assert await answer_to(sock, port, check(session)) is not None
        assert len(session.addresses) == ADDRESSES
        assert selected in session.addresses
        assert set(port.transport._by_address) == set(session.addresses)
        for _ in range(20):
            with udp_socket() as sock:
                await answer_to(sock, port, check(session, nominate=True))
                assert session.address == sock.getsockname()
        assert len(port.transport._by_address) == ADDRESSES


@virtual_time
async def test_an_address_that_another_session_takes_over_stays_with_it() -> None:
    """A page was reloaded and its browser happens to use the same port again."""
    async with Port() as port:
        old, new = port.open(Recorder()), port.open(Recorder())
        with udp_socket() as sock:
            await answer_to(sock, port, check(old, nominate=True))
            await answer_to(sock, port, check(new, nominate=True))
            assert port.transport._by_address[sock.getsockname()] is new
            port.transport.close(old, "test")
            assert port.transport._by_address[sock.getsockname()] is new


# -- ICE restart ---------------------------------------------------------------------------------


def peers(number: int) -> Credentials:
    return Credentials(f"user{number}", "p" * 22)


def restart(port: Port, session: Session, number: int = 1) -> Credentials:
    """Restart ICE; our new credentials as the peer is told them."""
    told = port.transport.restart_ice(session, peers(number)).credentials
    assert told is not None
    return told


async def passes(
    sock: socket.socket, port: Port, session: Session, credentials: Credentials
) -> bool:
    """Whether a check with these credentials of ours is answered with success."""
    request = check(session, ufrag=credentials.ufrag, password=credentials.password)
    answer = await answer_to(sock, port, request)
    return answer is not None and answer.message_type == stun.BINDING_SUCCESS


@virtual_time
async def test_the_old_credentials_do_until_the_first_check_with_the_new_ones() -> None:
    async with Port() as port:
        session, _ = await port.call(Recorder())
        old = Credentials(session.ufrag, session.password)
        new = restart(port, session)
        assert new == Credentials(session.ufrag, session.password) != old
        assert session.peer == peers(1)
        with udp_socket() as sock:
            assert await passes(sock, port, session, old)
            assert await passes(sock, port, session, new)
            assert not await passes(sock, port, session, old)
            assert await passes(sock, port, session, new)
        assert set(port.transport._by_ufrag) == {new.ufrag}


@virtual_time
async def test_after_a_restart_neither_the_old_nor_a_wrong_password_goes_with_the_new_ufrag() -> (
    None
):
    async with Port() as port:
        session, _ = await port.call(Recorder())
        old = Credentials(session.ufrag, session.password)
        new = restart(port, session)
        with udp_socket() as sock:
            for wrong in (
                Credentials(new.ufrag, old.password),
                Credentials(old.ufrag, new.password),
                Credentials(new.ufrag, "guess" * 5),
                Credentials(new.ufrag, peers(1).password),
                Credentials("nobody", new.password),
            ):
                assert not await passes(sock, port, session, wrong)
            assert sock.getsockname() not in session.addresses
            assert await passes(sock, port, session, old)  # no wrong one has ended them


@virtual_time
async def test_a_check_that_is_answered_with_an_error_ends_no_credentials() -> None:
    async with Port() as port:
        session, _ = await port.call(Recorder())
        old = Credentials(session.ufrag, session.password)
        restart(port, session)
        with udp_socket() as sock:
            answer = await answer_to(sock, port, check(session, controlling=False))
            assert answer is not None and answer.error_code == 487
            assert await passes(sock, port, session, old)


@virtual_time
async def test_restarts_that_overlap_may_be_answered_out_of_order_and_are_bounded() -> None:
    async with Port() as port:
        session, _ = await port.call(Recorder())
        used = Credentials(session.ufrag, session.password)
        told = [restart(port, session, number) for number in range(50)]
        kept = told[-(CREDENTIALS - 1) :]
        assert set(port.transport._by_ufrag) == {used.ufrag, *(each.ufrag for each in kept)}
        with udp_socket() as sock:
            assert not await passes(sock, port, session, told[0])
            assert await passes(sock, port, session, used)
            assert await passes(sock, port, session, kept[1])  # not the newest
            assert not await passes(sock, port, session, kept[0])
            assert not await passes(sock, port, session, used)
            assert await passes(sock, port, session, kept[2])


@virtual_time
async def test_a_session_that_restarted_leaves_no_ufrag_behind() -> None:
    async with Port() as port:
        session, _ = await port.call(Recorder())
        for number in range(3):
            restart(port, session, number)
        assert len(port.transport._by_ufrag) == 4
        port.transport.close(session, "test")
        assert not port.transport._by_ufrag


@virtual_time
async def test_ice_may_restart_before_the_first_check() -> None:
    async with Port() as port:
        session = port.open(Recorder())
        first = Credentials(session.ufrag, session.password)
        new = restart(port, session)
        with udp_socket() as sock:
            assert await passes(sock, port, session, new)
            assert session.address == sock.getsockname()
            assert not await passes(sock, port, session, first)


@virtual_time
async def test_a_restart_that_nobody_follows_up_leaves_the_session_until_consent_expires() -> None:
    async with Port() as port:
        handler = Recorder()
        session, client = await port.call(handler)
        restart(port, session)
        await asyncio.sleep(60)  # consent goes on with the old credentials
        assert not handler.closed
        client._tasks[0].cancel()
        await asyncio.sleep(SILENT_S + 2 * SWEEP_S)
        assert handler.closed == ["silent"]


@virtual_time
async def test_credentials_have_the_characters_and_the_randomness_of_ice() -> None:
    async with Port() as port:
        sessions = [port.open(Recorder()) for _ in range(100)]
        restarted = [restart(port, each) for each in sessions]
        for ours in (*restarted, *(Credentials(each.ufrag, each.password) for each in sessions)):
            assert (ours.ufrag + ours.password).isalnum()  # RFC 8839 §5.4: ice-char
            assert len(ours.password) >= 32
        assert len({each.password for each in restarted}) == 100


# -- timers --------------------------------------------------------------------------------------


@virtual_time
async def test_who_never_comes_is_closed_after_ten_seconds() -> None:
    async with Port() as port:
        handler = Recorder()
        session = port.open(handler)
        await asyncio.sleep(CONNECT_S - 0.1)
        assert session.id in port.transport.sessions
        await asyncio.sleep(SWEEP_S + 0.2)
        assert handler.closed == ["not connected in time"]
        assert not port.transport.sessions


@virtual_time
async def test_who_checks_but_never_shakes_hands_is_closed_after_ten_seconds() -> None:
    async with Port() as port:
        handler = Recorder()
        session = port.open(handler)
        with udp_socket() as sock:
            for _ in range(round(CONNECT_S) + 1):
                await answer_to(sock, port, check(session, nominate=True))
                await asyncio.sleep(1.0)
        await asyncio.sleep(SWEEP_S)
        assert handler.closed == ["not connected in time"]
        assert not port.transport._by_address
        assert not port.transport._by_ufrag


@virtual_time
async def test_who_falls_silent_is_closed_after_thirty_seconds() -> None:
    async with Port() as port:
        handler = Recorder()
        session, client = await port.call(handler)
        await asyncio.sleep(60)  # its consent checks keep it
        assert not handler.closed
        client._tasks[0].cancel()
        await asyncio.sleep(session.last_stun + SILENT_S - now() - 0.1)
        assert not handler.closed
        await asyncio.sleep(2 * SWEEP_S)
        assert handler.closed == ["silent"]


# -- DTLS ----------------------------------------------------------------------------------------


@virtual_time
async def test_a_certificate_that_the_offer_did_not_name_closes_the_session() -> None:
    async with Port() as port:
        handler = Recorder()
        _, client = await port.call(handler, claimed=Certificate.generateCertificate())
        await until(lambda: bool(handler.closed))
        assert handler.connected is None
        assert handler.closed == ["DTLS handshake failed"]
        assert not port.transport.sessions
        await client.closed  # and it is told


@virtual_time
async def test_a_peer_that_does_not_trust_us_leaves_nothing_behind() -> None:
    async with Port() as port:
        handler = Recorder()
        with pytest.raises(ConnectionError):
            await port.call(handler, expected=Certificate.generateCertificate())
        await until(lambda: len(handler.closed) == 1)
        assert not port.transport.sessions


@virtual_time
async def test_a_client_hello_from_an_address_that_was_never_verified_is_dropped() -> None:
    async with Port() as port:
        handler = Recorder()
        session, client = await port.call(handler)
        hello = bytes.fromhex("16feff0000000000000000") + bytes(150)
        with udp_socket() as sock:
            assert await answer_to(sock, port, b"") is None
            sock.sendto(hello, port.address)
            await until(lambda: port.transport.dropped.unknown_address == 1)
            with pytest.raises(BlockingIOError):
                sock.recv(2048)
        assert session.id in port.transport.sessions
        assert not client.closed.done()


@virtual_time
async def test_closing_says_goodbye() -> None:
    async with Port() as port:
        handler = Recorder()
        session, client = await port.call(handler)
        port.transport.close(session, "test")
        port.transport.close(session, "again")
        await client.closed
        assert handler.closed == ["test"]


@virtual_time
async def test_stopping_says_goodbye_to_everybody() -> None:
    async with Port() as port:
        handlers = [Recorder() for _ in range(5)]
        clients = [(await port.call(each))[1] for each in handlers]
        port.open(Recorder())  # one that never connected
        await port.transport.stop()
        for client in clients:
            await client.closed
        assert [each.closed for each in handlers] == [["server is stopping"]] * 5
        await port.transport.start()  # for the end of the test


@virtual_time
async def test_a_peer_that_says_goodbye_is_gone_at_once() -> None:
    async with Port() as port:
        handler = Recorder()
        session, client = await port.call(handler)
        await client.close()
        await until(lambda: bool(handler.closed))
        assert handler.closed == ["peer closed"]
        assert not port.transport.sessions
        assert not port.transport._by_address
        assert session.ufrag not in port.transport._by_ufrag


@virtual_time
async def test_no_more_sessions_than_allowed() -> None:
    async with Port(max_sessions=3) as port:
        sessions = [port.open(Recorder()) for _ in range(3)]
        with pytest.raises(Unavailable) as refused:
            port.open(Recorder())
        assert refused.value.headers["Retry-After"]
        port.transport.close(sessions[0], "test")
        port.open(Recorder())


@virtual_time
async def test_ufrags_are_long_enough_to_tell_sessions_apart() -> None:
    async with Port() as port:
        ufrags = {port.open(Recorder()).ufrag for _ in range(100)}
        assert len(ufrags) == 100
        assert min(map(len, ufrags)) >= 8


@virtual_time
async def test_data_channels_open_and_carry_messages_both_ways() -> None:
    async with Port() as port:
        handler = Recorder()
        heard: list[tuple[int, str | bytes]] = []
        session, client = await port.call(handler)
        client.on_message = lambda channel, data: heard.append((channel, data))
        channels = session.channels
        assert channels is not None and client.channels is not None
        await until(lambda: channels.send(0, "hello"))
        assert channels.send(1, b"live")
        theirs = client.channels
        await until(lambda: theirs.send(1, "up"))
        await until(lambda: len(heard) == 2 and len(handler.messages) == 1)
        assert heard == [(0, "hello"), (1, b"live")]
        assert handler.messages == [(1, "up")]


@virtual_time
async def test_a_channel_whose_reader_does_not_keep_up_takes_no_more() -> None:
    async with Port() as port:
        session, client = await port.call(Recorder())
        channels = session.channels
        assert channels is not None
        await until(lambda: channels.send(0, "hello"))
        client.drop = lambda data: True
        sent = 0
        while channels.send(0, bytes(16_000)):
            sent += 1
            assert sent < 100
        assert sent >= 10
        port.transport.close(session, "test")


async def two_chunks_where_one_must_stand_alone(sctp: RTCSctpTransport) -> None:
    init = bytes((1, 0, 0, 20)) + bytes(16)
    packet = bytes.fromhex("1388138800000000") + bytes(4) + init + init
    checksum = google_crc32c.value(packet).to_bytes(4, "little")
    await sctp.transport._send_data(packet[:8] + checksum + packet[12:])


async def acknowledge_what_was_never_sent(sctp: RTCSctpTransport) -> None:
    """aiortc would count through every number named: 19 million for one datagram."""
    chunk = SackChunk()
    chunk.cumulative_tsn = sctp._last_received_tsn
    chunk.advertised_rwnd = 100_000
    chunk.gaps = [(1, 0xFFFF)] * 280
    await sctp._send_chunk(chunk)


async def begin_messages_and_finish_none(sctp: RTCSctpTransport) -> None:
    for _ in range(2 * INBOUND_CHUNKS):
        await send_data(sctp, flags=SCTP_DATA_FIRST_FRAG | SCTP_DATA_UNORDERED)


async def leave_a_hole_and_go_on(sctp: RTCSctpTransport) -> None:
    whole = SCTP_DATA_FIRST_FRAG | SCTP_DATA_LAST_FRAG | SCTP_DATA_UNORDERED
    sctp._local_tsn = (sctp._local_tsn + 1) & 0xFFFFFFFF
    for _ in range(2 * INBOUND_CHUNKS):
        await send_data(sctp, flags=whole)


async def begin_every_stream(sctp: RTCSctpTransport) -> None:
    for number in range(200):
        await send_data(sctp, flags=SCTP_DATA_FIRST_FRAG, stream=number)


async def break_the_form_of_a_chunk(sctp: RTCSctpTransport) -> None:
    packet = serialize_packet(5000, 5000, sctp._remote_verification_tag, ReconfigChunk())
    packet = packet[:8] + bytes(4) + b"\x82\0\0\x08\0\x0d\0\x04"
    checksum = google_crc32c.value(packet).to_bytes(4, "little")
    await sctp.transport._send_data(packet[:8] + checksum + packet[12:])


async def send_data(sctp: RTCSctpTransport, *, flags: int, stream: int = 1) -> None:
    chunk = DataChunk(flags)
    chunk.tsn = sctp._local_tsn
    sctp._local_tsn = (chunk.tsn + 1) & 0xFFFFFFFF
    chunk.stream_id, chunk.stream_seq, chunk.protocol = stream, 0, 51
    chunk.user_data = b"x"
    await sctp._send_chunk(chunk)
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "misbehave",
    [
        two_chunks_where_one_must_stand_alone,
        acknowledge_what_was_never_sent,
        begin_messages_and_finish_none,
        leave_a_hole_and_go_on,
        begin_every_stream,
        break_the_form_of_a_chunk,
    ],
)
@virtual_time
async def test_a_peer_that_breaks_sctp_ends_its_own_session_and_nothing_is_logged_of_it(
    misbehave: Callable[[RTCSctpTransport], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    async with Port() as port:
        handler, other = Recorder(), Recorder()
        session, client = await port.call(handler)
        await port.call(other)
        ours, theirs = session.channels, client.channels
        assert ours is not None and theirs is not None
        await until(lambda: ours.send(0, "hello"))
        await until(lambda: theirs.send(0, "hello"))
        with contextlib.suppress(ConnectionError):  # cut off in the middle of it
            await misbehave(theirs._sctp)
        await until(lambda: bool(handler.closed))
        assert handler.closed == ["peer closed"]
        assert other.closed == []
        gc.collect()  # asyncio tells of exceptions that nobody looked at when it forgets them
        assert not [each for each in caplog.records if each.levelno > logging.INFO]


@virtual_time
async def test_messages_of_every_size_that_is_allowed_arrive_through_loss() -> None:
    """The bounds on SCTP are for the hostile: a window full of messages behind a lost one passes."""
    async with Port() as port:
        handler = Recorder()
        session, client = await port.call(handler)
        theirs = client.channels
        assert theirs is not None
        await until(lambda: theirs.send(0, "hello"))
        await until(lambda: len(handler.messages) == 1)
        dice = random.Random(2)
        feed = session._path.feed
        lost: list[bytes] = []

        def lossy(data: bytes) -> None:
            (lost.append if dice.random() < 0.1 else feed)(data)

        session._path.feed = lossy  # type: ignore[method-assign]
        sent = [dice.randbytes(dice.choice((1, 100, 1000, 16_000))) for _ in range(60)]
        for data in sent:
            while not theirs.send(0, data):
                await asyncio.sleep(0.1)
        for _ in range(600):
            if len(handler.messages) == 1 + len(sent):
                break
            await asyncio.sleep(0.5)
        assert [data for _, data in handler.messages[1:]] == sent
        assert len(lost) > 20
        assert not handler.closed


# -- the port ------------------------------------------------------------------------------------


@virtual_time
async def test_a_taken_port_is_an_error_and_leaves_no_socket() -> None:
    async with Port() as port:
        second = Transport("127.0.0.1", port.transport.port)
        with pytest.raises(OSError, match="in use"):
            await second.start()
        gc.collect()  # a socket that was left open would be warned of


@virtual_time
async def test_candidates_name_the_public_addresses_or_else_the_hosts() -> None:
    async with Port() as port:
        udp, tcp = port.transport.candidates()
        assert (udp.address, udp.port, udp.protocol) == (*port.address, "udp")
        assert (tcp.address, tcp.port, tcp.protocol) == (*port.address, "tcp")
    transport = Transport("0.0.0.0", 8189, ["203.0.113.7", "198.51.100.2"])
    first, second = transport.candidates()
    assert [each.address for each in (first, second)] == ["203.0.113.7", "198.51.100.2"]
    assert first.priority > second.priority
    assert sdp.Candidate("203.0.113.7", 8189, first.priority) == first
