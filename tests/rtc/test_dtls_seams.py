"""Contracts of the private seams of aiortc, pyOpenSSL and pylibsrtp that `mediaserver.rtc` uses.

When one of these fails after an upgrade, the seam has moved; the list at the head of rtc/dtls.py says
where it is used.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pylibsrtp
import pytest
from aiortc import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCSctpTransport,
)
from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AES128_CM_SHA1_80,
    SRTPProtectionProfile,
    State,
)
from aiortc.rtcsctptransport import DataChunk, InboundStream
from OpenSSL import SSL

from mediaserver.errors import ProtocolError
from mediaserver.rtc import dtls
from mediaserver.rtc.dtls import (
    INBOUND_DATAGRAMS,
    Certificate,
    Certificates,
    DataChannels,
    Dtls,
    DtlsRole,
    IcePath,
    SrtpKeys,
)
from mediaserver.rtc.sctp import INBOUND_STREAMS, Outgoing, Stream
from mediaserver.rtc.srtp import Srtp
from tests.virtual_time import until, virtual_time

CERTIFICATE = Certificate.generateCertificate()


class Pipe(IcePath):
    """A path whose other end is fed on the loop's next turn; `sent` keeps what went through."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.other: IcePath | None = None
        self.lose = 0
        super().__init__(self._carry)

    def _carry(self, data: bytes) -> None:
        self.sent.append(data)
        if self.lose:
            self.lose -= 1
        elif self.other is not None:
            asyncio.get_running_loop().call_soon(self.other.feed, data)


class Pair:
    """Our DTLS and a peer's: ours as well, or aiortc's own with other profiles."""

    def __init__(
        self,
        *,
        role: DtlsRole = "server",
        profiles: list[SRTPProtectionProfile] | None = None,
        peer_certificate: Certificate | None = None,
    ) -> None:
        peer_certificate = peer_certificate or Certificate.generateCertificate()
        self.closed: list[str] = []
        self.our_path, self.peer_path = Pipe(), Pipe()
        self.our_path.other, self.peer_path.other = self.peer_path, self.our_path
        self.ours = Dtls(self.our_path, CERTIFICATE, role, lambda: self.closed.append("ours"))
        peer_role: DtlsRole = "client" if role == "server" else "server"
        self.peer = Dtls(
            self.peer_path, peer_certificate, peer_role, lambda: self.closed.append("peer")
        )
        if profiles is not None:
            self.peer._srtp_profiles = profiles
        self.our_name = [("sha-256", CERTIFICATE.fingerprint)]
        self.peer_name = [("sha-256", peer_certificate.fingerprint)]

    async def connect(self) -> tuple[SrtpKeys | None, SrtpKeys | None]:
        async with asyncio.timeout(30):
            return await asyncio.gather(
                self.ours.connect(self.peer_name), self.peer.connect(self.our_name)
            )

    async def stop(self) -> None:
        await self.ours.stop()
        await self.peer.stop()
        self.our_path.close()
        self.peer_path.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[Pair]:
    both = Pair(**options)
    try:
        yield both
    finally:
        await both.stop()


def both_ways(ours: SrtpKeys, theirs: SrtpKeys) -> None:
    """What one side protects, the other reads."""
    here, there = Srtp(ours), Srtp(theirs)
    rtp, report = b"\x80\x60\0\x01" + bytes(60), b"\x80\xc9\0\x01\0\0\0\x07"
    assert there.unprotect(here.outbound.protect(rtp)) == rtp
    assert here.unprotect(there.outbound.protect(rtp)) == rtp
    assert there.unprotect_rtcp(here.protect_rtcp(report)) == report
    assert here.unprotect_rtcp(there.protect_rtcp(report)) == report


# -- RTCDtlsTransport ----------------------------------------------------------------------------


@virtual_time
async def test_dtls_asks_of_its_ice_transport_only_role_recv_and_send() -> None:
    class Bare:
        """Anything else that were asked for would be an AttributeError."""

        __slots__ = ("_path", "role")

        def __init__(self, path: IcePath) -> None:
            self._path = path
            self.role = path.role

        async def _recv(self) -> bytes:
            return await self._path._recv()

        async def _send(self, data: bytes) -> None:
            await self._path._send(data)

    async with pair() as both:
        both.ours._transport = Bare(both.our_path)  # type: ignore[assignment]
        ours, theirs = await both.connect()
        assert ours is not None and theirs is not None
        both_ways(ours, theirs)


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("profile", [SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80])
@virtual_time
async def test_keys_are_exported_alike_on_both_sides(
    role: DtlsRole, profile: SRTPProtectionProfile
) -> None:
    async with pair(role=role, profiles=[profile]) as both:
        ours, theirs = await both.connect()
        assert ours is not None and theirs is not None
        assert ours.profile is profile
        assert ours.gcm == (profile is SRTP_AEAD_AES_128_GCM)
        assert (ours.tx_key, ours.tx_salt) == (theirs.rx_key, theirs.rx_salt)
        assert len(ours.tx_key) == profile.key_length
        assert len(ours.tx_salt) == profile.salt_length
        both_ways(ours, theirs)


@virtual_time
async def test_as_a_server_we_prefer_gcm_whatever_the_peer_prefers() -> None:
    async with pair(profiles=[SRTP_AES128_CM_SHA1_80, SRTP_AEAD_AES_128_GCM]) as both:
        ours, _ = await both.connect()
        assert ours is not None and ours.gcm


@virtual_time
async def test_our_keys_are_those_that_aiortc_itself_derives() -> None:
    """`_setup_srtp` is overridden: aiortc's own must read what we protect."""
    async with pair() as both:
        ours, theirs = await both.connect()
        assert ours is not None and theirs is not None
        RTCDtlsTransport._setup_srtp(both.peer)
        packet = b"\x80\x60\0\x01" + bytes(60)
        protected = Srtp(ours).outbound.protect(packet)
        assert both.peer._rx_srtp.unprotect(protected) == packet
        back = both.peer._tx_srtp.protect(packet)
        assert Srtp(ours).unprotect(back) == packet


class NoSrtp(Certificate):
    """Of a peer that does DTLS and knows nothing of SRTP."""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.use_certificate(self._cert)
        context.use_privatekey(self._key)
        context.set_verify(SSL.VERIFY_PEER, lambda *args: True)
        return context


@virtual_time
async def test_no_common_profile_is_a_failure_and_not_an_exception() -> None:
    async with pair(peer_certificate=NoSrtp.generateCertificate()) as both:
        assert list(await both.connect()) == [None, None]


@virtual_time
async def test_a_wrong_fingerprint_fails_and_the_peer_is_told() -> None:
    async with pair() as both:
        both.peer_name = both.our_name
        ours, theirs = await both.connect()
        assert ours is None
        assert theirs is not None
        await until(lambda: both.closed == ["peer"])


@virtual_time
async def test_an_unknown_digest_is_not_taken_for_a_match() -> None:
    async with pair() as both:
        both.peer_name = [("md5", "AA:BB")]
        ours, _ = await both.connect()
        assert ours is None


@virtual_time
async def test_closing_one_side_closes_the_other() -> None:
    async with pair() as both:
        await both.connect()
        await both.ours.stop()
        await until(lambda: set(both.closed) == {"ours", "peer"})


@virtual_time
async def test_state_changes_pass_through_set_state() -> None:
    seen: list[State] = []

    class Watched(Dtls):
        def _set_state(self, state: State) -> None:
            seen.append(state)
            super()._set_state(state)

    async with pair() as both:
        watched = Watched(both.our_path, CERTIFICATE, "server", lambda: None)
        both.ours = watched
        await both.connect()
        assert seen == [State.CONNECTING, State.CONNECTED]
        await watched.stop()
        await until(lambda: seen[-1] is State.CLOSED)


@pytest.mark.parametrize("lost", ["ours", "peer"])
async def test_a_lost_flight_is_sent_again(lost: str) -> None:
    """In real time: OpenSSL's timer, of one second, knows no other."""
    async with pair() as both:
        (both.our_path if lost == "ours" else both.peer_path).lose = 1
        ours, theirs = await both.connect()
        assert ours is not None and theirs is not None
        both_ways(ours, theirs)


# -- certificates --------------------------------------------------------------------------------


@virtual_time
async def test_one_context_serves_every_session_of_a_certificate() -> None:
    async with pair() as first, pair() as second:
        await first.connect()
        await second.connect()
        assert first.ours._ssl is not None and second.ours._ssl is not None
        assert first.ours._ssl.get_context() is second.ours._ssl.get_context()


def test_the_context_keeps_no_sessions() -> None:
    context = CERTIFICATE._create_ssl_context(dtls.PROFILES)
    assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF


@virtual_time
async def test_the_certificate_leaves_in_one_record_and_no_datagram_exceeds_the_mtu() -> None:
    async with pair() as both:
        await both.connect()
        flight = both.our_path.sent[0] + both.our_path.sent[1]
        certificates = [message for message in handshake_fragments(flight) if message[0] == 11]
        assert len(certificates) == 1
        assert max(map(len, both.our_path.sent)) <= dtls.CIPHERTEXT_MTU


def handshake_fragments(flight: bytes) -> list[bytes]:
    """Handshake fragments of plaintext DTLS 1.2 records (RFC 6347 §4.2.2)."""
    found, offset = [], 0
    while offset + 13 <= len(flight):
        size = int.from_bytes(flight[offset + 11 : offset + 13], "big")
        if flight[offset] == 22 and flight[offset + 3 : offset + 5] == b"\0\0":
            found.append(flight[offset + 13 : offset + 13 + size])
        offset += 13 + size
    return found


def test_the_fingerprint_is_sha_256_as_sdp_writes_it() -> None:
    assert len(CERTIFICATE.fingerprint.split(":")) == 32
    assert RTCDtlsFingerprint("sha-256", CERTIFICATE.fingerprint) in CERTIFICATE.getFingerprints()
    assert RTCDtlsParameters([]).role == "auto"


def test_certificates_are_made_anew_long_before_they_expire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificates = Certificates()
    first = certificates.current()
    assert certificates.current() is first
    lifetime = first.expires - certificates._made_at
    assert lifetime > 3 * dtls.ROTATE_AFTER
    certificates._made_at -= dtls.ROTATE_AFTER * 1.01
    assert certificates.current() is not first


# -- the path ------------------------------------------------------------------------------------


@virtual_time
async def test_a_path_that_nobody_reads_keeps_the_newest_and_no_more() -> None:
    path = IcePath(lambda data: None)
    for number in range(3 * INBOUND_DATAGRAMS):
        path.feed(number.to_bytes(2, "big"))
    read = [await path._recv() for _ in range(INBOUND_DATAGRAMS)]
    assert read[-1] == (3 * INBOUND_DATAGRAMS - 1).to_bytes(2, "big")
    path.close()
    with pytest.raises(ConnectionError):
        await path._recv()
    with pytest.raises(ConnectionError):
        await path._send(b"x")


# -- SCTP ----------------------------------------------------------------------------------------


@virtual_time
async def test_channels_open_without_a_message_of_their_own_and_carry_both_kinds() -> None:
    async with pair() as both:
        await both.connect()
        heard: list[tuple[int, str | bytes]] = []
        ours = DataChannels(both.ours, lambda *message: heard.append(message))
        peers = DataChannels(both.peer, lambda *message: heard.append(message))
        await asyncio.gather(ours.start(5000, 65536), peers.start(5000, 65536))
        await until(lambda: ours.send(0, "text"))
        await until(lambda: peers.send(1, b"bytes"))
        await until(lambda: len(heard) == 2)
        assert set(heard) == {(0, "text"), (1, b"bytes")}
        labels = [channel.label for channel in ours.channels]
        assert labels == ["hawker", "hawker-live"]
        assert [channel.negotiated for channel in ours.channels] == [True, True]
        assert ours.channels[1].maxRetransmits == 0 and not ours.channels[1].ordered
        await ours.stop()
        await peers.stop()


@virtual_time
async def test_inbound_streams_are_limited_in_what_we_announce() -> None:
    async with pair() as both:
        await both.connect()
        ours = DataChannels(both.ours, lambda *message: None)
        peers = DataChannels(both.peer, lambda *message: None)
        await asyncio.gather(ours.start(5000, 65536), peers.start(5000, 65536))
        await until(lambda: peers.send(0, "x"))
        assert peers._sctp._outbound_streams_count == INBOUND_STREAMS
        await ours.stop()
        await peers.stop()


@virtual_time
async def test_a_bug_in_our_own_handler_surfaces_and_is_not_taken_for_the_peers() -> None:
    async with pair() as both:
        await both.connect()
        surfaced: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: surfaced.append(context)
        )

        def broken(channel: int, data: str | bytes) -> None:
            raise ValueError("a bug")

        ours, peers = DataChannels(both.ours, broken), DataChannels(both.peer, broken)
        await asyncio.gather(ours.start(5000, 65536), peers.start(5000, 65536))
        await until(lambda: peers.send(0, "x"))
        await until(lambda: bool(surfaced))
        assert isinstance(surfaced[0]["exception"], ValueError)
        assert both.closed == []
        await ours.stop()
        await peers.stop()


def test_the_private_names_are_still_there() -> None:
    coroutines = ("_handle_data", "_receive_sack_chunk", "_transmit", "_transmit_reconfig")
    timers = ("_t3_start", "_t3_restart", "_t3_cancel", "_t3_expired", "_update_rto")
    channels = ("_data_channel_flush", "_data_channel_send", "_data_channel_add_negotiated")
    flight = ("_flight_size_increase", "_flight_size_decrease", "_update_advanced_peer_ack_point")
    sctp = (*coroutines, *timers, *channels, *flight, "_get_inbound_stream")
    dtls_names = ("_set_role", "_set_state", "_setup_srtp", "_write_ssl", "_send_data")
    for owner, names in (
        (RTCDtlsTransport, (*dtls_names, "_register_data_receiver")),
        (RTCCertificate, ("_create_ssl_context",)),
        (RTCSctpTransport, sctp),
    ):
        for name in names:
            assert callable(getattr(owner, name)), name
    for name in (*coroutines, "_data_channel_flush"):
        assert inspect.iscoroutinefunction(getattr(RTCSctpTransport, name)), name
    for name in (*timers, *flight):
        assert not inspect.iscoroutinefunction(getattr(RTCSctpTransport, name)), name
    for name in ("_write_ssl", "_send_data", "_recv_next"):
        assert inspect.iscoroutinefunction(getattr(RTCDtlsTransport, name)), name
    assert InboundStream().reassembly == []


SCTP_FIELDS = """
    _inbound_streams_max _sack_misordered _local_tsn _association_state _local_verification_tag
    _remote_verification_tag _remote_port _local_port _remote_max_message_size _flight_size _cwnd
    _sent_queue _outbound_queue _outbound_stream_seq _data_channel_queue _last_sacked_tsn
    _advanced_peer_ack_tsn _forward_tsn_chunk _forward_tsn_streams _fast_recovery_exit
    _fast_recovery_transmit _partial_bytes_acked _reconfig_queue _rto _t3_handle
"""


def test_sctp_begins_with_the_fields_that_the_short_way_keeps() -> None:
    initial = inspect.getsource(RTCSctpTransport.__init__)
    for name in SCTP_FIELDS.split():
        assert f"self.{name} = " in initial or f"self.{name}: " in initial, name


def test_what_aiortc_notes_on_a_chunk_it_sends_is_what_ours_begins_with() -> None:
    """`RTCSctpTransport._send` sets these by hand; a new one would be missed by ours."""
    source = inspect.getsource(RTCSctpTransport._send)
    noted = set(re.findall(r"chunk\.(_\w+) = ", source))
    chunk = Outgoing(3, 7, Stream(1, ordered=False, max_retransmits=0), 0, 51, b"text!")
    assert noted == {name for name in noted if hasattr(chunk, name)} != set()
    theirs = DataChunk(flags=3)
    theirs.tsn, theirs.stream_id, theirs.stream_seq = 7, 1, 0
    theirs.protocol, theirs.user_data = 51, b"text!"
    assert bytes(chunk) == bytes(theirs)


@virtual_time
async def test_openssl_is_reached_past_pyopenssl_in_both_directions() -> None:
    async with pair() as both:
        await both.connect()
        heard: list[bytes] = []

        class Ear:
            def receive(self, packet: bytes) -> None:
                heard.append(packet)

        both.peer._data_receiver = Ear()  # type: ignore[assignment]
        both.ours.send_packet(b"one packet")
        await until(lambda: heard == [b"one packet"])
        both.peer_path.feed(b"\x17\xfe\xfd" + bytes(20))  # not a record of this session: dropped
        both.ours.send_packet(b"another")
        await until(lambda: len(heard) == 2)
        assert both.ours._ssl is not None
        both.ours._ssl.shutdown()  # OpenSSL itself then refuses to write
        with pytest.raises(ConnectionError, match="no more"):
            both.ours.send_packet(b"after the goodbye")
        await both.peer.stop()
        await until(lambda: both.closed == ["peer", "ours"] or both.closed == ["ours", "peer"])
        with pytest.raises(ConnectionError):
            both.ours.send_packet(b"too late")


# -- pylibsrtp -----------------------------------------------------------------------------------


def test_libsrtp_refuses_what_is_too_long_with_a_value_error_that_we_turn() -> None:
    profile = SRTP_AEAD_AES_128_GCM
    keys = SrtpKeys(profile, bytes(16), bytes(12), bytes(16), bytes(12))
    srtp = Srtp(keys)
    with pytest.raises(ValueError, match="too long"):
        srtp.outbound.protect(b"\x80" + bytes(1400))
    with pytest.raises(OSError, match="too long"):
        srtp.protect(b"\x80" + bytes(1400))
    for forged in (b"", b"\x80", bytes(11), bytes(1501), b"\x80\x60" + bytes(100)):
        with pytest.raises(ProtocolError):
            srtp.unprotect(forged)
        with pytest.raises(ProtocolError):
            srtp.unprotect_rtcp(forged)


def test_the_outbound_session_protects_an_index_twice_and_the_inbound_refuses_it() -> None:
    profile = SRTP_AES128_CM_SHA1_80
    key, salt = bytes(range(16)), bytes(range(14))
    ours, theirs = (
        Srtp(SrtpKeys(profile, key, salt, key, salt)),
        Srtp(SrtpKeys(profile, key, salt, key, salt)),
    )
    packet = b"\x80\x60\0\x01" + bytes(60)
    once, twice = ours.protect(packet), ours.protect(packet)
    assert once == twice
    theirs.unprotect(once)
    with pytest.raises(ProtocolError, match="replay"):
        theirs.unprotect(twice)
    assert isinstance(pylibsrtp.Error(), Exception)
