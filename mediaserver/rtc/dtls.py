"""DTLS-SRTP (RFC 5764) over an ICE path of ours: OpenSSL shakes hands, and is let go.

One certificate and one SSL context serve every session; the certificate leaves in one handshake record,
AES-128-GCM is preferred, for records as for SRTP, and AES-CM kept for FFmpeg; RSA peers are accepted.
Of the handshake stay the SRTP keys, the keys of the records, and the last flight, which is sent again
to a peer that has not heard it.

Everything here happens in the turn of the loop in which a datagram comes; nothing waits in a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCSctpCapabilities,
)
from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AES128_CM_SHA1_80,
    SRTPProtectionProfile,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from mediaserver.protocol.sdp import DIGESTS
from mediaserver.rtc import dtls_records
from mediaserver.rtc.address import Address
from mediaserver.rtc.dtls_records import GcmRecords, Record, Records
from mediaserver.rtc.sctp import Sctp

if TYPE_CHECKING:
    from mediaserver.rtc.compiled_records import Lane, Outlet

DtlsRole = Literal["server", "client"]

PROFILES = [SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80]
CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
    b"ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA"
)
CIPHERTEXT_MTU = 1200
INBOUND_DATAGRAMS = 64  # before we shake hands, whose flights are 3 or so; more is a flood
FLIGHT_BYTES = 1 << 16  # more than OpenSSL has to say at a time
REPEATS = 10  # of our last flight: the peer's timer has doubled to 60 s long before
EARLY_PACKETS = 8  # of a peer whose data overtakes ours
ROTATE_AFTER = datetime.timedelta(days=7)  # certificates live 30 days


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """Keying material of RFC 5764 §4.2, seen from our side."""

    profile: SRTPProtectionProfile
    tx_key: bytes
    tx_salt: bytes
    rx_key: bytes
    rx_salt: bytes

    @property
    def gcm(self) -> bool:
        return self.profile is SRTP_AEAD_AES_128_GCM


class Certificate(RTCCertificate):
    """A self-signed P-256 certificate with the one SSL context of all its sessions."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate) -> None:
        super().__init__(key, cert)
        # The SHA-256 fingerprint as in SDP (RFC 8122 §5), without the algorithm's name.
        self.fingerprint = cert.fingerprint(hashes.SHA256()).hex(":").upper()
        self.context = self._make_context(key, cert)

    def _make_context(self, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_options(
            SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU | SSL.OP_CIPHER_SERVER_PREFERENCE
        )
        # what a peer's certificate must be is in its SDP, and checked by `Dtls`
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.use_certificate(cert)
        context.use_privatekey(key)
        context.set_cipher_list(CIPHERS)
        context.set_tlsext_use_srtp(b":".join(each.openssl_profile for each in PROFILES))
        # sessions are never resumed, and the cache would keep 20,480 of them with certificates
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return context


class Certificates:
    """Hands out the current certificate and makes a new one well before the old one expires."""

    def __init__(self) -> None:
        self._current = Certificate.generateCertificate()
        self._made_at = datetime.datetime.now(tz=datetime.UTC)

    def current(self) -> Certificate:
        now = datetime.datetime.now(tz=datetime.UTC)
        if now - self._made_at > ROTATE_AFTER:
            self._current = Certificate.generateCertificate()
            self._made_at = now
        return self._current


class IcePath:
    """What carries a session's DTLS: datagrams in, at most so many before somebody reads, and out."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.send = send  # one datagram; raises ConnectionError once closed
        self._early: deque[bytes] | None = None
        self._on_datagram: Callable[[bytes], None] | None = None
        self._closed = False

    def feed(self, data: bytes) -> None:
        """Hand on one datagram of first byte 20-63; the oldest falls out while nobody reads."""
        if self._on_datagram is not None:
            self._on_datagram(data)
        elif not self._closed:
            if self._early is None:
                self._early = deque(maxlen=INBOUND_DATAGRAMS)
            self._early.append(data)

    def read_by(self, on_datagram: Callable[[bytes], None]) -> None:
        """Call back with each datagram from now on, first with those that came before."""
        self._on_datagram = on_datagram
        early, self._early = self._early or (), None
        for data in early:
            self.feed(data)

    def close(self) -> None:
        """Carry nothing more, and know nobody."""
        self._closed = True
        self._on_datagram = self._early = None
        self.send = _nowhere


class Dtls:
    """A DTLS session: `keys` of its SRTP once connected, and packets of SCTP both ways.

    `on_closed` is called once when the peer says goodbye, not after `stop`.
    """

    def __init__(
        self, path: IcePath, certificate: Certificate, role: DtlsRole, on_closed: Callable[[], None]
    ) -> None:
        self.keys: SrtpKeys | None = None
        self.role = role
        self._path = path
        self._certificate = certificate
        self._on_closed = on_closed
        self._shaking: Handshake | None = None
        self._records: Records | None = None
        self._last_flight = b""
        self._repeats = 0
        self._receive_packet: Callable[[bytes], None] | None = None
        self._early: list[bytes] = []
        self._closed = False
        self.lane: Lane | None = None

    @property
    def connected(self) -> bool:
        return self._records is not None

    async def connect(self, fingerprints: list[tuple[str, str]]) -> SrtpKeys | None:
        """Shake hands and check the peer's certificate; None when that failed.

        Raises ConnectionError when it was stopped before.
        """
        shaking = self._shaking = Handshake(self._path, self._certificate, self.role)
        try:
            connection = await shaking.run()
            if connection is not None:
                self._take_over(shaking, connection, fingerprints)
        finally:
            shaking.close()
            self._shaking = None
        return self.keys

    def receive_by(self, receive: Callable[[bytes], None]) -> None:
        """Hand packets on, early ones first; what `receive` raises as ConnectionError is the end."""
        self._receive_packet = receive
        early, self._early = self._early, []
        for packet in early:
            receive(packet)

    def send_packet(self, packet: bytes) -> None:
        """Encrypt one packet and send it at once; raises ConnectionError when not connected."""
        records = self._records
        if records is None:
            raise ConnectionError("not connected")
        self._path.send(records.seal(packet))

    def pave(self, outlet: Outlet) -> Lane | None:
        """A lane for these records; None where they can't have one."""
        records = self._records
        if self.lane is None and isinstance(records, GcmRecords) and not self._last_flight:
            with contextlib.suppress(MemoryError):
                self.lane = outlet.lane(records)
                self._records = self.lane.records
        return self.lane

    def end(self) -> None:
        """The peer broke the protocol: as a ConnectionError of `receive_by`'s reader."""
        self._close()

    async def stop(self) -> None:
        """Say goodbye to the peer, and know nobody."""
        self._on_closed = _nothing
        if self._shaking is not None:
            self._shaking.close()
        self._close()

    def _take_over(
        self, shaking: Handshake, connection: SSL.Connection, fingerprints: list[tuple[str, str]]
    ) -> None:
        """Go on where OpenSSL has ended, if the peer is the one that was announced."""
        keys = _srtp_keys(connection, self.role)
        if keys is None or not _is_announced(connection, fingerprints):
            shaking.send(dtls_records.farewell(connection))
            return
        self.keys = keys
        server = self.role == "server"
        self._early = _unread(connection)
        self._records = dtls_records.agreed(connection, server, shaking.last_sealed, shaking.heard)
        self._last_flight = shaking.last_flight if server else b""
        self._path.read_by(self._receive)

    def _receive(self, datagram: bytes) -> None:
        records, receive = self._records, self._receive_packet or self._keep
        assert records is not None
        try:
            if datagram[0] == dtls_records.HANDSHAKE and self._last_flight:
                self._repeat_flight()
                return
            for packet in records.open(datagram):
                self._last_flight = b""  # who sends data has heard it
                receive(packet)
        except ConnectionError:
            self._close()

    def _repeat_flight(self) -> None:
        """The peer has not heard it (RFC 6347 §4.2.4); a few times, for anybody may claim that."""
        self._repeats += 1
        if self._repeats <= REPEATS:
            self._path.send(self._last_flight)

    def _keep(self, packet: bytes) -> None:
        if len(self._early) < EARLY_PACKETS:
            self._early.append(packet)

    def _close(self) -> None:
        """Answer a goodbye, or say it; what comes then is not ours any more."""
        if self._closed:
            return
        self._closed = True
        if self._records is not None:
            with contextlib.suppress(ConnectionError):
                self._path.send(self._records.goodbye())
        self._records = None
        if self.lane is not None:
            self.lane.close()
            self.lane = None
        self._receive_packet = None
        self._path.close()
        on_closed, self._on_closed = self._on_closed, _nothing
        on_closed()


class Handshake:
    """One connection of OpenSSL's, until it has agreed or failed."""

    def __init__(self, path: IcePath, certificate: Certificate, role: DtlsRole) -> None:
        self.last_flight = b""
        self.last_sealed: Record | None = None
        self.heard: set[int] = set()  # numbers of encrypted records that OpenSSL was given
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[bool | None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._connection = SSL.Connection(certificate.context)
        self._connection.set_ciphertext_mtu(CIPHERTEXT_MTU)
        if role == "server":
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()

    async def run(self) -> SSL.Connection | None:
        """The connection when both sides have agreed, None when they have not.

        Raises ConnectionError when it was closed before.
        """
        self._step()
        self._path.read_by(self._receive)
        agreed = await self._ended
        if agreed is None:
            raise ConnectionError("closed in the handshake")
        return self._connection if agreed else None

    def send(self, flight: bytes) -> None:
        """Send what OpenSSL has written; lost where the path is closed."""
        for datagram in dtls_records.datagrams(flight, CIPHERTEXT_MTU):
            self.last_flight = datagram
            for record in dtls_records.records(datagram):
                if record[1] >> 48 == dtls_records.EPOCH:
                    self.last_sealed = record
            with contextlib.suppress(ConnectionError):
                self._path.send(datagram)

    def close(self) -> None:
        """Stop where it stands; calling it again does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._ended.done():
            self._ended.set_result(None)

    def _receive(self, datagram: bytes) -> None:
        for _, number, _ in dtls_records.records(datagram):
            # the first ones alone: of a forged number no more can come than that record's loss
            if 0 <= number - dtls_records.FIRST < dtls_records.WINDOW:
                self.heard.add(number)
        self._connection.bio_write(datagram)
        self._step()

    def _step(self) -> None:
        """Let OpenSSL go on with what has come, and send what it has to say."""
        if self._ended.done():
            return
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._flush()
            self._arm()
        except SSL.Error:
            self.send(dtls_records.farewell(self._connection))
            self._ended.set_result(False)
        else:
            self._flush()
            self._ended.set_result(True)

    def _flush(self) -> None:
        with contextlib.suppress(SSL.Error):
            self.send(self._connection.bio_read(FLIGHT_BYTES))

    def _arm(self) -> None:
        """Wake when a flight has to be sent again."""
        if self._timer is None:
            wait_s = self._connection.DTLSv1_get_timeout()
            if wait_s is not None:
                self._timer = self._loop.call_later(wait_s, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        with contextlib.suppress(SSL.Error):
            self._connection.DTLSv1_handle_timeout()
        self._step()


def _srtp_keys(connection: SSL.Connection, role: DtlsRole) -> SrtpKeys | None:
    """Keys of the profile agreed upon; None when there is none in common."""
    selected = connection.get_selected_srtp_profile()
    profile = next((each for each in PROFILES if each.openssl_profile == selected), None)
    if profile is None:
        return None
    key_bytes, salt_bytes = profile.key_length, profile.salt_length
    material = connection.export_keying_material(
        b"EXTRACTOR-dtls_srtp", 2 * (key_bytes + salt_bytes)
    )
    keys = material[:key_bytes], material[key_bytes : 2 * key_bytes]
    salts = material[2 * key_bytes :][:salt_bytes], material[2 * key_bytes + salt_bytes :]
    ours, theirs = (1, 0) if role == "server" else (0, 1)
    return SrtpKeys(profile, keys[ours], salts[ours], keys[theirs], salts[theirs])


def _is_announced(connection: SSL.Connection, fingerprints: list[tuple[str, str]]) -> bool:
    """Whether the peer's certificate has every fingerprint of a digest we know, and one at least."""
    certificate = connection.get_peer_certificate()
    if certificate is None:
        return False
    known = [(name.lower(), value) for name, value in fingerprints if name.lower() in DIGESTS]
    return bool(known) and all(
        certificate.digest(name.replace("-", "")) == value.upper().encode() for name, value in known
    )


def _unread(connection: SSL.Connection) -> list[bytes]:
    """Packets that came together with the end of the handshake, or before it."""
    packets: list[bytes] = []
    with contextlib.suppress(SSL.Error):
        while len(packets) < EARLY_PACKETS:
            packets.append(connection.recv(dtls_records.RECORD_BYTES))
    return packets


def _nowhere(data: bytes) -> None:
    raise ConnectionError("path closed")


def _nothing() -> None:
    """What is to be done when nobody cares."""


class DataChannels:
    """The two negotiated channels of a session: id 0 `hawker`, id 1 `hawker-live`."""

    def __init__(self, dtls: Dtls, on_message: Callable[[int, str | bytes], None]) -> None:
        self._dtls = dtls
        self._sctp = Sctp(dtls, server=dtls.role == "server")
        reliable = RTCDataChannelParameters(label="hawker", negotiated=True, id=0)
        live = RTCDataChannelParameters(
            label="hawker-live", negotiated=True, id=1, ordered=False, maxRetransmits=0
        )
        self.channels = [RTCDataChannel(self._sctp, each) for each in (reliable, live)]
        # Called from the loop, not from within SCTP, where a bug of ours would look like the peer's.
        soon = asyncio.get_running_loop().call_soon
        for number, channel in enumerate(self.channels):
            channel.on("message", lambda data, number=number: soon(on_message, number, data))

    async def start(self, remote_port: int, max_message_bytes: int) -> None:
        """Open the SCTP association (RFC 8841 §9.3)."""
        await self._sctp.start(RTCSctpCapabilities(max_message_bytes), remote_port)

    def pave(self, outlet: Outlet, address: Address) -> Lane | None:
        """A lane to this address; None where there can't be one, or not yet."""
        if not self._sctp.established or self._dtls.lane is not None:
            return self._dtls.lane
        lane = self._dtls.pave(outlet)
        if lane is not None:
            lane.associate(*self._sctp.say_by(lane.say))
            lane.move(address)
        return lane

    def acknowledged(self, tsn: int, window: int) -> None:
        """A plain SACK that the lane has read."""
        try:
            self._sctp.acknowledged(tsn, window)
        except ConnectionError:
            self._dtls.end()

    def send(self, channel: int, data: str | bytes) -> bool:
        """Queue a message; False when the channel isn't open or its queue is full."""
        target = self.channels[channel]
        return target.readyState == "open" and self._sctp.send(target, data, MAX_BUFFERED_BYTES)

    @property
    def queued_bytes(self) -> int:
        """What waits on both channels for the peer to acknowledge what went before."""
        return sum(map(self._sctp.queued_bytes, self.channels))

    def close(self) -> None:
        """Reset both channels (RFC 8831 §6.7); what is queued still goes out."""
        for channel in self.channels:
            channel.close()

    async def stop(self) -> None:
        """Abort the association."""
        await self._sctp.stop()


MAX_BUFFERED_BYTES = 256 << 10  # a viewer that far behind is not live
