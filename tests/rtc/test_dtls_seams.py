"""Our DTLS against aiortc's, and contracts of the private seams of aiortc and pylibsrtp that we use.

When one of those fails after an upgrade, the seam has moved; rtc/sctp.py says where it is used.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Callable, Sequence
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
    rtcsctptransport,
)
from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AES128_CM_SHA1_80,
    SRTP_PROFILES,
    SRTPProtectionProfile,
)
from aiortc.rtcsctptransport import DataChunk, InboundStream
from OpenSSL import SSL

from mediaserver.errors import ProtocolError
from mediaserver.rtc import dtls
from mediaserver.rtc.dtls import (
    EARLY_PACKETS,
    INBOUND_DATAGRAMS,
    Certificate,
    Certificates,
    DataChannels,
    Dtls,
    DtlsRole,
    IcePath,
    SrtpKeys,
)
from mediaserver.rtc.dtls_records import (
    ALERT,
    CHANGE_CIPHER_SPEC,
    GcmRecords,
    OpenSslRecords,
    datagrams,
    expand,
    records,
)
from mediaserver.rtc.sctp import INBOUND_STREAMS, Carrier, Outgoing, Stream
from mediaserver.rtc.srtp import Srtp
from tests.virtual_time import until, virtual_time

CERTIFICATE = Certificate.generateCertificate()


class Pipe(IcePath):
    """A path whose other end is fed on the loop's next turn; `sent` keeps what went through."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.hear: Callable[[bytes], None] = lambda data: None
        self.lose = 0
        super().__init__(self._carry)

    def _carry(self, data: bytes) -> None:
        self.sent.append(data)
        if self.lose:
            self.lose -= 1
        else:
            asyncio.get_running_loop().call_soon(self.hear, data)


class Pair:
    """Our DTLS and a peer's: ours as well."""

    def __init__(
        self,
        *,
        role: DtlsRole = "server",
        peer_certificate: Certificate | None = None,
        certificate: Certificate = CERTIFICATE,
    ) -> None:
        peer_certificate = peer_certificate or Certificate.generateCertificate()
        self.closed: list[str] = []
        self.our_path, self.peer_path = Pipe(), Pipe()
        self.our_path.hear, self.peer_path.hear = self.peer_path.feed, self.our_path.feed
        self.ours = Dtls(self.our_path, certificate, role, lambda: self.closed.append("ours"))
        peer_role: DtlsRole = "client" if role == "server" else "server"
        self.peer = Dtls(
            self.peer_path, peer_certificate, peer_role, lambda: self.closed.append("peer")
        )
        self.our_name = [("sha-256", certificate.fingerprint)]
        self.peer_name = [("sha-256", peer_certificate.fingerprint)]

    async def connect(self) -> tuple[SrtpKeys | None, SrtpKeys | None]:
        async with asyncio.timeout(30):
            return await asyncio.gather(
                self.ours.connect(self.peer_name), self.peer.connect(self.our_name)
            )

    async def stop(self) -> None:
        await self.ours.stop()
        await self.peer.stop()
        await asyncio.sleep(0)


@asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[Pair]:
    both = Pair(**options)
    try:
        yield both
    finally:
        await both.stop()


class IceOfTheirs:
    """What aiortc's DTLS asks of its ICE transport, at the other end of a pipe."""

    role = "controlling"

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent: list[bytes] = []
        self.lose = 0
        pipe.hear = self._queue.put_nowait

    async def _recv(self) -> bytes:
        return await self._queue.get()

    async def _send(self, data: bytes) -> None:
        self.sent.append(data)
        if self.lose:
            self.lose -= 1
        else:
            asyncio.get_running_loop().call_soon(self._pipe.feed, data)


class Ear:
    """Where aiortc's DTLS hands what it has decrypted."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def _handle_data(self, data: bytes) -> None:
        self.heard.append(data)


class Against:
    """Our DTLS and aiortc's own, over a pipe."""

    def __init__(
        self,
        *,
        role: DtlsRole = "server",
        profiles: Sequence[SRTPProtectionProfile] = SRTP_PROFILES,
        certificate: RTCCertificate | None = None,
    ) -> None:
        theirs = certificate or RTCCertificate.generateCertificate()
        self.closed: list[str] = []
        self.path = Pipe()
        self.ice = IceOfTheirs(self.path)
        self.ours = Dtls(self.path, CERTIFICATE, role, lambda: self.closed.append("ours"))
        self.peer = RTCDtlsTransport(self.ice, [theirs])  # type: ignore[arg-type]
        self.peer._srtp_profiles = list(profiles)
        self.peer._set_role("client" if role == "server" else "server")
        self.ear = Ear()
        self.peer._register_data_receiver(self.ear)
        self.heard: list[bytes] = []
        self.names = [(each.algorithm, each.value) for each in theirs.getFingerprints()]

    async def connect(self) -> SrtpKeys | None:
        theirs = RTCDtlsParameters([RTCDtlsFingerprint("sha-256", CERTIFICATE.fingerprint)])
        async with asyncio.timeout(30):
            keys, _ = await asyncio.gather(self.ours.connect(self.names), self.peer.start(theirs))
        self.ours.receive_by(self.heard.append)
        return keys


@asynccontextmanager
async def against(**options: Any) -> AsyncIterator[Against]:
    both = Against(**options)
    try:
        yield both
    finally:
        await both.ours.stop()
        await both.peer.stop()
        await asyncio.sleep(0)


def both_ways(ours: SrtpKeys, theirs: SrtpKeys) -> None:
    """What one side protects, the other reads."""
    here, there = Srtp(ours), Srtp(theirs)
    rtp, report = b"\x80\x60\0\x01" + bytes(60), b"\x80\xc9\0\x01\0\0\0\x07"
    assert there.unprotect(here.outbound.protect(rtp)) == rtp
    assert here.unprotect(there.outbound.protect(rtp)) == rtp
    assert there.unprotect_rtcp(here.protect_rtcp(report)) == report
    assert here.unprotect_rtcp(there.protect_rtcp(report)) == report


# -- the handshake -------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("profile", [SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80])
@virtual_time
async def test_our_srtp_keys_are_those_that_aiortc_derives(
    role: DtlsRole, profile: SRTPProtectionProfile
) -> None:
    async with against(role=role, profiles=[profile]) as both:
        keys = await both.connect()
        assert keys is not None
        assert keys.profile is profile
        assert keys.gcm == (profile is SRTP_AEAD_AES_128_GCM)
        packet = b"\x80\x60\0\x01" + bytes(60)
        assert both.peer._rx_srtp.unprotect(Srtp(keys).outbound.protect(packet)) == packet
        assert Srtp(keys).unprotect(both.peer._tx_srtp.protect(packet)) == packet


@virtual_time
async def test_keys_are_exported_alike_on_both_sides() -> None:
    async with pair() as both:
        ours, theirs = await both.connect()
        assert ours is not None and theirs is not None
        assert (ours.tx_key, ours.tx_salt) == (theirs.rx_key, theirs.rx_salt)
        both_ways(ours, theirs)


@virtual_time
async def test_as_a_server_we_prefer_gcm_whatever_the_peer_prefers() -> None:
    async with against(profiles=[SRTP_AES128_CM_SHA1_80, SRTP_AEAD_AES_128_GCM]) as both:
        keys = await both.connect()
        assert keys is not None and keys.gcm


class NoSrtp(RTCCertificate):
    """Of a peer that does DTLS and knows nothing of SRTP."""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.use_certificate(self._cert)
        context.use_privatekey(self._key)
        context.set_verify(SSL.VERIFY_PEER, lambda *args: True)
        return context


@virtual_time
async def test_no_common_profile_is_a_failure_and_not_an_exception() -> None:
    async with against(certificate=NoSrtp.generateCertificate()) as both:
        assert await both.connect() is None
        assert not both.ours.connected


@virtual_time
async def test_a_wrong_fingerprint_fails_and_the_peer_is_told() -> None:
    async with pair() as both:
        both.peer_name = both.our_name
        ours, theirs = await both.connect()
        assert ours is None
        assert theirs is not None
        await until(lambda: both.closed == ["peer"])


@pytest.mark.parametrize("name", [("md5", "AA:BB"), ("sha-256", "AA:BB"), ("SHA-512", "")])
@virtual_time
async def test_an_unknown_or_wrong_digest_is_not_taken_for_a_match(name: tuple[str, str]) -> None:
    async with pair() as both:
        both.peer_name = [name]
        ours, _ = await both.connect()
        assert ours is None


@virtual_time
async def test_every_digest_that_is_announced_must_match() -> None:
    async with against() as both:
        assert {name for name, _ in both.names} == {"sha-256", "sha-384", "sha-512"}
        assert await both.connect() is not None
    async with against() as both:
        both.names[-1] = both.names[-1][0], "00:11"
        assert await both.connect() is None


@virtual_time
async def test_closing_one_side_closes_the_other() -> None:
    async with pair() as both:
        await both.connect()
        await both.ours.stop()
        await until(lambda: both.closed == ["peer"])
        with pytest.raises(ConnectionError):
            both.peer.send_packet(b"too late")
    async with against() as other:
        await other.connect()
        await other.peer.stop()
        await until(lambda: other.closed == ["ours"])
    async with against() as other:
        await other.connect()
        await other.ours.stop()
        await until(lambda: other.peer.state == "closed")


@virtual_time
async def test_a_session_stopped_while_it_shakes_hands_ends_its_waiting() -> None:
    async with pair() as both:
        connecting = asyncio.create_task(both.ours.connect(both.peer_name))
        await asyncio.sleep(0)
        await both.ours.stop()
        with pytest.raises(ConnectionError):
            await connecting


@pytest.mark.parametrize("lost", ["ours", "peer"])
async def test_a_lost_flight_is_sent_again(lost: str) -> None:
    """In real time: OpenSSL's timer, of one second, knows no other."""
    async with pair() as both:
        (both.our_path if lost == "ours" else both.peer_path).lose = 1
        ours, theirs = await both.connect()
        assert ours is not None and theirs is not None
        both_ways(ours, theirs)


async def test_our_last_flight_is_sent_again_when_openssl_is_gone() -> None:
    """In real time, as above."""
    async with against() as both:
        kept = len(both.path.sent)
        carry = both.path._carry

        def lose_the_finished(data: bytes) -> None:
            if data[0] == CHANGE_CIPHER_SPEC and not both.path.lose and len(both.path.sent) > kept:
                both.path.lose = 1
                both.path.send = carry
            carry(data)

        both.path.send = lose_the_finished
        assert await both.connect() is not None
        assert both.path.sent[-1] == both.path.sent[-2]
        both.ours.send_packet(b"after it")
        await until(lambda: both.ear.heard == [b"after it"])


# -- records -------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["server", "client"])
@virtual_time
async def test_packets_pass_in_records_of_our_own_both_ways(role: DtlsRole) -> None:
    async with against(role=role) as both:
        await both.connect()
        assert isinstance(both.ours._records, GcmRecords)
        sent = [bytes([number]) * size for number, size in enumerate((1, 300, 1189))]
        for packet in sent:
            both.ours.send_packet(packet)
            await both.peer._send_data(packet)
        await until(lambda: both.ear.heard == sent and both.heard == sent)


@pytest.mark.parametrize("cipher", [b"ECDHE-ECDSA-CHACHA20-POLY1305", b"ECDHE-ECDSA-AES128-SHA"])
@virtual_time
async def test_another_cipher_stays_with_openssl(cipher: bytes) -> None:
    theirs = Certificate.generateCertificate()
    theirs.context.set_cipher_list(cipher)
    async with pair(peer_certificate=theirs) as both:
        ours, _ = await both.connect()
        assert ours is not None
        assert isinstance(both.ours._records, OpenSslRecords)
        heard: list[bytes] = []
        both.ours.receive_by(heard.append)
        both.peer.receive_by(heard.append)
        both.ours.send_packet(b"one way")
        both.peer.send_packet(b"and the other")
        await until(lambda: sorted(heard) == [b"and the other", b"one way"])
        await both.peer.stop()
        await until(lambda: both.closed == ["ours"])


@virtual_time
async def test_gcm_is_taken_also_from_a_peer_that_prefers_another_cipher() -> None:
    theirs = Certificate.generateCertificate()
    theirs.context.set_cipher_list(b"ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256")
    async with pair(peer_certificate=theirs) as both:
        await both.connect()
        assert isinstance(both.ours._records, GcmRecords)


@virtual_time
async def test_no_number_and_no_nonce_is_used_twice_under_one_key() -> None:
    """Those of OpenSSL, whose Finished is the first encrypted record, and ours after it."""
    async with pair() as both:
        await both.connect()
        for _ in range(5):
            both.ours.send_packet(b"x")
        await both.ours.stop()
        sealed = [each for data in both.our_path.sent for each in records(data) if each[1] >> 48]
        numbers = [number for _, number, _ in sealed]
        assert numbers == list(range(1 << 48, (1 << 48) + 7))
        nonces = [int.from_bytes(body[:8], "big") for _, _, body in sealed]
        assert nonces == [(nonces[0] + each) % 2**64 for each in range(7)]


@virtual_time
async def test_a_record_that_openssl_has_had_is_not_opened_again() -> None:
    async with pair() as both:
        await both.connect()
        heard: list[bytes] = []
        both.peer.receive_by(heard.append)
        theirs = both.peer._records
        assert isinstance(theirs, GcmRecords)
        sent = [each for datagram in both.our_path.sent for each in records(datagram)]
        (finished,) = [each for each in sent if each[1] >> 48]
        assert theirs._open(*finished) is None
        both.ours.send_packet(b"next")
        await until(lambda: heard == [b"next"])


async def test_a_last_flight_is_repeated_a_few_times_and_not_after_data() -> None:
    async with against() as both:
        assert await both.connect() is not None
        kept = len(both.path.sent)
        for _ in range(3 * dtls.REPEATS):
            both.path.feed(b"\x16")
        assert len(both.path.sent) == kept + dtls.REPEATS


@virtual_time
async def test_forged_replayed_and_old_records_are_dropped() -> None:
    async with pair() as both:
        await both.connect()
        heard: list[bytes] = []
        both.peer.receive_by(heard.append)
        both.our_path.hear = lambda data: None
        for number in range(100):
            both.ours.send_packet(bytes([number]))
        sealed = both.our_path.sent[-100:]
        feed = both.peer_path.feed
        for number in (1, 0, 1, 0):  # out of order is well, twice is not
            feed(sealed[number])
        feed(sealed[99])
        feed(sealed[35])  # 64 behind
        feed(sealed[36])
        feed(sealed[98][:-1] + bytes([sealed[98][-1] ^ 1]))
        feed(sealed[98][:20])
        for noise in (b"\x17", b"\x17\xfe\xfd" + bytes(20), b"\x17\xfe\xfd\0\1" + bytes(9)):
            feed(noise)
        feed(sealed[98])
        assert heard == [bytes([number]) for number in (1, 0, 99, 36, 98)]
        feed(sealed[96] + sealed[97])
        assert heard[5:] == [b"\x60", b"\x61"]
        assert both.closed == []


@virtual_time
async def test_packets_that_come_before_anybody_listens_are_kept_a_few() -> None:
    async with pair() as both:
        await both.connect()
        for number in range(EARLY_PACKETS + 3):
            both.peer.send_packet(bytes([number]))
        await asyncio.sleep(0.1)
        heard: list[bytes] = []
        both.ours.receive_by(heard.append)
        assert heard == [bytes([number]) for number in range(EARLY_PACKETS)]


@virtual_time
async def test_an_alert_that_is_only_a_warning_ends_nothing_and_a_fatal_one_does() -> None:
    async with pair() as both:
        await both.connect()
        assert isinstance(both.peer._records, GcmRecords)
        both.our_path.feed(both.peer._records.seal(b"\x01\x5a", ALERT))
        assert both.closed == []
        both.our_path.feed(both.peer._records.seal(b"\x02\x28", ALERT))
        assert both.closed == ["ours"]


def test_the_expansion_of_secrets_is_that_of_tls_1_2() -> None:
    """A vector of the IETF's TLS working group for P_SHA256."""
    secret = bytes.fromhex("9bbe436ba940f017b17652849a71db35")
    seed = b"test label" + bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c")
    expected = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9"
    assert expand(secret, seed, 40).hex() == expected


def test_a_flight_is_cut_between_records() -> None:
    flight = [bytes([22, 254, 253]) + bytes(8) + size.to_bytes(2, "big") + bytes(size)
              for size in (500, 500, 500, 1300, 20)]  # fmt: skip
    cut = list(datagrams(b"".join(flight), 1200))
    assert cut == [flight[0] + flight[1], flight[2], flight[3], flight[4]]
    assert list(datagrams(b"", 1200)) == []


# -- certificates --------------------------------------------------------------------------------


def test_the_context_keeps_no_sessions() -> None:
    assert CERTIFICATE.context.get_session_cache_mode() == SSL.SESS_CACHE_OFF


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


def test_a_path_that_nobody_reads_keeps_the_newest_and_no_more() -> None:
    path, read = IcePath(lambda data: None), list[bytes]()
    for number in range(3 * INBOUND_DATAGRAMS):
        path.feed(number.to_bytes(2, "big"))
    path.read_by(read.append)
    path.feed(b"more")
    assert len(read) == INBOUND_DATAGRAMS + 1
    assert read[-2:] == [(3 * INBOUND_DATAGRAMS - 1).to_bytes(2, "big"), b"more"]
    path.close()
    path.feed(b"too late")
    assert read[-1] == b"more"
    with pytest.raises(ConnectionError):
        path.send(b"x")


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
    for name in sctp:
        assert callable(getattr(RTCSctpTransport, name)), name
    for name in (*coroutines, "_data_channel_flush"):
        assert inspect.iscoroutinefunction(getattr(RTCSctpTransport, name)), name
    for name in (*timers, *flight):
        assert not inspect.iscoroutinefunction(getattr(RTCSctpTransport, name)), name
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


def test_sctp_asks_of_its_transport_only_what_the_carrier_has() -> None:
    source = inspect.getsource(rtcsctptransport)
    asked = set(re.findall(r"(?:self\.__transport|self\.transport|[( ]transport)\.(\w+)", source))
    assert asked == {name for name in asked if hasattr(Carrier, name) or name in Carrier.__slots__}
    assert asked >= {"_register_data_receiver", "_send_data"}


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
