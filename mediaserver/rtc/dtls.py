"""aiortc's DTLS and SCTP behind an ICE path of ours: their private seams stand here and in sctp.py.

Seams, each held by a contract test: `RTCDtlsTransport(path, [certificate])` asks of its ICE transport
only `role`, `_recv` and `_send`; `_set_role`, `_set_state`, `_setup_srtp`, `_srtp_profiles`, `_ssl`;
`_write_ssl`, `_send_data`, `_data_receiver`; `RTCCertificate._create_ssl_context`. Of pyOpenSSL the four
calls of OpenSSL that a record takes (`SSL._lib`, and a connection's `_ssl`, `_into_ssl`, `_from_ssl`):
its own methods around them allocate and check for twice the time.

What differs from stock: one certificate and one SSL context serve every session (98 KiB become 26),
the certificate leaves in one handshake record instead of three, AES-128-GCM is preferred and AES-CM
kept for FFmpeg, RSA peers are accepted, and SRTP never enters here: keys are exported instead. Once
connected, a datagram is handled when it comes, not by waking aiortc's task, which is left to wait for
the path's end: its counters in `getStats` stand still.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCSctpCapabilities,
)
from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AES128_CM_SHA1_80,
    SRTPProtectionProfile,
    State,
)
from OpenSSL import SSL

from mediaserver.rtc.sctp import Sctp

_openssl: Any = SSL._lib  # type: ignore[attr-defined]
_ffi: Any = SSL._ffi  # type: ignore[attr-defined]

DtlsRole = Literal["server", "client"]

PROFILES = [SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80]
CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
    b"ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA"
)
CIPHERTEXT_MTU = 1200
INBOUND_DATAGRAMS = 64  # a handshake flight is 3, an SCTP window about 20; more is a flood
RECORD_BYTES = 1500  # more than any datagram of ours or of a peer holds
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
    """A self-signed P-256 certificate with the one SSL context of all its sessions.

    `record` is where a session's calls have OpenSSL write, each copying at once what it got.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.record = _ffi.new("char[]", RECORD_BYTES)

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context: SSL.Context | None = getattr(self, "_context", None)
        if context is None:
            context = super()._create_ssl_context(srtp_profiles)
            context.set_options(SSL.OP_NO_QUERY_MTU)
            context.set_cipher_list(CIPHERS)
            # sessions are never resumed, and the cache would keep 20,480 of them with certificates
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            self._context = context
        return context

    @property
    def fingerprint(self) -> str:
        """The SHA-256 fingerprint as in SDP (RFC 8122 §5), without the algorithm's name."""
        return next(f.value for f in self.getFingerprints() if f.algorithm == "sha-256")


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
    """What aiortc's DTLS needs of an ICE transport: a bounded queue in, a datagram out."""

    role = "controlled"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send_datagram = send
        self._queue: deque[bytes] = deque(maxlen=INBOUND_DATAGRAMS)
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self.on_datagram: Callable[[bytes], None] | None = None

    def feed(self, data: bytes) -> None:
        """Hand on one datagram of first byte 20-63; queued before the session stands.

        The oldest falls out when nobody reads.
        """
        if self.on_datagram is not None and not self._queue:
            if not self._closed:
                self.on_datagram(data)
            return
        self._queue.append(data)
        self._wake()

    def send(self, data: bytes) -> None:
        """Send one datagram; raises ConnectionError once closed."""
        if self._closed:
            raise ConnectionError("path closed")
        self._send_datagram(data)

    def close(self) -> None:
        self._closed = True
        self._wake()

    async def _recv(self) -> bytes:
        while not self._queue:
            if self._closed:
                raise ConnectionError("path closed")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._queue.popleft()

    async def _send(self, data: bytes) -> None:
        self.send(data)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Dtls(RTCDtlsTransport):
    """A DTLS session that exports its SRTP keys; `keys` is set once connected."""

    def __init__(
        self, path: IcePath, certificate: Certificate, role: DtlsRole, on_closed: Callable[[], None]
    ) -> None:
        super().__init__(cast(Any, path), [certificate])
        self._path = path
        self._record = certificate.record
        self.keys: SrtpKeys | None = None
        self._on_closed = on_closed
        self._set_role(role)
        self._srtp_profiles = PROFILES

    async def connect(self, fingerprints: list[tuple[str, str]]) -> SrtpKeys | None:
        """Shake hands and check the peer's certificate; None when that failed."""
        await self.start(
            RTCDtlsParameters([RTCDtlsFingerprint(name, value) for name, value in fingerprints])
        )
        if self._state != State.CONNECTED:
            await self._tell_failure()
            return None
        return self.keys

    async def _tell_failure(self) -> None:
        """Send the alert that OpenSSL has ready, else a goodbye: the peer need not wait."""
        assert self._ssl is not None
        with contextlib.suppress(SSL.Error):
            self._ssl.shutdown()
        with contextlib.suppress(ConnectionError):
            await self._write_ssl()

    def _set_state(self, state: State) -> None:
        if state == State.CONNECTING:
            assert self._ssl is not None
            self._ssl.set_ciphertext_mtu(CIPHERTEXT_MTU)
        if state == State.CONNECTED:
            self._path.on_datagram = self._receive
        super()._set_state(state)
        if state == State.CLOSED:
            self._path.on_datagram = None
            self._on_closed()

    def send_packet(self, packet: bytes) -> None:
        """Encrypt one SCTP packet and send it at once; raises ConnectionError when not connected."""
        if self._state is not State.CONNECTED:
            raise ConnectionError("not connected")
        connection = self._ssl
        assert connection is not None
        written = _openssl.SSL_write(connection._ssl, packet, len(packet))
        if written <= 0:
            with contextlib.suppress(SSL.Error):  # empties OpenSSL's queue of errors
                connection._raise_ssl_error(connection._ssl, written)
            raise ConnectionError("DTLS takes no more")
        read = _openssl.BIO_read(connection._from_ssl, self._record, RECORD_BYTES)
        self._path.send(_ffi.buffer(self._record, read)[:])

    async def _send_data(self, data: bytes) -> None:
        self.send_packet(data)

    def _receive(self, datagram: bytes) -> None:
        """Decrypt one datagram and hand its packet to SCTP; the path ends with the peer's goodbye."""
        try:
            packet = self._decrypt(datagram)
            if packet and self._data_receiver is not None:
                cast(Sctp, self._data_receiver).receive(packet)
        except ConnectionError:
            self._path.close()

    def _decrypt(self, datagram: bytes) -> bytes:
        """What is in it, empty for what is no data; raises ConnectionError at the peer's goodbye."""
        connection = self._ssl
        assert connection is not None
        _openssl.BIO_write(connection._into_ssl, datagram, len(datagram))
        read = _openssl.SSL_read(connection._ssl, self._record, RECORD_BYTES)
        if read > 0:
            return bytes(_ffi.buffer(self._record, read)[:])
        try:
            connection._raise_ssl_error(connection._ssl, read)
            return b""
        except SSL.ZeroReturnError as error:
            self._answer()
            raise ConnectionError("closed by the peer") from error
        except SSL.Error:
            self._answer()
            return b""

    def _answer(self) -> None:
        """Send what OpenSSL has to say to what is no data: an alert, its last flight again."""
        assert self._ssl is not None
        with contextlib.suppress(SSL.Error):
            self._path.send(self._ssl.bio_read(RECORD_BYTES))

    def _setup_srtp(self) -> None:
        assert self._ssl is not None
        selected = self._ssl.get_selected_srtp_profile()
        profile = next((p for p in PROFILES if p.openssl_profile == selected), None)
        if profile is None:
            self._set_state(State.FAILED)
            return
        key_length, salt_length = profile.key_length, profile.salt_length
        material = self._ssl.export_keying_material(
            b"EXTRACTOR-dtls_srtp", 2 * (key_length + salt_length)
        )
        keys = material[:key_length], material[key_length : 2 * key_length]
        salts = material[2 * key_length :][:salt_length], material[2 * key_length + salt_length :]
        ours, theirs = (1, 0) if self._role == "server" else (0, 1)
        self.keys = SrtpKeys(profile, keys[ours], salts[ours], keys[theirs], salts[theirs])


class DataChannels:
    """The two negotiated channels of a session: id 0 `hawker`, id 1 `hawker-live`."""

    def __init__(self, dtls: Dtls, on_message: Callable[[int, str | bytes], None]) -> None:
        self._sctp = Sctp(dtls)
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
        await self._sctp.stop()


MAX_BUFFERED_BYTES = 256 << 10  # a viewer that far behind is not live
